//! Names that real producers write, read as whole dumps.

mod families;

use super::*;
use crate::order::{Item, order};

/// Reads the names together and shows their keys.
fn read(names: &[&str]) -> Vec<String> {
    let entries: Vec<Entry<'_>> = names
        .iter()
        .map(|&name| Entry {
            name,
            ..Entry::default()
        })
        .collect();
    keys(&entries).0.iter().map(Key::to_string).collect()
}

/// Rows of `name => key`, read as one dump.
fn check(table: &str) {
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|l| l.trim().split_once(" => "))
        .map(|(a, b)| (a.trim(), b.trim()))
        .collect();
    assert!(!rows.is_empty());
    let names: Vec<&str> = rows.iter().map(|r| r.0).collect();
    let found: Vec<(&str, String)> = names.iter().copied().zip(read(&names)).collect();
    let want: Vec<(&str, String)> = rows.iter().map(|r| (r.0, r.1.to_string())).collect();
    assert_eq!(found, want);
}

#[test]
fn hugging_face_llama_with_hook_suffixes() {
    check(
        "model.embed_tokens => tok_embed
         model.rotary_emb.0 => rope_tables
         model.layers.0.input_layernorm => layers.0.attn_norm
         model.layers.0.self_attn.q_proj => layers.0.q_proj
         model.layers.0.self_attn.o_proj => layers.0.o_proj
         model.layers.0.self_attn.o_proj.input => layers.0.attn_ctx
         model.layers.0.self_attn.0 => layers.0.o_proj#self_attn.0
         model.layers.0.self_attn.1 => layers.0.attn_weights
         model.layers.0.post_attention_layernorm => layers.0.mlp_norm
         model.layers.0.post_attention_layernorm.input => layers.0.attn_residual
         model.layers.0.mlp.act_fn => layers.0.act
         model.layers.0.mlp.gate_proj => layers.0.gate_proj
         model.layers.0.mlp.down_proj.input => layers.0.mlp_mid
         model.layers.0.mlp => layers.0.down_proj
         model.layers.0.0 => layers.0.output
         model.layers.11 => layers.11.output
         model.norm => final_norm
         lm_head => logits",
    );
}

#[test]
fn gemma_2_norms_around_both_halves() {
    check(
        "model.layers.0.input_layernorm => layers.0.attn_norm
         model.layers.0.post_attention_layernorm => layers.0.attn_post_norm
         model.layers.0.pre_feedforward_layernorm => layers.0.mlp_norm
         model.layers.0.post_feedforward_layernorm => layers.0.mlp_post_norm
         model.layers.0.mlp.gate_proj => layers.0.gate_proj",
    );
}

#[test]
fn olmo_2_norms_after_both_halves() {
    check(
        "model.layers.0.self_attn.q_proj => layers.0.q_proj
         model.layers.0.post_attention_layernorm => layers.0.attn_post_norm
         model.layers.0.post_feedforward_layernorm => layers.0.mlp_post_norm",
    );
}

