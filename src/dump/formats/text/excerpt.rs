//! Files that hold the first and the last values only.
//!
//! `# First 50 elements:` … `# Last 50 elements:`, `# Data (first 100 elements as hex and converted):`, or a line `...`.

use super::digits::Precision;
use super::header::uncomment;
use super::layout::{Entry, bits};
use super::number::whole;
use super::source::{lines, words};
use crate::dump::Partial;
use half::f16;

/// The stretches of values in a file.
#[derive(Debug, Default)]
pub struct Excerpt {
    stretches: Vec<Stretch>,
    pub precision: Precision,
    /// The values are given as bits of f16.
    pub is_f16: bool,
}

#[derive(Debug)]
struct Stretch {
    /// Counted from the tensor's end.
    last: bool,
    /// How many values the line above them speaks of.
    announced: Option<u64>,
    /// That line holds them all.
    preview: bool,
    values: Vec<f64>,
    /// The indices of the values, where each line says its own: so many for a value as there are axes.
    indices: Vec<u64>,
}

impl Stretch {
    fn new(last: bool, announced: Option<u64>) -> Stretch {
        Stretch {
            last,
            announced,
            preview: false,
            values: Vec::new(),
            indices: Vec::new(),
        }
    }

    /// The places of the values in a tensor of this shape and so many elements.
    fn places(&self, shape: &[usize], total: u64) -> Result<Vec<u64>, Fault> {
        let found = self.values.len() as u64;
        let counted = |from: u64| (from..from + found).collect();
        let from_zero = self.indices.first() == Some(&0);
        if self.indices.is_empty() || (self.last && from_zero && self.indices.len() as u64 == found)
        {
            return Ok(counted(if self.last { total - found } else { 0 }));
        }
        let axes = self.indices.len() / self.values.len();
        let mut places = Vec::with_capacity(self.values.len());
        for index in self.indices.chunks_exact(axes) {
            let place = match index {
                &[i] => Some(i),
                _ if axes == shape.len() => index.iter().zip(shape).try_fold(0, |at, (&i, &n)| {
                    (i < n as u64).then_some(at * n as u64 + i)
                }),
                _ => None,
            };
            places.push(place.filter(|p| *p < total).ok_or_else(|| Fault::Outside {
                index: index.to_vec(),
            })?);
        }
        Ok(places)
    }
}

/// Why an excerpt cannot be read; the line counts from 1.
#[derive(Debug, PartialEq)]
pub enum Fault {
    NoNumber { line: u64, word: String },
    Short { announced: u64, found: u64 },
    TooMany { found: u64 },
    Outside { index: Vec<u64> },
}

/// What a line announces: the first or the last so many elements (`true` for the last ones), and their text where it follows
/// in the line itself: `First 5 values: [0.1, …, 0.5]`.
pub fn announced(line: &[u8]) -> Option<(bool, u64, &[u8])> {
    let with_values = || {
        let colon = line.iter().position(|b| matches!(b, b':' | b'='))?;
        let (last, n, true) = announces(&line[..=colon])? else {
            return None;
        };
        let bracket = |b: &u8| matches!(b, b'[' | b']' | b'(' | b')' | b'{' | b'}');
        let values = line[colon + 1..].trim_ascii();
        let start = values.iter().take_while(|b| bracket(b)).count();
        let end = values.iter().rev().take_while(|b| bracket(b)).count();
        let values = values.get(start..values.len() - end)?;
        let mut words = words(values);
        (words.next().is_some_and(is_number) && words.all(is_number)).then_some((last, n, values))
    };
    with_values().or_else(|| announces(line).map(|(last, n, _)| (last, n, &b""[..])))
}

fn is_number(word: &[u8]) -> bool {
    whole(word).is_some()
}

/// Whether a line announces the first or last so many elements: `true` for the last ones, their number, and whether it says
/// nothing else.
fn announces(line: &[u8]) -> Option<(bool, u64, bool)> {
    let line = String::from_utf8_lossy(line);
    let (body, comment) = uncomment(&line);
    let lower = body.to_ascii_lowercase();
    for (word, last) in [("first ", false), ("last ", true)] {
        let Some(at) = lower.find(word) else { continue };
        let rest = lower[at + word.len()..].trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let Ok(n) = rest[..end].parse() else { continue };
        let what = rest[end..].trim_start();
        let elements = ["elem", "val", "num"].iter().any(|w| what.starts_with(w));
        // `First 50:`, `=== last 50 values ===`: the line says that and nothing else.
        let decoration = |c: char| !c.is_alphanumeric();
        let nothing = |text: &str| text.trim_matches(decoration).is_empty();
        let alone = nothing(what)
            || matches!(
                what.trim_end_matches(decoration),
                "elements" | "elems" | "values" | "vals" | "numbers"
            );
        let said = alone && (nothing(&lower[..at]) || lower[..at].ends_with('('));
        if said || (elements && (comment || body.ends_with(':'))) {
            return Some((last, n, said));
        }
    }
    None
}

