//! Finds the parameters under which a replay gives what was dumped, one change at a time.

use super::mask::{HIDDEN, Mask};
use super::replay::{Source, Target, Task, shaped};
use super::setting::{Merge, Setting, Softmax, Values};
use crate::diagnose::laws::rope::rotation::{Pairing, Rotation, Series};
use crate::math::least;

/// Parameters and the relative error they leave.
#[derive(Clone, Debug)]
pub struct Fitted {
    pub setting: Setting,
    pub residual: f64,
}

/// A fit that leaves more is none.
const ACCEPT: f64 = 0.15;
/// However coarse the arithmetic, a search goes on above this.
const GOOD: f64 = 0.03;
/// A change must lower the error to this share to be taken.
const WORTH: f64 = 0.7;

/// What is usual for a task: causal, 1/√d, repeated heads; masks are read off where they show.
pub fn usual(task: &Task) -> Setting {
    let open = Mask {
        causal: None,
        ..Mask::causal(task.batch, task.keys)
    };
    let given = !matches!(task.source, Source::Heads { .. });
    Setting {
        rotation: None,
        scale: if given {
            1.0
        } else {
            1.0 / (task.channels as f64).sqrt()
        },
        cap: None,
        mask: match (&task.seen, given) {
            (Some(mask), _) => mask.clone(),
            (None, true) => open,
            (None, false) => Mask::causal(task.batch, task.keys),
        },
        kv_of: Setting::repeated(task.heads, task.kv_heads),
        softmax: Softmax::OverKeys,
        merge: Merge::TokensFirst,
        values: Values::V,
    }
}

/// Searches from the usual parameters and from those of `like`; stops at a relative error of `good`.
pub fn fit(task: &Task, like: Option<&Setting>, good: f64) -> Option<Fitted> {
    // what the softmax makes of the noise that entered is no excuse: the inputs are the side's own
    let good = good.clamp(3e-7, GOOD);
    let mut starts = vec![usual(task)];
    if let Some(like) = like.filter(|s| s.kv_of.len() == task.heads) {
        let mask = task.seen.clone().unwrap_or_else(|| like.mask.clone());
        starts.insert(
            0,
            Setting {
                mask,
                ..like.clone()
            },
        );
    }
    let tuned = starts.into_iter().filter_map(|s| tune(task, s));
    let mut best = tuned.min_by(|a, b| a.residual.total_cmp(&b.residual))?;
    for _ in 0..5 {
        if best.residual <= good {
            break;
        }
        let next = changes(task, &best.setting)
            .into_iter()
            .filter_map(|s| tune(task, s))
            .filter(|n| {
                n.setting.mask == best.setting.mask
                    || before(task, &best, n).is_some_and(|b| n.residual < WORTH * b)
            })
            .min_by(|a, b| a.residual.total_cmp(&b.residual));
        match next {
            Some(n) if n.residual < WORTH * before(task, &best, &n)? => {
                best = refine(task, n, good);
            }
            _ => break,
        }
    }
    (best.residual < ACCEPT).then_some(best)
}

/// What the setting found so far leaves of the lines that the next one speaks of: hiding lines explains nothing.
fn before(task: &Task, best: &Fitted, next: &Fitted) -> Option<f64> {
    if best.setting.mask == next.setting.mask {
        return Some(best.residual);
    }
    task.residual_within(&best.setting, &next.setting.mask)
}

/// The same parameters with the scale that fits best, where it can be read off.
fn tune(task: &Task, mut s: Setting) -> Option<Fitted> {
    if !task.takes(&s) {
        return None;
    }
    let logits = task.logits(s.rotation.as_ref(), &s.kv_of);
    match (&task.target, s.cap) {
        (Target::Scores(_) | Target::Weights(_), None) => s.scale = slope(task, &logits, &s)?,
        (Target::Scores(_) | Target::Weights(_), Some(_)) => {
            let error = |x: f64| {
                let s = Setting {
                    scale: x.exp(),
                    ..s.clone()
                };
                task.residual_of(logits.clone(), &s, &s.mask)
                    .unwrap_or(f64::INFINITY)
            };
            s.scale = least(error, s.scale.abs().ln(), 0.7).exp();
        }
        _ => {}
    }
    let residual = task.residual_of(logits, &s, &s.mask)?;
    residual.is_finite().then_some(Fitted {
        setting: s,
        residual,
    })
}