#[test]
fn gpt_2_and_its_relatives() {
    check(
        "transformer.wte => tok_embed
         transformer.wpe => pos_embed
         transformer.drop => embed
         transformer.h.0.ln_1 => layers.0.attn_norm
         transformer.h.0.attn.c_attn => layers.0.qkv_proj
         transformer.h.0.attn.attn_dropout => layers.0.attn_weights
         transformer.h.0.attn.c_proj => layers.0.o_proj
         transformer.h.0.attn => layers.0.o_proj#attn
         transformer.h.0.ln_2 => layers.0.mlp_norm
         transformer.h.0.mlp.c_fc => layers.0.up_proj
         transformer.h.0.mlp.act => layers.0.mlp_mid
         transformer.h.0.mlp.c_proj => layers.0.down_proj
         transformer.h.0 => layers.0.output
         transformer.ln_f => final_norm
         lm_head => logits",
    );
    check(
        "gpt_neox.embed_in => tok_embed
         gpt_neox.layers.5.input_layernorm => layers.5.attn_norm
         gpt_neox.layers.5.attention.query_key_value => layers.5.qkv_proj
         gpt_neox.layers.5.attention.dense => layers.5.o_proj
         gpt_neox.layers.5.post_attention_layernorm => layers.5.mlp_norm
         gpt_neox.layers.5.mlp.dense_h_to_4h => layers.5.up_proj
         gpt_neox.layers.5.mlp.act => layers.5.mlp_mid
         gpt_neox.layers.5.mlp.dense_4h_to_h => layers.5.down_proj
         gpt_neox.final_layer_norm => final_norm
         embed_out => logits",
    );
    check(
        "model.layers.1.input_layernorm => layers.1.attn_norm
         model.layers.1.self_attn.dense => layers.1.o_proj
         model.layers.1.mlp.fc1 => layers.1.up_proj
         model.layers.1.mlp.activation_fn => layers.1.mlp_mid
         model.layers.1.mlp.fc2 => layers.1.down_proj
         model.final_layernorm => final_norm",
    );
    check(
        "model.decoder.embed_tokens => tok_embed
         model.decoder.embed_positions => pos_embed
         model.decoder.layers.3.self_attn_layer_norm => layers.3.attn_norm
         model.decoder.layers.3.self_attn.out_proj => layers.3.o_proj
         model.decoder.layers.3.final_layer_norm => layers.3.mlp_norm
         model.decoder.layers.3.fc1 => layers.3.up_proj
         model.decoder.layers.3.activation_fn => layers.3.mlp_mid
         model.decoder.layers.3.fc2 => layers.3.down_proj
         model.decoder.final_layer_norm => final_norm",
    );
}

#[test]
fn bert_and_its_relatives_norm_after_the_sum() {
    check(
        "bert.embeddings.word_embeddings => tok_embed
         bert.embeddings.position_embeddings => pos_embed
         bert.embeddings.token_type_embeddings => type_embed
         bert.embeddings.LayerNorm => embed#embeddings.LayerNorm
         bert.embeddings => embed
         bert.encoder.layer.0.attention.self.query => layers.0.q_proj
         bert.encoder.layer.0.attention.self.query.input => layers.0.input
         bert.encoder.layer.0.attention.self => layers.0.attn_ctx
         bert.encoder.layer.0.attention.output.dense => layers.0.o_proj
         bert.encoder.layer.0.attention.output.LayerNorm => layers.0.attn_out_norm
         bert.encoder.layer.0.attention.output => layers.0.attn_out_norm#attention
         bert.encoder.layer.0.intermediate.dense => layers.0.up_proj
         bert.encoder.layer.0.intermediate.intermediate_act_fn => layers.0.mlp_mid
         bert.encoder.layer.0.output.dense => layers.0.down_proj
         bert.encoder.layer.0.output.LayerNorm => layers.0.output#output.LayerNorm
         bert.encoder.layer.0 => layers.0.output
         bert.pooler.dense => pooler.dense",
    );
    check(
        "distilbert.transformer.layer.0.attention.q_lin => layers.0.q_proj
         distilbert.transformer.layer.0.attention.out_lin => layers.0.o_proj
         distilbert.transformer.layer.0.sa_layer_norm => layers.0.attn_out_norm
         distilbert.transformer.layer.0.ffn.lin1 => layers.0.up_proj
         distilbert.transformer.layer.0.ffn.lin2 => layers.0.down_proj
         distilbert.transformer.layer.0.output_layer_norm => layers.0.output",
    );
}

