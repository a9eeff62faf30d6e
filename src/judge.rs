//! Facts and a tolerance become a verdict; what rounding alone can explain is estimated here.
//!
//! The automatic tolerance is a bound on the relative error ‖c − r‖ / ‖r‖. It has two parts: a floor that follows from the
//! coarser precision of the two sides (this file), and what the inputs of the stage already carried (`localise`).

use crate::compare::metric::METRICS;
use crate::compare::{ElementTolerance, PairStats};
use crate::config::{Bound, Limit, Tolerance};
use crate::dtype::DType;
use crate::dump::{PrintedStats, Rounded, Tensor};
use crate::pairs::{Outcome, Pair};
use crate::text::{count, short};

/// Relative error that single precision reaches in another order of operations: about 2e-6 near cancellation, 1e-6 else.
const SINGLE: f64 = 2e-6;
/// A type coarser than single precision: so many units of roundoff in one stage.
const UNITS: f64 = 4.0;
/// Statistics of a whole tensor (mean, std relative to std) agree within this, whatever the arithmetic.
const STATISTICS: f64 = 5e-3;
/// A largest error this many times the root mean square error is no rounding noise ([`spike`]).
const SPIKE: f64 = 30.0;

/// What is known about a pair before its neighbours are looked at.
#[derive(Clone, Debug)]
pub enum Finding {
    /// The error, what rounding of this pair's types explains of it, and what it is the error of.
    Error {
        error: f64,
        floor: f64,
        /// |cos| of the angle between difference and reference: 1 for a factor and for a tensor of zeros, near 0 for noise.
        bias: f64,
        of: String,
    },
    /// Decided by the pair alone: an explicit tolerance, exact types, NaN or infinity on one side.
    Settled {
        diverged: bool,
        error: f64,
        reason: String,
    },
}

impl Finding {
    pub fn error(&self) -> f64 {
        match self {
            Finding::Error { error, .. } | Finding::Settled { error, .. } => *error,
        }
    }
}

/// What a pair is like beside its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub reference_dtype: DType,
    pub candidate_dtype: DType,
    /// The precision that each side usually has in this dump: one tensor held in fewer bits than its neighbours is a
    /// finding, not a regime.
    pub usual_precision: DType,
    /// Half a unit of the last printed digit of both sides together: absolute, and relative to the value.
    pub half_unit_abs: f64,
    pub half_unit_rel: f64,
}

impl Nature {
    fn of(reference: &Tensor, candidate: &Tensor, usual_precision: DType) -> Nature {
        Nature {
            reference_dtype: reference.info.dtype(),
            candidate_dtype: candidate.info.dtype(),
            usual_precision,
            half_unit_abs: reference.printed.half_unit_abs + candidate.printed.half_unit_abs,
            half_unit_rel: reference.printed.half_unit_rel + candidate.printed.half_unit_rel,
        }
    }
}

/// The limits of the command line, ready to match.
pub struct Rules<'a> {
    element: Option<ElementTolerance>,
    limits: Vec<(Option<globset::GlobMatcher>, &'a Limit)>,
}

impl<'a> Rules<'a> {
    pub fn new(tolerance: &'a Tolerance) -> Rules<'a> {
        let glob = |l: &Limit| {
            l.glob
                .as_ref()
                .and_then(|g| globset::Glob::new(g).ok())
                .map(|g| g.compile_matcher())
        };
        Rules {
            element: tolerance.element,
            limits: tolerance.limits.iter().map(|l| (glob(l), l)).collect(),
        }
    }

    fn for_pair(&self, pair: &Pair) -> Vec<&'a Limit> {
        if self.limits.is_empty() {
            return Vec::new();
        }
        let names = pair.names();
        let covers = |glob: &Option<globset::GlobMatcher>| {
            glob.as_ref()
                .is_none_or(|g| names.iter().any(|n| g.is_match(n)))
        };
        self.limits
            .iter()
            .filter(|(glob, _)| covers(glob))
            .map(|(_, l)| *l)
            .collect()
    }

