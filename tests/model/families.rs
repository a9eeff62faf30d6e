//! The families: what each model is made of.

use super::config::{Activation, Block, Config, Fused, NormKind, Padding, Rope, RopeScaling};

impl Config {
    pub fn llama() -> Config {
        Config {
            family: "llama",
            vocab: 256,
            hidden: 64,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            inter: 172,
            norm: NormKind::Rms,
            plus_one: false,
            eps: 1e-5,
            glu: true,
            act: Activation::Silu,
            rope: Some(Rope {
                theta: 10_000.0,
                dims: 16,
                interleaved: false,
                scaling: RopeScaling::None,
            }),
            learned_positions: false,
            token_types: false,
            fused: Fused::No,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            attn_scale: None,
            window: None,
            window_alternates: false,
            attn_softcap: None,
            logit_softcap: None,
            logit_scale: 1.0,
            embed_scale: 1.0,
            tied: false,
            block: Block::PreNorm,
            post_norms: false,
            causal: true,
            head: true,
            massive: 8.0,
            batch: 1,
            seq: 10,
            decode: 0,
            pad: Padding::None,
            positions_skip_padding: false,
            mask_fill: f64::from(f32::MIN),
        }
    }

    /// Llama with as many k/v heads as heads.
    pub fn llama_mha() -> Config {
        Config {
            kv_heads: 4,
            ..Config::llama()
        }
    }

    /// Llama 3.1 rotation, eight heads on two.
    pub fn llama3() -> Config {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 32.0,
        };
        Config {
            heads: 8,
            head_dim: 8,
            rope: Some(Rope {
                theta: 500_000.0,
                dims: 8,
                interleaved: false,
                scaling,
            }),
            ..Config::llama()
        }
    }

    pub fn llama_linear() -> Config {
        Config::llama().with_rope(|r| r.scaling = RopeScaling::Linear(4.0))
    }

    pub fn qwen2() -> Config {
        Config {
            family: "qwen2",
            qkv_bias: true,
            eps: 1e-6,
            tied: true,
            ..Config::llama()
        }
        .with_rope(|r| r.theta = 1e6)
    }

    pub fn qwen3() -> Config {
        Config {
            family: "qwen3",
            qk_norm: true,
            eps: 1e-6,
            head_dim: 32,
            inter: 192,
            ..Config::llama()
        }
        .with_rope(|r| (r.theta, r.dims) = (1e6, 32))
    }

    pub fn gemma() -> Config {
        Config {
            family: "gemma",
            hidden: 72,
            kv_heads: 1,
            head_dim: 32,
            inter: 152,
            plus_one: true,
            eps: 1e-6,
            act: Activation::GeluTanh,
            embed_scale: 72f64.sqrt(),
            tied: true,
            ..Config::llama()
        }
        .with_rope(|r| r.dims = 32)
    }

    pub fn gemma2() -> Config {
        Config {
            family: "gemma2",
            kv_heads: 2,
            head_dim: 16,
            attn_scale: Some(1.0 / 24f64.sqrt()),
            window: Some(4),
            window_alternates: true,
            attn_softcap: Some(5.0),
            logit_softcap: Some(3.0),
            post_norms: true,
            ..Config::gemma()
        }
        .with_rope(|r| r.dims = 16)
    }

    pub fn gpt2() -> Config {
        Config {
            family: "gpt2",
            kv_heads: 4,
            inter: 256,
            norm: NormKind::Layer,
            glu: false,
            act: Activation::GeluTanh,
            rope: None,
            learned_positions: true,
            fused: Fused::Whole,
            qkv_bias: true,
            o_bias: true,
            mlp_bias: true,
            tied: true,
            ..Config::llama()
        }
    }

    pub fn bert() -> Config {
        Config {
            family: "bert",
            eps: 1e-12,
            act: Activation::GeluErf,
            token_types: true,
            fused: Fused::No,
            block: Block::PostNorm,
            causal: false,
            head: false,
            massive: 2.0,
            ..Config::gpt2()
        }
    }

    /// Parallel block with two norms, a quarter of each head rotated, per-head fused projection.
    pub fn neox() -> Config {
        Config {
            family: "neox",
            act: Activation::GeluErf,
            learned_positions: false,
            fused: Fused::PerHead,
            tied: false,
            block: Block::Parallel,
            rope: Some(Rope {
                theta: 10_000.0,
                dims: 8,
                interleaved: false,
                scaling: RopeScaling::None,
            }),
            ..Config::gpt2()
        }
    }

    /// Parallel block with one norm, adjacent pairs rotated.
    pub fn gptj() -> Config {
        Config {
            family: "gptj",
            act: Activation::GeluTanh,
            fused: Fused::No,
            qkv_bias: false,
            o_bias: false,
            block: Block::ParallelShared,
            ..Config::neox()
        }
        .with_rope(|r| r.interleaved = true)
    }

    pub fn mistral() -> Config {
        Config {
            family: "mistral",
            window: Some(4),
            ..Config::llama()
        }
    }

    /// Multipliers on embedding, scores and logits.
    pub fn granite() -> Config {
        Config {
            family: "granite",
            embed_scale: 12.0,
            attn_scale: Some(0.125),
            logit_scale: 0.125,
            ..Config::llama()
        }
    }
}

/// Every family, by its constructor.
pub const FAMILIES: &[fn() -> Config] = &[
    Config::llama,
    Config::llama_mha,
    Config::llama3,
    Config::llama_linear,
    Config::qwen2,
    Config::qwen3,
    Config::gemma,
    Config::gemma2,
    Config::gpt2,
    Config::bert,
    Config::neox,
    Config::gptj,
    Config::mistral,
    Config::granite,
];
