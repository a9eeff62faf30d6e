//! The data flow between the tensors that were dumped: nearest available ancestors and descendants.

use super::{Key, Stage, graph, words};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The keys that are available, with the bounds of the model they come from.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    have: HashMap<Node, Key>,
    stages: BTreeSet<Stage>,
    last_layer: BTreeMap<usize, u32>,
    steps: BTreeSet<u32>,
    /// Families of which a layer (or a stack, `None`) has a node: only they take part there.
    families: HashSet<(usize, Option<u32>, usize)>,
}

/// What stands above a tensor.
#[derive(Clone, Debug)]
pub struct Above {
    /// As [`Flow::ancestors`].
    pub ancestors: Vec<Key>,
    /// Stages up to the ancestors that were not dumped, in pipeline order; stages that the model may not have are left out unless
    /// they were dumped elsewhere.
    pub not_dumped: Vec<Key>,
    /// Whether operations lie there and nothing above them was dumped.
    pub open: bool,
}

/// The family that most models have nodes of, in every layer.
const CORE: usize = 0;

/// A place in the model, dumped or not; ordered as the pipeline runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    step: Option<u32>,
    /// The part of the model with a stack of layers of its own, by its place in the pipeline.
    stack: usize,
    /// Before (0), in (1) and after (2) the layers.
    zone: u8,
    layer: Option<u32>,
    stage: Stage,
    rank: Option<u32>,
}

fn zone(stage: Stage) -> u8 {
    match stage {
        s if s < Stage::INPUT => 0,
        s if s > Stage::OUTPUT => 2,
        _ => 1,
    }
}

impl Node {
    /// The place of a key; a further form of a stage has the place of the stage.
    fn of(key: &Key) -> Option<Node> {
        let stage = key.stage?;
        Some(Node {
            step: key.step,
            stack: words().tower(key.tower()),
            zone: zone(stage),
            layer: key.layer,
            stage,
            rank: key.rank,
        })
    }

    fn at(self, stage: Stage, layer: Option<u32>) -> Node {
        Node {
            stage,
            layer,
            zone: zone(stage),
            ..self
        }
    }

    fn key(self) -> Key {
        let rest = &words().tower[self.stack].name;
        Key {
            step: self.step,
            rank: self.rank,
            layer: self.layer,
            stage: Some(self.stage),
            rest: rest.into(),
        }
    }
}

impl Flow {
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Flow {
        let mut flow = Flow::default();
        for key in keys {
            let Some(node) = Node::of(key) else { continue };
            flow.stages.insert(node.stage);
            flow.steps.extend(key.step);
            let family = graph().node(node.stage).family;
            flow.families.insert((node.stack, node.layer, family));
            flow.families.insert((node.stack, None, family));
            if let Some(layer) = key.layer {
                let last = flow.last_layer.entry(node.stack).or_insert(layer);
                *last = layer.max(*last);
            }
            if key.is_canonical() {
                flow.have.insert(node, key.clone());
            }
        }
        flow
    }

    /// The nearest tensors that were dumped and that `key` is computed from: a parent that is not available stands for
    /// its own parents. Empty for a tensor without a stage.
    pub fn ancestors(&self, key: &Key) -> Vec<Key> {
        self.keys(self.walk(key, Flow::parents).0)
    }

    /// The nearest tensors that were dumped and that are computed from `key`; a further form of a stage has none.
    pub fn descendants(&self, key: &Key) -> Vec<Key> {
        if !key.is_canonical() {
            return Vec::new();
        }
        self.keys(self.walk(key, Flow::children).0)
    }

    /// What stands above `key`, found in one walk.
    pub fn above(&self, key: &Key) -> Above {
        let (found, passed) = self.walk(key, Flow::parents);
        let computed = |n: &Node| !graph().node(n.stage).inputs.is_empty();
        let open = found.is_empty() && passed.iter().any(computed);
        let named = |n: &Node| {
            let usual = !graph().node(n.stage).optional || self.stages.contains(&n.stage);
            usual && (n.stage != Stage::INPUT_IDS || words().tower[n.stack].reads_tokens)
        };
        Above {
            ancestors: self.keys(found),
            not_dumped: passed.into_iter().filter(named).map(Node::key).collect(),
            open,
        }
    }

    fn keys(&self, nodes: BTreeSet<Node>) -> Vec<Key> {
        nodes
            .iter()
            .filter_map(|n| self.have.get(n).cloned())
            .collect()
    }

