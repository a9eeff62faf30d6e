//! One fused projection against its parts: queries, keys and values in one product, gate and up in one.
//!
//! The fused tensor is cut and each part meets its own stretch under its own name, so that every law of the parts holds for it. The
//! widths come from the parts. Which channels are whose, the values say: one part after the other, or in turn for every group of
//! heads (as GPT-NeoX, BLOOM, Falcon and Megatron store them), up to single channels in turn.

use super::parts::crop;
use super::{apart, replace, tensors};
use crate::dump::{Tensor, TensorInfo};
use crate::name::Key;
use crate::note::Note;
use crate::pairs::Made;
use crate::sides::{Sides, Slot};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// So many layers are asked how their channels lie.
const ASKED: usize = 3;
/// Another way than one part after the other leaves less than this part of its error.
const CLEARLY: f64 = 0.75;

/// Words that may as well mean another point of the model (a cache holds rotated keys): the values must confirm them.
const UNSURE: [&str; 4] = ["kv", "qk", "qkv", "w13"];
/// They do not when the parts are farther apart, on average, in every layer.
const FAR: f64 = 0.3;

/// What fused tensors are called, and their parts in order.
const FUSED: &[(&[&str], &[&str])] = &[
    (&["qkv_proj", "qkv"], &["q_proj", "k_proj", "v_proj"]),
    (&["kv_proj", "kv"], &["k_proj", "v_proj"]),
    (&["qk_proj", "qk"], &["q_proj", "k_proj"]),
    (
        &["gate_up_proj", "gate_up", "w13"],
        &["gate_proj", "up_proj"],
    ),
    (&["up_gate_proj", "up_gate"], &["up_proj", "gate_proj"]),
];

/// The node that a key names and the place of it; of a parameter with its kind.
pub(super) type Node = (Key, String, String);

pub(super) fn node(key: &Key) -> Node {
    let mut rest = key.rest.as_str();
    let mut kind = "";
    if key.is_parameter() {
        (rest, kind) = rest.rsplit_once('.').unwrap_or((rest, ""));
    }
    let last = rest.rsplit(['.', ' ', '_', '/']).next().unwrap_or(rest);
    let word = match key.stage {
        Some(stage) => stage.to_string(),
        // `mlp.gate_up_proj`: the last word of the path
        None => rest
            .rsplit(['.', ' ', '/'])
            .next()
            .unwrap_or(last)
            .to_owned(),
    };
    let place = Key {
        stage: None,
        rest: key.tower().to_owned(),
        ..key.clone()
    };
    (place, word, kind.to_owned())
}

/// The parts of what a node fuses, in order; `None` where it fuses nothing.
pub(super) fn parts((place, word, kind): &Node) -> Option<Vec<Node>> {
    let known = FUSED
        .iter()
        .find(|(names, _)| names.contains(&word.as_str()))?;
    let part = |name: &&str| (place.clone(), (*name).to_owned(), kind.clone());
    Some(known.1.iter().map(part).collect())
}

/// A fused tensor and its parts, as slots.
struct Group {
    fused: usize,
    parts: Vec<usize>,
    /// The side of the fused one.
    side: usize,
}

