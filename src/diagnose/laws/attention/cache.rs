//! Decode steps: the keys and values of the past, and the position of the new token.
//!
//! At step n attention runs over the keys and values of all steps up to n. The reference's parameters hold on both sides; what
//! the candidate's cache must have held is searched for.

use super::super::Law;
use super::replay::{Source, Target, Task};
use super::search::{self, Fitted};
use super::setting::Setting;
use super::{From, task};
use crate::causes::{self, Cause};
use crate::diagnose::laws::Both;
use crate::diagnose::laws::rope::rotation::Rotation;
use crate::diagnose::{Array, Site, Suspicion};
use crate::name::Stage;

/// Scores, weights and context of a decode step from the keys and values of all steps.
pub struct KvCache;

impl Law for KvCache {
    fn id(&self) -> &'static str {
        "kv_cache"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[
            Stage::ATTN_QK,
            Stage::ATTN_SCORES,
            Stage::ATTN_WEIGHTS,
            Stage::ATTN_CTX,
        ]
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        if super::rope::start(candidate) == 0 {
            return None;
        }
        From::choices(output)
            .iter()
            .find_map(|&from| suspicion(reference, candidate, output, from, noise))
    }
}

/// What the cache holds in place of what it should.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    /// The new token's slots were never written.
    NewUnwritten,
    /// The new token's slots hold what the slots before them hold.
    NewRepeatsPast,
    /// The new token went into the slot before its own, which stayed empty.
    TooEarly,
    /// One slot of the past was never written.
    PastUnwritten(usize),
    /// Nothing of the past is there.
    NoPast,
    /// The past is off by one slot.
    PastShifted,
}

impl Held {
    fn all(first: usize) -> Vec<Held> {
        let mut all = vec![
            Held::NewUnwritten,
            Held::NewRepeatsPast,
            Held::TooEarly,
            Held::NoPast,
            Held::PastShifted,
        ];
        all.extend(
            (first.saturating_sub(32)..first)
                .rev()
                .map(Held::PastUnwritten),
        );
        all
    }

    fn text(self) -> String {
        match self {
            Held::NewUnwritten => "the new token's slot was never written".into(),
            Held::NewRepeatsPast => "the new token's slot still holds the token before it".into(),
            Held::TooEarly => "the new token was written one slot too early".into(),
            Held::PastUnwritten(slot) => format!("slot {slot} was never written"),
            Held::NoPast => "nothing of the earlier steps is in the cache".into(),
            Held::PastShifted => "the past stands one slot away from where it belongs".into(),
        }
    }

    /// `[batch, token, head, channel]` as the cache holds it; tokens from `first` on are new.
    pub fn applied(self, x: &Array, first: usize) -> Option<Array> {
        let &[_, tokens, h, d] = x.shape.as_slice() else {
            return None;
        };
        let new = tokens.checked_sub(first).filter(|n| *n > 0 && first > 0)?;
        // where each slot's content comes from; none for an empty slot
        let from = |slot: usize| match self {
            Held::NewUnwritten => (slot < first).then_some(slot),
            Held::NewRepeatsPast if slot >= first => slot.checked_sub(new),
            Held::TooEarly if slot + 1 >= first => (slot + 1 < tokens).then_some(slot + 1),
            Held::PastUnwritten(empty) => (slot != empty).then_some(slot),
            Held::NoPast => (slot >= first).then_some(slot),
            Held::PastShifted if slot < first => slot.checked_sub(1),
            _ => Some(slot),
        };
        let row = h * d;
        let mut data = Vec::with_capacity(x.data.len());
        for block in x.data.chunks_exact(tokens * row) {
            for slot in 0..tokens {
                match from(slot) {
                    Some(s) => data.extend_from_slice(&block[s * row..(s + 1) * row]),
                    None => data.extend(std::iter::repeat_n(0.0, row)),
                }
            }
        }
        Some(Array::new(x.shape.clone(), data))
    }
}

