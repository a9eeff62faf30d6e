//! The order of pairs: as the pipeline runs, where that is known.

use super::{Key, Stage};
use crate::graph::pipeline_position;
use crate::natural::natural;
use std::collections::{BTreeMap, BTreeSet};

/// What the order of a tensor depends on; given in file order.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub key: &'a Key,
    pub name: &'a str,
    /// Position in a declared order of execution.
    pub sequence: Option<u64>,
}

/// Where the order came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBasis {
    /// The stages of the model.
    Pipeline,
    /// A manifest, dump indices, or the user's list.
    Manifest,
    /// The order in the archive or log.
    File,
    /// Names with their numbers compared as numbers.
    Natural,
}

impl OrderBasis {
    pub fn name(self) -> &'static str {
        match self {
            OrderBasis::Pipeline => "pipeline",
            OrderBasis::Manifest => "manifest",
            OrderBasis::File => "file",
            OrderBasis::Natural => "natural",
        }
    }
}

/// Sorts the items; `user` holds one stage or name per line and decides for what it names.
pub fn order(items: &[Item<'_>], user: Option<&[String]>) -> (Vec<usize>, OrderBasis) {
    let known = items.iter().filter(|i| i.key.stage.is_some()).count();
    // A tracer of every function writes many tensors for each stage: the stages are those of a transformer all the same.
    const TRANSFORMER: usize = 6;
    let stages: BTreeSet<Stage> = items.iter().filter_map(|i| i.key.stage).collect();
    let enough = known * 3 >= items.len() || stages.len() >= TRANSFORMER;
    let (mut sorted, mut basis) = if known > 0 && enough {
        (pipeline(items), OrderBasis::Pipeline)
    } else if let Some(sorted) = checkpoint(items).filter(|_| known == 0) {
        (sorted, OrderBasis::Pipeline)
    } else {
        unknown(items)
    };
    if let Some(lines) = user
        && by_user(items, &mut sorted, lines)
    {
        basis = OrderBasis::Manifest;
    }
    (sorted, basis)
}

/// Weights in the order in which the model uses them; `None` when most items are none.
fn checkpoint(items: &[Item<'_>]) -> Option<Vec<usize>> {
    let known = items
        .iter()
        .filter(|i| i.key.parameter_of().is_some())
        .count();
    let place = |i: usize| {
        let key = items[i].key;
        // One that is not known stands at the end of its layer, or of all.
        let last = key.layer.map_or(Stage::Logits, |_| Stage::MlpResidual);
        let stage = key.parameter_of().unwrap_or(last);
        pipeline_position(&Key {
            stage: Some(stage),
            ..key.clone()
        })
    };
    let mut sorted: Vec<usize> = (0..items.len()).collect();
    sorted.sort_by_cached_key(|&i| (place(i), i));
    (known > 0 && known * 3 >= items.len()).then_some(sorted)
}

/// Declared order, else the order of the file when it is not that of the alphabet, else natural order.
fn unknown(items: &[Item<'_>]) -> (Vec<usize>, OrderBasis) {
    let mut sorted: Vec<usize> = (0..items.len()).collect();
    if !items.is_empty() && items.iter().all(|i| i.sequence.is_some()) {
        sorted.sort_by_key(|&i| (items[i].key.step, items[i].sequence));
        return (sorted, OrderBasis::Manifest);
    }
    sorted.sort_by(|&a, &b| {
        items[a]
            .key
            .step
            .cmp(&items[b].key.step)
            .then_with(|| natural(items[a].name, items[b].name))
    });
    let alphabetic = items.windows(2).all(|w| w[0].name <= w[1].name);
    if alphabetic || sorted.iter().enumerate().all(|(k, &i)| k == i) {
        return (sorted, OrderBasis::Natural);
    }
    sorted.sort_by_key(|&i| (items[i].key.step, i));
    (sorted, OrderBasis::File)
}

/// Known stages as the pipeline runs; the others between them.
fn pipeline(items: &[Item<'_>]) -> Vec<usize> {
    let mut known: Vec<usize> = (0..items.len())
        .filter(|&i| items[i].key.stage.is_some())
        .collect();
    known.sort_by_cached_key(|&i| (pipeline_position(items[i].key), items[i].sequence, i));
    let told = execution_order(items, &known).map(|place| {
        let steps = by_execution(items, &known, &place);
        (place, steps)
    });
    // After which known item each of the others goes, by (position among the known, own place).
    let mut after: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for i in (0..items.len()).filter(|&i| items[i].key.stage.is_none()) {
        let slot = match &told {
            Some((place, steps)) => {
                slot_by_execution(items, &known, steps, place[i], items[i].key.step)
            }
            None => slot_by_words(items, &known, i),
        };
        after.entry(slot).or_default().push(i);
    }
    for group in after.values_mut() {
        match &told {
            Some((place, _)) => group.sort_by_key(|&i| (items[i].key.step, place[i])),
            None => group.sort_by(|&a, &b| natural(items[a].name, items[b].name)),
        }
    }
    let mut sorted = Vec::with_capacity(items.len());
    for slot in 0..=known.len() {
        sorted.extend(after.remove(&slot).unwrap_or_default());
        sorted.extend(known.get(slot));
    }
    sorted
}

/// The place of each item in the order of execution: declared, or that of the file when it agrees with the pipeline.
fn execution_order(items: &[Item<'_>], known: &[usize]) -> Option<Vec<u64>> {
    let declared = items.iter().all(|i| i.sequence.is_some());
    let place: Vec<u64> = items
        .iter()
        .enumerate()
        .map(|(i, item)| item.sequence.filter(|_| declared).unwrap_or(i as u64))
        .collect();
    if declared {
        return Some(place);
    }
    let ascending = known
        .windows(2)
        .filter(|w| place[w[0]] < place[w[1]])
        .count();
    (known.len() > 4 && ascending * 10 >= (known.len() - 1) * 8).then_some(place)
}

/// The known items of each step by their place in the order of execution.
fn by_execution(
    items: &[Item<'_>],
    known: &[usize],
    place: &[u64],
) -> BTreeMap<Option<u32>, Vec<(u64, usize)>> {
    let mut steps: BTreeMap<Option<u32>, Vec<(u64, usize)>> = BTreeMap::new();
    for (position, &k) in known.iter().enumerate() {
        steps
            .entry(items[k].key.step)
            .or_default()
            .push((place[k], position));
    }
    steps.values_mut().for_each(|v| v.sort_unstable());
    steps
}

/// Behind the known item that ran last before it.
fn slot_by_execution(
    items: &[Item<'_>],
    known: &[usize],
    steps: &BTreeMap<Option<u32>, Vec<(u64, usize)>>,
    place: u64,
    step: Option<u32>,
) -> usize {
    let before = steps
        .get(&step)
        .and_then(|v| v[..v.partition_point(|(p, _)| *p < place)].last());
    match before {
        Some((_, position)) => position + 1,
        None => known.partition_point(|&k| items[k].key.step < step),
    }
}

/// By step, layer and what the words are about.
fn slot_by_words(items: &[Item<'_>], known: &[usize], i: usize) -> usize {
    let key = items[i].key;
    let about = about(&key.rest);
    let stage = match (key.layer, about) {
        (Some(_), Some(s)) if s.is_per_layer() => s,
        (Some(_), _) => Stage::MlpResidual,
        (None, Some(s)) if !s.is_per_layer() => s,
        (None, _) => Stage::Embed,
    };
    let stand_in = Key {
        stage: Some(stage),
        rest: String::from("\u{10ffff}"),
        ..key.clone()
    };
    let own = pipeline_position(&stand_in);
    known.partition_point(|&k| pipeline_position(items[k].key) <= own)
}

/// The stage that a tensor without one is near to, by its words.
fn about(name: &str) -> Option<Stage> {
    let name = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| name.contains(w));
    Some(
        if has(&["rotary", "cos", "sin", "freq", "position", "mask"]) {
            Stage::PositionIds
        } else if has(&[
            "expert",
            "moe",
            "router",
            "mlp",
            "ffn",
            "feed_forward",
            "gate",
        ]) {
            Stage::MlpMid
        } else if has(&["vcur", "cache_v", "v_cache"]) {
            Stage::VProj
        } else if has(&["cur", "cache", "kv_", "q_", "k_"]) {
            Stage::KRope
        } else if has(&["kqv"]) {
            Stage::AttnCtx
        } else if has(&["attn", "attention", "mamba", "ssm", "conv", "mixer", "kq"]) {
            Stage::AttnWeights
        } else if has(&["norm"]) {
            Stage::AttnNorm
        } else if has(&[
            "pooler", "head", "loss", "result", "sample", "prob", "class",
        ]) {
            Stage::Logits
        } else {
            return None;
        },
    )
}

/// The user's lines that name no item.
pub fn unused<'l>(items: &[Item<'_>], lines: &'l [String]) -> Vec<&'l str> {
    let idle = |line: &&str| !items.iter().any(|i| names(i.key, i.name, line));
    let lines = lines.iter().map(|line| line.trim());
    lines.filter(idle).collect()
}

/// Items that the user's lines name take the places of those items, in the order of the lines. Returns whether any was named.
fn by_user(items: &[Item<'_>], sorted: &mut [usize], lines: &[String]) -> bool {
    let lines: Vec<&str> = lines.iter().map(|l| l.trim()).collect();
    let line_of = |i: usize| {
        lines
            .iter()
            .position(|l| names(items[i].key, items[i].name, l))
    };
    let named: Vec<Option<usize>> = (0..items.len()).map(line_of).collect();
    // A line that names several layers repeats with them.
    let mut layers: BTreeMap<usize, Vec<Option<u32>>> = BTreeMap::new();
    for (i, line) in named.iter().enumerate() {
        if let Some(line) = line {
            layers.entry(*line).or_default().push(items[i].key.layer);
        }
    }
    let repeats = |line: &usize| {
        layers
            .get(line)
            .is_some_and(|l| l.iter().any(|x| *x != l[0]))
    };
    let first_repeated = layers.keys().find(|l| repeats(l)).copied();
    let last_repeated = layers.keys().rfind(|l| repeats(l)).copied();
    let position = |i: usize| {
        let line = named[i].unwrap_or(usize::MAX);
        let zone = match (first_repeated, last_repeated) {
            (Some(first), _) if line < first => 0,
            (_, Some(last)) if line > last => 2,
            _ => 1,
        };
        let layer = items[i]
            .key
            .layer
            .filter(|_| zone == 1 && first_repeated.is_some());
        (items[i].key.step, zone, layer, line, i)
    };
    let slots: Vec<usize> = (0..sorted.len())
        .filter(|&k| named[sorted[k]].is_some())
        .collect();
    let mut chosen: Vec<usize> = slots.iter().map(|&k| sorted[k]).collect();
    chosen.sort_by_key(|&i| position(i));
    for (slot, i) in slots.iter().zip(chosen) {
        sorted[*slot] = i;
    }
    !slots.is_empty()
}

/// Whether a line of the user's list names this tensor: its name, its key, or its stage without step and layer.
fn names(key: &Key, name: &str, line: &str) -> bool {
    let without_step = Key {
        step: None,
        rank: None,
        ..key.clone()
    };
    let without_layer = Key {
        layer: None,
        ..without_step.clone()
    };
    line == name
        || line == key.to_string()
        || line == without_step.to_string()
        || line == without_layer.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, keys};
    use super::*;

    fn sorted<'a>(
        names: &[&'a str],
        sequence: bool,
        user: Option<&[&str]>,
    ) -> (Vec<&'a str>, OrderBasis) {
        let entries: Vec<Entry<'_>> = names
            .iter()
            .map(|&name| Entry {
                name,
                ..Entry::default()
            })
            .collect();
        let keys = keys(&entries);
        let items: Vec<Item<'_>> = keys
            .iter()
            .zip(names)
            .enumerate()
            .map(|(i, (key, &name))| Item {
                key,
                name,
                sequence: sequence.then_some(i as u64),
            })
            .collect();
        let user: Option<Vec<String>> = user.map(|u| u.iter().map(|s| s.to_string()).collect());
        let (order, basis) = order(&items, user.as_deref());
        (order.into_iter().map(|i| names[i]).collect(), basis)
    }

    #[test]
    fn stages_run_as_the_pipeline_does() {
        let (names, basis) = sorted(
            &[
                "lm_head",
                "model.layers.10.mlp",
                "model.layers.2.mlp",
                "model.embed_tokens",
                "model.layers.2.self_attn.q_proj",
                "model.norm",
            ],
            false,
            None,
        );
        assert_eq!(
            names,
            [
                "model.embed_tokens",
                "model.layers.2.self_attn.q_proj",
                "model.layers.2.mlp",
                "model.layers.10.mlp",
                "model.norm",
                "lm_head"
            ]
        );
        assert_eq!(basis, OrderBasis::Pipeline);
    }

    #[test]
    fn what_has_no_stage_stands_between_its_neighbours() {
        let (names, _) = sorted(
            &[
                "model.layers.0.input_layernorm",
                "model.layers.0.mlp.experts.0.w9",
                "model.layers.0",
                "model.layers.1.input_layernorm",
                "model.rotary_emb",
                "model.embed_tokens",
            ],
            false,
            None,
        );
        assert_eq!(
            names,
            [
                "model.rotary_emb",
                "model.embed_tokens",
                "model.layers.0.input_layernorm",
                "model.layers.0.mlp.experts.0.w9",
                "model.layers.0",
                "model.layers.1.input_layernorm"
            ]
        );
        let (names, _) = sorted(
            &[
                "embd",
                "attn_norm-0",
                "mystery-0",
                "Vcur-0",
                "node_7",
                "l_out-0",
            ],
            true,
            None,
        );
        assert_eq!(
            names,
            [
                "embd",
                "attn_norm-0",
                "mystery-0",
                "Vcur-0",
                "node_7",
                "l_out-0"
            ]
        );
    }

    #[test]
    fn another_kind_of_model_keeps_declared_file_or_natural_order() {
        assert_eq!(
            sorted(&["stem", "pool", "body"], true, None),
            (vec!["stem", "pool", "body"], OrderBasis::Manifest)
        );
        assert_eq!(
            sorted(&["stem", "pool", "body"], false, None),
            (vec!["stem", "pool", "body"], OrderBasis::File)
        );
        assert_eq!(
            sorted(&["conv1", "conv10", "conv2"], false, None),
            (vec!["conv1", "conv2", "conv10"], OrderBasis::Natural)
        );
    }

    #[test]
    fn the_users_list_wins_for_what_it_names() {
        let (names, basis) = sorted(
            &["alpha", "beta", "gamma"],
            false,
            Some(&["gamma", "# a remark", "alpha"]),
        );
        assert_eq!(
            (names, basis),
            (vec!["gamma", "beta", "alpha"], OrderBasis::Manifest)
        );
        let (names, _) = sorted(
            &[
                "block_0_b",
                "block_0_a",
                "block_1_b",
                "block_1_a",
                "head",
                "stem",
            ],
            false,
            Some(&["stem", "b", "a", "head"]),
        );
        assert_eq!(
            names,
            [
                "stem",
                "block_0_b",
                "block_0_a",
                "block_1_b",
                "block_1_a",
                "head"
            ]
        );
    }
}
