//! The order in which a producer wrote its tensors: archives and logs keep it.

use super::Item;
use crate::graph::{Flow, Key, Path, Segment};
use crate::natural::natural;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// So few names stand in the order of the alphabet by chance.
const FEW: usize = 2;
/// So many nodes of a model, and half of all tensors, must be known to contradict an archive.
const QUORUM: usize = 6;
/// Less than one in so many known inputs may stand behind what is computed from it.
const WRONG: usize = 5;

/// The order of capture; `None` where a file does not keep it, where names stand in the order of the alphabet, or where what is
/// known of the model contradicts it.
pub(super) fn order(items: &[Item<'_>]) -> Option<Vec<usize>> {
    // a checkpoint keeps the order of the model's declarations
    if items.iter().filter(|i| i.key.is_parameter()).count() * 2 > items.len() {
        return None;
    }
    let mut files: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        let (file, _) = item.captured?;
        files.entry(file).or_default().push(i);
    }
    // several files of one step and rank: nothing says which was written first
    let mut whole: BTreeMap<_, usize> = BTreeMap::new();
    for (file, members) in &mut files {
        members.sort_by_key(|&i| items[i].captured);
        let sorted = |by: fn(&str, &str) -> bool| {
            members
                .windows(2)
                .all(|w| by(items[w[0]].name, items[w[1]].name))
        };
        let alphabet = sorted(|a, b| a <= b) || sorted(|a, b| natural(a, b).is_le());
        if members.len() > FEW && alphabet {
            return None;
        }
        for &i in members.iter() {
            let place = (items[i].key.step, items[i].key.rank);
            if *whole.entry(place).or_insert(*file) != *file {
                return None;
            }
        }
    }
    let mut sequence: Vec<usize> = (0..items.len()).collect();
    let position = |i: usize| items[i].captured.map(|(_, at)| at);
    sequence.sort_by_key(|&i| (items[i].key.step, position(i), items[i].key.rank));
    corrected(items, sequence)
}

/// The order with what a module returns beside its result before what is computed from it: a hook writes all outputs when the
/// module ends, the probabilities of an attention behind its projection. `None` where too much of what is known contradicts the order.
fn corrected(items: &[Item<'_>], sequence: Vec<usize>) -> Option<Vec<usize>> {
    let keys: HashMap<&Key, usize> = sequence.iter().map(|&i| (items[i].key, i)).collect();
    let canonical = keys.keys().filter(|k| k.is_canonical());
    let stages: BTreeSet<_> = canonical.clone().filter_map(|k| k.stage).collect();
    if canonical.count() * 2 < items.len() || stages.len() < QUORUM {
        return Some(sequence);
    }
    let flow = Flow::new(keys.keys().copied());
    let mut place = vec![0; items.len()];
    for (at, &i) in sequence.iter().enumerate() {
        place[i] = at;
    }
    let modules: HashSet<&[Segment]> = items
        .iter()
        .flat_map(|item| (1..item.path.len()).map(|end| &item.path[..end]))
        .collect();
    let (mut late, mut wrong, mut all) = (BTreeMap::<usize, Vec<usize>>::new(), 0, 0usize);
    for &i in &sequence {
        let ancestors = flow.ancestors(items[i].key);
        for known in ancestors.iter().filter_map(|a| keys.get(a)) {
            all += 1;
            if place[*known] > place[i] {
                wrong += 1;
                if is_output(items[*known].path, &modules) {
                    late.entry(i).or_default().push(*known);
                }
            }
        }
    }
    if wrong * WRONG > all {
        return None;
    }
    let mut done = vec![false; items.len()];
    let mut out = Vec::with_capacity(items.len());
    let mut open: Vec<(usize, bool)> = sequence.iter().rev().map(|&i| (i, false)).collect();
    while let Some((i, ready)) = open.pop() {
        if done[i] {
            continue;
        }
        match late.get(&i).filter(|_| !ready) {
            Some(inputs) => {
                open.push((i, true));
                open.extend(inputs.iter().map(|&input| (input, false)));
            }
            None => {
                done[i] = true;
                out.push(i);
            }
        }
    }
    Some(out)
}

/// `self_attn.1` where `self_attn` holds modules: one of several outputs.
fn is_output(path: &Path, modules: &HashSet<&[Segment]>) -> bool {
    let mut module = path.clone();
    let number = module.last_mut().and_then(|last| last.number.take());
    number.is_some() && modules.contains(&module[..])
}
