//! Names of weights: `model.layers.0.self_attn.q_proj.weight` and `blk.0.attn_q.weight` are both `layers.0.q_proj.weight`.
//!
//! A weight is named by the stage that it computes. Hugging Face's and TorchTitan's names are those of the modules; GGUF has a
//! vocabulary of its own (gguf-py/gguf/constants.py), in which some words mean another stage than in llama.cpp's graph.

use super::read::Raw;
use super::words::{Word, joined};
use crate::graph::{self, Stage};

/// Takes the kind of parameter off the end of a name.
pub(super) fn take_kind(words: &mut Vec<Word>) -> Option<String> {
    let last = words.last()?;
    let parameter = last.sep == '.' && graph::words().parameters.contains(&last.lower);
    if !parameter || words.len() < 2 {
        return None;
    }
    words.pop().map(|w| w.lower)
}

/// What a tensor of a GGUF file is the weight of.
pub(super) fn gguf(raw: &Raw) -> Option<Stage> {
    let words = match raw.layer {
        Some(_) => &raw.after,
        None => &raw.before,
    };
    graph::graph().of_weight(raw.layer.is_some(), &joined(words))
}
