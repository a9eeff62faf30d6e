//! Scores, masks, softmax, cache.

use super::super::config::{Config, Padding};
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, From, Only};
use super::super::faults::{Factor, WrongWindow};
use super::super::recipe::Cache;
use super::{Case, row};

const SCORES0: &[&str] = &["layers.0.attn_scores"];
const SCORES1: &[&str] = &["layers.1.attn_scores"];

pub const CASES: &[Case] = &[
    row(Config::llama, AttentionScale(Factor::Missing, All), SCORES0),
    row(
        Config::qwen2,
        AttentionScale(Factor::InverseDim, All),
        SCORES0,
    ),
    row(
        Config::bert,
        AttentionScale(Factor::Missing, Only(1)),
        SCORES1,
    ),
    row(
        Config::gpt2,
        AttentionScale(Factor::InverseRootHidden, All),
        SCORES0,
    ),
    row(
        Config::gemma2,
        AttentionScale(Factor::Times(1.5), All),
        SCORES0,
    ),
    row(
        Config::llama,
        AttentionScale(Factor::Times(1.01), All),
        SCORES0,
    ),
    row(
        Config::granite,
        AttentionScale(Factor::Times(2.0), From(1)),
        SCORES1,
    ),
    row(Config::neox, AttentionScale(Factor::Twice, All), SCORES0),
    row(Config::gemma2, AttentionSoftcapMissing(All), SCORES0),
    row(Config::gemma2, AttentionSoftcapMissing(Only(1)), SCORES1),
    row(Config::llama, CausalMaskMissing(All), SCORES0),
    row(Config::gpt2, CausalMaskMissing(Only(1)), SCORES1),
    row(Config::gptj, CausalMaskMissing(All), SCORES0),
    row(Config::llama, CausalMaskOffByOne(1, All), SCORES0),
    row(Config::gpt2, CausalMaskOffByOne(-1, All), SCORES0),
    row(
        Config::qwen2,
        CausalMaskOffByOne(1, Only(2)),
        &["layers.2.attn_scores"],
    ),
    row(bert_padded, PaddingMaskIgnored(All), SCORES0),
    row(llama_left, PaddingMaskIgnored(All), SCORES0),
    row(bert_three, PaddingMaskIgnored(Only(1)), SCORES1),
    row(gpt2_left, PaddingMaskIgnored(All), SCORES0),
    row(Config::mistral, SlidingWindowIgnored(All), SCORES0),
    row(Config::gemma2, SlidingWindowIgnored(All), SCORES0),
    row(Config::mistral, SlidingWindowIgnored(Only(1)), SCORES1),
    row(
        Config::mistral,
        SlidingWindowWrong(WrongWindow::Width(3), All),
        SCORES0,
    ),
    row(
        Config::mistral,
        SlidingWindowWrong(WrongWindow::Width(5), All),
        SCORES0,
    ),
    row(
        Config::mistral,
        SlidingWindowWrong(WrongWindow::Width(8), Only(1)),
        SCORES1,
    ),
    row(
        Config::gemma2,
        SlidingWindowWrong(WrongWindow::OtherLayers, All),
        SCORES0,
    ),
    row(Config::llama, SoftmaxAxis(All), &["layers.0.attn_weights"]),
    row(
        Config::bert,
        SoftmaxAxis(Only(1)),
        &["layers.1.attn_weights"],
    ),
    row(
        Config::llama,
        SoftmaxNotNormalised(All),
        &["layers.0.attn_weights"],
    ),
    row(
        Config::gpt2,
        SoftmaxNotNormalised(Only(1)),
        &["layers.1.attn_weights"],
    ),
    row(
        llama_left,
        NanFullyMaskedRow(All),
        &["layers.0.attn_weights"],
    ),
    row(
        gpt2_left,
        NanFullyMaskedRow(Only(1)),
        &["layers.1.attn_weights"],
    ),
    row(
        Config::llama,
        TileTailUnwritten("layers.0.attn_ctx", 8),
        &["layers.0.attn_ctx"],
    ),
    row(
        Config::qwen3,
        TileTailUnwritten("layers.1.attn_ctx", 4),
        &["layers.1.attn_ctx"],
    ),
    row(
        gpt2_long,
        TileTailUnwritten("layers.1.attn_ctx", 16),
        &["layers.1.attn_ctx"],
    ),
    row(
        gpt2_long,
        TileTailUnwritten("layers.1.mlp_mid", 16),
        &["layers.1.mlp_mid"],
    ),
    row(
        llama_decode,
        KvCachePosition(1),
        &["step1/layers.0.q_rope", "step1/layers.0.k_rope"],
    ),
    row(
        llama_decode,
        KvCachePosition(-1),
        &["step1/layers.0.q_rope", "step1/layers.0.k_rope"],
    ),
    row(
        qwen3_decode,
        KvCachePosition(-6),
        &["step1/layers.0.q_rope", "step1/layers.0.k_rope"],
    ),
    row(gpt2_decode, KvCachePosition(-1), &["step1/pos_embed"]),
    row(
        llama_decode,
        KvCacheStale(Cache::NeverWritten),
        &["step1/layers.0.attn_qk"],
    ),
    row(
        llama_decode,
        KvCacheStale(Cache::OneEarly),
        &["step1/layers.0.attn_qk"],
    ),
    row(
        gpt2_decode,
        KvCacheStale(Cache::NeverWritten),
        &["step1/layers.0.attn_qk"],
    ),
    row(
        qwen3_decode,
        KvCacheStale(Cache::OneEarly),
        &["step1/layers.0.attn_qk"],
    ),
];

fn bert_padded() -> Config {
    Config::bert().with_batch(2, Padding::Right(3))
}

fn bert_three() -> Config {
    Config::bert().with_batch(3, Padding::Right(4))
}

fn llama_left() -> Config {
    Config::llama().with_batch(2, Padding::Left(3))
}

fn gpt2_left() -> Config {
    Config {
        positions_skip_padding: true,
        ..Config::gpt2().with_batch(2, Padding::Left(3))
    }
}

fn gpt2_long() -> Config {
    Config {
        seq: 40,
        layers: 2,
        ..Config::gpt2()
    }
}

fn llama_decode() -> Config {
    Config::llama().with_decode(2)
}

fn qwen3_decode() -> Config {
    Config::qwen3().with_decode(1)
}

fn gpt2_decode() -> Config {
    Config::gpt2().with_decode(2)
}
