//! Numbers of the generator: a small PRNG, the arithmetics a candidate may run in, sums in a chosen order.

/// SplitMix64; seeded by a name, so that a tensor's values do not depend on what was drawn before it.
pub struct Prng(u64);

impl Prng {
    /// A stream of its own for every `name` under one `seed`.
    pub fn named(seed: u64, name: &str) -> Prng {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Prng(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// What one side of a pair computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32, sums from left to right: the reference.
    F32,
    /// f32 with eight partial sums, angles taken in f64, and another fill of masked scores.
    F32Chunked,
    F64,
    /// Every operation's result is stored in fp16; sums in f32.
    F16,
    /// Every operation's result is stored in bf16; sums in f32.
    Bf16,
    /// f32 whose matmul operands keep 10 bits of mantissa.
    Tf32,
    /// f32 with weights quantised to 8 bits per output row.
    Int8,
    /// Matmuls of fp16 weights and fp16 activations, everything else f32 (llama.cpp's F16).
    HalfMatmul,
    /// Weights in blocks of 32 with 8 bits, activations too (llama.cpp's Q8_0).
    Block8,
    /// Weights in blocks of 32 with 4 bits, activations with 8 (llama.cpp's Q4_0).
    Block4,
}

/// Every arithmetic a candidate may run in.
pub const ARITHMETICS: [Arithmetic; 10] = [
    Arithmetic::F32,
    Arithmetic::F32Chunked,
    Arithmetic::F64,
    Arithmetic::F16,
    Arithmetic::Bf16,
    Arithmetic::Tf32,
    Arithmetic::Int8,
    Arithmetic::HalfMatmul,
    Arithmetic::Block8,
    Arithmetic::Block4,
];

impl Arithmetic {
    pub fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::F32Chunked => "f32-chunked",
            Arithmetic::F64 => "f64",
            Arithmetic::F16 => "fp16",
            Arithmetic::Bf16 => "bf16",
            Arithmetic::Tf32 => "tf32",
            Arithmetic::Int8 => "int8",
            Arithmetic::HalfMatmul => "f16-weights",
            Arithmetic::Block8 => "q8_0",
            Arithmetic::Block4 => "q4_0",
        }
    }

    /// Rounding inside an operation.
    pub fn inner(self, x: f64) -> f64 {
        match self {
            Arithmetic::F64 => x,
            _ => f64::from(x as f32),
        }
    }

    /// Rounding of an operation's result. fp16 keeps its range unlimited here: overflow is a fault of its own.
    pub fn store(self, x: f64) -> f64 {
        match self {
            Arithmetic::F64 => x,
            Arithmetic::F16 => narrow_f16(x),
            Arithmetic::Bf16 => round_mantissa(x, 7),
            _ => f64::from(x as f32),
        }
    }

    /// A matmul's activations as this arithmetic reads them.
    pub fn activations(self, x: &[f64]) -> Vec<f64> {
        let mut x = x.to_vec();
        match self {
            Arithmetic::HalfMatmul => x.iter_mut().for_each(|v| *v = narrow_f16(*v)),
            Arithmetic::Block8 | Arithmetic::Block4 => {
                x.chunks_mut(32).for_each(|b| on_grid(b, 127.0))
            }
            _ => {}
        }
        x
    }

    /// A weight matrix, of rows this wide, as this arithmetic holds it.
    pub fn weights(self, data: &mut [f64], cols: usize) {
        match self {
            Arithmetic::Int8 => data.chunks_mut(cols).for_each(|row| on_grid(row, 127.0)),
            Arithmetic::HalfMatmul => data.iter_mut().for_each(|v| *v = narrow_f16(*v)),
            Arithmetic::Block8 | Arithmetic::Block4 => {
                let levels = if self == Arithmetic::Block8 {
                    127.0
                } else {
                    7.5
                };
                data.chunks_mut(cols)
                    .flat_map(|row| row.chunks_mut(32))
                    .for_each(|b| on_grid(b, levels));
            }
            _ => {}
        }
    }