/// Cuts every fused tensor whose parts the other side alone has.
pub(super) fn split(sides: &Sides, slots: Vec<Slot>) -> (Vec<Slot>, Vec<Note>) {
    let mut alone: [HashMap<Node, usize>; 2] = Default::default();
    for (i, slot) in slots.iter().enumerate() {
        for (side, alone) in alone.iter_mut().enumerate() {
            if slot.entries()[1 - side].is_none() && sides.tensor(slot, side).is_some() {
                alone.entry(node(&slot.key)).or_insert(i);
            }
        }
    }
    let mut kinds: BTreeMap<_, Vec<Group>> = BTreeMap::new();
    for side in 0..2 {
        let mut fused: Vec<_> = alone[side].iter().collect();
        fused.sort_by_key(|(_, i)| **i);
        for (node, &fused) in fused {
            let there = |node: &Node| alone[1 - side].get(node).copied();
            let Some(parts) = parts(node).and_then(|p| p.iter().map(there).collect()) else {
                continue;
            };
            let group = Group { fused, parts, side };
            let shapes = shapes(sides, &slots, &group);
            kinds
                .entry((side, node.1.clone(), node.2.clone(), shapes))
                .or_default()
                .push(group);
        }
    }
    let (mut taken, mut more, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for groups in kinds.values() {
        let Some(turns) = decide(sides, &slots, groups) else {
            continue;
        };
        for group in groups {
            let Some(new) = cut(sides, &slots, group, turns) else {
                continue;
            };
            taken.push(group.fused);
            taken.extend(&group.parts);
            more.extend(new);
            keys.push(slots[group.fused].key.to_string());
        }
    }
    let mut notes = Vec::new();
    if !keys.is_empty() {
        let message = format!(
            "one side holds {} that the other holds in parts: each part was compared with its channels",
            tensors(keys.len())
        );
        notes.push(Note::new("fused_split", message).about(keys));
    }
    (replace(slots, &taken, more), notes)
}

fn tensor(sides: &Sides, slots: &[Slot], i: usize, side: usize) -> Option<Arc<Tensor>> {
    sides.tensor(&slots[i], side).map(|m| m.tensor)
}

fn shapes(sides: &Sides, slots: &[Slot], group: &Group) -> Vec<Vec<usize>> {
    let fused = tensor(sides, slots, group.fused, group.side);
    let parts = group.parts.iter();
    let parts = parts.map(|&i| tensor(sides, slots, i, 1 - group.side));
    let all = std::iter::once(fused).chain(parts).flatten();
    all.map(|t| t.info.shape().to_vec()).collect()
}

/// The axis of the fused tensor along which its parts lie, and their widths there.
fn widths(shapes: &[Vec<usize>]) -> Option<(usize, Vec<usize>)> {
    let (fused, parts) = shapes.split_first()?;
    let long = |s: &[usize]| s.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    // the axes before and behind are alike; a part may have its heads apart
    let width = |axis: usize, part: &Vec<usize>| {
        let (before, behind, part) = (long(&fused[..axis]), long(&fused[axis + 1..]), long(part));
        let inside = part.strip_prefix(&before[..])?.strip_suffix(&behind[..])?;
        Some(inside.iter().product::<usize>())
    };
    let all = |axis: usize| {
        let widths: Option<Vec<usize>> = parts.iter().map(|p| width(axis, p)).collect();
        let widths = widths.filter(|w| w.iter().sum::<usize>() == fused[axis])?;
        Some((axis, widths))
    };
    // channels run along the last axis of what is computed, along the first of a weight
    (0..fused.len()).rev().find_map(all)
}

/// In how many turns the parts lie.
fn decide(sides: &Sides, slots: &[Slot], groups: &[Group]) -> Option<usize> {
    let (_, widths) = widths(&shapes(sides, slots, groups.first()?))?;
    let common = widths.iter().fold(0, |a, &b| gcd(a, b));
    let turns: Vec<usize> = (1..=common).filter(|n| common.is_multiple_of(*n)).collect();
    let mut errors = vec![f64::INFINITY; turns.len()];
    for group in groups.iter().take(ASKED) {
        for (error, &turns) in errors.iter_mut().zip(&turns) {
            let new = cut(sides, slots, group, turns);
            let apart = new.and_then(|new| {
                let apart = |slot: &Slot| {
                    let [r, c] = [0, 1].map(|side| sides.tensor(slot, side));
                    apart(&slot.key, &r?.tensor, &c?.tensor)
                };
                let sum = new.iter().map(apart).sum::<Option<f64>>()?;
                Some(sum / new.len() as f64)
            });
            *error = error.min(apart.unwrap_or(f64::INFINITY));
        }
    }
    let best = (0..turns.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b]))?;
    let (_, word, _) = node(&slots[groups[0].fused].key);
    if UNSURE.contains(&word.as_str()) && errors[best] > FAR {
        return None;
    }
    let clear = errors[best] < CLEARLY * errors[0];
    Some(turns[if clear { best } else { 0 }])
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The slots of the parts, each with its channels of the fused tensor.
fn cut(sides: &Sides, slots: &[Slot], group: &Group, turns: usize) -> Option<Vec<Slot>> {
    let (axis, widths) = widths(&shapes(sides, slots, group))?;
    let fused = tensor(sides, slots, group.fused, group.side)?;
    let all = fused.info.shape()[axis];
    let mut start = 0;
    let mut out = Vec::new();
    for (&i, &width) in group.parts.iter().zip(&widths) {
        let stretch = channels(&fused, axis, turns, start..start + width)?;
        let how = match turns {
            1 => format!("{start}–{} of {all} channels", start + width - 1),
            n => format!("{} of {} channels, {n} times", width / n, all / n),
        };
        start += width;
        let part = &slots[i];
        let mut slot = Slot {
            made: part.made.clone(),
            ..part.clone()
        };
        let entry = slots[group.fused].entries()[group.side];
        match group.side {
            0 => slot.reference = entry,
            _ => slot.candidate = entry,
        }
        slot.made[group.side] = Some(Made::new(stretch, how));
        out.push(slot);
    }
    Some(out)
}

/// The channels of one part: `of` them all, of which every turn holds its share.
fn channels(fused: &Tensor, axis: usize, turns: usize, of: Range<usize>) -> Option<Tensor> {
    let (mut shape, mut strides) = (fused.info.shape().to_vec(), fused.info.strides().to_vec());
    let (n, stride) = (shape[axis] / turns, strides[axis]);
    shape.splice(axis..=axis, [turns, n]);
    strides.splice(axis..=axis, [stride * n, stride]);
    let info = TensorInfo::strided(fused.info.dtype(), shape.clone(), strides).ok()?;
    let seen = Tensor {
        info,
        ..fused.clone()
    };
    let mut bounds: Vec<Range<usize>> = shape.iter().map(|&n| 0..n).collect();
    bounds[axis + 1] = of.start / turns..of.end / turns;
    let mut stretch = crop(&seen, &bounds)?;
    // one axis again where it is one
    if turns == 1 || of.len() == turns {
        let (mut shape, mut strides) = (
            stretch.info.shape().to_vec(),
            stretch.info.strides().to_vec(),
        );
        let gone = if turns == 1 { axis } else { axis + 1 };
        shape.remove(gone);
        strides.remove(gone);
        stretch.info = TensorInfo::strided(stretch.info.dtype(), shape, strides).ok()?;
    }
    Some(stretch)
}