#[test]
fn llama_cpp_graph_with_one_name_for_several_operations() {
    let (flat, headed): (&[usize], &[usize]) = (&[5, 256], &[5, 8, 32]);
    let rows: &[(&str, &[usize], &str)] = &[
        ("embd", flat, "embed"),
        ("norm-0", flat, "layers.0.norm"),
        ("attn_norm-0", flat, "layers.0.attn_norm"),
        ("Qcur-0", flat, "layers.0.q_proj"),
        ("Qcur-0", headed, "layers.0.q_proj#reshaped"),
        ("Qcur-0", headed, "layers.0.q_rope"),
        ("Vcur-0", flat, "layers.0.v_proj"),
        ("Kcur-0", flat, "layers.0.k_proj"),
        ("Kcur-0", headed, "layers.0.k_rope"),
        ("Qcur-0 (view)", headed, "layers.0.Qcur (view)"),
        ("cache_k_l0 (view)", flat, "layers.0.cache_k (view)"),
        ("kq-0", &[8, 5, 256], "layers.0.attn_qk"),
        ("kq_soft_max-0", &[8, 5, 256], "layers.0.attn_weights"),
        ("kqv-0", &[8, 5, 32], "layers.0.attn_ctx#kqv"),
        ("kqv_out-0", flat, "layers.0.attn_ctx"),
        ("attn_out-0", flat, "layers.0.o_proj"),
        ("ffn_inp-0", flat, "layers.0.attn_residual"),
        ("norm-0", flat, "layers.0.norm #2"),
        ("ffn_norm-0", flat, "layers.0.mlp_norm"),
        ("ffn_swiglu-0", flat, "layers.0.mlp_mid"),
        ("ffn_out-0", flat, "layers.0.down_proj"),
        ("l_out-0", flat, "layers.0.output"),
        ("result_norm", flat, "final_norm"),
        ("result_output", flat, "logits"),
    ];
    let entries: Vec<Entry<'_>> = rows
        .iter()
        .enumerate()
        .map(|(i, (name, shape, _))| Entry {
            name,
            shape: Some(shape),
            sequence: Some(i as u64),
            ..Entry::default()
        })
        .collect();
    let found: Vec<String> = keys(&entries).0.iter().map(Key::to_string).collect();
    let want: Vec<&str> = rows.iter().map(|r| r.2).collect();
    assert_eq!(found, want);
}

#[test]
fn llama_cpp_graph_where_the_last_of_a_name_survived() {
    let key = |names: &[(&str, &[usize])]| {
        let entries: Vec<Entry<'_>> = names
            .iter()
            .map(|(name, shape)| Entry {
                name,
                shape: Some(shape),
                ..Entry::default()
            })
            .collect();
        keys(&entries).0[0].to_string()
    };
    assert_eq!(key(&[("Qcur-0", &[5, 8, 32])]), "layers.0.q_rope");
    assert_eq!(key(&[("Qcur-0", &[5, 256])]), "layers.0.q_proj");
    let gpt2: &[(&str, &[usize])] = &[("Qcur-0", &[5, 8, 32]), ("pos_embd", &[5, 256])];
    assert_eq!(key(gpt2), "layers.0.q_proj");
    let named: &[(&str, &[usize])] = &[("Qcur-0", &[5, 8, 32]), ("Qcur_rope-0", &[5, 8, 32])];
    assert_eq!(key(named), "layers.0.q_proj");
    let one_token: &[(&str, &[usize])] = &[("Qcur-0", &[8, 32]), ("Qcur-0", &[256])];
    assert_eq!(key(one_token), "layers.0.q_rope");
}

#[test]
fn a_graph_that_ran_several_times_counts_its_steps() {
    let pass = ["embd", "attn_norm-0", "norm-0", "norm-0", "l_out-0"];
    let names: Vec<&str> = pass.iter().chain(&pass).copied().collect();
    let keys = read(&names);
    assert_eq!(keys[0], "step0/embed");
    assert_eq!(keys[1], "step0/layers.0.attn_norm");
    assert_eq!(keys[3], "step0/layers.0.norm #2");
    assert_eq!(keys[6], "step1/layers.0.attn_norm");
    assert_eq!(keys[9], "step1/layers.0.output");
}