/// The factor between logits and scores, or between logits and the logarithms of weights up to a constant per row.
fn slope(task: &Task, logits: &[f64], s: &Setting) -> Option<f64> {
    let (mut xy, mut xx) = (0.0, 0.0);
    match &task.target {
        Target::Scores(scores) => {
            let target = task.picked(scores);
            for (x, y) in logits.iter().zip(&target) {
                if *y > HIDDEN && y.is_finite() && x.is_finite() {
                    xy += x * y;
                    xx += x * x;
                }
            }
        }
        Target::Weights(weights) => {
            if s.softmax == Softmax::OverQueries || matches!(task.source, Source::Weights(_)) {
                return Some(s.scale);
            }
            let target = task.picked(weights);
            let lines = logits
                .chunks_exact(task.keys)
                .zip(target.chunks_exact(task.keys));
            for ((b, _, t), (x, w)) in task.sample.lines().zip(lines) {
                if task.is_blank(&s.mask, b, t) {
                    continue;
                }
                let top = w.iter().copied().fold(0.0, f64::max);
                // weights count by their share: small ones carry little of the error and much rounding
                let known = || {
                    x.iter()
                        .zip(w)
                        .enumerate()
                        .filter(|(u, (x, w))| {
                            **w > 1e-4 * top && **x > HIDDEN && s.mask.sees(b, task.first + t, *u)
                        })
                        .map(|(_, (x, w))| (*x, w.ln(), *w))
                };
                let total: f64 = known().map(|k| k.2).sum();
                let mean_x = known().map(|k| k.2 * k.0).sum::<f64>() / total;
                let mean_y = known().map(|k| k.2 * k.1).sum::<f64>() / total;
                for (x, y, w) in known() {
                    xy += w * (x - mean_x) * (y - mean_y);
                    xx += w * (x - mean_x) * (x - mean_x);
                }
            }
        }
        Target::Context { .. } => return Some(s.scale),
    }
    if xx > 0.0 {
        Some(xy / xx)
    } else {
        Some(s.scale)
    }
}

/// Settings that differ in one respect.
fn changes(task: &Task, s: &Setting) -> Vec<Setting> {
    let mut all = Vec::new();
    let to_context = matches!(task.target, Target::Context { .. });
    let from_heads = matches!(task.source, Source::Heads { .. });
    let from_weights = matches!(task.source, Source::Weights(_));
    let to_scores = matches!(task.target, Target::Scores(_));
    if from_heads || to_context {
        for kv_of in [
            Setting::repeated(task.heads, task.kv_heads),
            Setting::tiled(task.heads, task.kv_heads),
            best_mapping(task, s),
        ] {
            all.push(Setting { kv_of, ..s.clone() });
        }
    }
    if to_context {
        for merge in [Merge::TokensFirst, Merge::HeadsFirst, Merge::ChannelsFirst] {
            all.push(Setting { merge, ..s.clone() });
        }
        for values in [Values::V, Values::K] {
            all.push(Setting {
                values,
                ..s.clone()
            });
        }
    }
    if !from_weights {
        for c in caps(task, s) {
            all.push(Setting {
                cap: c,
                ..s.clone()
            });
        }
        if to_context {
            all.extend(
                scales(task)
                    .into_iter()
                    .map(|scale| Setting { scale, ..s.clone() }),
            );
        }
        if !to_scores {
            all.extend(
                masks(task, s)
                    .into_iter()
                    .map(|mask| Setting { mask, ..s.clone() }),
            );
            let whole = task.sample.queries.len() == task.queries && task.queries > 1;
            let kinds = [Softmax::OverKeys, Softmax::Undivided, Softmax::OverQueries];
            // a scale that was fitted to rows says nothing about columns
            let scales = [s.scale, usual(task).scale];
            for softmax in kinds {
                if whole || softmax != Softmax::OverQueries {
                    all.extend(scales.map(|scale| Setting {
                        softmax,
                        scale,
                        ..s.clone()
                    }));
                }
            }
        }
    }
    if task.raw {
        all.extend(
            rotations(task, s.rotation.as_ref())
                .into_iter()
                .map(|r| Setting {
                    rotation: r,
                    ..s.clone()
                }),
        );
    }
    all.retain(|x| x != s);
    all
}

