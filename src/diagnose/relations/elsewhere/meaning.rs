//! What it means that a tensor is found in another place.

use super::{Case, Match, crossed};
use crate::causes::{self, Cause};
use crate::diagnose::Side;
use crate::graph::known::*;
use crate::name::{Key, Stage};

/// The cause and its title; `None` where the equality is another hypothesis' business.
pub fn of(case: &Case<'_>, m: &Match) -> Option<(&'static Cause, String)> {
    let (stage, other) = (case.stage()?, m.key.stage?);
    let here = m.key.layer == case.key.layer || !stage.is_per_layer() || !other.is_per_layer();
    let own = m.side == Side::Candidate;
    let heals = case.downstream_agrees();
    if stage == other {
        return other_layer(case, stage, m, heals);
    }
    if here && let Some(found) = exchanged(case, stage, other) {
        return Some(found);
    }
    if heals {
        let later = place(&m.key) > place(case.key);
        if own && m.exact && later {
            let title = format!(
                "the dump holds what {} became later: it was overwritten before it was saved",
                m.key
            );
            return Some((causes::DUMP_ALIASED, title));
        }
        if here && adjacent(stage, other) {
            return Some((
                causes::DUMP_POINT,
                format!("the candidate saved {other} where the reference saved {stage}"),
            ));
        }
        return Some((
            causes::DUPLICATE_DUMP,
            format!("the candidate's {} was dumped under this name", m.key),
        ));
    }
    if here && let Some(found) = skipped(case, stage, other) {
        return Some(found);
    }
    if !own || !m.exact {
        return None;
    }
    // equal to what it is computed from, and no operation is known that can be left out
    if here && stage.parents().contains(&other) {
        let title = format!(
            "the candidate's {stage} is its own {other}: the operation between them wrote nothing"
        );
        return Some((causes::BUFFER_ALIASED, title));
    }
    Some(if place(&m.key) < place(case.key) {
        (
            causes::STALE_BUFFER,
            format!(
                "the candidate's buffer still holds {}: nothing was written to it here",
                m.key
            ),
        )
    } else {
        (
            causes::BUFFER_ALIASED,
            format!(
                "the candidate's buffer holds {}, which is computed later: they share memory",
                m.key
            ),
        )
    })
}

fn other_layer(
    case: &Case<'_>,
    stage: Stage,
    m: &Match,
    heals: bool,
) -> Option<(&'static Cause, String)> {
    if m.key.step != case.key.step {
        // rows of a table are the same whenever they are read: another step's row is another position's
        if matches!(stage, POS_EMBED | POSITION_IDS) {
            let title = format!("the candidate is at the position of {}", m.key);
            return Some((causes::KV_CACHE_POSITION, title));
        }
        let title = format!("the candidate holds the tensor of another step, {}", m.key);
        return Some((
            if heals {
                causes::DUPLICATE_DUMP
            } else {
                causes::STALE_BUFFER
            },
            title,
        ));
    }
    let weighted = matches!(
        stage,
        QKV_PROJ | Q_PROJ | K_PROJ | V_PROJ | O_PROJ | GATE_PROJ | UP_PROJ | DOWN_PROJ
    );
    Some(match (heals, m.side) {
        (true, _) => (
            causes::DUPLICATE_DUMP,
            format!("the candidate dumped {} under this name", m.key),
        ),
        (false, Side::Candidate) => (
            causes::STALE_BUFFER,
            format!("the candidate's buffer still holds {}", m.key),
        ),
        (false, Side::Reference) if weighted => (
            causes::WRONG_LAYER_WEIGHT,
            format!("the candidate computes what the reference has at {}", m.key),
        ),
        (false, Side::Reference) => return None,
    })
}

