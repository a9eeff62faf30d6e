//! Numerics of one stage: rounded to a narrower type, out of half precision's range, or dropout left on.

use super::noise::is_rounding_like;
use super::{Case, Relation, undone};
use crate::causes;
use crate::diagnose::{Array, Side, Suspicion};
use crate::dtype::DType;
use crate::name::Stage;
use crate::text::short;

pub struct Rounded;

/// The largest finite half-precision number.
const F16_MAX: f64 = 65504.0;
const NARROW: [DType; 4] = [DType::BF16, DType::F16, DType::F8E4M3, DType::F8E5M2];
/// Elements on which a type is ruled out.
const FEW: usize = 1 << 12;
/// An error this many times what entered, and what rounding explains, stands out.
const STANDS_OUT: f64 = 5.0;

impl Relation for Rounded {
    fn id(&self) -> &'static str {
        "rounded"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let exact = case.is(&[Stage::INPUT_IDS, Stage::POSITION_IDS, Stage::ATTENTION_MASK]);
        if exact || case.reference.data.len() != case.candidate.data.len() {
            return Vec::new();
        }
        let mut found = Vec::new();
        found.extend(overflow(case));
        if found.is_empty() {
            found.extend(dropout(case));
            found.extend(narrower(case).or_else(|| noisier(case)));
        }
        found
    }
}

/// The candidate is the reference rounded to a narrower type, or holds only values of such a type while its neighbours do not.
fn narrower(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = case.visible();
    let before = c.distance(&r);
    if before > 0.3 {
        return None;
    }
    let (r_few, c_few) = (few(&r), few(&c));
    // rounding differs from element to element, and not from place to place
    let may_be = |dtype: DType| c_few.distance(&rounded(&r_few, dtype)) < c_few.distance(&r_few);
    for dtype in NARROW {
        if !stands_alone(case, dtype) || !may_be(dtype) {
            continue;
        }
        let after = c.distance(&rounded(&r, dtype));
        let title = format!("the candidate is the reference rounded to {dtype}");
        let evidence = vec![undone(
            &format!("rounding the reference to {dtype}"),
            before,
            after,
        )];
        if let Some(found) = case.suspect(causes::PRECISION_LOSS, title, before, after, evidence) {
            return Some(found);
        }
    }
    let dtype = NARROW.into_iter().find(|d| holds_only(&c, *d))?;
    if before > 64.0 * dtype.roundoff() || usual_roundoff(case) >= dtype.roundoff() {
        return None;
    }
    let title = format!("the candidate holds {dtype} values here, and more bits elsewhere");
    let evidence = vec![format!(
        "relative error {}; half a unit of {dtype} is {}",
        short(before),
        short(dtype.roundoff())
    )];
    case.suspect(
        causes::PRECISION_LOSS,
        title,
        before,
        case.unproved(before),
        evidence,
    )
}

/// Some elements from all places.
fn few(a: &Array) -> Array {
    // an odd step does not fall into the period of the rows
    let step = a.data.len().div_ceil(FEW) | 1;
    let data: Vec<f64> = a.data.iter().copied().step_by(step).collect();
    Array::new(vec![data.len()], data)
}

fn rounded(a: &Array, dtype: DType) -> Array {
    match dtype {
        DType::BF16 => a.map(|x| half::bf16::from_f64(x).to_f64()),
        DType::F16 => a.map(|x| half::f16::from_f64(x).to_f64()),
        // 3 and 2 bits of mantissa; the range is of no matter here
        DType::F8E4M3 => a.map(|x| to_bits(x, 3)),
        _ => a.map(|x| to_bits(x, 2)),
    }
}

/// Rounded to so many bits after the leading one, ties to even.
fn to_bits(x: f64, bits: u32) -> f64 {
    let dropped = f64::MANTISSA_DIGITS - 1 - bits;
    let unit = 1u64 << dropped;
    let below_half = (unit >> 1) - 1;
    let even = (x.to_bits() >> dropped) & 1;
    if x.is_finite() {
        // a carry out of the mantissa raises the exponent, as it should
        f64::from_bits((x.to_bits() + below_half + even) & !(unit - 1))
    } else {
        x
    }
}

fn holds_only(a: &Array, dtype: DType) -> bool {
    let some = a.data.iter().filter(|x| x.is_finite() && **x != 0.0);
    // whole numbers and the like say nothing
    let enough = some.clone().take(32).count() == 32;
    enough && some.clone().all(|x| rounded_one(*x, dtype) == *x)
}

fn rounded_one(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => half::bf16::from_f64(x).to_f64(),
        DType::F16 => half::f16::from_f64(x).to_f64(),
        DType::F8E4M3 => to_bits(x, 3),
        _ => to_bits(x, 2),
    }
}

