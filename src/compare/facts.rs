//! The facts of a pair while they grow: block by block, then range by range, always in order.

use super::moments::{Moments, scaled};
use super::precision::Sample;
use super::{Diff, PairStats, Side, Worst};
use crate::dtype::DType;

/// One side's finite elements.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    pub moments: Moments,
    pub min: f64,
    pub max: f64,
    pub zeros: u64,
}

impl Series {
    pub const EMPTY: Series = Series {
        moments: Moments::EMPTY,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        zeros: 0,
    };

    /// Adds further elements and gives the difference of the means. Both have the same exponent.
    fn merge(&mut self, other: &Series, weight: f64) -> f64 {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.zeros += other.zeros;
        self.moments.merge(&other.moments, weight)
    }

    fn append(&mut self, mut other: Series) {
        self.moments.align(&mut other.moments);
        let count = self.moments.count + other.moments.count;
        if other.moments.count > 0 {
            self.merge(&other, other.moments.count as f64 / count as f64);
        }
    }

    fn is_constant(&self) -> bool {
        self.min == self.max
    }
}

/// Sums over the elements that are finite on both sides.
#[derive(Clone, Copy, Debug)]
pub struct Core {
    pub r: Series,
    pub c: Series,
    pub d: Moments,
    /// Σ |c − r|, divided by 2^(exponent of d).
    pub d_abs: f64,
    /// Σ r·c and Σ (r − mean)(c − mean), divided by 2^(exponent of r + exponent of c).
    pub dot: f64,
    pub product: f64,
    pub rel_sum: f64,
    pub rel_max: f64,
    /// Elements beyond the tolerance.
    pub beyond: u64,
}

impl Core {
    pub const EMPTY: Core = Core {
        r: Series::EMPTY,
        c: Series::EMPTY,
        d: Moments::EMPTY,
        d_abs: 0.0,
        dot: 0.0,
        product: 0.0,
        rel_sum: 0.0,
        rel_max: 0.0,
        beyond: 0,
    };

    fn append(&mut self, mut other: Core) {
        let added = other.d.count;
        if added == 0 {
            return;
        }
        let (r_here, r_there) = self.r.moments.align(&mut other.r.moments);
        let (c_here, c_there) = self.c.moments.align(&mut other.c.moments);
        let (d_here, d_there) = self.d.align(&mut other.d);
        self.d_abs = self.d_abs * d_here + other.d_abs * d_there;
        self.dot = self.dot * r_here * c_here + other.dot * r_there * c_there;
        self.product = self.product * r_here * c_here + other.product * r_there * c_there;
        let before = self.d.count as f64;
        let weight = added as f64 / (before + added as f64);
        let r = self.r.merge(&other.r, weight);
        let c = self.c.merge(&other.c, weight);
        self.d.merge(&other.d, weight);
        self.product += r * c * (before * weight);
        self.rel_sum += other.rel_sum;
        self.rel_max = self.rel_max.max(other.rel_max);
        self.beyond += other.beyond;
    }
}

/// Counts of elements that are not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Odd {
    /// Of the reference and of the candidate.
    pub nan: [u64; 2],
    pub pos_inf: [u64; 2],
    pub neg_inf: [u64; 2],
    pub nan_both: u64,
    pub inf_both: u64,
    /// An infinity against a number or the other infinity (no NaN in it).
    pub inf_mismatch: u64,
}

impl Odd {
    pub fn nan_one_side(&self) -> u64 {
        self.nan[0] + self.nan[1] - 2 * self.nan_both
    }

    /// Places where the sides disagree about being finite.
    pub fn mismatched(&self) -> u64 {
        self.nan_one_side() + self.inf_mismatch
    }

    pub fn finite(&self, side: usize, count: u64) -> u64 {
        count - self.nan[side] - self.pos_inf[side] - self.neg_inf[side]
    }

    pub fn append(&mut self, other: &Odd) {
        for side in 0..2 {
            self.nan[side] += other.nan[side];
            self.pos_inf[side] += other.pos_inf[side];
            self.neg_inf[side] += other.neg_inf[side];
        }
        self.nan_both += other.nan_both;
        self.inf_both += other.inf_both;
        self.inf_mismatch += other.inf_mismatch;
    }
}