    /// Globs of limits that match no pair.
    pub fn unused(&self, pairs: &[Pair]) -> Vec<&'a str> {
        let idle = self.limits.iter().filter(|(glob, _)| {
            glob.as_ref().is_some_and(|g| {
                !pairs
                    .iter()
                    .any(|p| p.names().iter().any(|n| g.is_match(n)))
            })
        });
        idle.filter_map(|(_, l)| l.glob.as_deref()).collect()
    }
}

/// Judges every pair by itself; `None` where there is nothing to judge (missing, unreadable).
pub fn judge_all(pairs: &[Pair], rules: &Rules<'_>) -> Vec<Option<Finding>> {
    let usual = usual_precision(pairs);
    let judged = pairs.iter().map(|pair| match &pair.outcome {
        Outcome::Compared(stats) => {
            let (r, c) = pair.aligned.as_ref()?;
            let nature = Nature::of(r, c, usual);
            Some(judge(stats, &nature, rules.element, &rules.for_pair(pair)))
        }
        Outcome::Statistics(sides) => Some(judge_statistics(&sides[0], &sides[1], rules.element)),
        Outcome::Incomparable(why) => Some(Finding::Settled {
            diverged: true,
            error: f64::INFINITY,
            reason: why.clone(),
        }),
        _ => None,
    });
    judged.collect()
}

/// The precision that most float tensors of the coarser side have.
fn usual_precision(pairs: &[Pair]) -> DType {
    let middle = |side: fn(&PairStats) -> DType| {
        let mut seen: Vec<DType> = pairs
            .iter()
            .filter_map(Pair::stats)
            .map(side)
            .filter(|d| !d.is_exact())
            .collect();
        seen.sort_by(|a, b| a.roundoff().total_cmp(&b.roundoff()));
        seen.get(seen.len() / 2).copied().unwrap_or(DType::F32)
    };
    middle(|s| s.reference.precision).coarser(middle(|s| s.candidate.precision))
}

/// Judges a pair by itself.
pub fn judge(
    stats: &PairStats,
    nature: &Nature,
    element: Option<ElementTolerance>,
    limits: &[&Limit],
) -> Finding {
    let (error, of) = relative_error(stats);
    if let Some(reason) = non_finite_mismatch(stats) {
        return Finding::Settled {
            diverged: true,
            error: f64::INFINITY,
            reason,
        };
    }
    if let Some((diverged, reason)) = explicit(stats, element, limits) {
        return Finding::Settled {
            diverged,
            error,
            reason,
        };
    }
    if nature.reference_dtype.is_exact() && nature.candidate_dtype.is_exact() {
        let diverged = stats.diff.mismatched > 0;
        let reason = match diverged {
            true => format!(
                "{} of {} integers differ",
                stats.diff.mismatched, stats.reference.count
            ),
            false => "integers are equal".into(),
        };
        return Finding::Settled {
            diverged,
            error: if diverged { f64::INFINITY } else { 0.0 },
            reason,
        };
    }
    if stats.diff.count == 0 {
        return Finding::Settled {
            diverged: false,
            error: 0.0,
            reason: "no element to compare".into(),
        };
    }
    Finding::Error {
        error,
        floor: floor(stats, nature),
        bias: bias(stats),
        of: of.into(),
    }
}

/// |cos| of the angle between the difference and the reference.
fn bias(stats: &PairStats) -> f64 {
    let d = &stats.diff;
    let along = d.scale.map_or(0.0, |s| (s - 1.0).abs() * d.reference_l2);
    if along > 0.0 {
        (along / d.l2).min(1.0)
    } else {
        0.0
    }
}

