//! Tensors of several ranks against those of fewer: shards side by side, partial sums, replicas.

use super::parts::{alike, crop, distance};
use super::ways::{Way, made, packed_text, parts, shape_of, squeezed, ways};
use super::{Group, Member, apart, fused, replace, tensors};
use crate::dump::Tensor;
use crate::name::Key;
use crate::note::Note;
use crate::pairs::{Made, Pair, Part};
use crate::sides::{Sides, Slot};
use crate::threads;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Fewer groups than this are not worth a second thread.
const FEW: usize = 16;
/// So many groups of one kind are asked which way their parts lie.
const ASKED: usize = 3;
/// Another way than the natural one leaves less than this part of its error.
const CLEARLY: f64 = 0.75;

/// Joins the ranks of the side that has more of them.
pub(super) fn join(sides: &Sides, slots: Vec<Slot>) -> (Vec<Slot>, Vec<Note>) {
    if !slots.iter().any(|s| s.key.rank.is_some()) {
        return (slots, Vec::new());
    }
    let groups = Group::all(sides, &slots, |key| {
        let single = Key {
            rank: None,
            ..key.clone()
        };
        (single, key.rank)
    });
    let worlds = [0, 1].map(|side| world(&groups, side));
    if worlds[0].len() == worlds[1].len() {
        return (slots, Vec::new());
    }
    // what holds in one layer holds in all
    let mut kinds: BTreeMap<_, Vec<&Group>> = BTreeMap::new();
    for group in &groups {
        if group.members.iter().all(|m| !m.is_empty()) {
            kinds.entry(kind(group)).or_default().push(group);
        }
    }
    let (mut taken, mut more) = (Vec::new(), Vec::new());
    for (group, made, side) in fused_alone(&groups) {
        taken.extend(&group.slots);
        let mut pair = [None, None];
        pair[side] = group.members[side].first();
        let mut both = [None, None];
        both[side] = Some(made);
        more.push(group.slot(group.key.clone(), pair, both));
    }
    let mut told: BTreeMap<&'static str, Told> = BTreeMap::new();
    let mut refused = Vec::new();
    let kinds: Vec<Vec<&Group>> = kinds.into_values().collect();
    let ways = threads::map(&kinds, FEW, |groups| decide(groups));
    let all = kinds.iter().zip(&ways);
    let all: Vec<(&Group, &Option<[Way; 2]>)> = all
        .flat_map(|(groups, ways)| groups.iter().map(move |g| (*g, ways)))
        .collect();
    let made = threads::map(&all, FEW, |(group, ways)| match ways {
        Some(ways) => joined(group, ways),
        None => missing_ranks(group, &worlds),
    });
    for ((group, _), made) in all.iter().zip(made) {
        let Some((new, id)) = made else {
            let split = group.members.iter().any(|m| m.len() > 1);
            refused.extend(split.then(|| group.key.to_string()));
            continue;
        };
        if !id.is_empty() {
            told.entry(id).or_default().add(&new, &group.key);
        }
        taken.extend(&group.slots);
        more.extend(new);
    }
    let mut notes: Vec<Note> = told.into_iter().map(|(id, told)| told.note(id)).collect();
    if !refused.is_empty() {
        let message = format!(
            "the ranks hold parts of {} that are not what the other side holds, side by side or summed; gather them before the dump",
            tensors(refused.len())
        );
        notes.push(Note::new("ranks_sharded", message).about(refused));
    }
    (replace(slots, &taken, more), notes)
}

/// The ranks of a side; one that nobody numbered where there are none.
fn world(groups: &[Group], side: usize) -> BTreeSet<Option<u32>> {
    let members = groups.iter().flat_map(|g| &g.members[side]);
    let mut all: BTreeSet<Option<u32>> = members.map(|m| m.at).collect();
    if all.len() > 1 {
        all.remove(&None);
    }
    all
}

type Kind = (Key, [Vec<Vec<usize>>; 2]);

/// Groups of one kind lie in one way: the same node of all layers and steps, in the same shapes.
fn kind(group: &Group) -> Kind {
    let key = Key {
        layer: None,
        step: None,
        ..group.key.clone()
    };
    let shapes = |m: &Member| m.tensor.tensor.info.shape().to_vec();
    let shapes = [0, 1].map(|side| group.members[side].iter().map(shapes).collect());
    (key, shapes)
}

