//! What every block of a comparison is looked at with.

use super::kernel::Limits;
use super::order::Positions;
use super::{ElementTolerance, Worst};
use crate::simd::Isa;

/// What stays the same over the blocks of a pair.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub isa: Isa,
    pub tolerance: ElementTolerance,
    pub positions: &'a Positions,
    /// Values of [`FILLING`](super::FILLING) and below count as −∞.
    pub masked: bool,
}

impl Setting<'_> {
    pub fn limits(&self, max_mixed: f64) -> Limits {
        Limits {
            atol: self.tolerance.atol,
            rtol: self.tolerance.rtol,
            // Lowered by more than the kernel's filter can round.
            mixed: max_mixed * (1.0 - f64::EPSILON * 8.0),
        }
    }

    /// An element by its place in storage.
    pub fn place(&self, at: u64, reference: f64, candidate: f64) -> Worst {
        Worst {
            position: self.positions.logical(at),
            reference,
            candidate,
        }
    }
}

/// The earliest in the logical order.
pub fn first_of(found: impl Iterator<Item = Worst>, positions: &Positions) -> Option<Worst> {
    let mut found = found;
    if positions.is_permuted() {
        found.min_by_key(|w| w.position)
    } else {
        found.next()
    }
}

/// One side is NaN or infinite where the other is not, or differently.
pub fn is_mismatch(r: f64, c: f64) -> bool {
    !(r.is_finite() && c.is_finite()) && r != c && !(r.is_nan() && c.is_nan())
}