    /// Goes over what is not available; returns what is, and what was passed.
    fn walk(
        &self,
        key: &Key,
        next: fn(&Flow, Node, &mut Vec<Node>),
    ) -> (BTreeSet<Node>, BTreeSet<Node>) {
        let (mut found, mut passed) = (BTreeSet::new(), BTreeSet::new());
        let Some(start) = Node::of(key) else {
            return (found, passed);
        };
        let mut open = Vec::new();
        next(self, start, &mut open);
        while let Some(node) = open.pop() {
            if node == start {
                continue;
            }
            if self.have.contains_key(&node) {
                found.insert(node);
            } else if passed.insert(node) {
                next(self, node, &mut open);
            }
        }
        (found, passed)
    }

    /// Whether the model has such a node there, as far as the dump tells.
    fn has(&self, node: &Node) -> bool {
        let family = graph().node(node.stage).family;
        // one of the first family tells of the others
        let layer = node.layer.filter(|_| family != CORE);
        self.families.contains(&(node.stack, layer, family))
    }

    /// The parents in the model, whether they were dumped or not.
    fn parents(&self, node: Node, parents: &mut Vec<Node>) {
        let row = graph().node(node.stage);
        let last = self.last_layer.get(&node.stack).copied();
        match (row.previous, row.last, node.layer, last) {
            (Some(before), _, Some(l), _) if l > 0 => parents.push(node.at(before, Some(l - 1))),
            (_, Some(of), _, Some(l)) => parents.push(node.at(of, Some(l))),
            (_, Some(_), _, None) => parents.push(node.at(Stage::EMBED, None)),
            _ => parents.extend(
                row.inputs
                    .iter()
                    .map(|&p| node.at(p, node.layer.filter(|_| p.is_per_layer())))
                    .filter(|p| self.has(p)),
            ),
        }
        if let (Some(cached), Some(step)) = (row.cached, node.step) {
            // Attention of a later step reads the cache that the earlier ones filled.
            let earlier = self.steps.range(..step);
            parents.extend(earlier.map(|&s| Node {
                step: Some(s),
                ..node.at(cached, node.layer)
            }));
        }
    }

    /// The children in the model, whether they were dumped or not.
    fn children(&self, node: Node, children: &mut Vec<Node>) {
        let last = self.last_layer.get(&node.stack).copied();
        match (node.stage, node.layer, last) {
            (Stage::EMBED, _, Some(_)) => return children.push(node.at(Stage::INPUT, Some(0))),
            (Stage::EMBED, _, None) => return children.push(node.at(Stage::FINAL_NORM, None)),
            (Stage::OUTPUT, Some(l), Some(last)) if l < last => {
                return children.push(node.at(Stage::INPUT, Some(l + 1)));
            }
            (Stage::OUTPUT, _, _) => return children.push(node.at(Stage::FINAL_NORM, None)),
            _ => {}
        }
        let exists = |child: &Stage| {
            let layer = node.layer.filter(|_| child.is_per_layer());
            self.has(&node.at(*child, layer))
        };
        for &child in graph()
            .node(node.stage)
            .readers
            .iter()
            .filter(|c| exists(c))
        {
            let row = graph().node(child);
            if row.cached == Some(node.stage)
                && let Some(step) = node.step
            {
                let later = self.steps.iter().filter(|&&s| s > step);
                children.extend(later.map(|&s| Node {
                    step: Some(s),
                    ..node.at(child, node.layer)
                }));
            }
            if !row.inputs.contains(&node.stage) {
                continue;
            }
            match (child.is_per_layer(), node.stage.is_per_layer()) {
                (true, true) => children.push(node.at(child, node.layer)),
                (false, _) => children.push(node.at(child, None)),
                // What enters the model once is read by every layer.
                (true, false) => {
                    let layers = last.map(|l| 0..=l).into_iter().flatten();
                    children.extend(layers.map(|l| node.at(child, Some(l))));
                }
            }
        }
    }
}

