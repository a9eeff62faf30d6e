//! Masked scores: what stands for them carries no weight after the softmax, and beside −1e9 every other difference vanishes.
//!
//! Fillings count as −∞, on both sides. So the difference is one of scores that somebody attends to, another filling (−∞, −1e9,
//! the lowest finite number) is none, and what only one side masks is an infinity against a number. Low values are fillings only
//! where they stand apart: far below all other scores of their side, and as close to each other as a constant and the scores
//! added to it. The statistics of the sides stay those of the values as they were dumped.

use super::pair::{Outcome, Pair};
use crate::compare::{Diff, ElementTolerance, FILLING, Job, PairStats, Side, Worst, compare};
use crate::dump::{Payload, Tensor, unravel};
use crate::name::Stage;
use crate::note::Note;
use crate::text::short;

/// Fillings lie at least this many times as far below zero as the lowest other score.
const APART: f64 = 2.0;
/// They lie as close together as the other scores do, times this, and this part of themselves.
const SPREAD: f64 = 2.0;
const ALIKE: f64 = 1e-2;
/// No score is as low as this.
const BEYOND: f64 = -1e6;

/// Compares the scores again that hold fillings. Notes, with the keys of the pairs, where the fillings differ.
pub fn leave_out(
    pairs: &mut [Pair],
    tolerance: impl Fn(&Tensor, &Tensor) -> ElementTolerance,
) -> Vec<(String, Note)> {
    let found: Vec<(usize, PairStats)> = {
        let low: Vec<usize> = (0..pairs.len()).filter(|&i| is_low(&pairs[i])).collect();
        let jobs: Vec<Job<'_>> = low
            .iter()
            .filter_map(|&i| {
                let (reference, candidate) = pairs[i].aligned.as_ref()?;
                Some(Job {
                    reference,
                    candidate,
                    tolerance: tolerance(reference, candidate),
                    masked: true,
                })
            })
            .collect();
        let again = compare(&jobs, &|_| {});
        let stats = again.into_iter().zip(&jobs).map(|(stats, job)| {
            let mut stats = *stats.ok()?;
            let diff = &mut stats.diff;
            for worst in [&mut diff.worst, &mut diff.first_non_finite_mismatch] {
                *worst = worst.map(|w| as_dumped(w, job));
            }
            Some(stats)
        });
        let found = low.iter().zip(stats);
        found.filter_map(|(i, stats)| Some((*i, stats?))).collect()
    };
    let mut notes = Vec::new();
    for (i, visible) in found {
        let key = pairs[i].key.to_string();
        // a pair that cannot be read again stays as it was
        let Outcome::Compared(stats) = &mut pairs[i].outcome else {
            continue;
        };
        let sides = [
            (&stats.reference, &visible.reference),
            (&stats.candidate, &visible.candidate),
        ];
        if visible.diff.count == 0 || !sides.iter().all(|(all, rest)| are_fillings(all, rest)) {
            continue;
        }
        if visible.diff.inf_mismatch + visible.diff.nan_one_side == 0 {
            notes.extend(other_filling(sides).map(|note| (key, note)));
        }
        stats.diff = Diff {
            identical: stats.diff.identical,
            ..visible.diff
        };
    }
    notes
}

/// Scores, or a mask that is added to them, with values that could be fillings.
fn is_low(pair: &Pair) -> bool {
    let scores = matches!(
        pair.key.stage,
        Some(Stage::ATTN_SCORES | Stage::ATTENTION_MASK)
    );
    let float = |t: &Tensor| !t.info.dtype().is_exact();
    let floats = pair
        .aligned
        .as_ref()
        .is_some_and(|(r, c)| float(r) && float(c));
    let low = |s: &Side| s.min <= FILLING;
    let stats = pair.stats().filter(|_| scores && floats);
    stats.is_some_and(|s| low(&s.reference) || low(&s.candidate))
}

/// Whether the low values of a side (if it has any) are fillings: `all` its values, `rest` those that are not low.
fn are_fillings(all: &Side, rest: &Side) -> bool {
    let (lowest, highest) = (all.min, rest.filled);
    let apart = highest <= APART * rest.min.min(-1.0);
    let close = SPREAD * (rest.max - rest.min) + ALIKE * lowest.abs();
    lowest > FILLING || (apart && (highest <= BEYOND || highest - lowest <= close))
}

/// The element with the values that stand in the dumps.
fn as_dumped(worst: Worst, job: &Job<'_>) -> Worst {
    let value = |t: &Tensor| {
        if let Payload::Partial(known) = &t.payload {
            let at = known.positions.binary_search(&worst.position);
            return at.ok().and_then(|at| known.values.get(at).copied());
        }
        let index = unravel(worst.position, t.info.shape());
        let index: Vec<i64> = index.into_iter().map(|i| i as i64).collect();
        let element = t.slice_leading(&index).and_then(|t| t.values());
        element.ok()?.first().copied()
    };
    Worst {
        reference: value(job.reference).unwrap_or(worst.reference),
        candidate: value(job.candidate).unwrap_or(worst.candidate),
        ..worst
    }
}