/// Whether few other tensors of the candidate are as coarse as this type: where many are, it is the arithmetic.
fn stands_alone(case: &Case<'_>, dtype: DType) -> bool {
    let others: Vec<bool> = case
        .scene
        .pairs
        .iter()
        .filter(|p| p.key != *case.key)
        .filter_map(|p| Some(&p.stats()?.candidate))
        .filter(|c| !c.precision.is_exact())
        .map(|c| c.precision.roundoff() >= dtype.roundoff())
        .collect();
    let coarse = others.iter().filter(|c| **c).count();
    4 * coarse <= others.len()
}

/// Unit roundoff of the precision that most of the candidate's other tensors have.
fn usual_roundoff(case: &Case<'_>) -> f64 {
    let mut seen: Vec<f64> = case
        .scene
        .pairs
        .iter()
        .filter(|p| p.key != *case.key)
        .filter_map(|p| Some(p.stats()?.candidate.precision.roundoff()))
        .collect();
    seen.sort_by(f64::total_cmp);
    seen.get(seen.len() / 2).copied().unwrap_or(0.0)
}

/// Noise that begins here, far above what entered: an accumulator or intermediate with fewer bits. Projections are left to
/// the hypothesis of a coarse weight, which says the same of them first.
fn noisier(case: &Case<'_>) -> Option<Suspicion> {
    let noise = is_rounding_like(case)?;
    let stage = case.stage()?;
    let entered = stage
        .parents()
        .iter()
        .filter_map(|p| case.scene.find(&case.site(Side::Reference).key(*p)))
        .filter_map(|i| case.scene.errors.get(i).copied()?)
        .fold(case.noise, f64::max);
    if noise.error < STANDS_OUT * entered || noise.error > 0.05 {
        return None;
    }
    // the type whose roundoff is nearest from below
    let dtype = NARROW
        .into_iter()
        .rev()
        .find(|d| d.roundoff() <= 2.0 * noise.error);
    let like = dtype.map_or("a narrower type".to_owned(), |d| {
        format!("{d} (half a unit is {})", short(d.roundoff()))
    });
    let evidence = vec![
        noise.text.clone(),
        format!("relative error of what entered: {}", short(entered)),
    ];
    let before = noise.error;
    case.suspect(
        causes::PRECISION_LOSS,
        format!("rounding noise begins at {}, as of {like}", case.key),
        before,
        case.unproved(before),
        evidence,
    )
}

/// Infinities, NaN or saturation where the reference leaves the range of half precision, or comes near.
fn overflow(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = case.visible();
    let width = super::features(&r);
    let lost: Vec<usize> = r
        .data
        .iter()
        .zip(&*c.data)
        .enumerate()
        .filter(|(_, (r, c))| {
            r.is_finite() && (!c.is_finite() || (c.abs() == F16_MAX && r.abs() > F16_MAX))
        })
        .map(|(i, _)| i)
        .collect();
    let first = *lost.first()?;
    let largest = lost.iter().map(|&i| r.data[i].abs()).fold(0.0, f64::max);
    let after = c.distance(&r);
    // saturated places are finite; what they lose is what overflow explains
    let kept = |a: &Array| {
        let mut data = a.data.to_vec();
        lost.iter().for_each(|&i| data[i] = f64::NAN);
        Array::new(a.shape.clone(), data)
    };
    // of the whole norm: what is lost was the largest part of it
    let rest = if lost.len() < r.data.len() {
        let kept_norm = kept(&r).norm();
        kept(&c).distance(&kept(&r)) * kept_norm / r.norm().max(kept_norm)
    } else {
        0.0
    };
    let rest = if rest.is_nan() { after } else { rest };
    let inside = entering(case).max(largest);
    let mut channels: Vec<usize> = lost.iter().map(|i| i % width).collect();
    channels.sort_unstable();
    channels.dedup();
    let listed: Vec<String> = channels.iter().take(4).map(usize::to_string).collect();
    let more = if channels.len() > 4 {
        format!(" and {} more", channels.len() - 4)
    } else {
        String::new()
    };
    let infinite = lost.iter().filter(|&&i| c.data[i].is_infinite()).count();
    let nan = lost.iter().filter(|&&i| c.data[i].is_nan()).count();
    let evidence = vec![
        format!(
            "{} of {} elements: {infinite} infinite, {nan} NaN, {} at 65504; channels {}{more}",
            lost.len(),
            r.data.len(),
            lost.len() - infinite - nan,
            listed.join(", ")
        ),
        format!(
            "reference at the first one {}, largest magnitude there {}",
            short(r.data[first]),
            short(largest)
        ),
        format!("relative error of all other elements {}", short(rest)),
    ];
    let (cause, title, rest) = if largest > 0.9 * F16_MAX {
        (
            causes::FP16_OVERFLOW,
            format!(
                "half precision overflows: the reference reaches {}",
                short(largest)
            ),
            rest,
        )
    } else if inside > F16_MAX / 64.0 && infinite > 0 {
        (
            causes::FP16_OVERFLOW,
            format!(
                "infinities appear where magnitudes of {} stand or enter: half precision overflows inside the operation",
                short(inside)
            ),
            case.unproved(1.0).max(rest),
        )
    } else if nan > 0 {
        (
            causes::NAN,
            format!("{nan} elements are NaN in the candidate only"),
            case.unproved(1.0).max(rest),
        )
    } else {
        (
            causes::INF,
            format!("{infinite} elements are infinite in the candidate only"),
            case.unproved(1.0).max(rest),
        )
    };
    case.suspect(cause, title, 1.0, rest, evidence)
}

