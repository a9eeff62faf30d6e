//! The order of the children of one module.
//!
//! Several sources may know some of them: what a producer calls the nodes of a family, and the data flow of all nodes. The
//! producer that knows most gives the line; what it does not know enters behind the nearest that another source has before it.

use crate::graph::{Containers, Segment, Siblings, Stage, Votes, graph, places, words};
use crate::natural::natural;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What the place of a child depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Child {
    pub segment: Segment,
    /// The place in the data flow of the earliest node below.
    pub rank: Option<usize>,
    pub leaf: bool,
    /// Whether lists of blocks stand below.
    pub list: bool,
}

/// Children in order. Those of one group run in this order; nothing is known between groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    pub order: Vec<usize>,
    pub groups: Vec<usize>,
}

/// The group of what is known.
pub(super) const KNOWN: usize = 0;

/// A module with its children.
pub(super) type Family = (String, Containers, Vec<Child>);

/// What the graph knows of the children of a module.
pub(super) fn known((label, what, children): &Family) -> Siblings<'static> {
    places().siblings(label, *what, children.iter().map(|c| &c.segment))
}

/// Sorts the children of a module by what is known of them; `favour` are the votes of the whole dump.
pub(super) fn sort(children: &[Child], known: &Siblings<'_>, favour: &Votes) -> Sorted {
    let known = known.ranks(favour);
    let sections = sections(children, &known.flow);
    let flow = in_flow(children, &known.flow, &sections);
    let mut lines: Vec<Vec<usize>> = known
        .producers
        .iter()
        .map(|ranks| {
            let ranks: Vec<Place> = ranks.iter().map(|r| r.map(|r| (r, 0))).collect();
            line(children, &ranks)
        })
        .collect();
    let known_there =
        |i: &usize| known.flow[*i].is_some() || children[*i].leaf && children[*i].rank.is_some();
    let own = (0..children.len()).filter(known_there).count();
    let at = match sections.iter().any(Option::is_some) {
        true => 0,
        false => lines.iter().take_while(|line| line.len() >= own).count(),
    };
    lines.insert(at, line(children, &flow));
    let mut order = merged(&lines, children);
    let mut groups = vec![KNOWN; order.len()];
    let known: HashSet<usize> = order.iter().copied().collect();
    let mut open: Vec<usize> = (0..children.len()).filter(|i| !known.contains(i)).collect();
    open.sort_by(|&a, &b| guessed(&children[a], &children[b]));
    let mut labels: BTreeMap<&str, usize> = BTreeMap::new();
    for i in open {
        // members of one list are known among themselves
        let next = labels.len() + 1;
        let group = *labels.entry(&children[i].segment.label).or_insert(next);
        let at = match guess(&children[i].segment.label) {
            Guess::Early => order
                .iter()
                .zip(&groups)
                .take_while(|(_, g)| **g != KNOWN)
                .count(),
            _ => order.len(),
        };
        order.insert(at, i);
        groups.insert(at, group);
    }
    // what goes into a module runs before what comes out of it
    let ends: Vec<Guess> = children.iter().map(|c| guess(&c.segment.label)).collect();
    let clear = ends.len() == 2 && ends.contains(&Guess::Early) && ends.contains(&Guess::Late);
    if clear || groups.iter().all(|g| *g == groups[0]) {
        groups.fill(KNOWN);
    }
    Sorted { order, groups }
}

/// A rank, and the section of a model that shares it with others.
type Place = Option<(usize, usize)>;

/// The places of children in the data flow of all nodes.
fn in_flow(
    children: &[Child],
    ranks: &[Option<(usize, bool)>],
    sections: &[Option<usize>],
) -> Vec<Place> {
    let body = graph().node(Stage::INPUT).rank;
    let head = graph().node(Stage::FINAL_NORM).rank;
    let given = graph().node(Stage::TOK_EMBED).rank;
    // a wrapper that holds the embedding as well: what stands beside it comes behind it
    let whole = |c: &Child| c.list && c.rank.is_some_and(|r| r < body);
    let wrapped = children.iter().filter(|c| c.list).count() == 1 && children.iter().any(whole);
    let place = |i: usize| -> Place {
        let child = &children[i];
        let label = &child.segment.label;
        let leading = label.is_empty() || words().is_leading(label);
        if let Some(section) = sections[i] {
            return Some((body, section));
        }
        if child.list && (leading || ranks[i].is_none()) {
            return Some((body, 0));
        }
        let found = match ranks[i] {
            // a tensor that is a node stands there, unless its container says otherwise
            Some((rank, own)) if own || child.rank.is_none() || !child.leaf => Some(rank),
            _ => child.rank,
        };
        // what the model is given comes first all the same
        let behind = wrapped && child.leaf && found.is_some_and(|r| (given..body).contains(&r));
        found.map(|rank| (if behind { head } else { rank }, 0))
    };
    (0..children.len()).map(place).collect()
}

