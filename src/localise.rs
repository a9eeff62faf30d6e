//! Where it starts: verdicts and the data flow give the origins, and what each stage inherited.
//!
//! A pair that differs is judged against what its inputs already carried: rounding noise grows slowly from stage to stage, a
//! fault is a jump. The walk follows the pipeline, so every stage knows what entered it.

mod doubt;
mod graph;

pub use doubt::{doubtful, reason};
pub use graph::Graph;

use crate::judge::Finding;

/// Rounding noise does not grow by more than this factor through one stage.
const GROWTH: f64 = 5.0;
/// Nor by more than this through a rotation.
const ROTATED: f64 = 2.5;
/// Over all stages, noise does not exceed this many times the noise of a single one.
const TOTAL_GROWTH: f64 = 64.0;

/// Noise beyond the types' own does not grow to the size of the values themselves.
const LARGEST: f64 = 0.5;
/// A difference with a larger |cos| to the reference is along the values: a factor, a tensor of zeros.
const BIASED: f64 = 0.85;
/// What is along the values is within this times the noise of its neighbours.
const COARSE: f64 = 1.5;

/// What heals and exceeds its bound by less than this factor was noise: a wrong dump is wrong altogether.
const BARELY: f64 = 2.0;

/// What the walk found, one entry per tensor.
#[derive(Clone, Debug, Default)]
pub struct Localisation {
    pub diverged: Vec<bool>,
    /// The bound that each error was held against.
    pub bound: Vec<f64>,
    /// Diverged, while everything that was computed from it agrees (or heals itself).
    pub healed: Vec<bool>,
    /// Diverged, while all its parents agree or are healed.
    pub origin: Vec<bool>,
}

/// Walks the pipeline. `noise[i]` is the relative error of one stage that this pair of dumps is known to have there beyond the
/// types' own; `excused[i]` holds when a layout relation explains tensor i exactly.
pub fn localise(
    findings: &[Option<Finding>],
    graph: &Graph,
    noise: &[f64],
    excused: &[bool],
) -> Localisation {
    let n = findings.len();
    let mut out = Localisation {
        diverged: vec![false; n],
        bound: vec![0.0; n],
        healed: vec![false; n],
        origin: vec![false; n],
    };
    // the error that each tensor hands on; one that is excused hands on what entered it
    let mut carried = vec![0.0f64; n];
    for (i, finding) in findings.iter().enumerate() {
        let noise = noise[i];
        let agreeing = graph.parents[i].iter().filter(|&&p| !out.diverged[p]);
        let entered = agreeing.map(|&p| carried[p]).fold(0.0, f64::max) * graph.gain[i];
        match finding {
            None => {}
            Some(Finding::Settled { diverged, .. }) => {
                out.diverged[i] = *diverged && !excused[i];
                // an infinity on one side settles it; what is finite beside it has the noise that entered
                out.bound[i] = GROWTH * noise.max(entered);
            }
            Some(Finding::Error {
                error, floor, bias, ..
            }) => {
                let single = floor.max(noise);
                let rotates = graph.rotates.get(i).copied().unwrap_or(false);
                let growth = if rotates { ROTATED } else { GROWTH };
                // what lies between a tensor and the start of the model has rounded as well
                let above = if graph.open[i] { 2.0 * single } else { 0.0 };
                let grown = (growth * entered).min(TOTAL_GROWTH * single).max(above);
                out.bound[i] = floor.max(growth * noise).max(grown);
                if noise > *floor {
                    let usual = COARSE * noise.max(entered);
                    let factor = *bias > BIASED && graph.gain[i] == 1.0;
                    let most = if factor { usual } else { usual.max(LARGEST) };
                    out.bound[i] = out.bound[i].min(most).max(*floor);
                }
                out.diverged[i] = *error > out.bound[i] && !excused[i];
            }
        }
        carried[i] = match finding {
            Some(f) if !excused[i] && f.error().is_finite() => f.error(),
            _ => entered,
        };
    }
    let mut children = graph.children();
    // a tensor that cannot be read agrees with nothing
    children
        .iter_mut()
        .for_each(|c| c.retain(|&c| findings[c].is_some()));
    for i in (0..n).rev() {
        let little = match &findings[i] {
            Some(Finding::Error {
                error, floor, bias, ..
            }) => {
                let noise_like = noise[i] <= *floor || *bias <= BIASED;
                *error < BARELY * out.bound[i] && noise_like
            }
            _ => false,
        };
        let agrees_after = !children[i].is_empty() && children[i].iter().all(|&c| !out.diverged[c]);
        if out.diverged[i] && little && agrees_after {
            out.diverged[i] = false;
            out.bound[i] *= BARELY;
        }
        let computed = || children[i].iter().filter(|&&c| !graph.assumed[c]);
        out.healed[i] = out.diverged[i]
            && computed().next().is_some()
            && computed().all(|&c| !out.diverged[c] || out.healed[c]);
    }
    for i in 0..n {
        out.origin[i] = out.diverged[i]
            && graph.parents[i]
                .iter()
                .all(|&p| !out.diverged[p] || out.healed[p]);
    }
    out
}

