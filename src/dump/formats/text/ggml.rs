//! llama.cpp's print of every tensor of a graph (`llama-eval-callback`).
//!
//! A line `NAME = (TYPE) OP(SOURCES) = {DIMS}`, then nested brackets with the first and last three elements of the three
//! inner dimensions, one block per index of the outermost, and `sum = …`. Dimensions stand innermost first.

use super::digits::{Precision, rounded};
use super::header::from_ggml;
use super::nest::{Fault, Nest};
use super::number::number;
use crate::dtype::DType;
use crate::dump::{Partial, Rounded};

/// The line above the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    /// The operation with its sources: `ROPE(Qcur-0{32, 8, 15, 1}, inp_pos{15, 1, 1, 1})`.
    pub operation: String,
    /// `None` for a type that is not printed (block-quantised).
    pub dtype: Option<DType>,
    /// All four, outermost first.
    pub dims: Vec<usize>,
}

impl Header {
    pub fn of(line: &str) -> Option<Header> {
        let (left, dims) = line.trim_end().rsplit_once(") = {")?;
        let dims = dims.strip_suffix('}')?;
        let mut dims = dims
            .split(',')
            .map(|d| d.trim().parse().ok())
            .collect::<Option<Vec<usize>>>()?;
        if dims.len() != 4 {
            return None;
        }
        dims.reverse();
        let (name, rest) = left.split_once(" = (")?;
        let (dtype, operation) = rest.split_once(')')?;
        // A function's name and a time stamp may stand before the name.
        let name = name.rsplit_once(": ").map_or(name, |(_, n)| n).trim();
        let operation = operation.trim();
        let (op, sources) = operation.split_once('(')?;
        if name.is_empty()
            || op.is_empty()
            || !op.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return None;
        }
        // The format has one brace too many behind the second source.
        let sources = sources.strip_suffix('}').unwrap_or(sources);
        let sources = sources.trim_end().trim_end_matches(',');
        Some(Header {
            name: name.to_owned(),
            operation: format!("{op}({sources})"),
            dtype: DType::parse(dtype),
            dims,
        })
    }

    pub fn op(&self) -> &str {
        self.operation.split('(').next().unwrap_or_default()
    }
}

/// One tensor of the log, while its lines arrive.
#[derive(Debug)]
pub struct Block {
    pub header: Header,
    nest: Nest,
    pub precision: Precision,
    pub sum: Option<Rounded>,
    fault: Option<Fault>,
}

/// What a line meant to the block.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    Yes,
    /// The line belongs to something else (a log line in between).
    No,
    /// It was the last one.
    Last,
}

impl Block {
    pub fn new(header: Header) -> Block {
        let mut nest = Nest::default();
        let fault = nest.open().err();
        Block {
            header,
            nest,
            precision: Precision::default(),
            sum: None,
            fault,
        }
    }

    /// Takes one line; `ended`: the line is there to its end.
    pub fn line(&mut self, line: &str, ended: bool) -> Taken {
        let body = without_stamp(line).trim();
        if let Some(sum) = body.strip_prefix("sum = ") {
            if ended {
                self.sum = rounded(sum.trim().as_bytes());
            }
            return match self.is_whole() {
                true => Taken::Last,
                false => Taken::Yes,
            };
        }
        if body.strip_prefix("sum_sq = ").is_some() {
            return Taken::Yes;
        }
        if !is_values(body) {
            return Taken::No;
        }
        if self.fault.is_none() {
            self.fault = self.values(body.as_bytes(), ended).err();
        }
        Taken::Yes
    }

    fn values(&mut self, mut text: &[u8], ended: bool) -> Result<(), Fault> {
        while let Some(&b) = text.first() {
            let used = match b {
                b'[' => {
                    self.nest.open()?;
                    1
                }
                b']' => {
                    self.nest.close()?;
                    1
                }
                b'.' => {
                    // The end of a log may cut the dots.
                    if text.starts_with(b"...") {
                        self.nest.gap()?;
                    }
                    text.iter().take_while(|b| **b == b'.').count()
                }
                _ => match number(text) {
                    Some((value, used)) => {
                        // A number at the end of a cut line may lack digits.
                        if ended || used < text.len() {
                            self.precision.see(&text[..used]);
                            self.nest.value(value)?;
                        }
                        used
                    }
                    None => 1,
                },
            };
            text = &text[used..];
        }
        Ok(())
    }

    /// All blocks are there and closed.
    fn is_whole(&self) -> bool {
        self.nest.open_lists() == 1 && self.nest.outer_count() == self.header.dims[0]
    }

    /// No value was printed: the type is not printable.
    pub fn is_empty(&self) -> bool {
        self.nest.values().is_empty()
    }

