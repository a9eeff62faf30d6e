//! Names propose, values decide: what names left open, or paired against the evidence of the values, is paired by what the
//! tensors hold.
//!
//! ```text
//! pairs by name ─doubt─▶ those that a glance at the values does not confirm, and what is left over
//!               ─prove─▶ far nearer to each other than to anything else, whatever the layout
//!               ─assign─▶ the rest by template: values, words and places of all layers together
//! ```

mod assign;
mod pattern;
mod proof;
mod signature;

use crate::dump::Tensor;
use crate::name::{Entry, How, Key, Note, Paired, Pairing, Stage, untagged};
use crate::threads;
use pattern::pattern_of;
use signature::{Glance, Signature};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use assign::Likely;
pub use pattern::HOLE;

/// Fewer tensors than this are not worth a second thread.
const FEW: usize = 16;
/// Values that differ by less belong to the same tensor.
const NEAR: f64 = 0.02;

/// One side: its entries, and the tensors of the first of them.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub entries: &'a [Entry<'a>],
    pub tensors: &'a [Arc<Tensor>],
}

/// A tensor in question.
struct Item<'a> {
    entry: usize,
    key: &'a Key,
    tensor: &'a Arc<Tensor>,
    /// The name without its numbers, and these.
    pattern: String,
    numbers: Vec<i64>,
    signature: Option<Signature>,
}

impl Item<'_> {
    /// Tensors of another size, or integers beside floats, are not the same.
    fn class(&self) -> (usize, bool) {
        let info = &self.tensor.info;
        (info.len(), info.dtype().is_exact())
    }
}

