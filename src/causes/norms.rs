//! Norms.

causes! {
    NORM_EPS = "norm_eps" {
        title: "epsilon of the norm differs",
        what: "The constant under the root is not the reference's.",
        looks: "A factor per row, further from 1 for rows of small rms; the fitted epsilons of the two sides differ.",
        why: "A default (1e-5, 1e-6, 1e-8) stayed in place of the model's, or epsilon is added outside the root.",
        change: "Compare rms_norm_eps / layer_norm_eps of config.json with the port's constant (typical: 1e-6, 1e-5, \
             1e-12 for BERT) and check that it is added to the mean square, inside the root.",
    }
    NORM_MISSING = "norm_missing" {
        title: "the norm is skipped",
        what: "The stage passes its input on unnormed.",
        looks: "Output equals input.",
        why: "The call is missing, writes to another buffer, or the dump was taken before it.",
        change: "Call the norm here and use its output; check that the next operation reads the normed buffer.",
    }
    NORM_APPLIED_TWICE = "norm_applied_twice" {
        title: "the norm is applied twice",
        what: "An already normed tensor goes through the norm again.",
        looks: "The candidate equals the norm of the reference's output.",
        why: "The norm was fused into a projection or kernel and is still called by itself.",
        change: "Remove one of the two calls: look for a fused norm in the next kernel or a wrapper that norms as \
             well.",
    }
    NORM_WEIGHT_MISSING = "norm_weight_missing" {
        title: "the norm's weight is not applied",
        what: "gamma is left out, or loaded as ones.",
        looks: "The gamma fitted on the candidate is 1 in all channels; the reference's is not.",
        why: "The tensor's name was not found and the default stayed, or the kernel has no weight argument.",
        change: "Check that the weight is loaded (print its first values) and multiplied after the division by the \
             rms.",
    }
    NORM_BIAS_MISSING = "norm_bias_missing" {
        title: "the norm's bias is not applied",
        what: "LayerNorm's beta is left out.",
        looks: "The difference is one constant row over all tokens.",
        why: "An RMSNorm kernel or a bias-free loader was reused for a model with LayerNorm.",
        change: "Load the bias of the norm and add it after the multiplication with the weight.",
    }
    NORM_WRONG_WEIGHT = "norm_wrong_weight" {
        title: "the norm uses another norm's weight",
        what: "gamma of another norm or layer is applied.",
        looks: "The fitted gamma equals the one fitted at another norm.",
        why: "Weight names mixed up: input_layernorm against post_attention_layernorm, or an off-by-one in the \
             layer index.",
        change: "Compare the names under which both norms of the layer are loaded; check the layer index in the name.",
    }
    NORM_PLUS_ONE_MISSING = "norm_plus_one_missing" {
        title: "Gemma's 1 + weight is applied as weight",
        what: "The stored weight is used as it is where the model means 1 + weight.",
        looks: "The gammas fitted on both sides differ by exactly 1 in all channels.",
        why: "Gemma stores gamma − 1; other families store gamma.",
        change: "Use (1 + weight) in every norm of Gemma models, or add 1 once while loading (as GGUF conversion \
             does).",
    }
    NORM_PLUS_ONE_EXTRA = "norm_plus_one_extra" {
        title: "1 is added to a norm weight that already holds it",
        what: "1 + weight is used where the model means weight.",
        looks: "The gammas fitted on both sides differ by exactly 1 in all channels.",
        why: "Gemma's rule used for another family, or for GGUF weights, which already have the 1 added.",
        change: "Use the weight as it is; add 1 in one place only, either in the converter or in the kernel.",
    }
    LAYERNORM_INSTEAD_OF_RMSNORM = "layernorm_instead_of_rmsnorm" {
        title: "LayerNorm is used where RMSNorm is meant",
        what: "The mean is subtracted although the model norms by the rms alone.",
        looks: "The reference obeys RMSNorm, the candidate LayerNorm.",
        why: "The wrong kernel or the framework's default norm.",
        change: "Divide by √(mean(x²) + eps) without subtracting the mean, and without a bias.",
    }
    RMSNORM_INSTEAD_OF_LAYERNORM = "rmsnorm_instead_of_layernorm" {
        title: "RMSNorm is used where LayerNorm is meant",
        what: "The mean is not subtracted although the model asks for it.",
        looks: "The reference obeys LayerNorm, the candidate RMSNorm.",
        why: "The wrong kernel; GPT-2, BERT, OPT, Phi and StableLM use LayerNorm.",
        change: "Subtract the mean of the row, divide by √(variance + eps), then apply weight and bias.",
    }
    QK_NORM_MISSING = "qk_norm_missing" {
        title: "the norm of the query and key heads is skipped",
        what: "Q and K go to RoPE without their per-head norm.",
        looks: "q_norm equals q_proj, only reshaped.",
        why: "Qwen3, Gemma-3, OLMo-2 and others norm Q and K; a Llama port does not.",
        change: "Apply q_norm and k_norm to the projections before RoPE.",
    }
    QK_NORM_WRONG_AXIS = "qk_norm_wrong_axis" {
        title: "the query and key norm runs over the wrong axis",
        what: "All heads are normed together instead of each by itself, or the reverse.",
        looks: "The rms of each head is not constant while that of the whole row is.",
        why: "Qwen3 and Gemma-3 norm over head_dim, OLMo-2 over the whole projection.",
        change: "Reshape to [tokens, heads, head_dim] before the norm (Qwen3), or norm the whole row (OLMo-2): the \
             length of the weight tells which.",
    }
}
