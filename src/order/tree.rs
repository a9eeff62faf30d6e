//! The order that names alone tell: a tree of modules, in which every module stands behind what it holds and siblings stand as
//! the nodes of the graph run. Where nothing tells two siblings apart, the tree says so.

use super::siblings::{self, Child, Family, KNOWN, Sorted};
use super::{Basis, Item};
use crate::graph::{Containers, Key, Segment, Stage, Votes, graph, places, words};
use crate::natural::natural;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The modules of all names of a side.
#[derive(Debug)]
pub(super) struct Tree {
    modules: Vec<Module>,
    /// How many children have a place of their own among their siblings, and how many there are.
    known: usize,
    all: usize,
    /// Whether the graph knows most names.
    by_nodes: bool,
}

/// One module: what stands below it, and its own tensors.
#[derive(Debug, Default)]
struct Module {
    segment: Segment,
    children: Vec<usize>,
    /// Children of one group run in the order of `children`; nothing is known between groups.
    groups: Vec<usize>,
    items: Vec<usize>,
    /// The place in the data flow of the earliest node below, and whether lists of blocks stand below.
    rank: Option<usize>,
    list: bool,
}

impl Tree {
    pub fn new(items: &[Item<'_>]) -> Tree {
        let mut tree = Tree {
            modules: vec![Module::default()],
            known: 0,
            all: 0,
            by_nodes: items.iter().filter(|i| stage_of(i.key).is_some()).count() * 2 >= items.len(),
        };
        let mut found: HashMap<(usize, Segment), usize> = HashMap::new();
        for (i, item) in items.iter().enumerate() {
            let at = tree.enter(item, &mut found);
            tree.modules[at].items.push(i);
        }
        tree.adopt();
        for module in &mut tree.modules {
            module.items.sort_by(|&a, &b| {
                let key = |i: usize| (items[i].key.stage, items[i].key.rank);
                key(a)
                    .cmp(&key(b))
                    .then_with(|| natural(items[a].name, items[b].name))
            });
        }
        tree.learn(items);
        tree.sort();
        tree
    }

    /// The module of an item; its step comes before all.
    fn enter(&mut self, item: &Item<'_>, found: &mut HashMap<(usize, Segment), usize>) -> usize {
        let step = Segment {
            label: "step".into(),
            number: item.key.step,
            call: 0,
        };
        let steps = item.key.step.map(|_| &step);
        let mut at = 0;
        for segment in steps.into_iter().chain(item.path) {
            at = *found.entry((at, segment.clone())).or_insert_with(|| {
                let new = self.modules.len();
                self.modules.push(Module {
                    segment: segment.clone(),
                    ..Module::default()
                });
                self.modules[at].children.push(new);
                new
            });
        }
        at
    }

    /// `self_attn.1` beside `self_attn.o_proj` is no member of a list but one of the outputs of `self_attn`.
    fn adopt(&mut self) {
        for at in 0..self.modules.len() {
            let children = self.modules[at].children.clone();
            let plain: HashMap<&str, usize> = children
                .iter()
                .filter(|&&c| {
                    self.modules[c].segment.number.is_none() && !self.modules[c].children.is_empty()
                })
                .map(|&c| (self.modules[c].segment.label.as_str(), c))
                .collect();
            let output = |c: &usize| {
                let module = &self.modules[*c];
                let own = plain.get(module.segment.label.as_str()).copied();
                own.filter(|_| module.segment.number.is_some() && module.children.is_empty())
            };
            let moved: Vec<(usize, usize)> = children
                .iter()
                .filter_map(|c| Some((*c, output(c)?)))
                .collect();
            for (child, module) in moved {
                self.modules[at].children.retain(|&c| c != child);
                self.modules[module].children.push(child);
                self.modules[child].segment.label.clear();
            }
        }
    }

    /// What stands below each module.
    fn learn(&mut self, items: &[Item<'_>]) {
        for at in self.inner_first() {
            let module = &self.modules[at];
            let stages = module.items.iter().filter_map(|&i| stage_of(items[i].key));
            let nodes = stages.map(|s| graph().node(s)).filter(|n| n.linked);
            let mut rank = nodes.map(|n| n.rank).min();
            let mut list = false;
            for &child in &module.children {
                let below = &self.modules[child];
                // what enters the model has no place inside a list
                let body = graph().node(Stage::INPUT).rank;
                let inside = below
                    .rank
                    .filter(|r| module.segment.number.is_none() || *r >= body);
                rank = rank.into_iter().chain(inside).min();
                list |= self.holds_lists(child);
            }
            (self.modules[at].rank, self.modules[at].list) = (rank, list);
        }
    }

    /// Whether a module is a member of a list of blocks, or such lists stand below.
    fn holds_lists(&self, at: usize) -> bool {
        let module = &self.modules[at];
        let layer = || words().layer.contains(&module.segment.label) || module.segment.label == "h";
        module.list || module.segment.number.is_some() && (layer() || !module.children.is_empty())
    }

    /// All modules, each behind what it holds.
    fn inner_first(&self) -> Vec<usize> {
        let mut all = vec![0];
        let mut at = 0;
        while at < all.len() {
            all.extend(&self.modules[all[at]].children);
            at += 1;
        }
        all.reverse();
        all
    }

    /// What the order of the children of a module depends on; `None` where it has none.
    fn family(&self, at: usize) -> Option<Family> {
        let module = &self.modules[at];
        let child = |&c: &usize| {
            let module = &self.modules[c];
            Child {
                segment: module.segment.clone(),
                rank: module.rank,
                leaf: module.children.is_empty(),
                list: self.holds_lists(c),
            }
        };
        let children: Vec<Child> = module.children.iter().map(child).collect();
        let label = || module.segment.label.clone();
        (!children.is_empty()).then(|| (label(), self.what(at), children))
    }

    /// Puts the children of all modules in order.
    fn sort(&mut self) {
        let families: Vec<Option<Family>> =
            (0..self.modules.len()).map(|at| self.family(at)).collect();
        // modules of one kind hold the same
        let kinds: HashSet<&Family> = families.iter().flatten().collect();
        let known: Vec<_> = kinds.into_iter().map(|k| (k, siblings::known(k))).collect();
        let mut favour = Votes::new();
        for (producer, votes) in known.iter().flat_map(|(_, known)| &known.votes) {
            *favour.entry(*producer).or_default() += votes;
        }
        let sorted: HashMap<&Family, Sorted> = known
            .iter()
            .map(|(kind, known)| (*kind, siblings::sort(&kind.2, known, &favour)))
            .collect();
        for (module, family) in self.modules.iter_mut().zip(&families) {
            let Some(sorted) = family.as_ref().and_then(|f| sorted.get(f)) else {
                continue;
            };
            self.all += sorted.groups.len();
            self.known += sorted.groups.iter().filter(|g| **g == KNOWN).count();
            module.children = sorted.order.iter().map(|&i| module.children[i]).collect();
            module.groups = sorted.groups.clone();
        }
    }

    /// Whether a module is a layer of a stack, or stands around all of them.
    fn what(&self, at: usize) -> Containers {
        let module = &self.modules[at];
        let leading = |label: &str| words().is_leading(label) || places().section(label).is_some();
        Containers {
            layer: module.segment.number.is_some(),
            model: at == 0
                || module.segment.number.is_none()
                    && (module.list || leading(&module.segment.label)),
        }
    }

    /// All items, a module behind what it holds.
    pub fn sequence(&self) -> Vec<usize> {
        let mut all = Vec::new();
        let mut open = vec![(0usize, false)];
        while let Some((at, entered)) = open.pop() {
            let module = &self.modules[at];
            if entered {
                all.extend(&module.items);
                continue;
            }
            open.push((at, true));
            open.extend(module.children.iter().rev().map(|&c| (c, false)));
        }
        all
    }

    pub fn basis(&self) -> Basis {
        if self.known * 4 < self.all * 3 {
            Basis::Unknown
        } else if self.by_nodes {
            Basis::Pipeline
        } else {
            Basis::Tree
        }
    }

    /// Of these items those that nothing known runs before.
    pub fn earliest(&self, of: &HashSet<usize>) -> Vec<usize> {
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); self.modules.len()];
        for at in self.inner_first() {
            let module = &self.modules[at];
            let mut groups: BTreeMap<usize, usize> = BTreeMap::new();
            for (&child, &group) in module.children.iter().zip(&module.groups) {
                if !below[child].is_empty() {
                    groups.entry(group).or_insert(child);
                }
            }
            below[at] = match groups.is_empty() {
                true => module
                    .items
                    .iter()
                    .copied()
                    .find(|i| of.contains(i))
                    .into_iter()
                    .collect(),
                false => {
                    let first = groups.values();
                    first.flat_map(|&c| std::mem::take(&mut below[c])).collect()
                }
            };
        }
        below.swap_remove(0)
    }
}

