//! One name read alone: layer, tower, and the candidates for what its words mean.

use super::clean::Clean;
use super::dialects::{Ranking, Reading, look_up};
use super::layer::{hidden_index, is_foreign, strong_marker, tower, weak_marker, word_of_tower};
use super::weights;
use super::words::{Word, canonical, joined, written};
use crate::graph::{self, Stage};

/// A name after everything that can be said without looking at the others.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub clean: Clean,
    pub layer: Option<u32>,
    /// Words before and after the layer marker (all of them before it where there is none).
    pub before: Vec<Word>,
    pub after: Vec<Word>,
    /// `hidden_states_3`, `h3`: entry i of the list of hidden states.
    pub hidden: Option<u32>,
    /// The part of the model, by its place in the pipeline.
    pub tower: usize,
    /// Experts, cross attention, state spaces: no node of a dense decoder.
    pub foreign: bool,
    /// It stands in a block that is no layer of a plain stack: its path is its name.
    pub contained: bool,
    /// Which of the experts.
    pub member: Option<u32>,
    /// A later call of its module.
    pub call: Option<u32>,
    /// `weight`, `bias`: it is a parameter of what the words say.
    pub parameter: Option<String>,
    pub hit: Option<Hit>,
}

/// What the words mean, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub reading: Reading,
    /// 0 for exact words; each step of stripping adds to it.
    pub quality: u8,
    /// The tensor is the input of what was read.
    pub input: bool,
    /// Index in a tuple of inputs or outputs.
    pub index: Option<u32>,
    /// Read from the per-layer spellings.
    pub layered: bool,
}

/// Reads a name; `contained` says that it stands in a block that is no layer of a plain stack.
pub(super) fn read_raw(clean: Clean, contained: bool) -> Raw {
    let mut words = clean.words.clone();
    let parameter = weights::take_kind(&mut words);
    let mut raw = Raw {
        layer: clean.layer,
        before: words,
        parameter,
        after: Vec::new(),
        hidden: None,
        tower: 0,
        foreign: false,
        contained,
        member: None,
        call: None,
        hit: None,
        clean,
    };
    raw.tower = tower(&raw.before);
    if raw.clean.function || contained {
        raw.foreign = true;
        return raw;
    }
    split_at_layer(&mut raw);
    if raw.layer.is_none() {
        raw.hidden = hidden_index(&raw.before);
    }
    raw.tower = tower(&raw.before);
    raw.foreign = is_foreign(&raw);
    raw
}

/// Takes the number of an expert out of the words.
fn take_member(words: &mut Vec<Word>) -> Option<u32> {
    let at = words
        .iter()
        .position(|w| w.is_any(&["experts", "expert"]))?
        + 1;
    let member = words.get(at)?.number()?;
    words.remove(at);
    Some(member)
}

/// Finds the layer marker and parts the words around it. Explicit markers win over `h0`, `l0` and `-0`.
fn split_at_layer(raw: &mut Raw) {
    let words = std::mem::take(&mut raw.before);
    let found = strong_marker(&words).or_else(|| weak_marker(&words));
    match found {
        Some((layer, start, len)) if raw.layer.is_none() => {
            raw.layer = Some(layer);
            raw.before = words[..start].to_vec();
            raw.after = words[start + len..].to_vec();
        }
        _ => raw.before = words,
    }
}

pub(super) fn is_leading_noise(w: &Word) -> bool {
    graph::words().leading.contains(&w.lower) || is_model_class(&w.text)
}

/// `LlamaForCausalLM`, `BertModel`.
fn is_model_class(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && (text.ends_with("LM")
            || text.ends_with("Model")
            || text.contains("For") && text.len() > 8
            || text.ends_with("Transformer"))
}

/// Which dialects to ask, the one that knows most of the names first.
pub(super) fn rank_dialects(raws: &[Raw]) -> Ranking {
    Ranking::of_names(raws.iter().map(|raw| {
        let layered = raw.layer.is_some();
        if layered && !raw.after.is_empty() {
            return (joined(&raw.after), true);
        }
        let start = raw
            .before
            .iter()
            .take_while(|w| is_leading_noise(w))
            .count();
        (joined(&raw.before[start..]), layered)
    }))
}

/// Reads the words of one name, dialects in the order given.
pub(super) fn settle(raw: &mut Raw, dialects: &Ranking) {
    raw.hit = read(raw, dialects);
    if raw.hit.is_none() && bare_number_layer(raw, dialects) {
        raw.hit = read(raw, dialects);
    }
}