#[test]
fn torchtitan_and_mistral() {
    check(
        "tok_embeddings => tok_embed
         layers.0.attention_norm => layers.0.attn_norm
         layers.0.attention.wq => layers.0.q_proj
         layers.0.attention.xq => layers.0.q_rope
         layers.0.attention.inner_attention => layers.0.attn_ctx
         layers.0.attention.wo => layers.0.o_proj
         layers.0.attention => layers.0.o_proj#attention
         layers.0.ffn_norm => layers.0.mlp_norm
         layers.0.feed_forward.w1 => layers.0.gate_proj
         layers.0.feed_forward.w3 => layers.0.up_proj
         layers.0.feed_forward.w2 => layers.0.down_proj
         layers.0.feed_forward => layers.0.down_proj#feed_forward
         layers.0 => layers.0.output
         norm => final_norm
         output => logits",
    );
}

#[test]
fn the_qwen3_pair_with_and_without_its_prefix() {
    check(
        "py_input_embeddings => embed
         py_layer_0_input_hidden_states => layers.0.input
         py_layer_0_attn_norm_output => layers.0.attn_norm
         py_layer_0_attn_q_proj_raw => layers.0.q_proj
         py_layer_0_attn_q_normed => layers.0.q_norm
         py_layer_0_attn_q_rope => layers.0.q_rope
         py_layer_0_attn_scores => layers.0.attn_scores
         py_layer_0_attn_weights => layers.0.attn_weights
         py_layer_0_attn_values_output => layers.0.attn_ctx
         py_layer_0_attn_o_proj => layers.0.o_proj
         py_layer_0_attn_residual_output => layers.0.attn_residual
         py_layer_0_mlp_norm_output => layers.0.mlp_norm
         py_layer_0_mlp_intermediate => layers.0.mlp_mid
         py_layer_0_mlp_output => layers.0.down_proj
         py_layer_0_layer_output => layers.0.output
         py_final_norm_output => final_norm
         py_output_logits => logits",
    );
}

#[test]
fn the_minimind_pair() {
    check(
        "tok_embedding_torch => tok_embed
         h0_torch => embed
         h_norm_l1_torch => layers.1.attn_norm
         q_flat_l1_torch => layers.1.q_proj
         q_after_rope_l1_torch => layers.1.q_rope
         scores_l1_torch => layers.1.attn_qk
         scores_after_mask_l1_torch => layers.1.attn_scores
         probs_l1_torch => layers.1.attn_weights
         attn_out_l1_torch => layers.1.attn_ctx#attn_out
         attn_out_flat_l1_torch => layers.1.attn_ctx
         attn_proj_l1_torch => layers.1.o_proj
         h1_attn_l1_torch => layers.1.attn_residual
         ffn_norm_l1_torch => layers.1.mlp_norm
         ffn_mid_l1_torch => layers.1.mlp_mid
         h0_ffn_l1_torch => layers.1.output
         h_final_norm_torch => final_norm
         logits_torch => logits",
    );
}

#[test]
fn candle_calls_the_product_of_the_branches_act() {
    check(
        "wte => tok_embed
         blocks.0.rms_1 => layers.0.attn_norm
         blocks.0.attn.q_proj => layers.0.q_proj
         blocks.0.attn.q_rot => layers.0.q_rope
         blocks.0.attn.scores => layers.0.attn_qk
         blocks.0.attn.scores_masked => layers.0.attn_scores
         blocks.0.attn.att => layers.0.attn_weights
         blocks.0.attn.y => layers.0.attn_ctx
         blocks.0.residual_1 => layers.0.attn_residual
         blocks.0.rms_2 => layers.0.mlp_norm
         blocks.0.mlp.c_fc1 => layers.0.gate_proj
         blocks.0.mlp.c_fc2 => layers.0.up_proj
         blocks.0.mlp.act => layers.0.mlp_mid
         blocks.0.mlp.c_proj => layers.0.down_proj
         blocks.0.out => layers.0.output
         ln_f => final_norm",
    );
}

