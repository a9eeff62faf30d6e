//! Blocks that the fast loop cannot sum: f64 whose squares leave its range, and 64-bit integers beyond 2^53.
//!
//! Slow and careful: every series is divided by a power of two that brings its largest value below 1, and summed twice,
//! the second time about its mean. Differences of integers are exact.

use super::facts::{Core, Facts, Odd, Series};
use super::moments::{Moments, exponent_of, scaled};
use super::setting::{Setting, first_of, is_mismatch};
use crate::dtype::DType;

/// Adds a block of values whose count and bits have been seen to; `d` holds c − r where the subtraction would round.
pub fn add_block(
    facts: &mut Facts,
    setting: &Setting<'_>,
    at: u64,
    r: &[f64],
    c: &[f64],
    d: Option<&[f64]>,
) {
    let common: Vec<usize> = (0..r.len())
        .filter(|&i| r[i].is_finite() && c[i].is_finite())
        .collect();
    let pick = |x: &[f64]| common.iter().map(|&i| x[i]).collect::<Vec<f64>>();
    let (common_r, common_c) = (pick(r), pick(c));
    let core = core(setting, &common_r, &common_c, d.map(pick).as_deref());
    let own = (common.len() < r.len()).then(|| Box::new([own(r), own(c)]));
    facts.append_core(core.sums, own);

    let odd = odd(r, c);
    facts.odd.append(&odd);
    let place = |i: usize| setting.place(at + i as u64, r[i], c[i]);
    let mismatches = (0..r.len()).filter(|&i| is_mismatch(r[i], c[i])).map(place);
    if let Some(first) = first_of(mismatches, setting.positions) {
        facts.offer_mismatch(first);
    }
    let worst = common
        .iter()
        .zip(&core.d_abs)
        .filter(|(_, d)| **d == core.max_abs)
        .map(|(i, _)| place(*i));
    if let Some(worst) = first_of(worst, setting.positions) {
        facts.offer_worst(core.max_abs, worst);
    }
    facts.max_mixed = facts.max_mixed.max(core.max_mixed);
}

struct Careful {
    sums: Core,
    d_abs: Vec<f64>,
    max_abs: f64,
    max_mixed: f64,
}

fn core(setting: &Setting<'_>, r: &[f64], c: &[f64], d: Option<&[f64]>) -> Careful {
    let (r_series, r_scaled) = series(r);
    let (c_series, c_scaled) = series(c);
    let (r_exponent, c_exponent) = (r_series.moments.exponent, c_series.moments.exponent);
    // One more bit: a difference of two values just below 1 may be nearly 2.
    let down = r_exponent.max(c_exponent) + 1;
    let d: Vec<f64> = match d {
        Some(d) => d.iter().map(|d| scaled(*d, -down)).collect(),
        None => r
            .iter()
            .zip(c)
            .map(|(r, c)| scaled(*c, -down) - scaled(*r, -down))
            .collect(),
    };
    let (d_series, d_scaled) = series(&d);
    let mut d_moments = d_series.moments;
    d_moments.exponent += down;

    let mut out = Careful {
        sums: Core {
            r: r_series,
            c: c_series,
            d: d_moments,
            d_abs: d_scaled.iter().map(|d| d.abs()).sum(),
            ..Core::EMPTY
        },
        d_abs: d.iter().map(|d| scaled(d.abs(), down)).collect(),
        max_abs: 0.0,
        max_mixed: 0.0,
    };
    let tolerance = setting.tolerance;
    for (i, r) in r.iter().enumerate() {
        let (d_scaled, d, r) = (d[i].abs(), out.d_abs[i], r.abs());
        let sums = &mut out.sums;
        if r != 0.0 {
            // |d| may be infinite where |d| / |r| is not.
            let rel = if d.is_finite() {
                d / r
            } else {
                d_scaled / scaled(r, -down)
            };
            sums.rel_sum += rel;
            sums.rel_max = sums.rel_max.max(rel);
        }
        let within = d <= tolerance.atol + tolerance.rtol * r;
        sums.beyond += u64::from(!within);
        out.max_abs = out.max_abs.max(d);
        let mixed = if d.is_finite() {
            d / (1.0 + r)
        } else {
            d_scaled / (scaled(1.0, -down) + scaled(r, -down))
        };
        out.max_mixed = out.max_mixed.max(mixed);
    }
    let (r_mean, c_mean) = (centre(&r_scaled), centre(&c_scaled));
    for (r, c) in r_scaled.iter().zip(&c_scaled) {
        out.sums.dot += r * c;
        out.sums.product += (r - r_mean) * (c - c_mean);
    }
    out
}

fn own(x: &[f64]) -> Series {
    let finite: Vec<f64> = x.iter().copied().filter(|x| x.is_finite()).collect();
    series(&finite).0
}

