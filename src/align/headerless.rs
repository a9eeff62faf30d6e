//! What a tensor does not say of itself, its partner does: element type and shape.

use super::fit::{SAMPLE, resident, sample};
use super::view::View;
use crate::causes;
use crate::dtype::DType;
use crate::dump::{Guess, Payload, ReadError, Tensor};
use std::borrow::Cow;

/// Smaller magnitudes count as this one: f16 has none of them.
const FAINT: f64 = 1.0 / (1 << 24) as f64;

/// What a tensor was read as.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Of the note on it.
    pub id: &'static str,
    /// What it does not state, and why it was read so.
    pub what: &'static str,
    pub why: &'static str,
}

/// What a file without a header holds, and what its partner's elements would take: one that is cut holds less.
pub fn bytes(reference: &Tensor, candidate: &Tensor) -> String {
    let sides = [(reference, candidate), (candidate, reference)];
    let said = sides.into_iter().find_map(|(one, other)| {
        (one.guess == Some(Guess::Size) && other.guess.is_none()).then(|| {
            format!(
                "; `{}` has no header: it holds {} bytes, {} {:?} takes {}",
                one.name,
                one.info.byte_extent(),
                other.info.dtype(),
                other.info.shape(),
                other.info.byte_extent()
            )
        })
    });
    said.unwrap_or_default()
}

/// A tensor without a header takes the type of its partner when the bytes fit, else the type of its own width; its elements
/// are a list then, whose axes the values tell.
pub fn like_partner<'a>(
    one: &'a Tensor,
    other: &Tensor,
) -> Result<(Cow<'a, Tensor>, Option<Read>), ReadError> {
    let as_it_is = || Ok((Cow::Borrowed(one), None));
    let guessed = matches!(one.guess, Some(Guess::Size | Guess::Shape | Guess::Bits));
    if !guessed || other.guess.is_some() {
        return as_it_is();
    }
    let (found, why) = match one.reread(other.info.dtype(), other.info.shape()) {
        Some(again) => (Some(again), "like its partner"),
        None => (
            by_width(one, other)?,
            "the shape of its partner and the type of this width whose values lie closest",
        ),
    };
    let Some(mut again) = found else {
        return as_it_is();
    };
    let (id, what) = match one.guess {
        Some(Guess::Bits) => (causes::DTYPE_FROM_PARTNER.id, "type"),
        Some(Guess::Shape) => ("shape_from_partner", "shape"),
        _ => (causes::HEADERLESS.id, "type"),
    };
    // what stands in rows already has its axes
    let rows = one.info.shape() == other.info.shape() || one.guess == Some(Guess::Bits);
    let known = [&again, other].map(|t| matches!(t.payload, Payload::Statistics));
    if !rows && !known.contains(&true) {
        let list = one.reread(again.info.dtype(), &[again.info.len()]);
        again = list.unwrap_or(again);
    }
    Ok((Cow::Owned(again), Some(Read { id, what, why })))
}

/// Headerless data as the type whose width fits the partner's elements; of several the one with values closest to its.
fn by_width(one: &Tensor, other: &Tensor) -> Result<Option<Tensor>, ReadError> {
    use DType::*;
    if one.guess != Some(Guess::Size) || other.info.is_empty() {
        return Ok(None);
    }
    let width = one.info.byte_extent() / other.info.len() as u64;
    let types: &[DType] = match (width, other.info.dtype().is_exact()) {
        (2, false) => &[F16, BF16],
        (4, false) => &[F32],
        (8, false) => &[F64],
        (2, true) => &[I16],
        (4, true) => &[I32, F32],
        (8, true) => &[I64, F64],
        _ => &[],
    };
    let mut readings = types
        .iter()
        .filter_map(|d| one.reread(*d, other.info.shape()))
        .collect::<Vec<_>>();
    if readings.len() < 2 {
        return Ok(readings.pop());
    }
    if matches!(other.payload, Payload::Statistics) {
        return Ok(None);
    }
    let spread = magnitudes(&resident(other)?)?;
    let mut best: Option<(f64, Tensor)> = None;
    for reading in readings {
        let far = distance(&magnitudes(&reading)?, &spread);
        if best.as_ref().is_none_or(|(least, _)| far < *least) {
            best = Some((far, reading));
        }
    }
    Ok(best.map(|(_, reading)| reading))
}

/// Binary logarithms of a sample of elements, in order of size: what the wrong type changes and another order of the
/// elements does not. Infinite and undefined values count as out of all range, what is not known is left out.
fn magnitudes(t: &Tensor) -> Result<Vec<f64>, ReadError> {
    let len = t.info.len();
    let step = (len / SAMPLE).max(1) | 1;
    let values = match &t.payload {
        Payload::Partial(known) => known.values.clone(),
        _ => {
            let view = View::whole(t.info.shape());
            sample(t, &view, &(0..len as u64).step_by(step).collect::<Vec<_>>())?
        }
    };
    let mut logs: Vec<f64> = values
        .into_iter()
        .map(|v| {
            if v.is_finite() {
                v.abs().max(FAINT).log2()
            } else {
                f64::from(f32::MAX).log2()
            }
        })
        .collect();
    logs.sort_by(f64::total_cmp);
    Ok(logs)
}

/// Mean distance between two ordered samples, compared at the same parts of both.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let at = |list: &[f64], i: usize| list[i * (list.len() - 1) / SAMPLE];
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    (0..=SAMPLE).map(|i| (at(a, i) - at(b, i)).abs()).sum()
}