/// The node of a tensor; of a weight the one that it computes.
fn stage_of(key: &Key) -> Option<Stage> {
    key.stage.or_else(|| key.parameter_of())
}

#[cfg(test)]
mod tests {
    use super::super::order;
    use super::*;
    use crate::graph::{Path, path};

    fn sorted(names: &[&str]) -> (Vec<String>, Basis) {
        let entries: Vec<crate::name::Entry<'_>> = names
            .iter()
            .map(|name| crate::name::Entry {
                name,
                ..Default::default()
            })
            .collect();
        let (keys, places) = crate::name::keys(&entries);
        let items: Vec<Item<'_>> = (0..names.len())
            .map(|i| Item {
                key: &keys[i],
                name: names[i],
                path: &places.paths[i],
                sequence: None,
                captured: None,
            })
            .collect();
        let order = order(&items);
        (
            order
                .sequence
                .iter()
                .map(|&i| names[i].to_owned())
                .collect(),
            order.basis,
        )
    }

    fn check(expected: &[&str]) {
        let mut names = expected.to_vec();
        names.sort_unstable();
        assert_eq!(sorted(&names).0, expected);
    }

    #[test]
    fn a_container_stands_behind_what_it_holds() {
        check(&[
            "enc.b0.mix.inp",
            "enc.b0.mix",
            "enc.b0",
            "enc.b1.mix.inp",
            "enc.b1.mix",
            "enc.b1",
            "enc",
        ]);
        check(&[
            "layers.0.layer.0",
            "layers.0.layer.1",
            "layers.0.layer",
            "layers.0",
        ]);
    }

    #[test]
    fn stages_run_as_the_graph_does() {
        check(&[
            "model.embed_tokens",
            "model.layers.2.self_attn.q_proj",
            "model.layers.2.mlp",
            "model.layers.10.mlp",
            "model.norm",
            "lm_head",
        ]);
        check(&[
            "layer_0_attn_q_rope",
            "layer_0_mlp_output",
            "layer_1_attn_q_rope",
            "logits",
        ]);
        check(&[
            "modelLayers0SelfAttnQProj",
            "modelLayers0MlpUpProj",
            "modelLayers1SelfAttnQProj",
        ]);
    }

    #[test]
    fn what_nothing_orders_is_named_together() {
        let names = ["apple", "pear", "plum"];
        let keys = vec![crate::graph::Key::default(); 3];
        let paths: Vec<Path> = names.iter().map(|n| path([*n])).collect();
        let items: Vec<Item<'_>> = (0..3)
            .map(|i| Item {
                key: &keys[i],
                name: names[i],
                path: &paths[i],
                sequence: None,
                captured: None,
            })
            .collect();
        let order = order(&items);
        assert_eq!(order.basis, Basis::Unknown);
        assert_eq!(order.earliest(&HashSet::from([1, 2])), [1, 2]);
    }
}
