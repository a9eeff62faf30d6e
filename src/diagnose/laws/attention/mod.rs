//! Attention from Q, K and V to the context: scores, weights, context.
//!
//! softmax(scale · Q·Kᵀ + mask) · V is computed again from what was dumped before it, and the parameters under which it gives what
//! was dumped after it are searched for on each side (Vaswani et al., <https://arxiv.org/abs/1706.03762>; grouped heads: Ainslie
//! et al., <https://arxiv.org/abs/2305.13245>).

pub mod cache;
mod difference;
pub mod mask;
pub mod padding;
pub mod replay;
mod search;
pub mod setting;

use super::rope::rotation::Rotation;
use super::{Fit, Law, rope};
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Site, Suspicion};
use crate::name::Stage;
use mask::Sight;
use replay::{Sample, Source, Target, Task};
use search::Fitted;

/// What an output is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Weights,
    Scores(Stage),
    /// q_rope and k_rope.
    Rotated,
    /// q_proj and k_proj (normed, where they are): a rotation may lie between.
    Raw,
}

impl From {
    fn text(self) -> &'static str {
        match self {
            From::Weights => "attn_weights",
            From::Scores(stage) => stage.name(),
            From::Rotated => "q_rope, k_rope",
            From::Raw => "q_proj, k_proj",
        }
    }

    /// For an output, the nearest inputs first.
    fn choices(output: Stage) -> &'static [From] {
        const SCORES: [From; 2] = [
            From::Scores(Stage::ATTN_SCORES),
            From::Scores(Stage::ATTN_QK),
        ];
        match output {
            Stage::ATTN_CTX => &[
                From::Weights,
                SCORES[0],
                SCORES[1],
                From::Rotated,
                From::Raw,
            ],
            Stage::ATTN_WEIGHTS => &[SCORES[0], SCORES[1], From::Rotated, From::Raw],
            _ => &[From::Rotated, From::Raw],
        }
    }
}

/// One side's fit with the task it was found on.
pub(super) struct Found {
    pub task: Task,
    pub fitted: Fitted,
    pub from: From,
}

/// The fit of one side by its nearest inputs.
fn own(site: &Site<'_>, output: Stage) -> Option<Found> {
    From::choices(output).iter().find_map(|&from| {
        tasks(site, site, output, from)
            .into_iter()
            .find_map(|task| {
                let fitted = search::fit(&task, None, 3e-6)?;
                Some(Found { task, fitted, from })
            })
    })
}

/// Channels of a head, where no shape tells them: those that models have.
const HEADS: [usize; 9] = [64, 128, 32, 16, 96, 80, 256, 48, 8];

/// The task in every size of head that is possible: one where it is known. Only the right one can be replayed.
fn tasks(site: &Site<'_>, other: &Site<'_>, output: Stage, from: From) -> Vec<Task> {
    let Some(task) = task(site, other, output, from) else {
        return Vec::new();
    };
    let unknown = site.geometry().head_dim.is_none() && task.heads == 1;
    if !unknown || output != Stage::ATTN_CTX || !matches!(task.source, Source::Heads { .. }) {
        return vec![task];
    }
    HEADS.iter().filter_map(|&d| split(&task, d)).collect()
}

/// The same task with heads of so many channels.
fn split(task: &Task, d: usize) -> Option<Task> {
    let heads = |a: &Array| {
        let &[b, s, h, f] = a.shape.as_slice() else {
            return None;
        };
        let fits = (h * f).is_multiple_of(d);
        fits.then(|| Array {
            shape: vec![b, s, h * f / d, d],
            data: a.data.clone(),
        })
    };
    let (Source::Heads { q, k }, Target::Context { context, v }) = (&task.source, &task.target)
    else {
        return None;
    };
    let (q, k, v) = (heads(q)?, heads(k)?, heads(v)?);
    let (h, kv) = (q.shape[2], k.shape[2]);
    if kv == 0 || !h.is_multiple_of(kv) || v.shape[2] != kv {
        return None;
    }
    Some(Task {
        sample: Sample::of(task.batch, h, task.queries, task.keys, d),
        source: Source::Heads { q, k },
        target: Target::Context {
            context: context.clone(),
            v,
        },
        heads: h,
        kv_heads: kv,
        channels: d,
        ..task.clone()
    })
}

/// The rotation between raw Q, K and what follows, where only that explains it.
pub(super) fn rotation(site: &Site<'_>) -> Option<Rotation> {
    let outputs = [Stage::ATTN_SCORES, Stage::ATTN_WEIGHTS, Stage::ATTN_CTX];
    outputs.iter().find_map(|&output| {
        let task = task(site, site, output, From::Raw)?;
        search::fit(&task, None, 3e-6)?.setting.rotation
    })
}