/// The sections of a model that stand side by side, if there are several and the graph does not order them.
fn sections(children: &[Child], ranks: &[Option<(usize, bool)>]) -> Vec<Option<usize>> {
    let all: Vec<Option<usize>> = children
        .iter()
        .map(|c| places().section(&c.segment.label))
        .collect();
    let several: Vec<usize> = (0..children.len())
        .filter(|&i| all[i].is_some() && children[i].list)
        .collect();
    let known: BTreeSet<usize> = several.iter().filter_map(|&i| Some(ranks[i]?.0)).collect();
    match several.len() > 1 && known.len() < several.len() {
        true => all,
        false => vec![None; children.len()],
    }
}

/// The children that have a place, in order.
fn line(children: &[Child], ranks: &[Place]) -> Vec<usize> {
    let mut places: Vec<(usize, (usize, usize), Option<u32>)> = (0..children.len())
        .filter_map(|i| Some((i, ranks[i]?, None)))
        .collect();
    interleave(&mut places, children);
    // a list itself, where it is dumped, stands behind its members
    let mut last: HashMap<&str, (usize, usize)> = HashMap::new();
    for &(i, place, _) in &places {
        let segment = &children[i].segment;
        if segment.number.is_some() {
            let known = last.entry(&segment.label).or_insert(place);
            *known = place.max(*known);
        }
    }
    for (i, place, _) in &mut places {
        let segment = &children[*i].segment;
        if let (None, Some(members)) = (segment.number, last.get(segment.label.as_str())) {
            *place = *members;
        }
    }
    places.sort_by(|(a, x, m), (b, y, n)| {
        (x, m).cmp(&(y, n)).then_with(|| {
            ranks[*a]
                .cmp(&ranks[*b])
                .then_with(|| by_name(&children[*a], &children[*b]))
        })
    });
    places.into_iter().map(|(i, ..)| i).collect()
}

/// Members of interleaved lists stand together by their numbers.
fn interleave(line: &mut [(usize, (usize, usize), Option<u32>)], children: &[Child]) {
    let list = |i: usize| places().interleaved(&children[i].segment.label);
    let mut first: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (i, place, _) in line.iter() {
        if let Some(list) = list(*i) {
            let known = first.entry(list).or_insert(*place);
            *known = (*place).min(*known);
        }
    }
    for (i, place, number) in line {
        if let (Some(list), Some(n)) = (list(*i), children[*i].segment.number) {
            (*place, *number) = (first[&list], Some(n));
        }
    }
}

/// The first line with what the others add: each behind the nearest that stands before it there, else before the nearest behind.
/// A line of which nothing is placed yet stands before or behind all else where its words say so: a stem, a head.
fn merged(lines: &[Vec<usize>], children: &[Child]) -> Vec<usize> {
    let mut all = lines.first().cloned().unwrap_or_default();
    let mut placed = vec![false; children.len()];
    all.iter().for_each(|c| placed[*c] = true);
    for line in lines.iter().skip(1) {
        for (at, child) in line.iter().enumerate() {
            if placed[*child] {
                continue;
            }
            let place = |other: &usize| all.iter().position(|c| c == other);
            let before = line[..at].iter().rev().find_map(place).map(|p| p + 1);
            let body = children[*child].list.then(|| {
                let early = |c: &&usize| guess(&children[**c].segment.label) != Guess::Late;
                all.iter().take_while(early).count()
            });
            let end = match guess(&children[*child].segment.label) {
                Guess::Early => Some(0),
                Guess::Late => Some(all.len()),
                Guess::Middle => body,
            };
            if let Some(at) = before.or_else(|| line[at..].iter().find_map(place)).or(end) {
                all.insert(at, *child);
                placed[*child] = true;
            }
        }
    }
    all
}

/// Where the words of a label put a child that nothing else is known of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Early,
    Middle,
    Late,
}

fn guess(label: &str) -> Guess {
    let has = |words: &crate::graph::Set| label.split('_').any(|w| words.contains(w));
    match (has(&words().early), has(&words().late)) {
        (true, false) => Guess::Early,
        (false, true) => Guess::Late,
        _ => Guess::Middle,
    }
}

fn guessed(a: &Child, b: &Child) -> Ordering {
    let guess = |c: &Child| guess(&c.segment.label);
    guess(a).cmp(&guess(b)).then_with(|| by_name(a, b))
}

/// By label, number and call; a list itself behind its members.
fn by_name(a: &Child, b: &Child) -> Ordering {
    let (a, b) = (&a.segment, &b.segment);
    let last = |n: Option<u32>| n.unwrap_or(u32::MAX);
    let labels = if a.label == b.label {
        Ordering::Equal
    } else {
        natural(&a.label, &b.label)
    };
    labels
        .then_with(|| last(a.number).cmp(&last(b.number)))
        .then_with(|| a.call.cmp(&b.call))
}
