//! What the difference of two fitted rotations means.
//!
//! Each parameter in which the sides differ is put back to the reference's value in the candidate's own fit, all others
//! left: the error that brings in is what the difference of this parameter explains.

use super::rotation::{Rotation, figures};
use super::{Found, permutation::Permutation, start};
use crate::causes::{self, Cause};
use crate::diagnose::laws::attention::padding::padding;
use crate::diagnose::{Side, Site, Suspicion};
use crate::name::Stage;

/// A difference must lower the error to this share.
const GAIN: f64 = 0.4;

struct Change {
    cause: &'static Cause,
    /// The candidate's rotation with the reference's parameter.
    undone: Rotation,
    fact: String,
}

pub(super) fn suspicions(
    reference: &Site<'_>,
    candidate: &Site<'_>,
    output: Stage,
    r: &Found,
    c: &Found,
    noise: f64,
) -> Vec<Suspicion> {
    let channels = c.x.width();
    let what = if output == Stage::Q_ROPE { "Q" } else { "K" };
    let (rr, cr) = (&r.fitted.rotation, &c.fitted.rotation);
    let order = order(r, c);
    let mut changes = Vec::new();
    match (rr.is_identity(), cr.is_identity()) {
        (true, true) => {}
        (false, true) => {
            if let Some(undone) = meant(rr, order, &c.fitted.rotation) {
                changes.push(Change {
                    cause: causes::ROPE_MISSING,
                    undone,
                    fact: format!("{what} leaves the candidate's RoPE as it entered"),
                });
            }
        }
        (true, false) => changes.push(Change {
            cause: causes::ROPE_MISSING,
            undone: Rotation::identity(cr.positions.len()),
            fact: format!("only the candidate rotates {what}"),
        }),
        (false, false) => changes.extend(changes_of(reference, candidate, output, r, c, order)),
    }
    let after = c.fitted.residual;
    let mut found: Vec<Suspicion> = Vec::new();
    for change in changes {
        let Some(before) = change.undone.residual(&c.x, &c.y) else {
            continue;
        };
        if before <= noise || after > GAIN * before {
            continue;
        }
        let mut evidence = vec![
            change.fact,
            format!(
                "candidate's {what} rotated with the reference's value: relative error {before:.2e}; with its own: {after:.2e}"
            ),
        ];
        if let Some(p) = c.borrowed.or(r.borrowed) {
            evidence.push(format!(
                "one side's {what} before RoPE was not dumped; the other side's stood in for it, channels in {}",
                p.text()
            ));
        }
        found.push(Suspicion {
            cause: change.cause,
            key: candidate.key(output),
            title: format!(
                "RoPE of {what}: reference: {}; candidate: {}",
                described(rr, &r.x, start(reference)),
                described(cr, &c.x, start(candidate))
            ),
            before,
            after,
            evidence,
        });
    }
    if found.is_empty() && order != Permutation::None && r.borrowed.is_none() {
        found.extend(layout(candidate, output, r, c, order, noise));
    }
    if channels == 0 {
        found.clear();
    }
    found
}

/// The order of the candidate's channels against the reference's.
fn order(r: &Found, c: &Found) -> Permutation {
    c.borrowed
        .or(r.borrowed)
        .or_else(|| Permutation::between(&r.x, &c.x, 0.5).map(|(p, _)| p))
        .unwrap_or(Permutation::None)
}

/// The reference's rotation for the candidate's order of channels and number of rows.
fn meant(r: &Rotation, order: Permutation, c: &Rotation) -> Option<Rotation> {
    let fits = r.positions.len() == c.positions.len();
    fits.then(|| Rotation {
        pairing: order.of_pairing(r.pairing).unwrap_or(r.pairing),
        ..r.clone()
    })
}

fn described(r: &Rotation, x: &crate::diagnose::Array, start: usize) -> String {
    let text = r.text(x.width());
    if r.is_identity() {
        return text;
    }
    let tokens = x.shape.get(1).copied().unwrap_or(1);
    match r.offsets(tokens, start) {
        Some(o) if o.iter().all(|o| *o == 0) => text,
        Some(o) if o.windows(2).all(|w| w[0] == w[1]) => {
            format!("{text}, positions from {}", start as i64 + o[0])
        }
        Some(o) => format!("{text}, positions shifted by {o:?} per batch row"),
        None => format!(
            "{text}, positions {:?}{}",
            &r.positions[..r.positions.len().min(8)],
            if r.positions.len() > 8 { " …" } else { "" }
        ),
    }
}

