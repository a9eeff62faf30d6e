//! Tokens and embedding.

use super::super::config::{Config, Padding};
use super::super::faults::Fault::{self, *};
use super::{Case, row};

pub const CASES: &[Case] = &[
    row(Config::llama, by(1), &["tok_embed"]),
    row(Config::qwen2, by(-1), &["tok_embed"]),
    row(Config::gpt2, by(3), &["tok_embed"]),
    row(Config::bert, by(1), &["tok_embed"]),
    row(
        Config::llama,
        TokenIdOffset {
            by: 1,
            in_input: true,
        },
        &["input_ids"],
    ),
    row(
        Config::gemma,
        TokenIdOffset {
            by: -2,
            in_input: true,
        },
        &["input_ids"],
    ),
    row(Config::llama, SequenceShift(1), &["input_ids"]),
    row(Config::gpt2, SequenceShift(1), &["input_ids"]),
    row(Config::qwen3, SequenceShift(-1), &["input_ids"]),
    row(Config::mistral, SequenceShift(2), &["input_ids"]),
    row(Config::llama, EmbeddingWrongRows(128), &["tok_embed"]),
    row(Config::qwen2, EmbeddingWrongRows(180), &["tok_embed"]),
    row(Config::bert, EmbeddingWrongRows(64), &["tok_embed"]),
    row(Config::gemma, EmbeddingScaleMissing, &["embed"]),
    row(Config::gemma2, EmbeddingScaleMissing, &["embed"]),
    row(Config::granite, EmbeddingScaleMissing, &["embed"]),
    row(gemma_64, EmbeddingScaleMissing, &["embed"]),
    row(Config::gemma, EmbeddingScaleRounded, &["embed"]),
    row(Config::gemma2, EmbeddingScaleRounded, &["embed"]),
    row(gemma_96, EmbeddingScaleRounded, &["embed"]),
    row(Config::gpt2, PositionOffset(1), &["pos_embed"]),
    row(Config::gpt2, PositionOffset(2), &["pos_embed"]),
    row(Config::bert, PositionOffset(1), &["pos_embed"]),
    row(bert_padded, PositionOffset(2), &["pos_embed"]),
    row(Config::gpt2, PositionOffset(-1), &["pos_embed"]),
    row(Config::gpt2, PositionEmbeddingMissing, &["embed"]),
    row(Config::bert, PositionEmbeddingMissing, &["embed_sum"]),
    row(Config::bert, TokenTypeEmbeddingMissing, &["embed_sum"]),
    row(bert_padded, TokenTypeEmbeddingMissing, &["embed_sum"]),
];

const fn by(by: i64) -> Fault {
    TokenIdOffset {
        by,
        in_input: false,
    }
}

fn gemma_64() -> Config {
    Config {
        hidden: 64,
        embed_scale: 8.0,
        ..Config::gemma()
    }
}

fn gemma_96() -> Config {
    Config {
        hidden: 96,
        embed_scale: 96f64.sqrt(),
        ..Config::gemma()
    }
}

fn bert_padded() -> Config {
    Config::bert().with_batch(2, Padding::Right(3))
}