/// What stands for masked scores, where it is not about the same on both sides.
fn other_filling(sides: [(&Side, &Side); 2]) -> Option<Note> {
    let [r, c] = sides.map(|(all, _)| match (all.neg_inf, all.min <= FILLING) {
        (0, true) => Some(all.min),
        (0, false) => None,
        _ => Some(f64::NEG_INFINITY),
    });
    let (r, c) = (r?, c?);
    let alike = r == c || r.is_finite() && (r - c).abs() <= ALIKE * r.abs();
    (!alike).then(|| {
        Note::new(
            "mask_fill",
            format!(
                "masked scores hold {} in the reference, {} in the candidate: both count as masked",
                short(r),
                short(c)
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::PairStats;
    use crate::dtype::DType;
    use crate::dump::{Payload, TensorInfo, formats};
    use crate::name::Key;
    use std::borrow::Cow;
    use std::path::Path;
    use std::sync::Arc;

    fn tensor(values: [f64; 4]) -> Arc<Tensor> {
        let mut bytes = Vec::new();
        values
            .iter()
            .for_each(|v| DType::F32.encode(*v, &mut bytes));
        let info = TensorInfo::new(DType::F32, vec![1, 1, 2, 2]).unwrap();
        let (path, payload) = (Path::new("scores.npy"), Payload::Memory(bytes.into()));
        Arc::new(formats::tensor(path, "npy", "scores".into(), info, payload))
    }

    /// Scores of two queries and two keys, compared; the ids of notes.
    fn compared(stage: Stage, r: [f64; 4], c: [f64; 4]) -> (PairStats, Vec<Cow<'static, str>>) {
        let (r, c) = (tensor(r), tensor(c));
        let limit = |_: &Tensor, _: &Tensor| ElementTolerance {
            rtol: 1e-3,
            atol: 1e-5,
        };
        let job = Job {
            reference: &r,
            candidate: &c,
            tolerance: limit(&r, &c),
            masked: false,
        };
        let stats = compare(&[job], &|_| {}).remove(0).unwrap();
        let key = Key {
            step: None,
            rank: None,
            layer: Some(0),
            stage: Some(stage),
            rest: String::new(),
        };
        let mut pairs = [Pair {
            aligned: Some((Arc::clone(&r), Arc::clone(&c))),
            outcome: Outcome::Compared(stats),
            ..Pair::new(key, Some(r), Some(c))
        }];
        let notes = leave_out(&mut pairs, limit);
        let stats = pairs[0].stats().unwrap().clone();
        (stats, notes.into_iter().map(|(_, r)| r.id).collect())
    }

    #[test]
    fn beside_a_filling_other_scores_are_still_compared() {
        let (stats, notes) = compared(
            Stage::ATTN_SCORES,
            [3.0, -1e9, 4.0, 0.0],
            [6.0, -1e9, 8.0, 0.0],
        );
        let d = &stats.diff;
        assert_eq!((d.count, d.l2, d.reference_l2), (3, 5.0, 5.0));
        assert!(notes.is_empty() && d.masked && !d.identical);
        assert_eq!(stats.reference.min, -1e9);
    }

    #[test]
    fn another_filling_is_no_difference() {
        for other in [-3e38, f64::NEG_INFINITY, -9999.5] {
            let (stats, notes) = compared(
                Stage::ATTN_SCORES,
                [3.0, -1e9, 4.0, 0.0],
                [3.0, other, 4.0, 0.0],
            );
            assert_eq!((stats.diff.l2, stats.diff.mismatched), (0.0, 0), "{other}");
            assert_eq!(notes, ["mask_fill"]);
            let there = compared(
                Stage::ATTN_SCORES,
                [3.0, other, 4.0, 0.0],
                [3.0, -1e9, 4.0, 0.0],
            );
            assert_eq!(there.1, ["mask_fill"], "{other}");
        }
    }

    #[test]
    fn a_missing_mask_is_a_difference_and_shows_what_was_dumped() {
        let (stats, notes) = compared(
            Stage::ATTN_SCORES,
            [3.0, -1e9, 4.0, 0.0],
            [3.0, 0.5, 4.0, 0.0],
        );
        let first = stats.diff.first_non_finite_mismatch.unwrap();
        assert_eq!(
            (first.position, first.reference, first.candidate),
            (1, -1e9, 0.5)
        );
        assert_eq!((stats.diff.inf_mismatch, notes.len()), (1, 0));
    }

    #[test]
    fn large_values_are_values() {
        let same = [3.0, -1e9, 4.0, 0.0];
        // another stage; no gap; nothing but low values; low values that vary
        for (stage, r, c) in [
            (Stage::OUTPUT, same, same),
            (Stage::ATTN_QK, same, same),
            (
                Stage::ATTN_SCORES,
                [-5000.1, -4999.9, 6000.0, -9000.0],
                [-5000.1, -4999.9, 6000.0, -12000.0],
            ),
            (
                Stage::ATTN_SCORES,
                [-7000.0, -7001.0, -7002.0, -7003.0],
                [-9000.0, -9001.0, -9002.0, -9003.0],
            ),
            (
                Stage::ATTN_SCORES,
                [3.0, -80_000.0, 4.0, -65_600.0],
                [3.0, f64::NEG_INFINITY, 4.0, f64::NEG_INFINITY],
            ),
        ] {
            let (stats, notes) = compared(stage, r, c);
            assert!(!stats.diff.masked && notes.is_empty(), "{stage} {r:?}");
        }
    }
}
