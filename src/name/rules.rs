//! What one name means, given what the whole dump says.

use super::Stage;
use super::context::Facts;
use super::dialects::{Reading, Rule};
use super::read::Raw;
use super::words::joined;

/// A stage with what decides who may carry it alone.
pub(super) struct Meaning {
    pub stage: Stage,
    pub layer: Option<u32>,
    pub quality: u8,
    /// A further output of the module, or another form of the same tensor.
    pub form: String,
}

/// What one name means, given the facts of the dump.
pub(super) fn meaning(raw: &Raw, facts: &Facts) -> Option<Meaning> {
    if !raw.clean.view.is_empty() {
        return None;
    }
    let Some(hit) = raw.hit else {
        return hidden_state(raw);
    };
    let (stage, module, more) = match hit.reading {
        Reading::Nothing => return None,
        Reading::Stage(s) => (s, false, 0),
        // A module of that name in a model that norms before attention (ViT) ends with the projection.
        Reading::Module(Stage::AttnOutNorm) if facts.says(Stage::AttnNorm) => {
            (Stage::OProj, true, 2)
        }
        Reading::Module(s) => (s, true, 2),
        Reading::Depends(rule) => {
            let (stage, more) = settle(rule, raw, facts)?;
            (stage, false, more)
        }
    };
    let mut m = Meaning {
        stage,
        layer: raw.layer,
        quality: hit.quality + more,
        form: String::new(),
    };
    if hit.input {
        if hit.index.is_some_and(|i| i > 0) {
            return None;
        }
        m.stage = input_of(stage, module, facts)?;
        m.quality += 10;
        if stage == Stage::FinalNorm {
            m.layer = facts.last_layer;
        }
    } else if let Some(i) = hit.index.filter(|&i| i > 0) {
        m.form = i.to_string();
    }
    if !m.stage.is_per_layer() {
        m.layer = None;
    }
    Some(m)
}

/// Hidden state 0 enters layer 0, hidden state i leaves layer i − 1.
fn hidden_state(raw: &Raw) -> Option<Meaning> {
    let i = raw.hidden?;
    let (stage, layer) = match i.checked_sub(1) {
        None => (Stage::Embed, None),
        Some(layer) => (Stage::Output, Some(layer)),
    };
    Some(Meaning {
        stage,
        layer,
        quality: 2,
        form: String::new(),
    })
}

/// The stage a rule gives, with what it adds to the quality.
fn settle(rule: Rule, raw: &Raw, facts: &Facts) -> Option<(Stage, u8)> {
    let spelled = || {
        joined(
            &raw.before
                .iter()
                .chain(&raw.after)
                .cloned()
                .collect::<Vec<_>>(),
        )
    };
    Some(match rule {
        Rule::PostAttention if facts.says(Stage::MlpPostNorm) || facts.says(Stage::MlpNorm) => {
            (Stage::AttnPostNorm, 0)
        }
        Rule::PostAttention => (Stage::MlpNorm, 0),
        Rule::AttnOut if facts.says(Stage::OProj) => (Stage::AttnCtx, 2),
        Rule::AttnOut => (Stage::OProj, 1),
        Rule::Act if facts.fused_gate_up && spelled().contains("act_fn") => (Stage::MlpMid, 0),
        Rule::Act if facts.says(Stage::MlpMid) => (Stage::Act, 0),
        Rule::Act if facts.ungated() => (Stage::MlpMid, 0),
        Rule::Act => (Stage::Act, 0),
        Rule::MidAct if facts.says(Stage::MlpMid) => (Stage::Act, 0),
        Rule::MidAct => (Stage::MlpMid, 0),
        Rule::Scores if facts.says(Stage::AttnScores) => (Stage::AttnQk, 1),
        Rule::Scores => (Stage::AttnScores, 0),
        Rule::QCur => (Stage::QProj, 0),
        Rule::KCur => (Stage::KProj, 0),
        Rule::InpEmbd if facts.says(Stage::Embed) || facts.learned_positions => {
            (Stage::TokEmbed, 0)
        }
        Rule::InpEmbd => (Stage::Embed, 0),
        Rule::Gate if facts.experts => return None,
        Rule::Gate => (Stage::GateProj, 0),
        Rule::AttnLn if facts.says(Stage::MlpNorm) && !facts.says(Stage::AttnNorm) => {
            (Stage::AttnNorm, 0)
        }
        Rule::AttnLn => (Stage::AttnOutNorm, 0),
        Rule::SublayerNorm if facts.norms_behind => (Stage::AttnOutNorm, 0),
        Rule::SublayerNorm => (Stage::AttnNorm, 0),
        Rule::LastNorm if facts.norms_behind => (Stage::Output, 0),
        Rule::LastNorm => (Stage::MlpNorm, 0),
        Rule::HookPre if facts.gated => (Stage::GateProj, 0),
        Rule::HookPre | Rule::HookPreLinear => (Stage::UpProj, 0),
    })
}

/// What enters the operation that a stage is the result of.
fn input_of(stage: Stage, module: bool, facts: &Facts) -> Option<Stage> {
    let attention_in = if facts.post_norm() {
        Stage::Input
    } else {
        Stage::AttnNorm
    };
    let mlp_in = if facts.post_norm() {
        Stage::AttnOutNorm
    } else {
        Stage::MlpNorm
    };
    Some(match stage {
        Stage::OProj | Stage::AttnCtx | Stage::AttnOutNorm if module => attention_in,
        Stage::DownProj if module => mlp_in,
        Stage::TokEmbed => Stage::InputIds,
        Stage::PosEmbed => Stage::PositionIds,
        Stage::AttnNorm | Stage::Output => Stage::Input,
        Stage::QProj | Stage::KProj | Stage::VProj | Stage::QkvProj => attention_in,
        Stage::QNorm => Stage::QProj,
        Stage::KNorm => Stage::KProj,
        Stage::QRope if facts.says(Stage::QNorm) => Stage::QNorm,
        Stage::KRope if facts.says(Stage::KNorm) => Stage::KNorm,
        Stage::QRope => Stage::QProj,
        Stage::KRope => Stage::KProj,
        Stage::AttnWeights => Stage::AttnScores,
        Stage::OProj => Stage::AttnCtx,
        Stage::AttnPostNorm => Stage::OProj,
        Stage::AttnOutNorm | Stage::MlpNorm => Stage::AttnResidual,
        Stage::GateProj | Stage::UpProj => mlp_in,
        Stage::Act | Stage::MlpMid if facts.ungated() => Stage::UpProj,
        Stage::Act => Stage::GateProj,
        Stage::DownProj => Stage::MlpMid,
        Stage::MlpPostNorm => Stage::DownProj,
        Stage::FinalNorm => Stage::Output,
        Stage::Logits => Stage::FinalNorm,
        _ => return None,
    })
}
