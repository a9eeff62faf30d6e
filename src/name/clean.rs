//! What producers put around a name: steps, ranks, phases, call counters, devices, process ids, hook suffixes.

use super::words::{Word, hump, split, split_humps};
use crate::graph;
use std::borrow::Cow;

/// A name's words without what stands around them, and what that said.
#[derive(Clone, Debug, Default)]
pub(super) struct Clean {
    pub words: Vec<Word>,
    /// `(view)`, `(reshaped)`, … of llama.cpp: another arrangement of a tensor that was named before.
    pub view: String,
    /// `#k`: the k-th tensor of this name.
    pub occurrence: Option<u32>,
    pub step: Option<u32>,
    /// A call counter or run index: a step when nothing better says so.
    pub call: Option<u32>,
    /// Prefill before decode, with its index.
    pub phase: Option<(u8, u32)>,
    pub rank: Rank,
    /// From a tag `layer_id=3`.
    pub layer: Option<u32>,
    /// Position of a leading number in `words`, and its value.
    pub counter: Option<(usize, u32)>,
    /// A node inside a module of an exported graph.
    pub inner: bool,
    /// A function of the framework (`Tensor.__mul__`), which no module calls by a name of its own.
    pub function: bool,
    /// Humps part its words.
    pub humps: bool,
    /// Tags that set tensors of one name apart.
    pub extra: String,
}

/// Process coordinates: global rank, or places along the axes of parallelism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub global: Option<u32>,
    pub axes: [Option<u32>; 4],
}

const AXES: [&str; 4] = ["dp", "pp", "ep", "tp"];
pub(super) fn clean(name: &str) -> Clean {
    let mut c = Clean::default();
    let mut name = strip_extension(name.trim());
    name = take_occurrence(name, &mut c);
    name = take_views(name, &mut c);
    let without_uuid = drop_uuid(name);
    let tagged = key_values(&without_uuid, &mut c);
    let called = debugger_call(&tagged);
    let plain = module_call(&called, &mut c);
    c.words = split(&plain);
    take_marks(&mut c);
    find_counter(&mut c);
    c
}

/// Reads the names of one side alone. Where most have humps in place of separators (`layer0AttnNorm`), humps part words.
pub(super) fn clean_all<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Clean> {
    let mut cleans: Vec<Clean> = names.map(clean).collect();
    let humped = |c: &&Clean| matches!(&c.words[..], [one] if hump(&one.text).is_some());
    if cleans.iter().filter(humped).count() * 2 >= cleans.len() && !cleans.is_empty() {
        for c in &mut cleans {
            c.words = split_humps(std::mem::take(&mut c.words));
            c.humps = true;
        }
    }
    super::exporter::settle(&mut cleans);
    cleans
}

/// Members of an archive may keep the extension of a tensor file.
pub(super) fn strip_extension(name: &str) -> &str {
    let stripped = graph::words()
        .extensions
        .iter()
        .find_map(|e| name.strip_suffix(e.as_str()));
    stripped.filter(|s| !s.is_empty()).unwrap_or(name)
}

/// `name#2`, `name [2 of 3]`.
fn take_occurrence<'a>(name: &'a str, c: &mut Clean) -> &'a str {
    if let Some((head, k)) = name.rsplit_once('#')
        && let (false, Ok(k)) = (head.is_empty(), k.parse())
    {
        c.occurrence = Some(k);
        return head.trim_end();
    }
    let of = name.strip_suffix(']').and_then(|n| n.rsplit_once(" ["));
    if let Some((head, inside)) = of {
        let k = inside.split_once(" of ").and_then(|(k, _)| k.parse().ok());
        if k.is_some() {
            c.occurrence = k;
            return head.trim_end();
        }
    }
    name
}

fn take_views<'a>(name: &'a str, c: &mut Clean) -> &'a str {
    let views = &graph::words().views;
    let mut rest = name;
    while let Some((head, inside)) = rest
        .strip_suffix(')')
        .and_then(|n| n.rsplit_once('('))
        .filter(|(head, inside)| !head.trim().is_empty() && views.contains(inside))
    {
        c.view = if c.view.is_empty() {
            format!("({inside})")
        } else {
            format!("({inside}) {}", c.view)
        };
        rest = head.trim_end();
    }
    rest
}

/// Removes `8-4-4-4-12` hexadecimal identifiers.
fn drop_uuid(name: &str) -> Cow<'_, str> {
    let bytes = name.as_bytes();
    if bytes.iter().filter(|b| **b == b'-').count() < 4 {
        return name.into();
    }
    let is_uuid = |s: &[u8]| {
        s.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
    };
    match bytes.windows(36).position(is_uuid) {
        Some(at) => format!("{}{}", &name[..at], &name[at + 36..]).into(),
        None => name.into(),
    }
}