#[test]
fn serving_engines() {
    check(
        "step_0/model.embed_tokens/outputs_cuda_0 => tok_embed
         step_0/model.layers.0.input_layernorm/outputs_cuda_0 => layers.0.attn_norm
         step_0/model.layers.0.input_layernorm/inputs_0_cuda_0 => layers.0.input
         step_0/model.layers.0.self_attn.qkv_proj/outputs_cuda_0 => layers.0.qkv_proj
         step_0/model.layers.0.self_attn.attn/outputs_cuda_0 => layers.0.attn_ctx
         step_0/model.layers.0.mlp.gate_up_proj/outputs_cuda_0 => layers.0.mlp.gate_up_proj
         step_0/model.layers.0.mlp.act_fn/outputs_cuda_0 => layers.0.mlp_mid
         step_0/model.norm/outputs_cuda_0 => final_norm",
    );
    check(
        "step=0___rank=0___dump_index=1___name=embed_tokens => step0/tok_embed
         step=0___rank=0___dump_index=17___name=layer_start__hidden_states___layer_id=3 => step0/layers.3.input
         step=0___rank=0___dump_index=18___name=layer_end__hidden_states___layer_id=3 => step0/layers.3.output
         step=1___rank=0___dump_index=40___name=layer_start__hidden_states___layer_id=3 => step1/layers.3.input",
    );
    check(
        "TP0_PP0_Rank0_pid4711/Pass00000/model.layers.0.mlp => step0/rank0/layers.0.down_proj
         TP1_PP0_Rank1_pid4712/Pass00000/model.layers.0.mlp => step0/rank1/layers.0.down_proj
         TP0_PP0_Rank0_pid4711/Pass00001/model.layers.0.mlp => step1/rank0/layers.0.down_proj",
    );
    check(
        "dp0/prefill_s128_0/model.layers.3.mlp/rank0 => step0/layers.3.down_proj
         dp0/decode_s1_0/model.layers.3.mlp/rank0 => step1/layers.3.down_proj
         dp0/decode_s1_1/model.layers.3.mlp/rank0 => step2/layers.3.down_proj",
    );
    check(
        "round_0.logits => step0/logits
         round_0.layer_3.kv => step0/layers.3.kv
         round_1.logits => step1/logits",
    );
}