/// The way of each side that fits the shapes, and the values where several do. `None` where nothing fits.
fn decide(groups: &[&Group]) -> Option<[Way; 2]> {
    let sample = groups.first()?;
    let [r, c] = [0, 1].map(|side| ways(&sample.members[side], &sample.key));
    let shape = |side: usize, way: &Way| shape_of(&sample.members[side], way);
    let mut fitting = Vec::new();
    for a in &r {
        for b in &c {
            let alike = a == b
                || r.len() == 1
                || c.len() == 1
                || matches!((a, b), (Way::Same, Way::Sum) | (Way::Sum, Way::Same));
            let (x, y) = (shape(0, a), shape(1, b));
            if alike && x.iter().product::<usize>() == y.iter().product::<usize>() {
                let exact = squeezed(&x) == squeezed(&y);
                fitting.push((exact, [a.clone(), b.clone()]));
            }
        }
    }
    if fitting.iter().any(|f| f.0) {
        fitting.retain(|f| f.0);
    }
    if fitting.len() < 2 {
        return fitting.pop().map(|f| f.1);
    }
    // what is the same on all ranks, bit for bit, is no term of a sum
    let same = |side: usize| {
        let members = sample.members[side].iter();
        let tensors: Vec<&Tensor> = members.map(|m| &*m.tensor.tensor).collect();
        tensors.len() < 2 || alike(&tensors).into_iter().all(|same| same)
    };
    let replicas = fitting
        .iter()
        .position(|(_, ways)| *ways == [Way::Same, Way::Same]);
    if let Some(at) = replicas.filter(|_| same(0) && same(1)) {
        return Some(fitting.swap_remove(at).1);
    }
    let mut errors = vec![f64::INFINITY; fitting.len()];
    for group in groups.iter().take(ASKED) {
        for (error, (_, ways)) in errors.iter_mut().zip(&fitting) {
            // a fault in one layer contradicts no way: the layer where it fits best counts
            *error = error.min(error_of(group, ways).unwrap_or(f64::INFINITY));
        }
    }
    let natural = errors[0];
    let best = (0..errors.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b]))?;
    let taken = if errors[best] < CLEARLY * natural {
        best
    } else {
        0
    };
    Some(fitting.swap_remove(taken).1)
}

/// Which ranks' parts of a joined tensor differ from the other side's stretch of them, named by the first; `None` where all do, or
/// the parts do not lie alike on both sides. A part counts that holds more than a hundredth of the largest error.
pub fn blame(pair: &Pair) -> Option<(usize, Part, String)> {
    /// A part with less of the error than this share of the largest agrees.
    const LITTLE: f64 = 0.01;
    let side = (0..2).find(|&s| pair.made[s].as_ref().is_some_and(|m| !m.parts.is_empty()))?;
    let parts = &pair.made[side].as_ref()?.parts;
    let tensors = [pair.reference.as_ref()?, pair.candidate.as_ref()?];
    let (own, other) = (tensors[side], tensors[1 - side]);
    if own.info.shape() != other.info.shape() {
        return None;
    }
    let mut errors = Vec::new();
    for part in parts {
        let stretch = crop(other, &part.bounds)?;
        errors.push(distance(&stretch, &part.tensor).ok()?);
    }
    let largest = errors.iter().copied().fold(0.0, f64::max);
    let (apart, agree): (Vec<usize>, Vec<usize>) =
        (0..parts.len()).partition(|&i| errors[i] > LITTLE * largest);
    let first = *apart.first()?;
    if agree.is_empty() {
        return None;
    }
    let named = |of: &[usize]| {
        let ranks = of.iter().filter_map(|&i| parts[i].rank);
        ranks.map(|r| r.to_string()).collect::<Vec<_>>().join(", ")
    };
    let text = format!(
        "{}: the part of rank {} differs (relative error {:.2e}), that of rank {} agrees",
        pair.key,
        named(&apart),
        errors[first],
        named(&agree)
    );
    Some((side, parts[first].clone(), text))
}

/// How far both sides are apart when they are joined so; of tensors that every rank should hold, how far the ranks are on average.
fn error_of(group: &Group, ways: &[Way; 2]) -> Option<f64> {
    let all = |side: usize| match ways[side] {
        Way::Same => group.members[side]
            .iter()
            .map(|m| Some(Arc::clone(&m.tensor.tensor)))
            .collect(),
        _ => Some(vec![Arc::new(made(&group.members[side], &ways[side])?)]),
    };
    let (r, c): (Vec<_>, Vec<_>) = (all(0)?, all(1)?);
    let pairs = (0..r.len().max(c.len())).map(|i| (&r[i % r.len()], &c[i % c.len()]));
    let errors = pairs.map(|(r, c)| apart(&group.key, r, c));
    let sum = errors.sum::<Option<f64>>()?;
    Some(sum / r.len().max(c.len()) as f64)
}

