//! Rows of a lookup: one per token.

use crate::diagnose::Array;
use crate::math::{Sums, distance};

/// `[batch, token]` rows of a lookup.
#[derive(Clone, Debug)]
pub struct Rows {
    pub batch: usize,
    pub tokens: usize,
    pub width: usize,
    data: Array,
}

impl Rows {
    /// Reads `[batch, token, feature]`, `[token, feature]` or, for ids, `[batch, token]`.
    pub fn new(a: &Array, ids: bool) -> Option<Rows> {
        let (batch, tokens, width) = match (a.shape.as_slice(), ids) {
            (&[b, s, w], false) => (b, s, w),
            (&[s, w], false) => (1, s, w),
            (&[b, s], true) => (b, s, 1),
            (&[s], true) => (1, s, 1),
            _ => return None,
        };
        (batch * tokens * width > 0).then(|| Rows {
            batch,
            tokens,
            width,
            data: a.clone(),
        })
    }

    pub fn count(&self) -> usize {
        self.batch * self.tokens
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.data.data[i * self.width..(i + 1) * self.width]
    }

    pub fn same_size(&self, other: &Rows) -> bool {
        (self.batch, self.tokens, self.width) == (other.batch, other.tokens, other.width)
    }

    /// Pairs (row, row `by` tokens later) inside each batch element.
    pub fn shifted(&self, by: i64) -> Vec<(usize, usize)> {
        let s = self.tokens as i64;
        let inside = |t: i64| (0..s).contains(&(t + by));
        (0..self.batch)
            .flat_map(|b| {
                let start = b as i64 * s;
                (0..s)
                    .filter(move |t| inside(*t))
                    .map(move |t| ((start + t) as usize, (start + t + by) as usize))
            })
            .collect()
    }

    /// ‖aᵢ − bⱼ‖ / ‖bⱼ‖ over all pairs (i, j) together.
    pub fn distance(&self, other: &Rows, pairs: &[(usize, usize)]) -> f64 {
        let rows = pairs.iter();
        let places = rows.flat_map(|&(i, j)| self.row(i).iter().zip(other.row(j)));
        places.collect::<Sums>().distance().unwrap_or(1.0)
    }

    /// The distance of row i to the same row of the other side.
    pub fn apart(&self, other: &Rows, i: usize) -> f64 {
        distance(self.row(i), other.row(i))
    }

    /// For each row the first row that is the same, within `tolerance`.
    pub fn repeats(&self, tolerance: f64) -> Vec<usize> {
        (0..self.count())
            .map(|i| {
                (0..i)
                    .find(|&j| distance(self.row(i), self.row(j)) <= tolerance)
                    .unwrap_or(i)
            })
            .collect()
    }
}

/// Cosine of two rows; 0 for zero rows.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    if norm > 0.0 { dot(a, b) / norm } else { 0.0 }
}
