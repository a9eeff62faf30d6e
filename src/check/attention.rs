//! What attention must look like: weights that are distributions and differ, rotation that turns with the position, a context
//! that sees earlier tokens.

use super::{Check, Finding};
use crate::causes;
use crate::diagnose::{Array, Scene, Side};
use crate::name::{Key, Stage};
use crate::text::short;

/// Rows of attention weights sum to 1.
pub struct Weights;
/// RoPE changes Q and K, keeps their norm, and turns further with the position.
pub struct Rotation;
/// The context of later tokens depends on earlier ones.
pub struct Context;

/// A tensor of one of the stages, and whether only its first tokens were loaded.
struct Tap<'a> {
    key: &'a Key,
    array: Array,
    is_cut: bool,
}

fn at<'a>(scene: &'a Scene<'_>, stages: &'a [Stage]) -> impl Iterator<Item = Tap<'a>> + 'a {
    let keyed =
        scene.pairs.iter().enumerate().filter(|(_, p)| {
            p.key.is_canonical() && p.key.stage.is_some_and(|s| stages.contains(&s))
        });
    keyed.filter_map(|(i, p)| {
        Some(Tap {
            key: &p.key,
            array: scene.load(Side::Reference, i)?,
            is_cut: scene.is_cut(Side::Reference, i),
        })
    })
}

impl Check for Weights {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let (mut out, mut alone, mut layers) = (Vec::new(), Vec::new(), 0);
        for tap in at(scene, &[Stage::ATTN_WEIGHTS]).filter(|tap| tap.array.width() > 1) {
            // a row that is all zero or NaN is fully masked padding
            let live: Vec<&[f64]> = tap
                .array
                .rows()
                .filter(|r| r.iter().any(|x| *x != 0.0 && x.is_finite()))
                .collect();
            // a row that sees one or two keys says nothing
            let wide: Vec<&[f64]> = live.iter().copied().filter(|r| used(r) > 2).collect();
            out.extend(distribution(&tap, &live));
            out.extend(uniform(&tap, &wide));
            alone.extend(one_position(&wide).map(|position| (tap.key, position)));
            layers += 1;
        }
        // The first token takes what heads have no use for (Xiao et al. 2024, <https://arxiv.org/abs/2309.17453>): in some
        // layers that may be everything, in every layer it is a fault.
        let sinks = alone.iter().filter(|(_, position)| *position == 0).count();
        out.extend(alone.into_iter().map(|(key, position)| {
            let message = format!("every row has all its weight on position {position}");
            match position {
                0 if sinks < layers => Finding::note(
                    causes::ATTENTION_ONE_POSITION.id,
                    key,
                    message + ": an attention sink",
                ),
                _ => Finding::red(causes::ATTENTION_ONE_POSITION.id, key, message),
            }
        }));
        out
    }
}

/// Keys that a row attends to.
fn used(row: &[f64]) -> usize {
    row.iter().filter(|x| **x > 0.0).count()
}

fn distribution(tap: &Tap<'_>, live: &[&[f64]]) -> Option<Finding> {
    let sums = live.iter().map(|r| r.iter().sum::<f64>());
    let worst = sums
        .max_by(|a, b| (a - 1.0).abs().total_cmp(&(b - 1.0).abs()))
        .unwrap_or(1.0);
    // some keys of a row are missing where the tensor was cut
    let sums_to_one = (worst - 1.0).abs() <= 2e-2 || tap.is_cut;
    let negative = live.iter().any(|r| r.iter().any(|x| *x < 0.0));
    let what = match (negative, sums_to_one) {
        (true, _) => "there are negative weights".into(),
        (false, false) => format!("a row sums to {}", short(worst)),
        (false, true) => return None,
    };
    let message = format!("attention weights are no distribution: {what}");
    Some(Finding::red(
        causes::SOFTMAX_NOT_NORMALISED.id,
        tap.key,
        message,
    ))
}

fn uniform(tap: &Tap<'_>, wide: &[&[f64]]) -> Option<Finding> {
    let flat = |r: &[f64]| {
        let n = used(r) as f64;
        let mut weights = r.iter().filter(|x| **x > 0.0);
        weights.all(|x| (x * n - 1.0).abs() < 1e-3)
    };
    (wide.len() > 1 && wide.iter().all(|r| flat(r))).then(|| {
        let message = "all weights of every row are equal: the scores do not reach the softmax";
        Finding::red(causes::ATTENTION_UNIFORM.id, tap.key, message.into())
    })
}

