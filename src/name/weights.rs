//! Names of weights: `model.layers.0.self_attn.q_proj.weight` and `blk.0.attn_q.weight` are both `layers.0.q_proj.weight`.
//!
//! A weight is named by the stage that it computes. Hugging Face's and TorchTitan's names are those of the modules; GGUF has a
//! vocabulary of its own (gguf-py/gguf/constants.py), in which some words mean another stage than in llama.cpp's graph.

use super::Stage;
use super::read::Raw;
use super::words::{Word, joined};

/// What a checkpoint calls the parameters of a module.
pub(super) const KINDS: &[&str] = &["weight", "bias"];

/// Takes the kind of parameter off the end of a name.
pub(super) fn take_kind(words: &mut Vec<Word>) -> Option<String> {
    let last = words.last()?;
    let parameter = last.sep == '.' && last.is_any(KINDS);
    if !parameter || words.len() < 2 {
        return None;
    }
    words.pop().map(|w| w.lower)
}

/// What a tensor of a GGUF file is the weight of.
pub(super) fn gguf(raw: &Raw) -> Option<Stage> {
    let table = if raw.layer.is_some() { LAYER } else { TOP };
    let words = match raw.layer {
        Some(_) => &raw.after,
        None => &raw.before,
    };
    let name = joined(words);
    let known = table.iter().find(|(spelled, _)| *spelled == name)?;
    Some(known.1)
}

const TOP: &[(&str, Stage)] = &[
    ("token_embd", Stage::TokEmbed),
    ("position_embd", Stage::PosEmbed),
    ("token_types", Stage::TypeEmbed),
    ("token_embd_norm", Stage::Embed),
    ("output_norm", Stage::FinalNorm),
    ("output", Stage::Logits),
];

const LAYER: &[(&str, Stage)] = &[
    ("attn_norm", Stage::AttnNorm),
    ("attn_qkv", Stage::QkvProj),
    ("attn_q", Stage::QProj),
    ("attn_k", Stage::KProj),
    ("attn_v", Stage::VProj),
    ("attn_q_norm", Stage::QNorm),
    ("attn_k_norm", Stage::KNorm),
    ("attn_output", Stage::OProj),
    ("post_attention_norm", Stage::AttnPostNorm),
    ("attn_output_norm", Stage::AttnOutNorm),
    ("ffn_norm", Stage::MlpNorm),
    ("ffn_gate", Stage::GateProj),
    ("ffn_up", Stage::UpProj),
    ("ffn_down", Stage::DownProj),
    ("post_ffw_norm", Stage::MlpPostNorm),
    ("layer_output_norm", Stage::Output),
];