/// One step of attention, by what it leaves; what it is computed from lies as far before as something was dumped.
pub struct Step {
    id: &'static str,
    outputs: &'static [Stage],
}

/// Scores from q_rope and k_rope (or q_proj and k_proj): scale, soft cap, mask, key/value head of each query head.
pub const SCORES: Step = Step {
    id: "attention_scores",
    outputs: &[Stage::ATTN_QK, Stage::ATTN_SCORES],
};

/// Weights from the scores, or from Q and K: axis and division of the softmax, scale, mask.
pub const SOFTMAX: Step = Step {
    id: "softmax",
    outputs: &[Stage::ATTN_WEIGHTS],
};

/// Context from weights and V: value head of each query head, order of merging, and all that lies before when less was dumped.
pub const CONTEXT: Step = Step {
    id: "attention_context",
    outputs: &[Stage::ATTN_CTX],
};

impl Law for Step {
    fn id(&self) -> &'static str {
        self.id
    }

    fn outputs(&self) -> &'static [Stage] {
        self.outputs
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        let found = own(site, output)?;
        let s = &found.fitted.setting;
        let mut parameters: Vec<(&'static str, serde_json::Value)> =
            vec![("from", found.from.text().into())];
        if found.from != From::Weights {
            parameters.push(("scale", s.scale.into()));
            parameters.push(("softcap", s.cap.into()));
        }
        if output != Stage::ATTN_SCORES && output != Stage::ATTN_QK || found.task.seen.is_some() {
            parameters.push(("mask", s.mask.text().into()));
        }
        parameters.push(("kv_of_head", s.kv_of.clone().into()));
        Some(Fit {
            text: difference::described(&found, output),
            parameters,
            residual: found.fitted.residual,
        })
    }

    /// Fits both sides from the same inputs, the nearest ones for which both fits hold, and compares the fits.
    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        for &from in From::choices(output) {
            let fits = tasks(reference, candidate, output, from)
                .into_iter()
                .find_map(|rt| Some((search::fit(&rt, None, noise)?, rt)));
            let Some((rf, rt)) = fits else {
                continue;
            };
            let own = tasks(candidate, reference, output, from);
            let Some(ct) = own.into_iter().find(|ct| ct.channels == rt.channels) else {
                continue;
            };
            let Some(cf) = search::fit(&ct, Some(&rf.setting), noise) else {
                continue;
            };
            let r = Found {
                task: rt,
                fitted: rf,
                from,
            };
            let c = Found {
                task: ct,
                fitted: cf,
                from,
            };
            return difference::suspicions(candidate, output, &r, &c, noise);
        }
        Vec::new()
    }
}

/// The candidate's attention under the reference's parameters, for other Q, K and V than its own.
pub(super) struct Replay {
    task: Task,
    setting: setting::Setting,
}

/// From the nearest inputs that leave something of Q, K and V open.
pub(super) fn replay_of(both: &Both<'_>) -> Option<Replay> {
    let (reference, candidate, output, noise) = both.parts();
    let open = |from: &From| match from {
        From::Weights | From::Scores(_) => output == Stage::ATTN_CTX,
        // rotated heads have laws of their own
        From::Rotated => false,
        From::Raw => true,
    };
    From::choices(output)
        .iter()
        .copied()
        .filter(open)
        .find_map(|from| {
            let found = search::fit(&task(reference, candidate, output, from)?, None, noise)?;
            Some(Replay {
                task: task(candidate, reference, output, from)?,
                setting: found.setting,
            })
        })
}

impl Replay {
    /// ‖prediction − output‖ / ‖output‖ with the parts that are given in place of the candidate's own.
    pub fn left(&self, [q, k, v]: &[Option<Array>; 3]) -> Option<f64> {
        let mut task = self.task.clone();
        let put = |own: &mut Array, other: &Option<Array>| {
            if let Some(x) = other.as_ref().filter(|x| x.shape == own.shape) {
                *own = x.clone();
            }
        };
        if let Source::Heads { q: own_q, k: own_k } = &mut task.source {
            put(own_q, q);
            put(own_k, k);
        }
        if let Target::Context { v: own_v, .. } = &mut task.target {
            put(own_v, v);
        }
        task.residual(&self.setting)
    }
}

