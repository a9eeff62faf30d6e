//! Weights and projections.

causes! {
    WEIGHT_TRANSPOSED = "weight_transposed" {
        title: "the weight matrix is used transposed",
        what: "A square weight is multiplied without, or with one too many, transposition.",
        looks: "With input X, X·Yᵀ of the candidate is the transpose of the reference's.",
        why: "PyTorch's Linear stores [out, in], GPT-2's Conv1D and many BLAS calls expect [in, out]; square \
             shapes hide the mix-up.",
        change: "Multiply x·Wᵀ for a PyTorch Linear weight; check the transposition flag of this matmul and whether \
             the loader already transposed.",
    }
    WRONG_LAYER_WEIGHT = "wrong_layer_weight" {
        title: "the projection uses another weight",
        what: "The weight of another layer or module is multiplied.",
        looks: "Inputs agree, the output is unrelated but of like size, at one projection only, and no other \
             relation holds.",
        why: "An off-by-one in the layer index, a name that matched too much (layers.1 and layers.10), weights \
             sharded in another order.",
        change: "Print the first values of the weight on both sides; check the layer index and the pattern that picks \
             the tensor's name.",
    }
    WEIGHT_QUANTISATION_ERROR = "weight_quantisation_error" {
        title: "one weight is quantised too coarsely",
        what: "The projection carries noise far above that of its neighbours.",
        looks: "The difference is unbiased, unrelated to the signal, and large at this projection only.",
        why: "One scale for the whole matrix instead of per row or block, wrong zero point, or a tensor that \
             should stay in higher precision.",
        change: "Compare the quantisation type and block size of this tensor with its siblings'; use a scale per \
             output row or block.",
    }
    BIAS_MISSING = "bias_missing" {
        title: "the projection's bias is not added",
        what: "The output lacks the bias.",
        looks: "The difference is one constant row over all tokens.",
        why: "Qwen2 has biases on Q, K, V; GPT-2, BERT, OPT and Phi on every projection; a Llama port has none.",
        change: "Load the bias of this projection and add it to every row; check that the name of the bias tensor was \
             found.",
    }
    BIAS_DOUBLED = "bias_doubled" {
        title: "the projection's bias is added twice",
        what: "The bias goes in once in the matmul and once more after it.",
        looks: "The difference is one constant row, along the bias itself.",
        why: "A fused kernel (cuBLASLt epilogue, beta = 1) adds the bias and the old code still does.",
        change: "Remove one of the two additions; check whether the output buffer was pre-filled with the bias.",
    }
    QK_SWAPPED = "qk_swapped" {
        title: "queries and keys are exchanged",
        what: "q_proj holds the keys and k_proj the queries.",
        looks: "The candidate's q equals the reference's k, and the reverse.",
        why: "Arguments in the wrong order, or weights loaded under each other's name.",
        change: "Check the names under which q_proj and k_proj are loaded, and the argument order of the attention \
             call.",
    }
    KV_SWAPPED = "kv_swapped" {
        title: "keys and values are exchanged",
        what: "k_proj holds the values and v_proj the keys.",
        looks: "The candidate's k equals the reference's v, and the reverse.",
        why: "Arguments in the wrong order, or a fused k/v tensor cut in the wrong order.",
        change: "Check the order of k and v where they are loaded, cut or written to the cache.",
    }
    FUSED_QKV_ORDER = "fused_qkv_order" {
        title: "the fused projection is cut in another order",
        what: "The output of qkv_proj is split into q, k and v at the wrong places.",
        looks: "Each side's q, k, v are found in the fused output in different orders, whole or per head.",
        why: "[q|k|v] in one block each (GPT-2, Phi-3) against per-head interleaving (GPT-NeoX, BLOOM: [h, 3, d]; \
             Falcon, InternLM2: per group).",
        change: "Follow the modelling code of the family: is it view(..., heads, 3, head_dim) or split(hidden)? \
             Reorder once while loading.",
    }
    QK_WEIGHT_PERMUTED = "qk_weight_permuted" {
        title: "the rows of the query and key weights are permuted within heads",
        what: "The channels of Q and K are in the order of another RoPE convention.",
        looks: "The channels of each head are a fixed permutation of the reference's; scores agree only if RoPE \
             follows suit.",
        why: "GGUF and Meta checkpoints permute Q/K rows for interleaved RoPE; Hugging Face rotates halves.",
        change: "Use interleaved RoPE with permuted weights, or undo the permutation (view(heads, d/2, 2).transpose) \
             while loading; never only one of the two.",
    }
    GQA_HEAD_MAPPING = "gqa_head_mapping" {
        title: "query heads use the wrong key/value head",
        what: "Grouped-query heads are tiled instead of repeated, or the reverse.",
        looks: "Context head h is built from another v head than in the reference.",
        why: "With G query heads per group head h belongs to kv head h / G; h % kv_heads is the usual mistake.",
        change: "Use kv head = h / (heads / kv_heads), i.e. repeat_interleave rather than repeat.",
    }
    HEAD_SPLIT_ORDER = "head_split_order" {
        title: "the projection is reshaped to heads in the wrong order",
        what: "The feature axis is read as [channel, head] where [head, channel] is meant.",
        looks: "A fixed channel permutation makes the sides agree.",
        why: "view(tokens, head_dim, heads) instead of view(tokens, heads, head_dim), or column-major storage.",
        change: "Read feature f as head f / head_dim, channel f % head_dim.",
    }
    HEAD_MERGE_ORDER = "head_merge_order" {
        title: "heads are merged without transposing back",
        what: "[heads, tokens, channel] memory is read as [tokens, heads · channel].",
        looks: "The candidate equals a reshape of the reference's context.",
        why: "The transposition (and copy) before the merging reshape is missing.",
        change: "Transpose to [tokens, heads, head_dim] and make it contiguous before the output projection.",
    }
}
