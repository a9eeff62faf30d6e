//! Counts the values of a long text without reading them.

use super::source::{Blocks, is_separator};
use crate::simd::{Isa, per_isa};
use std::io;

/// How many values there are, and how they share lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub values: u64,
    /// Lines that hold values.
    pub rows: u64,
    /// Values in the first of them.
    pub columns: u64,
    /// Every byte is a digit, a sign or a separator.
    pub integers: bool,
    /// The first row with another number of values than the first one.
    pub misfit: Option<Misfit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Byte of the text after the row.
    pub offset: u64,
    pub found: u64,
    /// It is the last row and holds fewer values: lines were filled, the rest stands in the last one.
    pub rest: bool,
}

impl Census {
    /// Counts quickly: lines that only look blank may count as rows, and the rows are not compared with one another.
    pub fn quick(blocks: &mut Blocks) -> io::Result<Census> {
        let mut c = Census {
            integers: true,
            ..Census::default()
        };
        let mut last = b'\n';
        let mut comment = false;
        while blocks.advance()? {
            let (text, _) = blocks.block();
            if c.integers {
                c.integers = text.iter().all(|&b| is_whole(b));
            }
            if comment || memchr::memchr(b'#', text).is_some() {
                comment = c.with_comments(text, comment);
            } else {
                let tally = tally(Isa::detect(), text, last);
                c.values += tally.words;
                c.rows += tally.lines;
            }
            last = text.last().copied().unwrap_or(last);
        }
        c.rows += u64::from(last != b'\n' && !comment);
        Ok(c)
    }

    /// The same for a block that holds comments; returns whether one is open at its end.
    fn with_comments(&mut self, text: &[u8], mut comment: bool) -> bool {
        let (mut word, mut filled) = (false, false);
        for &b in text {
            if b == b'\n' {
                self.rows += u64::from(filled);
                (word, filled, comment) = (false, false, false);
            } else if comment {
            } else if b == b'#' {
                comment = true;
            } else if is_separator(b) {
                word = false;
            } else if !word {
                self.values += 1;
                (word, filled) = (true, true);
            }
        }
        comment
    }

    /// Counts row by row.
    pub fn exact(blocks: &mut Blocks) -> io::Result<Census> {
        let mut c = Census {
            integers: true,
            ..Census::default()
        };
        let (mut row, mut word, mut comment) = (0, false, false);
        while blocks.advance()? {
            let (text, _) = blocks.block();
            for (i, &b) in text.iter().enumerate() {
                if b == b'\n' {
                    c.end_row(row, blocks.before() + i as u64);
                    (row, word, comment) = (0, false, false);
                } else if comment {
                } else if b == b'#' {
                    comment = true;
                } else if is_separator(b) {
                    word = false;
                } else {
                    c.integers &= is_whole(b);
                    row += u64::from(!word);
                    word = true;
                }
            }
        }
        c.end_row(row, blocks.before());
        Ok(c)
    }

    fn end_row(&mut self, row: u64, offset: u64) {
        if row == 0 {
            return;
        }
        if let Some(m) = &mut self.misfit {
            m.rest = false;
        }
        self.rows += 1;
        self.values += row;
        if self.rows == 1 {
            self.columns = row;
        } else if row != self.columns && self.misfit.is_none() {
            self.misfit = Some(Misfit {
                offset,
                found: row,
                rest: row < self.columns,
            });
        }
    }
}

fn is_whole(b: u8) -> bool {
    b.is_ascii_digit() || is_separator(b) || b == b'-' || b == b'+'
}

/// What a block holds.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    words: u64,
    /// Line ends behind lines that are not empty.
    lines: u64,
}

per_isa! {
    /// Counts in `text`, which starts after a separator or with the text itself; `last` stands before it.
    fn tally[][](text: &[u8], last: u8) -> Tally = tally_body;
}

/// The loop is the same for every set; the compiler finds its vectors.
#[inline(always)]
#[expect(clippy::extra_unused_type_parameters)]
fn tally_body<S>(text: &[u8], last: u8) -> Tally {
    let Some((&first, rest)) = text.split_first() else {
        return Tally::default();
    };
    let marks = |before: u8, b: u8| {
        let begins = is_separator(before) & !is_separator(b);
        let ends = (b == b'\n') & (before != b'\n');
        [begins, ends]
    };
    let [words, lines] = pairs(text, rest, marks);
    Tally {
        words: words + u64::from(!is_separator(first)),
        lines: lines + u64::from(first == b'\n' && last != b'\n'),
    }
}

/// How many of the pairs of neighbours satisfy each of two tests: byte counters, flushed before they overflow, so that the
/// loop runs on whole vector registers.
#[inline(always)]
fn pairs(before: &[u8], after: &[u8], tests: impl Fn(u8, u8) -> [bool; 2]) -> [u64; 2] {
    const LANES: usize = 64;
    let mut total = [0u64; 2];
    let run = LANES * 255;
    for (a, b) in before[..after.len()].chunks(run).zip(after.chunks(run)) {
        let mut counts = [[0u8; LANES]; 2];
        let (a_vectors, a_rest) = a.as_chunks::<LANES>();
        let (b_vectors, b_rest) = b.as_chunks::<LANES>();
        for (x, y) in a_vectors.iter().zip(b_vectors) {
            for i in 0..LANES {
                let found = tests(x[i], y[i]);
                counts[0][i] += u8::from(found[0]);
                counts[1][i] += u8::from(found[1]);
            }
        }
        let rest = a_rest.iter().zip(b_rest).map(|(&x, &y)| tests(x, y));
        for found in rest {
            total = [
                total[0] + u64::from(found[0]),
                total[1] + u64::from(found[1]),
            ];
        }
        for (total, counts) in total.iter_mut().zip(counts) {
            *total += counts.iter().map(|&n| u64::from(n)).sum::<u64>();
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::super::source::Keep;
    use super::*;
    use proptest::prelude::*;

    fn blocks(text: &[u8]) -> Blocks {
        Blocks::new(Box::new(io::Cursor::new(text.to_vec())), Keep::Words)
    }

    #[test]
    fn rows_and_columns_are_counted() {
        let c = Census::exact(&mut blocks(b"1 2 3\n\n4,5,6 # c 7\r\n# 8\n7\t8 9")).unwrap();
        assert_eq!((c.values, c.rows, c.columns, c.misfit), (9, 3, 3, None));
        assert!(c.integers);
    }

    #[test]
    fn the_first_misfit_is_found() {
        let c = Census::exact(&mut blocks(b"1 2\n3\n4 5\n")).unwrap();
        assert_eq!(
            c.misfit,
            Some(Misfit {
                offset: 5,
                found: 1,
                rest: false
            })
        );
        let c = Census::exact(&mut blocks(b"1 2\n3 4\n5\n")).unwrap();
        assert!(c.misfit.unwrap().rest);
    }

    proptest! {
        #[test]
        fn both_ways_of_counting_agree(
            rows in prop::collection::vec((prop::collection::vec("-?[0-9]{1,3}(\\.[0-9]{1,4})?", 1..5), "[ ,;\t]", any::<bool>()), 1..400),
        ) {
            let mut text = String::new();
            for (row, gap, comment) in &rows {
                text += &row.join(gap);
                text += if *comment { " # 1 2\n" } else { "\n" };
            }
            let quick = Census::quick(&mut blocks(text.as_bytes())).unwrap();
            let exact = Census::exact(&mut blocks(text.as_bytes())).unwrap();
            prop_assert_eq!((quick.values, quick.rows), (exact.values, exact.rows));
        }
    }
}