/// The facts of consecutive elements.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Elements seen.
    pub count: u64,
    pub core: Core,
    /// Each side's own finite elements, once they are not the same places as the other side's.
    own: Option<Box<[Series; 2]>>,
    pub odd: Odd,
    pub max_abs: f64,
    pub max_mixed: f64,
    pub worst: Option<Worst>,
    pub first_mismatch: Option<Worst>,
    pub identical: bool,
    /// The largest value of each side that counted as masked.
    pub filled: [f64; 2],
    pub samples: [Sample; 2],
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            count: 0,
            core: Core::EMPTY,
            own: None,
            odd: Odd::default(),
            max_abs: 0.0,
            max_mixed: 0.0,
            worst: None,
            first_mismatch: None,
            identical: true,
            filled: [f64::NEG_INFINITY; 2],
            samples: [Sample::default(); 2],
        }
    }
}

impl Facts {
    /// Adds the sums of one block, or of a whole range; `own` where the sides' finite places differ.
    pub fn append_core(&mut self, core: Core, own: Option<Box<[Series; 2]>>) {
        if self.own.is_some() || own.is_some() {
            let [r, c] = own.map_or([core.r, core.c], |own| *own);
            let all = self
                .own
                .get_or_insert_with(|| Box::new([self.core.r, self.core.c]));
            all[0].append(r);
            all[1].append(c);
        }
        self.core.append(core);
    }

    /// Takes `other` as the element with the largest difference when it is larger, or as large and earlier.
    pub fn offer_worst(&mut self, max_abs: f64, other: Worst) {
        let better = match &self.worst {
            None => true,
            Some(worst) => {
                max_abs > self.max_abs
                    || (max_abs == self.max_abs && other.position < worst.position)
            }
        };
        if better {
            self.max_abs = max_abs;
            self.worst = Some(other);
        }
    }

    pub fn offer_mismatch(&mut self, other: Worst) {
        if self
            .first_mismatch
            .is_none_or(|first| other.position < first.position)
        {
            self.first_mismatch = Some(other);
        }
    }

    /// Adds the facts of the elements that follow.
    pub fn append(&mut self, other: Facts) {
        self.count += other.count;
        self.append_core(other.core, other.own);
        self.odd.append(&other.odd);
        self.max_mixed = self.max_mixed.max(other.max_mixed);
        self.identical &= other.identical;
        for (filled, other) in self.filled.iter_mut().zip(other.filled) {
            *filled = filled.max(other);
        }
        if let Some(worst) = other.worst {
            self.offer_worst(other.max_abs, worst);
        }
        if let Some(first) = other.first_mismatch {
            self.offer_mismatch(first);
        }
        for (sample, other) in self.samples.iter_mut().zip(&other.samples) {
            sample.append(other);
        }
    }

    /// The finished facts; `dtypes` are the stored types of reference and candidate.
    pub fn finish(&self, dtypes: [DType; 2]) -> PairStats {
        let own = match &self.own {
            Some(own) => **own,
            None => [self.core.r, self.core.c],
        };
        let side = |i: usize| self.side(i, &own[i], self.samples[i].precision(dtypes[i]));
        PairStats {
            reference: side(0),
            candidate: side(1),
            diff: self.diff(),
        }
    }

    fn side(&self, i: usize, series: &Series, precision: DType) -> Side {
        let moments = &series.moments;
        let finite = moments.count > 0;
        let constant = finite && series.is_constant();
        let or_nan = |x: f64| if finite { x } else { f64::NAN };
        Side {
            count: self.count,
            nan: self.odd.nan[i],
            pos_inf: self.odd.pos_inf[i],
            neg_inf: self.odd.neg_inf[i],
            zeros: series.zeros,
            mean: or_nan(if constant { series.min } else { moments.mean() }),
            m2: if constant { 0.0 } else { moments.m2() },
            std: or_nan(if constant { 0.0 } else { moments.std() }),
            min: or_nan(series.min),
            max: or_nan(series.max),
            l2: moments.l2(),
            filled: self.filled[i],
            precision,
        }
    }

