//! Rotary position embedding.

causes! {
    ROPE_INTERLEAVED = "rope_interleaved" {
        title: "RoPE pairs other channels",
        what: "Adjacent channels are rotated together where channel i belongs to i + d/2, or the reverse.",
        looks: "Each side is a rotation of its own input, with different pairs.",
        why: "Two conventions: halves (GPT-NeoX, Hugging Face) and interleaved (GPT-J, Meta's code, llama.cpp's \
             NORM type).",
        change: "Use pairs (i, i + d/2) with Hugging Face weights and (2i, 2i + 1) with Meta/GGUF-permuted ones.",
    }
    ROPE_THETA = "rope_theta" {
        title: "RoPE's base differs",
        what: "The angles follow another base frequency.",
        looks: "The angles fitted per pair form geometric series with different bases.",
        why: "The default 10 000 stayed while the model has 500 000, 1 000 000 or another; or another base for \
             local layers (Gemma-3).",
        change: "Set the base to rope_theta of config.json (Gemma-3: rope_local_base_freq for the sliding layers).",
    }
    ROPE_SCALING_MISSING = "rope_scaling_missing" {
        title: "RoPE scaling is not applied",
        what: "Positions or frequencies are not scaled as the model asks.",
        looks: "The angles of the sides differ by a factor, constant or per frequency.",
        why: "rope_scaling (linear, llama3, yarn, longrope, dynamic) of config.json was ignored.",
        change: "Apply rope_scaling of config.json: type, factor, and the original context length.",
    }
    ROPE_POSITION_OFFSET = "rope_position_offset" {
        title: "RoPE's positions are offset",
        what: "The rotation starts at another position.",
        looks: "The fitted positions differ by a constant, per row where padding is involved.",
        why: "Counting from 1, padding counted, or the cached length forgotten or added twice.",
        change: "The first real token has position 0; with left padding take cumsum(mask) − 1; in decoding add the \
             cached length once.",
    }
    ROPE_SIGN = "rope_sign" {
        title: "RoPE rotates the other way",
        what: "Sine has the opposite sign.",
        looks: "The fitted angles are negated.",
        why: "rotate_half with the minus on the wrong half, or the transposed rotation matrix.",
        change: "out₁ = x₁·cos − x₂·sin and out₂ = x₂·cos + x₁·sin.",
    }
    ROPE_PARTIAL = "rope_partial" {
        title: "RoPE rotates a different part of the head",
        what: "The whole head is rotated where only a part is meant, or the reverse.",
        looks: "Channels move on one side that stand still on the other.",
        why: "partial_rotary_factor (Phi, GPT-NeoX, StableLM, GLM) was ignored.",
        change: "Rotate the first head_dim · partial_rotary_factor channels only, with frequencies computed from that \
             width.",
    }
    ROPE_MISSING = "rope_missing" {
        title: "RoPE is not applied",
        what: "Q or K goes into attention unrotated.",
        looks: "The rotated tensor equals its input at positions where it should not.",
        why: "The call is missing, applies to Q only, or writes its result elsewhere.",
        change: "Apply RoPE to both Q and K after their norms, and use the result in the scores.",
    }
    ROPE_POSITION_CONSTANT = "rope_position_constant" {
        title: "RoPE uses one position for all tokens",
        what: "The angle does not grow along the sequence.",
        looks: "The fitted position is the same for all tokens.",
        why: "The position counter is not advanced, or a captured graph keeps the first value.",
        change: "Pass a position per token; in a captured graph update the position buffer before each replay.",
    }
}