/// Pairs what the names left, and takes pairs apart that the values contradict. What was only guessed, or is not clear enough for
/// that, comes back.
pub fn settle(sides: [Names<'_>; 2], pairing: &mut Pairing) -> Vec<Likely> {
    let doubt = Doubt::new(sides, pairing);
    if doubt.open.iter().any(BTreeSet::is_empty) {
        return Vec::new();
    }
    let keys = std::mem::take(&mut pairing.keys);
    let tags = [&pairing.reference_tag, &pairing.candidate_tag];
    let items = [0, 1].map(|side| {
        let open: Vec<usize> = doubt.open[side].iter().copied().collect();
        threads::map(&open, FEW, |&entry| {
            let key = &keys[side][entry];
            let name = untagged(sides[side].entries[entry].name, tags[side].as_deref());
            let (pattern, numbers) = pattern_of(&name, key);
            let tensor = &sides[side].tensors[entry];
            Item {
                entry,
                key,
                tensor,
                pattern,
                numbers,
                signature: Signature::of(tensor),
            }
        })
    });
    let rare = [0, 1].map(|side| rare(sides[side].tensors, &keys[side]));
    let (found, likely) = assign::all(&items, &doubt, &rare);
    pairing.notes.extend(notes(sides, &found, &doubt));
    apply(pairing, &found, &doubt, &keys);
    pairing.keys = keys;
    likely
}

/// Tensors of a side that are the only ones of their size in their layer.
fn rare(tensors: &[Arc<Tensor>], keys: &[Key]) -> BTreeSet<usize> {
    let mut sizes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (entry, (tensor, key)) in tensors.iter().zip(keys).enumerate() {
        let size = (tensor.info.len(), key.layer, key.step, key.rank);
        sizes.entry(size).or_default().push(entry);
    }
    let alone = sizes.into_values().filter(|all| all.len() == 1);
    alone.flatten().collect()
}

/// What was paired against the names, or without them.
fn notes(sides: [Names<'_>; 2], found: &[assign::Met], doubt: &Doubt) -> Vec<Note> {
    let kinds = [
        (How::Content, "paired_by_values", "paired by their values"),
        (
            How::Guess,
            "paired_by_guess",
            "paired by a guess, as nothing fits better: --map decides",
        ),
    ];
    let note = |(how, id, what): (How, &'static str, &str)| {
        let met: Vec<[&str; 2]> = found
            .iter()
            .filter(|m| m.how == how && !doubt.named.contains_key(&(m.entries[0], m.entries[1])))
            .map(|m| [0, 1].map(|side| sides[side].entries[m.entries[side]].name))
            .collect();
        let [r, c] = met.first()?;
        let more = match met.len() {
            1 => String::new(),
            n => format!(" (and {} more like it)", n - 1),
        };
        Some(Note {
            id,
            message: format!("{r} and {c} were {what}{more}"),
            names: met.iter().flatten().map(|n| n.to_string()).collect(),
        })
    };
    kinds.into_iter().filter_map(note).collect()
}

/// Puts what was found in the place of what was in doubt.
fn apply(pairing: &mut Pairing, found: &[assign::Met], doubt: &Doubt, keys: &[Vec<Key>; 2]) {
    pairing
        .pairs
        .retain(|p| !doubt.named.contains_key(&(p.reference, p.candidate)));
    let mut open = doubt.open.clone();
    let mut kept: BTreeSet<Key> = pairing.pairs.iter().map(|p| p.key.clone()).collect();
    for met in found {
        let [reference, candidate] = met.entries;
        open[0].remove(&reference);
        open[1].remove(&candidate);
        let [r, c] = [&keys[0][reference], &keys[1][candidate]];
        let known = c.stage.is_some() && r.stage.is_none();
        let key = if known && !kept.contains(c) { c } else { r }.clone();
        kept.insert(key.clone());
        pairing.pairs.push(Paired {
            reference,
            candidate,
            key,
            how: met.how,
        });
    }
    pairing.pairs.sort_by_key(|p| (p.reference, p.candidate));
    let unread = |alone: &[(usize, Key)], side: usize| -> Vec<(usize, Key)> {
        let lost = alone.iter().filter(|a| !doubt.open[side].contains(&a.0));
        lost.cloned().collect()
    };
    let [r, c] = [
        unread(&pairing.only_reference, 0),
        unread(&pairing.only_candidate, 1),
    ];
    let left = |side: usize| open[side].iter().map(move |&e| (e, keys[side][e].clone()));
    pairing.only_reference = left(0).chain(r).collect();
    pairing.only_reference.sort_by_key(|o| o.0);
    // a name that was taken for another node is none of that node
    let strip = |(e, key): (usize, Key)| match kept.contains(&key) {
        true => (
            e,
            Key {
                stage: None,
                rest: format!("{} (unpaired)", key),
                layer: None,
                step: None,
                rank: None,
            },
        ),
        false => (e, key),
    };
    pairing.only_candidate = left(1).map(strip).chain(c).collect();
    pairing.only_candidate.sort_by_key(|o| o.0);
}

/// What the names leave open, and what a glance at the values does not confirm of their pairs.
struct Doubt {
    /// Entries of both sides.
    open: [BTreeSet<usize>; 2],
    /// The pairs among them.
    named: BTreeMap<(usize, usize), How>,
    /// Tensors of sure pairs, by the values at a glance.
    sure: [HashMap<Vec<u64>, Sure>; 2],
}

/// A pair that names and values agree on.
#[derive(Clone, Copy)]
struct Sure {
    pair: usize,
    layer: Option<u32>,
    stage: Option<Stage>,
}

impl Doubt {
    fn new(sides: [Names<'_>; 2], pairing: &Pairing) -> Doubt {
        let readable = |side: usize, entry: usize| sides[side].tensors.get(entry);
        let glances = threads::map(&pairing.pairs, FEW, |p| {
            let (r, c) = (readable(0, p.reference)?, readable(1, p.candidate)?);
            let sized = r.info.len() == c.info.len();
            let certain = p.how == How::Only || sized && p.how == How::Name;
            Some((certain, sized.then(|| (Glance::of(r), Glance::of(c)))))
        });
        let alone = |alone: &[(usize, Key)], side: usize| -> BTreeSet<usize> {
            let entries = alone.iter().map(|a| a.0);
            entries.filter(|&e| readable(side, e).is_some()).collect()
        };
        let mut doubt = Doubt {
            open: [
                alone(&pairing.only_reference, 0),
                alone(&pairing.only_candidate, 1),
            ],
            named: BTreeMap::new(),
            sure: [HashMap::new(), HashMap::new()],
        };
        for (at, (pair, glance)) in pairing.pairs.iter().zip(glances).enumerate() {
            let Some((certain, glances)) = glance else {
                continue;
            };
            let near = |(r, c): &(Option<Glance>, Option<Glance>)| match (r, c) {
                (Some(r), Some(c)) => r.offset(c) < NEAR,
                // what cannot be looked at is left as it is
                _ => true,
            };
            if certain || glances.as_ref().is_some_and(near) {
                let Key { layer, stage, .. } = pair.key;
                let sure = Sure {
                    pair: at,
                    layer,
                    stage,
                };
                if let Some((r, c)) = glances {
                    for (side, glance) in [r, c].into_iter().enumerate() {
                        doubt.sure[side].extend(glance.map(|g| (g.bits(), sure)));
                    }
                }
            } else {
                doubt
                    .named
                    .insert((pair.reference, pair.candidate), pair.how);
                doubt.open[0].insert(pair.reference);
                doubt.open[1].insert(pair.candidate);
            }
        }
        doubt
    }
}

#[cfg(test)]
mod tests;
