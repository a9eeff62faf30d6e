//! A node of the graph by its number, and the names of those that code speaks of.

use super::graph;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;

/// A node of the graph: a place in the pipeline where a tensor can be tapped. Ordered as the pipeline runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stage(pub(super) u16);

/// Declares the nodes that code speaks of: a name that no file of `models/` has is found by the test of this file.
macro_rules! nodes {
    ($($node:ident = $name:literal;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u16)]
        enum Number { $($node,)* }

        /// The nodes that code speaks of, to be brought into scope.
        pub mod known {
            use super::{Number, Stage};
            $(pub const $node: Stage = Stage(Number::$node as u16);)*
        }

        impl Stage {
            $(pub const $node: Stage = known::$node;)*
        }

        /// Their names; the number of a node is its place here.
        pub(super) const KNOWN: &[&str] = &[$($name,)*];
    };
}

nodes! {
    INPUT_IDS = "input_ids";
    ATTENTION_MASK = "attention_mask";
    POSITION_IDS = "position_ids";
    TOK_EMBED = "tok_embed";
    POS_EMBED = "pos_embed";
    TYPE_EMBED = "type_embed";
    EMBED_SUM = "embed_sum";
    EMBED = "embed";
    INPUT = "input";
    ATTN_NORM = "attn_norm";
    QKV_PROJ = "qkv_proj";
    Q_PROJ = "q_proj";
    K_PROJ = "k_proj";
    V_PROJ = "v_proj";
    Q_NORM = "q_norm";
    K_NORM = "k_norm";
    Q_ROPE = "q_rope";
    K_ROPE = "k_rope";
    ATTN_QK = "attn_qk";
    ATTN_SCORES = "attn_scores";
    ATTN_WEIGHTS = "attn_weights";
    ATTN_CTX = "attn_ctx";
    O_PROJ = "o_proj";
    ATTN_POST_NORM = "attn_post_norm";
    ATTN_RESIDUAL = "attn_residual";
    ATTN_OUT_NORM = "attn_out_norm";
    MLP_NORM = "mlp_norm";
    GATE_PROJ = "gate_proj";
    UP_PROJ = "up_proj";
    ACT = "act";
    MLP_MID = "mlp_mid";
    DOWN_PROJ = "down_proj";
    MLP_POST_NORM = "mlp_post_norm";
    MLP_RESIDUAL = "mlp_residual";
    OUTPUT = "output";
    FINAL_NORM = "final_norm";
    LOGITS = "logits";
}

impl Stage {
    pub fn name(self) -> &'static str {
        graph().node(self).name
    }

    /// What it is computed from. A parent that the model does not have stands for its own parents.
    pub fn parents(self) -> &'static [Stage] {
        &graph().node(self).inputs
    }

    pub fn parse(name: &str) -> Option<Stage> {
        graph().find(name)
    }

    /// Where to look when nothing tested explains a difference that begins here.
    pub fn hint(self) -> &'static str {
        graph().node(self).hint
    }

    /// Whether it is a node of the first family, which is part of most models.
    pub fn is_core(self) -> bool {
        graph().node(self).family == 0
    }

    /// Whether the stage belongs to a layer (`layers.I.` stands before it).
    pub fn is_per_layer(self) -> bool {
        graph().node(self).per_layer
    }
}

impl Ord for Stage {
    fn cmp(&self, other: &Stage) -> Ordering {
        let rank = |stage: &Stage| graph().node(*stage).rank;
        if self == other {
            Ordering::Equal
        } else {
            rank(self).cmp(&rank(other))
        }
    }
}

impl PartialOrd for Stage {
    fn partial_cmp(&self, other: &Stage) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Stage, D::Error> {
        let name = String::deserialize(d)?;
        Stage::parse(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("no stage is called `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_that_code_speaks_of_are_in_the_models() {
        for (number, name) in KNOWN.iter().enumerate() {
            assert_eq!(Stage::parse(name), Some(Stage(number as u16)), "{name}");
        }
        assert_eq!(Stage::Q_PROJ.name(), "q_proj");
    }

    #[test]
    fn parents_come_first() {
        for &stage in graph().stages() {
            let node = graph().node(stage);
            assert!(node.inputs.iter().all(|p| *p < stage), "{}", node.name);
        }
    }
}