/// `encoder.3.self_attn.q_proj`: a bare number as the layer, when what follows it is a stage; whether it is.
fn bare_number_layer(raw: &mut Raw, dialects: &Ranking) -> bool {
    if raw.layer.is_some() || raw.foreign || raw.clean.inner {
        return false;
    }
    for i in 0..raw.before.len().saturating_sub(1) {
        let Some(n) = raw.before[i].number() else {
            continue;
        };
        if find(&raw.before[i + 1..], true, dialects).is_some_and(|h| h.quality <= 2) {
            raw.after = raw.before.split_off(i + 1);
            raw.before.pop();
            raw.layer = Some(n);
            return true;
        }
    }
    false
}

/// Reads a name of which no last words say anything: all of them together, as a node outside the first family.
fn read_foreign(raw: &mut Raw, dialects: &Ranking) -> Option<Hit> {
    if raw.clean.function || raw.contained {
        return None;
    }
    let layered = raw.layer.is_some();
    let noise = leading_noise(raw);
    let mut all: Vec<Word> = raw.before[noise..]
        .iter()
        .chain(&raw.after)
        .cloned()
        .collect();
    let mut after = raw.after.clone();
    if let Some(call) = raw.call {
        let call = super::words::split(&format!("_{call}"));
        all.extend(call.iter().cloned());
        after.extend(call);
    }
    let member = take_member(&mut all);
    take_member(&mut after);
    // what a single expert returns has no node
    if member.is_some() && all.last().is_some_and(|w| w.is_any(&["experts", "expert"])) {
        return None;
    }
    let own = |h: &Hit| match h.reading {
        Reading::Stage(s) | Reading::Module(s) => !s.is_core(),
        Reading::Depends(rule) => !rule.stages().all(Stage::is_core),
        Reading::Nothing => false,
    };
    let read = |words: &[Word], layered| {
        let hit = find_whole(words, layered, dialects).filter(own)?;
        (raw.call.is_none() || hit.quality == 0 && hit.index.is_none()).then_some(hit)
    };
    let hit = match layered {
        true => read(&all, true).or_else(|| read(&after, true)),
        false => read(&all, false).or_else(|| read(&all, true)),
    };
    raw.member = hit.and(member);
    hit
}

/// How many words before the layer only say whose it is.
fn leading_noise(raw: &Raw) -> usize {
    let tower = |w: &Word| raw.layer.is_some() && word_of_tower(w).is_some();
    let noise = |w: &&Word| is_leading_noise(w) || tower(w);
    raw.before.iter().take_while(noise).count()
}

fn read(raw: &mut Raw, dialects: &Ranking) -> Option<Hit> {
    if raw.foreign || raw.call.is_some() {
        return read_foreign(raw, dialects);
    }
    if raw.parameter.is_some()
        && let Some(stage) = weights::gguf(raw)
    {
        return Some(Hit {
            reading: Reading::Stage(stage),
            quality: 0,
            input: false,
            index: None,
            layered: raw.layer.is_some(),
        });
    }
    let hit = read_words(raw, dialects);
    // Without its operation a node's name is that of the module around it.
    hit.filter(|h| !raw.clean.inner || h.quality <= 1)
}

fn read_words(raw: &Raw, dialects: &Ranking) -> Option<Hit> {
    let noise = leading_noise(raw);
    let own = &raw.before[noise..];
    if raw.layer.is_none() {
        return counted(&raw.before, false, dialects)
            .or_else(|| find(&raw.before, false, dialects))
            .or_else(|| find(&raw.before, true, dialects));
    }
    if raw.after.is_empty() && own.is_empty() {
        return Some(layer_itself(0, false, None));
    }
    if raw.after.is_empty() {
        return find(&raw.before, true, dialects);
    }
    if own.is_empty() {
        return counted(&raw.after, true, dialects).or_else(|| find(&raw.after, true, dialects));
    }
    let all: Vec<Word> = raw.before.iter().chain(&raw.after).cloned().collect();
    find(&all, true, dialects)
        .filter(|h| h.quality == 0)
        .or_else(|| counted(&raw.after, true, dialects))
        .or_else(|| find(&raw.after, true, dialects))
        .or_else(|| {
            // `scores_l0_manual`: what follows the layer is a left-over word.
            let hit = find(own, true, dialects)?;
            Some(Hit {
                quality: hit.quality + 5,
                ..hit
            })
        })
}

/// `L00_02_q`, `998_final_norm`: a counter of two digits or more stands before the name.
fn counted(words: &[Word], layered: bool, dialects: &Ranking) -> Option<Hit> {
    let (counter, words) = words.split_first()?;
    let counts = counter.text.len() > 1 && counter.number().is_some();
    if !counts || words.first()?.sep != '_' {
        return None;
    }
    find_whole(words, layered, dialects)
}

