//! AVX2 (with FMA and F16C) and AVX-512 (F, BW, DQ, VL).
//!
//! Safety: every method is called below a function with the set's `target_feature`s alone, which `per_isa!` in the kernel
//! calls when the machine has them; loads take references to as many bytes as they read, and need no alignment.

use super::{Arithmetic, LANES, Simd, Vector};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub struct Avx2;

#[derive(Clone, Copy)]
pub struct Avx512;

/// Eight f32 with masks as vectors.
#[derive(Clone, Copy)]
pub struct Singles(__m256);

/// Eight f64 in two halves, masks likewise.
#[derive(Clone, Copy)]
pub struct Halves(__m256d, __m256d);

/// Eight f32 with masks as bits.
#[derive(Clone, Copy)]
pub struct MaskedSingles(__m256);

/// Eight f64, masks as bits.
#[derive(Clone, Copy)]
pub struct Doubles(__m512d);

macro_rules! loads {
    ($single:ident) => {
        #[inline(always)]
        fn f32(bytes: &[[u8; 4]; LANES]) -> $single {
            $single(unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) })
        }
        #[inline(always)]
        fn bf16(bytes: &[[u8; 2]; LANES]) -> $single {
            $single(unsafe {
                let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
            })
        }
        #[inline(always)]
        fn f16(bytes: &[[u8; 2]; LANES]) -> $single {
            $single(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast())) })
        }
    };
}

impl Simd for Avx2 {
    type F32 = Singles;
    type F64 = Halves;
    loads!(Singles);
    #[inline(always)]
    fn f64(bytes: &[[u8; 8]; LANES]) -> Halves {
        let at: *const f64 = bytes.as_ptr().cast();
        unsafe { Halves(_mm256_loadu_pd(at), _mm256_loadu_pd(at.add(4))) }
    }
    #[inline(always)]
    fn widen(x: Singles) -> Halves {
        unsafe {
            Halves(
                _mm256_cvtps_pd(_mm256_castps256_ps128(x.0)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x.0)),
            )
        }
    }
}

impl Simd for Avx512 {
    type F32 = MaskedSingles;
    type F64 = Doubles;
    loads!(MaskedSingles);
    #[inline(always)]
    fn f64(bytes: &[[u8; 8]; LANES]) -> Doubles {
        Doubles(unsafe { _mm512_loadu_pd(bytes.as_ptr().cast()) })
    }
    #[inline(always)]
    fn widen(x: MaskedSingles) -> Doubles {
        Doubles(unsafe { _mm512_cvtps_pd(x.0) })
    }
}

impl Vector for Singles {
    type Scalar = f32;
    type Mask = __m256;
    #[inline(always)]
    fn splat(x: f64) -> Self {
        Singles(unsafe { _mm256_set1_ps(x as f32) })
    }
    #[inline(always)]
    fn array(self) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) };
        out
    }
    #[inline(always)]
    fn scalar(x: f32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Singles(unsafe { _mm256_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Singles(unsafe { _mm256_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Singles(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    fn less(self, other: Self) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn equal(self, other: Self) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0) }
    }
    #[inline(always)]
    fn both(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_and_ps(a, b) }
    }
    #[inline(always)]
    fn either(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_or_ps(a, b) }
    }
    #[inline(always)]
    fn count(mask: __m256) -> u64 {
        u64::from(unsafe { _mm256_movemask_ps(mask) }.count_ones())
    }
    #[inline(always)]
    fn select(self, mask: __m256, other: Self) -> Self {
        Singles(unsafe { _mm256_blendv_ps(other.0, self.0, mask) })
    }
}

/// One intrinsic on both halves.
macro_rules! halves {
    ($f:expr, $a:expr, $b:expr) => {
        unsafe { Halves($f($a.0, $b.0), $f($a.1, $b.1)) }
    };
}