/// A line that stands for values left out.
pub fn is_gap(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), b"..." | b"\xe2\x80\xa6" | b"..")
}

/// A line `[3] = 0.5`, `x[3] 0.5`, `3: 0.5`, its value's text and its value; `3 0.5` are two values.
fn indexed(line: &[u8]) -> Option<(Entry<'_>, &[u8], f64)> {
    if words(line).next().is_none_or(is_number) {
        return None;
    }
    let entry = Entry::of(line)?;
    let (word, value) = entry.value(line)?;
    Some((entry, word, value))
}

impl Excerpt {
    /// Reads the values of all stretches of `text`; lines before byte `data_at` count only when they announce one.
    pub fn read(text: &[u8], data_at: usize) -> Result<Excerpt, Fault> {
        let mut e = Excerpt::default();
        let mut here = Stretch::new(false, None);
        for (number, (at, line)) in (1..).zip(lines(text)) {
            if let Some((last, n, values)) = announced(line) {
                e.end(std::mem::replace(&mut here, Stretch::new(last, Some(n))))?;
                e.values(values, number, &mut here)?;
                here.preview = here.values.len() as u64 == n;
            } else if at < data_at || line.first() == Some(&b'#') {
            } else if is_gap(line) {
                e.end(std::mem::replace(&mut here, Stretch::new(true, None)))?;
            } else if let Some(half) = bits(line) {
                e.is_f16 = true;
                here.values.push(f16::from_bits(half).to_f64());
            } else if let Some((entry, word, value)) = indexed(line)
                && here.indices.len() == here.values.len() * entry.index().len()
            {
                here.indices.extend_from_slice(entry.index());
                e.precision.see(word);
                here.values.push(value);
            } else {
                if here.preview {
                    // the values themselves follow
                    here = Stretch::new(here.last, here.announced);
                }
                e.values(line, number, &mut here)?;
            }
        }
        e.end(here)?;
        Ok(e)
    }

    /// Values side by side, without indices.
    fn values(&mut self, text: &[u8], line: u64, here: &mut Stretch) -> Result<(), Fault> {
        for word in words(text) {
            let value = whole(word).filter(|_| here.indices.is_empty());
            let value = value.ok_or_else(|| Fault::NoNumber {
                line,
                word: String::from_utf8_lossy(&word[..word.len().min(40)]).into(),
            })?;
            self.precision.see(word);
            here.values.push(value);
        }
        Ok(())
    }

    fn end(&mut self, stretch: Stretch) -> Result<(), Fault> {
        let found = stretch.values.len() as u64;
        if found == 0 && stretch.announced.is_none() {
            return Ok(());
        }
        // A small tensor has fewer elements than the line announces: `place` compares with the shape.
        if stretch.announced.is_some_and(|n| found > n) {
            return Err(Fault::TooMany { found });
        }
        self.stretches.push(stretch);
        Ok(())
    }