/// The replay of `output` from `from`, on `site`; Q and K that it lacks are borrowed from `other` for [`From::Raw`].
fn task(site: &Site<'_>, other: &Site<'_>, output: Stage, from: From) -> Option<Task> {
    let (source, raw) = match from {
        From::Weights => (Source::Weights(site.dumped(Stage::ATTN_WEIGHTS)?), false),
        From::Scores(stage) => (Source::Scores(site.dumped(stage)?), false),
        From::Rotated => {
            let q = rope::rotated(site, Stage::Q_ROPE)?;
            let k = with_past(site, Stage::K_ROPE)?;
            (Source::Heads { q, k }, false)
        }
        From::Raw => {
            let q = site
                .tap(Stage::Q_NORM)
                .or_else(|| other.tap(Stage::Q_NORM))?;
            let k = with_past(site, Stage::K_NORM).or_else(|| with_past(other, Stage::K_NORM))?;
            (Source::Heads { q, k }, true)
        }
    };
    let target = match output {
        Stage::ATTN_CTX => Target::Context {
            context: site.dumped(Stage::ATTN_CTX)?,
            v: with_past(site, Stage::V_PROJ)?,
        },
        Stage::ATTN_WEIGHTS => Target::Weights(site.dumped(output)?),
        _ => Target::Scores(site.dumped(output)?),
    };
    assembled(site, source, target, raw)
}

/// Checks that all sizes fit together.
fn assembled(site: &Site<'_>, source: Source, target: Target, raw: bool) -> Option<Task> {
    let four = |a: &Array| <[usize; 4]>::try_from(a.shape.as_slice()).ok();
    let first = rope::start(site);
    let (batch, heads, queries, mut keys);
    let (mut kv_heads, mut channels) = (1, 1);
    match &source {
        Source::Heads { q, k } => {
            [batch, queries, heads, channels] = four(q)?;
            let [b, n, g, d] = four(k)?;
            if b != batch || d != channels {
                return None;
            }
            (kv_heads, keys) = (g, n);
        }
        Source::Scores(a) | Source::Weights(a) => [batch, heads, queries, keys] = four(a)?,
    }
    match &target {
        Target::Scores(a) | Target::Weights(a) => {
            let [b, h, q, n] = four(a)?;
            if (b, h, q) != (batch, heads, queries) {
                return None;
            }
            keys = keys.min(n);
        }
        Target::Context { context, v } => {
            let [b, n, g, d] = four(v)?;
            if b != batch || context.data.len() != batch * queries * heads * d {
                return None;
            }
            if matches!(source, Source::Heads { .. }) && (g, d, n) != (kv_heads, channels, keys) {
                return None;
            }
            if n > keys {
                return None;
            }
            (kv_heads, channels, keys) = (g, d, n);
        }
    }
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) || batch * heads * queries * keys == 0 {
        return None;
    }
    if let Source::Heads { k, .. } = &source
        && k.shape.get(1) != Some(&keys)
    {
        return None;
    }
    let seen = match &target {
        Target::Scores(a) => Sight::of_scores(a, first).map(|s| s.mask()),
        Target::Weights(a) => Sight::of_weights(a, first).map(|s| s.mask()),
        Target::Context { .. } => None,
    };
    let padding = site.dumped(Stage::ATTENTION_MASK).and_then(|m| {
        let rows = m.shape.first() == Some(&batch) && m.width() == keys;
        rows.then(|| {
            m.rows()
                .map(|r| r.iter().map(|x| *x == 0.0).collect())
                .collect()
        })
    });
    Some(Task {
        sample: Sample::of(batch, heads, queries, keys, channels),
        source,
        target,
        batch,
        heads,
        kv_heads,
        channels,
        queries,
        keys,
        first,
        raw,
        seen,
        padding,
    })
}

/// Keys or values of all steps up to this one, `[batch, token, head, channel]`.
fn with_past(site: &Site<'_>, stage: Stage) -> Option<Array> {
    let at = |site: &Site<'_>| match stage {
        Stage::K_ROPE => rope::rotated(site, stage),
        _ => site.tap(stage),
    };
    let now = at(site)?;
    let Some(step) = site.step.filter(|_| rope::start(site) > 0) else {
        return Some(now);
    };
    let mut steps: Vec<u32> = site
        .geometry()
        .steps
        .keys()
        .filter_map(|s| *s)
        .filter(|s| *s < step)
        .collect();
    steps.sort_unstable();
    let mut parts = Vec::new();
    for s in steps {
        parts.push(at(&site.at_step(Some(s)))?);
    }
    parts.push(now);
    joined(&parts)
}

/// Concatenates along the token axis.
fn joined(parts: &[Array]) -> Option<Array> {
    let &[b, _, h, d] = parts.first()?.shape.as_slice() else {
        return None;
    };
    if parts
        .iter()
        .any(|p| p.shape.len() != 4 || (p.shape[0], p.shape[2], p.shape[3]) != (b, h, d))
    {
        return None;
    }
    let tokens: usize = parts.iter().map(|p| p.shape[1]).sum();
    let mut data = Vec::with_capacity(b * tokens * h * d);
    for i in 0..b {
        for p in parts {
            let n = p.shape[1] * h * d;
            data.extend_from_slice(&p.data[i * n..(i + 1) * n]);
        }
    }
    Some(Array::new(vec![b, tokens, h, d], data))
}

#[cfg(test)]
mod tests;
