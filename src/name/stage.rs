//! The canonical stages of a transformer, in pipeline order, with their parents in the data flow.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in the pipeline where a tensor can be tapped; ordered as the pipeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    InputIds,
    AttentionMask,
    PositionIds,
    TokEmbed,
    PosEmbed,
    TypeEmbed,
    EmbedSum,
    Embed,
    Input,
    AttnNorm,
    QkvProj,
    QProj,
    KProj,
    VProj,
    QNorm,
    KNorm,
    QRope,
    KRope,
    AttnQk,
    AttnScores,
    AttnWeights,
    AttnCtx,
    OProj,
    AttnPostNorm,
    AttnResidual,
    AttnOutNorm,
    MlpNorm,
    GateProj,
    UpProj,
    Act,
    MlpMid,
    DownProj,
    MlpPostNorm,
    MlpResidual,
    Output,
    FinalNorm,
    Logits,
}

/// One row of the stage table.
#[derive(Debug)]
pub struct StageInfo {
    pub stage: Stage,
    pub name: &'static str,
    /// What it is computed from. A parent that the model does not have stands for its own parents; `Input` of a layer
    /// is the previous layer's `Output`, of the first layer `Embed`.
    pub parents: &'static [Stage],
}

/// Every stage in pipeline order.
pub const STAGES: &[StageInfo] = &[
    StageInfo {
        stage: Stage::InputIds,
        name: "input_ids",
        parents: &[],
    },
    StageInfo {
        stage: Stage::AttentionMask,
        name: "attention_mask",
        parents: &[],
    },
    StageInfo {
        stage: Stage::PositionIds,
        name: "position_ids",
        parents: &[],
    },
    StageInfo {
        stage: Stage::TokEmbed,
        name: "tok_embed",
        parents: &[Stage::InputIds],
    },
    StageInfo {
        stage: Stage::PosEmbed,
        name: "pos_embed",
        parents: &[Stage::PositionIds],
    },
    StageInfo {
        stage: Stage::TypeEmbed,
        name: "type_embed",
        parents: &[Stage::InputIds],
    },
    StageInfo {
        stage: Stage::EmbedSum,
        name: "embed_sum",
        parents: &[Stage::TokEmbed, Stage::PosEmbed, Stage::TypeEmbed],
    },
    StageInfo {
        stage: Stage::Embed,
        name: "embed",
        parents: &[Stage::EmbedSum, Stage::TokEmbed],
    },
    StageInfo {
        stage: Stage::Input,
        name: "input",
        parents: &[Stage::Embed],
    },
    StageInfo {
        stage: Stage::AttnNorm,
        name: "attn_norm",
        parents: &[Stage::Input],
    },
    StageInfo {
        stage: Stage::QkvProj,
        name: "qkv_proj",
        parents: &[Stage::AttnNorm],
    },
    StageInfo {
        stage: Stage::QProj,
        name: "q_proj",
        parents: &[Stage::AttnNorm, Stage::QkvProj],
    },
    StageInfo {
        stage: Stage::KProj,
        name: "k_proj",
        parents: &[Stage::AttnNorm, Stage::QkvProj],
    },
    StageInfo {
        stage: Stage::VProj,
        name: "v_proj",
        parents: &[Stage::AttnNorm, Stage::QkvProj],
    },
    StageInfo {
        stage: Stage::QNorm,
        name: "q_norm",
        parents: &[Stage::QProj],
    },
    StageInfo {
        stage: Stage::KNorm,
        name: "k_norm",
        parents: &[Stage::KProj],
    },
    StageInfo {
        stage: Stage::QRope,
        name: "q_rope",
        parents: &[Stage::QNorm],
    },
    StageInfo {
        stage: Stage::KRope,
        name: "k_rope",
        parents: &[Stage::KNorm],
    },
    StageInfo {
        stage: Stage::AttnQk,
        name: "attn_qk",
        parents: &[Stage::QRope, Stage::KRope],
    },
    StageInfo {
        stage: Stage::AttnScores,
        name: "attn_scores",
        parents: &[Stage::AttnQk, Stage::AttentionMask],
    },
    StageInfo {
        stage: Stage::AttnWeights,
        name: "attn_weights",
        parents: &[Stage::AttnScores],
    },
    StageInfo {
        stage: Stage::AttnCtx,
        name: "attn_ctx",
        parents: &[Stage::AttnWeights, Stage::VProj],
    },
    StageInfo {
        stage: Stage::OProj,
        name: "o_proj",
        parents: &[Stage::AttnCtx],
    },
    StageInfo {
        stage: Stage::AttnPostNorm,
        name: "attn_post_norm",
        parents: &[Stage::OProj],
    },
    StageInfo {
        stage: Stage::AttnResidual,
        name: "attn_residual",
        parents: &[Stage::Input, Stage::AttnPostNorm],
    },
    StageInfo {
        stage: Stage::AttnOutNorm,
        name: "attn_out_norm",
        parents: &[Stage::AttnResidual],
    },
    StageInfo {
        stage: Stage::MlpNorm,
        name: "mlp_norm",
        parents: &[Stage::AttnOutNorm],
    },
    StageInfo {
        stage: Stage::GateProj,
        name: "gate_proj",
        parents: &[Stage::MlpNorm],
    },
    StageInfo {
        stage: Stage::UpProj,
        name: "up_proj",
        parents: &[Stage::MlpNorm],
    },
    StageInfo {
        stage: Stage::Act,
        name: "act",
        parents: &[Stage::GateProj],
    },
    StageInfo {
        stage: Stage::MlpMid,
        name: "mlp_mid",
        parents: &[Stage::Act, Stage::UpProj],
    },
    StageInfo {
        stage: Stage::DownProj,
        name: "down_proj",
        parents: &[Stage::MlpMid],
    },
    StageInfo {
        stage: Stage::MlpPostNorm,
        name: "mlp_post_norm",
        parents: &[Stage::DownProj],
    },
    StageInfo {
        stage: Stage::MlpResidual,
        name: "mlp_residual",
        parents: &[Stage::AttnOutNorm, Stage::MlpPostNorm],
    },
    StageInfo {
        stage: Stage::Output,
        name: "output",
        parents: &[Stage::MlpResidual],
    },
    StageInfo {
        stage: Stage::FinalNorm,
        name: "final_norm",
        parents: &[Stage::Output],
    },
    StageInfo {
        stage: Stage::Logits,
        name: "logits",
        parents: &[Stage::FinalNorm],
    },
];

impl Stage {
    pub fn info(self) -> &'static StageInfo {
        &STAGES[self as usize]
    }

    pub fn name(self) -> &'static str {
        self.info().name
    }

    pub fn parents(self) -> &'static [Stage] {
        self.info().parents
    }

    pub fn parse(name: &str) -> Option<Stage> {
        STAGES.iter().find(|s| s.name == name).map(|s| s.stage)
    }

    /// Whether the stage belongs to a layer (`layers.I.` stands before it).
    pub fn is_per_layer(self) -> bool {
        (Stage::Input..=Stage::Output).contains(&self)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (i, row) in STAGES.iter().enumerate() {
            assert_eq!(row.stage as usize, i, "{}", row.name);
            assert!(row.parents.iter().all(|p| *p < row.stage), "{}", row.name);
        }
    }
}
