//! The data flow between the tensors of both dumps.

use crate::compare::PairStats;
use crate::name::{Flow, Key, Stage};
use crate::pairs::{Outcome, Pair};
use std::collections::{BTreeMap, HashMap};

/// The data flow over the compared tensors, in pipeline order: parents have smaller indices.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Nearest ancestors that were dumped on both sides.
    pub parents: Vec<Vec<usize>>,
    /// Keys of the stages between a tensor and its parents that were not dumped.
    pub skipped: Vec<Vec<String>>,
    /// How much a relative error of the parents is amplified by the operation (1 for most): a softmax turns an absolute error
    /// of the scores into a relative one.
    pub gain: Vec<f64>,
    /// A rotation: it keeps every norm, so the error that leaves is the one that entered, and its own rounding.
    pub rotates: Vec<bool>,
    /// The parents only stand before it: nothing is known of what it was computed from.
    pub assumed: Vec<bool>,
    /// Operations lie before it, and nothing above it was dumped.
    pub open: Vec<bool>,
}

impl Graph {
    /// The data flow between the pairs, which are in pipeline order: parents come first.
    pub fn of(pairs: &[Pair]) -> Graph {
        let have = |p: &Pair| {
            !matches!(
                p.outcome,
                Outcome::MissingInCandidate | Outcome::MissingInReference | Outcome::Unreadable(_)
            )
        };
        let index: HashMap<&Key, usize> = pairs
            .iter()
            .enumerate()
            .filter(|(_, p)| have(p))
            .map(|(i, p)| (&p.key, i))
            .collect();
        let flow = Flow::new(index.keys().copied());
        let mut graph = Graph::default();
        // the last tensor of every tower so far
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, pair) in pairs.iter().enumerate() {
            let known = pair.key.is_canonical();
            let (mut parents, mut skipped, mut open) = (Vec::new(), Vec::new(), false);
            if known {
                let above = flow.above(&pair.key);
                let earlier = above.ancestors.iter().filter_map(|k| index.get(k).copied());
                parents.extend(earlier.filter(|&p| p < i));
                skipped.extend(above.not_dumped.iter().map(Key::to_string));
                open = above.open;
            }
            // nothing is known of its inputs: what came before it stands for them
            let tower = pair.key.tower();
            let assumed = !known || parents.is_empty() && !tower.is_empty();
            if assumed && !pair.key.is_parameter() {
                let others = last.iter().filter(|(t, _)| **t != tower);
                let other = others.map(|(_, p)| *p).max();
                let own = last.get(tower).copied();
                parents.extend(own.or(other));
                // the model may read what leaves the tower before it
                parents.extend(other.filter(|_| tower.is_empty()));
            }
            if have(pair) && !pair.key.is_parameter() {
                last.insert(tower, i);
            }
            parents.sort_unstable();
            parents.dedup();
            graph.assumed.push(assumed);
            graph.open.push(open);
            graph.gain.push(gain(pair, &parents, pairs));
            let raw = [Stage::Q_PROJ, Stage::K_PROJ, Stage::Q_NORM, Stage::K_NORM];
            let from_raw = |&p: &usize| pairs[p].key.stage.is_some_and(|s| raw.contains(&s));
            let rotates = matches!(pair.key.stage, Some(Stage::Q_ROPE | Stage::K_ROPE));
            graph
                .rotates
                .push(rotates && !parents.is_empty() && parents.iter().all(from_raw));
            graph.parents.push(parents);
            graph.skipped.push(skipped);
        }
        graph
    }

    /// What was computed from each tensor.
    pub fn children(&self) -> Vec<Vec<usize>> {
        let mut out = vec![Vec::new(); self.parents.len()];
        for (child, parents) in self.parents.iter().enumerate() {
            for &p in parents {
                out[p].push(child);
            }
        }
        out
    }
}

/// A softmax turns an absolute error of the scores into a relative error of the weights: it amplifies by the size of the scores.
fn gain(pair: &Pair, parents: &[usize], pairs: &[Pair]) -> f64 {
    // what unknown scores are taken to be, and the most that is believed
    const USUAL: f64 = 4.0;
    const LARGEST: f64 = 32.0;
    if pair.key.stage != Some(Stage::ATTN_WEIGHTS) {
        return 1.0;
    }
    let scores = parents.iter().filter(|&&p| {
        matches!(
            pairs[p].key.stage,
            Some(Stage::ATTN_SCORES | Stage::ATTN_QK)
        )
    });
    let rms = |s: &PairStats| s.diff.reference_l2 / (s.diff.count.max(1) as f64).sqrt();
    let size = scores
        .filter_map(|&p| pairs[p].stats())
        .map(rms)
        .fold(0.0, f64::max);
    if size > 0.0 {
        size.clamp(1.0, LARGEST)
    } else {
        USUAL
    }
}
