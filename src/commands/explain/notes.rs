//! What the notes of a report mean: nothing is wrong with the numbers, but somebody should know.

/// Id and meaning; causes that also appear as notes are explained as causes.
pub const NOTES: &[(&str, &str)] = &[
    (
        "ambiguous_names",
        "Several names fit the same place equally well; none of them was paired there. --map FROM=TO decides.",
    ),
    (
        "batch_row",
        "One side holds one prompt, the other a batch of several: the row of the batch that it is was found by its values and compared, the other prompts were not.",
    ),
    (
        "coarser_arithmetic",
        "From some stage on, the difference looks like rounding of a coarser arithmetic (bf16, fp16, int8) than the files' type: unbiased, evenly spread, the same in like operations. It is taken as the noise of this pair; an explicit tolerance overrides that.",
    ),
    (
        "dequantised",
        "Blocks of a quantised type were expanded as their specification says; the loss of the quantisation counts as precision.",
    ),
    (
        "extra_files",
        "Tensors that only the candidate has. They do not fail.",
    ),
    (
        "fused_split",
        "One side holds a fused projection (qkv, gate_up), the other its parts: each part was compared with its own channels.",
    ),
    (
        "glob_unused",
        "A limit or filter names no tensor of these dumps: check its spelling.",
    ),
    ("ignored_files", "Files in the folder that hold no tensors."),
    (
        "kv_repeated",
        "One side holds the keys or values once for every query head of a group (repeat_kv), the other once: each is compared with every copy.",
    ),
    (
        "late_outputs",
        "The producer writes what a pass returns into the file of the next one; it was counted to its own pass.",
    ),
    (
        "layers_from_one",
        "As many layers on both sides, numbered from 0 on one and from 1 on the other. They are paired by number, so every layer would stand against its neighbour if both sides mean the same ones: let both count from 0.",
    ),
    (
        "lines_not_read",
        "A text has lines with several numbers that no tensor was read from; the note shows the first. Print a name with a sign before the values (`q_proj: 0.5 0.25 …`) or the whole tensor, and those lines take part too.",
    ),
    (
        "link_loop",
        "A link in the folder leads to a folder that it stands in: what is there was read once, the link was left out.",
    ),
    (
        "log_cut_off",
        "A log ends in the middle of a print: what stands before the cut was compared.",
    ),
    (
        "map_unused",
        "A rule of --map fits no name of either side: check its spelling (`tdiff pairs` shows the names).",
    ),
    (
        "mask_fill",
        "Masked scores hold another filling on either side (minus infinity, -1e9, the lowest number of a type). It is zero after the softmax, so both count as masked and the metrics leave them out. A row that is masked as a whole is the exception: with minus infinity it becomes NaN.",
    ),
    (
        "no_statistics",
        "An entry of a statistics file without statistics (only a checksum, say): there is nothing to compare.",
    ),
    (
        "not_compared",
        "Two tensors were paired by a guess, or have shapes that no layout reconciles, and all that is computed around them agrees: so they are no fault that was found, but they were not compared either, and the verdict is INCOMPLETE. `--map` says which tensor belongs to which; `--allow-missing` lets it pass.",
    ),
    (
        "not_numeric",
        "An array of text, dates or objects: left out.",
    ),
    (
        "nothing_finite",
        "All values of the tensor are NaN or infinite at the same places on both sides: nothing could differ. Dump before the first NaN or infinity arises.",
    ),
    (
        "one_side",
        "Nothing in the names tells two sides apart: the dump is read as one side, and nothing can be compared with it.",
    ),
    (
        "order_unused",
        "A line of --order names no tensor by its stage, key or name: check its spelling (`tdiff pairs` shows the keys).",
    ),
    (
        "other_members",
        "Members of an archive that are no arrays: left out.",
    ),
    (
        "paired_by_guess",
        "Nothing but similar words, a like place or a size that occurs once spoke for these pairs, and their values are no proof. A guessed pair decides no verdict alone; the `--map` line of the note makes it sure.",
    ),
    (
        "paired_by_values",
        "The names of these tensors have nothing in common, or belong to another one, and their values are far nearer to each other than to any other tensor: they were paired by what they hold.",
    ),
    (
        "paired_by_words",
        "Names that differ were paired because what is left of them is alike and no other partner fits; --map makes it certain.",
    ),
    (
        "part_compared",
        "One side has fewer rows than the other, and nothing proves the others to be padding: what both have was compared, the rest was not.",
    ),
    (
        "part_differs",
        "Of a tensor that was joined from several ranks some ranks' parts differ, and the others agree.",
    ),
    (
        "part_without_place",
        "Only the first or last values of a tensor, or a slice of it, are printed and no line gives its shape. They are compared as a tensor of their own, what is not printed is not compared: print the shape too, or dump the whole tensor.",
    ),
    (
        "partial_tensors",
        "Only some elements are known (first and last ones, a print with dots): these were compared.",
    ),
    (
        "ranks_joined",
        "The ranks of one side hold parts of a tensor that the other side holds in one: they were put side by side.",
    ),
    (
        "ranks_missing",
        "The ranks of one side hold parts of a tensor, and some of them are missing.",
    ),
    (
        "ranks_replicated",
        "Several ranks hold the same tensor: one of them was compared, and every one that is not bit for bit the same.",
    ),
    (
        "ranks_sharded",
        "Ranks hold parts of a tensor that neither side by side nor summed are the other side's: gather them before the dump.",
    ),
    (
        "ranks_summed",
        "The ranks of one side hold partial sums of a tensor (dumped before the all-reduce): their sum was compared.",
    ),
    (
        "rope_norm",
        "RoPE is a rotation and keeps the norm of every head; here it changes. A red flag of `tdiff check`.",
    ),
    (
        "rows_repeated",
        "One prompt against a batch that holds it in every row (the inputs show it): it was compared with each of them.",
    ),
    (
        "same_names",
        "Several files hold tensors of the same names: the file's name went before them.",
    ),
    (
        "sampled",
        "Large tensors were looked at in part: causes and laws were tested on their first tokens. The metrics are over all elements.",
    ),
    (
        "shape_from_partner",
        "The file does not say its shape: that of the partner was taken, the number of elements fits.",
    ),
    (
        "steps_cut",
        "One side computed the tokens in other steps than the other (one pass, or a prefill and decode steps): each step was \
         compared with its own tokens.",
    ),
    (
        "suggested_pairs",
        "Tensors of one side alone that may be the same under other names: words, layer, shape or values agree. Each --map was tried: with it the tensors pair. `tdiff pairs` shows all of them, with what speaks for each.",
    ),
    (
        "tag_unused",
        "No name of the side carries the tag that --ref-tag or --cand-tag gives.",
    ),
    (
        "trailing_bytes",
        "Bytes follow the array in its file and were not read.",
    ),
    (
        "untagged",
        "Names without a tag belong to neither side and were left out; --ref-tag and --cand-tag name the tags.",
    ),
    (
        "untested",
        "So many places differ that causes were tested at the first ones only.",
    ),
    (
        "wrapped_rows",
        "The last row of a text is shorter than the others: lines were filled, and the values read without a shape.",
    ),
    (
        "wrong_extension",
        "The content decides what a file is; its extension says something else.",
    ),
];

#[cfg(test)]
mod tests {
    use super::NOTES;
    use crate::causes::CAUSES;

    #[test]
    fn notes_are_in_order_and_no_causes() {
        assert!(NOTES.is_sorted_by(|a, b| a.0 < b.0));
        let twice = NOTES.iter().find(|n| CAUSES.iter().any(|c| c.id == n.0));
        assert_eq!(twice, None);
    }
}
