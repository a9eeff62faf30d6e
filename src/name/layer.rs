//! Where a name says its layer, and which stack of layers that is.

use super::read::{Raw, is_leading_noise};
use super::words::Word;
use crate::graph;

/// Which stack of layers a name belongs to, where a model has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tower {
    #[default]
    Main,
    Encoder,
    Decoder,
    Vision,
    Audio,
    Draft,
}

impl Tower {
    /// The first word of a key's `rest`; empty for the model itself.
    pub fn name(self) -> &'static str {
        match self {
            Tower::Main | Tower::Decoder => "",
            Tower::Encoder => "encoder",
            Tower::Vision => "vision",
            Tower::Audio => "audio",
            Tower::Draft => "draft",
        }
    }
}

pub(super) fn strong_marker(words: &[Word]) -> Option<(u32, usize, usize)> {
    for (i, w) in words.iter().enumerate() {
        if i > 0 && w.sep == '_' && words[i - 1].is_any(&["up", "down", "mid", "num"]) {
            continue;
        }
        if graph::words().layer.contains(&w.lower) {
            if let Some(n) = words.get(i + 1).and_then(Word::number) {
                return Some((n, i, 2));
            }
            let id = words
                .get(i + 1)
                .is_some_and(|w| w.is_any(&["id", "idx", "index", "no", "num"]));
            if let (true, Some(n)) = (id, words.get(i + 2).and_then(Word::number)) {
                return Some((n, i, 3));
            }
        }
        if let Some(n) = graph::words().fused_layer.iter().find_map(|p| w.fused(p)) {
            return Some((n, i, 1));
        }
    }
    None
}

pub(super) fn weak_marker(words: &[Word]) -> Option<(u32, usize, usize)> {
    for (i, w) in words.iter().enumerate() {
        if let Some(n) = w.fused("l") {
            return Some((n, i, 1));
        }
        if w.lower == "l"
            && words.len() > 2
            && let Some(n) = words.get(i + 1).and_then(Word::number)
        {
            return Some((n, i, 2));
        }
        if w.lower == "h"
            && let Some(next) = words.get(i + 1).filter(|n| n.sep == '.' || n.sep == '/')
            && let Some(n) = next.number()
        {
            return Some((n, i, 2));
        }
    }
    let (last, rest) = words.split_last()?;
    let llama_cpp =
        last.sep == '-' && !rest.is_empty() && rest.iter().all(|w| w.number().is_none());
    last.number()
        .filter(|_| llama_cpp)
        .map(|n| (n, rest.len(), 1))
}

/// `hidden_states.3`, `hidden_state_3`, `h3`, `hs_3`, with nothing but the model's prefix before it.
pub(super) fn hidden_index(words: &[Word]) -> Option<u32> {
    let start = words.iter().take_while(|w| is_leading_noise(w)).count();
    let w = &words[start..];
    match w {
        [one] => one
            .fused("h")
            .or_else(|| one.fused("hidden"))
            .or_else(|| one.fused("hs")),
        [a, n] if a.is_any(&["h", "hs", "hidden", "hiddenstates"]) => n.number(),
        [a, b, n] if a.lower == "hidden" && b.is_any(&["state", "states"]) => n.number(),
        _ => None,
    }
}

pub(super) fn tower(before: &[Word]) -> Tower {
    for w in before {
        match w.lower.as_str() {
            "vision" | "visual" | "image" | "vit" => return Tower::Vision,
            "audio" | "speech" => return Tower::Audio,
            "mtp" | "draft" | "eagle" => return Tower::Draft,
            "encoder" => return Tower::Encoder,
            "decoder" => return Tower::Decoder,
            _ => {}
        }
    }
    Tower::Main
}

pub(super) fn is_foreign(raw: &Raw) -> bool {
    let words = || raw.before.iter().chain(&raw.after);
    let pair = |a: &str, b: &str| {
        let mut neighbours = words().zip(words().skip(1));
        neighbours.any(|(x, y)| x.lower == a && y.lower == b)
    };
    let noise = raw
        .before
        .iter()
        .take_while(|w| is_leading_noise(w))
        .count();
    let several = raw.before.len() - noise + raw.after.len() > 1;
    (several && words().any(|w| graph::words().foreign.contains(&w.lower)))
        || pair("encoder", "attn")
        || pair("linear", "attn")
        || pair("ffn", "moe")
        // T5's decoder attends to the encoder in its second sublayer.
        || raw.tower == Tower::Decoder
            && matches!(&raw.after[..], [l, n, ..] if l.lower == "layer" && n.number() == Some(1))
        || several && words().any(|w| w.lower == "mixer") && !words().any(|w| w.lower == "wqkv")
}