/// SGLang's dumper: `step=0___rank=0___dump_index=17___name=x___layer_id=3`; returns the name with its folder.
fn key_values<'a>(name: &'a str, c: &mut Clean) -> Cow<'a, str> {
    if !name.contains('=') {
        return name.into();
    }
    let (folder, last) = match name.rsplit_once('/') {
        Some((folder, last)) => (Some(folder), last),
        None => (None, name),
    };
    let parts: Vec<(&str, &str)> = last
        .split("___")
        .filter_map(|part| part.split_once('='))
        .collect();
    let Some((_, own)) = parts.iter().find(|(k, _)| *k == "name") else {
        return name.into();
    };
    for (key, value) in &parts {
        let number = value.parse::<u32>().ok();
        match *key {
            "name" | "dump_index" | "rank_info" | "recompute_status" => {}
            "step" | "forward_pass_id" | "pass" => c.step = number.or(c.step),
            "rank" => c.rank.global = number.or(c.rank.global),
            "layer_id" | "layer" | "layer_idx" => c.layer = number.or(c.layer),
            _ => match AXES
                .iter()
                .position(|a| key.trim_end_matches("_rank") == *a)
            {
                Some(axis) => c.rank.axes[axis] = number,
                None => {
                    if !c.extra.is_empty() {
                        c.extra.push(' ');
                    }
                    c.extra.push_str(&format!("{key}={value}"));
                }
            },
        }
    }
    match folder {
        Some(folder) => format!("{folder}/{own}").into(),
        None => own.to_string().into(),
    }
}

/// Hugging Face's debugger: `LlamaForCausalLM.model.norm_inputs_args_0`, `…_inputs_kwargs_hidden_states`, `…_outputs`; returns
/// `LlamaForCausalLM.model.norm/inputs_0`, `…/outputs`.
fn debugger_call(name: &str) -> Cow<'_, str> {
    let (folder, own) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
    if !own.starts_with(|ch: char| ch.is_ascii_uppercase()) {
        return name.into();
    }
    let index = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    if let Some((module, rest)) = own.rsplit_once("_inputs_args_").filter(|(_, r)| index(r)) {
        return format!("{folder}{module}/inputs_{rest}").into();
    }
    if let Some((module, key)) = own.rsplit_once("_inputs_kwargs_") {
        let call = match graph::words().stream_arguments.contains(key) {
            true => format!("{folder}{module}/inputs_0"),
            // What the whole model takes is known by its own name.
            false if !module.contains('.') => format!("{folder}{module}/{key}"),
            false => format!("{folder}{module}/inputs_{key}"),
        };
        return call.into();
    }
    match own.rsplit_once("_outputs") {
        Some((module, rest)) if module.contains('.') && index(rest) => {
            format!("{folder}{module}/outputs{rest}").into()
        }
        _ => name.into(),
    }
}

/// msprobe: `Module.model.layers.0.mlp.LlamaMLP.forward.0.output.0`; returns `model.layers.0.mlp/output.0`. The
/// folder of the files says nothing; a parameter is named as in a checkpoint.
fn module_call<'a>(name: &'a str, c: &mut Clean) -> Cow<'a, str> {
    let (folder, last) = match name.rsplit_once('/') {
        Some((folder, last)) => (folder, last),
        None => ("", name),
    };
    let folder = folder.strip_suffix("dump_tensor_data").unwrap_or(folder);
    let folder = folder.trim_end_matches('/');
    if !last
        .split('.')
        .next()
        .is_some_and(|kind| graph::words().call_kinds.contains(kind))
    {
        return name.into();
    }
    let parts: Vec<&str> = last.split('.').collect();
    let mut directions = parts.iter().map(|p| matches!(*p, "forward" | "backward"));
    let Some(direction) = directions.position(|is| is).filter(|at| *at >= 2) else {
        return name.into();
    };
    let is_number = |s: &&str| s.bytes().all(|b| b.is_ascii_digit());
    let mut end = direction;
    let mut after = direction + 1;
    let mut call = None;
    if let Some(number) = parts.get(after).filter(|p| is_number(p)) {
        call = number.parse().ok();
        after += 1;
    } else if end > 2 && is_number(&parts[end - 1]) {
        end -= 1;
        call = parts[end].parse().ok();
    }
    let is_module = matches!(parts[0], "Module" | "Cell");
    c.function = !is_module;
    match call {
        // The calls of a function are counted over the whole model: they are places in it.
        Some(n) if !is_module => c.extra = format!("call {n}"),
        call => c.call = call,
    }
    if is_module && end > 2 && parts[end - 1].starts_with(|ch: char| ch.is_ascii_uppercase()) {
        end -= 1;
    }
    let first = if is_module { 1 } else { 0 };
    let mut plain: Vec<&str> = parts[first..end].to_vec();
    if parts[direction] == "backward" {
        plain.push("backward");
    }
    let mut rest = &parts[after.min(parts.len())..];
    let hook = matches!(rest.first(), Some(&("input" | "output")));
    if let ["parameters", own @ ..] = rest {
        rest = own;
    }
    let mut plain = plain.join(".");
    if !rest.is_empty() {
        plain.push(if hook { '/' } else { '.' });
        plain.push_str(&rest.join("."));
    }
    if folder.is_empty() {
        plain.into()
    } else {
        format!("{folder}/{plain}").into()
    }
}

