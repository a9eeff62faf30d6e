//! How a dump spells its stages and lays out its tensors, and which stages it taps at all.

use super::config::{Block, Config};
use super::dump::exchange;
use super::faults::{Axes, Fault};

/// Naming and layout of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Canonical keys; heads after the sequence.
    Canonical,
    /// Hugging Face module paths; heads before the sequence.
    Hf,
    Titan,
    /// llama.cpp's graph; no batch dimension.
    Ggml,
    /// `layer_0_attn_q_proj_raw`, heads merged.
    Port,
}

/// Which stages are tapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Full,
    /// Without scores and weights of the attention.
    NoAttention,
    /// What forward hooks on modules see.
    Modules,
    /// Layer outputs and norms.
    Blocks,
    /// Everything of one layer, only the outputs of the others.
    Zoomed(usize),
}

impl Profile {
    pub fn taps(self, c: &Config, key: &str) -> bool {
        let stage = key.rsplit(['.', '/']).next().unwrap_or(key);
        let attention = matches!(stage, "attn_qk" | "attn_scores" | "attn_weights");
        match self {
            Profile::Full => true,
            Profile::Zoomed(layer) => {
                let inside = key
                    .split_once("layers.")
                    .and_then(|(_, k)| k.split_once('.'));
                inside.is_none_or(|(l, s)| s == "output" || l == layer.to_string())
            }
            Profile::NoAttention => !attention,
            Profile::Modules => {
                let sums = matches!(
                    stage,
                    "input"
                        | "attn_residual"
                        | "mlp_residual"
                        | "embed_sum"
                        | "input_ids"
                        | "attention_mask"
                );
                let functions = matches!(stage, "q_rope" | "k_rope" | "attn_ctx");
                // The fused projection is the module; its parts are slices.
                let parts = c.fused != super::config::Fused::No
                    && matches!(stage, "q_proj" | "k_proj" | "v_proj");
                // An activation without a gate is a module, the product with the gate is none.
                let product = c.glu && stage == "mlp_mid";
                let scaled = stage == "embed" && c.block != Block::PostNorm && !c.learned_positions;
                !(attention || sums || functions || parts || product || scaled)
            }
            Profile::Blocks => matches!(
                stage,
                "embed"
                    | "attn_norm"
                    | "mlp_norm"
                    | "attn_out_norm"
                    | "output"
                    | "final_norm"
                    | "logits"
            ),
        }
    }
}

