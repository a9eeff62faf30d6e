//! What precision the values really have: an f32 file may hold bf16 values.

use crate::dtype::DType;
use half::f16;

/// The bits that sampled values use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// All mantissas (as f64) together.
    mantissa: u64,
    beyond_f32: bool,
    beyond_f16: bool,
    /// Nothing narrower than the stored type is left.
    full: bool,
}

const MANTISSA: u64 = (1 << 52) - 1;
/// Mantissa bits of f64 that a narrower type lacks.
const LACKS_F32: u32 = 29;
const LACKS_F16: u32 = 42;
const LACKS_BF16: u32 = 45;
/// Exponents, as f64 stores them, of the normal numbers of f16.
const NORMAL_F16: std::ops::RangeInclusive<u64> = 1023 - 14..=1023 + 15;

impl Sample {
    /// Whether more values can still change the answer.
    pub fn is_open(&self) -> bool {
        !self.full
    }

    /// Looks at further values of a tensor stored as `dtype`.
    pub fn look(&mut self, dtype: DType, values: impl Iterator<Item = f64>) {
        let narrower = match dtype {
            DType::F64 => 1 << LACKS_F32,
            DType::F32 => 1 << LACKS_F16,
            DType::F16 => 1 << LACKS_BF16,
            _ => {
                self.full = true;
                return;
            }
        };
        for x in values {
            if !x.is_finite() || x == 0.0 {
                continue;
            }
            let mantissa = x.to_bits() & MANTISSA;
            self.mantissa |= mantissa;
            if self.mantissa & (narrower - 1) != 0 {
                self.full = true;
                return;
            }
            self.beyond_f16 |= mantissa & ((1 << LACKS_F16) - 1) != 0;
            // normal numbers of f16 lie within the range of all types
            if !NORMAL_F16.contains(&(x.to_bits() >> 52 & 0x7ff)) {
                self.beyond_f32 |= f64::from(x as f32) != x;
                self.beyond_f16 |= f16::from_f64(x).to_f64() != x;
            }
        }
    }

    pub fn append(&mut self, other: &Sample) {
        self.mantissa |= other.mantissa;
        self.beyond_f32 |= other.beyond_f32;
        self.beyond_f16 |= other.beyond_f16;
        self.full |= other.full;
    }

    /// The coarsest type that holds all values and whose last bits they use; `stored` where there is none. Values that
    /// would fit a much coarser grid (all zeros, small whole numbers) say nothing.
    pub fn precision(&self, stored: DType) -> DType {
        let on_grid = |lacks: u32| {
            self.mantissa & ((1 << lacks) - 1) == 0 && self.mantissa >> lacks & 0b11 != 0
        };
        let bf16 = on_grid(LACKS_BF16) && !self.beyond_f32;
        let f16 = on_grid(LACKS_F16) && !self.beyond_f16;
        let f32 = on_grid(LACKS_F32) && !self.beyond_f32;
        match stored {
            DType::F64 | DType::F32 | DType::F16 if bf16 => DType::BF16,
            DType::F64 | DType::F32 if f16 => DType::F16,
            DType::F64 if f32 => DType::F32,
            _ => stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn precision(stored: DType, values: &[f64]) -> DType {
        let mut sample = Sample::default();
        sample.look(stored, values.iter().copied());
        sample.precision(stored)
    }

    fn noise() -> Vec<f64> {
        (1..200).map(|i| (f64::from(i) * 0.7).sin()).collect()
    }

    #[test]
    fn values_of_a_narrower_type_are_recognised() {
        let as_f32: Vec<f64> = noise().iter().map(|x| f64::from(*x as f32)).collect();
        let as_f16: Vec<f64> = noise().iter().map(|x| f16::from_f64(*x).to_f64()).collect();
        let as_bf16: Vec<f64> = noise()
            .iter()
            .map(|x| bf16::from_f64(*x).to_f64())
            .collect();
        assert_eq!(precision(DType::F64, &noise()), DType::F64);
        assert_eq!(precision(DType::F64, &as_f32), DType::F32);
        for stored in [DType::F64, DType::F32] {
            assert_eq!(precision(stored, &as_f16), DType::F16);
            assert_eq!(precision(stored, &as_bf16), DType::BF16);
        }
        assert_eq!(precision(DType::F32, &as_f32), DType::F32);
    }

    #[test]
    fn zeros_and_small_whole_numbers_say_nothing() {
        assert_eq!(precision(DType::F32, &[0.0; 50]), DType::F32);
        assert_eq!(precision(DType::F32, &[0.0, 1.0, 2.0, -3.0]), DType::F32);
        assert_eq!(precision(DType::F32, &[f64::NEG_INFINITY, 0.0]), DType::F32);
    }

    #[test]
    fn bf16_values_outside_the_range_of_f16_are_still_bf16() {
        let mut values: Vec<f64> = noise()
            .iter()
            .map(|x| bf16::from_f64(*x).to_f64())
            .collect();
        values.push(f64::from(bf16::from_f64(1e30)));
        assert_eq!(precision(DType::F32, &values), DType::BF16);
    }
}