    /// The shape, the known elements, and whether the print was cut off.
    pub fn finish(mut self) -> Result<(Vec<usize>, Partial, bool), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let cut = !self.is_whole();
        if !cut {
            self.nest.close()?;
        }
        let (_, partial) = self.nest.place(Some(&self.header.dims))?;
        let mut dims = self.header.dims;
        dims.reverse();
        Ok((from_ggml(dims), partial, cut))
    }

    /// The sum of the printed elements, and how far rounding may put it off.
    pub fn printed_sum(&self) -> (f64, f64) {
        let values = self.nest.values();
        let sum: f64 = values.iter().sum();
        let unit = self.precision.half_units_aligned().0;
        let size: f64 = values.iter().map(|v| v.abs()).sum();
        (sum, values.len() as f64 * unit + 1e-6 * size)
    }

    pub fn has_gaps(&self) -> bool {
        self.nest.has_gaps()
    }
}

/// Only brackets, numbers, commas and dots.
fn is_values(body: &str) -> bool {
    body.starts_with(['[', ']', '.', '-'])
        && !body.contains(|c: char| c.is_ascii_alphabetic() && !"aefinNIF".contains(c))
        && !body.contains(['=', ':', '(', '{', '/'])
}

/// Without the time and level that llama.cpp's logger may put before a line (`0.00.008.304 I `).
pub fn without_stamp(line: &str) -> &str {
    let digits = line
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(0);
    let stamp = &line[..digits];
    match &line.as_bytes()[digits..] {
        [b' ', level, b' ', ..]
            if level.is_ascii_uppercase() && stamp.matches('.').count() == 3 =>
        {
            &line[digits + 3..]
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "common_debug_cb_eval:                   Qcur-0 = (f32)       ROPE(Qcur-0{32, 8, 15, 1}, inp_pos{15, 1, 1, 1}}) = {32, 8, 15, 1}";

    #[test]
    fn the_line_above_the_values_is_read() {
        let h = Header::of(LINE).unwrap();
        assert_eq!(h.name, "Qcur-0");
        assert_eq!(
            h.operation,
            "ROPE(Qcur-0{32, 8, 15, 1}, inp_pos{15, 1, 1, 1})"
        );
        assert_eq!((h.op(), h.dtype), ("ROPE", Some(DType::F32)));
        assert_eq!(h.dims, [1, 15, 8, 32]);
        let view = "ggml_debug:        cache_v_l0 (view) (permuted) = (f16)    PERMUTE(cache_v_l0 (view){256, 4, 32, 1}, }) = {256, 32, 4, 1}";
        let h = Header::of(view).unwrap();
        assert_eq!(h.name, "cache_v_l0 (view) (permuted)");
        assert_eq!(h.operation, "PERMUTE(cache_v_l0 (view){256, 4, 32, 1})");
        assert_eq!(Header::of("x = (f32) = {1, 2, 3, 4}"), None);
        assert_eq!(Header::of("let y = (a) f(b) = {1}"), None);
    }

    #[test]
    fn blocks_are_placed_and_sums_kept() {
        let h =
            Header::of("ggml_debug: x = (f32) ADD(a{8, 2, 1, 1}, b{8, 1, 1, 1}}) = {8, 2, 1, 1}")
                .unwrap();
        let mut b = Block::new(h);
        let lines = [
            "     [",
            "      [",
            "       [      1.0000,       2.0000,       3.0000, ...,       6.0000,       7.0000,       8.0000],",
            "0.00.008.304 I some other line",
            "       [     -1.0000,      -2.0000,      -3.0000, ...,      -6.0000,          nan,      -8.0000],",
            "      ],",
            "     ]",
        ];
        for (i, line) in lines.iter().enumerate() {
            let expected = if i == 3 { Taken::No } else { Taken::Yes };
            assert_eq!(b.line(line, true), expected, "{line}");
        }
        assert_eq!(b.line("     sum = 12.345678", true), Taken::Last);
        assert_eq!(b.sum.unwrap().value, 12.345678);
        let (shape, p, cut) = b.finish().unwrap();
        assert_eq!((shape, cut), (vec![2, 8], false));
        assert_eq!(p.positions, [0, 1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 15]);
        assert!(p.values[10].is_nan());
    }

    #[test]
    fn a_cut_off_number_is_not_taken() {
        let h = Header::of("x = (f32) ADD(a{8, 2, 1, 1}, }) = {8, 2, 1, 1}").unwrap();
        let mut b = Block::new(h);
        b.line("[", true);
        b.line("[", true);
        b.line("[ 1.0000, 2.00", false);
        let (_, p, cut) = b.finish().unwrap();
        assert_eq!((p.positions, cut), (vec![0], true));
    }
}
