//! The names that hooks and graphs of every family give, with the nodes that they are.

use super::check;

#[test]
fn mixture_of_experts() {
    check(
        "model.layers.0.mlp.gate => layers.0.router_logits
         model.layers.0.mlp.gate.1 => layers.0.topk_weights
         model.layers.0.mlp.gate.2 => layers.0.topk_ids
         model.layers.0.mlp.experts.act_fn => layers.0.expert_act
         model.layers.0.mlp.experts => layers.0.moe_out
         model.layers.0.mlp.experts.0.gate_proj => layers.0.expert_gate#0
         model.layers.0.mlp.experts.3.gate_proj => layers.0.expert_gate#3
         model.layers.0.mlp.experts.3 => layers.0.mlp.experts.3
         model.layers.0.mlp.shared_expert.gate_proj => layers.0.shared_gate
         model.layers.0.mlp.shared_expert.up_proj => layers.0.shared_up
         model.layers.0.mlp.shared_expert.down_proj => layers.0.shared_down
         model.layers.0.mlp.shared_expert => layers.0.shared_down#mlp.shared_expert
         model.layers.0.mlp.shared_expert_gate => layers.0.shared_gate_logit
         model.layers.0.mlp => layers.0.down_proj",
    );
}

#[test]
fn mixture_of_experts_in_a_graph() {
    check(
        "ffn_norm-1 => layers.1.mlp_norm
         ffn_moe_logits-1 => layers.1.router_logits
         ffn_moe_probs-1 => layers.1.router_probs
         ffn_moe_topk-1 => layers.1.topk_ids
         ffn_moe_weights-1 => layers.1.topk_weights#ffn_moe_weights
         ffn_moe_weights_norm-1 => layers.1.topk_weights
         ffn_moe_up-1 => layers.1.expert_up
         ffn_moe_gate-1 => layers.1.expert_gate
         ffn_moe_silu-1 => layers.1.expert_act
         ffn_moe_down-1 => layers.1.expert_down
         ffn_moe_weighted-1 => layers.1.expert_weighted
         ffn_moe_out-1 => layers.1.moe_out
         ffn_shexp-1 => layers.1.shared_down
         ffn_out-1 => layers.1.down_proj",
    );
}

#[test]
fn latent_attention() {
    check(
        "model.layers.0.self_attn.q_a_proj => layers.0.q_a
         model.layers.0.self_attn.q_a_layernorm => layers.0.q_a_norm
         model.layers.0.self_attn.q_b_proj => layers.0.q_proj
         model.layers.0.self_attn.kv_a_proj_with_mqa => layers.0.kv_a
         model.layers.0.self_attn.kv_a_layernorm => layers.0.kv_a_norm
         model.layers.0.self_attn.kv_b_proj => layers.0.kv_b
         model.layers.0.self_attn.o_proj => layers.0.o_proj
         model.layers.0.self_attn.indexer.wq_b => layers.0.indexer_q
         model.layers.0.self_attn.indexer.k_norm => layers.0.indexer_k",
    );
}

#[test]
fn state_spaces() {
    check(
        "model.layers.0.input_layernorm => layers.0.attn_norm
         model.layers.0.mamba.in_proj => layers.0.ssm_in_proj
         model.layers.0.mamba.x_proj => layers.0.ssm_x_proj
         model.layers.0.mamba.dt_layernorm => layers.0.ssm_dt_norm
         model.layers.0.mamba.out_proj => layers.0.ssm_out_proj
         model.layers.0.mamba => layers.0.ssm_out_proj#mamba
         model.layers.1.self_attn.o_proj => layers.1.o_proj
         model.layers.1.feed_forward.router => layers.1.router_logits
         model.layers.1.feed_forward.experts => layers.1.moe_out",
    );
}

#[test]
fn one_mixer_in_each_layer() {
    check(
        "model.layers.0.norm => layers.0.attn_norm
         model.layers.0.mixer.in_proj => layers.0.ssm_in_proj
         model.layers.0.mixer.norm => layers.0.ssm_gated_norm
         model.layers.0.mixer.out_proj => layers.0.ssm_out_proj
         model.layers.1.mixer.q_proj => layers.1.q_proj
         model.layers.1.mixer.o_proj => layers.1.o_proj
         model.layers.2.mixer.up_proj => layers.2.up_proj
         model.layers.2.mixer.down_proj => layers.2.down_proj
         model.norm_f => final_norm",
    );
}

