//! Numerics.

causes! {
    FP16_OVERFLOW = "fp16_overflow" {
        title: "half precision overflows",
        what: "Values leave the range of float16 (65 504).",
        looks: "Infinities, NaN or saturation first appear where the reference is near or above 65 504.",
        why: "Massive channels of trained models in the residual stream or down projection, in float16 storage or \
             accumulation.",
        change: "Keep this stage (residual stream, down_proj) in bfloat16 or float32, or clamp before the cast.",
    }
    PRECISION_LOSS = "precision_loss" {
        title: "one intermediate has too few bits",
        what: "A tensor is stored or accumulated in a narrower type than its neighbours.",
        looks: "Effective precision drops at this stage, and the error is that type's rounding.",
        why: "A cast to bf16/f16 in a fused kernel, a half-precision accumulator, TF32 or fast-math switched on.",
        change: "Look for a cast at this stage; accumulate in float32 and cast once at the end; norms, softmax and \
             RoPE tables in float32.",
    }
    DROPOUT_ACTIVE = "dropout_active" {
        title: "dropout is active",
        what: "The side ran in training mode.",
        looks: "A share p of exact zeros, the rest scaled by 1 / (1 − p).",
        why: "model.eval() was not called, or a dropout rate is passed to the attention call.",
        change: "Call model.eval() before dumping, and pass dropout 0 to fused attention.",
    }
    SCALE_FACTOR = "scale_factor" {
        title: "one constant factor",
        what: "The values are the reference's times one number.",
        looks: "The ratio of the sides is constant.",
        why: "A multiplier of the model (residual_multiplier, attention_multiplier) or a quantisation scale that \
             is left out or applied twice.",
        change: "Look for a constant multiplied at this stage: multipliers in config.json, quantisation scales, \
             divisions by √d.",
    }
    SIGN_FLIPPED = "sign_flipped" {
        title: "the sign is reversed",
        what: "The values are the reference's negated.",
        looks: "Adding the sides gives zero.",
        why: "A subtraction with its arguments exchanged.",
        change: "Look for a negation or exchanged operands at this stage.",
    }
    ROW_SCALE = "row_scale" {
        title: "a factor of its own per token",
        what: "Each token's row is the reference's times a factor of its own.",
        looks: "A factor per row explains the difference.",
        why: "A norm, quantisation or softmax statistic per row that differs.",
        change: "Look at what is computed once per row here: the rms and epsilon of the norm, the softmax sum, \
             per-token quantisation scales.",
    }
    CHANNEL_SCALE = "channel_scale" {
        title: "a factor of its own per channel",
        what: "Each channel is the reference's times a factor of its own.",
        looks: "A factor per channel, the same for all tokens, explains the difference.",
        why: "A norm weight, or per-channel quantisation scales, left out, doubled or taken from elsewhere.",
        change: "Look at the vector multiplied over channels here: norm weight, per-channel quantisation scale, LoRA \
             or layer scale.",
    }
    NAN = "nan" {
        title: "values are not a number",
        what: "NaN stands in the tensor.",
        looks: "NaN counted, first place named.",
        why: "0/0 in a softmax or norm, inf − inf, uninitialised memory.",
        change: "Look at the first stage with NaN and its inputs: a fully masked row, a zero rms without epsilon, an \
             overflow before.",
    }
    INF = "inf" {
        title: "values are infinite",
        what: "Infinity stands in the tensor, beyond mask fillings.",
        looks: "Infinities counted, first place named.",
        why: "Overflow of a narrow type, or a division by zero.",
        change: "Look at the magnitude of the inputs and the type of the accumulator.",
    }
    LARGE_VALUES = "large_values" {
        title: "values are implausibly large",
        what: "Magnitudes above 1000 where none are expected.",
        looks: "max abs > 1000 in Q, K or V.",
        why: "Wrong dtype or byte order, a missing norm or scale.",
        change: "Check how the weights are read. In the residual stream one massive channel is normal in trained \
             models.",
    }
}
