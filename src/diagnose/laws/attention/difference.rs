//! What the difference of two fitted attention layers means.
//!
//! Each parameter in which the sides differ is put to the reference's value in the candidate's own fit, all others left: the
//! error that brings in is what the difference of this parameter explains.

use super::mask::{self, HIDDEN};
use super::replay::{Source, Target};
use super::search;
use super::setting::{Merge, Setting, Softmax, Values};
use super::{Found, From};
use crate::causes::{self, Cause};
use crate::diagnose::laws::rope::permutation::Permutation;
use crate::diagnose::laws::rope::rotation::{Rotation, figures};
use crate::diagnose::{Site, Suspicion};
use crate::name::Stage;

/// A difference must lower the error to this share.
const GAIN: f64 = 0.4;

struct Change {
    cause: &'static Cause,
    /// The candidate's setting with the reference's parameter.
    undone: Setting,
    fact: String,
}

pub(super) fn suspicions(
    candidate: &Site<'_>,
    output: Stage,
    r: &Found,
    c: &Found,
    noise: f64,
) -> Vec<Suspicion> {
    let cs = &c.fitted.setting;
    let own = c.fitted.residual;
    let mut all = Vec::new();
    for change in changes(r, c) {
        let masks_differ = change.undone.mask != cs.mask;
        let (before, after) = match (&c.task.target, masks_differ) {
            (Target::Scores(_), true) => match by_effect(c, &change.undone) {
                Some(both) => both,
                None => continue,
            },
            _ => match c.task.residual_within(&change.undone, &cs.mask) {
                Some(before) => (before, own),
                None => continue,
            },
        };
        if before <= noise || after > GAIN * before {
            continue;
        }
        all.push(Suspicion {
            cause: change.cause,
            key: candidate.key(output),
            title: format!(
                "{}: reference: {}; candidate: {}",
                subject(output),
                with_mask(r, output, masks_differ),
                with_mask(c, output, masks_differ)
            ),
            before,
            after,
            evidence: vec![
                change.fact,
                format!(
                    "candidate's {output} computed again from its {}: relative error {before:.2e} with the reference's value, {after:.2e} with its own",
                    c.from.text()
                ),
                format!("reference's {output} from its own inputs: relative error {:.2e}", r.fitted.residual),
            ],
        });
    }
    all
}

fn subject(output: Stage) -> &'static str {
    match output {
        Stage::ATTN_CTX => "context",
        Stage::ATTN_WEIGHTS => "attention weights",
        _ => "attention scores",
    }
}

/// The fit of one side in words.
pub(super) fn described(f: &Found, output: Stage) -> String {
    with_mask(
        f,
        output,
        f.task.seen.is_some() || output == Stage::ATTN_CTX,
    )
}

fn with_mask(f: &Found, output: Stage, mask: bool) -> String {
    let s = &f.fitted.setting;
    let plain = (s.scale - 1.0).abs() < 1e-3 && s.cap.is_none();
    let scores = match f.from {
        From::Weights => String::new(),
        From::Scores(stage) if plain => stage.name().to_owned(),
        From::Scores(stage) => s.scores_text(f.task.channels).replace("Q·Kᵀ", stage.name()),
        From::Rotated | From::Raw => s.scores_text(f.task.channels),
    };
    let weights = match s.softmax {
        _ if f.from == From::Weights => "weights".to_owned(),
        Softmax::OverKeys => format!("softmax({scores})"),
        Softmax::OverQueries => format!("softmax over the queries({scores})"),
        Softmax::Undivided => format!("exp({scores})"),
    };
    let mut text = match output {
        Stage::ATTN_CTX => {
            let v = if s.values == Values::K { "K" } else { "V" };
            format!("{weights} · {v}")
        }
        Stage::ATTN_WEIGHTS => weights,
        _ => scores,
    };
    if mask && f.from != From::Weights {
        text += &format!(", {}", s.mask.text());
    }
    let grouped = f.task.kv_heads < f.task.heads;
    if grouped && (output == Stage::ATTN_CTX || matches!(f.from, From::Rotated | From::Raw)) {
        text += &format!(", {}", s.mapping(f.task.kv_heads));
    }
    text += match s.merge {
        Merge::TokensFirst => "",
        Merge::HeadsFirst => ", heads not transposed back before merging",
        Merge::ChannelsFirst => ", heads merged as [channel, head]",
    };
    text
}

