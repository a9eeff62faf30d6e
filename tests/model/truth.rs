//! Where a fault shows first: the data flow between tapped stages, and the origins it implies.

use super::config::{Block, Config, Fused};
use super::math::rel_l2;
use super::tap::Run;
use std::collections::BTreeMap;

/// Keys that `key` is computed from, tapped or not.
fn parents(c: &Config, key: &str) -> Vec<String> {
    let (prefix, bare) = match key.split_once('/') {
        Some((step, bare)) => (format!("{step}/"), bare),
        None => (String::new(), key),
    };
    let (layer, stage) = match bare.strip_prefix("layers.").and_then(|k| k.split_once('.')) {
        Some((l, stage)) => (l.parse::<usize>().ok(), stage),
        None => (None, bare),
    };
    let here = |names: &[&str]| -> Vec<String> {
        names
            .iter()
            .map(|n| {
                layer.map_or(format!("{prefix}{n}"), |l| {
                    format!("{prefix}layers.{l}.{n}")
                })
            })
            .collect()
    };
    let outside = |name: &str| vec![format!("{prefix}{name}")];
    let normed = if c.block == Block::PostNorm {
        "input"
    } else {
        "attn_norm"
    };
    let (glu, post, rope) = (c.glu, c.post_norms, c.rope.is_some());
    let cached = |stage: &str| -> Vec<String> {
        let step: usize = key
            .strip_prefix("step")
            .and_then(|k| k.split('/').next())
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        (0..step)
            .map(|s| format!("step{s}/layers.{}.{stage}", layer.unwrap_or(0)))
            .collect()
    };
    let projected = if c.fused == Fused::No {
        normed
    } else {
        "qkv_proj"
    };
    let rotated = |stage: &str| -> Vec<String> { if rope { here(&[stage]) } else { vec![] } };
    match stage {
        "tok_embed" => outside("input_ids"),
        "embed_sum" => here(&["tok_embed", "pos_embed", "type_embed"]),
        "embed" if c.block == Block::PostNorm => outside("embed_sum"),
        "embed" => here(&["tok_embed", "pos_embed"]),
        "input" => match layer {
            Some(l) if l > 0 => outside(&format!("layers.{}.output", l - 1)),
            _ => outside("embed"),
        },
        "attn_norm" => here(&["input"]),
        "qkv_proj" => here(&[normed]),
        "q_proj" | "k_proj" | "v_proj" => here(&[projected]),
        "q_norm" => here(&["q_proj"]),
        "k_norm" => here(&["k_proj"]),
        "q_rope" => here(&[if c.qk_norm { "q_norm" } else { "q_proj" }]),
        "k_rope" => here(&[if c.qk_norm { "k_norm" } else { "k_proj" }]),
        "attn_qk" if rope => [rotated("q_rope"), rotated("k_rope"), cached("k_rope")].concat(),
        "attn_qk" => [here(&["q_proj", "k_proj"]), cached("k_proj")].concat(),
        "attn_scores" => [here(&["attn_qk"]), outside("attention_mask")].concat(),
        "attn_weights" => here(&["attn_scores"]),
        "attn_ctx" => [here(&["attn_weights", "v_proj"]), cached("v_proj")].concat(),
        "o_proj" => here(&["attn_ctx"]),
        "attn_post_norm" => here(&["o_proj"]),
        "attn_residual" => here(&["input", if post { "attn_post_norm" } else { "o_proj" }]),
        "attn_out_norm" => here(&["attn_residual"]),
        "mlp_norm" => here(&[if c.parallel() {
            "input"
        } else {
            "attn_residual"
        }]),
        "gate_proj" | "up_proj" => here(&[match c.block {
            Block::PostNorm => "attn_out_norm",
            Block::ParallelShared => "attn_norm",
            _ => "mlp_norm",
        }]),
        "act" => here(&["gate_proj"]),
        "mlp_mid" if glu => here(&["act", "up_proj"]),
        "mlp_mid" => here(&["up_proj"]),
        "down_proj" => here(&["mlp_mid"]),
        "mlp_post_norm" => here(&["down_proj"]),
        "mlp_residual" => here(&["attn_out_norm", "down_proj"]),
        "output" => match c.block {
            Block::PostNorm => here(&["mlp_residual"]),
            Block::PreNorm => here(&[
                "attn_residual",
                if post { "mlp_post_norm" } else { "down_proj" },
            ]),
            _ => here(&["input", "o_proj", "down_proj"]),
        },
        "final_norm" => outside(&format!("layers.{}.output", c.layers - 1)),
        "logits" => outside("final_norm"),
        _ => vec![],
    }
}

/// The nearest ancestors of `key` among the tapped keys.
pub fn ancestors(c: &Config, key: &str, tapped: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for parent in parents(c, key) {
        if tapped(&parent) {
            found.push(parent);
        } else {
            found.extend(ancestors(c, &parent, tapped));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// How one stage of a candidate stands against the reference and against the healthy candidate.
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    /// Faulty against healthy candidate, same arithmetic.
    pub signal: f64,
    /// Healthy candidate against the reference.
    pub noise: f64,
}

impl Effect {
    /// Clearly beyond what rounding explains.
    pub fn clear(self) -> bool {
        self.signal > 4.0 * self.noise.max(3e-7)
    }

    /// Neither clear nor absent: no truth can be stated.
    pub fn faint(self) -> bool {
        !self.clear() && self.signal > 0.5 * self.noise.max(3e-7)
    }
}

/// The effect of a fault at every key that all three runs hold in one shape.
pub fn effects(reference: &Run, healthy: &Run, faulty: &Run) -> BTreeMap<String, Effect> {
    let mut out = BTreeMap::new();
    for tap in &faulty.tensors {
        if let (Some(r), Some(h)) = (reference.get(&tap.key), healthy.get(&tap.key)) {
            let (r, h, f) = (r.data.floats(), h.data.floats(), tap.data.floats());
            let effect = Effect {
                signal: rel_l2(&h, &f),
                noise: rel_l2(&r, &h),
            };
            out.insert(tap.key.clone(), effect);
        }
    }
    out
}

/// Keys of `order` where the fault enters: it is clear there and at none of the nearest tapped ancestors. The first in
/// order, and those of the same layer and step; where a fault heals, it enters again in every layer.
pub fn origins(c: &Config, order: &[String], effects: &BTreeMap<String, Effect>) -> Vec<String> {
    let tapped = |key: &str| order.iter().any(|k| k == key);
    let wrong = |key: &str| effects.get(key).is_some_and(|e| e.clear());
    let mut found: Vec<String> = order
        .iter()
        .filter(|key| wrong(key) && !ancestors(c, key, &tapped).iter().any(|a| wrong(a)))
        .cloned()
        .collect();
    let place = |key: &str| {
        key.rfind(['.', '/'])
            .map_or(String::new(), |at| key[..at].to_string())
    };
    if let Some(first) = found.first().map(|k| place(k)) {
        found.retain(|k| place(k) == first);
    }
    found
}
