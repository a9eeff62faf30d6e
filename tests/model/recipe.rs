//! How a side computes: every choice of the forward pass as plain data, so that a fault is an edit.

use super::config::{Activation, Config, Fused, NormKind, Rope};
use super::weights::layer_norms;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormLaw {
    Once,
    Missing,
    Twice,
    /// Per-head norms taken over all heads together.
    WholeRow,
}

/// One norm site.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    pub kind: NormKind,
    pub eps: f64,
    pub plus_one: bool,
    pub law: NormLaw,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Residual {
    Sum,
    /// The branch alone.
    BranchOnly,
    /// 2 · input + branch
    InputDoubled,
    /// input + 2 · branch
    BranchDoubled,
    /// input − branch
    Minus,
    /// norm(input) + branch
    FromNormed,
    /// 2 · input: the branch's buffer is the input's.
    InputTwice,
    /// 2 · branch: the input's buffer is the branch's.
    BranchTwice,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Softmax {
    Rows,
    /// Over queries instead of keys.
    Columns,
    /// exp without the division.
    NoDivision,
}

/// Rotation of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation {
    pub rope: Rope,
    pub offset: i64,
    pub sign: f64,
    pub on_q: bool,
    pub on_k: bool,
}

/// One layer's choices.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub rotation: Option<Rotation>,
    pub scale: f64,
    pub softcap: Option<f64>,
    /// Newest visible key relative to the query; none without a causal mask.
    pub ahead: Option<i64>,
    pub window: Option<usize>,
    pub padding_mask: bool,
    pub mask_fill: f64,
    pub softmax: Softmax,
    /// k/v heads tiled (0 1 0 1) instead of repeated (0 0 1 1).
    pub tiled_kv: bool,
    /// Projections read as [D, H] instead of [H, D].
    pub split_swapped: [bool; 3],
    pub merge_swapped: bool,
    pub fused: Fused,
    /// Order in which q, k, v are taken from the fused (or separate) outputs.
    pub qkv_order: [usize; 3],
    pub attn_residual: Residual,
    pub mlp_residual: Residual,
    /// The MLP's norm, and its sum, read the stream from before attention.
    pub norm_before_attention: bool,
    pub sum_before_attention: bool,
    pub act: Activation,
    pub act_on_up: bool,
}

/// What an operation's buffer ends up with, other than its result; it flows on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Patch {
    /// Holds what this stage held: a full key, or a stage of the same layer and step.
    Stale(&'static str),
    /// Rows of the sequence from `tile · (s / tile)` on are zero.
    TailZero(usize),
    /// Batch rows after the first are zero.
    FirstBatchOnly,
    /// Every batch row is the first one.
    FirstBatchRepeated,
    /// Zero with probability p, else divided by 1 − p.
    Dropout(f64),
    /// Stored with this many mantissa bits.
    Mantissa(u32),
    /// Beyond 65504: infinite.
    Overflow,
    /// Beyond 65504: 65504.
    Saturate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cache {
    Kept,
    /// The slot of a decode step is never written.
    NeverWritten,
    /// A decode step writes over the slot before its own.
    OneEarly,
}

/// How one side computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// By stage key, `layers.0.attn_norm`.
    pub norms: BTreeMap<String, Norm>,
    pub layers: Vec<Layer>,
    /// Token id → row of the embedding table.
    pub rows: Vec<usize>,
    /// Tokens rolled to the left by this.
    pub roll: i64,
    /// Ids off by this in the input itself.
    pub id_offset: i64,
    pub embed_scale: f64,
    pub positions: bool,
    pub position_offset: i64,
    pub token_types: bool,
    pub logit_softcap: Option<f64>,
    pub logit_scale: f64,
    /// By stage key without step; in the fault's steps only.
    pub patches: BTreeMap<String, Patch>,
    /// Added to the positions of decode steps.
    pub decode_offset: i64,
    pub cache: Cache,
    /// fp16 results beyond 65504 become infinite.
    pub overflow: bool,
}

impl Recipe {
    /// The recipe of a correct implementation.
    pub fn of(c: &Config) -> Recipe {
        let norm = Norm {
            kind: c.norm,
            eps: c.eps,
            plus_one: c.plus_one,
            law: NormLaw::Once,
        };
        let mut norms = BTreeMap::new();
        norms.insert("embed".to_string(), norm);
        norms.insert("final_norm".to_string(), norm);
        let mut layers = Vec::new();
        for layer in 0..c.layers {
            for site in layer_norms(c) {
                norms.insert(format!("layers.{layer}.{site}"), norm);
            }
            layers.push(Layer {
                rotation: c.rope.map(|rope| Rotation {
                    rope,
                    offset: 0,
                    sign: 1.0,
                    on_q: true,
                    on_k: true,
                }),
                scale: c.scale(),
                softcap: c.attn_softcap,
                ahead: c.causal.then_some(0),
                window: c.window.filter(|_| c.has_window(layer)),
                padding_mask: true,
                mask_fill: c.mask_fill,
                softmax: Softmax::Rows,
                tiled_kv: false,
                split_swapped: [false; 3],
                merge_swapped: false,
                fused: c.fused,
                qkv_order: [0, 1, 2],
                attn_residual: Residual::Sum,
                mlp_residual: Residual::Sum,
                norm_before_attention: false,
                sum_before_attention: false,
                act: c.act,
                act_on_up: false,
            });
        }
        Recipe {
            norms,
            layers,
            rows: (0..c.vocab).collect(),
            roll: 0,
            id_offset: 0,
            embed_scale: c.embed_scale,
            positions: c.learned_positions,
            position_offset: 0,
            token_types: c.token_types,
            logit_softcap: c.logit_softcap,
            logit_scale: c.logit_scale,
            patches: BTreeMap::new(),
            decode_offset: 0,
            cache: Cache::Kept,
            overflow: false,
        }
    }
}
