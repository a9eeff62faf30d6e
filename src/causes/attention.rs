//! Attention and its cache.

causes! {
    ATTENTION_SCALE = "attention_scale" {
        title: "the attention scores have another scale",
        what: "The factor on Q·K differs.",
        looks: "The factor fitted between the scores and Q·K differs between the sides.",
        why: "1/√head_dim left out, applied twice, 1/d, √hidden instead of √head_dim, or query_pre_attn_scalar \
             ignored.",
        change: "Multiply Q·K by 1/√head_dim (Gemma-2: 1/√query_pre_attn_scalar; Granite: attention_multiplier), \
             exactly once.",
    }
    ATTENTION_SOFTCAP_MISSING = "attention_softcap_missing" {
        title: "the soft cap on the scores is missing",
        what: "cap · tanh(score / cap) is left out.",
        looks: "The reference's scores stay below the cap and fit the capped candidate.",
        why: "Gemma-2 caps attention scores at 50; flash kernels often lack it.",
        change: "Apply cap · tanh(s / cap) with attn_logit_softcapping of config.json after the scale and before the \
             mask.",
    }
    CAUSAL_MASK_MISSING = "causal_mask_missing" {
        title: "the causal mask is missing",
        what: "Tokens attend to later tokens.",
        looks: "Weight on keys after the query.",
        why: "The mask is not passed, or the kernel's causal flag is off.",
        change: "Set scores of keys after the query to −inf before the softmax.",
    }
    CAUSAL_MASK_OFF_BY_ONE = "causal_mask_off_by_one" {
        title: "the causal mask is off by one",
        what: "The diagonal is masked, or the next token is visible.",
        looks: "The (query, key) pairs with weight differ along one diagonal.",
        why: "< against <=, triu(0) against triu(1), or an offset forgotten with a cache.",
        change: "Query i sees keys 0..=i (triu with diagonal 1 is masked); with a cache of n tokens it sees 0..=n + \
             i.",
    }
    PADDING_MASK_IGNORED = "padding_mask_ignored" {
        title: "padded tokens are attended to",
        what: "Keys of padding carry weight.",
        looks: "Only padded batch rows differ, and weight stands on padded keys.",
        why: "attention_mask is not combined with the causal mask.",
        change: "Add −inf at padded keys for every query, together with the causal mask.",
    }
    SLIDING_WINDOW_IGNORED = "sliding_window_ignored" {
        title: "the sliding window is ignored",
        what: "Full attention is used where a window is meant.",
        looks: "Weight on keys older than the window.",
        why: "sliding_window of config.json unused, or used in the wrong layers.",
        change: "Mask keys with query − key ≥ window in the layers that ask for it (layer_types, \
             sliding_window_pattern).",
    }
    SLIDING_WINDOW_WRONG = "sliding_window_wrong" {
        title: "the sliding window is wrong",
        what: "The window has another width or stands in other layers.",
        looks: "The oldest key with weight differs between the sides.",
        why: "An off-by-one in the width, or alternate layers exchanged.",
        change: "Window w keeps keys query − w + 1 ..= query; check which layers are local (layer_types).",
    }
    SOFTMAX_AXIS = "softmax_axis" {
        title: "the softmax runs over the wrong axis",
        what: "Weights are normalised over the queries instead of the keys.",
        looks: "Column sums are 1, row sums are not.",
        why: "A wrong dim argument, or scores stored transposed.",
        change: "Normalise over the last axis (keys) of [batch, head, query, key].",
    }
    SOFTMAX_NOT_NORMALISED = "softmax_not_normalised" {
        title: "the softmax is not normalised",
        what: "exp(score) is not divided by its sum, or not by the right one.",
        looks: "Row sums are not 1.",
        why: "The division was left for a later kernel, or the running sum of a blocked softmax is wrong.",
        change: "Divide each row by its sum over all keys; in a blocked softmax rescale the running sum when the \
             maximum changes.",
    }
    NAN_FULLY_MASKED_ROW = "nan_fully_masked_row" {
        title: "fully masked rows become NaN",
        what: "A query that sees no key gives 0/0.",
        looks: "NaN stands only in rows of padding that are fully masked.",
        why: "−inf filling makes exp(−inf − (−inf)); a large negative number would not.",
        change: "Harmless if those rows are never read; else fill with the type's lowest finite value, or write zeros \
             for such rows.",
    }
    PAD_ROWS_DIFFER = "pad_rows_differ" {
        title: "only rows of padding differ",
        what: "The outputs of padded tokens are undefined, and differ.",
        looks: "The difference is confined to padded positions.",
        why: "Implementations skip padding or mask it in different ways.",
        change: "Compare real tokens only; nothing to fix unless padded rows are read later (pooling, cache).",
    }
    TILE_TAIL_UNWRITTEN = "tile_tail_unwritten" {
        title: "rows past the last full tile are not written",
        what: "A blocked kernel leaves out the remainder.",
        looks: "Zeros from a multiple of a power of two on, exact values before.",
        why: "The grid is size / tile instead of rounded up, or the bounds check cuts the last tile.",
        change: "Launch (n + tile − 1) / tile blocks and mask the tail; test with sizes that are no multiple of the \
             tile.",
    }
    KV_CACHE_POSITION = "kv_cache_position" {
        title: "the decoding step uses the wrong position",
        what: "The new token is rotated, masked or stored for another position.",
        looks: "The prompt agrees, a decoding step does not; the fitted position tells which.",
        why: "The cache length was read before or after it was advanced.",
        change: "Use position = number of tokens already in the cache for RoPE, mask and slot, and advance it once \
             per step.",
    }
    KV_CACHE_STALE = "kv_cache_stale" {
        title: "the cache holds stale keys or values",
        what: "A slot was never written, was overwritten, or is read too early.",
        looks: "The prompt agrees, a decoding step does not; rows of the past differ.",
        why: "A write to the wrong slot, layer or batch row, or a read before the write has finished.",
        change: "Compare the cache rows of the past after each step; write before attention reads, at [layer, batch, \
             head, position].",
    }
    ATTENTION_UNIFORM = "attention_uniform" {
        title: "all attention weights are equal",
        what: "Every key gets the same weight.",
        looks: "Rows of the weights are constant over the visible keys.",
        why: "Scores are zero: Q or K is zero, or the scale is far too small.",
        change: "Look at the scores and at Q and K: one of them is likely zero or unwritten.",
    }
    ATTENTION_ONE_POSITION = "attention_one_position" {
        title: "attention always falls on one position",
        what: "All queries attend to the same key with weight 1.",
        looks: "One column of the weights is 1 for all heads and queries.",
        why: "Scores far too large (scale missing) or a mask that leaves one key.",
        change: "Check the scale and the mask. Position 0 alone is normal for the first token, and as an attention \
             sink in some heads.",
    }
    KV_CACHE_ZEROS = "kv_cache_zeros" {
        title: "the cache holds zeros",
        what: "Keys or values of the past are all zero.",
        looks: "Rows of the past are zeros.",
        why: "The cache is allocated but never written, or written for another layer or device stream.",
        change: "Write K and V of the prompt into the cache before the first decoding step.",
    }
    CONTEXT_IGNORED = "context_ignored" {
        title: "later tokens do not see earlier ones",
        what: "Each token is processed as if it were alone.",
        looks: "The same token gives the same output at any position.",
        why: "The mask keeps the diagonal only, the cache is not read, or every token is run at position 0.",
        change: "Check mask, cache length and the number of keys given to attention.",
    }
}