    /// The scalar product as this arithmetic sums it, not yet stored.
    pub fn dot(self, a: &[f64], b: &[f64]) -> f64 {
        let single = a.iter().zip(b).map(|(x, y)| *x as f32 * *y as f32);
        match self {
            Arithmetic::F64 => a.iter().zip(b).fold(0.0, |s, (x, y)| s + x * y),
            Arithmetic::F32Chunked => {
                let mut lanes = [0f32; 8];
                single.enumerate().for_each(|(i, p)| lanes[i % 8] += p);
                f64::from(lanes.iter().fold(0.0, |s, l| s + l))
            }
            Arithmetic::Tf32 => {
                let cut = |x: &f64| round_mantissa(*x, 10);
                let products = a.iter().zip(b).map(|(x, y)| (cut(x) * cut(y)) as f32);
                f64::from(products.fold(0f32, |s, p| s + p))
            }
            _ => f64::from(single.fold(0f32, |s, p| s + p)),
        }
    }

    /// The sum of `values` in this arithmetic's order.
    pub fn sum(self, values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        match self {
            Arithmetic::F32Chunked => values
                .chunks(8)
                .map(|c| c.iter().fold(0.0, |s, x| self.inner(s + x)))
                .fold(0.0, |s, x| self.inner(s + x)),
            _ => values.iter().fold(0.0, |s, x| self.inner(s + x)),
        }
    }
}

/// `x` with `bits` explicit bits of mantissa, ties to even, the exponent left free.
pub fn round_mantissa(x: f64, bits: u32) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let drop = 52 - bits;
    let raw = x.to_bits();
    let half = (1u64 << (drop - 1)) - 1 + ((raw >> drop) & 1);
    f64::from_bits((raw + half) & !((1u64 << drop) - 1))
}

/// Values on a symmetric grid of `levels` steps to either side of zero.
pub fn on_grid(values: &mut [f64], levels: f64) {
    let step = values.iter().fold(0f64, |m, x| m.max(x.abs())) / levels;
    if step > 0.0 {
        values
            .iter_mut()
            .for_each(|x| *x = f64::from(((*x / step).round() * step) as f32));
    }
}

/// fp16 with its subnormals but without its upper limit.
pub fn narrow_f16(x: f64) -> f64 {
    if x.abs() > 65504.0 {
        round_mantissa(x, 10)
    } else {
        half::f16::from_f64(x).to_f64()
    }
}

/// ‖b − a‖ / ‖a‖ over the elements finite on both sides; infinite when finiteness itself differs.
/// Scores that stand for "masked" (below −1e8 or −∞) count as equal.
pub fn rel_l2(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let masked = |x: f64| x < -1e8 || x == -65504.0;
    let (mut num, mut den) = (0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        if (masked(x) && masked(y)) || (x.is_nan() && y.is_nan()) || x == y {
            if x.is_finite() && !masked(x) {
                den += x * x;
            }
            continue;
        }
        if masked(x) != masked(y) || !x.is_finite() || !y.is_finite() {
            return f64::INFINITY;
        }
        num += (y - x) * (y - x);
        den += x * x;
    }
    match (num, den) {
        (0.0, _) => 0.0,
        (_, 0.0) => f64::INFINITY,
        _ => (num / den).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_keeps_the_stated_bits_and_goes_to_even() {
        assert_eq!(round_mantissa(1.0 + 1.0 / 256.0, 7), 1.0);
        assert_eq!(round_mantissa(1.0 + 3.0 / 256.0, 7), 1.0 + 4.0 / 256.0);
        assert_eq!(round_mantissa(-8.485_281, 7), -8.5);
        assert_eq!(narrow_f16(2049.0), 2048.0);
        assert_eq!(narrow_f16(1e5), 99968.0);
    }

    #[test]
    fn the_normal_stream_has_mean_zero_and_variance_one() {
        let mut rng = Prng::named(1, "normal");
        let draws: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 2e4;
        let var = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 2e4;
        assert!(
            mean.abs() < 0.03 && (var - 1.0).abs() < 0.04,
            "mean {mean}, variance {var}"
        );
    }

    #[test]
    fn chunked_sums_round_differently_and_agree_to_rounding() {
        let mut rng = Prng::named(2, "dot");
        let mut draw = || {
            (0..200)
                .map(|_| f64::from(rng.normal() as f32))
                .collect::<Vec<_>>()
        };
        let (a, b) = (draw(), draw());
        let (x, y) = (
            Arithmetic::F32.dot(&a, &b),
            Arithmetic::F32Chunked.dot(&a, &b),
        );
        assert!(x != y && (x - y).abs() < 1e-4, "{x} {y}");
    }
}