/// The key that every row gives all its weight to.
fn one_position(wide: &[&[f64]]) -> Option<usize> {
    let peak = |r: &&[f64]| {
        let largest = r.iter().enumerate().max_by(|x, y| x.1.total_cmp(y.1));
        largest.map(|(i, x)| (i, *x))
    };
    let peaks: Vec<(usize, f64)> = wide.iter().filter_map(peak).collect();
    let &(first, _) = peaks.first().filter(|_| peaks.len() > 1)?;
    let alike = peaks.iter().all(|(i, x)| *i == first && *x > 0.999);
    alike.then_some(first)
}

impl Check for Rotation {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let mut out = Vec::new();
        for (rotated, raw) in [
            (Stage::Q_ROPE, Stage::Q_NORM),
            (Stage::K_ROPE, Stage::K_NORM),
        ] {
            for Tap {
                key, array: after, ..
            } in at(scene, &[rotated])
            {
                let Some(before) = scene.site(Side::Reference, key).tap(raw) else {
                    continue;
                };
                if before.shape != after.shape || after.shape.len() != 4 || after.shape[1] < 2 {
                    continue;
                }
                out.extend(rotation(key, &before, &after));
            }
        }
        out
    }
}

fn rotation(key: &Key, before: &Array, after: &Array) -> Option<Finding> {
    let change = after.distance(before);
    if change < 1e-6 {
        return Some(Finding::red(
            causes::ROPE_MISSING.id,
            key,
            "equal to its input: RoPE was not applied".into(),
        ));
    }
    let norms = |a: &Array| {
        Array::new(
            vec![a.data.len() / a.width()],
            a.rows()
                .map(|r| r.iter().map(|x| x * x).sum::<f64>().sqrt())
                .collect(),
        )
    };
    let kept = norms(after).distance(&norms(before));
    if kept > 5e-2 {
        return Some(Finding::red(
            "rope_norm",
            key,
            format!(
                "norms of the heads change by {} (relative): no rotation",
                short(kept)
            ),
        ));
    }
    let turn = constant_turn(before, after)?;
    Some(Finding::red(
        causes::ROPE_POSITION_CONSTANT.id,
        key,
        format!(
            "every token is turned alike, by up to {} rad: the position does not advance",
            short(turn)
        ),
    ))
}

/// The largest angle (rad), when each pair of channels is turned by the same angle at all tokens.
fn constant_turn(before: &Array, after: &Array) -> Option<f64> {
    const ALIKE: f64 = 1e-3;
    let &[batch, tokens, heads, width] = after.shape.as_slice() else {
        return None;
    };
    let halves: fn(usize, usize) -> [usize; 2] = |i, width| [i, width / 2 + i];
    let neighbours: fn(usize, usize) -> [usize; 2] = |i, _| [2 * i, 2 * i + 1];
    [halves, neighbours].into_iter().find_map(|channels| {
        let mut largest = 0.0f64;
        for i in 0..width / 2 {
            let [p, q] = channels(i, width);
            // cosine and sine of the turn, over all heads of a token
            let turn = |token: usize| {
                let (mut cos, mut sin, mut size) = (0.0, 0.0, 0.0);
                for row in token * heads..(token + 1) * heads {
                    let at = row * width;
                    let (x, y) = (before.data[at + p], before.data[at + q]);
                    let (a, b) = (after.data[at + p], after.data[at + q]);
                    cos += a * x + b * y;
                    sin += b * x - a * y;
                    size += x * x + y * y;
                }
                (size > 0.0).then(|| (cos / size, sin / size))
            };
            let turns: Vec<(f64, f64)> = (0..batch * tokens).filter_map(turn).collect();
            let &(c, s) = turns.first()?;
            let alike = |t: &(f64, f64)| (t.0 - c).hypot(t.1 - s) < ALIKE;
            if (c.hypot(s) - 1.0).abs() > ALIKE || !turns.iter().all(alike) {
                return None;
            }
            largest = largest.max(s.atan2(c).abs());
        }
        (largest > ALIKE).then_some(largest)
    })
}

impl Check for Context {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let blind = |a: &Array| {
            let &[_, _, queries, keys] = a.shape.as_slice() else {
                return false;
            };
            queries == keys
                && queries > 2
                && a.rows().enumerate().all(|(i, r)| r[i % queries] > 0.9999)
        };
        at(scene, &[Stage::ATTN_WEIGHTS])
            .filter(|tap| blind(&tap.array))
            .map(|tap| {
                Finding::red(
                    causes::CONTEXT_IGNORED.id,
                    tap.key,
                    "every token attends to itself only: later tokens do not see earlier ones"
                        .into(),
                )
            })
            .collect()
    }
}