fn layer_itself(quality: u8, input: bool, index: Option<u32>) -> Hit {
    let stage = if input { Stage::INPUT } else { Stage::OUTPUT };
    Hit {
        reading: Reading::Stage(stage),
        quality,
        input: false,
        index,
        layered: true,
    }
}

/// A state of stripping words from the end.
#[derive(Clone, Copy)]
struct Peel {
    end: usize,
    input: bool,
    index: Option<u32>,
    cost: u8,
}

/// Tries the words as they are, then without hook suffixes, then without the model's prefix, then by the last path segments.
fn find(words: &[Word], layered: bool, dialects: &Ranking) -> Option<Hit> {
    let noise = words.iter().take_while(|w| is_leading_noise(w)).count();
    find_whole(words, layered, dialects).or_else(|| {
        let segment = |i: &usize| *i > noise && matches!(words[*i].sep, '.' | '/');
        let mut segments = (1..words.len()).filter(segment);
        segments.find_map(|start| {
            let hit = find_from(words, start, 2, layered, dialects)?;
            agrees(&words[noise..start], &words[start..], hit.reading).then_some(hit)
        })
    })
}

/// Whether the modules before a spelling fit what it means: attention holds no projection of the MLP, and a word that many
/// modules have names a node only in a module of its kind.
fn agrees(modules: &[Word], spelling: &[Word], reading: Reading) -> bool {
    let stage = match reading {
        Reading::Stage(s) | Reading::Module(s) => Some(s),
        Reading::Depends(rule) => rule.usual(),
        Reading::Nothing => None,
    };
    let kind = |s: Stage| match s {
        s if !s.is_core() => None,
        s if (Stage::QKV_PROJ..=Stage::O_PROJ).contains(&s) => Some("attn"),
        s if (Stage::GATE_PROJ..=Stage::DOWN_PROJ).contains(&s) => Some("mlp"),
        _ => None,
    };
    let modules = canonical(modules);
    let said = |word: &str| modules.split('_').any(|w| w == word);
    match stage.and_then(kind) {
        Some(kind) if said(kind) => return true,
        Some(kind) if said(if kind == "attn" { "mlp" } else { "attn" }) => return false,
        _ => {}
    }
    let peeled = stripped(spelling)
        .into_iter()
        .map(|p| p.end)
        .filter(|&end| end > 0);
    !peeled
        .into_iter()
        .any(|end| graph::words().weak.contains(&joined(&spelling[..end])))
}

/// The words as they are, then without hook suffixes, then without the model's prefix.
fn find_whole(words: &[Word], layered: bool, dialects: &Ranking) -> Option<Hit> {
    let noise = words.iter().take_while(|w| is_leading_noise(w)).count();
    (0..=noise).find_map(|start| find_from(words, start, 0, layered, dialects))
}

fn find_from(
    words: &[Word],
    start: usize,
    cost: u8,
    layered: bool,
    dialects: &Ranking,
) -> Option<Hit> {
    let peels = peels(words);
    for p in &peels {
        if start > p.end {
            continue;
        }
        if start == p.end {
            // Nothing but a hook suffix: the layer's own output or input.
            if layered && start == 0 {
                return Some(layer_itself(1, p.input, p.index));
            }
            continue;
        }
        if let Some(reading) = look_up(&words[start..p.end], layered, dialects) {
            let mut hit = Hit {
                reading,
                quality: cost + p.cost,
                input: p.input,
                index: p.index,
                layered,
            };
            attention_tuple(&mut hit);
            return Some(hit);
        }
    }
    None
}

/// The second output of an attention module is its probabilities.
fn attention_tuple(hit: &mut Hit) {
    let attention = matches!(
        hit.reading,
        Reading::Module(Stage::O_PROJ | Stage::ATTN_OUT_NORM | Stage::ATTN_CTX)
    );
    if attention && !hit.input && hit.index == Some(1) {
        hit.reading = Reading::Stage(Stage::ATTN_WEIGHTS);
        hit.index = None;
    }
}

fn peels(words: &[Word]) -> Vec<Peel> {
    let mut all = stripped(words);
    // `mlp/outputs`: a path segment of a hook is no part of the name (`mlp_output`).
    if let Some(hook) = words.iter().rposition(|w| w.sep == '/').filter(|&at| {
        words[at].is_any(&["output", "outputs", "input", "inputs"])
            && words[at + 1..].iter().all(|w| w.number().is_some())
    }) {
        all.retain(|p| p.end <= hook);
    }
    all
}