    fn diff(&self) -> Diff {
        let Core { r, c, d, .. } = &self.core;
        Diff {
            count: d.count,
            identical: self.identical,
            max_abs: self.max_abs,
            worst: self.worst,
            sum_abs: scaled(self.core.d_abs, d.exponent),
            sum: d.sum(),
            l2: d.l2(),
            row_error: None,
            reference_l2: r.moments.l2(),
            candidate_l2: c.moments.l2(),
            cosine: self.cosine(),
            pearson: self.pearson(),
            scale: self.scale(),
            max_rel: self.core.rel_max,
            sum_rel: self.core.rel_sum,
            rel_count: d.count - r.zeros,
            max_mixed: self.max_mixed,
            mismatched: self.core.beyond + self.odd.mismatched(),
            masked: false,
            nan_both: self.odd.nan_both,
            inf_both: self.odd.inf_both,
            nan_one_side: self.odd.nan_one_side(),
            inf_mismatch: self.odd.inf_mismatch,
            first_non_finite_mismatch: self.first_mismatch,
        }
    }

    fn cosine(&self) -> Option<f64> {
        let Core { r, c, d, dot, .. } = &self.core;
        let (r, _, r_exponent) = r.moments.parts();
        let (c, _, c_exponent) = c.moments.parts();
        let (d, _, d_exponent) = d.parts();
        if r == 0.0 || c == 0.0 {
            return None;
        }
        let d = scaled(d, d_exponent - r_exponent);
        let near = scaled(c, c_exponent - r_exponent);
        Some(unit_cosine(r, near, d, || dot / (r * c)))
    }

    fn pearson(&self) -> Option<f64> {
        let Core {
            r, c, d, product, ..
        } = &self.core;
        if d.count == 0 || r.is_constant() || c.is_constant() {
            return None;
        }
        let (_, r, r_exponent) = r.moments.parts();
        let (_, c, c_exponent) = c.moments.parts();
        let (_, d, d_exponent) = d.parts();
        if r == 0.0 || c == 0.0 {
            return None;
        }
        let d = scaled(d, d_exponent - r_exponent);
        let near = scaled(c, c_exponent - r_exponent);
        Some(unit_cosine(r, near, d, || product / (r * c)))
    }

    /// Σcr / Σr² = 1 + Σdr / Σr², whose second form does not lose digits when the sides are close.
    fn scale(&self) -> Option<f64> {
        let Core { r, c, d, dot, .. } = &self.core;
        let (r, _, r_exponent) = r.moments.parts();
        let (c, _, c_exponent) = c.moments.parts();
        let (d, _, d_exponent) = d.parts();
        if r == 0.0 {
            return None;
        }
        let near = scaled(c, c_exponent - r_exponent);
        if is_near(r, near) {
            let d = scaled(d, d_exponent - r_exponent);
            let (c, d) = (near / r, d / r);
            Some(1.0 + ((c - 1.0) * (c + 1.0) - d * d) / 2.0)
        } else {
            Some(scaled(dot / (r * r), c_exponent - r_exponent))
        }
    }
}

/// Norms close enough to each other that 1 − cosine comes from the norm of the difference.
pub fn is_near(r: f64, c: f64) -> bool {
    r <= 16.0 * c && c <= 16.0 * r
}

/// The cosine of vectors with norms `r` and `c` whose difference has norm `d`: 1 − (d² − (r − c)²) / 2rc keeps the digits
/// of 1 − cosine that the direct form (`far`) would lose.
fn unit_cosine(r: f64, c: f64, d: f64, far: impl Fn() -> f64) -> f64 {
    let cosine = if is_near(r, c) {
        let (c, d) = (c / r, d / r);
        1.0 - (d - (1.0 - c)) * (d + (1.0 - c)) / (2.0 * c)
    } else {
        far()
    };
    cosine.clamp(-1.0, 1.0)
}
