//! A tensor seen through a reading, without copying where strides can say it.

use super::reading::Reading;
use super::{Aligned, Misfit, resident, squeezed_axes};
use crate::dump::{Partial, Payload, Tensor, TensorInfo, unravel};
use crate::note::Note;
use std::borrow::Cow;
use std::sync::Arc;

/// Where the elements of a view lie in its tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Axes of the view: their lengths, the axes of the tensor that they run along, and where they start there.
    shape: Vec<usize>,
    axes: Vec<usize>,
    start: Vec<usize>,
    /// Axes of the tensor.
    rank: usize,
}

impl View {
    fn of(reading: &Reading, info: &TensorInfo) -> View {
        let axes = squeezed_axes(info);
        View {
            shape: reading.shape.clone(),
            axes: reading.axes.iter().map(|&a| axes[a]).collect(),
            start: reading.start.clone(),
            rank: info.shape().len(),
        }
    }

    /// The index in the tensor of a row-major position in the view.
    pub fn index(&self, position: u64) -> Vec<usize> {
        let mut index = vec![0; self.rank];
        let inside = unravel(position, &self.shape);
        for ((axis, start), i) in self.axes.iter().zip(&self.start).zip(inside) {
            index[*axis] = start + i;
        }
        index
    }
}

pub fn views(
    r: &Tensor,
    c: &Tensor,
    reading_r: &Reading,
    reading_c: &Reading,
    shape: &[usize],
    notes: Vec<Note>,
) -> Result<Aligned<'static>, Misfit> {
    let reference = view(r, reading_r, shape)?;
    let candidate = view(c, reading_c, shape)?;
    Ok(Aligned {
        reference: Cow::Owned(reference),
        candidate: Cow::Owned(candidate),
        view: Some(View::of(reading_r, &r.info)),
        notes,
    })
}

/// The tensor as `reading` sees it, regrouped to `shape` (same number of elements).
fn view(t: &Tensor, reading: &Reading, shape: &[usize]) -> Result<Tensor, Misfit> {
    let axes = squeezed_axes(&t.info);
    let whole = !reading.is_permuted() && reading.shape.iter().product::<usize>() == t.info.len();
    if let Payload::Partial(p) = &t.payload {
        let partial = if whole {
            p.clone()
        } else {
            Arc::new(remap(p, &t.info, &axes, reading))
        };
        return retyped(t, shape, None, Payload::Partial(partial));
    }
    if whole && t.info.is_contiguous() {
        return retyped(t, shape, None, t.payload.clone());
    }
    let t = resident(t).map_err(Misfit::Unreadable)?;
    let strides: Vec<usize> = reading
        .axes
        .iter()
        .map(|&a| t.info.strides()[axes[a]])
        .collect();
    let first: usize = reading.start.iter().zip(&strides).map(|(x, s)| x * s).sum();
    let size = t.info.dtype().size();
    let payload = match &t.payload {
        Payload::File {
            file,
            offset,
            big_endian,
            crc,
        } => Payload::File {
            file: file.clone(),
            offset: offset + (first * size) as u64,
            big_endian: *big_endian,
            crc: *crc,
        },
        Payload::Memory(bytes) => Payload::Memory(bytes[first * size..].into()),
        other => other.clone(),
    };
    match regroup(&reading.shape, &strides, shape) {
        Some(strides) => retyped(&t, shape, Some(strides), payload),
        None => {
            // no strides describe it: gather the elements
            let at = Tensor {
                payload,
                info: strided(&t, reading.shape.clone(), strides)?,
                ..t.clone()
            };
            let values = at.values().map_err(Misfit::Unreadable)?;
            let mut bytes = Vec::with_capacity(values.len() * size);
            values
                .iter()
                .for_each(|v| t.info.dtype().encode(*v, &mut bytes));
            retyped(&t, shape, None, Payload::Memory(bytes.into()))
        }
    }
}

fn strided(t: &Tensor, shape: Vec<usize>, strides: Vec<usize>) -> Result<TensorInfo, Misfit> {
    TensorInfo::strided(t.info.dtype(), shape, strides).map_err(|e| Misfit::Shapes(e.to_string()))
}

fn retyped(
    t: &Tensor,
    shape: &[usize],
    strides: Option<Vec<usize>>,
    payload: Payload,
) -> Result<Tensor, Misfit> {
    let info = match strides {
        Some(strides) => strided(t, shape.to_vec(), strides)?,
        None => TensorInfo::new(t.info.dtype(), shape.to_vec())
            .map_err(|e| Misfit::Shapes(e.to_string()))?,
    };
    Ok(Tensor {
        info,
        payload,
        ..t.clone()
    })
}

/// Strides of `to` over the elements of (`from`, `strides`), where strides can describe it.
fn regroup(from: &[usize], strides: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut out = vec![0; to.len()];
    let (mut i, mut j) = (from.len(), to.len());
    while j > 0 {
        if to[j - 1] == 1 {
            j -= 1;
            continue;
        }
        if i == 0 {
            return None;
        }
        // one axis of `from`, or several that lie together, against one or several of `to`
        let (mut f, mut t) = (from[i - 1], to[j - 1]);
        let (mut fi, mut tj) = (i - 1, j - 1);
        while f != t {
            if f < t {
                if fi == 0 || strides[fi - 1] != strides[fi] * from[fi] {
                    return None;
                }
                fi -= 1;
                f *= from[fi];
            } else {
                if tj == 0 {
                    return None;
                }
                tj -= 1;
                t *= to[tj];
            }
        }
        let mut next = strides[i - 1];
        for k in (tj..j).rev() {
            out[k] = next;
            next *= to[k];
        }
        (i, j) = (fi, tj);
    }
    Some(out)
}

/// Known positions of a partial tensor in the coordinates of a reading.
fn remap(p: &Partial, info: &TensorInfo, axes: &[usize], reading: &Reading) -> Partial {
    let mut known: Vec<(u64, f64)> = Vec::with_capacity(p.positions.len());
    for (&position, &value) in p.positions.iter().zip(&p.values) {
        let index = unravel(position, info.shape());
        let inside = reading
            .axes
            .iter()
            .enumerate()
            .try_fold(0u64, |acc, (i, &a)| {
                let x = index[axes[a]]
                    .checked_sub(reading.start[i])
                    .filter(|x| *x < reading.shape[i])?;
                Some(acc * reading.shape[i] as u64 + x as u64)
            });
        known.extend(inside.map(|at| (at, value)));
    }
    known.sort_by_key(|k| k.0);
    Partial {
        positions: known.iter().map(|k| k.0).collect(),
        values: known.iter().map(|k| k.1).collect(),
    }
}
