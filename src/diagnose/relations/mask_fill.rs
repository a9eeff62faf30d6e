//! Masked positions hold whatever the implementation likes: −∞, −1e9, the lowest finite number. After the softmax they are
//! all zero, so scores that differ in the filling only are the same scores.

use super::{Case, FILLING, Relation};
use crate::diagnose::Suspicion;
use crate::diagnose::geometry::Axes;
use crate::report::real::short;

pub struct MaskFill;

/// What the visible scores may differ by, in units of what rounding explains.
const GROWN: f64 = 3.0;

impl Relation for MaskFill {
    fn id(&self) -> &'static str {
        "mask_fill"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let scores = case.key.stage.is_some_and(|s| Axes::of(s) == Axes::Scores);
        if !scores {
            return Vec::new();
        }
        let both = || case.reference.data.iter().zip(&*case.candidate.data);
        let masked = |x: &f64| *x <= FILLING;
        let fillings: Vec<(f64, f64)> = both()
            .filter(|(r, c)| masked(r) && masked(c))
            .map(|(r, c)| (*r, *c))
            .collect();
        let same_places = both().all(|(r, c)| masked(r) == masked(c));
        if fillings.is_empty() || !same_places || fillings.iter().all(|(r, c)| r == c) {
            return Vec::new();
        }
        let (mut diff, mut norm) = (0.0, 0.0);
        for (r, c) in both().filter(|(r, _)| !masked(r)) {
            diff += (c - r) * (c - r);
            norm += r * r;
        }
        let after = if norm > 0.0 {
            (diff / norm).sqrt()
        } else {
            diff.sqrt()
        };
        // the places that carry weight are judged by themselves: beside fillings of 1e38 any error is small
        if after > GROWN * case.noise.max(1e-6) {
            return Vec::new();
        }
        let (r, c) = fillings[0];
        vec![Suspicion {
            cause: "mask_fill",
            key: case.key.clone(),
            title: format!(
                "masked positions hold {} in the reference, {} in the candidate; the scores are the same",
                short(r),
                short(c)
            ),
            before: case.error,
            after,
            evidence: vec![format!(
                "relative error without the {} masked positions: {}",
                fillings.len(),
                short(after)
            )],
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Dumps;
    use super::*;
    use crate::diagnose::Array;
    use crate::name::Stage;

    fn causes(r: [f64; 4], c: [f64; 4]) -> Vec<&'static str> {
        let array = |d: [f64; 4]| Array::new(vec![1, 1, 2, 2], d.to_vec());
        Dumps::default()
            .with(0, Stage::AttnScores, array(r), array(c))
            .causes(&MaskFill, 0, Stage::AttnScores)
    }

    #[test]
    fn another_filling_is_found() {
        assert_eq!(
            causes([1.0, -1e9, 2.0, 3.0], [1.0, -3e38, 2.0, 3.0]),
            ["mask_fill"]
        );
    }

    #[test]
    fn a_missing_mask_is_no_filling() {
        assert!(causes([1.0, -1e9, 2.0, 3.0], [1.0, 0.5, 2.0, 3.0]).is_empty());
        assert!(causes([1.0, -1e9, 2.0, 3.0], [1.0, -1e9, 2.0, 4.0]).is_empty());
    }
}
