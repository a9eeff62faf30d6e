//! The order of what both sides hold: that of the side which says more about it.

use super::{Basis, Item, Order, by_user, order};
use crate::graph::Key;
use std::collections::HashSet;

/// A place in the pipeline: which item of each side stands there.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    pub key: &'a Key,
    pub name: &'a str,
    pub items: [Option<usize>; 2],
}

/// The order of slots.
#[derive(Debug)]
pub struct Sequence {
    /// Indices of the slots, in order.
    pub slots: Vec<usize>,
    pub basis: Basis,
    /// The order of the side that decided, and its items in the order of `slots`.
    order: Order,
    items: Vec<Option<usize>>,
    steps: Vec<Option<u32>>,
}

impl Sequence {
    /// Orders what stands in `slots` by the items of the two sides, and by the user's lines.
    pub fn new(slots: &[Slot<'_>], sides: [&[Item<'_>]; 2], lines: Option<&[String]>) -> Sequence {
        let [mut first, mut second] = sides.map(order);
        let mut side = 0;
        if second.basis < first.basis {
            side = 1;
            (first, second) = (second, first);
        }
        let slot_of = |side: usize, len: usize| {
            let mut of = vec![None; len];
            for (at, slot) in slots.iter().enumerate() {
                if let Some(item) = slot.items[side] {
                    // one tensor against each rank of the other side stands in several
                    of[item].get_or_insert_with(Vec::new).push(at);
                }
            }
            of
        };
        let of_first = slot_of(side, sides[side].len());
        let of_second = slot_of(1 - side, sides[1 - side].len());
        // what only the other side has stands behind what came before it there
        let mut behind: Vec<Vec<usize>> = vec![Vec::new(); slots.len() + 1];
        let mut last = slots.len();
        for &item in &second.sequence {
            for &at in of_second[item].iter().flatten() {
                match slots[at].items[side] {
                    Some(_) => last = at,
                    None => behind[last].push(at),
                }
            }
        }
        let mut all = std::mem::take(&mut behind[slots.len()]);
        for &item in &first.sequence {
            for &at in of_first[item].iter().flatten() {
                all.push(at);
                all.append(&mut behind[at]);
            }
        }
        // a pass that is cut at the steps of the other side runs step by step
        all.sort_by_key(|&at| slots[at].key.step);
        let mut basis = first.basis;
        if lines.is_some_and(|lines| by_user(slots, &mut all, lines)) {
            basis = Basis::Given;
        }
        Sequence {
            items: all.iter().map(|&at| slots[at].items[side]).collect(),
            steps: all.iter().map(|&at| slots[at].key.step).collect(),
            slots: all,
            basis,
            order: first,
        }
    }

    /// Keeps the places for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let kept: Vec<bool> = (0..self.items.len()).map(&mut keep).collect();
        let mut at = kept.iter();
        self.items.retain(|_| at.next().is_some_and(|k| *k));
        let mut at = kept.iter();
        self.steps.retain(|_| at.next().is_some_and(|k| *k));
        let mut at = kept.iter();
        self.slots.retain(|_| at.next().is_some_and(|k| *k));
    }

    /// Of these places those that nothing known runs before; one alone where the order is known.
    pub fn earliest(&self, of: &[usize]) -> Vec<usize> {
        // one step runs after the other
        let step = of.iter().map(|&at| self.steps[at]).min();
        let same = |at: &usize| Some(self.steps[*at]) == step;
        let of: Vec<usize> = of.iter().copied().filter(same).collect();
        let first = of.iter().min().copied();
        let items: Option<HashSet<usize>> = of.iter().map(|&at| self.items[at]).collect();
        let Some(items) = items.filter(|_| self.basis != Basis::Given) else {
            return first.into_iter().collect();
        };
        let earliest: HashSet<usize> = self.order.earliest(&items).into_iter().collect();
        let mut places: Vec<usize> = of
            .iter()
            .copied()
            .filter(|&at| self.items[at].is_some_and(|i| earliest.contains(&i)))
            .collect();
        places.sort_unstable();
        // the parts of one tensor stand in their order
        let mut seen = HashSet::new();
        places.retain(|&at| seen.insert(self.items[at]));
        places
    }
}
