//! Tokens and embedding.

causes! {
    TOKEN_ID_OFFSET = "token_id_offset" {
        title: "token ids are shifted by a constant",
        what: "Every token reads the embedding row of another id, a constant away from its own.",
        looks: "Input ids differ by a constant, or each row of one side is the other side's row of a neighbouring \
             id.",
        why: "Special tokens counted on one side only, a vocabulary that starts at 1, or an added padding row.",
        change: "Print the first ten token ids on both sides and the id of BOS; look for an offset added for special \
             or padding tokens before the table is read.",
    }
    SEQUENCE_SHIFT = "sequence_shift" {
        title: "the sequence is rolled by some positions",
        what: "Row t of the candidate holds what the reference has at t + k.",
        looks: "The rows agree again after rolling along the token axis; only the ends are unmatched.",
        why: "BOS added or lost on one side, labels shifted for training, an off-by-one in the token loop.",
        change: "Compare the token ids of both sides first: is BOS added on both? Then check the start index of the \
             loop that fills the rows.",
    }
    EMBEDDING_WRONG_ROWS = "embedding_wrong_rows" {
        title: "some tokens read wrong embedding rows",
        what: "A subset of the token ids is looked up in another place of the table.",
        looks: "Some token rows are wrong, all others are exact, and equal tokens are wrong alike.",
        why: "A differently ordered or extended vocabulary, a truncated id type, a table cut at the wrong row.",
        change: "List the ids of the wrong rows; check the order of the vocabulary and added tokens, the row count of \
             the table, and that ids are not stored in 8 or 16 bits.",
    }
    EMBEDDING_SCALE_MISSING = "embedding_scale_missing" {
        title: "the embedding multiplier is not applied",
        what: "The embedding output lacks (or has in excess) a constant factor, usually √hidden.",
        looks: "The ratio of the sides is one number for all elements, √hidden or its inverse where hidden is known.",
        why: "Gemma multiplies embeddings by √hidden; Granite, MiniCPM and others have an embedding multiplier in \
             config.json.",
        change: "Multiply the looked-up rows by √hidden_size (Gemma) or by embedding_multiplier / scale_emb of \
             config.json, once, before layer 0.",
    }
    EMBEDDING_SCALE_ROUNDED = "embedding_scale_rounded" {
        title: "the embedding multiplier is rounded",
        what: "The multiplier was rounded to a narrower type before use.",
        looks: "A constant factor within 2⁻⁸ of 1 at the embedding.",
        why: "√hidden kept in bfloat16 (√3072 becomes 55.5), as the original Gemma code does on purpose.",
        change: "Decide which is wanted: transformers casts the multiplier to the dtype of the hidden states. Compute \
             it in the same type on both sides.",
    }
    POSITION_OFFSET = "position_offset" {
        title: "positions are offset",
        what: "The learned position table is read from another start position.",
        looks: "The difference depends on the position only; the position rows are the other side's, rolled.",
        why: "OPT keeps 2 reserved rows, RoBERTa starts at padding_idx + 1; or a cache length was added twice or \
             not at all.",
        change: "Check the first position id and any offset of the table (OPT: 2, RoBERTa: padding_idx + 1); in \
             decoding add the number of cached tokens.",
    }
    POSITION_EMBEDDING_MISSING = "position_embedding_missing" {
        title: "the position embedding is not added",
        what: "The learned (or sinusoidal) position rows are missing from the sum.",
        looks: "The candidate's embedding equals the token embedding alone.",
        why: "The addition was left out, or a model with RoPE served as the pattern.",
        change: "Add wpe[position] to the token rows before the first layer (GPT-2, BERT, OPT).",
    }
    TOKEN_TYPE_EMBEDDING_MISSING = "token_type_embedding_missing" {
        title: "the token type embedding is not added",
        what: "BERT's segment row is missing from the sum.",
        looks: "The difference before the norm is one constant row over all tokens: segment 0.",
        why: "The row of segment 0 is not zero, so it cannot be left out when all tokens are of one segment.",
        change: "Add token_type_embeddings[0] (or the row of each token's segment) to the sum before the embedding \
             norm.",
    }
}
