//! The order that the user gives: one stage or name per line.

use super::Slot;
use crate::graph::Key;
use std::collections::BTreeMap;

/// The user's lines that name no item.
pub fn unused<'l>(items: &[Slot<'_>], lines: &'l [String]) -> Vec<&'l str> {
    let idle = |line: &&str| !items.iter().any(|i| names(i.key, i.name, line));
    let lines = lines.iter().map(|line| line.trim());
    lines.filter(idle).collect()
}

/// Items that the user's lines name take the places of those items, in the order of the lines. Returns whether any was named.
pub(super) fn by_user(items: &[Slot<'_>], sorted: &mut [usize], lines: &[String]) -> bool {
    let lines: Vec<&str> = lines.iter().map(|l| l.trim()).collect();
    let line_of = |i: usize| {
        lines
            .iter()
            .position(|l| names(items[i].key, items[i].name, l))
    };
    let named: Vec<Option<usize>> = (0..items.len()).map(line_of).collect();
    // A line that names several layers repeats with them.
    let mut layers: BTreeMap<usize, Vec<Option<u32>>> = BTreeMap::new();
    for (i, line) in named.iter().enumerate() {
        if let Some(line) = line {
            layers.entry(*line).or_default().push(items[i].key.layer);
        }
    }
    let repeats = |line: &usize| {
        layers
            .get(line)
            .is_some_and(|l| l.iter().any(|x| *x != l[0]))
    };
    let first_repeated = layers.keys().find(|l| repeats(l)).copied();
    let last_repeated = layers.keys().rfind(|l| repeats(l)).copied();
    let position = |i: usize| {
        let line = named[i].unwrap_or(usize::MAX);
        let zone = match (first_repeated, last_repeated) {
            (Some(first), _) if line < first => 0,
            (_, Some(last)) if line > last => 2,
            _ => 1,
        };
        let layer = items[i]
            .key
            .layer
            .filter(|_| zone == 1 && first_repeated.is_some());
        (items[i].key.step, zone, layer, line, i)
    };
    let slots: Vec<usize> = (0..sorted.len())
        .filter(|&k| named[sorted[k]].is_some())
        .collect();
    let mut chosen: Vec<usize> = slots.iter().map(|&k| sorted[k]).collect();
    chosen.sort_by_key(|&i| position(i));
    for (slot, i) in slots.iter().zip(chosen) {
        sorted[*slot] = i;
    }
    !slots.is_empty()
}

/// Whether a line of the user's list names this tensor: its name, its key, or its stage without step and layer.
fn names(key: &Key, name: &str, line: &str) -> bool {
    let without_step = Key {
        step: None,
        rank: None,
        ..key.clone()
    };
    let without_layer = Key {
        layer: None,
        ..without_step.clone()
    };
    line == name
        || line == key.to_string()
        || line == without_step.to_string()
        || line == without_layer.to_string()
}