/// The largest magnitude among what the stage is computed from.
fn entering(case: &Case<'_>) -> f64 {
    let site = case.site(Side::Reference);
    let parents = case.stage().map_or(&[][..], Stage::parents);
    let taps = parents.iter().filter_map(|p| site.tap(*p));
    taps.flat_map(|a| {
        a.data
            .iter()
            .map(|x| x.abs())
            .filter(|x| x.is_finite())
            .collect::<Vec<_>>()
    })
    .fold(0.0, f64::max)
}

/// A share p of zeros, the rest times 1/(1 − p).
fn dropout(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = (case.reference, case.candidate);
    let live = || {
        r.data
            .iter()
            .zip(&*c.data)
            .filter(|(r, _)| r.is_finite() && **r != 0.0)
    };
    let n = live().count();
    let dropped = live().filter(|(_, c)| **c == 0.0).count();
    let p = dropped as f64 / n as f64;
    if n < 64 || dropped < 4 || p > 0.9 {
        return None;
    }
    let rest = || live().filter(|(_, c)| **c != 0.0);
    let (cr, rr) = rest().fold((0.0, 0.0), |(a, b), (r, c)| (a + c * r, b + r * r));
    let s = cr / rr;
    // the rate that the factor tells, and how far chance takes the share from it
    let rate = 1.0 - 1.0 / s;
    let chance = 4.0 * (p * (1.0 - p) / n as f64).sqrt();
    if !(s > 1.0 && (rate - p).abs() < chance + 0.002) {
        return None;
    }
    let left: f64 = rest().map(|(r, c)| (c / s - r) * (c / s - r)).sum();
    let (before, after) = (c.distance(r), (left / rr).sqrt());
    let evidence = vec![
        format!(
            "{dropped} of {n} elements are zero ({:.1} %), the others times {s:.5} = 1/(1 − {rate:.4})",
            100.0 * p
        ),
        undone(
            "leaving out the zeros and undoing the factor",
            before,
            after,
        ),
    ];
    let title = format!("dropout with rate {rate:.2} is active in the candidate");
    case.suspect(causes::DROPOUT_ACTIVE, title, before, after, evidence)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, stream};
    use super::*;

    fn found(stage: Stage, r: &Array, c: Array) -> Vec<&'static str> {
        Dumps::default()
            .same(0, Stage::INPUT, &stream(10, 64, 33))
            .with(0, stage, r.clone(), c)
            .causes(&Rounded, 0, stage)
    }

    #[test]
    fn a_rounded_tensor_is_found() {
        let r = stream(10, 64, 1);
        let noisy = noisy(&r, 1e-7, 2);
        for dtype in NARROW {
            let c = rounded(&noisy, dtype);
            assert_eq!(
                found(Stage::ATTN_NORM, &r, c),
                ["precision_loss"],
                "{dtype}"
            );
        }
    }

    #[test]
    fn overflow_is_told_from_other_infinities() {
        let r = Array::new(
            vec![1, 10, 64],
            normal(640, 1).into_iter().map(|x| 3e4 * x).collect(),
        );
        let c = r.map(|x| {
            if x.abs() > F16_MAX {
                f64::INFINITY
            } else {
                half::f16::from_f64(x).to_f64()
            }
        });
        assert_eq!(found(Stage::DOWN_PROJ, &r, c)[0], "fp16_overflow");
        let clamped = r.map(|x| x.clamp(-F16_MAX, F16_MAX));
        assert_eq!(found(Stage::DOWN_PROJ, &r, clamped)[0], "fp16_overflow");
        let small = stream(10, 64, 1);
        let c = Array::new(
            small.shape.clone(),
            small
                .data
                .iter()
                .enumerate()
                .map(|(i, x)| if i == 70 { f64::NAN } else { *x })
                .collect(),
        );
        assert_eq!(found(Stage::DOWN_PROJ, &small, c), ["nan"]);
    }

    #[test]
    fn dropout_is_told_by_share_and_factor() {
        let r = stream(20, 64, 1);
        let keep = normal(1280, 7);
        let with = |factor: f64| {
            let data = r
                .data
                .iter()
                .zip(&keep)
                .map(|(x, k)| if *k < -1.2816 { 0.0 } else { factor * x })
                .collect();
            found(Stage::O_PROJ, &r, Array::new(r.shape.clone(), data))
        };
        assert_eq!(with(1.0 / 0.9), ["dropout_active"]);
        assert!(with(1.0).is_empty());
    }

    #[test]
    fn noise_that_begins_here_is_a_loss_of_precision() {
        let r = stream(10, 64, 1);
        let found = found(Stage::ATTN_NORM, &r, noisy(&r, 3e-3, 2));
        assert_eq!(found, ["precision_loss"]);
    }
}