#[test]
fn linear_attention() {
    check(
        "model.layers.0.linear_attn.in_proj_qkvz => layers.0.lin_qkvz
         model.layers.0.linear_attn.in_proj_ba => layers.0.lin_ba
         model.layers.0.linear_attn.norm => layers.0.lin_norm
         model.layers.0.linear_attn.out_proj => layers.0.lin_out
         model.layers.0.linear_attn => layers.0.lin_out#linear_attn
         model.layers.1.temporal_block.linear_y => layers.1.rglru_y
         model.layers.1.temporal_block.rg_lru => layers.1.rglru_scan
         model.layers.2.conv.in_proj => layers.2.short_conv_in
         model.layers.2.conv.out_proj => layers.2.short_conv_out",
    );
}

#[test]
fn parts_of_dense_models() {
    check(
        "model.embed_tokens_per_layer => ple_embed
         model.per_layer_model_projection => ple_proj
         model.layers.0.altup.router_norm => layers.0.altup_router_norm
         model.layers.0.laurel.linear_left => layers.0.laurel_left
         model.layers.0.laurel => layers.0.laurel_out
         model.layers.0.self_attn.v_norm => layers.0.v_norm
         model.layers.0.self_attn.qk_norm => layers.0.q_norm_rotated
         model.layers.0.self_attn.qk_norm#1 => layers.0.k_norm_rotated
         model.layers.0.per_layer_input_gate => layers.0.ple_gate",
    );
}

#[test]
fn cross_attention() {
    check(
        "encoder.block.0.layer.1.layer_norm => layers.0.mlp_norm#encoder
         encoder.block.0.layer.1 => layers.0.output#encoder
         decoder.block.0.layer.0.SelfAttention.q => layers.0.q_proj
         decoder.block.0.layer.1.layer_norm => layers.0.cross_norm
         decoder.block.0.layer.1.EncDecAttention.q => layers.0.cross_q
         decoder.block.0.layer.1.EncDecAttention.o => layers.0.cross_o
         decoder.block.0.layer.1 => layers.0.cross_residual
         decoder.block.0.layer.1.dropout => layers.0.layer.1.dropout
         decoder.block.0.layer.2.layer_norm => layers.0.mlp_norm
         decoder.block.0.layer.2.DenseReluDense.wo => layers.0.down_proj",
    );
}

#[test]
fn blocks_of_a_unet() {
    check(
        "time_embedding.linear_1 => t_mlp_in
         time_embedding.act => t_mlp_act
         down_blocks.0.resnets.0.norm1 => down_blocks.0.resnets.0.norm1
         down_blocks.0.resnets.0.nonlinearity => down_blocks.0.resnets.0.nonlinearity
         down_blocks.0.resnets.0.nonlinearity#1 => down_blocks.0.resnets.0.nonlinearity#1
         down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q => down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q
         mid_block.resnets.1.conv2 => mid_block.resnets.1.conv2
         up_blocks.1.resnets.0 => up_blocks.1.resnets.0
         conv_norm_out => unet_out_norm
         conv_out => unet_out",
    );
}

#[test]
fn diffusion_transformer() {
    check(
        "transformer_blocks.0.norm1.linear => layers.0.modulation
         transformer_blocks.0.norm1.norm => layers.0.ada_norm
         transformer_blocks.0.norm1 => layers.0.attn_norm
         transformer_blocks.0.attn1.to_q => layers.0.q_proj
         transformer_blocks.0.attn1.to_out.0 => layers.0.o_proj
         transformer_blocks.0.attn1 => layers.0.o_proj#attn1
         transformer_blocks.0.ff.net.0.proj => layers.0.up_proj
         transformer_blocks.0.ff.net.2 => layers.0.down_proj
         transformer_blocks.0 => layers.0.output
         proj_out_1 => out_modulation",
    );
}

