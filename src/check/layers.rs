//! Hidden states evolve: layers differ from one another, tokens differ, the largest logit is not always the same.

use super::{Check, Finding};
use crate::diagnose::{Scene, Side};
use crate::name::Stage;
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
        let mut seen: HashMap<(Option<u32>, Stage, Vec<u64>), usize> = HashMap::new();
        for (i, pair) in scene.pairs.iter().enumerate() {
            let Some(stage) = pair
                .key
                .stage
                .filter(|s| s.is_per_layer() && pair.key.rest.is_empty())
            else {
                continue;
            };
            let Some(a) = scene
                .load(Side::Reference, i)
                .filter(|a| a.data.len() > 1 && a.data.iter().any(|x| *x != a.data[0]))
            else {
                continue;
            };
            // a fingerprint, then the whole
            let print: Vec<u64> = a
                .data
                .iter()
                .step_by(a.data.len() / 16 + 1)
                .map(|x| x.to_bits())
                .collect();
            match seen.get(&(pair.key.step, stage, print.clone())) {
                Some(&other)
                    if scene
                        .load(Side::Reference, other)
                        .is_some_and(|b| b.data == a.data) =>
                {
                    let message = format!(
                        "bit for bit equal to {}: a stale buffer, or a hook that kept one buffer",
                        scene.pairs[other].key
                    );
                    out.push(Finding::red("layers_identical", &pair.key, message));
                }
                Some(_) => {}
                None => {
                    seen.insert((pair.key.step, stage, print), i);
                }
            }
        }
        out
    }
}

impl Check for Tokens {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let mut out = Vec::new();
        for (i, pair) in scene.pairs.iter().enumerate() {
            if !matches!(
                pair.key.stage,
                Some(Stage::Output | Stage::FinalNorm | Stage::AttnResidual | Stage::Logits)
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
            if same && a.data.iter().any(|x| *x != 0.0) {
                out.push(Finding::red(
                    "tokens_identical",
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
            .filter(|(_, p)| p.key.stage == Some(Stage::Logits) && p.key.rest.is_empty());
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
                    Finding::red("same_argmax", key, message)
                } else {
                    Finding::note("same_argmax", key, message)
                }]
            }
            _ => Vec::new(),
        }
    }
}