/// Takes steps, ranks, phases, devices, process ids and time stamps out of the words.
fn take_marks(c: &mut Clean) {
    let mut i = 0;
    while i < c.words.len() {
        let used = mark_at(c, i);
        if used == 0 {
            i += 1;
            continue;
        }
        let sep = c.words[i].sep;
        c.words.drain(i..i + used);
        if let Some(next) = c.words.get_mut(i) {
            // What follows a mark is a new path segment when the mark was one.
            next.sep = match (i, sep) {
                (0, _) => '\0',
                (_, '/') => '/',
                _ => next.sep,
            };
        }
    }
}

/// How many words at `i` are a mark (0: none); notes what it says.
fn mark_at(c: &mut Clean, i: usize) -> usize {
    let known = graph::words();
    let w = c.words[i].clone();
    let next = c.words.get(i + 1).cloned();
    let next_number = next.as_ref().and_then(Word::number);
    let in_folder = c.words[i + 1..].iter().any(|w| w.sep == '/');
    let alone = i == 0 && !in_folder;
    let digits = w.text.bytes().all(|b| b.is_ascii_digit());
    if digits && w.text.len() >= 10 {
        return 1;
    }
    let day = digits && w.text.len() == 8 && (w.text.starts_with("20") || w.text.starts_with("19"));
    if day
        && next
            .as_ref()
            .is_some_and(|n| n.number().is_some() && n.text.len() == 6)
    {
        return 2;
    }
    if day {
        return 1;
    }
    // A rounding operation is no round: only `step` is one wherever it stands.
    let leads = i == 0 || in_folder;
    for step in known
        .steps
        .iter()
        .filter(|s| leads || s.starts_with("step"))
    {
        if let Some(n) = w.fused(step) {
            c.step = Some(n);
            return 1;
        }
        if let (true, Some(n)) = (w.lower == *step, next_number) {
            c.step = Some(n);
            return 2;
        }
    }
    if in_folder && w.is_any(&["prefill", "decode"]) && (i == 0 || w.sep == '/') {
        let end = (i + 1..c.words.len())
            .find(|&j| c.words[j].sep == '/')
            .unwrap_or(c.words.len());
        let index = if end - i > 1 {
            c.words[end - 1].number()
        } else {
            None
        };
        c.phase = Some((u8::from(w.lower == "decode"), index.unwrap_or(0)));
        return end - i;
    }
    if let (true, Some(n)) = (
        in_folder && known.folder_steps.contains(&w.lower),
        next_number,
    ) {
        c.step = c.step.or(Some(n));
        return 2;
    }
    if let (true, Some(n)) = (
        known.calls.contains(&w.lower)
            && in_folder
            && next.as_ref().is_some_and(|n| n.text.len() < 8),
        next_number,
    ) {
        c.call = c.call.or(Some(n));
        return 2;
    }
    if let Some(n) = w.fused("rank") {
        c.rank.global = Some(n);
        return 1;
    }
    if let (true, Some(n)) = (w.lower == "rank", next_number) {
        c.rank.global = Some(n);
        return 2;
    }
    for (axis, name) in AXES.iter().enumerate() {
        if let Some(n) = w.fused(name) {
            c.rank.axes[axis] = Some(n);
            return 1;
        }
        if let (true, Some(n)) = (w.lower == *name && in_folder, next_number) {
            c.rank.axes[axis] = Some(n);
            return 2;
        }
    }
    if w.fused("pid").is_some() || in_folder && w.fused("proc").is_some() {
        return 1;
    }
    if w.lower == "pid" && next_number.is_some() {
        return 2;
    }
    if w.lower == "dump" && next.as_ref().is_some_and(|n| n.is_any(&["index", "idx"])) {
        return if c.words.get(i + 2).and_then(Word::number).is_some() {
            3
        } else {
            2
        };
    }
    if !alone || c.words.len() > 1 {
        for device in &known.devices {
            if w.fused(device).is_some() {
                return 1;
            }
            let after_hook =
                i > 0 && c.words[i - 1].is_any(&["output", "outputs", "input", "inputs"]);
            if w.lower == *device && (next_number.is_some() || after_hook) {
                return if next_number.is_some() { 2 } else { 1 };
            }
        }
    }
    0
}

