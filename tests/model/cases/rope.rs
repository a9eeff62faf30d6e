//! Rotary positions.

use super::super::config::{Config, Padding};
use super::super::faults::Fault::*;
use super::super::faults::Layers::{All, From, Only};
use super::super::faults::Which;
use super::{Case, row};

const QK0: &[&str] = &["layers.0.q_rope", "layers.0.k_rope"];
const QK1: &[&str] = &["layers.1.q_rope", "layers.1.k_rope"];

pub const CASES: &[Case] = &[
    row(Config::llama, RopeInterleaved(All), QK0),
    row(Config::qwen3, RopeInterleaved(All), QK0),
    row(Config::gptj, RopeInterleaved(All), QK0),
    row(Config::neox, RopeInterleaved(Only(1)), QK1),
    row(Config::gemma, RopeInterleaved(From(1)), QK1),
    row(Config::llama, RopeTheta(500_000.0, All), QK0),
    row(Config::llama, RopeTheta(14_000.0, All), QK0),
    row(Config::qwen2, RopeTheta(10_000.0, All), QK0),
    row(Config::qwen3, RopeTheta(10_000.0, Only(1)), QK1),
    row(Config::gemma2, RopeTheta(1e6, From(1)), QK1),
    row(Config::gptj, RopeTheta(1_000.0, All), QK0),
    row(Config::neox, RopeTheta(25_000.0, All), QK0),
    row(Config::llama_linear, RopeScalingMissing(All), QK0),
    row(Config::llama3, RopeScalingMissing(All), QK0),
    row(Config::llama_linear, RopeScalingMissing(Only(1)), QK1),
    row(Config::llama, RopePositionOffset(1, All), QK0),
    row(Config::llama, RopePositionOffset(-1, All), QK0),
    row(Config::gemma, RopePositionOffset(2, Only(1)), QK1),
    row(Config::gptj, RopePositionOffset(1, All), QK0),
    row(Config::neox, RopePositionOffset(5, All), QK0),
    row(llama_padded, RopePositionOffset(1, All), QK0),
    row(Config::llama, RopeSign(All), QK0),
    row(Config::qwen2, RopeSign(Only(1)), QK1),
    row(Config::gptj, RopeSign(All), QK0),
    row(Config::neox, RopePartial(16, All), QK0),
    row(Config::llama, RopePartial(8, All), QK0),
    row(Config::qwen3, RopePartial(16, Only(1)), QK1),
    row(Config::gptj, RopePartial(16, All), QK0),
    row(Config::llama, RopeMissing(Which::Both, All), QK0),
    row(
        Config::qwen2,
        RopeMissing(Which::K, All),
        &["layers.0.k_rope"],
    ),
    row(
        Config::qwen3,
        RopeMissing(Which::Q, Only(1)),
        &["layers.1.q_rope"],
    ),
    row(
        Config::gptj,
        RopeMissing(Which::Both, Only(2)),
        &["layers.2.q_rope", "layers.2.k_rope"],
    ),
    row(Config::neox, RopeMissing(Which::Both, All), QK0),
];

fn llama_padded() -> Config {
    Config::llama().with_batch(2, Padding::Right(3))
}