#[test]
fn tracers_and_exporters() {
    check(
        "step0/rank0/dump_tensor_data/Module.model.layers.0.self_attn.q_proj.Linear.forward.0.output.0 => layers.0.q_proj
         step0/rank0/dump_tensor_data/Module.model.layers.0.self_attn.o_proj.Linear.forward.0.input.0 => layers.0.attn_ctx
         step0/rank0/dump_tensor_data/Module.model.layers.0.input_layernorm.LlamaRMSNorm.forward.0.output.0 => layers.0.attn_norm
         step0/rank0/dump_tensor_data/Module.model.layers.0.mlp.LlamaMLP.forward.0.output.0 => layers.0.down_proj
         step0/rank0/dump_tensor_data/Module.model.layers.0.LlamaDecoderLayer.forward.0.output.0 => layers.0.output",
    );
    check(
        "LlamaForCausalLM.model.layers.0.self_attn.q_proj_outputs => layers.0.q_proj
         LlamaForCausalLM.model.layers.0.self_attn.o_proj_inputs => layers.0.attn_ctx
         LlamaForCausalLM.model.norm_outputs => final_norm
         LlamaForCausalLM.lm_head_outputs => logits",
    );
    check(
        "/model/layers.0/input_layernorm/Mul_1_output_0 => layers.0.attn_norm
         /model/layers.0/self_attn/q_proj/MatMul_output_0 => layers.0.q_proj
         /model/layers.0/self_attn/Softmax_output_0 => layers.0.attn_weights
         /model/layers.0/self_attn/o_proj/MatMul_output_0 => layers.0.o_proj
         /model/layers.0/Add_output_0 => layers.0.attn_residual
         /model/layers.0/mlp/down_proj/MatMul_output_0 => layers.0.down_proj
         /model/layers.0/Add_1_output_0 => layers.0.output
         /lm_head/MatMul_output_0 => logits",
    );
    check(
        "hf_layers/post_embed => embed
         hf_layers/layer_00 => layers.0.output
         hf_layers/layer_11 => layers.11.output
         hf_layers/post_final_norm => final_norm",
    );
    check(
        "decoder.layers.0.self_attention.linear_qkv => layers.0.qkv_proj
         decoder.layers.0.self_attention.core_attention => layers.0.attn_ctx
         decoder.layers.0.self_attention.linear_proj => layers.0.o_proj
         decoder.layers.0.pre_mlp_layernorm => layers.0.mlp_norm
         decoder.layers.0.mlp.linear_fc1 => layers.0.up_proj
         decoder.layers.0.mlp.linear_fc2 => layers.0.down_proj
         decoder.final_layernorm => final_norm
         output_layer => logits
         embedding.word_embeddings => tok_embed",
    );
    check(
        "blocks.0.hook_resid_pre => layers.0.input
         blocks.0.ln1.hook_normalized => layers.0.attn_norm
         blocks.0.attn.hook_q => layers.0.q_proj
         blocks.0.attn.hook_pattern => layers.0.attn_weights
         blocks.0.mlp.hook_pre => layers.0.up_proj
         blocks.0.mlp.hook_post => layers.0.mlp_mid
         blocks.0.hook_resid_post => layers.0.output",
    );
}

#[test]
fn hand_made_names() {
    check(
        "hidden_states_0 => embed
         hidden_states_1 => layers.0.output
         hidden_states_2 => layers.1.output
         logits => logits",
    );
    check(
        "0000_embed => embed
         0001_l0_attn_norm => layers.0.attn_norm
         0002_l0_q => layers.0.q_proj
         0003_l0_attn_out => layers.0.o_proj
         0004_l0_out => layers.0.output",
    );
    check(
        "embed => embed
         attn_norm => layers.0.attn_norm
         Q => layers.0.q_proj
         K => layers.0.k_proj
         V => layers.0.v_proj
         attn_out => layers.0.o_proj
         final_norm => final_norm
         logits => logits",
    );
    check(
        "block_07_cpp => layers.7.output
         block_08_cpp => layers.8.output",
    );
    check(
        "wte => tok_embed
         h0 => embed
         l0_ln1 => layers.0.attn_norm
         l0_q_rot => layers.0.q_rope
         l0_scores => layers.0.attn_scores
         l0_ctx => layers.0.attn_ctx
         l0_attn_out => layers.0.o_proj
         l0_h_mid => layers.0.attn_residual
         l0_ln2 => layers.0.mlp_norm
         l0_gate => layers.0.gate_proj
         l0_gate_act => layers.0.act
         l0_ffn_act => layers.0.mlp_mid
         l0_mlp_out => layers.0.down_proj
         h1 => layers.0.output
         ln_f => final_norm",
    );
}

#[test]
fn what_is_no_stage_keeps_its_cleaned_name() {
    check(
        "model.layers.0.mlp.gate => layers.0.router_logits
         model.layers.0.mlp.experts.3.gate_proj => layers.0.expert_gate#3
         model.layers.0.mlp => layers.0.down_proj
         model.layers.0.mixer.in_proj => layers.0.ssm_in_proj
         model.layers.0.linear_attn.out_proj => layers.0.lin_out
         model.layers.0.self_attn.kv_a_proj_with_mqa => layers.0.kv_a",
    );
    check(
        "conv1 => conv1
         bn1 => bn1
         layer1.0.conv2 => layer1.0.conv2
         avgpool => avgpool
         fc => fc
         relu => relu",
    );
}