impl Style {
    pub fn name(self) -> &'static str {
        match self {
            Style::Canonical => "canonical",
            Style::Hf => "hf",
            Style::Titan => "titan",
            Style::Ggml => "ggml",
            Style::Port => "port",
        }
    }

    /// The name of a stage, without extension; none where this kind of dump has no such tensor.
    pub fn spell(self, c: &Config, key: &str) -> Option<String> {
        let (step, bare) = match key.split_once('/') {
            Some((step, bare)) => (format!("{step}/"), bare),
            None => (String::new(), key),
        };
        let (layer, stage) = match bare.strip_prefix("layers.").and_then(|k| k.split_once('.')) {
            Some((layer, stage)) => (layer, stage),
            None => ("", bare),
        };
        let scaled = c.embed_scale != 1.0;
        let name = match self {
            Style::Hf if scaled && stage == "embed" => "model.embed_scaled".to_string(),
            Style::Ggml if scaled && stage == "tok_embed" => "inp_embd".to_string(),
            Style::Ggml if scaled && stage == "embed" => "inp_scaled".to_string(),
            Style::Canonical => bare.to_string(),
            Style::Hf if c.block == Block::PostNorm => spelled(BERT, layer, stage)?,
            Style::Hf if c.family == "gpt2" => spelled(GPT2, layer, stage)?,
            Style::Hf if c.family == "neox" => spelled(NEOX, layer, stage)?,
            Style::Hf if c.family == "gptj" => spelled(GPTJ, layer, stage)?,
            Style::Hf if c.post_norms => {
                spelled(GEMMA2, layer, stage).or_else(|| spelled(LLAMA, layer, stage))?
            }
            Style::Hf => spelled(LLAMA, layer, stage)?,
            Style::Titan => spelled(TITAN, layer, stage)?,
            Style::Ggml => spelled(GGML, layer, stage)?,
            Style::Port => spelled(PORT, layer, stage)?,
        };
        Some(format!("{step}{name}"))
    }

    /// Whether this style is used for models of such a block.
    pub fn fits(self, c: &Config) -> bool {
        match self {
            Style::Canonical | Style::Hf => true,
            Style::Titan => c.glu && !c.post_norms && c.embed_scale == 1.0,
            Style::Ggml => c.batch == 1 && c.glu && !c.post_norms,
            Style::Port => c.block == Block::PreNorm && !c.post_norms,
        }
    }

    /// Whether this style has no such axis that a fault of the layout could change.
    pub fn hides(self, fault: &Fault) -> bool {
        match fault {
            Fault::MissingBatchDim => self == Style::Ggml,
            Fault::LayoutPermuted(Axes::HeadsFirst) => self == Style::Port,
            _ => false,
        }
    }

    /// The tensor as this style lays it out; stages with heads come in as […, S, H, D].
    pub fn lay_out(self, key: &str, shape: &[usize], data: Vec<f64>) -> (Vec<usize>, Vec<f64>) {
        let mut shape = shape.to_vec();
        let mut data = data;
        let n = shape.len();
        if key.ends_with("_rope") && matches!(self, Style::Hf) && n >= 3 {
            let outer = shape[..n - 3].iter().product();
            data = exchange(&data, outer, shape[n - 3], shape[n - 2], shape[n - 1]);
            shape.swap(n - 3, n - 2);
        }
        if (key.ends_with("_rope") || key.ends_with("q_norm") || key.ends_with("k_norm"))
            && self == Style::Port
            && n == 4
        {
            let merged = shape[2] * shape[3];
            shape.truncate(2);
            shape.push(merged);
        }
        if self == Style::Ggml && shape[0] == 1 && n > 2 {
            shape.remove(0);
        }
        (shape, data)
    }
}

type Spelling = (&'static str, &'static str);

fn spelled(table: &[Spelling], layer: &str, stage: &str) -> Option<String> {
    table
        .iter()
        .find(|(s, _)| *s == stage)
        .map(|(_, name)| name.replace('#', layer))
}

const LLAMA: &[Spelling] = &[
    ("input_ids", "input_ids"),
    ("attention_mask", "attention_mask"),
    ("tok_embed", "model.embed_tokens"),
    ("attn_norm", "model.layers.#.input_layernorm"),
    ("q_proj", "model.layers.#.self_attn.q_proj"),
    ("k_proj", "model.layers.#.self_attn.k_proj"),
    ("v_proj", "model.layers.#.self_attn.v_proj"),
    ("q_norm", "model.layers.#.self_attn.q_norm"),
    ("k_norm", "model.layers.#.self_attn.k_norm"),
    ("q_rope", "model.layers.#.self_attn.q_rope"),
    ("k_rope", "model.layers.#.self_attn.k_rope"),
    ("attn_scores", "model.layers.#.self_attn.attn_scores"),
    ("attn_weights", "model.layers.#.self_attn.attn_weights"),
    ("attn_ctx", "model.layers.#.self_attn.attn_output"),
    ("o_proj", "model.layers.#.self_attn.o_proj"),
    ("mlp_norm", "model.layers.#.post_attention_layernorm"),
    ("gate_proj", "model.layers.#.mlp.gate_proj"),
    ("up_proj", "model.layers.#.mlp.up_proj"),
    ("act", "model.layers.#.mlp.act_fn"),
    ("down_proj", "model.layers.#.mlp.down_proj"),
    ("output", "model.layers.#"),
    ("final_norm", "model.norm"),
    ("logits", "lm_head"),
];

const GEMMA2: &[Spelling] = &[
    ("mlp_norm", "model.layers.#.pre_feedforward_layernorm"),
    ("attn_post_norm", "model.layers.#.post_attention_layernorm"),
    ("mlp_post_norm", "model.layers.#.post_feedforward_layernorm"),
];

