//! Tensors as Python and Rust print them: `tensor([[0.1, ..., 0.2]], dtype=torch.bfloat16)`, `array([...])`,
//! candle's `[[0.1, 0.2]]` above `Tensor[[1, 2], f32]`.

use super::digits::Precision;
use super::header::{shape, value_of};
use super::nest::{Fault, Nest};
use super::number::number;
use crate::dtype::DType;

/// Who printed, as far as the words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `tensor(…)`: f32 unless it says otherwise.
    Torch,
    /// `array(…)` and the like: f64 unless it says otherwise.
    Array,
    /// Brackets alone.
    Bare,
}

/// One printed tensor, while its lines arrive.
#[derive(Clone, Debug)]
pub struct Print {
    pub style: Style,
    nest: Nest,
    pub precision: Precision,
    pub dtype: Option<DType>,
    pub shape: Option<Vec<usize>>,
    part: Part,
    /// What stands between the last bracket and the closing parenthesis.
    tail: String,
    bools: bool,
    fractions: bool,
    /// Bytes of the last line that stand behind the print.
    pub behind: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Values,
    /// Behind the values, with so many parentheses open.
    Tail(u32),
    Done,
}

/// What a line meant to the print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    More,
    Done,
    /// This is no tensor after all.
    Never,
    Fault(Fault),
}

/// A printed tensor that starts in `line`: the text before it, and where its first bracket or value stands.
pub fn start(line: &str) -> Option<(Style, &str, usize)> {
    for (word, style) in [
        ("tensor(", Style::Torch),
        ("array(", Style::Array),
        ("Array(", Style::Array),
        ("tf.Tensor(", Style::Array),
    ] {
        let Some(at) = line.find(word) else { continue };
        let before = &line[..at];
        // `torch.tensor(` and `np.array(` are code.
        if before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.')) {
            continue;
        }
        let body = line[at + word.len()..].trim_start();
        let starts = body.is_empty()
            || body.starts_with('[')
            || body.starts_with("True")
            || body.starts_with("False")
            || number(body.as_bytes()).is_some();
        if starts {
            return Some((style, before, at + word.len()));
        }
    }
    line.match_indices('[').find_map(|(at, _)| {
        let (before, body) = line.split_at(at);
        (is_labelled(before, body) && is_list(body)).then_some((Style::Bare, before, at))
    })
}

/// Whether a list of numbers starts here, and no time, counter or word in brackets: `[12:30:00]`, `[1/5]`, `[3] q_proj`.
fn is_list(body: &str) -> bool {
    let inner = body.trim_start_matches(['[', ' ']);
    let starts = inner.is_empty()
        || number(inner.as_bytes()).is_some_and(|(_, used)| {
            let rest = inner[used..].trim_start();
            rest.is_empty()
                || rest.starts_with([',', '.', '-', ']'])
                || rest.starts_with(|c: char| c.is_ascii_digit())
        });
    starts && behind(body).is_none_or(|rest| is_end(rest.trim().as_bytes()))
}

/// What may stand behind a list that is a tensor: nothing, or the next key of a dictionary.
fn is_end(rest: &[u8]) -> bool {
    let next = rest.strip_prefix(b",").map(<[u8]>::trim_ascii_start);
    matches!(rest, b"" | b"," | b")" | b"}" | b"]")
        || next.is_some_and(|r| r.starts_with(b"'") || r.starts_with(b"\""))
}

/// The text behind the brackets that open `body`, where they are closed in it.
fn behind(body: &str) -> Option<&str> {
    let mut depth = 0;
    for (at, b) in body.bytes().enumerate() {
        match b {
            b'[' => depth += 1,
            b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&body[at + 1..]);
        }
    }
    None
}

/// A sign or nothing stands before a list; or a name alone where the list can be nothing but values.
fn is_labelled(before: &str, body: &str) -> bool {
    let label = before.trim_end();
    if label.is_empty() || label.ends_with([':', '=', '>']) {
        return true;
    }
    let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    let fraction = body
        .split([',', ' ', '[', ']'])
        .find(|w| !w.is_empty())
        .is_some_and(|w| w.contains('.') && number(w.as_bytes()).is_some_and(|n| n.1 == w.len()));
    before.ends_with(' ') && label.chars().all(name) && fraction
}

