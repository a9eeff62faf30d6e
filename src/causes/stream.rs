//! Residual stream, MLP and output head.

causes! {
    RESIDUAL_MISSING = "residual_missing" {
        title: "the residual connection is missing",
        what: "The branch replaces the stream instead of being added to it.",
        looks: "The output equals the branch alone.",
        why: "The addition is missing, or a kernel overwrote the stream.",
        change: "Add the input of the block to the output of the branch.",
    }
    RESIDUAL_WRONG_SOURCE = "residual_wrong_source" {
        title: "the stream is taken from the wrong place",
        what: "The MLP's norm or its sum reads the stream from before attention in place of the one behind it, or the reverse.",
        looks: "The output obeys its law with the other stream.",
        why: "A parallel block was built as a sequential one or the other way round, or a variable was not replaced by the sum.",
        change: "Sequential blocks: x = x + attention(norm(x)), then x = x + mlp(norm(x)); parallel ones (GPT-J, GPT-NeoX, \
             Cohere): x + attention(norm(x)) + mlp(norm(x)).",
    }
    RESIDUAL_DOUBLED = "residual_doubled" {
        title: "the residual is added twice",
        what: "The input of the block goes in twice.",
        looks: "Output = 2 · input + branch.",
        why: "A fused add-and-norm kernel adds the residual that was already added.",
        change: "Remove one of the additions; check whether the fused norm updates the residual in place.",
    }
    RESIDUAL_SIGN = "residual_sign" {
        title: "the branch is subtracted",
        what: "The branch enters with the wrong sign.",
        looks: "Output = input − branch.",
        why: "A subtraction kernel, or arguments exchanged in an in-place operation.",
        change: "Add the branch to the stream.",
    }
    RESIDUAL_FROM_NORMED = "residual_from_normed" {
        title: "the branch is added to the normed stream",
        what: "The residual is taken after the norm instead of before it.",
        looks: "Output = norm(input) + branch.",
        why: "The norm works in place, or the wrong buffer is kept as the residual.",
        change: "Keep the stream before the norm and add the branch to that (pre-norm models); post-norm models norm \
             the sum.",
    }
    BRANCH_DOUBLED = "branch_doubled" {
        title: "the branch is added twice",
        what: "The output of the branch goes in twice.",
        looks: "Output = input + 2 · branch.",
        why: "Accumulating into the stream (beta = 1) and then adding the branch once more.",
        change: "Remove one of the two additions; check the accumulate flag of the output matmul and double reduction \
             over ranks.",
    }
    GATE_UP_SWAPPED = "gate_up_swapped" {
        title: "gate and up are exchanged",
        what: "The activation is applied to the up projection.",
        looks: "The candidate's gate equals the reference's up, and the reverse.",
        why: "A fused gate_up weight cut in the wrong order, or w1 and w3 mixed up.",
        change: "Use w1 as gate and w3 as up (Meta, TorchTitan); gate_up_proj holds the gate first (Phi-3, vLLM).",
    }
    ACTIVATION_ON_WRONG_BRANCH = "activation_on_wrong_branch" {
        title: "the activation is applied to the wrong branch",
        what: "gate · act(up) is computed instead of act(gate) · up.",
        looks: "The product fits with the activation on the other branch.",
        why: "The arguments of the fused product are exchanged.",
        change: "Apply the activation to the gate, then multiply with up.",
    }
    WRONG_ACTIVATION = "wrong_activation" {
        title: "another activation function is used",
        what: "For example GELU where SiLU is meant.",
        looks: "Each side's activation fits another function of the gate.",
        why: "hidden_act of config.json ignored.",
        change: "Use hidden_act / activation_function of config.json: silu, gelu, gelu_new (tanh), gelu_pytorch_tanh, \
             relu, relu2.",
    }
    GELU_VARIANT = "gelu_variant" {
        title: "another variant of GELU is used",
        what: "The erf form against the tanh (or sigmoid) approximation.",
        looks: "The difference is a fixed function of the input, at most 5e-4 for tanh and 2e-2 for the sigmoid \
             form.",
        why: "\"gelu\" is erf in PyTorch, tanh in ggml and JAX's default; gelu_new and gelu_pytorch_tanh are tanh.",
        change: "Match the name in config.json: gelu = erf, gelu_new and gelu_pytorch_tanh = tanh, quick_gelu = \
             x·sigmoid(1.702x).",
    }
    ACTIVATION_MISSING = "activation_missing" {
        title: "the activation is not applied",
        what: "The gate goes through unchanged.",
        looks: "Activation output equals its input.",
        why: "The call is missing, or works in place on another buffer.",
        change: "Apply the activation to the gate before the product.",
    }
    LM_HEAD_TIED_WRONGLY = "lm_head_tied_wrongly" {
        title: "the embedding is used as output head, or the reverse",
        what: "tie_word_embeddings is not followed.",
        looks: "For input token t the logit column of its id equals final norm · its embedding row, on one side \
             only.",
        why: "lm_head.weight is present but unused, or absent and replaced by something else.",
        change: "Follow tie_word_embeddings of config.json; if false load lm_head.weight.",
    }
    LOGIT_SOFTCAP_MISSING = "logit_softcap_missing" {
        title: "the soft cap on the logits is missing",
        what: "cap · tanh(logit / cap) is left out.",
        looks: "The reference's logits fit the capped candidate.",
        why: "Gemma-2 caps the final logits at 30.",
        change: "Apply cap · tanh(x / cap) with final_logit_softcapping of config.json.",
    }
    LOGIT_SCALE_MISSING = "logit_scale_missing" {
        title: "the logit scale is missing",
        what: "A constant factor on the logits is left out.",
        looks: "The ratio of the logits is constant.",
        why: "Cohere's logit_scale, Granite's logits_scaling, MiniCPM's dim_model_base.",
        change: "Multiply by logit_scale (Cohere), divide by logits_scaling (Granite) as config.json says.",
    }
    SAME_ARGMAX = "same_argmax" {
        title: "every step predicts the same token",
        what: "The most likely token does not change over the steps.",
        looks: "One argmax in all steps.",
        why: "The input of a decoding step is not updated, or the logits of a fixed row are read.",
        change: "Feed the new token and position at each step, and read the logits of the last row.",
    }
}