impl Localisation {
    /// What diverges and is no origin: it may only have inherited its error.
    pub fn behind(&self) -> impl Iterator<Item = usize> {
        (0..self.diverged.len()).filter(|&i| self.diverged[i] && !self.origin[i])
    }

    /// The first propagating origin, else the first origin.
    pub fn first(&self) -> Option<usize> {
        let origins = || {
            self.origin
                .iter()
                .enumerate()
                .filter(|(_, o)| **o)
                .map(|(i, _)| i)
        };
        origins()
            .find(|&i| !self.healed[i])
            .or_else(|| origins().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(error: f64) -> Option<Finding> {
        Some(Finding::Error {
            error,
            floor: 2e-6,
            bias: 0.0,
            of: String::new(),
        })
    }

    fn chain(n: usize) -> Graph {
        Graph {
            parents: (0..n)
                .map(|i| if i == 0 { vec![] } else { vec![i - 1] })
                .collect(),
            skipped: vec![vec![]; n],
            gain: vec![1.0; n],
            rotates: vec![false; n],
            assumed: vec![false; n],
            open: vec![false; n],
        }
    }

    #[test]
    fn a_jump_is_an_origin_and_slow_growth_is_not() {
        let slow = [0.0, 1e-7, 1.5e-6, 4e-6, 8e-6].map(error);
        assert_eq!(
            localise(&slow, &chain(5), &[0.0; 5], &[false; 5]).first(),
            None
        );
        let jump = [0.0, 1e-7, 1.4e-4, 3e-4, 9e-4].map(error);
        let found = localise(&jump, &chain(5), &[0.0; 5], &[false; 5]);
        assert_eq!(found.first(), Some(2));
        assert_eq!(found.origin, [false, false, true, false, false]);
    }

    #[test]
    fn a_factor_among_coarse_noise_is_a_fault() {
        let mut findings = [0.0, 0.1, 0.12, 0.33, 0.3].map(error);
        let at = |findings: &[Option<Finding>]| {
            localise(findings, &chain(5), &[0.1; 5], &[false; 5]).first()
        };
        assert_eq!(at(&findings), None);
        if let Some(Finding::Error { bias, .. }) = &mut findings[3] {
            *bias = 0.93;
        }
        assert_eq!(at(&findings), Some(3));
        let unrelated = [0.0, 0.2, 0.2, 0.9, 0.9].map(error);
        assert_eq!(at(&unrelated), Some(3));
    }

    #[test]
    fn what_heals_is_not_the_first_divergence() {
        let findings = [0.0, 0.7, 1e-7, 0.2, 0.3].map(error);
        let found = localise(&findings, &chain(5), &[0.0; 5], &[false; 5]);
        assert!(found.healed[1] && !found.healed[3]);
        assert_eq!(found.first(), Some(3));
    }

    #[test]
    fn a_tensor_that_merely_follows_heals_nothing() {
        let findings = [0.0, 0.7, 1e-7, 1e-7].map(error);
        let mut graph = chain(4);
        graph.assumed[2] = true;
        let found = localise(&findings, &graph, &[0.0; 4], &[false; 4]);
        assert_eq!((found.first(), found.healed[1]), (Some(1), false));
    }

    #[test]
    fn what_cannot_be_read_does_not_heal() {
        let mut findings = [0.0, 0.7, 0.5, 0.2].map(error).to_vec();
        findings.push(None);
        let found = localise(&findings, &chain(5), &[0.0; 5], &[false; 5]);
        assert_eq!(found.healed, [false; 5]);
        assert_eq!(found.origin, [false, true, false, false, false]);
    }

    #[test]
    fn known_noise_of_the_pair_is_no_divergence() {
        let findings = [0.0, 1e-7, 4e-4, 6e-4, 1e-3].map(error);
        assert_eq!(
            localise(&findings, &chain(5), &[0.0; 5], &[false; 5]).first(),
            Some(2)
        );
        assert_eq!(
            localise(&findings, &chain(5), &[4e-4; 5], &[false; 5]).first(),
            None
        );
    }
}
