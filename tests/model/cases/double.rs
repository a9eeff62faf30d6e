//! Two independent faults: the first hides the second from everything but the laws of the operations.

use super::super::config::{Activation, Config};
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, Only};
use super::super::faults::{Factor, Site};
use super::{Case, both};

const QK0: &[&str] = &["layers.0.q_rope", "layers.0.k_rope"];

pub const CASES: &[Case] = &[
    both(
        Config::llama,
        RopeTheta(500_000.0, All),
        ActivationOnWrongBranch(Only(1)),
        QK0,
    ),
    both(
        Config::qwen2,
        RopeInterleaved(All),
        ResidualMissing(Site("attn_residual", Only(1))),
        QK0,
    ),
    both(
        Config::qwen3,
        RopeMissing(super::super::faults::Which::Both, All),
        WrongActivation(Activation::GeluTanh, All),
        QK0,
    ),
    both(
        Config::gpt2,
        BiasMissing(&["o_proj"], All),
        NormWeightMissing(Site("final_norm", All)),
        &["layers.0.o_proj"],
    ),
    both(
        Config::llama,
        AttentionScale(Factor::Missing, All),
        NormMissing(Site("final_norm", All)),
        &["layers.0.attn_scores"],
    ),
    both(
        Config::bert,
        GeluVariant(All),
        CausalMaskOffByOne(0, Only(2)),
        &["layers.0.mlp_mid"],
    ),
    both(
        Config::gemma2,
        AttentionSoftcapMissing(All),
        LogitSoftcapMissing,
        &["layers.0.attn_scores"],
    ),
    both(
        Config::mistral,
        SlidingWindowIgnored(All),
        ResidualDoubled(Site("output", Only(2))),
        &["layers.0.attn_scores"],
    ),
];
