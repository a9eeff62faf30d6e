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
        #[allow(non_camel_case_types, clippy::enum_variant_names)]
        #[repr(u16)]
        enum Number { $($node,)* }

        /// The nodes that code speaks of, to be brought into scope.
        #[allow(non_upper_case_globals)]
        pub mod known {
            use super::{Number, Stage};
            $(pub const $node: Stage = Stage(Number::$node as u16);)*
        }

        #[allow(non_upper_case_globals)]
        impl Stage {
            $(pub const $node: Stage = known::$node;)*
        }

        /// Their names; the number of a node is its place here.
        pub(super) const KNOWN: &[&str] = &[$($name,)*];
    };
}

nodes! {
    InputIds = "input_ids";
    AttentionMask = "attention_mask";
    PositionIds = "position_ids";
    TokEmbed = "tok_embed";
    PosEmbed = "pos_embed";
    TypeEmbed = "type_embed";
    EmbedSum = "embed_sum";
    Embed = "embed";
    Input = "input";
    AttnNorm = "attn_norm";
    QkvProj = "qkv_proj";
    QProj = "q_proj";
    KProj = "k_proj";
    VProj = "v_proj";
    QNorm = "q_norm";
    KNorm = "k_norm";
    QRope = "q_rope";
    KRope = "k_rope";
    AttnQk = "attn_qk";
    AttnScores = "attn_scores";
    AttnWeights = "attn_weights";
    AttnCtx = "attn_ctx";
    OProj = "o_proj";
    AttnPostNorm = "attn_post_norm";
    AttnResidual = "attn_residual";
    AttnOutNorm = "attn_out_norm";
    MlpNorm = "mlp_norm";
    GateProj = "gate_proj";
    UpProj = "up_proj";
    Act = "act";
    MlpMid = "mlp_mid";
    DownProj = "down_proj";
    MlpPostNorm = "mlp_post_norm";
    MlpResidual = "mlp_residual";
    Output = "output";
    FinalNorm = "final_norm";
    Logits = "logits";
}

impl Stage {
    pub fn name(self) -> &'static str {
        &graph().node(self).name
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
        &graph().node(self).hint
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
        assert_eq!(Stage::QProj.name(), "q_proj");
    }

    #[test]
    fn parents_come_first() {
        for node in graph().nodes() {
            let stage = Stage::parse(&node.name).unwrap();
            assert!(node.inputs.iter().all(|p| *p < stage), "{}", node.name);
        }
    }
}