/// ‖c − r‖ / ‖r‖, or a stand-in where that says nothing, and its name: ‖c‖ for ‖r‖ when the reference is zero, that of a typical row
/// where few elements outweigh the rest, the largest error relative to its element where it is too large to be noise.
fn relative_error(stats: &PairStats) -> (f64, &'static str) {
    let d = &stats.diff;
    let mut error = (0.0, "rel_l2");
    if d.max_abs == 0.0 {
        return error;
    }
    let mut offer = |value: f64, of| {
        if value > error.0 {
            error = (value, of);
        }
    };
    let (norm, of) = if d.reference_l2 > 0.0 {
        (d.reference_l2, "rel_l2")
    } else {
        (d.candidate_l2, "the difference relative to the candidate")
    };
    if norm > 0.0 {
        offer(d.l2 / norm, of);
    }
    if let Some(row) = d.row_error {
        offer(row, "the relative error of a typical row");
    }
    if let Some(spike) = spike(stats) {
        offer(spike, "the largest error, relative to its element,");
    }
    error
}

/// The largest error relative to its element, where it is too large beside all others to be rounding.
pub fn spike(stats: &PairStats) -> Option<f64> {
    let d = &stats.diff;
    let worst = d.worst?;
    let own = worst.reference.abs().max(worst.candidate.abs());
    let norm = if d.reference_l2 > 0.0 {
        d.reference_l2
    } else {
        d.candidate_l2
    };
    let count = (d.count as f64).sqrt();
    let (rmse, rms) = (d.l2 / count, norm / count);
    // where some elements are much larger than most, as after a softmax, so are their errors
    let usual = SPIKE * rmse.max(d.l2 / norm * own);
    let is_spike = d.max_abs > usual && d.max_abs > 0.1 * own && d.max_abs > 0.25 * rms;
    is_spike.then(|| d.max_abs / own)
}

/// The relative error that rounding in this pair's types explains.
fn floor(stats: &PairStats, nature: &Nature) -> f64 {
    let dtype = nature.reference_dtype.coarser(nature.candidate_dtype);
    let units = |d: DType| {
        if d.roundoff() > DType::F32.roundoff() {
            UNITS * d.roundoff()
        } else {
            SINGLE
        }
    };
    let rms = stats.diff.reference_l2 / (stats.diff.count.max(1) as f64).sqrt();
    let printed = nature.half_unit_rel
        + if rms > 0.0 {
            nature.half_unit_abs / rms
        } else {
            0.0
        };
    units(dtype).max(units(nature.usual_precision)) + printed
}

fn non_finite_mismatch(stats: &PairStats) -> Option<String> {
    let d = &stats.diff;
    let places = |n: u64| count(n as usize, "place");
    // +∞ is no mask
    let masked = d.masked && stats.reference.pos_inf + stats.candidate.pos_inf == 0;
    let what = match (d.nan_one_side, d.inf_mismatch, masked) {
        (0, 0, _) => return None,
        (n, 0, _) => format!("NaN on one side only at {}", places(n)),
        (0, n, false) => format!(
            "an infinity that the other side does not have at {}",
            places(n)
        ),
        (0, n, true) => format!("masked on one side only at {}", places(n)),
        (n, m, false) => format!(
            "NaN on one side only at {}, infinities at {}",
            places(n),
            places(m)
        ),
        (n, m, true) => format!(
            "NaN on one side only at {}, masked on one side only at {}",
            places(n),
            places(m)
        ),
    };
    Some(match &d.first_non_finite_mismatch {
        Some(w) => format!(
            "{what}, first reference {} against candidate {}",
            short(w.reference),
            short(w.candidate)
        ),
        None => what,
    })
}

/// The verdict of explicit tolerances, `None` when none covers the pair.
fn explicit(
    stats: &PairStats,
    element: Option<ElementTolerance>,
    limits: &[&Limit],
) -> Option<(bool, String)> {
    if element.is_none() && limits.is_empty() {
        return None;
    }
    if let Some(t) = element
        && stats.diff.mismatched > 0
    {
        let rule = format!("atol {} + rtol {}·|r|", short(t.atol), short(t.rtol));
        return Some((
            true,
            format!(
                "{} of {} elements exceed {rule}",
                stats.diff.mismatched, stats.reference.count
            ),
        ));
    }
    for limit in limits {
        let metric = METRICS.iter().find(|m| m.id == limit.metric)?;
        let sign = if limit.bound == Bound::Max {
            "maximum"
        } else {
            "minimum"
        };
        match (metric.value)(stats) {
            None if stats.diff.identical => {}
            None => {
                return Some((
                    true,
                    format!(
                        "{} is undefined here, its {sign} is {}",
                        limit.metric, limit.value
                    ),
                ));
            }
            Some(v) => {
                let passes = match limit.bound {
                    Bound::Max => v <= limit.value,
                    Bound::Min => v >= limit.value,
                };
                if !passes {
                    return Some((
                        true,
                        format!(
                            "{} is {}, its {sign} is {}",
                            limit.metric,
                            short(v),
                            short(limit.value)
                        ),
                    ));
                }
            }
        }
    }
    Some((false, "within the given tolerance".into()))
}

