//! Why it diverges: hypotheses that were tested on the data, ranked by how much of the difference they explain.

mod arithmetic;
mod array;
mod conclude;
mod flat;
pub mod fused;
pub mod geometry;
pub mod head_norm;
pub mod investigate;
pub mod laws;
pub mod relations;
pub mod scene;
mod suspect;
mod tokens;

use crate::causes::Cause;
pub use array::Array;
pub use geometry::Geometry;
pub use investigate::{Conclusion, investigate};
pub use scene::{Scene, Side, Site};

use crate::name::Key;

/// A hypothesis that was tested, with the error it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspicion {
    pub cause: &'static Cause,
    pub key: Key,
    /// One sentence for the reader, with both sides' parameters where they were fitted.
    pub title: String,
    /// Relative error that the hypothesis sets out to explain, and what is left when it is taken into account.
    pub before: f64,
    pub after: f64,
    /// What was measured, one fact a line, every number labelled.
    pub evidence: Vec<String>,
}

/// How far the data support a hypothesis, from 0 to 1: 1 − √(after / before), so that an error reduced to a hundredth
/// gives 0.9. What is left counts as nothing once it is down to `noise`, the rounding error of the pair.
pub fn confidence(before: f64, after: f64, noise: f64) -> f64 {
    if !(before > 0.0 && before.is_finite() || before == f64::INFINITY) || !after.is_finite() {
        return 0.0;
    }
    let left = (after - noise).max(0.0) / before.min(1e6);
    0.99 * (1.0 - left.sqrt()).max(0.0)
}
