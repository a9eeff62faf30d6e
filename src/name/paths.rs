//! The path of every tensor of a side through the modules of its model.

use super::Places;
use super::context::Names;
use super::layer::weak_marker;
use super::read::{Raw, is_leading_noise};
use super::words::Word;
use crate::graph::{Key, Path, Segment, places};
use std::collections::{HashMap, HashSet};

/// A name of more words than this is one module.
const LONG: usize = 100;
/// One module in so many names, where modules are dumped.
const FEW: usize = 10;
/// Labels of more words than this are not looked for in names without separators.
const LONGEST: usize = 6;

impl Names<'_> {
    /// What the names say of the order.
    pub(super) fn places(&self, keys: &[Key]) -> Places {
        Places {
            paths: self.paths(keys),
            counters: self.counters.clone(),
        }
    }

    /// The paths of all names. Points and slashes part modules where most names have them; else the labels that the graph knows
    /// do, and names that others begin with.
    fn paths(&self, keys: &[Key]) -> Vec<Path> {
        let long = self.raws.iter().filter(|r| r.clean.words.len() > 1);
        let (mut parted, mut all) = (0, 0);
        for raw in long {
            let parts = raw.clean.words[1..].iter();
            parted += usize::from(parts.clone().any(|w| matches!(w.sep, '.' | '/')));
            all += 1;
        }
        let mut paths: Vec<Path> = match parted * 2 >= all && parted > 0 {
            true => self.raws.iter().map(parted_path).collect(),
            false => {
                let tokens: Vec<Vec<String>> = self.raws.iter().map(tokens).collect();
                let whole: HashSet<String> = tokens.iter().map(|t| t.join("_")).collect();
                // where hardly any name goes on where another one ends there are no modules: what names mean is all there is
                let flat = modules(&tokens, &whole) * FEW < tokens.len();
                let of = |(t, key): (&Vec<String>, &Key)| match key_path(key) {
                    Some(path) if flat => path,
                    _ => found_path(t, &whole),
                };
                tokens.iter().zip(keys).map(of).collect()
            }
        };
        for (path, raw) in paths.iter_mut().zip(&self.raws) {
            let call = raw.clean.occurrence.unwrap_or(0);
            if let Some(last) = path.last_mut() {
                last.call = call;
            }
        }
        settle_calls(&mut paths);
        paths
    }
}

/// How many names several others go on from.
fn modules(tokens: &[Vec<String>], whole: &HashSet<String>) -> usize {
    let mut held: HashMap<String, usize> = HashMap::new();
    for name in tokens.iter().filter(|t| t.len() <= LONG) {
        for end in 1..name.len() {
            let head = name[..end].join("_");
            if whole.contains(&head) {
                *held.entry(head).or_default() += 1;
            }
        }
    }
    held.values().filter(|n| **n > 1).count()
}

/// The layer and the node of a tensor that is one.
fn key_path(key: &Key) -> Option<Path> {
    let stage = key.stage.filter(|_| key.is_canonical())?;
    let tower = Some(key.tower())
        .filter(|t| !t.is_empty())
        .map(Segment::read);
    let layer = key
        .layer
        .map(|layer| Segment::read(&format!("layers{layer}")));
    let node = Segment::read(stage.name());
    Some(tower.into_iter().chain(layer).chain([node]).collect())
}

/// Points and slashes part modules.
fn parted_path(raw: &Raw) -> Path {
    let mut path = Path::new();
    let mut label = String::new();
    for (i, word) in raw.clean.words.iter().enumerate() {
        if i > 0 && matches!(word.sep, '.' | '/') {
            crate::graph::push(&mut path, Segment::read(&label));
            label.clear();
        }
        if !label.is_empty() {
            label.push('_');
        }
        label.push_str(&word.lower);
    }
    crate::graph::push(&mut path, Segment::read(&label));
    with_layer(raw, path)
}

/// A layer that only a tag of the file says (`layer_id=3`) stands before all else.
fn with_layer(raw: &Raw, mut path: Path) -> Path {
    if let Some(layer) = raw.clean.layer {
        let segment = Segment {
            label: "layer".into(),
            number: Some(layer),
            call: 0,
        };
        path.insert(0, segment);
    }
    path
}

/// Words with the digits behind them apart: `layers3` is `layers` and `3`. The layer stands before what it holds.
fn tokens(raw: &Raw) -> Vec<String> {
    let own = raw
        .before
        .iter()
        .skip_while(|w| is_leading_noise(w))
        .count()
        > 0;
    let behind = raw.layer.is_some() && own && {
        let weak = weak_marker(&raw.clean.words).is_some_and(|(n, start, _)| {
            Some(n) == raw.layer && raw.clean.words[start].sep != '.' && start > 0
        });
        let stage = raw.hit.is_some_and(|h| h.layered && h.quality <= 5);
        weak || raw.after.is_empty() && stage
    };
    let mut tokens = Vec::new();
    let mut add = |words: &[Word]| {
        for word in words {
            let letters = word.lower.trim_end_matches(|c: char| c.is_ascii_digit());
            let digits = &word.lower[letters.len()..];
            tokens.extend(
                [letters, digits]
                    .into_iter()
                    .filter(|t| !t.is_empty())
                    .map(str::to_owned),
            );
        }
    };
    match raw.layer {
        Some(layer) if behind || raw.clean.layer.is_some() => {
            let marker = super::words::split(&format!("layer_{layer}"));
            add(&marker);
            add(&raw.before);
            add(&raw.after);
        }
        _ => add(&raw.clean.words),
    }
    tokens
}