#[test]
fn several_stacks_of_layers_stay_apart() {
    check(
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj => layers.0.q_proj#vision
         language_model.model.layers.0.self_attn.q_proj => layers.0.q_proj
         language_model.model.norm => final_norm",
    );
    check(
        "encoder.block.0.layer.0.SelfAttention.q => layers.0.q_proj#encoder
         encoder.block.0.layer.1.DenseReluDense.wo => layers.0.down_proj#encoder
         decoder.block.0.layer.0.layer_norm => layers.0.attn_norm
         decoder.block.0.layer.0.SelfAttention.q => layers.0.q_proj
         decoder.block.0.layer.1.EncDecAttention.q => layers.0.cross_q
         decoder.block.0.layer.2.DenseReluDense.wi_0 => layers.0.gate_proj
         decoder.block.0.layer.2.DenseReluDense.wo => layers.0.down_proj
         decoder.block.0.layer.1 => layers.0.cross_residual
         decoder.block.0.layer.2.layer_norm => layers.0.mlp_norm
         decoder.block.0 => layers.0.output
         decoder.final_layer_norm => final_norm
         lm_head => logits",
    );
    check(
        "model.encoder.layers.0.self_attn_layer_norm => layers.0.attn_out_norm#encoder
         model.encoder.layernorm_embedding => embed#encoder
         model.decoder.layernorm_embedding => embed
         model.decoder.layers.0.self_attn_layer_norm => layers.0.attn_out_norm
         model.decoder.layers.0.encoder_attn_layer_norm => layers.0.cross_out_norm
         model.decoder.layers.0.fc1 => layers.0.up_proj
         model.decoder.layers.0.final_layer_norm => layers.0.output",
    );
}