fn scales(task: &Task) -> Vec<f64> {
    let d = task.channels as f64;
    let hidden = d * task.heads as f64;
    let usual = [
        1.0 / d.sqrt(),
        1.0,
        1.0 / d,
        1.0 / (d / 2.0).sqrt(),
        1.0 / (2.0 * d).sqrt(),
        1.0 / hidden.sqrt(),
        2.0 / d.sqrt(),
        0.5 / d.sqrt(),
        d.sqrt(),
        1.0 / d.powf(0.25),
    ];
    usual.to_vec()
}

fn caps(task: &Task, s: &Setting) -> Vec<Option<f64>> {
    let mut all: Vec<Option<f64>> = [None]
        .into_iter()
        .chain([5.0, 10.0, 20.0, 30.0, 50.0, 100.0].map(Some))
        .collect();
    if let Target::Scores(scores) = &task.target {
        let top = task
            .picked(scores)
            .into_iter()
            .filter(|x| *x > HIDDEN && x.is_finite())
            .fold(0.0, |m: f64, x| m.max(x.abs()));
        all.extend([1.001, 1.02, 1.1, 1.3, 2.0].map(|f| Some(f * top)));
    }
    all.retain(|c| *c != s.cap && c.is_none_or(|c| c > 0.0));
    all
}

fn masks(task: &Task, s: &Setting) -> Vec<Mask> {
    let mut all = Vec::new();
    let with = |f: &dyn Fn(&mut Mask)| {
        let mut m = s.mask.clone();
        f(&mut m);
        m
    };
    all.extend(task.seen.clone());
    if task.seen.is_some() {
        return all;
    }
    for causal in [None, Some(0), Some(1), Some(-1)] {
        all.push(with(&|m| m.causal = causal));
    }
    let widths =
        (1..task.keys).filter(|w| *w <= 48 || w.is_power_of_two() || (w - 1).is_power_of_two());
    all.push(with(&|m| m.window = None));
    all.extend(widths.map(|w| with(&|m| m.window = Some(w))));
    all.extend(
        task.padding
            .iter()
            .map(|p| with(&|m| m.padded.clone_from(p))),
    );
    all.push(with(&|m| m.padded.iter_mut().for_each(|r| r.fill(false))));
    for b in 0..task.batch.min(8) {
        for n in 1..task.keys.min(16) {
            all.push(with(&|m| {
                let row = m.padded[b].iter_mut().enumerate();
                row.for_each(|(k, p)| *p = k < n);
            }));
            all.push(with(&|m| {
                let row = m.padded[b].iter_mut().enumerate();
                row.for_each(|(k, p)| *p = k + n >= task.keys);
            }));
        }
    }
    all
}

