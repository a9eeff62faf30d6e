//! Eight lanes of f32 or f64 on every instruction set, with the same bits in each.
//!
//! Left to itself the compiler finds the vectors in one version of a loop and loses them in the next; here they are spelled
//! out, so that the loops over elements are as fast as they look. Every operation is the IEEE one of its name, lane by
//! lane: which set is used shows in the time only.

mod isa;
mod text;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::Isa;
pub use text::{Text, eight_digits};

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

use half::f16;

/// Lanes of a vector.
pub const LANES: usize = 8;

/// The vectors of one instruction set.
pub trait Simd: Copy {
    type F32: Vector<Scalar = f32>;
    type F64: Arithmetic;

    /// Little-endian f32, bf16 or f16.
    fn f32(bytes: &[[u8; 4]; LANES]) -> Self::F32;
    fn bf16(bytes: &[[u8; 2]; LANES]) -> Self::F32;
    fn f16(bytes: &[[u8; 2]; LANES]) -> Self::F32;
    fn f64(bytes: &[[u8; 8]; LANES]) -> Self::F64;
    #[inline(always)]
    fn of_f64(values: &[f64; LANES]) -> Self::F64 {
        Self::f64(&values.map(f64::to_le_bytes))
    }
    fn widen(x: Self::F32) -> Self::F64;
}

/// Eight numbers.
pub trait Vector: Copy {
    type Scalar: Copy + PartialOrd;
    /// One truth per lane.
    type Mask: Copy;
    fn splat(x: f64) -> Self;
    fn array(self) -> [Self::Scalar; LANES];
    fn scalar(x: Self::Scalar) -> f64;
    /// `self < other ? self : other` and `self > other ? self : other`: `other` where one of them is NaN.
    fn min(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// False where one of them is NaN.
    fn less(self, other: Self) -> Self::Mask;
    fn equal(self, other: Self) -> Self::Mask;
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    fn either(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Lanes in which the mask holds.
    fn count(mask: Self::Mask) -> u64;
    /// `self` where the mask holds, else `other`.
    fn select(self, mask: Self::Mask, other: Self) -> Self;
}

/// Eight f64 to calculate with.
pub trait Arithmetic: Vector<Scalar = f64> {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// self · a + b, rounded once where the set can and twice where it cannot: only for products that are exact, and for
    /// bounds that allow for the difference.
    fn mul_add(self, a: Self, b: Self) -> Self;
}

/// What every machine of the architecture has, as the compiler sees fit.
#[derive(Clone, Copy)]
pub struct Baseline;

#[derive(Clone, Copy)]
pub struct Plain<T>([T; LANES]);

impl<T: Copy> Plain<T> {
    #[inline(always)]
    fn each<U>(self, f: impl Fn(T) -> U) -> [U; LANES] {
        let [a, b, c, d, e, g, h, i] = self.0;
        [f(a), f(b), f(c), f(d), f(e), f(g), f(h), f(i)]
    }

    #[inline(always)]
    fn zip<U: Copy, V>(self, other: [U; LANES], f: impl Fn(T, U) -> V) -> [V; LANES] {
        let ([a, b, c, d, e, g, h, i], o) = (self.0, other);
        [
            f(a, o[0]),
            f(b, o[1]),
            f(c, o[2]),
            f(d, o[3]),
            f(e, o[4]),
            f(g, o[5]),
            f(h, o[6]),
            f(i, o[7]),
        ]
    }
}

macro_rules! plain {
    ($float:ident) => {
        impl Vector for Plain<$float> {
            type Scalar = $float;
            type Mask = [bool; LANES];
            #[inline(always)]
            fn splat(x: f64) -> Self {
                Plain([x as $float; LANES])
            }
            #[inline(always)]
            fn array(self) -> [$float; LANES] {
                self.0
            }
            #[inline(always)]
            fn scalar(x: $float) -> f64 {
                f64::from(x)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                Plain(self.zip(other.0, |a, b| if a < b { a } else { b }))
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                Plain(self.zip(other.0, |a, b| if a > b { a } else { b }))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Plain(self.each($float::abs))
            }
            #[inline(always)]
            fn less(self, other: Self) -> Self::Mask {
                self.zip(other.0, |a, b| a < b)
            }
            #[inline(always)]
            fn equal(self, other: Self) -> Self::Mask {
                self.zip(other.0, |a, b| a == b)
            }
            #[inline(always)]
            fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask {
                Plain(a).zip(b, |a, b| a & b)
            }
            #[inline(always)]
            fn either(a: Self::Mask, b: Self::Mask) -> Self::Mask {
                Plain(a).zip(b, |a, b| a | b)
            }
            #[inline(always)]
            fn count(mask: Self::Mask) -> u64 {
                mask.into_iter().map(u64::from).sum()
            }
            #[inline(always)]
            fn select(self, mask: Self::Mask, other: Self) -> Self {
                let pairs = Plain(self.zip(other.0, |a, b| (a, b)));
                Plain(pairs.zip(mask, |(a, b), own| if own { a } else { b }))
            }
        }
    };
}
plain!(f32);
plain!(f64);

impl Arithmetic for Plain<f64> {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Plain(self.zip(other.0, |a, b| a + b))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Plain(self.zip(other.0, |a, b| a - b))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Plain(self.zip(other.0, |a, b| a * b))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Plain(self.zip(other.0, |a, b| a / b))
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.mul(a).add(b)
    }
}

impl Simd for Baseline {
    type F32 = Plain<f32>;
    type F64 = Plain<f64>;
    #[inline(always)]
    fn f32(bytes: &[[u8; 4]; LANES]) -> Self::F32 {
        Plain(bytes.map(f32::from_le_bytes))
    }
    #[inline(always)]
    fn bf16(bytes: &[[u8; 2]; LANES]) -> Self::F32 {
        Plain(bytes.map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)))
    }
    #[inline(always)]
    fn f16(bytes: &[[u8; 2]; LANES]) -> Self::F32 {
        Plain(bytes.map(|b| f16::from_le_bytes(b).to_f32()))
    }
    #[inline(always)]
    fn f64(bytes: &[[u8; 8]; LANES]) -> Self::F64 {
        Plain(bytes.map(f64::from_le_bytes))
    }
    #[inline(always)]
    fn widen(x: Self::F32) -> Self::F64 {
        Plain(x.each(f64::from))
    }
}

/// Compiles a function once per instruction set and picks one at run time.
macro_rules! per_isa {
    (
        $(#[$doc:meta])*
        $visibility:vis fn $name:ident[$($generic:tt)*][$($forward:tt)*]($($arg:ident: $ty:ty),*) -> $out:ty = $body:ident;
    ) => {
        $(#[$doc])*
        $visibility fn $name<$($generic)*>(isa: $crate::simd::Isa, $($arg: $ty),*) -> $out {
            use $crate::simd::Isa;
            use $crate::simd;
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,popcnt,bmi1,bmi2")]
                fn avx512<$($generic)*>($($arg: $ty),*) -> $out {
                    $body::<simd::Avx512, $($forward)*>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c,popcnt,bmi1,bmi2")]
                fn avx2<$($generic)*>($($arg: $ty),*) -> $out {
                    $body::<simd::Avx2, $($forward)*>($($arg),*)
                }
                match isa.available() {
                    // SAFETY: `available` never names a set that the machine lacks.
                    Isa::Avx512 => return unsafe { avx512::<$($forward)*>($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { avx2::<$($forward)*>($($arg),*) },
                    Isa::Baseline => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _: Isa = isa;
            $body::<simd::Baseline, $($forward)*>($($arg),*)
        }
    };
}
pub(crate) use per_isa;
