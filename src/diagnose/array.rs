//! The values of one tensor in canonical axes.

use crate::math::{distance, norm};
use std::ops::Deref;
use std::sync::Arc;

/// Values of one tensor, row-major.
///
/// Canonical axes by stage: `[batch, token, feature]` for the residual stream, norms, projections of the MLP
/// and logits; `[batch, token, head, channel]` for Q, K, V (raw, normed, rotated) and the context; `[batch, head, query, key]`
/// for scores and attention weights; `[batch, token]` for ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Values,
}

/// Numbers that clones share. A vector becomes one without being copied.
#[derive(Clone, Debug, PartialEq)]
pub struct Values(Arc<Vec<f64>>);

impl From<Vec<f64>> for Values {
    fn from(values: Vec<f64>) -> Self {
        Values(Arc::new(values))
    }
}

impl FromIterator<f64> for Values {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Vec::from_iter(values).into()
    }
}

impl Deref for Values {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.0
    }
}

impl Array {
    pub fn new(shape: Vec<usize>, data: Vec<f64>) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Array {
            shape,
            data: data.into(),
        }
    }

    /// Length of the last axis (1 for a scalar).
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows along the last axis.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> + Clone {
        self.data.chunks_exact(self.width().max(1))
    }

    /// The same values as `[rows, width]` with another width; `None` when it does not divide.
    pub fn with_width(&self, width: usize) -> Option<Array> {
        let fits = width > 0 && self.data.len().is_multiple_of(width);
        fits.then(|| Array {
            shape: vec![self.data.len() / width, width],
            data: self.data.clone(),
        })
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array {
            shape: self.shape.clone(),
            data: self.data.iter().map(|x| f(*x)).collect(),
        }
    }

    /// Element by element; `None` when the sizes differ.
    pub fn zip(&self, other: &Array, f: impl Fn(f64, f64) -> f64) -> Option<Array> {
        let same = self.data.len() == other.data.len();
        same.then(|| Array {
            shape: self.shape.clone(),
            data: self
                .data
                .iter()
                .zip(&*other.data)
                .map(|(a, b)| f(*a, *b))
                .collect(),
        })
    }

    pub fn plus(&self, other: &Array) -> Option<Array> {
        self.zip(other, |a, b| a + b)
    }

    pub fn minus(&self, other: &Array) -> Option<Array> {
        self.zip(other, |a, b| a - b)
    }

    /// ‖x‖ over finite elements.
    pub fn norm(&self) -> f64 {
        norm(&self.data)
    }

    /// ‖self − other‖ / ‖other‖ over places finite on both sides; 1 when nothing can be compared.
    pub fn distance(&self, other: &Array) -> f64 {
        distance(&self.data, &other.data)
    }
}
