//! Where a module stands among its siblings: the order of the nodes, told by the labels of their spellings.
//!
//! A node that is spelled `self_attn.q_proj` says of a layer that it holds `self_attn`, and of `self_attn` that it holds
//! `q_proj`. Each gets the place of the node among all nodes; of several spellings of one producer the earliest.

use super::path::{Segment, path};
use super::word::split;
use super::{Spelling, graph, words};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

/// What the spellings of all nodes say of modules and their children.
#[derive(Debug, Default)]
pub struct Places {
    containers: HashMap<String, Container>,
    interleaved: Vec<HashSet<String>>,
    sections: Vec<HashSet<String>>,
    /// Labels as their words, joined by `_`, to find them in names without separators.
    vocabulary: HashSet<String>,
}

/// What is known of one kind of container.
#[derive(Debug, Default)]
struct Container {
    children: HashMap<Segment, Vec<Place>>,
    /// How many children each source knows.
    sizes: HashMap<usize, usize>,
}

/// The place that one producer of one family gives a child.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: usize,
    rank: usize,
    linked: bool,
}

/// What a container may be: a layer of a stack, the model itself, or some block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Containers {
    pub layer: bool,
    pub model: bool,
}

/// What is known of the order of the children of a container.
#[derive(Debug)]
pub struct Siblings<'p> {
    /// For every child its places, and whether the container's own label told them.
    found: Vec<Vec<(Place, bool)>>,
    containers: Vec<&'p Container>,
    /// How many of the children each producer knows.
    pub votes: Votes,
}

/// The places of the children of a container, one entry per child.
#[derive(Debug)]
pub struct Ranks {
    /// In the data flow: those of the producer that knows most of them first; and whether the container's own label told them.
    pub flow: Vec<Option<(usize, bool)>>,
    /// By each producer of a family, the one that knows most first. Those of two producers do not compare.
    pub producers: Vec<Vec<Option<usize>>>,
}

/// How many names each producer of a family knows.
pub type Votes = BTreeMap<usize, usize>;

const LAYER: &str = "(layer)";
const MODEL: &str = "(model)";
const BLOCK: &str = "(block)";

static PLACES: LazyLock<Places> = LazyLock::new(Places::new);

/// The places of all nodes.
pub fn places() -> &'static Places {
    &PLACES
}

impl Siblings<'_> {
    /// The places of the children. `favour` says how many names of the whole dump each producer knows: it decides between those
    /// that know equally many children.
    pub fn ranks(&self, favour: &Votes) -> Ranks {
        // of two that know equally many the one that knows fewer others: it is about just this
        let others = |source: usize| {
            let sizes = self.containers.iter().filter_map(|c| c.sizes.get(&source));
            sizes.sum::<usize>()
        };
        let merit = |s: usize| {
            let all = favour.get(&s);
            (self.votes.get(&s), all, Reverse(others(s)), Reverse(s))
        };
        let flow = |all: &Vec<(Place, bool)>| {
            let linked = all.iter().filter(|(p, _)| p.linked);
            let best = linked.max_by_key(|(p, _)| merit(p.source));
            best.map(|(p, own)| (p.rank, *own))
        };
        let mut sources: Vec<usize> = self.votes.keys().copied().collect();
        sources.sort_by_key(|&s| Reverse(merit(s)));
        let line = |s: usize| -> Vec<Option<usize>> {
            let own = |all: &Vec<(Place, bool)>| {
                all.iter().find(|(p, _)| p.source == s).map(|(p, _)| p.rank)
            };
            self.found.iter().map(own).collect()
        };
        Ranks {
            flow: self.found.iter().map(flow).collect(),
            producers: sources.into_iter().map(line).collect(),
        }
    }
}