fn rotations(task: &Task, now: Option<&Rotation>) -> Vec<Option<Rotation>> {
    let mut all = vec![None];
    let d = task.channels;
    // the one that is there, changed in one respect
    if let Some(now) = now {
        let others = Pairing::ALL.into_iter().filter(|p| *p != now.pairing);
        all.extend(others.map(|pairing| {
            Some(Rotation {
                pairing,
                ..now.clone()
            })
        }));
        all.push(Some(Rotation {
            frequencies: now.frequencies.iter().map(|w| -w).collect(),
            ..now.clone()
        }));
        if let Some(Series { theta, factor }) = now.series {
            for times in [0.125, 0.25, 0.5, 2.0, 4.0, 8.0] {
                all.push(Some(rotation(
                    now.pairing,
                    now.rotated,
                    theta,
                    factor * times,
                )));
            }
            for share in [d, d / 2, d / 4] {
                if share >= 2 && share % 2 == 0 {
                    all.push(Some(rotation(now.pairing, share, theta, factor)));
                }
            }
        }
    }
    let mut shares = vec![d, d / 2, d / 4];
    shares.retain(|r| r % 2 == 0 && *r >= 2);
    for pairing in Pairing::ALL {
        for &rotated in &shares {
            for theta in [1e2, 1e3, 3e3, 1e4, 3e4, 1e5, 2.5e5, 5e5, 1e6, 5e6, 1e7] {
                all.push(Some(rotation(pairing, rotated, theta, 1.0)));
            }
            for factor in [2.0, 4.0, 8.0] {
                all.push(Some(rotation(pairing, rotated, 1e4, factor)));
            }
        }
    }
    all
}

fn rotation(pairing: Pairing, rotated: usize, theta: f64, factor: f64) -> Rotation {
    let series = Series { theta, factor };
    Rotation {
        pairing,
        rotated,
        frequencies: series.frequencies(rotated),
        series: Some(series),
        positions: Vec::new(),
        amplitude: 1.0,
    }
}

/// For every query head the key/value head that fits it best by itself.
fn best_mapping(task: &Task, s: &Setting) -> Vec<usize> {
    let mut found = s.kv_of.clone();
    if task.kv_heads < 2 {
        return found;
    }
    for &h in &task.sample.heads {
        let mut one = task.clone();
        one.sample.heads = vec![h];
        let error = |g: usize| {
            let mut kv_of = s.kv_of.clone();
            kv_of[h] = g;
            one.residual(&Setting { kv_of, ..s.clone() })
                .unwrap_or(f64::INFINITY)
        };
        let best = (0..task.kv_heads).min_by(|a, b| error(*a).total_cmp(&error(*b)));
        found[h] = best.unwrap_or(found[h]);
    }
    found
}

/// Continuous parameters that were taken from a list, brought to their best value.
fn refine(task: &Task, mut f: Fitted, good: f64) -> Fitted {
    if f.residual <= good {
        return f;
    }
    let s = f.setting.clone();
    let mut tries = Vec::new();
    if let Some(c) = s.cap {
        let error = |x: f64| {
            tune(
                task,
                Setting {
                    cap: Some(x.exp()),
                    ..s.clone()
                },
            )
            .map_or(f64::INFINITY, |f| f.residual)
        };
        tries.push(Setting {
            cap: Some(least(error, c.ln(), 0.6).exp()),
            ..s.clone()
        });
    }
    if matches!(task.target, Target::Context { .. }) && !matches!(task.source, Source::Weights(_)) {
        let logits = task.logits(s.rotation.as_ref(), &s.kv_of);
        let error = |x: f64| {
            let s = Setting {
                scale: x.exp(),
                ..s.clone()
            };
            task.residual_of(logits.clone(), &s, &s.mask)
                .unwrap_or(f64::INFINITY)
        };
        tries.push(Setting {
            scale: least(error, s.scale.ln(), 0.7).exp(),
            ..s.clone()
        });
    }
    if let Some(Rotation {
        pairing,
        rotated,
        series: Some(series),
        ..
    }) = &s.rotation
    {
        let with = |x: f64| Setting {
            rotation: Some(rotation(*pairing, *rotated, x.exp(), series.factor)),
            ..s.clone()
        };
        let error = |x: f64| tune(task, with(x)).map_or(f64::INFINITY, |f| f.residual);
        tries.push(with(least(error, series.theta.ln(), 1.2)));
    }
    for s in tries {
        if let Some(better) = tune(task, s).filter(|t| t.residual < f.residual) {
            f = better;
        }
    }
    f
}

/// Scores as they would be at one place, for masks that are judged by their effect on the weights.
pub fn scores(task: &Task, s: &Setting) -> Vec<f64> {
    let logits = task.logits(s.rotation.as_ref(), &s.kv_of);
    logits.into_iter().map(|x| shaped(x, s)).collect()
}