impl Vector for Halves {
    type Scalar = f64;
    type Mask = Halves;
    #[inline(always)]
    fn splat(x: f64) -> Self {
        unsafe { Halves(_mm256_set1_pd(x), _mm256_set1_pd(x)) }
    }
    #[inline(always)]
    fn array(self) -> [f64; LANES] {
        let mut out = [0.0; LANES];
        unsafe {
            _mm256_storeu_pd(out.as_mut_ptr(), self.0);
            _mm256_storeu_pd(out.as_mut_ptr().add(4), self.1);
        }
        out
    }
    #[inline(always)]
    fn scalar(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        halves!(_mm256_min_pd, self, other)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        halves!(_mm256_max_pd, self, other)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        halves!(_mm256_andnot_pd, Self::splat(-0.0), self)
    }
    #[inline(always)]
    fn less(self, other: Self) -> Self {
        halves!(_mm256_cmp_pd::<_CMP_LT_OQ>, self, other)
    }
    #[inline(always)]
    fn equal(self, other: Self) -> Self {
        halves!(_mm256_cmp_pd::<_CMP_EQ_OQ>, self, other)
    }
    #[inline(always)]
    fn both(a: Self, b: Self) -> Self {
        halves!(_mm256_and_pd, a, b)
    }
    #[inline(always)]
    fn either(a: Self, b: Self) -> Self {
        halves!(_mm256_or_pd, a, b)
    }
    #[inline(always)]
    fn count(mask: Self) -> u64 {
        let bits = unsafe { _mm256_movemask_pd(mask.0) | (_mm256_movemask_pd(mask.1) << 4) };
        u64::from(bits.count_ones())
    }
    #[inline(always)]
    fn select(self, mask: Self, other: Self) -> Self {
        unsafe {
            Halves(
                _mm256_blendv_pd(other.0, self.0, mask.0),
                _mm256_blendv_pd(other.1, self.1, mask.1),
            )
        }
    }
}

impl Arithmetic for Halves {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        halves!(_mm256_add_pd, self, other)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        halves!(_mm256_sub_pd, self, other)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        halves!(_mm256_mul_pd, self, other)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        halves!(_mm256_div_pd, self, other)
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        unsafe {
            Halves(
                _mm256_fmadd_pd(self.0, a.0, b.0),
                _mm256_fmadd_pd(self.1, a.1, b.1),
            )
        }
    }
}

macro_rules! abs_ps {
    ($x:expr) => {
        _mm256_andnot_ps(_mm256_set1_ps(-0.0), $x)
    };
}
macro_rules! abs_pd {
    ($x:expr) => {
        _mm512_abs_pd($x)
    };
}

macro_rules! bits {
    ($vector:ident, $scalar:ident, $set1:ident, $store:ident, $min:ident, $max:ident, $abs:ident, $cmp:ident, $blend:ident) => {
        impl Vector for $vector {
            type Scalar = $scalar;
            type Mask = __mmask8;
            #[inline(always)]
            fn splat(x: f64) -> Self {
                $vector(unsafe { $set1(x as $scalar) })
            }
            #[inline(always)]
            fn array(self) -> [$scalar; LANES] {
                let mut out = [0.0; LANES];
                unsafe { $store(out.as_mut_ptr(), self.0) };
                out
            }
            #[inline(always)]
            fn scalar(x: $scalar) -> f64 {
                f64::from(x)
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                $vector(unsafe { $min(self.0, other.0) })
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                $vector(unsafe { $max(self.0, other.0) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $vector(unsafe { $abs!(self.0) })
            }
            #[inline(always)]
            fn less(self, other: Self) -> __mmask8 {
                unsafe { $cmp::<_CMP_LT_OQ>(self.0, other.0) }
            }
            #[inline(always)]
            fn equal(self, other: Self) -> __mmask8 {
                unsafe { $cmp::<_CMP_EQ_OQ>(self.0, other.0) }
            }
            #[inline(always)]
            fn both(a: __mmask8, b: __mmask8) -> __mmask8 {
                a & b
            }
            #[inline(always)]
            fn either(a: __mmask8, b: __mmask8) -> __mmask8 {
                a | b
            }
            #[inline(always)]
            fn count(mask: __mmask8) -> u64 {
                u64::from(mask.count_ones())
            }
            #[inline(always)]
            fn select(self, mask: __mmask8, other: Self) -> Self {
                $vector(unsafe { $blend(mask, other.0, self.0) })
            }
        }
    };
}
bits!(
    MaskedSingles,
    f32,
    _mm256_set1_ps,
    _mm256_storeu_ps,
    _mm256_min_ps,
    _mm256_max_ps,
    abs_ps,
    _mm256_cmp_ps_mask,
    _mm256_mask_blend_ps
);
bits!(
    Doubles,
    f64,
    _mm512_set1_pd,
    _mm512_storeu_pd,
    _mm512_min_pd,
    _mm512_max_pd,
    abs_pd,
    _mm512_cmp_pd_mask,
    _mm512_mask_blend_pd
);

impl Arithmetic for Doubles {
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Doubles(unsafe { _mm512_add_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Doubles(unsafe { _mm512_sub_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Doubles(unsafe { _mm512_mul_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Doubles(unsafe { _mm512_div_pd(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Doubles(unsafe { _mm512_fmadd_pd(self.0, a.0, b.0) })
    }
}
