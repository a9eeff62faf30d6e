//! Sums of one series of numbers that merge without losing digits, whatever their mean and range.

/// Count, mean, second moments and sums of a series, exact to rounding for any mean and for values whose squares leave
/// the range of f64: sums hold the values divided by 2^`exponent`, squares by 4^`exponent` (0 unless needed).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    pub count: u64,
    pub mean: f64,
    /// What `mean` lacks: mean + mean_low is the mean to about 100 bits.
    pub mean_low: f64,
    pub m2: f64,
    pub sum_sq: f64,
    pub exponent: i32,
}

impl Moments {
    pub const EMPTY: Moments = Moments {
        count: 0,
        mean: 0.0,
        mean_low: 0.0,
        m2: 0.0,
        sum_sq: 0.0,
        exponent: 0,
    };

    /// Brings both to the larger exponent; gives the two shifts for what else is scaled alike.
    pub fn align(&mut self, other: &mut Moments) -> (f64, f64) {
        if self.exponent == other.exponent {
            return (1.0, 1.0);
        }
        if self.count == 0 {
            *self = Moments {
                exponent: other.exponent,
                ..Moments::EMPTY
            };
        }
        if other.count == 0 {
            *other = Moments {
                exponent: self.exponent,
                ..Moments::EMPTY
            };
        }
        let exponent = self.exponent.max(other.exponent);
        (self.rescale(exponent), other.rescale(exponent))
    }

    fn rescale(&mut self, exponent: i32) -> f64 {
        let factor = power_of_two(self.exponent - exponent);
        self.mean *= factor;
        self.mean_low *= factor;
        self.m2 = self.m2 * factor * factor;
        self.sum_sq = self.sum_sq * factor * factor;
        self.exponent = exponent;
        factor
    }

    /// Adds the moments of further elements; both have the same exponent. `weight` is other.count / (both counts).
    /// Gives the difference of the means (Chan, Golub, LeVeque 1979).
    pub fn merge(&mut self, other: &Moments, weight: f64) -> f64 {
        if self.count == 0 {
            *self = *other;
            return other.mean;
        }
        let delta = (other.mean - self.mean) + (other.mean_low - self.mean_low);
        self.m2 += other.m2 + delta * delta * (self.count as f64 * weight);
        let step = delta * weight;
        let mean = self.mean + step;
        // Two-sum: what the addition rounded away.
        let back = mean - self.mean;
        self.mean_low += (self.mean - (mean - back)) + (step - back);
        self.mean = mean;
        self.sum_sq += other.sum_sq;
        self.count += other.count;
        delta
    }

    fn unscaled(&self, x: f64) -> f64 {
        scaled(x, self.exponent)
    }

    pub fn mean(&self) -> f64 {
        self.unscaled(self.mean + self.mean_low)
    }

    pub fn sum(&self) -> f64 {
        let count = self.count as f64;
        self.unscaled(self.mean * count + self.mean_low * count)
    }

    /// Σ (x − mean)²; infinite when that leaves the range of f64 ([`Moments::std`] does not).
    pub fn m2(&self) -> f64 {
        self.unscaled(self.unscaled(self.m2))
    }

    /// Population standard deviation.
    pub fn std(&self) -> f64 {
        if self.count == 0 {
            return f64::NAN;
        }
        self.unscaled((self.m2 / self.count as f64).sqrt())
    }

    /// Euclidean norm.
    pub fn l2(&self) -> f64 {
        self.unscaled(self.sum_sq.sqrt())
    }

    /// Norm and deviation (√m2) without the power of two, and its exponent.
    pub fn parts(&self) -> (f64, f64, i32) {
        (self.sum_sq.sqrt(), self.m2.sqrt(), self.exponent)
    }
}

/// 2^k, also for k below the range of normal numbers (then 0 or subnormal).
pub fn power_of_two(k: i32) -> f64 {
    scaled(1.0, k)
}

/// x·2^k, in steps that stay in range.
pub fn scaled(mut x: f64, mut k: i32) -> f64 {
    const STEP: i32 = 1000;
    if k == 0 {
        return x;
    }
    let unit = |k: i32| f64::from_bits(((1023 + k) as u64) << 52);
    while k > STEP {
        x *= unit(STEP);
        k -= STEP;
    }
    while k < -STEP {
        x *= unit(-STEP);
        k += STEP;
    }
    x * unit(k)
}

/// The power of two just above a positive finite value: x·2^−k is in [0.5, 1).
pub fn exponent_of(x: f64) -> i32 {
    if x == 0.0 || !x.is_finite() {
        return 0;
    }
    let bits = x.abs().to_bits();
    let raw = (bits >> 52) as i32;
    if raw == 0 {
        // Subnormal.
        64 - bits.leading_zeros() as i32 - 1074
    } else {
        raw - 1022
    }
}