    /// Gives the values their places in a tensor of this shape, whose elements are known to be countable.
    pub fn place(&self, shape: &[usize]) -> Result<Partial, Fault> {
        let total = shape.iter().map(|&n| n as u64).product();
        let mut known = std::collections::BTreeMap::new();
        for s in &self.stretches {
            let found = s.values.len() as u64;
            if found > total {
                return Err(Fault::TooMany { found });
            }
            if let Some(announced) = s.announced.map(|n| n.min(total)).filter(|n| *n != found) {
                return Err(Fault::Short { announced, found });
            }
            known.extend(
                s.places(shape, total)?
                    .into_iter()
                    .zip(s.values.iter().copied()),
            );
        }
        Ok(Partial {
            positions: known.keys().copied().collect(),
            values: known.values().copied().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_find_their_places() {
        let text = b"# Data:\n# First 3 elements:\n1.0\n2.0\n3.0\n# Last 2 elements:\n8.0\n9.0\n";
        let e = Excerpt::read(text, 0).unwrap();
        assert_eq!(
            e.place(&[100]).unwrap(),
            Partial {
                positions: vec![0, 1, 2, 98, 99],
                values: vec![1., 2., 3., 8., 9.],
            }
        );
        // Overlapping ends count once.
        assert_eq!(e.place(&[4]).unwrap().positions, [0, 1, 2, 3]);
        assert_eq!(e.place(&[2]), Err(Fault::TooMany { found: 3 }));
    }

    #[test]
    fn values_may_stand_in_the_line_that_announces_them() {
        for text in [
            "First 3 values: [1.0, 2.0, 3.0]\nlast 2: 8 9.0\n",
            "# first 3 elements: 1.0 2.0 3.0\n# Last 2 = (8.0, 9.0)\n",
            "First 3: 1.0\n2.0 3.0\nLast 2:\n8.0\n9.0\n",
        ] {
            let e = Excerpt::read(text.as_bytes(), 0).unwrap();
            let known = e.place(&[100]).unwrap();
            assert_eq!(known.positions, [0, 1, 2, 98, 99], "{text}");
            assert_eq!(known.values, [1., 2., 3., 8., 9.], "{text}");
        }
        for other in [
            "first 3 epochs: 1.0 2.0 3.0",
            "first 3 values: none",
            "first: 1.0 2.0",
        ] {
            assert_eq!(announced(other.as_bytes()), None, "{other}");
        }
        let preview = Excerpt::read(b"# First 2 values: 1 2\n1.0\n2.5\n", 0).unwrap();
        assert_eq!(preview.place(&[2]).unwrap().values, [1., 2.5]);
        let sum = announced(b"# Sum of first 3 elements: 1.5");
        assert!(sum.is_none_or(|(.., values)| values.is_empty()));
        let short = Excerpt::read(b"first 3: 1.0 2.0\n", 0).unwrap();
        let fault = Fault::Short {
            announced: 3,
            found: 2,
        };
        assert_eq!(short.place(&[100]), Err(fault));
    }

    #[test]
    fn a_cut_stretch_is_an_error() {
        let text = b"# First 3 elements:\n1.0\n2.0\n";
        assert_eq!(
            Excerpt::read(text, 0).unwrap().place(&[100]),
            Err(Fault::Short {
                announced: 3,
                found: 2
            })
        );
    }

    #[test]
    fn bits_of_f16_count_as_exact() {
        let text = b"# Data (first 100 elements as hex and converted):\n0x3c00 (1.000000e+00)\n0xc000 (-2.000000e+00)\n";
        let e = Excerpt::read(text, 0).unwrap();
        assert!(e.is_f16);
        assert_eq!(e.place(&[2]).unwrap().values, [1.0, -2.0]);
        assert_eq!(e.precision.half_units(), (0.0, 0.0));
        assert!(e.place(&[6144]).is_err());
    }

    #[test]
    fn lines_with_an_index_say_their_own_place() {
        for text in [
            "[0] = 0.5\n[1] = 1.5\n...\n[9] = 9.5\n",
            "[0] 0.5\n[1] 1.5\n...\n[9] 9.5\n",
            "0: 0.5\n1: 1.5\n...\n9: 9.5\n",
            "q[0][0] = 0.5\nq[0][1] = 1.5\n...\nq[1][4] = 9.5\n",
            "First 2:\n[0] = 0.5\n[1] = 1.5\nLast 1:\n[0] = 9.5\n",
        ] {
            let e = Excerpt::read(text.as_bytes(), 0).unwrap();
            let known = e.place(&[2, 5]).unwrap();
            assert_eq!(known.positions, [0, 1, 9], "{text}");
            assert_eq!(known.values, [0.5, 1.5, 9.5], "{text}");
        }
        let outside = Excerpt::read(b"[0] = 1.5\n...\n[10] = 2.5\n", 0).unwrap();
        assert_eq!(
            outside.place(&[2, 5]),
            Err(Fault::Outside { index: vec![10] })
        );
        assert!(Excerpt::read(b"[0] = 1.5\n2.5\n...\n", 0).is_err());
    }

    #[test]
    fn dots_stand_for_the_middle() {
        let e = Excerpt::read(b"1.5\n2.5\n...\n9.5\n", 0).unwrap();
        assert_eq!(e.place(&[10]).unwrap().positions, [0, 1, 9]);
        assert_eq!(announces(b"# the first 2 layers"), None);
        assert_eq!(announces(b"Last 5 values:"), Some((true, 5, true)));
    }

    #[test]
    fn the_word_elements_may_be_missing() {
        for line in [
            "First 50:",
            "# First 50:",
            "# first 50",
            "first 50 values",
            "--- First 50 ---",
            "# Data (first 50):",
        ] {
            let found = announces(line.as_bytes()).map(|(last, n, _)| (last, n));
            assert_eq!(found, Some((false, 50)), "{line}");
        }
        assert_eq!(announces(b"last 3"), Some((true, 3, true)));
        for line in ["first 2 layers:", "the first 2", "first: 2", "last 3.5"] {
            assert_eq!(announces(line.as_bytes()), None, "{line}");
        }
    }
}