fn centre(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

/// The moments of finite values, and the values as they were summed (divided by a power of two).
fn series(x: &[f64]) -> (Series, Vec<f64>) {
    let largest = x.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let exponent = exponent_of(largest);
    let scaled: Vec<f64> = x.iter().map(|x| scaled(*x, -exponent)).collect();
    let count = x.len().max(1) as f64;
    let first = centre(&scaled);
    let low = scaled.iter().map(|x| x - first).sum::<f64>() / count;
    let mean = first + low;
    let mean_low = low - (mean - first);
    let moments = Moments {
        count: x.len() as u64,
        mean,
        mean_low,
        m2: scaled.iter().map(|x| (x - mean) * (x - mean)).sum(),
        sum_sq: scaled.iter().map(|x| x * x).sum(),
        exponent,
    };
    let series = Series {
        moments,
        min: x.iter().copied().fold(f64::INFINITY, f64::min),
        max: x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        zeros: x.iter().filter(|x| **x == 0.0).count() as u64,
    };
    (series, scaled)
}

fn odd(r: &[f64], c: &[f64]) -> Odd {
    let mut odd = Odd::default();
    for (&r, &c) in r.iter().zip(c) {
        for (side, x) in [r, c].into_iter().enumerate() {
            odd.nan[side] += u64::from(x.is_nan());
            odd.pos_inf[side] += u64::from(x == f64::INFINITY);
            odd.neg_inf[side] += u64::from(x == f64::NEG_INFINITY);
        }
        odd.nan_both += u64::from(r.is_nan() && c.is_nan());
        odd.inf_both += u64::from(r.is_infinite() && r == c);
        odd.inf_mismatch += u64::from(is_mismatch(r, c) && !r.is_nan() && !c.is_nan());
    }
    odd
}

/// An element of a 64-bit integer type, or of the type it is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exact {
    Whole(i128),
    Float(f64),
}

/// Magnitudes up to here are exact in f64.
const EXACT_LIMIT: u64 = 1 << 53;

/// Whether any of these elements is an integer that f64 would round.
pub fn needs_integers(dtype: DType, bytes: &[u8]) -> bool {
    let words = bytes.as_chunks::<8>().0.iter();
    match dtype {
        DType::I64 => words
            .copied()
            .any(|b| i64::from_le_bytes(b).unsigned_abs() > EXACT_LIMIT),
        DType::U64 => words.copied().any(|b| u64::from_le_bytes(b) > EXACT_LIMIT),
        _ => false,
    }
}

/// Adds a block in which integers beyond 2^53 stand; `r` and `c` hold the little-endian bytes and the decoded values.
pub fn add_integers(
    facts: &mut Facts,
    setting: &Setting<'_>,
    at: u64,
    dtypes: [DType; 2],
    bytes: [&[u8]; 2],
    values: [&[f64]; 2],
) {
    let [r, c] = [0, 1].map(|side| exact(dtypes[side], bytes[side], values[side]));
    let d: Vec<f64> = r.iter().zip(&c).map(|(r, c)| difference(*r, *c)).collect();
    facts.count += d.len() as u64;
    facts.identical &= d.iter().all(|d| *d == 0.0);
    add_block(facts, setting, at, values[0], values[1], Some(&d));
}

fn exact(dtype: DType, bytes: &[u8], values: &[f64]) -> Vec<Exact> {
    let words = bytes.as_chunks::<8>().0.iter().copied();
    match dtype {
        DType::I64 => words
            .map(|b| Exact::Whole(i128::from(i64::from_le_bytes(b))))
            .collect(),
        DType::U64 => words
            .map(|b| Exact::Whole(i128::from(u64::from_le_bytes(b))))
            .collect(),
        _ => values
            .iter()
            .map(|&x| {
                // Beyond 2^64 no difference to a 64-bit integer is lost in f64.
                if x.fract() == 0.0 && x.abs() < 1e30 {
                    Exact::Whole(x as i128)
                } else {
                    Exact::Float(x)
                }
            })
            .collect(),
    }
}

/// c − r, rounded once.
fn difference(r: Exact, c: Exact) -> f64 {
    let float = |x: Exact| match x {
        Exact::Whole(x) => x as f64,
        Exact::Float(x) => x,
    };
    match (r, c) {
        (Exact::Whole(r), Exact::Whole(c)) => (c - r) as f64,
        _ => float(c) - float(r),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_integers_beyond_2_to_the_53_differ_by_one() {
        let big = (1i64 << 60) + 1;
        let bytes = big.to_le_bytes();
        let r = exact(DType::I64, &bytes, &[big as f64]);
        let c = exact(DType::U64, &(big as u64 + 1).to_le_bytes(), &[big as f64]);
        assert_eq!(difference(r[0], c[0]), 1.0);
        assert!(needs_integers(DType::I64, &bytes));
        assert!(!needs_integers(DType::I64, &5i64.to_le_bytes()));
        assert!(needs_integers(DType::I64, &i64::MIN.to_le_bytes()));
    }
}