fn suspicion(
    reference: &Site<'_>,
    candidate: &Site<'_>,
    output: Stage,
    from: From,
    noise: f64,
) -> Option<Suspicion> {
    let (rt, ct) = (
        task(reference, candidate, output, from)?,
        task(candidate, reference, output, from)?,
    );
    let first = ct.first;
    let rf = search::fit(&rt, None, noise)?;
    // the mask is the reference's: a slot without weight is what is to be explained
    let setting = &rf.setting;
    let before = ct.residual(setting)?;
    if before <= noise {
        return None;
    }
    // a cache holds rotated keys
    let (rotated, plain) = match (from, &setting.rotation) {
        (From::Raw, Some(rotation)) => (
            at_position(&ct, rotation, 0)?,
            Setting {
                rotation: None,
                ..setting.clone()
            },
        ),
        _ => (ct.clone(), setting.clone()),
    };
    let mut tried: Vec<(&'static Cause, String, f64)> = Vec::new();
    for held in Held::all(first) {
        let Some(task) = with_cache(&rotated, held, first) else {
            continue;
        };
        if let Some(after) = task.residual(&plain) {
            tried.push((causes::KV_CACHE_STALE, held.text(), after));
        }
    }
    if let (From::Raw, Some(rotation)) = (from, &setting.rotation) {
        let shifts = (-8..=8i64).chain([-(first as i64)]);
        for shift in shifts.filter(|s| *s != 0 && first as i64 + s >= 0) {
            let Some(task) = at_position(&ct, rotation, shift) else {
                continue;
            };
            if let Some(after) = task.residual(&plain) {
                let text = format!(
                    "the new token is at position {} in place of {first}",
                    first as i64 + shift
                );
                tried.push((causes::KV_CACHE_POSITION, text, after));
            }
        }
    }
    // attention does not mind the order of keys, so several contents give one output: the first of the list names it
    let least = tried.iter().map(|t| t.2).fold(f64::INFINITY, f64::min);
    let (cause, text, after) = tried.into_iter().find(|t| t.2 <= 1.25 * least + 1e-9)?;
    // another scale or mask may explain it as well
    let own = search::fit(&ct, Some(setting), noise).map_or(f64::INFINITY, |f: Fitted| f.residual);
    if after > 0.2 * before || after > own * 1.5 + noise {
        return None;
    }
    Some(Suspicion {
        cause,
        key: candidate.key(output),
        title: format!("in the candidate {text}"),
        before,
        after,
        evidence: vec![
            format!(
                "candidate's {output} computed from its {}, the keys and values of all steps in place: relative error {before:.2e}",
                from.text()
            ),
            format!("with {text}: {after:.2e}"),
            format!(
                "the reference's {output} follows from its own cache: relative error {:.2e}",
                rf.residual
            ),
        ],
    })
}

/// The task with another content of the cache.
fn with_cache(task: &Task, held: Held, first: usize) -> Option<Task> {
    let source = match &task.source {
        Source::Heads { q, k } => Source::Heads {
            q: q.clone(),
            k: held.applied(k, first)?,
        },
        given => given.clone(),
    };
    let target = match &task.target {
        Target::Context { context, v } => Target::Context {
            context: context.clone(),
            v: held.applied(v, first)?,
        },
        other => other.clone(),
    };
    let changed =
        matches!(source, Source::Heads { .. }) || matches!(target, Target::Context { .. });
    changed.then(|| Task {
        source,
        target,
        ..task.clone()
    })
}

/// Raw Q and K rotated, the new token at another position.
fn at_position(task: &Task, rotation: &Rotation, shift: i64) -> Option<Task> {
    let Source::Heads { q, k } = &task.source else {
        return None;
    };
    let first = task.first as i64;
    let turned = |x: &Array, start: i64| {
        let (batch, tokens) = (*x.shape.first()?, *x.shape.get(1)?);
        let positions = (0..batch).flat_map(|_| start..start + tokens as i64);
        let moved = |p: i64| if p >= first { p + shift } else { p };
        Rotation {
            positions: positions.map(moved).collect(),
            ..rotation.clone()
        }
        .apply(x)
    };
    Some(Task {
        source: Source::Heads {
            q: turned(q, first)?,
            k: turned(k, 0)?,
        },
        raw: false,
        ..task.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::laws::toy::{Toy, key, pairs, scene, steps, without};
    use crate::diagnose::{Side, confidence};

    const FIRST: usize = 8;

    fn diagnose(bad: &Toy, output: Stage, missing: &[Stage]) -> Vec<Suspicion> {
        let taps = |toy: &Toy| steps(&without(toy.run(), missing), FIRST);
        let ([r0, r1], [c0, c1]) = (taps(&Toy::default()), taps(bad));
        let mut all = pairs(Some(0), &r0, &c0);
        all.extend(pairs(Some(1), &r1, &c1));
        scene(&all, |scene| {
            let site = |side| scene.site(side, &key(Some(1), output));
            let (r, c) = (site(Side::Reference), site(Side::Candidate));
            KvCache.diagnose(&Both::new(r, c, output, 2e-6))
        })
    }

    #[test]
    fn a_stale_cache_is_found_in_every_tap() {
        let no_scores = [Stage::ATTN_SCORES, Stage::ATTN_WEIGHTS];
        for held in [
            Held::NewUnwritten,
            Held::TooEarly,
            Held::PastUnwritten(5),
            Held::NoPast,
            Held::PastShifted,
        ] {
            let bad = Toy {
                cache: Some((FIRST, held)),
                ..Toy::default()
            };
            for (output, missing) in [
                (Stage::ATTN_SCORES, &[][..]),
                (Stage::ATTN_CTX, &no_scores[..]),
            ] {
                let found = diagnose(&bad, output, missing);
                assert_eq!(found.len(), 1, "{held:?} {output}");
                assert_eq!(found[0].cause.id, "kv_cache_stale");
                assert!(found[0].title.contains(&held.text()), "{held:?} {found:?}");
                assert!(confidence(found[0].before, found[0].after, 2e-6) > 0.9);
            }
        }
    }

    #[test]
    fn a_new_token_at_the_wrong_position_shows_in_the_scores() {
        let bad = Toy {
            new_offset: Some((FIRST, 1)),
            ..Toy::default()
        };
        let found = diagnose(&bad, Stage::ATTN_SCORES, &[Stage::Q_ROPE, Stage::K_ROPE]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cause.id, "kv_cache_position");
        assert!(found[0].title.contains("position 9 in place of 8"));
    }

    #[test]
    fn a_sound_cache_and_another_fault_are_not_blamed_on_it() {
        let scale = Toy {
            scale: 1.0,
            ..Toy::default()
        };
        let noisy = Toy {
            bits: 20,
            ..Toy::default()
        };
        assert_eq!(diagnose(&Toy::default(), Stage::ATTN_SCORES, &[]), []);
        assert_eq!(diagnose(&scale, Stage::ATTN_SCORES, &[]), []);
        assert_eq!(diagnose(&noisy, Stage::ATTN_CTX, &[]), []);
    }
}
