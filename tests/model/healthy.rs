//! Pairs that agree: every family in every arithmetic, and the traps that are healthy.

use super::config::{Config, Padding};
use super::families::FAMILIES;
use super::math::{ARITHMETICS, Arithmetic};

/// A reference configuration and what the candidate runs it as.
pub struct Healthy {
    pub name: String,
    pub reference: Config,
    pub candidate: Config,
    pub arithmetic: Arithmetic,
}

type Family = fn() -> Config;
type Change = fn(Config) -> Config;

/// Batches, padding, decoding, depth.
const SETTINGS: &[(&str, Family)] = &[
    ("bert-right", || {
        Config::bert().with_batch(3, Padding::Right(4))
    }),
    ("llama-left", || {
        Config::llama().with_batch(2, Padding::Left(3))
    }),
    ("gpt2-left", || Config {
        positions_skip_padding: true,
        ..Config::gpt2().with_batch(2, Padding::Left(3))
    }),
    ("qwen2-batch", || {
        Config::qwen2().with_batch(3, Padding::None)
    }),
    ("llama-decode", || Config::llama().with_decode(2)),
    ("qwen3-decode", || Config::qwen3().with_decode(2)),
    ("gpt2-decode", || Config::gpt2().with_decode(1)),
    ("gemma2-decode", || Config::gemma2().with_decode(3)),
    ("llama-one-token", || Config {
        seq: 5,
        batch: 2,
        ..Config::llama()
    }),
    ("llama-massive", || Config {
        massive: 300.0,
        ..Config::llama()
    }),
    ("llama-deep", || Config {
        layers: 8,
        ..Config::llama()
    }),
    ("gpt2-long", || Config {
        seq: 40,
        ..Config::gpt2()
    }),
];

/// The candidate differs from its reference in something that changes no result.
const TRAPS: &[(&str, Family, Change)] = &[
    ("fill-infinite", Config::llama, |c| Config {
        mask_fill: f64::NEG_INFINITY,
        ..c
    }),
    ("fill-1e9", Config::gpt2, |c| Config {
        mask_fill: -1e9,
        ..c
    }),
    ("fill-window", Config::mistral, |c| Config {
        mask_fill: f64::NEG_INFINITY,
        ..c
    }),
    (
        "rope-left-padding",
        || Config::llama().with_batch(2, Padding::Left(3)),
        |c| Config {
            positions_skip_padding: true,
            ..c
        },
    ),
];

/// Every healthy pair.
pub fn pairs() -> Vec<Healthy> {
    let mut out = Vec::new();
    for arithmetic in ARITHMETICS {
        for (i, family) in FAMILIES.iter().enumerate() {
            let c = family();
            let name = format!("{}-{i}-{}", c.family, arithmetic.name());
            out.push(Healthy {
                name,
                reference: c.clone(),
                candidate: c,
                arithmetic,
            });
        }
    }
    for (name, setting) in SETTINGS {
        for arithmetic in [Arithmetic::F32Chunked, Arithmetic::F16, Arithmetic::Bf16] {
            let name = format!("{name}-{}", arithmetic.name());
            out.push(Healthy {
                name,
                reference: setting(),
                candidate: setting(),
                arithmetic,
            });
        }
    }
    for (name, reference, change) in TRAPS {
        for arithmetic in [Arithmetic::F32Chunked, Arithmetic::Bf16] {
            let name = format!("trap-{name}-{}", arithmetic.name());
            out.push(Healthy {
                name,
                reference: reference(),
                candidate: change(reference()),
                arithmetic,
            });
        }
    }
    out
}
