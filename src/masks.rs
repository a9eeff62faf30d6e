//! Masked scores: what stands for them carries no weight after the softmax, and beside −1e9 every other difference vanishes.
//!
//! Values of scores below [`FILLING`] count as −∞, on both sides. So the difference is one of scores that somebody attends to,
//! another filling (−∞, −1e9, the lowest finite number) is none, and what only one side masks is an infinity against a number.
//! The statistics of the sides stay those of the values as they were dumped.

use crate::compare::{Diff, ElementTolerance, FILLING, Job, Side, Worst, compare};
use crate::dump::{Remark, Tensor, unravel};
use crate::name::Stage;
use crate::pairs::{Outcome, Pair};
use crate::report::real::short;

/// Compares the scores again that hold fillings. Remarks, with the keys of the pairs, where the fillings differ.
pub fn leave_out(
    pairs: &mut [Pair],
    tolerance: impl Fn(&Tensor, &Tensor) -> ElementTolerance,
) -> Vec<(String, Remark)> {
    let found: Vec<(usize, Diff)> = {
        let masked: Vec<usize> = (0..pairs.len()).filter(|&i| is_filled(&pairs[i])).collect();
        let jobs: Vec<Job<'_>> = masked
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
        let diffs = again.into_iter().zip(&jobs).map(|(stats, job)| {
            let mut diff = stats.ok()?.diff;
            for worst in [&mut diff.worst, &mut diff.first_non_finite_mismatch] {
                *worst = worst.map(|w| as_dumped(w, job));
            }
            Some(diff)
        });
        let found = masked.iter().zip(diffs);
        found.filter_map(|(i, diff)| Some((*i, diff?))).collect()
    };
    let mut remarks = Vec::new();
    for (i, diff) in found {
        let key = pairs[i].key.to_string();
        // a pair that cannot be read again stays as it was
        let Outcome::Compared(stats) = &mut pairs[i].outcome else {
            continue;
        };
        if diff.inf_mismatch == 0 {
            let differ = other_filling(&stats.reference, &stats.candidate);
            remarks.extend(differ.map(|remark| (key, remark)));
        }
        stats.diff = Diff {
            identical: stats.diff.identical,
            ..diff
        };
    }
    remarks
}

fn is_filled(pair: &Pair) -> bool {
    use Stage::{AttentionMask, AttnQk, AttnScores};
    let scores = matches!(pair.key.stage, Some(AttnQk | AttnScores | AttentionMask));
    let filled = |s: &Side| s.min < FILLING;
    let stats = pair.stats().filter(|_| scores);
    stats.is_some_and(|s| filled(&s.reference) || filled(&s.candidate))
}

/// The element with the values that stand in the dumps.
fn as_dumped(worst: Worst, job: &Job<'_>) -> Worst {
    let value = |t: &Tensor, counted: f64| {
        let index = unravel(worst.position, t.info.shape());
        let index: Vec<i64> = index.into_iter().map(|i| i as i64).collect();
        let element = t.slice_leading(&index).and_then(|t| t.values());
        element
            .ok()
            .and_then(|v| v.first().copied())
            .unwrap_or(counted)
    };
    Worst {
        reference: value(job.reference, worst.reference),
        candidate: value(job.candidate, worst.candidate),
        ..worst
    }
}

/// What stands for masked scores, where it is not the same on both sides.
fn other_filling(reference: &Side, candidate: &Side) -> Option<Remark> {
    let filling = |s: &Side| match s.neg_inf {
        0 => s.min,
        _ => f64::NEG_INFINITY,
    };
    let (r, c) = (filling(reference), filling(candidate));
    (r != c).then(|| Remark {
        id: "mask_fill",
        message: format!(
            "masked scores hold {} in the reference, {} in the candidate: both count as masked",
            short(r),
            short(c)
        ),
        tensors: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::PairStats;
    use crate::dtype::DType;
    use crate::dump::{Origin, Payload, Printed, TensorInfo};
    use crate::name::Key;
    use std::sync::Arc;

    fn tensor(values: [f64; 4]) -> Arc<Tensor> {
        let mut bytes = Vec::new();
        values
            .iter()
            .for_each(|v| DType::F32.encode(*v, &mut bytes));
        Arc::new(Tensor {
            name: "scores".into(),
            info: TensorInfo::new(DType::F32, vec![1, 1, 2, 2]).unwrap(),
            origin: Origin {
                path: "scores.npy".into(),
                member: None,
                format: "npy",
            },
            payload: Payload::Memory(bytes.into()),
            printed: Printed::default(),
            guess: None,
            sequence: None,
        })
    }

    /// Scores of two queries and two keys, compared; the ids of remarks.
    fn compared(stage: Stage, r: [f64; 4], c: [f64; 4]) -> (PairStats, Vec<&'static str>) {
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
            key,
            reference: Some(Arc::clone(&r)),
            candidate: Some(Arc::clone(&c)),
            aligned: Some((r, c)),
            outcome: Outcome::Compared(stats),
            logits: None,
        }];
        let remarks = leave_out(&mut pairs, limit);
        let stats = pairs[0].stats().unwrap().clone();
        (stats, remarks.into_iter().map(|(_, r)| r.id).collect())
    }

    #[test]
    fn beside_a_filling_other_scores_are_still_compared() {
        let (stats, remarks) = compared(
            Stage::AttnScores,
            [3.0, -1e9, 4.0, 0.0],
            [6.0, -1e9, 8.0, 0.0],
        );
        let d = &stats.diff;
        assert_eq!((d.count, d.l2, d.reference_l2), (3, 5.0, 5.0));
        assert!(remarks.is_empty() && d.masked && !d.identical);
        assert_eq!(stats.reference.min, -1e9);
    }

    #[test]
    fn another_filling_is_no_difference() {
        for other in [-3e38, f64::NEG_INFINITY, -9999.5] {
            let (stats, remarks) =
                compared(Stage::AttnQk, [3.0, -1e9, 4.0, 0.0], [3.0, other, 4.0, 0.0]);
            assert_eq!((stats.diff.l2, stats.diff.mismatched), (0.0, 0), "{other}");
            assert_eq!(remarks, ["mask_fill"]);
        }
    }

    #[test]
    fn a_missing_mask_is_a_difference_and_shows_what_was_dumped() {
        let (stats, remarks) = compared(
            Stage::AttnScores,
            [3.0, -1e9, 4.0, 0.0],
            [3.0, 0.5, 4.0, 0.0],
        );
        let first = stats.diff.first_non_finite_mismatch.unwrap();
        assert_eq!(
            (first.position, first.reference, first.candidate),
            (1, -1e9, 0.5)
        );
        assert_eq!((stats.diff.inf_mismatch, remarks.len()), (1, 0));
    }

    #[test]
    fn large_values_elsewhere_are_values() {
        let (stats, _) = compared(Stage::Output, [3.0, -1e9, 4.0, 0.0], [3.0, -1e9, 4.0, 0.0]);
        assert_eq!((stats.diff.count, stats.diff.masked), (4, false));
    }
}