/// `0007_attn_out`: a number before the name; whether it counts dumps or layers is decided for the whole side.
fn find_counter(c: &mut Clean) {
    let last = c.words.iter().rposition(|w| w.sep == '/').unwrap_or(0);
    let (Some(first), Some(second)) = (c.words.get(last), c.words.get(last + 1)) else {
        return;
    };
    let padded = first.text.len() >= 3 && first.text.starts_with('0');
    if let Some(n) = first.number()
        && (second.sep == '_' || second.sep == '-' || (second.sep == '.' && padded))
    {
        c.counter = Some((last, n));
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::{joined, written};
    use super::*;

    fn words(name: &str) -> String {
        joined(&clean(name).words)
    }

    #[test]
    fn producers_folders_and_counters_are_taken_off() {
        let c = clean("TP1_PP0_Rank1_pid4711/Pass00002::model.layers.0.mlp");
        assert_eq!(
            (joined(&c.words), c.rank.global, c.step),
            ("model_layers_0_mlp".into(), Some(1), Some(2))
        );
        let c =
            clean("step=3___rank=1___dump_index=17___name=layer_start__hidden_states___layer_id=7");
        assert_eq!(
            (joined(&c.words), c.step, c.rank.global, c.layer),
            (
                "layer_start_hidden_states".into(),
                Some(3),
                Some(1),
                Some(7)
            )
        );
        let c = clean("dp0/prefill_s128_0/model.layers.3.mlp/rank0");
        assert_eq!(
            (written(&c.words), c.phase, c.rank.global, c.rank.axes[0]),
            ("model.layers.3.mlp".into(), Some((0, 0)), Some(0), Some(0))
        );
        let c = clean("step0/rank0/dump_tensor_data/Module.conv2.Conv2d.forward.1.output.0");
        assert_eq!(
            (joined(&c.words), c.call, c.step),
            ("conv2_output_0".into(), Some(1), Some(0))
        );
        assert_eq!(
            written(&clean("step1/proc4711/dump_tensor_data/Module.model.norm.Norm.forward.0.parameters.weight").words),
            "model.norm.weight"
        );
        let c = clean("Functional.linear.3.forward.output.0");
        assert_eq!(
            (written(&c.words), &*c.extra),
            ("Functional.linear/output.0".into(), "call 3")
        );
        for (name, plain) in [
            (
                "LlamaForCausalLM.model.norm_inputs_args_0",
                "LlamaForCausalLM.model.norm/inputs_0",
            ),
            (
                "d/M.layers.0.mlp_inputs_kwargs_hidden_states",
                "d/M.layers.0.mlp/inputs_0",
            ),
            (
                "M.layers.0.mlp_inputs_kwargs_mask",
                "M.layers.0.mlp/inputs_mask",
            ),
            ("M_inputs_kwargs_input_ids", "M/input_ids"),
            ("M.layers.0.mlp_outputs", "M.layers.0.mlp/outputs"),
            ("M.layers.0.mlp_outputs_1", "M.layers.0.mlp/outputs_1"),
            ("M_outputs_logits", "M_outputs_logits"),
        ] {
            assert_eq!(written(&clean(name).words), plain, "{name}");
        }
        assert_eq!(words("model.norm/outputs_cuda_0"), "model_norm_outputs");
        assert_eq!(words("model.norm/inputs_0_cuda_0"), "model_norm_inputs_0");
        assert_eq!(words("run_20240131-120000/q_proj"), "run_q_proj");
        assert_eq!(
            words("0f8fad5b-d9cb-469f-a165-70867728950e/q_proj"),
            "q_proj"
        );
    }

    #[test]
    fn views_and_occurrences_are_kept_apart_from_the_name() {
        let c = clean("Vcur-2 (reshaped) (reshaped)");
        assert_eq!(
            (words("Vcur-2 (view)"), c.view),
            ("vcur_2".into(), "(reshaped) (reshaped)".into())
        );
        assert_eq!(clean("Qcur-0#2").occurrence, Some(2));
        assert_eq!(clean("norm-0 [2 of 4]").occurrence, Some(2));
        assert_eq!(clean("#2").occurrence, None);
    }

    #[test]
    fn a_leading_number_is_seen() {
        assert_eq!(clean("0007_attn_out").counter, Some((0, 7)));
        assert_eq!(clean("0.weight").counter, None);
        assert_eq!(clean("attn_0").counter, None);
    }
}
