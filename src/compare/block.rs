//! From the sums of one block to its facts: what the fast pass could not do is done again here, with more care.

use super::facts::{Core, Facts, Series, is_near};
use super::kernel::{self, Element, SideSums, Sums};
use super::moments::Moments;
use super::setting::{Setting, first_of, is_mismatch};
use super::wide;
use crate::simd::Isa;

/// A block whose sum of squared deviations is below this share of its sum of squares is summed again about its mean.
const CANCELS: f64 = 1e-3;

/// Sums of squares below this may have lost terms to underflow.
const UNDERFLOWS: f64 = 1e-240;

/// Carried from block to block to choose the first pass; never changes a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guess {
    /// The block before held NaN or infinities.
    odd: bool,
}

impl Facts {
    /// Adds one block whose first element is the `at`-th in storage. `same_bits` tells whether the stored bytes are equal.
    pub fn add_block<E: Element>(
        &mut self,
        setting: &Setting<'_>,
        guess: &mut Guess,
        at: u64,
        r: &[E::Stored],
        c: &[E::Stored],
        same_bits: impl FnOnce() -> bool,
    ) {
        let isa = setting.isa;
        let count = r.len() as u64;
        let limits = setting.limits(self.max_mixed);
        let finite = |s: &Sums| (s.r.sum_sq + s.c.sum_sq).is_finite();
        let mut sums = if guess.odd {
            kernel::pass::<true, E>(isa, r, c, limits)
        } else {
            kernel::pass::<false, E>(isa, r, c, limits)
        };
        if !guess.odd && !finite(&sums) {
            sums = kernel::pass::<true, E>(isa, r, c, limits);
        }
        guess.odd = sums.count < count;

        self.count += count;
        self.identical = self.identical && (same_bits() || same_values::<E>(r, c));
        if !E::EXACT_SQUARES && leaves_range(&sums) {
            let values = |x: &[E::Stored]| x.iter().map(|x| E::value(*x)).collect::<Vec<f64>>();
            wide::add_block(self, setting, at, &values(r), &values(c), None);
            return;
        }
        let core = core::<E>(isa, r, c, &sums);
        if sums.count == count {
            self.append_core(core, None);
        } else {
            self.add_odd::<E>(setting, at, r, c, core);
        }
        if sums.count == 0 {
            return;
        }
        if self.worst.is_none()
            || sums.d_max > self.max_abs
            || (setting.positions.is_permuted() && sums.d_max == self.max_abs && sums.d_max > 0.0)
        {
            let start = kernel::first_apart::<E>(isa, r, c, sums.d_max);
            let rest = r.iter().zip(c).enumerate().skip(start);
            let found = rest.filter_map(|(i, (r, c))| {
                let (r, c) = (E::value(*r), E::value(*c));
                ((c - r).abs() == sums.d_max).then(|| setting.place(at + i as u64, r, c))
            });
            if let Some(worst) = first_of(found, setting.positions) {
                self.offer_worst(sums.d_max, worst);
            }
        }
        if sums.mixed > limits.mixed {
            self.max_mixed = self.max_mixed.max(kernel::max_mixed::<E>(isa, r, c));
        }
    }

    /// Counts what is not finite, adds `core` and each side's own elements where they are not the common ones.
    fn add_odd<E: Element>(
        &mut self,
        setting: &Setting<'_>,
        at: u64,
        r: &[E::Stored],
        c: &[E::Stored],
        core: Core,
    ) {
        let odd = kernel::odd::<E>(setting.isa, r, c);
        let count = r.len() as u64;
        let own = |side: usize, common: Series, x: &[E::Stored]| {
            if odd.finite(side, count) == core.d.count {
                return common;
            }
            let isa = setting.isa;
            let sums = kernel::pass::<true, E>(isa, x, x, setting.limits(0.0));
            self::core::<E>(isa, x, x, &sums).r
        };
        let own = (odd.finite(0, count) != core.d.count || odd.finite(1, count) != core.d.count)
            .then(|| Box::new([own(0, core.r, r), own(1, core.c, c)]));
        self.append_core(core, own);
        self.odd.append(&odd);
        if odd.mismatched() > 0
            && (self.first_mismatch.is_none() || setting.positions.is_permuted())
        {
            let found = r.iter().zip(c).enumerate().filter_map(|(i, (r, c))| {
                let (r, c) = (E::value(*r), E::value(*c));
                is_mismatch(r, c).then(|| setting.place(at + i as u64, r, c))
            });
            if let Some(first) = first_of(found, setting.positions) {
                self.offer_mismatch(first);
            }
        }
    }
}