/// The words with none, one, two, … of those at the end taken off that a hook or an exporter puts there.
fn stripped(words: &[Word]) -> Vec<Peel> {
    let mut p = Peel {
        end: words.len(),
        input: false,
        index: None,
        cost: 0,
    };
    let mut all = vec![p];
    let mut numbers = 0;
    while p.end > 0 {
        let w = &words[p.end - 1];
        if let Some(n) = w.number() {
            numbers += 1;
            if numbers > 2 {
                break;
            }
            p.index = p.index.or(Some(n));
        } else if w.is_any(&["output", "outputs", "out"]) {
            p.cost += 1;
        } else if w.is_any(&["input", "inputs"]) {
            p.input = true;
        } else if graph::words().trailing.contains(&w.lower) {
            p.cost += match w.lower.as_str() {
                "add" => 1,
                _ => 2,
            };
        } else {
            break;
        }
        p.end -= 1;
        all.push(p);
    }
    all
}

/// The name without steps, ranks, layer marker and the model's prefix, as it was written.
pub(super) fn cleaned_name(raw: &Raw) -> String {
    if raw.clean.function {
        let name = format!("{} {}", written(&raw.clean.words), raw.clean.extra);
        return name.trim_end().to_owned();
    }
    let noise = match raw.contained {
        // `encoder` and `decoder` are part of the path
        true => {
            let said = |w: &&Word| is_leading_noise(w) && word_of_tower(w).is_none();
            raw.before.iter().take_while(said).count()
        }
        false => leading_noise(raw),
    };
    let keep_all = raw.layer.is_none() && noise == raw.before.len();
    let own = if keep_all {
        &raw.before[..]
    } else {
        &raw.before[noise..]
    };
    let mut words: Vec<Word> = own.to_vec();
    words.extend(raw.after.iter().cloned());
    // `mlp/outputs`, `mlp/output.0`: the first output of a module is the module's.
    let first = words.last().is_some_and(|w| w.text == "0");
    let hook = words.len().saturating_sub(1 + usize::from(first));
    if hook > 0 && words[hook].is_any(&["outputs", "output"]) && words[hook].sep != '_' {
        words.truncate(hook);
    }
    let mut name = written(&words);
    if !raw.clean.view.is_empty() {
        if !name.is_empty() {
            name.push(' ');
        }
        name.push_str(&raw.clean.view);
    }
    if name.is_empty() {
        name.push_str("output");
    }
    if let Some(kind) = &raw.parameter {
        name = format!("{name}.{kind}");
    }
    if let Some(call) = raw.call {
        name = format!("{name}#{call}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(name: &str) -> Raw {
        read_raw(super::super::clean::clean(name), false)
    }

    #[test]
    fn layers_are_found_whatever_the_separator() {
        for (name, layer) in [
            ("model.layers.3.mlp", 3),
            ("layer_12_q", 12),
            ("layers_0_q", 0),
            ("block_07_cpp", 7),
            ("transformer.h.5.ln_1", 5),
            ("L4.attn", 4),
            ("Qcur-2 (view)", 2),
            ("scores_l1_manual", 1),
            ("h0_ffn_l6", 6),
            ("l3_h_mid", 3),
            ("cache_k_l2", 2),
            ("name=x___layer_id=9", 9),
            ("blk.8.attn_norm", 8),
            ("encoder.block.2.layer.1.DenseReluDense.wo", 2),
        ] {
            assert_eq!(raw(name).layer, Some(layer), "{name}");
        }
        for name in [
            "model.norm",
            "h0",
            "up_blocks.1.conv",
            "conv1",
            "node_138",
            "wte",
        ] {
            assert_eq!(raw(name).layer, None, "{name}");
        }
    }

    #[test]
    fn hidden_states_are_counted() {
        for (name, i) in [
            ("h0", 0),
            ("hidden_states_4", 4),
            ("model.hidden_states.2", 2),
            ("hs_1", 1),
        ] {
            assert_eq!(raw(name).hidden, Some(i), "{name}");
        }
        assert_eq!(raw("h0_ffn_l0").hidden, None);
        assert_eq!(raw("h_mid").hidden, None);
    }

    #[test]
    fn experts_and_cross_attention_have_no_canonical_stage() {
        assert!(raw("model.layers.0.mlp.experts.3.gate_proj").foreign);
        assert!(raw("decoder.layers.0.encoder_attn.q_proj").foreign);
        assert!(!raw("model.layers.0.mlp.gate_proj").foreign);
    }
}