impl Print {
    pub fn new(style: Style) -> Print {
        Print {
            style,
            nest: Nest::default(),
            precision: Precision::default(),
            dtype: None,
            shape: None,
            part: Part::Values,
            tail: String::new(),
            bools: false,
            fractions: false,
            behind: 0,
        }
    }

    /// Takes a line, or what follows the print's start in its first line.
    pub fn line(&mut self, line: &str, ended: bool) -> Taken {
        let mut text = line.as_bytes();
        while let Some(&b) = text.first() {
            let used = match self.part {
                Part::Values => match self.value(text, ended) {
                    Ok(0) => return Taken::Never,
                    Ok(used) => used,
                    Err(fault) => return Taken::Fault(fault),
                },
                Part::Tail(depth) => {
                    let depth = match b {
                        b'(' => depth + 1,
                        b')' => depth - 1,
                        _ => depth,
                    };
                    if depth == 0 {
                        self.read_tail();
                        self.part = Part::Done;
                    } else if self.tail.len() > 2000 {
                        return Taken::Never;
                    } else {
                        self.tail.push(char::from(b));
                        self.part = Part::Tail(depth);
                    }
                    1
                }
                Part::Done => {
                    // Words behind bare brackets: a list in a sentence.
                    let rest = text.trim_ascii();
                    let sentence = self.style == Style::Bare && !is_end(rest);
                    self.behind = text.len();
                    return if sentence { Taken::Never } else { Taken::Done };
                }
            };
            text = &text[used..];
        }
        match self.part {
            Part::Done => Taken::Done,
            Part::Tail(_) => {
                self.tail.push(' ');
                Taken::More
            }
            Part::Values => Taken::More,
        }
    }

    /// Takes one bracket, number, word or separator; 0 when there is none of them.
    fn value(&mut self, text: &[u8], ended: bool) -> Result<usize, Fault> {
        Ok(match text[0] {
            b'[' => {
                self.nest.open()?;
                1
            }
            b']' => {
                self.nest.close()?;
                if !self.nest.is_open() {
                    self.part = match self.style {
                        Style::Bare => Part::Done,
                        _ => Part::Tail(1),
                    };
                }
                1
            }
            b' ' | b'\t' | b'\r' | b',' => 1,
            b'.' if text.starts_with(b"...") => {
                self.nest.gap()?;
                3
            }
            0xe2 if text.starts_with("…".as_bytes()) => {
                self.nest.gap()?;
                3
            }
            _ => {
                let (value, used) = if text.starts_with(b"True") {
                    self.bools = true;
                    (1.0, 4)
                } else if text.starts_with(b"False") {
                    self.bools = true;
                    (0.0, 5)
                } else {
                    let Some((value, used)) = number(text) else {
                        return Ok(0);
                    };
                    self.precision.see(&text[..used]);
                    self.fractions |= text[..used]
                        .iter()
                        .any(|b| !b.is_ascii_digit() && *b != b'-');
                    (value, used)
                };
                match text.get(used) {
                    None if ended => {}
                    // A number at the end of a cut line may lack digits.
                    None => return Ok(used),
                    Some(b' ' | b',' | b']' | b')' | b'\t') => {}
                    Some(_) => return Ok(0),
                }
                if !self.nest.is_open() {
                    if self.style == Style::Bare || !self.nest.values().is_empty() {
                        return Ok(0);
                    }
                    self.part = Part::Tail(1);
                }
                self.nest.value(value)?;
                used
            }
        })
    }

    fn read_tail(&mut self) {
        let lower = self.tail.to_ascii_lowercase();
        self.dtype = value_of(&self.tail, &lower, "dtype").and_then(|v| {
            let v = v.trim_start_matches(['\'', '"', '<']);
            let end = v
                .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'))
                .unwrap_or(v.len());
            DType::parse(&v[..end])
        });
        let said = ["shape", "size"]
            .iter()
            .find_map(|key| Some(shape(value_of(&self.tail, &lower, key)?)?.0));
        self.shape = said.or(self.shape.take());
    }

