//! Hidden states evolve: layers differ from one another, tokens differ, the largest logit is not always the same.

use super::{Check, Finding};
use crate::causes;
use crate::diagnose::{Array, Scene, Side};
use crate::name::{Key, Stage};
use std::collections::HashMap;

/// The same stage of two layers, or two steps, holds the same bytes.
pub struct Identical;
/// All tokens have the same hidden state.
pub struct Tokens;
/// The same token has the largest logit at every position.
pub struct Argmax;

impl Check for Identical {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let mut out = Vec::new();
        let mut seen: HashMap<(Key, Vec<u64>), usize> = HashMap::new();
        for (i, pair) in scene.pairs.iter().enumerate() {
            let of_layer = |s: &Stage| s.is_per_layer() || *s == Stage::LOGITS;
            let Some(stage) = pair.key.stage.filter(of_layer) else {
                continue;
            };
            if !pair.key.is_canonical() {
                continue;
            }
            let varies = |a: &Array| a.data.len() > 1 && a.data.iter().any(|x| *x != a.data[0]);
            let Some(a) = scene.load(Side::Reference, i).filter(varies) else {
                continue;
            };
            // a fingerprint, then the whole
            let print: Vec<u64> = a
                .data
                .iter()
                .step_by(a.data.len() / 16 + 1)
                .map(|x| x.to_bits())
                .collect();
            let dumped = |i: usize| {
                let tensor = scene.pairs[i].reference.as_ref();
                tensor.map(|t| t.info.shape())
            };
            let equal = |other: usize| {
                let b = scene.load(Side::Reference, other);
                dumped(other) == dumped(i) && b.is_some_and(|b| b.data == a.data)
            };
            let at = |step| Key {
                step,
                layer: None,
                ..pair.key.clone()
            };
            let of_step = (at(pair.key.step), print.clone());
            match seen.get(&of_step) {
                Some(&other) if equal(other) => {
                    let message = format!(
                        "bit for bit equal to {}: a stale buffer, or a hook that kept one buffer",
                        scene.pairs[other].key
                    );
                    out.push(Finding::red(
                        causes::LAYERS_IDENTICAL.id,
                        &pair.key,
                        message,
                    ));
                    continue;
                }
                Some(_) => {}
                None => {
                    seen.insert(of_step, i);
                }
            }
            let before = pair.key.step.and_then(|step| step.checked_sub(1));
            let earlier = before.and_then(|step| {
                let print = seen.get(&(at(Some(step)), print))?;
                Some(*print).filter(|&p| scene.pairs[p].key.layer == pair.key.layer)
            });
            if let Some(other) = earlier.filter(|&o| equal(o) && sees_the_past(stage)) {
                out.push(repeated(scene, &pair.key, &scene.pairs[other].key));
            }
        }
        out
    }
}

/// Stages that depend on all tokens so far: for the same token again they are not what they were. (Q, K and V of the first
/// layer are.)
fn sees_the_past(stage: Stage) -> bool {
    stage >= Stage::ATTN_QK
}

/// A pass that gives what the one before gave. With the same tokens it should.
fn repeated(scene: &Scene<'_>, key: &Key, earlier: &Key) -> Finding {
    let input = |key: &Key| {
        let site = scene.site(Side::Reference, key);
        [Stage::INPUT_IDS, Stage::TOK_EMBED, Stage::EMBED]
            .into_iter()
            .find_map(|s| site.dumped(s))
    };
    let message = format!(
        "bit for bit equal to {earlier}: a buffer that is not written again, or a captured graph that is replayed"
    );
    match (input(key), input(earlier)) {
        (Some(a), Some(b)) if a.data != b.data => {
            Finding::red(causes::LAYERS_IDENTICAL.id, key, message)
        }
        _ => Finding::note(
            causes::LAYERS_IDENTICAL.id,
            key,
            format!("{message}, unless both passes had the same tokens"),
        ),
    }
}

impl Check for Tokens {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let mut out = Vec::new();
        for (i, pair) in scene.pairs.iter().enumerate() {
            if !matches!(
                pair.key.stage,
                Some(Stage::OUTPUT | Stage::FINAL_NORM | Stage::ATTN_RESIDUAL | Stage::LOGITS)
            ) {
                continue;
            }
            let Some(a) = scene.load(Side::Reference, i) else {
                continue;
            };
            let &[batch, tokens, width] = a.shape.as_slice() else {
                continue;
            };
            if tokens < 3 || width < 2 {
                continue;
            }
            let same = (0..batch).all(|b| {
                let rows = &a.data[b * tokens * width..(b + 1) * tokens * width];
                rows.chunks_exact(width).all(|r| r == &rows[..width])
            });
            // the first tokens of a prompt may all be padding
            let is_cut = scene.is_cut(Side::Reference, i);
            if same && !is_cut && a.data.iter().any(|x| *x != 0.0) {
                out.push(Finding::red(
                    causes::TOKENS_IDENTICAL.id,
                    &pair.key,
                    format!("all {tokens} tokens have the same values"),
                ));
            }
        }
        out
    }
}

impl Check for Argmax {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let logits = scene
            .pairs
            .iter()
            .enumerate()
            .filter(|(_, p)| p.key.stage == Some(Stage::LOGITS) && p.key.is_canonical());
        let mut winners = Vec::new();
        let mut last = None;
        for (i, pair) in logits {
            let Some(a) = scene.load(Side::Reference, i) else {
                continue;
            };
            winners.extend(a.rows().filter_map(|r| {
                r.iter()
                    .enumerate()
                    .max_by(|x, y| x.1.total_cmp(y.1))
                    .map(|(at, _)| at)
            }));
            last = Some(&pair.key);
        }
        let always = winners.len() >= 4 && winners.iter().all(|w| *w == winners[0]);
        match last {
            Some(key) if always => {
                let message = format!(
                    "token {} has the largest logit at all {} positions",
                    winners[0],
                    winners.len()
                );
                // one pass over a prompt may favour one token; a decoder that repeats it step after step is stuck
                let steps = key.step.map_or(0, |s| s + 1);
                vec![if steps >= 3 {
                    Finding::red(causes::SAME_ARGMAX.id, key, message)
                } else {
                    Finding::note(causes::SAME_ARGMAX.id, key, message)
                }]
            }
            _ => Vec::new(),
        }
    }
}
