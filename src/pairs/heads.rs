//! Rows of the Q and K weights that llama.cpp's converter exchanges within each head.
//!
//! Hugging Face rotates the two halves of a head against each other, llama.cpp's llama graph neighbouring channels; so
//! `convert_hf_to_gguf.py` writes row `i` of a head's first half beside row `i` of its second half. Weights that differ by that
//! alone are the same.

use crate::causes;
use crate::dump::{Payload, ReadError, ShapeOverflow, Stream, Tensor, TensorInfo};
use crate::name::Key;
use crate::note::Note;
use std::io::{self, Read};
use std::sync::Arc;

/// Head sizes looked for.
const LARGEST_HEAD: usize = 512;
/// Elements compared to find the head size.
const SAMPLE: usize = 1024;
/// Exchanged rows fit when they leave less than this part of the error.
const CLEARLY: f64 = 0.5;

/// Both weights with their rows in one order.
pub struct Undone {
    pub reference: Tensor,
    pub candidate: Tensor,
    pub note: Note,
}

/// Brings the rows of two weights of Q or K to one order; `None` where they are in one, or in none that is known.
pub fn undo(
    key: &Key,
    reference: &Tensor,
    candidate: &Tensor,
) -> Result<Option<Undone>, ReadError> {
    let shape = reference.info.shape();
    let dense = |t: &Tensor| !matches!(t.payload, Payload::Partial(_) | Payload::Statistics);
    let wanted = key.is_parameter()
        && matches!(key.rest.split('.').next(), Some("q_proj" | "k_proj"))
        && matches!(shape.len(), 1 | 2)
        && shape == candidate.info.shape()
        && !reference.info.is_empty()
        && [reference, candidate]
            .iter()
            .all(|t| dense(t) && t.info.is_contiguous());
    if !wanted {
        return Ok(None);
    }
    let rows = shape[0];
    let columns = reference.info.len() / rows;
    let looked_at = rows.min(LARGEST_HEAD);
    let (r, c) = (
        start(reference, looked_at * columns)?,
        start(candidate, looked_at * columns)?,
    );
    let natural = error(&r, &c, |row| row, looked_at, columns)?;
    let mut best: Option<(f64, usize, bool)> = None;
    if natural > 0.0 {
        for d in (4..=rows.min(LARGEST_HEAD))
            .step_by(2)
            .filter(|&d| rows.is_multiple_of(d))
        {
            for interleaved in [true, false] {
                let place = |row: usize| match interleaved {
                    true => interleave(row, d),
                    false => separate(row, d),
                };
                let left = error(&r, &c, place, looked_at / d * d, columns)?;
                if best.is_none_or(|(e, ..)| left < e) {
                    best = Some((left, d, interleaved));
                }
            }
        }
    }
    let Some((_, d, interleaved)) = best.filter(|(e, ..)| *e < CLEARLY * natural) else {
        return Ok(None);
    };
    let what = match interleaved {
        true => "in the candidate the rows of a head's halves alternate",
        false => "in the reference the rows of a head's halves alternate",
    };
    let shape = [rows / d, 2, d / 2, columns];
    let (halves, pairs) = match interleaved {
        true => (reference, candidate),
        false => (candidate, reference),
    };
    let (halves, pairs) = (regrouped(halves, &shape)?, separated(pairs, &shape)?);
    let (reference, candidate) = match interleaved {
        true => (halves, pairs),
        false => (pairs, halves),
    };
    Ok(Some(Undone {
        reference,
        candidate,
        note: Note::new(
            causes::QK_WEIGHT_PERMUTED.id,
            format!(
                "heads of {d} rows: {what}, as llama.cpp's converter writes them; compared in one order"
            ),
        ),
    }))
}

/// Where row `row` of a weight in halves lies in one whose halves alternate.
fn interleave(row: usize, d: usize) -> usize {
    let (head, i) = (row / d * d, row % d);
    head + i % (d / 2) * 2 + i / (d / 2)
}

/// Where row `row` of a weight whose halves alternate lies in one in halves.
fn separate(row: usize, d: usize) -> usize {
    let (head, i) = (row / d * d, row % d);
    head + i / 2 + i % 2 * (d / 2)
}