    /// The line below candle's brackets: `Tensor[[1, 24, 256], f32]`.
    pub fn trailer(&mut self, line: &str) -> bool {
        let Some(body) = line.trim().strip_prefix("Tensor[") else {
            return false;
        };
        let Some((dims, used)) = shape(body) else {
            return false;
        };
        let rest = body[used..].trim_start_matches([',', ' ']);
        let end = rest.find([',', ']']).unwrap_or(rest.len());
        self.shape = Some(dims);
        self.dtype = DType::parse(&rest[..end]);
        true
    }

    /// Enough of a tensor to be taken for one when nothing but brackets says so.
    pub fn is_telling(&self) -> bool {
        self.style != Style::Bare || self.shape.is_some() || self.nest.values().len() >= 4
    }

    pub fn lacks_shape(&self) -> bool {
        self.shape.is_none() && self.nest.has_gaps()
    }

    pub fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// The element type that is printed or meant by leaving it out.
    pub fn dtype(&self) -> DType {
        match (self.dtype, self.style) {
            (Some(dtype), _) => dtype,
            _ if self.bools => DType::Bool,
            _ if !self.fractions => DType::I64,
            (None, Style::Torch) => DType::F32,
            (None, _) => DType::F64,
        }
    }

    pub fn nest(&self) -> &Nest {
        &self.nest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str) -> Print {
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        let (style, _, at) = start(first).unwrap();
        let mut p = Print::new(style);
        let mut taken = p.line(&first[at..], true);
        for line in lines {
            if p.is_done() {
                p.trailer(line);
            } else {
                assert_eq!(taken, Taken::More, "{line}");
                taken = p.line(line, true);
            }
        }
        assert_eq!(taken, Taken::Done);
        p
    }

    #[test]
    fn torch_says_only_what_is_not_the_default() {
        let p = print(
            "tensor([[ 1.2656, -0.2168],\n        [-0.7383,  2.0000]],\n       device='cuda:0', dtype=torch.bfloat16, grad_fn=<AddBackward0>)",
        );
        assert_eq!(
            (p.dtype(), p.nest().shape()),
            (DType::BF16, Some(vec![2, 2]))
        );
        assert_eq!(print("tensor([1., 2.])").dtype(), DType::F32);
        assert_eq!(print("tensor([1, 2])").dtype(), DType::I64);
        assert_eq!(print("tensor([ True, False])").dtype(), DType::Bool);
        let p = print("tensor(0.1234, dtype=torch.float64)");
        assert_eq!((p.dtype(), p.nest().values()), (DType::F64, &[0.1234][..]));
        let p = print("tensor([], size=(0, 3))");
        assert_eq!(p.shape, Some(vec![0, 3]));
    }

    #[test]
    fn elided_prints_know_that_the_shape_is_missing() {
        assert!(print("tensor([ 1.0,  2.0,  ..., 3.0, 4.0])").lacks_shape());
        let p = print(
            "array([[ 0.1,  0.2, ...,  0.3, 0.4],\n [1, 2, ..., 3, 4]], shape=(2, 1000), dtype=float32)",
        );
        assert!(!p.lacks_shape());
        assert_eq!(
            (p.shape.clone(), p.dtype()),
            (Some(vec![2, 1000]), DType::F32)
        );
    }

    #[test]
    fn candle_prints_the_shape_below() {
        let p = print("[[[ 0.0012, -0.5000],\n  [ 1.0000,  0.2500]]]\nTensor[[1, 2, 2], bf16]");
        assert_eq!(
            (p.shape.clone(), p.dtype()),
            (Some(vec![1, 2, 2]), DType::BF16)
        );
    }

    #[test]
    fn labels_are_found_and_sentences_left_alone() {
        assert_eq!(
            start("q_proj: tensor([1.0"),
            Some((Style::Torch, "q_proj: ", 15))
        );
        assert_eq!(start("ids = [1, 2]").unwrap().1, "ids = ");
        for text in [
            "x = torch.tensor([1.0])",
            "[12:30:00] start",
            "[1/5] step",
            "a list [1, 2] here",
            "[rank0]: hi",
            "np.array([1])",
        ] {
            assert_eq!(start(text), None, "{text}");
        }
        let mut p = Print::new(Style::Bare);
        assert_eq!(p.line("[1, 2] tokens", true), Taken::Never);
        let mut p = Print::new(Style::Bare);
        assert_eq!(p.line("[1, two]", true), Taken::Never);
    }
}