fn changes(r: &Found, c: &Found) -> Vec<Change> {
    let (rs, cs) = (&r.fitted.setting, &c.fitted.setting);
    let mut all = Vec::new();
    if rs.rotation != cs.rotation {
        all.extend(rotation(r, c));
    }
    let with = |f: &dyn Fn(&mut Setting)| {
        let mut s = cs.clone();
        f(&mut s);
        s
    };
    if rs.scale != cs.scale {
        let d = c.task.channels as f64;
        all.push(Change {
            cause: causes::ATTENTION_SCALE,
            undone: with(&|s| s.scale = rs.scale),
            fact: format!(
                "fitted scale: reference {}, candidate {}; 1/√{d} = {}",
                figures(rs.scale, 4),
                figures(cs.scale, 4),
                figures(1.0 / d.sqrt(), 4)
            ),
        });
    }
    if rs.cap != cs.cap {
        let cap = |s: &Setting| s.cap.map_or("none".into(), |c| figures(c, 3));
        all.push(Change {
            cause: causes::ATTENTION_SOFTCAP_MISSING,
            undone: with(&|s| {
                s.cap = rs.cap;
                s.scale = rs.scale;
            }),
            fact: format!("soft cap: reference {}, candidate {}", cap(rs), cap(cs)),
        });
    }
    if let Some((cause, fact)) = mask::difference(&rs.mask, &cs.mask) {
        all.push(Change {
            cause,
            undone: with(&|s| s.mask = rs.mask.clone()),
            fact,
        });
    }
    if rs.kv_of != cs.kv_of && rs.kv_of.len() == cs.kv_of.len() {
        all.push(Change {
            cause: causes::GQA_HEAD_MAPPING,
            undone: with(&|s| s.kv_of = rs.kv_of.clone()),
            fact: format!(
                "key/value head of each query head: reference {:?}, candidate {:?}",
                rs.kv_of, cs.kv_of
            ),
        });
    }
    if rs.softmax != cs.softmax {
        let queries = [rs.softmax, cs.softmax].contains(&Softmax::OverQueries);
        all.push(Change {
            cause: if queries {
                causes::SOFTMAX_AXIS
            } else {
                causes::SOFTMAX_NOT_NORMALISED
            },
            undone: with(&|s| s.softmax = rs.softmax),
            fact: sums(c),
        });
    }
    if rs.merge != cs.merge {
        all.push(Change {
            cause: causes::HEAD_MERGE_ORDER,
            undone: with(&|s| s.merge = rs.merge),
            fact: "the candidate's context is the right one with its heads merged in another order"
                .into(),
        });
    }
    if rs.values != cs.values {
        all.push(Change {
            cause: causes::KV_SWAPPED,
            undone: with(&|s| s.values = rs.values),
            fact: "the candidate's weights are applied to K in place of V".into(),
        });
    }
    all
}

/// Sums of the candidate's weights over keys and over queries.
fn sums(c: &Found) -> String {
    let Target::Weights(w) = &c.task.target else {
        return "the softmax runs differently".into();
    };
    let range = |sums: Vec<f64>| {
        let low = sums.iter().copied().fold(f64::INFINITY, f64::min);
        let high = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} to {}", figures(low, 3), figures(high, 3))
    };
    let keys = w.width();
    let rows = range(w.rows().map(|r| r.iter().sum()).collect());
    let block = c.task.queries * keys;
    let columns = w
        .data
        .chunks_exact(block)
        .flat_map(|m| (0..keys).map(move |u| m.iter().skip(u).step_by(keys).sum::<f64>()));
    format!(
        "candidate's weights sum to {rows} over the keys, to {} over the queries",
        range(columns.collect())
    )
}

/// The effect of another mask on weights: candidate's own scores with the mask it shows, against the other mask.
fn by_effect(c: &Found, undone: &Setting) -> Option<(f64, f64)> {
    let Target::Scores(scores) = &c.task.target else {
        return None;
    };
    let cs = &c.fitted.setting;
    let shown = c.task.picked(scores);
    let computed = search::scores(&c.task, cs);
    let plain = |mask: &mask::Mask| Setting {
        scale: 1.0,
        cap: None,
        mask: mask.clone(),
        softmax: Softmax::OverKeys,
        ..cs.clone()
    };
    let own = c.task.weights(
        shown.clone(),
        &plain(&mask::Mask {
            causal: None,
            window: None,
            padded: Vec::new(),
        }),
    );
    // where the candidate hides what the reference shows, the score is what Q·K says
    let filled: Vec<f64> = shown
        .iter()
        .zip(&computed)
        .map(|(s, x)| if *s > HIDDEN { *s } else { *x })
        .collect();
    let distance = |mask: &mask::Mask| {
        let w = c.task.weights(filled.clone(), &plain(mask));
        let (mut d, mut n) = (0.0, 0.0);
        for (x, y) in w.iter().zip(&own) {
            let (x, y) = (finite(*x), finite(*y));
            d += (x - y) * (x - y);
            n += x * x;
        }
        if n > 0.0 { Some((d / n).sqrt()) } else { None }
    };
    Some((distance(&undone.mask)?, distance(&cs.mask)?))
}

/// A row in which nothing is visible has no weights.
fn finite(x: f64) -> f64 {
    if x.is_finite() { x } else { 0.0 }
}

/// The rotation between raw Q, K and the scores; channels that the weights re-ordered turn in the pairs that belong to them.
fn rotation(r: &Found, c: &Found) -> Option<Change> {
    let (Source::Heads { q: rq, .. }, Source::Heads { q: cq, .. }) =
        (&r.task.source, &c.task.source)
    else {
        return None;
    };
    let (a, b) = (
        r.fitted.setting.rotation.as_ref(),
        c.fitted.setting.rotation.as_ref(),
    );
    let order = Permutation::between(rq, cq, 0.5).map_or(Permutation::None, |(p, _)| p);
    let meant = a.map(|a| Rotation {
        pairing: order.of_pairing(a.pairing).unwrap_or(a.pairing),
        ..a.clone()
    });
    let text = |x: Option<&Rotation>| x.map_or("none".to_owned(), |x| x.text(c.task.channels));
    let cause = match (&meant, b) {
        (Some(a), Some(b)) => {
            if a.pairing != b.pairing {
                match order {
                    Permutation::None => causes::ROPE_INTERLEAVED,
                    _ => causes::QK_WEIGHT_PERMUTED,
                }
            } else if a.rotated != b.rotated {
                causes::ROPE_PARTIAL
            } else if a.backwards() != b.backwards() {
                causes::ROPE_SIGN
            } else if a.series.map(|s| s.factor) != b.series.map(|s| s.factor) {
                causes::ROPE_SCALING_MISSING
            } else {
                causes::ROPE_THETA
            }
        }
        _ => causes::ROPE_MISSING,
    };
    Some(Change {
        cause,
        fact: format!(
            "RoPE between {} and the scores: reference {}, candidate {}; candidate's channels: {}",
            c.from.text(),
            text(a),
            text(b),
            order.text()
        ),
        undone: Setting {
            rotation: meant,
            ..c.fitted.setting.clone()
        },
    })
}