/// Relative error over elements spread over the reference, with its row `i` at `place(i)` in the candidate.
fn error(
    reference: &Tensor,
    candidate: &Tensor,
    place: impl Fn(usize) -> usize,
    rows: usize,
    columns: usize,
) -> Result<f64, ReadError> {
    let len = rows * columns;
    // An odd step meets rows and columns of all kinds.
    let step = (len / SAMPLE).max(1) | 1;
    let at: Vec<usize> = (0..len).step_by(step).collect();
    let there: Vec<usize> = at
        .iter()
        .map(|p| place(p / columns) * columns + p % columns)
        .collect();
    let (mut diff, mut norm) = (0.0, 0.0);
    let both = reference
        .gather(&at)?
        .into_iter()
        .zip(candidate.gather(&there)?);
    for (r, c) in both.filter(|(r, c)| r.is_finite() && c.is_finite()) {
        diff += (r - c) * (r - c);
        norm += r * r;
    }
    Ok(if norm > 0.0 {
        (diff / norm).sqrt()
    } else {
        diff.sqrt()
    })
}

/// The first elements of a tensor, where they can be asked for by place.
fn start(t: &Tensor, elements: usize) -> Result<Tensor, ReadError> {
    let needs = (elements * t.info.dtype().size()) as u64;
    t.resident(needs, || "first rows of the weight (bytes)".into())
}

fn misfit(t: &Tensor, error: ShapeOverflow) -> ReadError {
    ReadError::malformed(&t.origin.path, error.to_string())
}

/// Rows in halves as [heads, halves, rows of a half, columns].
fn regrouped(t: &Tensor, shape: &[usize; 4]) -> Result<Tensor, ReadError> {
    let info = TensorInfo::new(t.info.dtype(), shape.to_vec()).map_err(|e| misfit(t, e))?;
    Ok(Tensor { info, ..t.clone() })
}

/// Rows whose halves alternate in the same shape: as a view, or head by head where they can only be streamed.
fn separated(t: &Tensor, shape: &[usize; 4]) -> Result<Tensor, ReadError> {
    let &[_, _, half, columns] = shape;
    if let Payload::Stream(inner) = &t.payload {
        let stream = Separated {
            inner: Arc::clone(inner),
            row: columns * t.info.dtype().size(),
            rows: 2 * half,
        };
        let t = Tensor {
            payload: Payload::Stream(Arc::new(stream)),
            ..t.clone()
        };
        return regrouped(&t, shape);
    }
    let strides = vec![2 * half * columns, columns, 2 * columns, 1];
    let info =
        TensorInfo::strided(t.info.dtype(), shape.to_vec(), strides).map_err(|e| misfit(t, e))?;
    Ok(Tensor { info, ..t.clone() })
}

/// A stream of rows, those of each head in halves again.
struct Separated {
    inner: Arc<dyn Stream>,
    /// Bytes of a row.
    row: usize,
    /// Rows of a head.
    rows: usize,
}

impl Stream for Separated {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let size = self.row * self.rows;
        Ok(Box::new(SeparatedReader {
            inner: self.inner.open()?,
            row: self.row,
            rows: self.rows,
            head: vec![0; size],
            ready: vec![0; size],
            at: size,
        }))
    }
}

struct SeparatedReader {
    inner: Box<dyn Read + Send>,
    row: usize,
    rows: usize,
    head: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
}

impl Read for SeparatedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            let mut filled = 0;
            while filled < self.head.len() {
                match self.inner.read(&mut self.head[filled..])? {
                    0 if filled == 0 => return Ok(0),
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => filled += n,
                }
            }
            for row in 0..self.rows {
                let to = separate(row, self.rows) * self.row;
                self.ready[to..to + self.row]
                    .copy_from_slice(&self.head[row * self.row..][..self.row]);
            }
            self.at = 0;
        }
        let n = out.len().min(self.ready.len() - self.at);
        out[..n].copy_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_shorter_than_its_shape_is_refused() {
        struct Short;
        impl Stream for Short {
            fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
                Ok(Box::new(io::repeat(1).take(12)))
            }
        }
        let info = TensorInfo::new(crate::dtype::DType::F32, vec![512, 1 << 40]).unwrap();
        let t = crate::dump::formats::tensor(
            std::path::Path::new("x.npz"),
            "npz",
            "q_proj.weight".into(),
            info,
            Payload::Stream(Arc::new(Short)),
        );
        let error = start(&t, 512 << 40).unwrap_err().to_string();
        assert!(
            error.ends_with("needs 2251799813685248, found 12"),
            "{error}"
        );
    }

    #[test]
    fn the_two_orders_undo_each_other() {
        for d in [4, 8, 64] {
            for row in 0..3 * d {
                assert_eq!(separate(interleave(row, d), d), row);
            }
        }
        assert_eq!(
            (0..4).map(|r| interleave(r, 4)).collect::<Vec<_>>(),
            [0, 2, 1, 3]
        );
    }
}
