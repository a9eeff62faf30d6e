//! Buffers and dumps.

use super::super::config::{Config, Padding};
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, Only};
use super::super::faults::{Aliasing, Axes, Moved};
use super::{Case, row};

pub const CASES: &[Case] = &[
    row(
        Config::llama,
        BufferAliased(Aliasing::NormInPlace, All),
        &["layers.0.attn_residual"],
    ),
    row(
        Config::gpt2,
        BufferAliased(Aliasing::NormInPlace, Only(1)),
        &["layers.1.attn_residual"],
    ),
    row(
        Config::llama,
        BufferAliased(Aliasing::BranchOverStream, Only(1)),
        &["layers.1.output"],
    ),
    row(
        Config::qwen2,
        BufferAliased(Aliasing::StreamOverBranch, All),
        &["layers.0.output"],
    ),
    row(
        Config::llama,
        shared("up_proj", "gate_proj", All),
        &["layers.0.up_proj"],
    ),
    row(
        Config::qwen2,
        shared("v_proj", "k_proj", Only(1)),
        &["layers.1.v_proj"],
    ),
    row(
        Config::gemma,
        shared("mlp_mid", "act", Only(1)),
        &["layers.1.mlp_mid"],
    ),
    row(
        Config::llama,
        StaleBuffer("layers.1.attn_norm", "layers.0.attn_norm"),
        &["layers.1.attn_norm"],
    ),
    row(
        Config::llama,
        StaleBuffer("layers.1.mlp_norm", "layers.1.attn_norm"),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::qwen3,
        StaleBuffer("layers.2.attn_ctx", "layers.1.attn_ctx"),
        &["layers.2.attn_ctx"],
    ),
    row(
        Config::gpt2,
        StaleBuffer("layers.1.o_proj", "layers.0.o_proj"),
        &["layers.1.o_proj"],
    ),
    row(
        Config::bert,
        StaleBuffer("layers.1.attn_weights", "layers.0.attn_weights"),
        &["layers.1.attn_weights"],
    ),
    row(
        Config::llama,
        StaleBuffer("layers.2.output", "layers.1.output"),
        &["layers.2.output"],
    ),
    row(
        llama_two,
        BatchOffset("layers.0.attn_ctx", false),
        &["layers.0.attn_ctx"],
    ),
    row(
        llama_two,
        BatchOffset("layers.1.q_proj", true),
        &["layers.1.q_proj"],
    ),
    row(
        bert_two,
        BatchOffset("layers.1.o_proj", false),
        &["layers.1.o_proj"],
    ),
    row(
        gpt2_three,
        BatchOffset("layers.0.mlp_norm", true),
        &["layers.0.mlp_norm"],
    ),
    row(llama_two, BatchOffset("embed", false), &["embed"]),
    row(
        Config::llama,
        DuplicateDump("layers.2.attn_norm", "layers.1.attn_norm"),
        &["layers.2.attn_norm"],
    ),
    row(
        Config::qwen2,
        DuplicateDump("layers.1.k_proj", "layers.0.k_proj"),
        &["layers.1.k_proj"],
    ),
    row(
        Config::gpt2,
        DuplicateDump("layers.1.output", "layers.2.output"),
        &["layers.1.output"],
    ),
    row(Config::llama, DumpAliased, &["layers.0.input"]),
    row(Config::gpt2, DumpAliased, &["layers.0.input"]),
    row(Config::llama, DumpPoint(Moved::OutputBeforeSum(All)), &[]),
    row(
        Config::gpt2,
        DumpPoint(Moved::OutputBeforeSum(Only(1))),
        &[],
    ),
    row(
        Config::qwen2,
        DumpPoint(Moved::AttentionBeforeSum(All)),
        &[],
    ),
    row(
        Config::llama,
        DumpPoint(Moved::ProjectionAfterSum(All)),
        &[],
    ),
    row(Config::mistral, DumpPoint(Moved::BeforeNorm(All)), &[]),
    row(Config::llama, DumpPoint(Moved::OutputBehindNorm), &[]),
    row(
        Config::llama,
        AllZeros("layers.1.v_proj"),
        &["layers.1.v_proj"],
    ),
    row(
        Config::bert,
        AllZeros("layers.0.up_proj"),
        &["layers.0.up_proj"],
    ),
    row(
        Config::gpt2,
        AllZeros("layers.1.attn_ctx"),
        &["layers.1.attn_ctx"],
    ),
    row(
        Config::llama,
        LayoutPermuted(Axes::HeadsFirst),
        &["layers.0.q_rope", "layers.0.k_rope"],
    ),
    row(
        Config::qwen3,
        LayoutPermuted(Axes::HeadsFirst),
        &["layers.0.q_rope", "layers.0.k_rope"],
    ),
    row(
        Config::llama,
        LayoutPermuted(Axes::LastTwo),
        &["layers.0.attn_ctx"],
    ),
    row(Config::llama, MissingBatchDim, &[]),
    row(Config::bert, MissingBatchDim, &[]),
    row(llama_two, BatchPermuted, &[]),
    row(gpt2_three, BatchPermuted, &[]),
    row(Config::llama, SequencePadded(16), &["tok_embed"]),
    row(Config::gpt2, SequencePadded(12), &["tok_embed"]),
    row(Config::llama, LastTokenOnly, &[]),
    row(Config::gpt2, LastTokenOnly, &[]),
    row(Config::llama, MissingFiles(4), &[]),
    row(Config::bert, MissingFiles(3), &[]),
    row(
        Config::llama,
        TruncatedFile("layers.1.mlp_norm"),
        &["layers.1.mlp_norm"],
    ),
    row(
        Config::gpt2,
        TruncatedFile("layers.0.up_proj"),
        &["layers.0.up_proj"],
    ),
    row(
        Config::llama,
        ByteOrder("layers.1.q_proj"),
        &["layers.1.q_proj"],
    ),
    row(
        Config::bert,
        ByteOrder("layers.0.down_proj"),
        &["layers.0.down_proj"],
    ),
    row(
        Config::llama,
        DtypeMislabelled("layers.1.up_proj"),
        &["layers.1.up_proj"],
    ),
    row(llama_left, PadRowsDiffer, &["layers.0.attn_norm"]),
    row(bert_right, PadRowsDiffer, &["layers.0.q_proj"]),
];

const fn shared(
    at: &'static str,
    holds: &'static str,
    layers: super::super::faults::Layers,
) -> super::super::faults::Fault {
    BufferAliased(Aliasing::Shared { at, holds }, layers)
}

fn llama_two() -> Config {
    Config::llama().with_batch(2, Padding::None)
}

fn bert_two() -> Config {
    Config::bert().with_batch(2, Padding::Right(3))
}

fn gpt2_three() -> Config {
    Config::gpt2().with_batch(3, Padding::None)
}

fn llama_left() -> Config {
    Config::llama().with_batch(2, Padding::Left(3))
}

fn bert_right() -> Config {
    Config::bert().with_batch(2, Padding::Right(3))
}
