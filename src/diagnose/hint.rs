//! Where to look when nothing that was tested explains a difference.

use crate::name::Stage;

/// For a difference that begins at `stage`.
pub fn hint(stage: Stage) -> &'static str {
    use Stage::*;
    match stage {
        InputIds => "token ids: tokenizer, BOS, chat template",
        AttentionMask => "attention mask: padding side and fill value",
        PositionIds => "position ids: padding, cache length, start position",
        TokEmbed => "embedding weights or token ids",
        PosEmbed => "position embedding weights or position ids",
        TypeEmbed => "token type embedding weights or segment ids",
        EmbedSum | Embed => "embedding weights, token ids, scale, or a missing summand",
        Input => "what happens between two layers: buffers, residual, a copy",
        AttnNorm => "RMSNorm before attention (epsilon, gamma)",
        QkvProj => "fused Q/K/V projection weights, transposition, bias, order of the parts",
        QProj => "Q projection weights, transposition, bias, split into heads",
        KProj => "K projection weights, transposition, bias, split into heads",
        VProj => "V projection weights, transposition, bias, split into heads",
        QNorm => "RMSNorm of the query heads (epsilon, gamma, axis)",
        KNorm => "RMSNorm of the key heads (epsilon, gamma, axis)",
        QRope | KRope => "RoPE (pairing, theta, scaling, positions, direction)",
        AttnQk => "product of Q and K (head mapping, scale, layout of K)",
        AttnScores => "attention scores (scale, mask, soft cap)",
        AttnWeights => "softmax (axis, mask, sum)",
        AttnCtx => "weights times V (head mapping, merging of heads)",
        OProj => "output projection weights, transposition, bias",
        AttnPostNorm => "norm after attention (epsilon, gamma)",
        AttnResidual => "residual connection around attention",
        AttnOutNorm => "LayerNorm after attention (epsilon, gamma, beta)",
        MlpNorm => "RMSNorm before the MLP (epsilon, gamma)",
        GateProj => "gate projection weights, gate and up exchanged, bias",
        UpProj => "up projection weights, gate and up exchanged, bias",
        Act => "activation function",
        MlpMid => "activation of the gate times up (function, branch)",
        DownProj => "down projection weights, transposition, bias",
        MlpPostNorm => "norm after the MLP (epsilon, gamma)",
        MlpResidual => "residual connection around the MLP",
        Output => "attention or FFN of the layer, residual connections",
        FinalNorm => "final RMSNorm (epsilon, gamma)",
        Logits => "output head (weights, tying, soft cap), or attention/FFN between the taps",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::stage::STAGES;

    #[test]
    fn every_stage_has_a_hint() {
        assert!(STAGES.iter().all(|s| hint(s.stage).len() > 8));
        assert!(hint(Stage::AttnNorm).contains("RMSNorm"));
    }
}
