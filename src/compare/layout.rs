//! Brings two tensors of one stage to a common logical shape: squeezed, regrouped, axes exchanged, or the part they share.
//!
//! Every way in which the candidate could be laid out is a `Reading`; where several are possible the data decide, on a
//! sample of elements. The result is a pair of views: nothing is copied, unless the elements can only be streamed.

mod headerless;
mod reading;
mod repeated;
mod view;

use crate::causes;
use crate::math::Sums;
use crate::note::Note;
pub use view::View;

use crate::dump::{Payload, ReadError, Tensor, TensorInfo};
use crate::name::Stage;
use headerless::reread;
use reading::{Choice, Reading, readings};
pub use repeated::KV_REPEATED;
use repeated::repeated;
use std::borrow::Cow;
use view::views;

/// Two views of equal shape, and what was done to get there.
#[derive(Debug)]
pub struct Aligned<'a> {
    pub reference: Cow<'a, Tensor>,
    pub candidate: Cow<'a, Tensor>,
    /// Where the reference's view lies in the reference, unless they are one.
    pub view: Option<View>,
    pub notes: Vec<Note>,
}

/// Why two tensors cannot be brought together.
#[derive(Debug)]
pub enum Misfit {
    /// No layout reconciles the shapes; the text names both.
    Shapes(String),
    Unreadable(ReadError),
}

/// Elements looked at to decide between readings.
const SAMPLE: usize = 2048;
/// Another reading than the natural one is taken when it leaves less than this part of the error.
const CLEARLY: f64 = 0.75;

/// Aligns a pair; `stage` tells which axes may be padded.
pub fn align<'a>(
    reference: &'a Tensor,
    candidate: &'a Tensor,
    stage: Option<Stage>,
) -> Result<Aligned<'a>, Misfit> {
    let Aligned {
        reference,
        candidate,
        mut notes,
        ..
    } = reread(reference, candidate)?;
    let alike = reference.info.shape() == candidate.info.shape();
    if statistics_only(&reference) || statistics_only(&candidate) || alike {
        return Ok(Aligned {
            reference,
            candidate,
            view: None,
            notes,
        });
    }
    if let Some(once) = repeated(&reference, &candidate, stage)? {
        notes.push(once.note);
        return Ok(Aligned {
            reference: once.reference.map_or(reference, Cow::Owned),
            candidate: once.candidate.map_or(candidate, Cow::Owned),
            view: None,
            notes,
        });
    }
    let (r_shape, c_shape) = (
        reference.info.shape().to_vec(),
        candidate.info.shape().to_vec(),
    );
    let (r_box, c_box) = (squeeze(&r_shape), squeeze(&c_shape));
    if r_box == c_box {
        // axes of length 1 only: the longer spelling is kept for both
        let shape = if r_shape.len() >= c_shape.len() {
            r_shape.clone()
        } else {
            c_shape.clone()
        };
        if r_shape.len() != c_shape.len() {
            notes.push(Note::new(
                causes::MISSING_BATCH_DIM.id,
                format!("shape {r_shape:?} against {c_shape:?}: axes of length 1 ignored"),
            ));
        }
        return views(
            &reference,
            &candidate,
            &Reading::whole(&r_box),
            &Reading::whole(&c_box),
            &shape,
            notes,
        );
    }
    let choices = readings(&r_box, &c_box, stage);
    let Some(best) = choose(&reference, &candidate, &choices)? else {
        return Err(Misfit::Shapes(format!(
            "shape {r_shape:?} against {c_shape:?}: no layout makes them comparable{}",
            headerless::bytes(&reference, &candidate)
        )));
    };
    notes.push(best.note(&r_shape, &c_shape));
    let shape = if best.reference == Reading::whole(&r_box) {
        r_shape
    } else {
        best.reference.shape.clone()
    };
    views(
        &reference,
        &candidate,
        &best.reference,
        &best.candidate,
        &shape,
        notes,
    )
}

fn statistics_only(t: &Tensor) -> bool {
    matches!(t.payload, Payload::Statistics)
}

fn squeeze(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

/// The reading that fits the data best; the most natural one where the sample does not tell.
fn choose(r: &Tensor, c: &Tensor, choices: &[Choice]) -> Result<Option<Choice>, Misfit> {
    if choices.len() < 2 {
        return Ok(choices.first().cloned());
    }
    let (r, c) = (
        resident(r).map_err(Misfit::Unreadable)?,
        resident(c).map_err(Misfit::Unreadable)?,
    );
    let mut tried = Vec::with_capacity(choices.len());
    for choice in choices {
        tried.push((
            sampled_error(&r, &c, choice).map_err(Misfit::Unreadable)?,
            choice,
        ));
    }
    let natural = tried[0];
    let best = tried
        .iter()
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .copied()
        .unwrap_or(natural);
    let clear = best.0 < CLEARLY * natural.0;
    Ok(Some(if clear { best.1 } else { natural.1 }.clone()))
}

/// Relative error over a sample of elements spread over the common shape.
fn sampled_error(r: &Tensor, c: &Tensor, choice: &Choice) -> Result<f64, ReadError> {
    let len: usize = choice.reference.shape.iter().product();
    let step = (len / SAMPLE).max(1) | 1;
    let positions: Vec<usize> = (0..len).step_by(step).collect();
    let r = sample(r, &choice.reference, &positions)?;
    let c = sample(c, &choice.candidate, &positions)?;
    let sums: Sums = c.iter().zip(&r).collect();
    Ok(sums.distance().unwrap_or(sums.diff.sqrt()))
}

/// Elements by row-major position in the reading's shape; NaN where a partial tensor does not know one.
fn sample(t: &Tensor, reading: &Reading, positions: &[usize]) -> Result<Vec<f64>, ReadError> {
    let squeezed = squeezed_axes(&t.info);
    let coordinates = |position: usize| {
        let mut rest = position;
        let mut out = vec![0usize; t.info.shape().len()];
        for (i, &n) in reading.shape.iter().enumerate().rev() {
            out[squeezed[reading.axes[i]]] = reading.start[i] + rest % n;
            rest /= n;
        }
        out
    };
    let at = |strides: &[usize], p: usize| {
        coordinates(p)
            .iter()
            .zip(strides)
            .map(|(x, s)| x * s)
            .sum::<usize>()
    };
    match &t.payload {
        Payload::Partial(known) => {
            let row_major = TensorInfo::new(t.info.dtype(), t.info.shape().to_vec());
            let strides = row_major.map(|i| i.strides().to_vec()).unwrap_or_default();
            let find = |p: &usize| {
                known
                    .positions
                    .binary_search(&(at(&strides, *p) as u64))
                    .map_or(f64::NAN, |i| known.values[i])
            };
            Ok(positions.iter().map(find).collect())
        }
        _ => t.gather(
            &positions
                .iter()
                .map(|&p| at(t.info.strides(), p))
                .collect::<Vec<_>>(),
        ),
    }
}

fn squeezed_axes(info: &TensorInfo) -> Vec<usize> {
    (0..info.shape().len())
        .filter(|&i| info.shape()[i] != 1)
        .collect()
}

/// A tensor whose elements can be reached in any order: streams are read into memory.
fn resident(t: &Tensor) -> Result<Tensor, ReadError> {
    let what = || format!("data of {} {:?} (bytes)", t.info.dtype(), t.info.shape());
    t.resident(t.info.byte_extent(), what)
}
