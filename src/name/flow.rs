//! The data flow between the tensors that were dumped: nearest available ancestors and descendants.

use super::stage::STAGES;
use super::{Key, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// Stages that many models do not have: their absence is no gap in the dump.
const OPTIONAL: &[Stage] = &[
    Stage::AttentionMask,
    Stage::PositionIds,
    Stage::TokEmbed,
    Stage::PosEmbed,
    Stage::TypeEmbed,
    Stage::EmbedSum,
    Stage::Input,
    Stage::QkvProj,
    Stage::QNorm,
    Stage::KNorm,
    Stage::QRope,
    Stage::KRope,
    Stage::AttnQk,
    Stage::AttnPostNorm,
    Stage::AttnOutNorm,
    Stage::MlpPostNorm,
    Stage::MlpResidual,
];

/// The keys that are available, with the bounds of the model they come from.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    have: BTreeSet<Key>,
    stages: BTreeSet<Stage>,
    last_layer: BTreeMap<String, u32>,
    steps: BTreeSet<u32>,
}

impl Flow {
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Flow {
        let mut flow = Flow::default();
        for key in keys.into_iter().filter(|k| k.stage.is_some()) {
            flow.have.insert(key.clone());
            flow.stages.extend(key.stage);
            flow.steps.extend(key.step);
            if let Some(layer) = key.layer {
                let last = flow
                    .last_layer
                    .entry(stack(key).to_string())
                    .or_insert(layer);
                *last = layer.max(*last);
            }
        }
        flow
    }

    pub fn has(&self, key: &Key) -> bool {
        self.have.contains(key)
    }

    /// The nearest tensors that were dumped and that `key` is computed from: a parent that is not available stands for
    /// its own parents. Empty for a tensor without a stage.
    pub fn ancestors(&self, key: &Key) -> Vec<Key> {
        self.walk(key, Flow::parents).0
    }

    /// The nearest tensors that were dumped and that are computed from `key`.
    pub fn descendants(&self, key: &Key) -> Vec<Key> {
        self.walk(key, Flow::children).0
    }

    /// Stages between `key` and its nearest available ancestors that were not dumped, in pipeline order; stages that the
    /// model may not have are left out unless they were dumped elsewhere.
    pub fn not_dumped_before(&self, key: &Key) -> Vec<Key> {
        let mut passed = self.walk(key, Flow::parents).1;
        passed.retain(|k| {
            k.stage
                .is_some_and(|s| !OPTIONAL.contains(&s) || self.stages.contains(&s))
        });
        passed
    }

    /// Breadth first over what is not available; returns what is, and what was passed.
    fn walk(&self, key: &Key, next: fn(&Flow, &Key) -> Vec<Key>) -> (Vec<Key>, Vec<Key>) {
        let (mut found, mut passed) = (BTreeSet::new(), BTreeSet::new());
        let mut open = next(self, key);
        while let Some(k) = open.pop() {
            if k == *key || passed.contains(&k) || found.contains(&k) {
                continue;
            }
            if self.have.contains(&k) {
                found.insert(k);
            } else {
                open.extend(next(self, &k));
                passed.insert(k);
            }
        }
        let sorted = |set: BTreeSet<Key>| {
            let mut v: Vec<Key> = set.into_iter().collect();
            v.sort_by_key(pipeline_position);
            v
        };
        (sorted(found), sorted(passed))
    }

    /// The parents of the model, whether they were dumped or not.
    fn parents(&self, key: &Key) -> Vec<Key> {
        let Some(stage) = key.stage else {
            return Vec::new();
        };
        let form = stack(key);
        if key.rest != form {
            // Another form of a stage: computed like the stage itself.
            return self.parents(&Key {
                rest: form.into(),
                ..key.clone()
            });
        }
        let at = |stage: Stage, layer: Option<u32>| Key {
            stage: Some(stage),
            layer,
            ..key.clone()
        };
        let mut parents: Vec<Key> = match stage {
            Stage::Input => match key.layer {
                Some(l) if l > 0 => vec![at(Stage::Output, Some(l - 1))],
                _ => vec![at(Stage::Embed, None)],
            },
            Stage::FinalNorm => match self.last_layer.get(form) {
                Some(&l) => vec![at(Stage::Output, Some(l))],
                None => vec![at(Stage::Embed, None)],
            },
            _ => stage
                .parents()
                .iter()
                .map(|&p| at(p, key.layer.filter(|_| p.is_per_layer())))
                .collect(),
        };
        let cached = match stage {
            Stage::AttnQk => Some(Stage::KRope),
            Stage::AttnCtx => Some(Stage::VProj),
            _ => None,
        };
        if let (Some(from), Some(step)) = (cached, key.step) {
            // Attention of a later step reads the cache that the earlier ones filled.
            parents.extend(self.steps.range(..step).map(|&s| Key {
                step: Some(s),
                ..at(from, key.layer)
            }));
        }
        parents
    }

