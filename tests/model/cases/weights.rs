//! Weights and projections.

use super::super::config::{Config, Fused};
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, From, Only};
use super::super::faults::{Site, Which};
use super::{Case, row};

pub const CASES: &[Case] = &[
    row(
        Config::llama,
        WeightTransposed(Site("q_proj", All)),
        &["layers.0.q_proj"],
    ),
    row(
        Config::llama,
        WeightTransposed(Site("o_proj", Only(1))),
        &["layers.1.o_proj"],
    ),
    row(
        Config::llama_mha,
        WeightTransposed(Site("k_proj", All)),
        &["layers.0.k_proj"],
    ),
    row(
        Config::llama_mha,
        WeightTransposed(Site("v_proj", Only(2))),
        &["layers.2.v_proj"],
    ),
    row(
        Config::qwen2,
        WeightTransposed(Site("q_proj", Only(1))),
        &["layers.1.q_proj"],
    ),
    row(
        Config::bert,
        WeightTransposed(Site("k_proj", All)),
        &["layers.0.k_proj"],
    ),
    row(
        Config::bert,
        WeightTransposed(Site("o_proj", All)),
        &["layers.0.o_proj"],
    ),
    row(
        Config::gpt2,
        WeightTransposed(Site("o_proj", Only(1))),
        &["layers.1.o_proj"],
    ),
    row(
        Config::gptj,
        WeightTransposed(Site("v_proj", All)),
        &["layers.0.v_proj"],
    ),
    row(
        Config::llama,
        WrongLayerWeight("layers.1.q_proj", "layers.0.q_proj"),
        &["layers.1.q_proj"],
    ),
    row(
        Config::llama,
        WrongLayerWeight("layers.2.down_proj", "layers.1.down_proj"),
        &["layers.2.down_proj"],
    ),
    row(
        Config::qwen2,
        WrongLayerWeight("layers.0.gate_proj", "layers.1.gate_proj"),
        &["layers.0.gate_proj"],
    ),
    row(
        Config::bert,
        WrongLayerWeight("layers.1.v_proj", "layers.0.v_proj"),
        &["layers.1.v_proj"],
    ),
    row(
        Config::gpt2,
        WrongLayerWeight("layers.1.up_proj", "layers.2.up_proj"),
        &["layers.1.up_proj"],
    ),
    row(
        Config::gemma,
        WrongLayerWeight("layers.1.o_proj", "layers.0.o_proj"),
        &["layers.1.o_proj"],
    ),
    row(
        Config::mistral,
        WrongLayerWeight("layers.2.k_proj", "layers.1.k_proj"),
        &["layers.2.k_proj"],
    ),
    row(
        Config::llama,
        WeightQuantisationError("layers.1.v_proj", 3.0),
        &["layers.1.v_proj"],
    ),
    row(
        Config::qwen3,
        WeightQuantisationError("layers.0.down_proj", 7.0),
        &["layers.0.down_proj"],
    ),
    row(
        Config::mistral,
        WeightQuantisationError("layers.1.up_proj", 7.0),
        &["layers.1.up_proj"],
    ),
    row(
        Config::bert,
        WeightQuantisationError("layers.1.o_proj", 3.0),
        &["layers.1.o_proj"],
    ),
    row(
        Config::llama,
        WeightQuantisationError("lm_head", 3.0),
        &["logits"],
    ),
    row(
        Config::qwen2,
        BiasMissing(&["q_proj", "k_proj", "v_proj"], All),
        QKV0,
    ),
    row(
        Config::qwen2,
        BiasMissing(&["k_proj"], Only(1)),
        &["layers.1.k_proj"],
    ),
    row(
        Config::qwen2,
        BiasMissing(&["v_proj"], From(1)),
        &["layers.1.v_proj"],
    ),
    row(
        Config::gpt2,
        BiasMissing(&["o_proj"], All),
        &["layers.0.o_proj"],
    ),
    row(
        Config::gpt2,
        BiasMissing(&["up_proj"], Only(1)),
        &["layers.1.up_proj"],
    ),
    row(
        Config::gpt2,
        BiasMissing(&["q_proj", "k_proj", "v_proj"], Only(1)),
        &["layers.1.qkv_proj"],
    ),
    row(
        Config::bert,
        BiasMissing(&["down_proj"], Only(2)),
        &["layers.2.down_proj"],
    ),
    row(
        Config::bert,
        BiasMissing(&["q_proj"], All),
        &["layers.0.q_proj"],
    ),
    row(
        Config::neox,
        BiasMissing(&["down_proj"], All),
        &["layers.0.down_proj"],
    ),
    row(
        Config::qwen2,
        BiasDoubled(&["q_proj", "k_proj", "v_proj"], All),
        QKV0,
    ),
    row(
        Config::gpt2,
        BiasDoubled(&["down_proj"], Only(1)),
        &["layers.1.down_proj"],
    ),
    row(
        Config::bert,
        BiasDoubled(&["o_proj"], All),
        &["layers.0.o_proj"],
    ),
    row(
        Config::qwen2,
        BiasDoubled(&["k_proj"], Only(2)),
        &["layers.2.k_proj"],
    ),
    row(
        Config::llama_mha,
        QkSwapped(All),
        &["layers.0.q_proj", "layers.0.k_proj"],
    ),
    row(
        Config::bert,
        QkSwapped(Only(1)),
        &["layers.1.q_proj", "layers.1.k_proj"],
    ),
    row(
        Config::llama,
        KvSwapped(All),
        &["layers.0.k_proj", "layers.0.v_proj"],
    ),
    row(
        Config::qwen3,
        KvSwapped(Only(1)),
        &["layers.1.k_proj", "layers.1.v_proj"],
    ),
    row(
        Config::bert,
        KvSwapped(All),
        &["layers.0.k_proj", "layers.0.v_proj"],
    ),
    row(
        Config::gpt2,
        FusedQkvOrder([1, 0, 2], All),
        &["layers.0.q_proj", "layers.0.k_proj"],
    ),
    row(
        Config::gpt2,
        FusedQkvOrder([0, 2, 1], Only(1)),
        &["layers.1.k_proj", "layers.1.v_proj"],
    ),
    row(
        Config::gpt2,
        FusedQkvOrder([2, 1, 0], All),
        &["layers.0.q_proj", "layers.0.v_proj"],
    ),
    row(Config::gpt2, FusedQkvOrder([1, 2, 0], All), QKV0),
    row(Config::gpt2, FusedQkvLayout(Fused::PerHead, All), QKV0),
    row(Config::neox, FusedQkvLayout(Fused::Whole, All), QKV0),
    row(Config::neox, FusedQkvOrder([2, 0, 1], Only(1)), QKV1),
    row(
        Config::llama,
        QkWeightPermuted(All),
        &["layers.0.q_proj", "layers.0.k_proj"],
    ),
    row(
        Config::qwen2,
        QkWeightPermuted(All),
        &["layers.0.q_proj", "layers.0.k_proj"],
    ),
    row(
        Config::mistral,
        QkWeightPermuted(Only(1)),
        &["layers.1.q_proj", "layers.1.k_proj"],
    ),
    row(Config::llama, QkWeightPermutedRightly, PERMUTED),
    row(Config::mistral, QkWeightPermutedRightly, PERMUTED),
    row(Config::llama, GqaHeadMapping(All), &["layers.0.attn_qk"]),
    row(Config::llama3, GqaHeadMapping(All), &["layers.0.attn_qk"]),
    row(
        Config::qwen2,
        GqaHeadMapping(Only(1)),
        &["layers.1.attn_qk"],
    ),
    row(Config::qwen3, GqaHeadMapping(All), &["layers.0.attn_qk"]),
    row(
        Config::llama,
        HeadSplitOrder(Which::Q, All),
        &["layers.0.q_rope"],
    ),
    row(
        Config::llama_mha,
        HeadSplitOrder(Which::Both, All),
        &["layers.0.q_rope", "layers.0.k_rope"],
    ),
    row(
        Config::qwen3,
        HeadSplitOrder(Which::Q, Only(1)),
        &["layers.1.q_norm"],
    ),
    row(
        Config::bert,
        HeadSplitOrder(Which::Both, All),
        &["layers.0.attn_qk"],
    ),
    row(
        Config::gpt2,
        HeadSplitOrder(Which::V, Only(1)),
        &["layers.1.attn_ctx"],
    ),
    row(Config::llama, HeadMergeOrder(All), &["layers.0.attn_ctx"]),
    row(
        Config::gpt2,
        HeadMergeOrder(Only(1)),
        &["layers.1.attn_ctx"],
    ),
    row(Config::bert, HeadMergeOrder(All), &["layers.0.attn_ctx"]),
];

const QKV0: &[&str] = &["layers.0.q_proj", "layers.0.k_proj", "layers.0.v_proj"];
const QKV1: &[&str] = &["layers.1.q_proj", "layers.1.k_proj", "layers.1.v_proj"];

/// Equivalent layouts: every tensor with the permuted channels is an equally right place.
const PERMUTED: &[&str] = &[
    "layers.0.q_proj",
    "layers.0.k_proj",
    "layers.0.q_rope",
    "layers.0.k_rope",
];