impl Key {
    /// The part of a model with a stack of layers of its own that it belongs to (`vision`, `encoder`, …); empty for the model
    /// itself.
    pub fn tower(&self) -> &'static str {
        let first = self.rest.split(' ').next().unwrap_or("");
        &words().tower[words().tower(first)].name
    }

    /// Whether it belongs to a part of the model that looks up rows by token id.
    pub fn reads_tokens(&self) -> bool {
        words().tower[words().tower(self.tower())].reads_tokens
    }

    /// A stage itself, and no further form of it.
    pub fn is_canonical(&self) -> bool {
        self.stage.is_some() && self.rest == self.tower()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let mut key = Key::default();
        let mut rest = text;
        if let Some((step, tail)) = rest.strip_prefix("step").and_then(|t| t.split_once('/')) {
            key.step = step.parse().ok();
            rest = tail;
        }
        if let Some((layer, tail)) = rest.strip_prefix("layers.").and_then(|t| t.split_once('.')) {
            key.layer = layer.parse().ok();
            rest = tail;
        }
        let (stage, form) = rest.split_once('#').unwrap_or((rest, ""));
        key.stage = Some(Stage::parse(stage).unwrap());
        key.rest = form.into();
        key
    }

    fn flow(keys: &[&str]) -> Flow {
        Flow::new(&keys.iter().map(|k| key(k)).collect::<Vec<_>>())
    }

    fn shown(keys: Vec<Key>) -> Vec<String> {
        keys.iter().map(Key::to_string).collect()
    }

    #[test]
    fn a_missing_parent_stands_for_its_own() {
        let f = flow(&[
            "embed",
            "layers.0.attn_norm",
            "layers.0.q_proj",
            "layers.0.o_proj",
            "layers.0.mlp_norm",
            "layers.0.output",
            "layers.1.attn_norm",
            "final_norm",
            "logits",
        ]);
        let ancestors = |k| shown(f.ancestors(&key(k)));
        assert_eq!(ancestors("layers.0.attn_norm"), ["embed"]);
        assert_eq!(
            ancestors("layers.0.o_proj"),
            ["layers.0.attn_norm", "layers.0.q_proj"]
        );
        assert_eq!(ancestors("layers.0.mlp_norm"), ["embed", "layers.0.o_proj"]);
        assert_eq!(ancestors("layers.1.attn_norm"), ["layers.0.output"]);
        assert_eq!(ancestors("logits"), ["final_norm"]);
        assert_eq!(
            shown(f.descendants(&key("embed"))),
            ["layers.0.attn_norm", "layers.0.mlp_norm", "layers.0.output"]
        );
        assert_eq!(
            shown(f.descendants(&key("layers.0.output"))),
            ["layers.1.attn_norm", "final_norm"]
        );
        assert_eq!(
            shown(f.above(&key("layers.0.mlp_norm")).not_dumped),
            ["layers.0.attn_residual"]
        );
    }

    #[test]
    fn post_norm_blocks_flow_through_their_norms() {
        let f = flow(&[
            "embed",
            "layers.0.q_proj",
            "layers.0.o_proj",
            "layers.0.attn_out_norm",
            "layers.0.up_proj",
            "layers.0.down_proj",
            "layers.0.output",
            "layers.1.q_proj",
        ]);
        let ancestors = |k| shown(f.ancestors(&key(k)));
        assert_eq!(ancestors("layers.0.q_proj"), ["embed"]);
        assert_eq!(ancestors("layers.0.up_proj"), ["layers.0.attn_out_norm"]);
        assert_eq!(
            ancestors("layers.0.output"),
            ["layers.0.attn_out_norm", "layers.0.down_proj"]
        );
        assert_eq!(ancestors("layers.1.q_proj"), ["layers.0.output"]);
    }

    #[test]
    fn later_steps_read_the_cache_of_earlier_ones() {
        let f = flow(&[
            "step0/layers.0.k_rope",
            "step0/layers.0.v_proj",
            "step1/layers.0.q_rope",
            "step1/layers.0.k_rope",
            "step1/layers.0.attn_scores",
            "step1/layers.0.attn_ctx",
            "step0/layers.0.attn_scores",
        ]);
        assert_eq!(
            shown(f.ancestors(&key("step1/layers.0.attn_scores"))),
            [
                "step0/layers.0.k_rope",
                "step1/layers.0.q_rope",
                "step1/layers.0.k_rope"
            ]
        );
        assert!(
            shown(f.descendants(&key("step0/layers.0.v_proj")))
                .contains(&"step1/layers.0.attn_ctx".to_string())
        );
        assert!(
            !shown(f.ancestors(&key("step0/layers.0.attn_scores")))
                .iter()
                .any(|k| k.starts_with("step1"))
        );
    }

    #[test]
    fn token_and_position_rows_make_the_embedding() {
        let f = flow(&["tok_embed", "pos_embed", "embed", "layers.0.attn_norm"]);
        assert_eq!(
            shown(f.ancestors(&key("embed"))),
            ["tok_embed", "pos_embed"]
        );
        let f = flow(&["tok_embed", "layers.0.attn_norm"]);
        assert_eq!(
            shown(f.ancestors(&key("layers.0.attn_norm"))),
            ["tok_embed"]
        );
    }

    #[test]
    fn every_ancestor_has_its_descendant() {
        let f = flow(&[
            "tok_embed",
            "layers.0.qkv_proj",
            "layers.0.k_proj",
            "layers.0.attn_weights",
            "layers.0.o_proj",
            "layers.0.mlp_mid",
            "layers.2.attn_norm",
            "layers.2.down_proj",
            "logits",
        ]);
        for k in f.have.values() {
            for a in f.ancestors(k) {
                assert!(f.descendants(&a).contains(k), "{a} -> {k}");
            }
            for d in f.descendants(k) {
                assert!(f.ancestors(&d).contains(k), "{k} -> {d}");
            }
        }
    }
}