/// Bit for bit the same values; any NaN equals any NaN.
fn same_values<E: Element>(r: &[E::Stored], c: &[E::Stored]) -> bool {
    r.iter().zip(c).all(|(r, c)| {
        let (r, c) = (E::value(*r), E::value(*c));
        r.to_bits() == c.to_bits() || (r.is_nan() && c.is_nan())
    })
}

/// f64 sums that overflowed, or may have lost small squares.
fn leaves_range(s: &Sums) -> bool {
    let leaves = |sum_sq: f64, max: f64| !sum_sq.is_finite() || (max > 0.0 && sum_sq < UNDERFLOWS);
    s.count > 0
        && (leaves(s.r.sum_sq, s.r.min.abs().max(s.r.max.abs()))
            || leaves(s.c.sum_sq, s.c.min.abs().max(s.c.max.abs()))
            || leaves(s.d_sq, s.d_max))
}

/// The moments of one block, from its sums where they hold enough digits, else from a second pass about the means.
fn core<E: Element>(isa: Isa, r: &[E::Stored], c: &[E::Stored], s: &Sums) -> Core {
    if s.count == 0 {
        return Core::EMPTY;
    }
    let count = s.count as f64;
    let side = |s: &SideSums| {
        if s.min == s.max {
            (s.min, 0.0)
        } else {
            moments_of(s.sum, s.sum_sq, count)
        }
    };
    let (r_mean, r_m2) = side(&s.r);
    let (c_mean, c_m2) = side(&s.c);
    let (d_mean, d_m2) = moments_of(s.d_sum, s.d_sq, count);
    let plain = |mean: f64, m2: f64, sum_sq: f64| Moments {
        count: s.count,
        mean,
        mean_low: 0.0,
        m2,
        sum_sq,
        exponent: 0,
    };
    let series = |s: &SideSums, moments: Moments| Series {
        moments,
        min: s.min,
        max: s.max,
        zeros: s.zeros,
    };
    let mut core = Core {
        r: series(&s.r, plain(r_mean, r_m2, s.r.sum_sq)),
        c: series(&s.c, plain(c_mean, c_m2, s.c.sum_sq)),
        d: plain(d_mean, d_m2, s.d_sq),
        d_abs: s.d_abs,
        dot: (s.r.sum_sq + s.c.sum_sq - s.d_sq) / 2.0,
        product: (r_m2 + c_m2 - d_m2) / 2.0,
        rel_sum: s.rel_sum,
        rel_max: s.rel_max,
        beyond: s.beyond,
    };
    let constant = [s.r.min == s.r.max, s.c.min == s.c.max];
    let cancels = (!constant[0] && r_m2 < CANCELS * s.r.sum_sq)
        || (!constant[1] && c_m2 < CANCELS * s.c.sum_sq)
        || (s.d_max > 0.0 && d_m2 < CANCELS * s.d_sq);
    let far = |r: f64, c: f64| r > 0.0 && c > 0.0 && !is_near(r, c);
    let far = far(s.r.sum_sq, s.c.sum_sq) || far(r_m2, c_m2);
    if cancels || far {
        let centred = kernel::centred::<E>(isa, r, c, [r_mean, c_mean, d_mean]);
        let all = [&mut core.r.moments, &mut core.c.moments, &mut core.d];
        for (i, moments) in all.into_iter().enumerate() {
            if i < 2 && constant[i] {
                continue;
            }
            let low = centred.sum[i] / count;
            let mean = moments.mean + low;
            moments.mean_low = low - (mean - moments.mean);
            moments.mean = mean;
            moments.m2 = (centred.sum_sq[i] - centred.sum[i] * low).max(0.0);
        }
        core.dot = centred.dot;
        core.product = centred.product - centred.sum[0] * centred.sum[1] / count;
    }
    if constant[0] || constant[1] {
        core.product = 0.0;
    }
    core
}

/// Mean and sum of squared deviations from raw sums.
fn moments_of(sum: f64, sum_sq: f64, count: f64) -> (f64, f64) {
    let mean = sum / count;
    (mean, (sum_sq - sum * mean).max(0.0))
}
