//! Compares the tensors of a pair: the facts of one pass.
//!
//! ```text
//! jobs ─work─▶ pieces (pair, range) ─source/gather─▶ bytes ─convert─▶ blocks ─kernel─▶ sums ─block─▶ facts ─▶ PairStats
//! ```
//!
//! Sums are kept per block of 2048 elements and joined in order, so they depend neither on threads nor on buffers nor on
//! the instruction set; memory does not grow with the tensors.

mod block;
mod checksum;
mod convert;
mod facts;
mod gather;
mod grade;
mod kernel;
pub mod logits;
pub mod metric;
mod moments;
mod order;
mod partial;
mod piece;
mod precision;
pub mod rows;
mod setting;
mod source;
mod storage;
pub mod summarise;
mod wide;
mod work;

pub use grade::Grade;

use crate::dtype::DType;
use crate::dump::{ReadError, Tensor};
use crate::simd::Isa;
use serde::{Deserialize, Serialize};

/// Two tensors of equal logical shape (any memory order), and the element tolerance to count against.
pub struct Job<'a> {
    pub reference: &'a Tensor,
    pub candidate: &'a Tensor,
    pub tolerance: ElementTolerance,
    /// They are scores: values of [`FILLING`] and below count as −∞.
    pub masked: bool,
}

/// Fillings of masked positions lie here and below: −∞, −1e9, the lowest number of a type, −1e4 + score (BERT).
pub const FILLING: f64 = -5e3;

/// An element passes when |c − r| ≤ atol + rtol·|r| (numpy's rule).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElementTolerance {
    pub rtol: f64,
    pub atol: f64,
}

impl ElementTolerance {
    /// The element tolerance that `mismatched` counts against when none is given: that of `torch.testing.assert_close` for the
    /// coarser type (<https://docs.pytorch.org/docs/stable/testing.html>); integers are exact.
    pub fn usual(a: DType, b: DType) -> ElementTolerance {
        if a.is_exact() && b.is_exact() {
            return ElementTolerance {
                rtol: 0.0,
                atol: 0.0,
            };
        }
        let (rtol, atol) = match a.coarser(b) {
            DType::F64 => (1e-7, 1e-7),
            DType::F16 => (1e-3, 1e-5),
            DType::BF16 => (1.6e-2, 1e-5),
            DType::F8E4M3 | DType::F8E5M2 | DType::F8E8M0 => (1.25e-1, 1e-2),
            _ => (1.3e-6, 1e-5),
        };
        ElementTolerance { rtol, atol }
    }
}

/// The facts about a pair, gathered in one pass. Everything else is a function of these.
#[derive(Clone, Debug, PartialEq)]
pub struct PairStats {
    pub reference: Side,
    pub candidate: Side,
    pub diff: Diff,
}

/// One side's own values, over the elements that were compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Elements seen, finite or not.
    pub count: u64,
    pub nan: u64,
    pub pos_inf: u64,
    pub neg_inf: u64,
    /// Finite elements equal to zero.
    pub zeros: u64,
    // Over finite elements only; mean, std, min and max are NaN where there are none:
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
    /// Population standard deviation; right also where `m2` leaves the range of f64.
    pub std: f64,
    pub min: f64,
    pub max: f64,
    /// Euclidean norm (scaled inside, so it is right when squares leave the range of f64).
    pub l2: f64,
    /// The largest value that counted as masked ([`Job::masked`]); −∞ where none did.
    pub filled: f64,
    /// The coarsest type that holds every (sampled) value: f32 elements whose low mantissa bits are all zero are `bf16`.
    pub precision: DType,
}

/// The difference c − r over elements that are finite on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// Elements finite on both sides.
    pub count: u64,
    /// Same value on both sides, bit for bit after conversion to the wider type, for every element (NaN payloads aside).
    pub identical: bool,
    pub max_abs: f64,
    /// Row-major index of the element with the largest |c − r| (the first one), with both values.
    pub worst: Option<Worst>,
    pub sum_abs: f64,
    /// Σ (c − r).
    pub sum: f64,
    /// ‖c − r‖, scaled like [`Side::l2`].
    pub l2: f64,
    /// ‖c − r‖ / ‖r‖ of a typical row, where single elements outweigh all others ([`rows`]).
    pub row_error: Option<f64>,
    /// ‖r‖ and ‖c‖ over the same elements.
    pub reference_l2: f64,
    pub candidate_l2: f64,
    /// cosine of the angle between c and r; `None` when a norm is zero.
    pub cosine: Option<f64>,
    /// Pearson correlation; `None` when a side is constant.
    pub pearson: Option<f64>,
    /// Best factor s in c ≈ s·r (Σcr / Σr²); `None` when r is zero.
    pub scale: Option<f64>,
    /// Over elements with r ≠ 0: largest and summed |c − r| / |r|, and how many there are.
    pub max_rel: f64,
    pub sum_rel: f64,
    pub rel_count: u64,
    /// max |c − r| / (1 + |r|): allclose(rtol = atol = t) holds exactly when this is ≤ t.
    pub max_mixed: f64,
    /// Elements beyond the job's tolerance; mismatching NaN and infinities included.
    pub mismatched: u64,
    /// NaN on both sides at the same place.
    pub nan_both: u64,
    /// The same infinity on both sides.
    pub inf_both: u64,
    /// Values of [`FILLING`] and below counted as −∞.
    pub masked: bool,
    /// NaN, or an infinity, that the other side does not have at that place, and the first such place.
    pub nan_one_side: u64,
    pub inf_mismatch: u64,
    pub first_non_finite_mismatch: Option<Worst>,
}

/// One element of both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Row-major position in the logical shape.
    pub position: u64,
    pub reference: f64,
    pub candidate: f64,
}

/// What the comparison may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    pub threads: usize,
    pub isa: Isa,
}

/// Compares every job in parallel, with the same result at any number of threads. `progress` is told the bytes read since
/// it was last called; it is called from every thread.
///
/// An error of one job leaves the others alone.
pub fn compare(
    jobs: &[Job<'_>],
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Result<Box<PairStats>, ReadError>> {
    let resources = Resources {
        threads: crate::threads::count(),
        isa: Isa::detect(),
    };
    compare_with(jobs, resources, progress)
}

/// [`compare`] with a given number of threads and instruction set, neither of which changes the result.
pub fn compare_with(
    jobs: &[Job<'_>],
    resources: Resources,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Result<Box<PairStats>, ReadError>> {
    work::run(jobs, resources.threads, resources.isa, progress)
}

#[cfg(test)]
pub(crate) mod tests;
