//! Parts cut from one fused output in another order: q, k, v from qkv_proj, gate and up from gate_up_proj.
//!
//! Every channel of the candidate is looked for among the channels of all parts of the reference, so any way of cutting is
//! found: `[k, q, v]`, `[q0 k0 v0 q1 …]`, or at the wrong place.

use super::super::matching::columns;
use super::super::{Case, features, undone};
use crate::causes::{self, Cause};
use crate::diagnose::{Array, Side, Suspicion};
use crate::graph::known::*;
use crate::name::Stage;

pub fn parts(case: &Case<'_>) -> Vec<Suspicion> {
    cut(case).unwrap_or_default()
}

fn cut(case: &Case<'_>) -> Option<Vec<Suspicion>> {
    let stage = case.stage()?;
    let parts: &[Stage] = match stage {
        Q_PROJ | K_PROJ | V_PROJ => &[Q_PROJ, K_PROJ, V_PROJ],
        GATE_PROJ | UP_PROJ => &[GATE_PROJ, UP_PROJ],
        _ => return None,
    };
    let (r, c) = case.by_token()?;
    let before = c.distance(&r);
    if before < 0.1 {
        return None;
    }
    let site = case.site(Side::Reference);
    let taps: Vec<(Stage, Array)> = parts
        .iter()
        .filter_map(|s| {
            let tap = site.tap(*s)?;
            let flat = tap.with_width(features(&tap))?;
            let same = flat.rows().len() == r.rows().len();
            same.then_some((*s, flat))
        })
        .collect();
    if taps.len() < 2 {
        return None;
    }
    let found = columns(&side_by_side(&taps), &c)?;
    if !found.is_injective() || !found.convinces(c.rows().len(), case.noise) {
        return None;
    }
    // runs of channels that come from one part in order
    let mut starts = Vec::new();
    let mut start = 0;
    for (part, tap) in &taps {
        starts.push((start, *part));
        start += tap.width();
    }
    let part_of = |i: usize| {
        starts
            .iter()
            .rev()
            .find(|(s, _)| *s <= i)
            .map(|(s, p)| (*p, i - s))
    };
    let origin: Vec<(Stage, usize)> = found.from.iter().filter_map(|&i| part_of(i)).collect();
    if origin.iter().all(|(p, _)| *p == stage) {
        return None;
    }
    let mut runs: Vec<(Stage, usize, usize)> = Vec::new();
    for &(part, at) in &origin {
        match runs.last_mut() {
            Some((p, from, n)) if *p == part && *from + *n == at => *n += 1,
            _ => runs.push((part, at, 1)),
        }
    }
    let spelled: Vec<String> = runs
        .iter()
        .take(6)
        .map(|(p, from, n)| format!("{p}[{from}..{}]", from + n))
        .collect();
    let more = if runs.len() > 6 { ", …" } else { "" };
    let evidence = vec![
        undone(
            "taking the channels from where they are in the reference",
            before,
            found.error,
        ),
        format!(
            "the candidate's {stage} is the reference's {}{more}",
            spelled.join(", ")
        ),
    ];
    let whole = match runs.as_slice() {
        [(other, 0, _)] => Some(*other),
        _ => None,
    };
    let fused = case.scene.find(&site.key(QKV_PROJ)).is_some();
    // in an order of parts none stands twice
    let twice = whole.and_then(|other| super::crossed(case, other, other));
    if !fused && twice.is_some_and(|e| e < 0.05 + 4.0 * case.noise) {
        return None;
    }
    let mut out = Vec::new();
    if let Some((cause, what)) = whole.and_then(|other| exchanged(case, stage, other)) {
        out.extend(case.suspect(
            cause,
            format!("{what} are exchanged in the candidate"),
            before,
            found.error,
            evidence.clone(),
        ));
    }
    // the product of an unfused model, computed twice from one weight, is no order of parts
    let alone = whole.is_some() && out.is_empty() && !fused && parts.len() == 2;
    if parts.len() == 3 && (fused || out.is_empty()) {
        let title =
            "the fused q/k/v projection is cut in another order in the candidate".to_owned();
        let order = case.suspect(
            causes::FUSED_QKV_ORDER,
            title,
            before,
            found.error,
            evidence,
        );
        // with a fused projection in the dump that is the sharper name
        out.splice(0..0, order);
    } else if out.is_empty() && !alone {
        let title =
            "the fused gate/up projection is cut in another order in the candidate".to_owned();
        out.extend(case.suspect(
            causes::GATE_UP_SWAPPED,
            title,
            before,
            found.error,
            evidence,
        ));
    }
    Some(out)
}

/// Two parts that changed places as a whole; the way back is checked where it was dumped.
fn exchanged(
    case: &Case<'_>,
    stage: Stage,
    other: Stage,
) -> Option<(&'static Cause, &'static str)> {
    let back = super::crossed(case, other, stage);
    if back.is_some_and(|e| e > 0.05 + 4.0 * case.noise) {
        return None;
    }
    match (stage.min(other), stage.max(other)) {
        (Q_PROJ, K_PROJ) => Some((causes::QK_SWAPPED, "queries and keys")),
        (K_PROJ, V_PROJ) => Some((causes::KV_SWAPPED, "keys and values")),
        (GATE_PROJ, UP_PROJ) => Some((causes::GATE_UP_SWAPPED, "gate and up")),
        _ => None,
    }
}

fn side_by_side(parts: &[(Stage, Array)]) -> Array {
    let rows = parts.first().map_or(0, |(_, a)| a.rows().len());
    let width = parts.iter().map(|(_, a)| a.width()).sum();
    let mut data = Vec::with_capacity(rows * width);
    for t in 0..rows {
        for (_, a) in parts {
            data.extend_from_slice(&a.data[t * a.width()..(t + 1) * a.width()]);
        }
    }
    Array::new(vec![rows, width], data)
}
