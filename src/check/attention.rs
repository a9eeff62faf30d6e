//! What attention must look like: weights that are distributions and differ, rotation that turns with the position, a context
//! that sees earlier tokens.

use super::{Check, Finding};
use crate::diagnose::{Array, Scene, Side};
use crate::name::{Key, Stage};
use crate::report::real::short;

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
        at(scene, &[Stage::AttnWeights])
            .filter(|tap| tap.array.width() > 1)
            .flat_map(|tap| weights(&tap))
            .collect()
    }
}

fn weights(tap: &Tap<'_>) -> Vec<Finding> {
    let (key, a) = (tap.key, &tap.array);
    let mut out = Vec::new();
    // a row that is all zero or NaN is fully masked padding
    let live: Vec<&[f64]> = a
        .rows()
        .filter(|r| r.iter().any(|x| *x != 0.0 && x.is_finite()))
        .collect();
    let sums = live.iter().map(|r| r.iter().sum::<f64>());
    let worst = sums
        .max_by(|a, b| (a - 1.0).abs().total_cmp(&(b - 1.0).abs()))
        .unwrap_or(1.0);
    // some keys of a row are missing where the tensor was cut
    let sums_to_one = (worst - 1.0).abs() <= 2e-2 || tap.is_cut;
    let negative = live.iter().any(|r| r.iter().any(|x| *x < 0.0));
    if !sums_to_one || negative {
        let what = if negative {
            "there are negative weights".into()
        } else {
            format!("a row sums to {}", short(worst))
        };
        out.push(Finding::red(
            "softmax_not_normalised",
            key,
            format!("attention weights are no distribution: {what}"),
        ));
    }
    let used = |r: &[f64]| r.iter().filter(|x| **x > 0.0).count();
    let wide: Vec<&&[f64]> = live.iter().filter(|r| used(r) > 2).collect();
    if wide.len() > 1 {
        let flat = |r: &[f64]| {
            let n = used(r) as f64;
            r.iter()
                .filter(|x| **x > 0.0)
                .all(|x| (x * n - 1.0).abs() < 1e-3)
        };
        if wide.iter().all(|r| flat(r)) {
            out.push(Finding::red(
                "attention_uniform",
                key,
                "all weights of every row are equal: the scores do not reach the softmax".into(),
            ));
        }
        let peak = |r: &[f64]| {
            r.iter()
                .enumerate()
                .max_by(|x, y| x.1.total_cmp(y.1))
                .map(|(i, x)| (i, *x))
        };
        let peaks: Vec<_> = wide.iter().filter_map(|r| peak(r)).collect();
        if peaks.iter().all(|(i, x)| *i == peaks[0].0 && *x > 0.999) {
            out.push(Finding::red(
                "attention_one_position",
                key,
                format!("every row has all its weight on position {}", peaks[0].0),
            ));
        }
    }
    out
}

impl Check for Rotation {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let mut out = Vec::new();
        for (rotated, raw) in [(Stage::QRope, Stage::QNorm), (Stage::KRope, Stage::KNorm)] {
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
            "rope_missing",
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
        "rope_position_constant",
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
        at(scene, &[Stage::AttnWeights])
            .filter(|tap| blind(&tap.array))
            .map(|tap| {
                Finding::red(
                    "context_ignored",
                    tap.key,
                    "every token attends to itself only: later tokens do not see earlier ones"
                        .into(),
                )
            })
            .collect()
    }
}