#[test]
fn convolutional_networks() {
    check(
        "resnet.embedder.embedder.convolution => stem_conv
         resnet.encoder.stages.0.layers.0.layer.0.convolution => resnet.encoder.stages.0.layers.0.layer.0.convolution
         resnet.encoder.stages.0.layers.0.layer.1.activation => resnet.encoder.stages.0.layers.0.layer.1.activation
         resnet.encoder.stages.0.layers.1 => resnet.encoder.stages.0.layers.1
         resnet.encoder.stages.1 => resnet.encoder.stages.1
         resnet.pooler => resnet.pooler",
    );
}

#[test]
fn windows_in_stages() {
    check(
        "encoder.layers.0.blocks.0.layernorm_before => encoder.layers.0.blocks.0.layernorm_before
         encoder.layers.0.blocks.1.attention.q_proj => encoder.layers.0.blocks.1.attention.q_proj
         encoder.layers.0.downsample.norm => encoder.layers.0.downsample.norm
         encoder.layers.0 => encoder.layers.0
         encoder.layers.1.blocks.0.mlp.fc1 => encoder.layers.1.blocks.0.mlp.fc1",
    );
}

#[test]
fn a_codec() {
    check(
        "encoder.conv1 => encoder conv1
         encoder.block.0.res_unit1.snake1 => encoder.block.0.res_unit1.snake1
         encoder.block.0.conv1 => encoder.block.0.conv1
         encoder.block.0 => encoder.block.0
         quantizer.quantizers.0.in_proj => quantizer.quantizers.0.in_proj
         decoder.block.0.conv_t1 => decoder.block.0.conv_t1
         decoder.block.0.res_unit1.conv1 => decoder.block.0.res_unit1.conv1
         decoder.conv2 => conv2",
    );
}

#[test]
fn conformer() {
    check(
        "encoder.subsampling.layers.0 => encoder.subsampling.layers.0
         encoder.subsampling.linear => subsample
         encoder.layers.0.norm_feed_forward1 => layers.0.ff1_norm
         encoder.layers.0.feed_forward1.linear1 => layers.0.ff1_up
         encoder.layers.0.norm_self_att => layers.0.attn_norm
         encoder.layers.0.self_attn.q_proj => layers.0.q_proj
         encoder.layers.0.conv.pointwise_conv1 => layers.0.conv_point1
         encoder.layers.0.conv.norm => layers.0.conv_bn
         encoder.layers.0.feed_forward2 => layers.0.ff2_down
         encoder.layers.0 => layers.0.output",
    );
}

#[test]
fn double_and_single_blocks() {
    check(
        "transformer_blocks.0.attn.to_q => layers.0.q_proj
         transformer_blocks.0.norm1.linear => layers.0.modulation
         transformer_blocks.0 => layers.0.output
         single_transformer_blocks.0.norm.linear => single_transformer_blocks.0.norm.linear
         single_transformer_blocks.0.attn.to_q => single_transformer_blocks.0.attn.to_q
         single_transformer_blocks.0 => single_transformer_blocks.0",
    );
}

#[test]
fn two_towers() {
    check(
        "encoder_layer_0 => layers.0.output#encoder
         encoder_layer_1 => layers.1.output#encoder
         llm_block_0 => layers.0.output
         llm_block_1 => layers.1.output
         logits => logits",
    );
}

#[test]
fn encoder_and_decoder_of_t5x() {
    check(
        "decoder/layers_0/pre_self_attention_layer_norm => layers.0.attn_norm
         decoder/layers_0/self_attention/query => layers.0.q_proj
         decoder/layers_0/self_attention/out => layers.0.o_proj
         decoder/layers_0/pre_cross_attention_layer_norm => layers.0.cross_norm
         decoder/layers_0/encoder_decoder_attention/query => layers.0.cross_q
         decoder/layers_0/encoder_decoder_attention/key => layers.0.cross_k
         decoder/layers_0/encoder_decoder_attention/value => layers.0.cross_v
         decoder/layers_0/encoder_decoder_attention/out => layers.0.cross_o
         encoder/layers_0/attention/query => layers.0.q_proj#encoder",
    );
}

#[test]
fn a_number_behind_h_is_a_layer_where_a_path_follows() {
    check(
        "wte => tok_embed
         h0.ln1 => layers.0.attn_norm
         h0.attn.q => layers.0.q_proj
         h0.attn.proj => layers.0.o_proj
         h0.ln2 => layers.0.mlp_norm
         h1.ln1 => layers.1.attn_norm",
    );
}