impl Places {
    fn new() -> Places {
        let mut places = Places::default();
        let mut sources: HashMap<(usize, &str), usize> = HashMap::new();
        for &stage in graph().stages() {
            let node = graph().node(stage);
            let top = match (node.per_layer, node.per_block) {
                (true, _) => LAYER,
                (_, true) => BLOCK,
                _ => MODEL,
            };
            let own = Spelling {
                dialect: "tdiff",
                text: node.name,
            };
            let own = (!node.per_block).then_some(&own);
            for spelling in node.names.iter().chain(&node.modules).chain(own) {
                let labels: Vec<&str> = spelling.text.split(['.', '/']).collect();
                // the index in a tuple of outputs is no module
                if labels
                    .last()
                    .is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()))
                {
                    continue;
                }
                let next = sources.len();
                let source = (node.family, spelling.dialect);
                let source = *sources.entry(source).or_insert(next);
                let place = Place {
                    source,
                    rank: node.rank,
                    linked: node.linked,
                };
                let mut container = top.to_owned();
                for segment in path(labels.iter().copied()) {
                    let label = segment.label.clone();
                    let known = places.containers.entry(container).or_default();
                    let all = known.children.entry(segment).or_default();
                    if !all.iter().any(|p| p.source == source) {
                        all.push(place);
                        *known.sizes.entry(source).or_default() += 1;
                    }
                    container = label;
                }
                // what people type by hand has no modules
                let typed = spelling.dialect == "words";
                for label in labels.into_iter().filter(|_| !typed) {
                    let words: Vec<String> = split(label).into_iter().map(|w| w.lower).collect();
                    places.vocabulary.insert(words.join("_"));
                }
            }
        }
        let label = |text: &str| Segment::read(text).label;
        let lists = graph().interleaved.iter();
        places.interleaved = lists
            .map(|l| l.iter().map(|l| label(l)).collect())
            .collect();
        let sections = words().sections.iter();
        places.sections = sections
            .map(|s| s.iter().map(|l| label(l)).collect())
            .collect();
        places
    }

    /// Whether a label is spelled so anywhere; words joined by `_`.
    pub fn knows(&self, words: &str) -> bool {
        self.vocabulary.contains(words)
    }

    /// Whether a module with this label is known to hold such a child.
    pub fn holds(&self, label: &str, child: &str) -> bool {
        let known = self.containers.get(label);
        known.is_some_and(|c| c.children.keys().any(|s| s.label == child))
    }

    /// What is known of the order of the children of a container.
    pub fn siblings<'s>(
        &self,
        label: &str,
        what: Containers,
        children: impl Iterator<Item = &'s Segment>,
    ) -> Siblings<'_> {
        // the sharper one first
        let names = [
            Some(label),
            what.layer.then_some(LAYER),
            what.model.then_some(MODEL),
            Some(BLOCK),
        ];
        let known: Vec<(bool, &Container)> = names
            .into_iter()
            .flatten()
            .filter_map(|name| Some((name == label, self.containers.get(name)?)))
            .collect();
        let places = |child: &Segment| -> Vec<(Place, bool)> {
            let any = Segment {
                number: None,
                ..child.clone()
            };
            let mut all: Vec<(Place, bool)> = Vec::new();
            for (own, container) in &known {
                for key in [child, &any] {
                    for place in container.children.get(key).into_iter().flatten() {
                        if !all.iter().any(|(p, _)| p.source == place.source) {
                            all.push((*place, *own));
                        }
                    }
                }
            }
            all
        };
        let found: Vec<Vec<(Place, bool)>> = children.map(places).collect();
        let mut votes = Votes::new();
        for (place, _) in found.iter().flatten() {
            *votes.entry(place.source).or_default() += 1;
        }
        Siblings {
            found,
            containers: known.into_iter().map(|(_, container)| container).collect(),
            votes,
        }
    }

    /// The list that a label is interleaved with, by its number.
    pub fn interleaved(&self, label: &str) -> Option<usize> {
        self.interleaved
            .iter()
            .position(|list| list.contains(label))
    }

    /// The section of a model that a label names, in the order in which sections run.
    pub fn section(&self, label: &str) -> Option<usize> {
        let whole = self.sections.iter().position(|s| s.contains(label));
        whole.or_else(|| {
            let word = |s: &HashSet<String>| label.split('_').any(|w| s.contains(w));
            self.sections.iter().position(word)
        })
    }
}