fn changes_of(
    reference: &Site<'_>,
    candidate: &Site<'_>,
    output: Stage,
    r: &Found,
    c: &Found,
    order: Permutation,
) -> Vec<Change> {
    let (rr, cr) = (&r.fitted.rotation, &c.fitted.rotation);
    let mut changes = Vec::new();
    let pairing = order.of_pairing(rr.pairing);
    if pairing != Some(cr.pairing) {
        // channels re-ordered while the pairing stayed: the weights are at fault, not the rotation
        let cause = if order != Permutation::None && rr.pairing == cr.pairing {
            causes::QK_WEIGHT_PERMUTED
        } else {
            causes::ROPE_INTERLEAVED
        };
        let other = match pairing {
            Some(p) => p,
            None => rr.pairing,
        };
        changes.push(Change {
            cause,
            undone: Rotation {
                pairing: other,
                ..cr.clone()
            },
            fact: format!(
                "reference turns {}, candidate {}; candidate's channels: {}",
                rr.pairing.name(),
                cr.pairing.name(),
                order.text()
            ),
        });
    }
    if rr.rotated != cr.rotated {
        changes.push(Change {
            cause: causes::ROPE_PARTIAL,
            undone: Rotation {
                rotated: rr.rotated,
                frequencies: rr.frequencies.clone(),
                series: rr.series,
                ..cr.clone()
            },
            fact: format!(
                "reference rotates {} channels of each head, candidate {}",
                rr.rotated, cr.rotated
            ),
        });
    } else {
        changes.extend(frequencies(c, rr));
    }
    if rr.positions.len() == cr.positions.len() && rr.positions != cr.positions {
        let moved = rr.positions.iter().zip(&cr.positions).find(|(a, b)| a != b);
        let (from, to) = moved.map_or((0, 0), |(a, b)| (*a, *b));
        let counted = padding_counted(reference, rr, cr);
        changes.push(Change {
            cause: if counted {
                causes::PAD_ROWS_DIFFER
            } else {
                position_cause(reference, candidate, output)
            },
            undone: Rotation {
                positions: rr.positions.clone(),
                ..cr.clone()
            },
            fact: format!(
                "position {from} in the reference is position {to} in the candidate{}",
                if counted {
                    "; one side counts the padding of each row, which moves Q and K alike and leaves the scores"
                } else {
                    ""
                }
            ),
        });
    }
    changes
}

/// Whether positions differ by nothing but the padding before each row's first token.
fn padding_counted(reference: &Site<'_>, r: &Rotation, c: &Rotation) -> bool {
    let Some(padded) = padding(reference).or_else(|| padding(&reference.on(Side::Candidate)))
    else {
        return false;
    };
    let tokens = padded.first().map_or(0, Vec::len);
    if tokens == 0 || padded.len() * tokens != r.positions.len() {
        return false;
    }
    padded.iter().enumerate().all(|(b, row)| {
        let before = row.iter().take_while(|p| **p).count() as i64;
        let real = (0..tokens).filter(|&t| !row[t]);
        let moved = |t: usize| c.positions[b * tokens + t] - r.positions[b * tokens + t];
        let shifts: Vec<i64> = real.map(moved).collect();
        shifts
            .iter()
            .all(|s| *s == shifts[0] && (*s == 0 || s.abs() == before))
    })
}

/// A decode step whose earlier steps had the right positions is the cache's fault.
fn position_cause(reference: &Site<'_>, candidate: &Site<'_>, output: Stage) -> &'static Cause {
    let earlier = |s: &Site<'_>| super::earlier(s, output).map(|r| r.positions);
    match (earlier(reference), earlier(candidate)) {
        (Some(a), Some(b)) if a == b => causes::KV_CACHE_POSITION,
        _ if reference.step.is_some_and(|s| s > 0) && start(reference) > 0 => {
            causes::KV_CACHE_POSITION
        }
        _ => causes::ROPE_POSITION_OFFSET,
    }
}

