//! Several tensors of one side that are one tensor of the other: the shards of ranks, partial sums, replicas, decode steps
//! against one pass, and projections against the one that they are fused to.
//!
//! Names propose: tensors of one key but for the rank, or but for the step, belong together. Shapes say what they could be
//! together, and where several ways fit, the values decide, for all layers at once: a fault in one layer, or in one part, changes
//! nothing about how the others lie.
//!
//! Ranks are *joined*: a tensor that reads its parts one after the other takes their place, so the model is one again and every law
//! holds. A pass and a fused projection are *cut* instead: each step and each part meets its own stretch and keeps its own
//! place, because what a step computes comes after all that the step before it computed, and the laws are those of the parts.

mod fused;
mod parts;
mod ranks;
mod rows;
mod steps;
mod ways;

pub use ranks::blame;

use crate::align;
use crate::dump::Tensor;
use crate::name::{How, Key};
use crate::note::Note;
use crate::pairs::Made;
use crate::sides::{Sides, Slot};
use parts::distance;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Puts together what belongs together; `keys` are what each side's own names say. Slots that do not take part stay as they are.
pub fn join(sides: &Sides, mut slots: Vec<Slot>, keys: &[Vec<Key>; 2]) -> (Vec<Slot>, Vec<Note>) {
    rename(&mut slots, keys);
    let (slots, mut notes) = ranks::join(sides, slots);
    let (slots, more) = steps::cut(sides, slots);
    notes.extend(more);
    let (slots, more) = fused::split(sides, slots);
    notes.extend(more);
    (slots, notes)
}

/// What stands alone in a step or on a rank is called as its like is that has a partner: `embd` met `embed_tokens` in one step, so
/// it is the token embedding in all.
fn rename(slots: &mut [Slot], keys: &[Vec<Key>; 2]) {
    let like = |key: &Key| Key {
        step: None,
        rank: None,
        ..key.clone()
    };
    let many = |k: &Key| k.step.is_some() || k.rank.is_some();
    for (side, keys) in keys.iter().enumerate() {
        if !keys.iter().any(many) {
            continue;
        }
        let mut called: HashMap<Key, Key> = HashMap::new();
        for slot in slots.iter().filter(|s| s.entries()[1 - side].is_some()) {
            let own = slot.entries()[side].and_then(|i| keys.get(i));
            if let Some(own) = own.map(like).filter(|own| *own != like(&slot.key)) {
                called.entry(own).or_insert_with(|| like(&slot.key));
            }
        }
        for slot in slots.iter_mut().filter(|s| s.entries()[1 - side].is_none()) {
            if let Some(name) = called.get(&like(&slot.key)) {
                let Key { step, rank, .. } = slot.key;
                slot.key = Key {
                    step,
                    rank,
                    ..name.clone()
                };
            }
        }
    }
}

/// The relative error between two tensors, in their common layout.
fn apart(key: &Key, r: &Arc<Tensor>, c: &Arc<Tensor>) -> Option<f64> {
    let [r, c] = align::together(key, r, c)?;
    distance(&r, &c).ok()
}

/// A tensor of a side within its group.
#[derive(Clone, Debug)]
struct Member {
    /// Its entry, and its rank or step.
    entry: usize,
    at: Option<u32>,
    tensor: Made,
    /// Axes of length 1 to think before its own.
    lead: usize,
}

/// What has one key but for a coordinate.
#[derive(Debug)]
struct Group {
    key: Key,
    /// Of the reference and of the candidate, by their coordinate.
    members: [Vec<Member>; 2],
    /// The slots that they stand in.
    slots: Vec<usize>,
}

impl Group {
    /// Groups the slots by their key without the coordinate, which `split` takes out of it. What holds a tensor that cannot be
    /// read is no group.
    fn all(
        sides: &Sides,
        slots: &[Slot],
        split: impl Fn(&Key) -> (Key, Option<u32>),
    ) -> Vec<Group> {
        let mut groups: BTreeMap<Key, Option<Group>> = BTreeMap::new();
        for (i, slot) in slots.iter().enumerate() {
            let (key, at) = split(&slot.key);
            let group = groups.entry(key.clone()).or_insert_with(|| {
                Some(Group {
                    key,
                    members: [Vec::new(), Vec::new()],
                    slots: Vec::new(),
                })
            });
            let Some(open) = group else { continue };
            open.slots.push(i);
            for side in 0..2 {
                let Some(entry) = slot.entries()[side] else {
                    continue;
                };
                let Some(tensor) = sides.tensor(slot, side) else {
                    *group = None;
                    break;
                };
                let of = &mut open.members[side];
                if of.iter().all(|m| m.entry != entry) {
                    let lead = 0;
                    of.push(Member {
                        entry,
                        at,
                        tensor,
                        lead,
                    });
                }
            }
        }
        let mut groups: Vec<Group> = groups.into_values().flatten().collect();
        for group in &mut groups {
            group
                .members
                .iter_mut()
                .for_each(|m| m.sort_by_key(|m| m.at));
        }
        groups
    }

    /// A slot of this group with its key at a coordinate.
    fn slot(&self, key: Key, pair: [Option<&Member>; 2], made: [Option<Made>; 2]) -> Slot {
        Slot {
            key,
            how: Some(How::Stage),
            reference: pair[0].map(|m| m.entry),
            candidate: pair[1].map(|m| m.entry),
            made,
        }
    }
}

/// The slots without those of `taken`, and with `more`.
fn replace(slots: Vec<Slot>, taken: &[usize], more: Vec<Slot>) -> Vec<Slot> {
    let mut keep = vec![true; slots.len()];
    taken.iter().for_each(|&i| keep[i] = false);
    let mut keep = keep.into_iter();
    let mut out: Vec<Slot> = slots;
    out.retain(|_| keep.next().unwrap_or(true));
    out.extend(more);
    out
}

/// `1 tensor`, `3 tensors`.
fn tensors(n: usize) -> String {
    crate::text::count(n, "tensor")
}