/// The slots of a group that is joined, and the id of what is told of it.
fn joined(group: &Group, ways: &[Way; 2]) -> Option<(Vec<Slot>, &'static str)> {
    let key = &group.key;
    let mut id = "";
    let mut made_of = [None, None];
    // the ranks that hold something else than most
    let mut differing: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut stand = [0, 0];
    for side in 0..2 {
        let members = &group.members[side];
        if members.len() < 2 {
            continue;
        }
        if ways[side] == Way::Same {
            let other = &group.members[1 - side][0].tensor.tensor;
            (stand[side], differing[side]) = classes(members, |m| {
                let own = &m.tensor.tensor;
                let (r, c) = if side == 0 {
                    (own, other)
                } else {
                    (other, own)
                };
                apart(key, r, c).unwrap_or(f64::INFINITY)
            });
            if id.is_empty() {
                id = "ranks_replicated";
            }
            let how = match differing[side].len() {
                0 => format!("{} ranks hold the same", members.len()),
                n => format!(
                    "{} of {} ranks hold the same",
                    members.len() - n,
                    members.len()
                ),
            };
            let tensor = &members[stand[side]].tensor;
            made_of[side] = Some(Made {
                how,
                ..tensor.clone()
            });
            continue;
        }
        let tensor = made(members, &ways[side])?;
        let n = members.len();
        let rank = tensor.info.shape().len();
        let how = match &ways[side] {
            Way::Sum => format!("sum of {n} ranks"),
            Way::Along(axis) if axis + 1 == rank => format!("{n} ranks, last axis"),
            Way::Along(axis) => format!("{n} ranks, axis {axis}"),
            Way::Packed(widths) => packed_text(n, widths.len()),
            Way::Same | Way::Stacked => format!("{n} ranks, a new first axis"),
        };
        id = match &ways[side] {
            Way::Sum => "ranks_summed",
            _ => "ranks_joined",
        };
        made_of[side] = Some(Made {
            parts: parts(members, &ways[side]),
            ..Made::new(tensor, how)
        });
    }
    let [r, c] = [0, 1].map(|side| &group.members[side][stand[side]]);
    let mut slots = vec![group.slot(key.clone(), [Some(r), Some(c)], made_of.clone())];
    for side in 0..2 {
        for &i in &differing[side] {
            let other = &group.members[side][i];
            let key = Key {
                rank: other.at,
                ..key.clone()
            };
            let mut pair = [Some(r), Some(c)];
            pair[side] = Some(other);
            let mut made = made_of.clone();
            made[side] = None;
            slots.push(group.slot(key, pair, made));
        }
    }
    Some((slots, id))
}

/// The first of those that hold what most hold, and those that hold something else; of as many the nearer ones by `error`. What
/// cannot be read is compared by itself.
fn classes(members: &[Member], error: impl Fn(&Member) -> f64) -> (usize, Vec<usize>) {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    let mut open: Vec<usize> = (0..members.len()).collect();
    while !open.is_empty() {
        let tensors: Vec<&Tensor> = open.iter().map(|&i| &*members[i].tensor.tensor).collect();
        let mut same = alike(&tensors);
        same[0] = true;
        let mut same = same.into_iter();
        let (class, others) = open.into_iter().partition(|_| same.next() == Some(true));
        classes.push(class);
        open = others;
    }
    let most = classes.iter().map(Vec::len).max().unwrap_or(0);
    let largest: Vec<usize> = (0..classes.len())
        .filter(|&i| classes[i].len() == most)
        .collect();
    let error = |&i: &usize| match largest.len() {
        1 => 0.0,
        _ => error(&members[classes[i][0]]),
    };
    let nearest = largest.iter().map(|i| (error(i), *i));
    let nearest = nearest.min_by(|a, b| a.0.total_cmp(&b.0));
    let stands = nearest.map_or(0, |(_, i)| i);
    let first = classes[stands][0];
    classes.remove(stands);
    let mut apart: Vec<usize> = classes.into_iter().flatten().collect();
    apart.sort_unstable();
    (first, apart)
}

