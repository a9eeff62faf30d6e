//! Steps, ranks and dump counters of a whole side.

use super::clean::{Clean, Rank};
use super::context::Names;
use super::read::Raw;
use super::words::joined;
use std::collections::{BTreeMap, BTreeSet};

impl Names<'_> {
    /// Steps that names say, else passes through the graph when names repeat, else call counters and phases.
    pub(super) fn find_steps(&self) -> Vec<Option<u32>> {
        let said: Vec<Option<u32>> = self.raws.iter().map(|r| r.clean.step).collect();
        if said.iter().any(Option::is_some) {
            return said;
        }
        let phases: BTreeSet<(u8, u32)> = self.raws.iter().filter_map(|r| r.clean.phase).collect();
        if !phases.is_empty() {
            let at = |p| phases.iter().position(|x| *x == p).map(|i| i as u32);
            return self
                .raws
                .iter()
                .map(|r| r.clean.phase.and_then(at))
                .collect();
        }
        let calls: Vec<Option<u32>> = self.raws.iter().map(|r| r.clean.call).collect();
        if calls.iter().any(Option::is_some) {
            return calls;
        }
        self.passes()
    }

    /// A graph that ran several times writes its names again from the first one on; what another rank writes is no second run.
    fn passes(&self) -> Vec<Option<u32>> {
        let none = vec![None; self.raws.len()];
        let name = |i: usize| {
            let clean = &self.raws[i].clean;
            (&clean.words, &clean.view, clean.rank)
        };
        let Some(&first) = self.sequence.first() else {
            return none;
        };
        let mut pass = vec![None; self.raws.len()];
        let mut current = 0u32;
        let mut seen: BTreeMap<(String, Rank), BTreeSet<u32>> = BTreeMap::new();
        for (k, &i) in self.sequence.iter().enumerate() {
            if k > 0 && name(i) == name(first) {
                current += 1;
            }
            pass[i] = Some(current);
            let clean = &self.raws[i].clean;
            seen.entry((joined(&clean.words), clean.rank))
                .or_default()
                .insert(current);
        }
        let repeated = seen.values().filter(|p| p.len() > 1).count();
        if current > 0 && repeated * 2 >= seen.len() && seen.len() > 1 {
            pass
        } else {
            none
        }
    }
}

/// A number before every name counts dumps when it hardly repeats; then it is no part of the name.
pub(super) fn take_counters(cleans: &mut [Clean]) -> Vec<Option<u32>> {
    let numbers: Vec<u32> = cleans
        .iter()
        .filter_map(|c| c.counter.map(|(_, n)| n))
        .collect();
    let distinct = numbers.iter().collect::<BTreeSet<_>>().len();
    let most = numbers.len() * 5 >= cleans.len() * 4 && distinct * 10 >= numbers.len() * 7;
    cleans
        .iter_mut()
        .map(|c| {
            let (at, n) = c.counter?;
            let padded = c
                .words
                .get(at)
                .is_some_and(|w| w.text.len() >= 4 && w.text.starts_with('0'));
            if !(most || padded) || c.words.get(at).and_then(|w| w.number()) != Some(n) {
                return None;
            }
            let sep = c.words[at].sep;
            c.words.remove(at);
            if let Some(next) = c.words.get_mut(at) {
                next.sep = sep;
            }
            Some(n)
        })
        .collect()
}

/// The global rank, or the place among the distinct coordinates.
pub(super) fn ranks(raws: &[Raw]) -> Vec<Option<u32>> {
    let coordinates: BTreeSet<Rank> = raws
        .iter()
        .map(|r| r.clean.rank)
        .filter(|r| *r != Rank::default())
        .collect();
    let globals: BTreeSet<Option<u32>> = coordinates.iter().map(|r| r.global).collect();
    let by_global = globals.len() == coordinates.len() && !globals.contains(&None);
    raws.iter()
        .map(|r| {
            let rank = r.clean.rank;
            if by_global {
                rank.global
            } else {
                coordinates
                    .iter()
                    .position(|c| *c == rank)
                    .map(|i| i as u32)
            }
        })
        .collect()
}

/// Drops a step or rank that says nothing (one value on every side), and lets a side without steps stand for the first
/// step of the other.
pub(super) fn settle_steps(sides: &mut [&mut Names<'_>]) {
    let distinct = |v: &[Option<u32>]| v.iter().flatten().copied().collect::<BTreeSet<u32>>();
    let steps: Vec<BTreeSet<u32>> = sides.iter().map(|s| distinct(&s.steps)).collect();
    if steps.iter().all(|s| s.len() <= 1) {
        for side in sides.iter_mut() {
            side.steps.fill(None);
        }
    } else if let Some(first) = steps
        .iter()
        .filter(|s| s.len() > 1)
        .filter_map(|s| s.first())
        .min()
        .copied()
    {
        for (side, own) in sides.iter_mut().zip(&steps) {
            let foreign = own.first().is_some_and(|o| {
                own.len() == 1 && !steps.iter().any(|s| s.len() > 1 && s.contains(o))
            });
            for step in side.steps.iter_mut() {
                if step.is_none() && own.is_empty() || foreign {
                    *step = Some(first);
                }
            }
        }
    }
    let ranks: Vec<BTreeSet<u32>> = sides.iter().map(|s| distinct(&s.ranks)).collect();
    if ranks.iter().all(|r| r.len() <= 1) {
        for side in sides.iter_mut() {
            side.ranks.fill(None);
        }
    }
}
