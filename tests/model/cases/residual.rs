//! Residual stream, MLP, head, numerics.

use super::super::config::{Activation, Config};
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, From, Only};
use super::super::faults::Site;
use super::{Case, row};

const ATTN0: &[&str] = &["layers.0.attn_residual"];
const ATTN1: &[&str] = &["layers.1.attn_residual"];
const OUT0: &[&str] = &["layers.0.output"];
const OUT1: &[&str] = &["layers.1.output"];
const ACT0: &[&str] = &["layers.0.act"];
const ACT1: &[&str] = &["layers.1.act"];
const MID0: &[&str] = &["layers.0.mlp_mid"];
const MID1: &[&str] = &["layers.1.mlp_mid"];

const fn attn(layers: super::super::faults::Layers) -> Site {
    Site("attn_residual", layers)
}

const fn mlp(layers: super::super::faults::Layers) -> Site {
    Site("output", layers)
}

pub const CASES: &[Case] = &[
    row(Config::llama, ResidualMissing(attn(All)), ATTN0),
    row(Config::qwen2, ResidualMissing(mlp(Only(1))), OUT1),
    row(Config::gpt2, ResidualMissing(attn(Only(1))), ATTN1),
    row(
        Config::bert,
        ResidualMissing(mlp(All)),
        &["layers.0.mlp_residual"],
    ),
    row(Config::gemma2, ResidualMissing(mlp(All)), OUT0),
    row(Config::llama, ResidualDoubled(attn(All)), ATTN0),
    row(Config::gpt2, ResidualDoubled(mlp(Only(1))), OUT1),
    row(Config::bert, ResidualDoubled(attn(All)), ATTN0),
    row(Config::llama, ResidualSign(mlp(All)), OUT0),
    row(Config::mistral, ResidualSign(attn(Only(1))), ATTN1),
    row(Config::llama, ResidualFromNormed(attn(All)), ATTN0),
    row(Config::gpt2, ResidualFromNormed(mlp(Only(1))), OUT1),
    row(Config::gemma2, ResidualFromNormed(attn(Only(1))), ATTN1),
    row(
        Config::llama,
        ResidualWrongSource(Site("mlp_norm", All)),
        &["layers.0.mlp_norm"],
    ),
    row(
        Config::gpt2,
        ResidualWrongSource(Site("mlp_norm", Only(1))),
        &["layers.1.mlp_norm"],
    ),
    row(Config::gemma2, ResidualWrongSource(mlp(Only(1))), OUT1),
    row(Config::llama, BranchDoubled(mlp(All)), OUT0),
    row(Config::qwen3, BranchDoubled(attn(Only(1))), ATTN1),
    row(Config::neox, BranchDoubled(mlp(All)), OUT0),
    row(
        Config::llama,
        GateUpSwapped(All),
        &["layers.0.gate_proj", "layers.0.up_proj"],
    ),
    row(
        Config::gemma,
        GateUpSwapped(Only(1)),
        &["layers.1.gate_proj", "layers.1.up_proj"],
    ),
    row(Config::llama, ActivationOnWrongBranch(All), ACT0),
    row(Config::gemma2, ActivationOnWrongBranch(Only(1)), ACT1),
    row(
        Config::llama,
        WrongActivation(Activation::GeluErf, All),
        ACT0,
    ),
    row(
        Config::llama,
        WrongActivation(Activation::Relu, Only(1)),
        ACT1,
    ),
    row(Config::gpt2, WrongActivation(Activation::Relu, All), MID0),
    row(
        Config::gpt2,
        WrongActivation(Activation::QuickGelu, Only(1)),
        MID1,
    ),
    row(Config::gemma, WrongActivation(Activation::Silu, All), ACT0),
    row(
        Config::bert,
        WrongActivation(Activation::Silu, From(1)),
        MID1,
    ),
    row(Config::bert, GeluVariant(All), MID0),
    row(Config::gpt2, GeluVariant(Only(1)), MID1),
    row(Config::gemma, GeluVariant(All), ACT0),
    row(Config::neox, GeluVariant(All), MID0),
    row(Config::llama, ActivationMissing(All), ACT0),
    row(
        Config::gpt2,
        ActivationMissing(Only(2)),
        &["layers.2.mlp_mid"],
    ),
    row(Config::bert, ActivationMissing(All), MID0),
    row(Config::llama, LmHeadTiedWrongly, &["logits"]),
    row(Config::mistral, LmHeadTiedWrongly, &["logits"]),
    row(Config::gemma2, LogitSoftcapMissing, &["logits"]),
    row(Config::granite, LogitScaleMissing, &["logits"]),
    row(
        massive,
        Fp16OverflowAt("layers.1.down_proj", false),
        &["layers.1.down_proj"],
    ),
    row(
        massive,
        Fp16OverflowAt("layers.1.output", true),
        &["layers.1.output"],
    ),
    row(massive, Fp16Overflow, &["layers.1.down_proj"]),
    row(gpt2_massive, Fp16Overflow, &["layers.1.down_proj"]),
    row(
        massive,
        Fp16OverflowAt("layers.1.output", false),
        &["layers.1.output"],
    ),
    row(
        Config::llama,
        PrecisionLoss("layers.1.attn_weights", 7),
        &["layers.1.attn_weights"],
    ),
    row(
        Config::llama,
        PrecisionLoss("layers.0.attn_residual", 7),
        ATTN0,
    ),
    row(
        Config::qwen2,
        PrecisionLoss("layers.1.q_rope", 7),
        &["layers.1.q_rope"],
    ),
    row(Config::gpt2, PrecisionLoss("layers.1.mlp_mid", 10), MID1),
    row(
        Config::bert,
        PrecisionLoss("layers.1.attn_ctx", 3),
        &["layers.1.attn_ctx"],
    ),
    row(
        Config::qwen3,
        PrecisionLoss("final_norm", 7),
        &["final_norm"],
    ),
    row(Config::gpt2, DropoutActive("embed", 0.1), &["embed"]),
    row(
        Config::gpt2,
        DropoutActive("layers.0.attn_weights", 0.1),
        &["layers.0.attn_weights"],
    ),
    row(
        Config::bert,
        DropoutActive("layers.1.down_proj", 0.2),
        &["layers.1.down_proj"],
    ),
    row(
        Config::llama,
        DropoutActive("layers.1.o_proj", 0.1),
        &["layers.1.o_proj"],
    ),
];

fn massive() -> Config {
    Config {
        massive: 4e5,
        ..Config::llama()
    }
}

fn gpt2_massive() -> Config {
    Config {
        massive: 2e5,
        ..Config::gpt2()
    }
}