/// Which one change of the reference's frequencies gives the candidate's.
fn frequencies(c: &Found, rr: &Rotation) -> Option<Change> {
    let cr = &c.fitted.rotation;
    let n = rr.rotated as f64;
    let undone = Rotation {
        frequencies: rr.frequencies.clone(),
        series: rr.series,
        ..cr.clone()
    };
    let log_ratios: Vec<(f64, f64, f64)> = rr
        .frequencies
        .iter()
        .zip(&cr.frequencies)
        .enumerate()
        .filter(|(_, (a, b))| *a * *b > 0.0)
        .map(|(i, (a, b))| (2.0 * i as f64 / n, (b / a).ln(), a * a))
        .collect();
    let scaled = |f: &dyn Fn(usize, f64) -> f64| Rotation {
        frequencies: rr
            .frequencies
            .iter()
            .enumerate()
            .map(|(i, w)| f(i, *w))
            .collect(),
        series: None,
        ..cr.clone()
    };
    let sum = |f: &dyn Fn(&(f64, f64, f64)) -> f64| log_ratios.iter().map(f).sum::<f64>();
    let slope = match (rr.series, cr.series) {
        (Some(a), Some(b)) if a.factor == b.factor => (a.theta / b.theta).ln(),
        _ => sum(&|(x, l, w)| w * x * l) / sum(&|(x, _, w)| w * x * x),
    };
    let factor = match (rr.series, cr.series) {
        (Some(a), Some(b)) if a.theta == b.theta => a.factor / b.factor,
        _ => (sum(&|(_, l, w)| w * l) / sum(&|(_, _, w)| *w)).exp(),
    };
    let opposite = rr.backwards() != cr.backwards();
    let choices = [
        (
            causes::ROPE_SIGN,
            scaled(&|_, w| -w),
            "the candidate turns the other way".to_string(),
        ),
        (
            causes::ROPE_THETA,
            scaled(&|i, w| w * (slope * 2.0 * i as f64 / n).exp()),
            match (rr.series, cr.series) {
                (Some(a), Some(b)) => format!(
                    "theta fitted: reference {}, candidate {}",
                    figures(a.theta, 3),
                    figures(b.theta, 3)
                ),
                _ => format!(
                    "theta of the candidate = theta of the reference × {}",
                    figures((-slope).exp(), 3)
                ),
            },
        ),
        (
            causes::ROPE_SCALING_MISSING,
            scaled(&|_, w| w * factor),
            format!(
                "every angle of the candidate is {} times the reference's",
                figures(factor, 3)
            ),
        ),
        (
            causes::ROPE_SCALING_MISSING,
            cr.clone(),
            range_of_ratios(&log_ratios),
        ),
    ];
    let scored: Vec<_> = choices
        .into_iter()
        .filter(|(cause, ..)| opposite == (*cause == causes::ROPE_SIGN))
        .filter_map(|(cause, rotation, fact)| Some((cause, rotation.residual(&c.x, &c.y)?, fact)))
        .collect();
    let least = scored.iter().map(|s| s.1).fold(f64::INFINITY, f64::min);
    let (cause, _, fact) = scored.into_iter().find(|s| s.1 <= 1.25 * least + 1e-7)?;
    Some(Change {
        cause,
        undone,
        fact,
    })
}

fn range_of_ratios(log_ratios: &[(f64, f64, f64)]) -> String {
    let ratios = || log_ratios.iter().map(|(_, l, _)| l.exp());
    format!(
        "angles of the candidate are {} to {} times the reference's, by pair",
        figures(ratios().fold(f64::INFINITY, f64::min), 3),
        figures(ratios().fold(0.0, f64::max), 3)
    )
}

/// The same rotation in another order of channels: nothing is wrong.
fn layout(
    candidate: &Site<'_>,
    output: Stage,
    r: &Found,
    c: &Found,
    order: Permutation,
    noise: f64,
) -> Option<Suspicion> {
    let before = c.y.distance(&r.y);
    let after = c.y.distance(&order.apply(&r.y)?);
    let what = if output == Stage::Q_ROPE { "Q" } else { "K" };
    (before > noise && after < 0.1 * before).then(|| Suspicion {
        cause: causes::LAYOUT_PERMUTED,
        key: candidate.key(output),
        title: format!(
            "{what} after RoPE is the same in another order of channels: {}",
            order.text()
        ),
        before,
        after,
        evidence: vec![format!(
            "the reference's channels re-ordered: relative error {before:.2e} → {after:.2e}; pairing: reference {}, candidate {}",
            r.fitted.rotation.pairing.name(),
            c.fitted.rotation.pairing.name()
        )],
    })
}