const GPT2: &[Spelling] = &[
    ("input_ids", "input_ids"),
    ("attention_mask", "attention_mask"),
    ("tok_embed", "transformer.wte"),
    ("pos_embed", "transformer.wpe"),
    ("embed", "transformer.drop"),
    ("attn_norm", "transformer.h.#.ln_1"),
    ("qkv_proj", "transformer.h.#.attn.c_attn"),
    ("attn_scores", "transformer.h.#.attn.attn_scores"),
    ("attn_weights", "transformer.h.#.attn.attn_weights"),
    ("attn_ctx", "transformer.h.#.attn.attn_output"),
    ("o_proj", "transformer.h.#.attn.c_proj"),
    ("mlp_norm", "transformer.h.#.ln_2"),
    ("up_proj", "transformer.h.#.mlp.c_fc"),
    ("mlp_mid", "transformer.h.#.mlp.act"),
    ("down_proj", "transformer.h.#.mlp.c_proj"),
    ("output", "transformer.h.#"),
    ("final_norm", "transformer.ln_f"),
    ("logits", "lm_head"),
];

const GPTJ: &[Spelling] = &[
    ("input_ids", "input_ids"),
    ("tok_embed", "transformer.wte"),
    ("attn_norm", "transformer.h.#.ln_1"),
    ("q_proj", "transformer.h.#.attn.q_proj"),
    ("k_proj", "transformer.h.#.attn.k_proj"),
    ("v_proj", "transformer.h.#.attn.v_proj"),
    ("q_rope", "transformer.h.#.attn.q_rope"),
    ("k_rope", "transformer.h.#.attn.k_rope"),
    ("attn_scores", "transformer.h.#.attn.attn_scores"),
    ("attn_weights", "transformer.h.#.attn.attn_weights"),
    ("attn_ctx", "transformer.h.#.attn.attn_output"),
    ("o_proj", "transformer.h.#.attn.out_proj"),
    ("up_proj", "transformer.h.#.mlp.fc_in"),
    ("mlp_mid", "transformer.h.#.mlp.act"),
    ("down_proj", "transformer.h.#.mlp.fc_out"),
    ("output", "transformer.h.#"),
    ("final_norm", "transformer.ln_f"),
    ("logits", "lm_head"),
];

const NEOX: &[Spelling] = &[
    ("input_ids", "input_ids"),
    ("tok_embed", "gpt_neox.embed_in"),
    ("attn_norm", "gpt_neox.layers.#.input_layernorm"),
    ("qkv_proj", "gpt_neox.layers.#.attention.query_key_value"),
    ("q_rope", "gpt_neox.layers.#.attention.q_rope"),
    ("k_rope", "gpt_neox.layers.#.attention.k_rope"),
    ("attn_scores", "gpt_neox.layers.#.attention.attn_scores"),
    ("attn_weights", "gpt_neox.layers.#.attention.attn_weights"),
    ("attn_ctx", "gpt_neox.layers.#.attention.attn_output"),
    ("o_proj", "gpt_neox.layers.#.attention.dense"),
    ("mlp_norm", "gpt_neox.layers.#.post_attention_layernorm"),
    ("up_proj", "gpt_neox.layers.#.mlp.dense_h_to_4h"),
    ("mlp_mid", "gpt_neox.layers.#.mlp.act"),
    ("down_proj", "gpt_neox.layers.#.mlp.dense_4h_to_h"),
    ("output", "gpt_neox.layers.#"),
    ("final_norm", "gpt_neox.final_layer_norm"),
    ("logits", "embed_out"),
];