    /// The children of the model, whether they were dumped or not.
    fn children(&self, key: &Key) -> Vec<Key> {
        let Some(stage) = key.stage else {
            return Vec::new();
        };
        let form = stack(key);
        if key.rest != form {
            return Vec::new();
        }
        let at = |stage: Stage, layer: Option<u32>| Key {
            stage: Some(stage),
            layer,
            ..key.clone()
        };
        let last = self.last_layer.get(form).copied();
        match (stage, key.layer) {
            (Stage::Embed, _) => {
                vec![last.map_or_else(|| at(Stage::FinalNorm, None), |_| at(Stage::Input, Some(0)))]
            }
            (Stage::Output, Some(l)) if last.is_some_and(|last| l < last) => {
                vec![at(Stage::Input, Some(l + 1))]
            }
            (Stage::Output, _) => vec![at(Stage::FinalNorm, None)],
            _ => {
                let layers: Vec<Option<u32>> = match (stage.is_per_layer(), last) {
                    (true, _) => vec![key.layer],
                    (false, Some(last)) => (0..=last).map(Some).collect(),
                    (false, None) => Vec::new(),
                };
                let mut children = Vec::new();
                for child in STAGES.iter().filter(|row| row.parents.contains(&stage)) {
                    if child.stage.is_per_layer() {
                        children.extend(layers.iter().map(|&l| at(child.stage, l)));
                    } else {
                        children.push(at(child.stage, None));
                    }
                }
                let reader = match stage {
                    Stage::KRope => Some(Stage::AttnQk),
                    Stage::VProj => Some(Stage::AttnCtx),
                    _ => None,
                };
                if let (Some(reader), Some(step)) = (reader, key.step) {
                    children.extend(self.steps.iter().filter(|&&s| s > step).map(|&s| Key {
                        step: Some(s),
                        ..at(reader, key.layer)
                    }));
                }
                children
            }
        }
    }
}

/// The stack of layers a key belongs to, where a model has several: the first word of `rest`, else empty.
pub(super) fn stack(key: &Key) -> &str {
    let first = key.rest.split(' ').next().unwrap_or("");
    if ["encoder", "vision", "audio", "draft"].contains(&first) {
        first
    } else {
        ""
    }
}

/// Where a key stands in the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    step: Option<u32>,
    stack: u8,
    /// Before, in, and after the layers.
    zone: u8,
    layer: Option<u32>,
    stage: Option<Stage>,
    rank: Option<u32>,
    rest: String,
}

/// Sorts keys as the pipeline runs.
pub(super) fn pipeline_position(key: &Key) -> Position {
    Position {
        step: key.step,
        stack: match stack(key) {
            "vision" | "audio" => 0,
            "encoder" => 1,
            "draft" => 3,
            _ => 2,
        },
        zone: match key.stage {
            Some(s) if s < Stage::Input => 0,
            Some(s) if s > Stage::Output => 2,
            _ => 1,
        },
        layer: key.layer,
        stage: key.stage,
        rank: key.rank,
        rest: key.rest.clone(),
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
            shown(f.not_dumped_before(&key("layers.0.mlp_norm"))),
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
        for k in &f.have {
            for a in f.ancestors(k) {
                assert!(f.descendants(&a).contains(k), "{a} -> {k}");
            }
            for d in f.descendants(k) {
                assert!(f.ancestors(&d).contains(k), "{k} -> {d}");
            }
        }
    }
}