#[test]
fn summary_lines_of_a_training_log() {
    let line = [
        "embed",
        "attn_norm",
        "Q",
        "K",
        "V",
        "attn_out",
        "ffn_norm",
        "logits",
    ];
    for prefix in [
        "FSDP_SUMMARY/",
        "FSDP_SUMMARY: ",
        "rank0/FSDP_SUMMARY/",
        "[rank0] FSDP_SUMMARY ",
    ] {
        let names: Vec<String> = line
            .iter()
            .chain(&line)
            .map(|s| format!("{prefix}{s}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let keys = read(&names);
        assert_eq!(
            keys[..4],
            [
                "step0/embed",
                "step0/layers.0.attn_norm",
                "step0/layers.0.q_proj",
                "step0/layers.0.k_proj"
            ],
            "{prefix}"
        );
        assert_eq!(
            keys[14..],
            ["step1/layers.0.mlp_norm", "step1/logits"],
            "{prefix}"
        );
    }
}

#[test]
fn exporters_flatten_and_extend_names() {
    check(
        "_model_layers.3_self_attn_q_proj_MatMul_output_0 => layers.3.q_proj
         _model_layers.3_input_layernorm_Mul_1_output_0 => layers.3.attn_norm
         _model_layers.3_mlp_down_proj_MatMul_output_0 => layers.3.down_proj",
    );
    check(
        "output/Result_0/_model_layers_3_self_attn_o_proj_MatMul_output_0 => layers.3.o_proj
         output/Result_0/logits => logits",
    );
    check(
        "/model/layers.0/self_attn/q_proj/MatMul_output_0_MatMul => layers.0.q_proj
         /model/layers.0/mlp/Round_1_output_0 => layers.0.mlp/Round_1_output_0",
    );
}

#[test]
fn tensors_that_differ_in_case_only_stay_two() {
    let keys = read(&["model.Foo", "model.foo", "l0_Q", "l0_q"]);
    assert_eq!(
        keys.iter().collect::<std::collections::BTreeSet<_>>().len(),
        4
    );
}

mod any_names {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("layers"),
            Just("0"),
            Just("1"),
            Just("mlp"),
            Just("Qcur"),
            Just("step3"),
            Just("rank1"),
            Just("self_attn"),
            Just("output"),
            Just("(view)"),
            Just("#2"),
            Just("___name="),
            Just("h0"),
            Just("l1"),
            Just("é"),
            Just("torch"),
            Just("cpp"),
            Just("forward"),
            Just("Module"),
            Just("prefill"),
            Just("="),
            Just("{layer}"),
        ];
        let sep = prop_oneof![
            Just("."),
            Just("_"),
            Just("/"),
            Just("-"),
            Just(" "),
            Just("::"),
            Just("")
        ];
        prop_oneof![
            proptest::collection::vec((part, sep), 0..7)
                .prop_map(|v| v.into_iter().map(|(a, b)| format!("{a}{b}")).collect()),
            ".{0,24}",
        ]
    }

    proptest! {
        #[test]
        fn every_tensor_gets_one_key_one_place_and_one_partner_at_most(
            r in proptest::collection::vec(name(), 0..12), c in proptest::collection::vec(name(), 0..12)
        ) {
            let entries = |names: &'_ [String]| -> Vec<Key> {
                let e: Vec<Entry<'_>> = names.iter().map(|name| Entry { name, ..Entry::default() }).collect();
                keys(&e).0
            };
            let found = entries(&r);
            prop_assert_eq!(found.len(), r.len());
            prop_assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), r.len(), "keys are distinct");
            let as_entries = |names: &'_ Vec<String>| -> Vec<(String, usize)> { names.iter().cloned().zip(0..).collect() };
            let (a, b) = (as_entries(&r), as_entries(&c));
            let ea: Vec<Entry<'_>> = a.iter().map(|(name, _)| Entry { name, ..Entry::default() }).collect();
            let eb: Vec<Entry<'_>> = b.iter().map(|(name, _)| Entry { name, ..Entry::default() }).collect();
            let p = pair(&ea, &eb, &Options::default());
            let mut seen: Vec<usize> = p.pairs.iter().map(|p| p.reference).chain(p.only_reference.iter().map(|o| o.0)).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), r.len());
            let (keys, places) = keys(&ea);
            let items: Vec<Item<'_>> = (0..r.len())
                .map(|i| Item { key: &keys[i], name: &r[i], path: &places.paths[i], sequence: None, captured: None })
                .collect();
            let mut sorted = order(&items).sequence;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..items.len()).collect::<Vec<_>>());
            let _ = split_sides(&ea, &Options::default());
            let flow = Flow::new(found.iter());
            for key in &found {
                prop_assert!(!flow.ancestors(key).contains(key));
            }
        }

        #[test]
        fn a_dump_pairs_with_itself(r in proptest::collection::vec(name(), 1..12)) {
            let e: Vec<Entry<'_>> = r.iter().map(|name| Entry { name, ..Entry::default() }).collect();
            let p = pair(&e, &e, &Options::default());
            prop_assert!(p.pairs.iter().all(|q| q.reference == q.candidate), "{:?}", p);
            prop_assert_eq!(p.pairs.len(), r.len());
        }
    }
}

#[test]
fn functions_of_a_framework_are_no_stages() {
    check(
        "step0/proc1/Module.model.layers.0.mlp.MLP.forward.0.output.0 => layers.0.down_proj
         step0/proc1/Tensor.__mul__.19.forward.output.0 => Tensor.mul/output.0 call 19
         step0/proc1/Tensor.mean.0.forward.output.0 => Tensor.mean/output.0 call 0
         step0/proc1/Functional.embedding.0.forward.output.0 => Functional.embedding/output.0 call 0
         step0/proc1/Functional.layer_norm.3.forward.input.0 => Functional.layer_norm/input.0 call 3",
    );
}