/// Shards of which some ranks are missing: each that is there meets its own stretch of the whole, and the stretches of the
/// others are missing.
fn missing_ranks(
    group: &Group,
    worlds: &[BTreeSet<Option<u32>>; 2],
) -> Option<(Vec<Slot>, &'static str)> {
    let side = usize::from(worlds[1].len() > worlds[0].len());
    let (parts, whole) = (&group.members[side], &group.members[1 - side]);
    let [whole] = &whole[..] else { return None };
    let (first, all) = (
        parts.first()?.tensor.tensor.info.shape(),
        whole.tensor.tensor.info.shape(),
    );
    let alike = parts.iter().all(|p| p.tensor.tensor.info.shape() == first);
    if first.len() != all.len() || !alike {
        return None;
    }
    let mut unlike = (0..all.len()).filter(|&a| first[a] != all[a]);
    let axis = unlike.next().filter(|_| unlike.clone().next().is_none())?;
    let n = all[axis].checked_div(first[axis])?;
    // the ranks that are known, or as many as there must have been
    let ranks: Vec<Option<u32>> = match worlds[side].len() == n {
        true => worlds[side].iter().copied().collect(),
        false => (0..n as u32).map(Some).collect(),
    };
    let known = parts.iter().all(|p| ranks.contains(&p.at));
    if first[axis] * n != all[axis] || parts.len() >= n || !known {
        return None;
    }
    let mut slots = Vec::new();
    for (i, &rank) in ranks.iter().enumerate() {
        let mut bounds: Vec<_> = all.iter().map(|&n| 0..n).collect();
        bounds[axis] = i * first[axis]..(i + 1) * first[axis];
        let tensor = crop(&whole.tensor.tensor, &bounds)?;
        let how = format!(
            "{}–{} of axis {axis}",
            bounds[axis].start,
            bounds[axis].end - 1
        );
        let part = parts.iter().find(|p| p.at == rank);
        let mut pair = [part, part];
        pair[1 - side] = Some(whole);
        let mut made = [None, None];
        made[1 - side] = Some(Made::new(tensor, how));
        let key = Key {
            rank,
            ..group.key.clone()
        };
        slots.push(group.slot(key, pair, made));
    }
    Some((slots, "ranks_missing"))
}

/// Fused projections of several ranks, joined part by part where the other side holds the parts alone.
fn fused_alone(groups: &[Group]) -> Vec<(&Group, Made, usize)> {
    let nodes: HashMap<_, &Group> = groups.iter().map(|g| (fused::node(&g.key), g)).collect();
    let joined = |group: &'_ Group| {
        let side =
            (0..2).find(|&s| group.members[s].len() > 1 && group.members[1 - s].is_empty())?;
        let members = &group.members[side];
        let width = |g: &&Group| {
            let [whole] = &g.members[1 - side][..] else {
                return None;
            };
            Some(whole.tensor.tensor.info.len())
        };
        let parts = fused::parts(&fused::node(&group.key))?;
        let sizes: Vec<usize> = parts
            .iter()
            .map(|part| nodes.get(part).and_then(width))
            .collect::<Option<_>>()?;
        let all: usize = members.iter().map(|m| m.tensor.tensor.info.len()).sum();
        let last = *members[0].tensor.tensor.info.shape().last()?;
        let rows = members[0].tensor.tensor.info.len().checked_div(last)?;
        if sizes.iter().sum::<usize>() != all {
            return None;
        }
        let n = members.len();
        let widths = sizes.iter().map(|s| s / rows.max(1) / n).collect();
        let tensor = made(members, &Way::Packed(widths))?;
        Some((Made::new(tensor, packed_text(n, sizes.len())), side))
    };
    let all = groups.iter().map(|g| (g, joined(g)));
    all.filter_map(|(g, made)| made.map(|(made, side)| (g, made, side)))
        .collect()
}

/// What a note says of the groups of one kind.
#[derive(Default)]
struct Told {
    keys: Vec<String>,
    how: BTreeSet<String>,
}

impl Told {
    fn add(&mut self, slots: &[Slot], key: &Key) {
        self.keys.push(key.to_string());
        let made = slots.iter().flat_map(|s| &s.made).flatten();
        self.how.extend(made.map(|m| m.how.clone()));
    }

    fn note(self, id: &'static str) -> Note {
        let what = match id {
            "ranks_replicated" => "each rank holds all of",
            "ranks_summed" => "the ranks hold partial sums of",
            "ranks_missing" => "some ranks lack their part of",
            _ => "the ranks hold parts of",
        };
        let how: Vec<String> = self.how.into_iter().take(4).collect();
        let message = format!("{what} {} ({})", tensors(self.keys.len()), how.join("; "));
        Note::new(id, message).about(self.keys)
    }
}
