//! Norms.

use super::super::config::Config;
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, From, Only};
use super::super::faults::{EVERYWHERE, Site, Which};
use super::{Case, row};

pub const CASES: &[Case] = &[
    row(
        Config::llama,
        NormEps(EVERYWHERE, 1e-6),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::qwen2,
        NormEps(EVERYWHERE, 1e-5),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::llama,
        NormEps(EVERYWHERE, 1e-3),
        &["layers.0.attn_norm"],
    ),
    row(Config::bert, NormEps(EVERYWHERE, 1e-5), &["embed"]),
    row(
        Config::gpt2,
        NormEps(EVERYWHERE, 1e-3),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::llama,
        NormEps(Site("final_norm", All), 1e-2),
        &["final_norm"],
    ),
    row(
        Config::mistral,
        NormEps(Site("mlp_norm", Only(1)), 1e-2),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::qwen3,
        NormEps(Site("q_norm", All), 1e-2),
        &["layers.0.q_norm"],
    ),
    row(
        Config::llama,
        NormMissing(Site("attn_norm", All)),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::llama,
        NormMissing(Site("mlp_norm", Only(1))),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::gpt2,
        NormMissing(Site("attn_norm", Only(2))),
        &["layers.2.attn_norm"],
    ),
    row(
        Config::qwen2,
        NormMissing(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(Config::bert, NormMissing(Site("embed", All)), &["embed"]),
    row(
        Config::bert,
        NormMissing(Site("attn_out_norm", Only(1))),
        &["layers.1.attn_out_norm"],
    ),
    row(
        Config::gemma2,
        NormMissing(Site("attn_post_norm", All)),
        &["layers.0.attn_post_norm"],
    ),
    row(
        Config::gemma2,
        NormMissing(Site("mlp_post_norm", Only(1))),
        &["layers.1.mlp_post_norm"],
    ),
    row(
        Config::neox,
        NormMissing(Site("mlp_norm", All)),
        &["layers.0.mlp_norm"],
    ),
    row(
        Config::llama,
        NormAppliedTwice(Site("attn_norm", All)),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::llama,
        NormAppliedTwice(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(
        Config::gpt2,
        NormAppliedTwice(Site("mlp_norm", Only(1))),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::bert,
        NormAppliedTwice(Site("output", Only(0))),
        &["layers.0.output"],
    ),
    row(
        Config::llama,
        NormWeightMissing(Site("attn_norm", All)),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::qwen2,
        NormWeightMissing(Site("mlp_norm", Only(1))),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::gpt2,
        NormWeightMissing(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(
        Config::bert,
        NormWeightMissing(Site("attn_out_norm", All)),
        &["layers.0.attn_out_norm"],
    ),
    row(
        Config::gemma,
        NormWeightMissing(Site("attn_norm", All)),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::qwen3,
        NormWeightMissing(Site("k_norm", All)),
        &["layers.0.k_norm"],
    ),
    row(
        Config::gpt2,
        NormBiasMissing(EVERYWHERE),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::bert,
        NormBiasMissing(Site("attn_out_norm", Only(1))),
        &["layers.1.attn_out_norm"],
    ),
    row(
        Config::neox,
        NormBiasMissing(Site("mlp_norm", All)),
        &["layers.0.mlp_norm"],
    ),
    row(
        Config::gpt2,
        NormBiasMissing(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(
        Config::llama,
        NormWrongWeight("layers.0.attn_norm", "layers.0.mlp_norm"),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::llama,
        NormWrongWeight("layers.1.mlp_norm", "layers.1.attn_norm"),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::qwen2,
        NormWrongWeight("final_norm", "layers.2.mlp_norm"),
        &["final_norm"],
    ),
    row(
        Config::gpt2,
        NormWrongWeight("layers.1.attn_norm", "layers.0.attn_norm"),
        &["layers.1.attn_norm"],
    ),
    row(
        Config::bert,
        NormWrongWeight("layers.1.attn_out_norm", "layers.1.output"),
        &["layers.1.attn_out_norm"],
    ),
    row(
        Config::qwen3,
        NormWrongWeight("layers.0.q_norm", "layers.0.k_norm"),
        &["layers.0.q_norm"],
    ),
    row(
        Config::gemma,
        NormPlusOneMissing(EVERYWHERE),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::gemma2,
        NormPlusOneMissing(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(
        Config::gemma2,
        NormPlusOneMissing(Site("attn_post_norm", From(1))),
        &["layers.1.attn_post_norm"],
    ),
    row(
        Config::llama,
        NormPlusOneExtra(EVERYWHERE),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::qwen2,
        NormPlusOneExtra(Site("mlp_norm", Only(2))),
        &["layers.2.mlp_norm"],
    ),
    row(
        Config::llama,
        LayernormInsteadOfRmsnorm(EVERYWHERE),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::qwen2,
        LayernormInsteadOfRmsnorm(Site("mlp_norm", Only(1))),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::gemma,
        LayernormInsteadOfRmsnorm(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(
        Config::gpt2,
        RmsnormInsteadOfLayernorm(EVERYWHERE),
        &["layers.0.attn_norm"],
    ),
    row(
        Config::bert,
        RmsnormInsteadOfLayernorm(Site("output", Only(0))),
        &["layers.0.output"],
    ),
    row(
        Config::neox,
        RmsnormInsteadOfLayernorm(Site("final_norm", All)),
        &["final_norm"],
    ),
    row(
        Config::qwen3,
        QkNormMissing(Which::Both, All),
        &["layers.0.q_norm", "layers.0.k_norm"],
    ),
    row(
        Config::qwen3,
        QkNormMissing(Which::K, All),
        &["layers.0.k_norm"],
    ),
    row(
        Config::qwen3,
        QkNormMissing(Which::Both, Only(1)),
        &["layers.1.q_norm", "layers.1.k_norm"],
    ),
    row(
        Config::qwen3,
        QkNormWrongAxis(All),
        &["layers.0.q_norm", "layers.0.k_norm"],
    ),
    row(
        Config::qwen3,
        QkNormWrongAxis(From(1)),
        &["layers.1.q_norm", "layers.1.k_norm"],
    ),
];
