//! The loop against the plain one that says what it means.

use super::*;
use crate::compare::facts::Odd;
use crate::simd::Isa;

/// What [`pass`] means, one element after the other.
fn plain<E: Element>(r: &[E::Stored], c: &[E::Stored], limits: Limits) -> Sums {
    let side = || SideSums {
        sum: 0.0,
        sum_sq: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        zeros: 0,
    };
    let mut s = Sums {
        count: 0,
        r: side(),
        c: side(),
        d_sum: 0.0,
        d_sq: 0.0,
        d_abs: 0.0,
        d_max: 0.0,
        rel_sum: 0.0,
        rel_max: 0.0,
        mixed: 0.0,
        beyond: 0,
    };
    for (r, c) in r.iter().zip(c) {
        let (r, c) = (E::value(*r), E::value(*c));
        if !(r.is_finite() && c.is_finite()) {
            continue;
        }
        s.count += 1;
        for (side, x) in [(&mut s.r, r), (&mut s.c, c)] {
            side.sum += x;
            side.sum_sq += x * x;
            side.min = side.min.min(x);
            side.max = side.max.max(x);
            side.zeros += u64::from(x == 0.0);
        }
        let d = c - r;
        s.d_sum += d;
        s.d_sq += d * d;
        s.d_abs += d.abs();
        s.d_max = s.d_max.max(d.abs());
        if r != 0.0 {
            s.rel_sum += d.abs() / r.abs();
            s.rel_max = s.rel_max.max(d.abs() / r.abs());
        }
        s.mixed = s.mixed.max(d.abs() - limits.mixed * r.abs());
        s.beyond += u64::from(d.abs() > limits.atol + limits.rtol * r.abs());
    }
    s
}

fn assert_like(found: &Sums, expected: &Sums) {
    let near = |a: f64, b: f64, scale: f64| assert!((a - b).abs() <= 1e-13 * scale, "{a} {b}");
    for (f, e) in [(&found.r, &expected.r), (&found.c, &expected.c)] {
        assert_eq!((f.min, f.max, f.zeros), (e.min, e.max, e.zeros));
        near(f.sum, e.sum, e.sum_sq.max(1.0));
        near(f.sum_sq, e.sum_sq, e.sum_sq);
    }
    assert_eq!(
        (found.count, found.beyond, found.d_max, found.rel_max),
        (
            expected.count,
            expected.beyond,
            expected.d_max,
            expected.rel_max
        )
    );
    near(found.d_sum, expected.d_sum, expected.d_abs);
    near(found.d_sq, expected.d_sq, expected.d_sq);
    near(found.d_abs, expected.d_abs, expected.d_abs);
    near(found.rel_sum, expected.rel_sum, expected.rel_sum);
    near(found.mixed, expected.mixed, expected.d_abs.max(1.0));
}

/// Numbers with zeros, and NaN and infinities where `odd`, as elements of each kind.
fn check<E: Element>(from: impl Fn(f32) -> E::Stored) {
    let limits = Limits {
        atol: 1e-3,
        rtol: 1e-2,
        mixed: 0.05,
    };
    for odd in [false, true] {
        for count in [1, 7, 8, 9, 100, BLOCK] {
            let value = |i: usize, shift: f32| {
                let x = ((i * 7919 % 1013) as f32 / 500.0 - 1.0) + shift * (i % 5) as f32;
                match i % 17 {
                    3 => 0.0,
                    5 if odd => f32::NAN,
                    6 if odd && shift > 0.0 => f32::INFINITY,
                    11 if odd => f32::NEG_INFINITY,
                    _ => x,
                }
            };
            let r: Vec<E::Stored> = (0..count).map(|i| from(value(i, 0.0))).collect();
            let c: Vec<E::Stored> = (0..count).map(|i| from(value(i, 0.01))).collect();
            let expected = plain::<E>(&r, &c, limits);
            let found = pass::<true, E>(Isa::Baseline, &r, &c, limits);
            assert_like(&found, &expected);
            for isa in Isa::ALL {
                assert_eq!(pass::<true, E>(isa, &r, &c, limits), found);
                if !odd {
                    assert_eq!(pass::<false, E>(isa, &r, &c, limits), found);
                }
                assert_eq!(super::odd::<E>(isa, &r, &c), plain_odd::<E>(&r, &c));
            }
        }
    }
}

fn plain_odd<E: Element>(r: &[E::Stored], c: &[E::Stored]) -> Odd {
    let mut odd = Odd::default();
    for (r, c) in r.iter().zip(c) {
        let (r, c) = (E::value(*r), E::value(*c));
        for (side, x) in [r, c].into_iter().enumerate() {
            odd.nan[side] += u64::from(x.is_nan());
            odd.pos_inf[side] += u64::from(x == f64::INFINITY);
            odd.neg_inf[side] += u64::from(x == f64::NEG_INFINITY);
        }
        let infinite = r.is_infinite() || c.is_infinite();
        odd.nan_both += u64::from(r.is_nan() && c.is_nan());
        odd.inf_both += u64::from(infinite && r == c);
        let numbers = !r.is_nan() && !c.is_nan();
        odd.inf_mismatch += u64::from(infinite && numbers && r != c);
    }
    odd
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_baseline_and_what_the_plain_loop_means() {
    check::<F32>(f32::to_le_bytes);
    check::<Bf16>(|x| half::bf16::from_f32(x).to_le_bytes());
    check::<F16>(|x| half::f16::from_f32(x).to_le_bytes());
    check::<F64>(|x| f64::from(x).to_le_bytes());
    check::<Decoded>(f64::from);
}

#[test]
fn every_half_precision_number_is_read_as_it_is_on_every_instruction_set() {
    let limits = Limits {
        atol: 0.0,
        rtol: 0.0,
        mixed: 0.0,
    };
    for bits in 0..=u16::MAX {
        let stored = [bits.to_le_bytes(); LANES];
        let value = half::f16::from_bits(bits).to_f64();
        for isa in Isa::ALL {
            let sums = pass::<true, F16>(isa, &stored, &stored, limits);
            if value.is_finite() {
                assert_eq!(sums.r.min.to_bits(), value.to_bits(), "{isa:?} {bits:#x}");
            } else {
                assert_eq!(sums.count, 0, "{isa:?} {bits:#x}");
            }
        }
    }
}