const BERT: &[Spelling] = &[
    ("input_ids", "input_ids"),
    ("attention_mask", "attention_mask"),
    ("tok_embed", "embeddings.word_embeddings"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("type_embed", "embeddings.token_type_embeddings"),
    ("embed", "embeddings"),
    ("q_proj", "encoder.layer.#.attention.self.query"),
    ("k_proj", "encoder.layer.#.attention.self.key"),
    ("v_proj", "encoder.layer.#.attention.self.value"),
    ("attn_scores", "encoder.layer.#.attention.self.attn_scores"),
    (
        "attn_weights",
        "encoder.layer.#.attention.self.attn_weights",
    ),
    ("attn_ctx", "encoder.layer.#.attention.self"),
    ("o_proj", "encoder.layer.#.attention.output.dense"),
    (
        "attn_out_norm",
        "encoder.layer.#.attention.output.LayerNorm",
    ),
    ("up_proj", "encoder.layer.#.intermediate.dense"),
    (
        "mlp_mid",
        "encoder.layer.#.intermediate.intermediate_act_fn",
    ),
    ("down_proj", "encoder.layer.#.output.dense"),
    ("output", "encoder.layer.#"),
];

const TITAN: &[Spelling] = &[
    ("tok_embed", "tok_embeddings"),
    ("attn_norm", "layers.#.attention_norm"),
    ("q_proj", "layers.#.attention.wq"),
    ("k_proj", "layers.#.attention.wk"),
    ("v_proj", "layers.#.attention.wv"),
    ("q_norm", "layers.#.attention.q_norm"),
    ("k_norm", "layers.#.attention.k_norm"),
    ("q_rope", "layers.#.attention.xq"),
    ("k_rope", "layers.#.attention.xk"),
    ("attn_scores", "layers.#.attention.scores"),
    ("attn_weights", "layers.#.attention.probs"),
    ("attn_ctx", "layers.#.attention.inner_attention"),
    ("o_proj", "layers.#.attention.wo"),
    ("mlp_norm", "layers.#.ffn_norm"),
    ("gate_proj", "layers.#.feed_forward.w1"),
    ("up_proj", "layers.#.feed_forward.w3"),
    ("down_proj", "layers.#.feed_forward.w2"),
    ("output", "layers.#"),
    ("final_norm", "norm"),
    ("logits", "output"),
];

const GGML: &[Spelling] = &[
    ("embed", "inp_embd"),
    ("attn_norm", "attn_norm-#"),
    ("q_proj", "Qcur-#"),
    ("k_proj", "Kcur-#"),
    ("v_proj", "Vcur-#"),
    ("q_norm", "Qcur_normed-#"),
    ("k_norm", "Kcur_normed-#"),
    ("q_rope", "Qcur_rope-#"),
    ("k_rope", "Kcur_rope-#"),
    ("attn_qk", "kq-#"),
    ("attn_weights", "kq_soft_max-#"),
    ("attn_ctx", "kqv_out-#"),
    ("o_proj", "attn_out-#"),
    ("attn_residual", "ffn_inp-#"),
    ("mlp_norm", "ffn_norm-#"),
    ("gate_proj", "ffn_gate-#"),
    ("up_proj", "ffn_up-#"),
    ("act", "ffn_silu-#"),
    ("mlp_mid", "ffn_gate_par-#"),
    ("down_proj", "ffn_out-#"),
    ("output", "l_out-#"),
    ("final_norm", "result_norm"),
    ("logits", "result_output"),
];

const PORT: &[Spelling] = &[
    ("tok_embed", "token_embeddings"),
    ("pos_embed", "position_embeddings"),
    ("embed", "input_embeddings"),
    ("input", "layer_#_input_hidden_states"),
    ("attn_norm", "layer_#_attn_norm_output"),
    ("qkv_proj", "layer_#_attn_qkv_proj"),
    ("q_proj", "layer_#_attn_q_proj_raw"),
    ("k_proj", "layer_#_attn_k_proj_raw"),
    ("v_proj", "layer_#_attn_v_proj_raw"),
    ("q_norm", "layer_#_attn_q_normed"),
    ("k_norm", "layer_#_attn_k_normed"),
    ("q_rope", "layer_#_attn_q_rope"),
    ("k_rope", "layer_#_attn_k_rope"),
    ("attn_scores", "layer_#_attn_scores"),
    ("attn_weights", "layer_#_attn_weights"),
    ("attn_ctx", "layer_#_attn_context"),
    ("o_proj", "layer_#_attn_o_proj"),
    ("attn_residual", "layer_#_attn_residual_output"),
    ("mlp_norm", "layer_#_mlp_norm_output"),
    ("gate_proj", "layer_#_mlp_gate_proj"),
    ("up_proj", "layer_#_mlp_up_proj"),
    ("act", "layer_#_mlp_act"),
    ("mlp_mid", "layer_#_mlp_intermediate"),
    ("down_proj", "layer_#_mlp_down_proj"),
    ("output", "layer_#_layer_output"),
    ("final_norm", "final_norm_output"),
    ("logits", "logits"),
];