/// Two stages of one layer that changed places.
fn exchanged(case: &Case<'_>, stage: Stage, other: Stage) -> Option<(&'static Cause, String)> {
    let pair = |a: Stage, b: Stage| (stage == a && other == b) || (stage == b && other == a);
    let (cause, what) = if pair(GATE_PROJ, UP_PROJ) {
        (causes::GATE_UP_SWAPPED, "gate and up are exchanged")
    } else if pair(Q_PROJ, K_PROJ) || pair(Q_NORM, K_NORM) || pair(Q_ROPE, K_ROPE) {
        (causes::QK_SWAPPED, "queries and keys are exchanged")
    } else if pair(K_PROJ, V_PROJ) {
        (causes::KV_SWAPPED, "keys and values are exchanged")
    } else {
        return None;
    };
    // the other half of the exchange, where it was dumped
    let back = crossed(case, other, stage);
    back.is_none_or(|e| e < 0.05 + 4.0 * case.noise)
        .then(|| (cause, format!("{what} in the candidate")))
}

/// The operation between the two stages was left out.
fn skipped(case: &Case<'_>, stage: Stage, other: Stage) -> Option<(&'static Cause, String)> {
    let cause = match (stage, other) {
        (ATTN_NORM | MLP_NORM | FINAL_NORM | ATTN_POST_NORM | MLP_POST_NORM | ATTN_OUT_NORM, o)
            if source(stage).contains(&o) =>
        {
            causes::NORM_MISSING
        }
        (Q_NORM, Q_PROJ) | (K_NORM, K_PROJ) => causes::QK_NORM_MISSING,
        (Q_ROPE, Q_NORM | Q_PROJ) | (K_ROPE, K_NORM | K_PROJ) => causes::ROPE_MISSING,
        (ACT, GATE_PROJ | UP_PROJ) => causes::ACTIVATION_MISSING,
        (ATTN_RESIDUAL, O_PROJ | ATTN_POST_NORM)
        | (MLP_RESIDUAL | OUTPUT, DOWN_PROJ | MLP_POST_NORM) => causes::RESIDUAL_MISSING,
        (EMBED | EMBED_SUM, TOK_EMBED)
            if case
                .scene
                .find(&case.site(Side::Reference).key(POS_EMBED))
                .is_some() =>
        {
            causes::POSITION_EMBEDDING_MISSING
        }
        _ => return None,
    };
    Some((
        cause,
        format!(
            "the candidate's {stage} equals its {other}: the operation between them is left out"
        ),
    ))
}

fn source(norm: Stage) -> &'static [Stage] {
    match norm {
        ATTN_NORM => &[INPUT, EMBED, OUTPUT],
        MLP_NORM => &[ATTN_RESIDUAL],
        FINAL_NORM => &[OUTPUT, MLP_RESIDUAL],
        ATTN_POST_NORM => &[O_PROJ],
        MLP_POST_NORM => &[DOWN_PROJ],
        ATTN_OUT_NORM => &[ATTN_RESIDUAL],
        _ => &[],
    }
}

/// One is computed from the other directly.
fn adjacent(a: Stage, b: Stage) -> bool {
    a.parents().contains(&b)
        || b.parents().contains(&a)
        || source(a).contains(&b)
        || source(b).contains(&a)
}

fn place(key: &Key) -> (Option<u32>, u32, Option<Stage>) {
    let outside = if key.stage.is_some_and(|s| s > OUTPUT) {
        u32::MAX
    } else {
        0
    };
    (key.step, key.layer.unwrap_or(outside), key.stage)
}

/// How many layers hold the same identity between the two stages.
pub fn in_all_layers(case: &Case<'_>, m: &Match) -> Option<String> {
    let (layer, stage, other) = (case.key.layer?, case.stage()?, m.key.stage?);
    let across = i64::from(m.key.layer?) - i64::from(layer);
    let site = case.site(m.side);
    let (mut holds, mut of) = (0, 0);
    for l in case
        .scene
        .tower(site.tower)
        .filter(|p| p.key.stage == Some(stage) && p.key.step == case.key.step)
    {
        let l = l.key.layer?;
        let Ok(there) = u32::try_from(i64::from(l) + across) else {
            continue;
        };
        let mine = case.site(Side::Candidate).in_layer(l).dumped(stage);
        if let (Some(a), Some(b)) = (mine, site.in_layer(there).dumped(other)) {
            of += 1;
            holds += usize::from(
                a.data.len() == b.data.len() && a.distance(&b) <= m.after.max(1e-9) * 4.0,
            );
        }
    }
    (of > 1).then(|| format!("the same holds in {holds} of {of} layers"))
}