/// Judges two sets of printed (or computed) statistics within their printed precision and what arithmetic explains, or
/// within the given tolerance.
pub fn judge_statistics(
    r: &PrintedStats,
    c: &PrintedStats,
    element: Option<ElementTolerance>,
) -> Finding {
    let spread = r.std.or(c.std).map(|s| s.value.abs()).filter(|s| *s > 0.0);
    let pairs = [
        ("mean", r.mean, c.mean, spread),
        ("std", r.std, c.std, spread),
        ("min", r.min, c.min, spread),
        ("max", r.max, c.max, spread),
        ("L2 norm", r.l2, c.l2, None),
        (
            "sum",
            r.sum,
            c.sum,
            r.count
                .or(c.count)
                .map(|n| spread.unwrap_or(1.0) * (n as f64).sqrt()),
        ),
    ];
    let (mut worst, mut reason, mut any) = (0.0, String::from("statistics"), false);
    for (name, a, b, scale) in pairs {
        let (Some(a), Some(b)) = (a, b) else { continue };
        any = true;
        let apart = || format!("{name} {} against {}", short(a.value), short(b.value));
        if is_mismatch(a.value, b.value) {
            return Finding::Settled {
                diverged: true,
                error: f64::INFINITY,
                reason: apart(),
            };
        }
        if let Some(t) = element {
            let allowed = t.atol + t.rtol * a.value.abs() + a.half_unit + b.half_unit;
            if (a.value - b.value).abs() > allowed {
                return Finding::Settled {
                    diverged: true,
                    error: excess(a, b, scale, name),
                    reason: format!(
                        "{} exceeds atol {} + rtol {}·|r| and the printed precision",
                        apart(),
                        short(t.atol),
                        short(t.rtol)
                    ),
                };
            }
        }
        let e = excess(a, b, scale, name);
        if e > worst {
            worst = e;
            reason = format!("{}: relative difference", apart());
        }
    }
    if !any {
        return Finding::Settled {
            diverged: false,
            error: 0.0,
            reason: "no statistic on both sides".into(),
        };
    }
    if element.is_some() {
        return Finding::Settled {
            diverged: false,
            error: worst,
            reason: "within the given tolerance".into(),
        };
    }
    Finding::Error {
        error: worst,
        floor: STATISTICS,
        bias: 0.0,
        of: reason,
    }
}

/// One statistic is NaN or infinite where the other is not, or they are opposite infinities. Which of NaN and infinity
/// comes out depends on the order of summation.
fn is_mismatch(a: f64, b: f64) -> bool {
    a.is_finite() != b.is_finite() || (a.is_infinite() && a == -b)
}

/// The difference beyond the printed precision, relative to the scale. A minimum or maximum is a single element, so its
/// noise is larger.
fn excess(a: Rounded, b: Rounded, scale: Option<f64>, name: &str) -> f64 {
    if !a.value.is_finite() {
        // both are: one alone is a mismatch
        return 0.0;
    }
    let beyond = ((a.value - b.value).abs() - a.half_unit - b.half_unit).max(0.0);
    let scale = scale.unwrap_or(a.value.abs().max(b.value.abs()));
    let e = if scale > 0.0 {
        beyond / scale
    } else {
        f64::from(beyond > 0.0)
    };
    if matches!(name, "min" | "max") {
        e / 10.0
    } else {
        e
    }
}
