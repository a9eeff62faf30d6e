//! What the values of a tensor say of it, in few numbers: how far two tensors are from being the same one, whatever their names
//! and their layout.

use crate::dump::{Payload, Tensor, unravel};
use crate::math::Sums;

/// Means of so many equal parts of the sorted values.
const BINS: usize = 32;
/// Values at even places.
const PLACES: usize = 64;
/// Fewer values say nothing.
const FEWEST: usize = 4;
/// Of a larger tensor so many values, at even places, are looked at.
const MOST: usize = 1 << 15;
/// Values that are read one by one.
const SINGLE: usize = 1 << 12;
/// What is larger stands for a mask.
const HUGE: f64 = 1e30;
/// Values that have nothing to do with each other differ by √2 of their size; a little more is no other evidence.
const UNRELATED: f64 = 1.5;

/// Values at even places of a tensor, in row-major order.
#[derive(Clone, Debug)]
pub struct Glance(Vec<f64>);

impl Glance {
    /// `None` where they are not known or all the same: such tensors cannot be told apart.
    pub fn of(tensor: &Tensor) -> Option<Glance> {
        let values = some(tensor, PLACES)?;
        let even = values.iter().all(|v| *v == values[0] || !v.is_finite());
        (!even).then_some(Glance(values))
    }

    /// ‖a − b‖/‖·‖ of the values at the same places.
    pub fn offset(&self, other: &Glance) -> f64 {
        match self.0.len() == other.0.len() {
            true => relative(self.0.iter().zip(&other.0)),
            false => UNRELATED,
        }
    }

    /// Equal for tensors that hold the same.
    pub fn bits(&self) -> Vec<u64> {
        self.0.iter().map(|v| v.to_bits()).collect()
    }
}

/// The values of a tensor whatever their order, and some of them at their places.
#[derive(Debug)]
pub struct Signature {
    /// How many values are known; where that is another number the values stand at other places.
    pub known: usize,
    /// Means of equal parts of the sorted values: they are the same in every layout.
    sorted: [f64; BINS],
    pub glance: Glance,
    /// Equal where all values are, in any order.
    pub digest: u64,
}

impl Signature {
    pub fn of(tensor: &Tensor) -> Option<Signature> {
        let glance = Glance::of(tensor)?;
        let mut values = some(tensor, MOST)?;
        values.retain(|v| v.abs() < HUGE);
        values.sort_unstable_by(f64::total_cmp);
        if values.len() < FEWEST || values.first() == values.last() {
            return None;
        }
        let mut sorted = [0.0; BINS];
        for (bin, mean) in sorted.iter_mut().enumerate() {
            let from = bin * values.len() / BINS;
            let to = ((bin + 1) * values.len() / BINS).max(from + 1);
            let part = &values[from..to];
            *mean = part.iter().sum::<f64>() / part.len() as f64;
        }
        let digest = values.iter().fold(values.len() as u64, |digest, v| {
            (digest.rotate_left(5) ^ v.to_bits()).wrapping_mul(0x517c_c1b7_2722_0a95)
        });
        Some(Signature {
            known: match &tensor.payload {
                Payload::Partial(some) => some.values.len(),
                _ => tensor.info.len(),
            },
            sorted,
            glance,
            digest,
        })
    }

    /// ‖a − b‖/‖·‖ of the sorted values: no layout makes the tensors nearer.
    pub fn spread(&self, other: &Signature) -> f64 {
        relative(self.sorted.iter().zip(&other.sorted))
    }
}

/// The distance of two tensors whose values spread so, and that are so far apart place by place.
pub fn distance(spread: f64, offset: f64) -> f64 {
    (spread * offset.min(UNRELATED)).sqrt()
}

/// The distance that an unrelated tensor of this spread would have.
pub fn unrelated(spread: f64) -> f64 {
    distance(spread, 1.3).max(0.3)
}

/// How far two views of one shape are apart, at even places.
pub fn offset_of(a: &Tensor, b: &Tensor) -> Option<f64> {
    Some(relative(some(a, PLACES)?.iter().zip(&some(b, PLACES)?)))
}

fn relative<'a>(values: impl Iterator<Item = (&'a f64, &'a f64)>) -> f64 {
    let known = values.filter(|(a, b)| a.abs() < HUGE && b.abs() < HUGE);
    let sums: Sums = known.collect();
    match sums.a.max(sums.b) {
        0.0 => UNRELATED,
        norm => (sums.diff / norm).sqrt(),
    }
}

/// Up to `count` of the known values at even places, in row-major order.
fn some(tensor: &Tensor, count: usize) -> Option<Vec<f64>> {
    /// For each value that is looked at so many more are read at once as quickly as it alone.
    const BESIDE: usize = 64;
    let len = tensor.info.len();
    match tensor.payload {
        Payload::Statistics => None,
        Payload::Partial(ref known) => every(known.values.clone(), count),
        Payload::Stream(_) => every(tensor.values().ok()?, count),
        _ if len <= BESIDE * count => every(tensor.values().ok()?, count),
        _ => {
            let count = count.min(SINGLE);
            let stored = |i: usize| {
                let at = unravel(place(i, count, len) as u64, tensor.info.shape());
                let steps = at.iter().zip(tensor.info.strides());
                steps.map(|(i, stride)| i * stride).sum()
            };
            let places: Vec<usize> = (0..count).map(stored).collect();
            tensor.gather(&places).ok()
        }
    }
}

/// `count` of the values.
fn every(values: Vec<f64>, count: usize) -> Option<Vec<f64>> {
    match values.len() {
        0 => None,
        len if len <= count => Some(values),
        len => Some((0..count).map(|i| values[place(i, count, len)]).collect()),
    }
}

/// The i-th of `count` places spread over `len`.
fn place(i: usize, count: usize, len: usize) -> usize {
    (i as u128 * len as u128 / count as u128) as usize
}
