//! Where a name says its layer, and which stack of layers that is.

use super::read::{Raw, is_leading_noise};
use super::words::Word;
use crate::graph;

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
        // `h0.ln1` is in a layer, `h0` the state before it
        if let Some(n) = w.fused("h")
            && words
                .get(i + 1)
                .is_some_and(|n| n.sep == '.' || n.sep == '/')
        {
            return Some((n, i, 1));
        }
        if w.lower == "h"
            && let Some(next) = words.get(i + 1).filter(|n| n.sep == '.' || n.sep == '/')
            && let Some(n) = next.number()
        {
            return Some((n, i, 2));
        }
    }
    // `attn_norm-3_pos5`: a place in the sequence stands behind the layer
    let place = |w: &Word| {
        graph::words()
            .folder_steps
            .iter()
            .any(|s| w.fused(s).is_some())
    };
    let end = words.iter().rposition(|w| !place(w)).map_or(0, |at| at + 1);
    let (last, rest) = words[..end].split_last()?;
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

/// The part of the model that a name belongs to, by its place in the pipeline; the first word that says one decides.
pub(super) fn tower(before: &[Word]) -> usize {
    before
        .iter()
        .find_map(word_of_tower)
        .unwrap_or_else(|| graph::words().tower(""))
}

/// The part that a word names.
pub(super) fn word_of_tower(word: &Word) -> Option<usize> {
    let towers = &graph::words().tower;
    towers.iter().position(|t| t.words.contains(&word.lower))
}

/// Where the words of a block that is no layer of a plain stack begin: a container (`down_blocks`), or a list inside a list
/// (`layers.0.blocks.1`, `layer1.0.conv2`). T5's `block.0.layer.1` is half a layer.
pub(super) fn container(words: &[Word]) -> Option<usize> {
    let part = |text: &str, word: &Word| match text.split_once('#') {
        Some((head, _)) => word.fused(head).is_some() || head.is_empty() && word.number().is_some(),
        None => text == word.lower,
    };
    let begins = |i: usize, container: &[String]| {
        let behind = &words[i..];
        let mut parts = container.iter().zip(behind);
        container.len() <= behind.len() && parts.all(|(text, word)| part(text, word))
    };
    let named = (0..words.len()).find(|&i| {
        let head = words[i]
            .lower
            .trim_end_matches(|c: char| c.is_ascii_digit());
        let known = graph::words().containers.get(head);
        known.is_some_and(|all| all.iter().any(|c| begins(i, c)))
    });
    named.or_else(|| {
        let (_, start, len) = strong_marker(words)?;
        let rest = &words[start + len..];
        let further =
            |w: &Word| !graph::words().trailing.contains(&w.lower) && w.number().is_none();
        match rest {
            [n, more, ..] if n.sep == '.' && n.number().is_some() && further(more) => Some(start),
            _ => {
                let (_, second, _) = strong_marker(rest)?;
                let half = rest[second].lower == "layer" && words[start].lower.starts_with("block");
                (!half).then_some(start + len + second)
            }
        }
    })
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
}
