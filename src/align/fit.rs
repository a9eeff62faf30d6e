//! How well a composition of views fits the values of both sides, on a sample of elements.

use super::view::{Composition, View};
use crate::dump::{Payload, ReadError, Tensor, TensorInfo, unravel};

/// Values that have nothing to do with each other differ by more than this part of their size: what fits better belongs together.
pub const FITS: f64 = 0.5;
/// Squares count as no more than this many times their mean.
const LARGE: f64 = 4.0;
/// Elements looked at.
pub const SAMPLE: usize = 2048;
/// Elements of a file that is held for it.
const SMALL: usize = 1 << 20;

/// Relative error over at most `most` elements spread evenly over the views; of whole numbers the share that is unequal, as a
/// norm. `None` where nothing is known on both sides.
pub fn error(
    [r, c]: [&Tensor; 2],
    of: &Composition,
    most: usize,
) -> Result<Option<f64>, ReadError> {
    error_at([r, c], of, &positions([r, c], of, most))
}

/// The same at these positions of the views.
pub fn error_at(
    [r, c]: [&Tensor; 2],
    of: &Composition,
    positions: &[u64],
) -> Result<Option<f64>, ReadError> {
    let a = sample(r, &of.reference, positions)?;
    let b = sample(c, &of.candidate, positions)?;
    let both = a.iter().zip(&b);
    if r.info.dtype().is_exact() && c.info.dtype().is_exact() {
        let known: Vec<bool> = both
            .filter(|(x, y)| !x.is_nan() && !y.is_nan())
            .map(|(x, y)| x != y)
            .collect();
        let unequal = known.iter().filter(|x| **x).count() as f64;
        return Ok((!known.is_empty()).then(|| (unequal / known.len() as f64).sqrt()));
    }
    let both: Vec<(f64, f64)> = both
        .map(|(x, y)| (*x, *y))
        .filter(|(x, y)| x != y || x.is_finite())
        .filter(|(x, y)| !x.is_nan() && !y.is_nan())
        .collect();
    Ok((!both.is_empty()).then(|| distance(&both)))
}

/// ‖c − r‖ / ‖r‖ with elements that outweigh the others counted as the largest of these: neither a single fault nor a massive
/// activation decides what belongs together.
fn distance(both: &[(f64, f64)]) -> f64 {
    let sum = |most: f64, of: &dyn Fn(&(f64, f64)) -> f64| -> f64 {
        both.iter().map(|x| of(x).min(most)).sum()
    };
    let square = |&(r, _): &(f64, f64)| if r.is_finite() { r * r } else { 0.0 };
    let mut most = f64::INFINITY;
    for _ in 0..3 {
        most = LARGE * sum(most, &square) / both.len() as f64;
    }
    let difference = |&(r, c): &(f64, f64)| (c - r) * (c - r);
    match sum(most, &square) {
        0.0 => f64::from(u8::from(both.iter().any(|(r, c)| r != c))),
        size => (sum(most, &difference) / size).sqrt(),
    }
}

/// Positions of the views to look at: those that a partial side knows, else some that are spread evenly.
fn positions([r, c]: [&Tensor; 2], of: &Composition, most: usize) -> Vec<u64> {
    for (t, view) in [(r, &of.reference), (c, &of.candidate)] {
        if let Payload::Partial(p) = &t.payload {
            let known = view.known(p, t.info.shape());
            let step = known.len() / most + 1;
            return known.iter().step_by(step).map(|k| k.0).collect();
        }
    }
    let len = of.reference.count();
    // an odd step meets rows and columns of all kinds
    let step = (len / most).max(1) | 1;
    (0..len as u64).step_by(step).collect()
}

/// Elements by row-major position in a view; NaN where a partial tensor does not know one.
pub fn sample(t: &Tensor, view: &View, positions: &[u64]) -> Result<Vec<f64>, ReadError> {
    if let Payload::Partial(p) = &t.payload {
        let known = view.known(p, t.info.shape());
        let value = |at: &u64| {
            let found = known.binary_search_by_key(at, |k| k.0);
            found.map_or(f64::NAN, |i| known[i].1)
        };
        return Ok(positions.iter().map(value).collect());
    }
    let (first, steps) = view.steps(&t.info);
    let lens = view.lens();
    let place = |&at: &u64| {
        let index = unravel(at, &lens);
        first + index.iter().zip(&steps).map(|(i, s)| i * s).sum::<usize>()
    };
    t.gather(&positions.iter().map(place).collect::<Vec<_>>())
}

/// As [`resident`], small files in memory: many places of them are looked at.
pub fn at_hand(t: &Tensor) -> Result<Tensor, ReadError> {
    if !matches!(t.payload, Payload::File { .. }) || t.info.len() > SMALL {
        return resident(t);
    }
    let dtype = t.info.dtype();
    let mut bytes = Vec::with_capacity(t.info.len() * dtype.size());
    t.values()?
        .iter()
        .for_each(|v| dtype.encode(*v, &mut bytes));
    let info = TensorInfo::new(dtype, t.info.shape().to_vec());
    Ok(Tensor {
        info: info.unwrap_or_else(|_| t.info.clone()),
        payload: Payload::Memory(bytes.into()),
        ..t.clone()
    })
}

/// A tensor whose elements can be reached in any order: streams are read into memory.
pub fn resident(t: &Tensor) -> Result<Tensor, ReadError> {
    let what = || format!("data of {} {:?} (bytes)", t.info.dtype(), t.info.shape());
    t.resident(t.info.byte_extent(), what)
}
