//! llama.cpp's print of every tensor of a graph (`llama-eval-callback`).
//!
//! A line `NAME = (TYPE) OP(SOURCES) = {DIMS}`, then nested brackets with the first and last three elements of the three
//! inner dimensions, one block per index of the outermost, and `sum = …`. Dimensions stand innermost first.
//!
//! Two relatives: the Python hooks of llama.cpp's model-conversion guide print the same with `... = {torch.Size(SHAPE)}`, the first
//! of a batch only and heads side by side; clip.cpp prints `NAME.shape = [DIMS]`, then `NAME.data: [` and the values, without sum.

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
        Header::of_graph(line).or_else(|| Header::of_module(line))
    }

    /// `ggml_debug: NAME = (f32)  ... = {torch.Size([1, 2, 8])}`.
    fn of_module(line: &str) -> Option<Header> {
        let (left, shape) = line.trim_end().split_once("= {torch.Size([")?;
        let shape = numbers(shape.strip_suffix("])}")?)?;
        let (name, rest) = left.split_once(" = (")?;
        let name = name.strip_prefix("ggml_debug: ").unwrap_or(name).trim();
        let (dtype, _) = rest.split_once(')')?;
        // the first of the batch; heads are printed side by side
        let (rows, inner) = match shape[..] {
            [rows, inner] | [_, rows, inner] => (rows, inner),
            [_, rows, heads, dim] => (rows, heads.checked_mul(dim)?),
            _ => return None,
        };
        (!name.is_empty()).then(|| Header {
            name: name.to_owned(),
            operation: String::new(),
            dtype: DType::parse(dtype),
            dims: vec![1, 1, rows, inner],
        })
    }

    /// `NAME.shape = [8, 2]`, innermost first.
    pub fn of_shape(line: &str) -> Option<Header> {
        let (name, dims) = line.trim().split_once(".shape = [")?;
        let mut dims = numbers(dims.strip_suffix(']')?)?;
        if dims.len() > 4 || name.is_empty() || name.contains(char::is_whitespace) {
            return None;
        }
        dims.resize(4, 1);
        dims.reverse();
        Some(Header {
            name: name.to_owned(),
            operation: String::new(),
            dtype: Some(DType::F32),
            dims,
        })
    }

    /// Whether the values of the tensor stand below this line: `NAME.data: [`.
    pub fn is_data(&self, line: &str) -> bool {
        let name = line.trim().strip_suffix(".data: [");
        name == Some(self.name.as_str())
    }

    fn of_graph(line: &str) -> Option<Header> {
        let (left, dims) = line.trim_end().rsplit_once(") = {")?;
        let dims = dims.strip_suffix('}')?;
        let mut dims = numbers(dims)?;
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

fn numbers(list: &str) -> Option<Vec<usize>> {
    list.split(',').map(|n| n.trim().parse().ok()).collect()
}

/// One tensor of the log, while its lines arrive.
#[derive(Debug)]
pub struct Block {
    pub header: Header,
    nest: Nest,
    pub precision: Precision,
    pub sum: Option<Rounded>,
    /// No sum ends it.
    bare: bool,
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
            bare: false,
            fault,
        }
    }

    /// Values that no sum ends, below a line that [`Header::is_data`].
    pub fn bare(header: Header) -> Block {
        let mut block = Block::new(header);
        block.bare = true;
        block.fault = block.fault.or(block.nest.open().err());
        block
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
        // each of the outermost has a head of its own
        let body = if self.bare && self.header.is_data(body) {
            "["
        } else {
            body
        };
        if !is_values(body) {
            return Taken::No;
        }
        if self.fault.is_none() {
            self.fault = self.values(body.as_bytes(), ended).err();
        }
        if self.bare && self.is_whole() {
            return Taken::Last;
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
    fn hooks_of_the_conversion_guide_print_shapes_of_torch() {
        let h = Header::of(
            "ggml_debug: model.layers.0.self_attn.q_proj_out = (f32)  ... = {torch.Size([1, 2, 8])}",
        );
        let h = h.unwrap();
        assert_eq!(
            (&*h.name, &*h.dims),
            ("model.layers.0.self_attn.q_proj_out", &[1, 1, 2, 8][..])
        );
        let heads = Header::of("ggml_debug: q = (f32)  ... = {torch.Size([2, 5, 4, 16])}").unwrap();
        assert_eq!(heads.dims, [1, 1, 5, 64]);
        assert_eq!(
            Header::of("ggml_debug: q = (f32)  ... = {torch.Size([7])}"),
            None
        );
    }

    #[test]
    fn clip_prints_its_shape_in_the_line_above() {
        let h = Header::of_shape("Qcur-0.shape = [8, 2]").unwrap();
        assert!(h.is_data("Qcur-0.data: [") && !h.is_data("Kcur-0.data: ["));
        let mut b = Block::bare(h);
        for line in [
            "     [",
            "      [  0.1000,   0.2000,   0.3000, ...,   0.6000,   0.7000,   0.8000],",
            "      [  1.1000,   1.2000,   1.3000, ...,   1.6000,   1.7000,   1.8000],",
            "     ],",
        ] {
            assert_eq!(b.line(line, true), Taken::Yes, "{line}");
        }
        assert_eq!(b.line("    ]", true), Taken::Last);
        let (shape, p, cut) = b.finish().unwrap();
        assert_eq!((shape, p.values.len(), cut), (vec![2, 8], 12, false));
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