fn is_number(token: &str) -> bool {
    token.bytes().all(|b| b.is_ascii_digit())
}

/// The longest labels that the graph knows, from left to right, up to where another name ends; else every word is a module.
fn found_path(tokens: &[String], whole: &HashSet<String>) -> Path {
    if tokens.len() > LONG {
        return vec![Segment::read(&tokens.join("_"))];
    }
    let known = |at: usize, end: usize| {
        let numbered = end > at + 1 && is_number(&tokens[end - 1]);
        places().knows(&tokens[at..end].join("_"))
            || numbered && places().knows(&tokens[at..end - 1].join("_"))
    };
    let label = |at: usize, end: usize| Segment::read(&tokens[at..end].join("_")).label;
    let mut path = Path::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_number(&tokens[at]) {
            crate::graph::push(&mut path, Segment::read(&tokens[at]));
            at += 1;
            continue;
        }
        let limit = (at + 1..tokens.len())
            .find(|&end| whole.contains(&tokens[..end].join("_")))
            .unwrap_or(tokens.len());
        let ends = |limit: usize| {
            (at + 1..=limit.min(at + LONGEST))
                .rev()
                .find(|&end| known(at, end))
        };
        // `norm1_context` stands beside `norm1`, `norm1_linear` in it
        let stands = |end: usize| end == tokens.len() || whole.contains(&tokens[..end].join("_"));
        let across = ends(tokens.len()).filter(|&end| {
            let beside = || !places().holds(&label(at, limit), &label(limit, end));
            end <= limit || at > 0 && stands(end) && beside()
        });
        let mut end = across.or_else(|| ends(limit)).unwrap_or(at + 1);
        // a number directly behind belongs to it
        if tokens.get(end).is_some_and(|t| is_number(t)) && !is_number(&tokens[end - 1]) {
            end += 1;
        }
        path.push(Segment::read(&tokens[at..end].join("_")));
        at = end;
    }
    path
}

/// Where every tensor below a module has a second call, it is the module that was called twice.
fn settle_calls(paths: &mut [Path]) {
    if paths.iter().all(|p| p.last().is_none_or(|s| s.call == 0)) {
        return;
    }
    // the paths of the first calls below each module, and of the calls with a number
    let mut below: std::collections::BTreeMap<Path, [HashSet<Path>; 2]> = Default::default();
    let first = |path: &Path| -> Path {
        let mut path = path.clone();
        if let Some(last) = path.last_mut() {
            last.call = 0;
        }
        path
    };
    for path in paths.iter() {
        let again = usize::from(path.last().is_some_and(|s| s.call > 0));
        for end in 1..path.len() {
            below.entry(path[..end].to_vec()).or_default()[again].insert(first(path));
        }
    }
    for path in paths.iter_mut() {
        let call = path.last().map_or(0, |s| s.call);
        if call == 0 {
            continue;
        }
        let twice = (1..path.len()).find(|&end| {
            below
                .get(&path[..end])
                .is_some_and(|[once, again]| once.len() > 1 && once == again)
        });
        if let (Some(end), Some(last)) = (twice, path.len().checked_sub(1)) {
            path[last].call = 0;
            path[end - 1].call = call;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, keys};

    /// The segments of each name, parted by spaces.
    fn paths(names: &[&str]) -> Vec<String> {
        let entries: Vec<Entry<'_>> = names
            .iter()
            .map(|name| Entry {
                name,
                ..Entry::default()
            })
            .collect();
        let shown = |path: &Vec<crate::graph::Segment>| -> String {
            let part = |s: &crate::graph::Segment| match s.number {
                Some(n) => format!("{}[{n}]", s.label),
                None => s.label.clone(),
            };
            path.iter().map(part).collect::<Vec<_>>().join(" ")
        };
        keys(&entries).1.paths.iter().map(shown).collect()
    }

    #[test]
    fn modules_are_found_without_points() {
        assert_eq!(
            paths(&[
                "model_layers_0_self_attn",
                "model_layers_0_self_attn_q_proj",
                "model_layers_0_post_attention_layernorm",
                "model_layers_0",
                "vit_layers_0_mlp_fc1",
                "vit_layers_0_layernorm_before",
                "encoder_block_0_layer_0_SelfAttention_q",
                "down_blocks_0_resnets_1_conv1",
                "time_embedding_linear_1",
                "wrapped_strange_thing",
                "wrapped_strange_thing_inner",
                "backbone",
                "backbone_layers_0_mixer",
                "backbone_layers_0_mixer_in_proj",
                "backbone_layers_0_mixer_x_proj",
                "bert",
                "bert_encoder",
                "bert_encoder_layer_0_output_dense",
            ]),
            [
                "model layers[0] attn",
                "model layers[0] attn q_proj",
                "model layers[0] post_attn_norm",
                "model layers[0]",
                "vit layers[0] mlp fc[1]",
                "vit layers[0] norm_before",
                "encoder block[0] layer[0] attn q",
                "down_blocks[0] resnets[1] conv[1]",
                "time_embed linear[1]",
                "wrapped strange thing",
                "wrapped strange thing inner",
                "backbone",
                "backbone layers[0] mixer",
                "backbone layers[0] mixer in_proj",
                "backbone layers[0] mixer x_proj",
                "bert",
                "bert encoder",
                "bert encoder layer[0] out_dense",
            ]
        );
    }
}
