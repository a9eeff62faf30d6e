//! Buffers and dumps.

causes! {
    BUFFER_ALIASED = "buffer_aliased" {
        title: "an operation wrote over its own input",
        what: "Input and output share memory where they must not.",
        looks: "The output equals a sum or copy that only aliasing gives: twice the input, or another stage bit for \
             bit.",
        why: "Buffers reused in place, or a view taken for a copy.",
        change: "Give the operation an output buffer of its own, or copy the input before.",
    }
    STALE_BUFFER = "stale_buffer" {
        title: "the buffer holds an earlier stage",
        what: "The output was never written here, and an older content remains.",
        looks: "Equal to another stage bit for bit.",
        why: "A missing copy or kernel launch; a workspace that is reused.",
        change: "Look for the write into this buffer (a copy, a merge, a launch): it is missing or goes elsewhere.",
    }
    BATCH_OFFSET = "batch_offset" {
        title: "only the first batch rows are computed",
        what: "The batch stride is wrong or the loop ends early.",
        looks: "The first batch rows are exact, the rest zeros or shifted.",
        why: "The batch index is left out of the offset, or a kernel handles one batch row.",
        change: "Check the batch stride in every pointer offset and the range of the batch loop.",
    }
    DUPLICATE_DUMP = "duplicate_dump" {
        title: "the dump holds another layer's tensor",
        what: "The tensor written here belongs to another layer or stage.",
        looks: "Equals another tensor of the dump; what follows agrees.",
        why: "A hook registered on the wrong module, or a name built from a stale index.",
        change: "Check the name under which the hook saves; the computation itself is fine.",
    }
    DUMP_ALIASED = "dump_aliased" {
        title: "the dump was overwritten in place before it was saved",
        what: "The hook kept a reference and the tensor changed later.",
        looks: "The dumped input of every layer equals its output.",
        why: "detach() without clone() before an in-place addition.",
        change: "Clone (or copy to the host) inside the hook.",
    }
    DUMP_POINT = "dump_point" {
        title: "the two sides saved at different points",
        what: "One side saved before, the other after the residual (or the norm).",
        looks: "The other side's sum with its input fits, and what follows agrees.",
        why: "Hooks on the submodule against saves after the addition.",
        change: "Save both at the same point; the computation itself agrees.",
    }
    ALL_ZEROS = "all_zeros" {
        title: "the tensor is all zeros",
        what: "The dump or the kernel never filled it.",
        looks: "Every element is zero.",
        why: "The hook or copy ran before the kernel finished, a kernel did not launch, or the weight is zero.",
        change: "Synchronise before copying; check that the kernel runs and its launch error is read. If what follows \
             agrees, only the dump is at fault.",
    }
    CONSTANT = "constant" {
        title: "the tensor holds one value",
        what: "All elements are the same number.",
        looks: "One value throughout.",
        why: "A fill that was never overwritten.",
        change: "Check that the computation writes this buffer before it is dumped.",
    }
    LAYOUT_PERMUTED = "layout_permuted" {
        title: "the same values in another layout",
        what: "Axes are exchanged.",
        looks: "Exact after permuting the axes.",
        why: "[batch, head, token, channel] against [batch, token, head, channel], or column-major storage.",
        change: "Nothing to fix if what follows agrees; else transpose, or make contiguous, before the next \
             operation.",
    }
    LAYOUT_REGROUPED = "layout_regrouped" {
        title: "the same values with axes grouped differently",
        what: "The shapes differ, the order of elements does not.",
        looks: "Same number of elements in the same order.",
        why: "A view was dumped on one side.",
        change: "Nothing to fix.",
    }
    MISSING_BATCH_DIM = "missing_batch_dim" {
        title: "one side has no batch axis",
        what: "Axes of length 1 are dropped or added.",
        looks: "The shapes differ by axes of length 1.",
        why: "A squeeze before saving.",
        change: "Nothing to fix.",
    }
    BATCH_PERMUTED = "batch_permuted" {
        title: "the batch rows are in another order",
        what: "The same sequences, ordered differently.",
        looks: "Exact after reordering the batch axis.",
        why: "A scheduler or sorting by length.",
        change: "Dump in the order of the requests, or give both sides the same order.",
    }
    SEQUENCE_PADDED = "sequence_padded" {
        title: "one side is padded",
        what: "One side's sequence axis is longer.",
        looks: "The common part agrees.",
        why: "Padding to a multiple, or to the longest sequence.",
        change: "Nothing to fix: the common part is compared.",
    }
    SEQUENCE_REVERSED = "sequence_reversed" {
        title: "the tokens are in reverse order",
        what: "Row t holds what the reference has at n − 1 − t.",
        looks: "Exact after reversing the token axis.",
        why: "A loop that runs backwards, or a flipped axis.",
        change: "Check the order in which tokens are fed and rows are written.",
    }
    CHANNEL_PERMUTED = "channel_permuted" {
        title: "the channels are in another order",
        what: "The same channels, ordered differently.",
        looks: "Each channel of one side is found on the other, in another place.",
        why: "Weights sharded, tiled or repacked in another order.",
        change: "Compare the order of the weight's output rows: shards of tensor parallelism, repacked or interleaved \
             tiles.",
    }
    LAST_TOKEN_ONLY = "last_token_only" {
        title: "one side kept the last token only",
        what: "One side's token axis has length 1.",
        looks: "The last row agrees.",
        why: "The last layer or the head is run for the last token only.",
        change: "Nothing to fix.",
    }
    MISSING_FILES = "missing_files" {
        title: "tensors are missing on one side",
        what: "Some stages were dumped by one side only.",
        looks: "No partner under any known spelling.",
        why: "A hook was not registered or the dump ended early.",
        change: "Dump them on both sides, or allow it with --allow-missing.",
    }
    TRUNCATED_FILE = "truncated_file" {
        title: "a file is cut off",
        what: "The file is shorter than its header says.",
        looks: "The stated size exceeds what is there.",
        why: "Disk full, a process killed while writing, an interrupted copy.",
        change: "Write the dump again.",
    }
    UNREADABLE_FILE = "unreadable_file" {
        title: "a file cannot be read",
        what: "The file is no tensor in a known format.",
        looks: "The reader's message names place and fact.",
        why: "Damage, another format, or an unknown version.",
        change: "Write the dump again, in npy or safetensors for example.",
    }
    BYTE_ORDER = "byte_order" {
        title: "the bytes are swapped",
        what: "Elements were written in the other byte order.",
        looks: "Values become plausible, and equal, with swapped bytes.",
        why: "Written on, or for, a big-endian machine, or a header that lies.",
        change: "Write little-endian, or state the order in the header (`>f4`).",
    }
    DTYPE_MISLABELLED = "dtype_mislabelled" {
        title: "the bytes are of another type",
        what: "The elements are of another type than the file states.",
        looks: "Read as the other type the values agree.",
        why: "bfloat16 saved as uint16 or float16; float64 read as float32.",
        change: "State the true type: --dtype for headerless files, or cast to float32 before saving.",
    }
    HEADERLESS = "headerless" {
        title: "a file does not state its type or shape",
        what: "Raw elements without a header.",
        looks: "Size, sidecar or partner decide how it is read.",
        why: "tofile() or fwrite().",
        change: "Give --dtype and --shape, a sidecar, or save as npy.",
    }
    DTYPE_FROM_PARTNER = "dtype_from_partner" {
        title: "the type was taken from the partner",
        what: "The stored integers are read as the partner's floating-point bits.",
        looks: "The same bytes fit the partner's type.",
        why: "numpy has no bfloat16 or float8.",
        change: "Nothing to fix.",
    }
    LAYERS_IDENTICAL = "layers_identical" {
        title: "all layers hold the same tensor",
        what: "One tensor was dumped for every layer.",
        looks: "Equal bytes in all layers.",
        why: "A stale buffer, a captured graph, or the same layer run again.",
        change: "Copy inside the hook; check that the layer index advances.",
    }
    LAYER_DIFFERS = "layer_differs" {
        title: "one layer obeys another law than the others",
        what: "An operation of one layer fits other parameters than that of most layers, or no such law at all.",
        looks: "Without any reference: the same law was fitted on the inputs and outputs of every layer whose tensors have the same \
                shapes. One such layer is a red flag of `tdiff check`; several get a note, for they may be of another kind.",
        why: "A fault of one layer: a missing residual, norm or scale, another activation or order of heads. Or the model is meant to be \
              so.",
        change: "Compare this layer's code path and configuration with those of the others.",
    }
    TOKENS_IDENTICAL = "tokens_identical" {
        title: "all tokens have the same row",
        what: "Every row of the tensor is equal.",
        looks: "Rows equal while the tokens differ.",
        why: "The same token is fed at every position, or a broadcast where a row is meant.",
        change: "Check the ids fed and the row stride.",
    }
    SAME_MAGNITUDE_UNRELATED = "same_magnitude_unrelated" {
        title: "same size, but unrelated values",
        what: "The sides have equal rms and no correlation.",
        looks: "Correlation near 0, equal rms.",
        why: "Wrong weights, wrong order of elements, or a wrong input further up: not a matter of scale.",
        change: "Compare the weights first, then the order of elements, then the inputs of this stage.",
    }
    SLICE_DIFFERS = "slice_differs" {
        title: "only a part of the tensor differs",
        what: "The difference is confined to some tokens, heads, channels or batch rows.",
        looks: "All other slices agree.",
        why: "An index, mask or boundary that concerns that part only.",
        change: "Look at what sets that part apart: padding, the first or last token, a boundary of tiles, heads or \
             shards.",
    }
    UNEXPLAINED = "unexplained" {
        title: "no tested cause fits",
        what: "The difference is real, and nothing in the catalogue explains it.",
        looks: "No hypothesis leaves a clearly smaller error.",
        why: "The fault lies in what was not dumped, or is of a kind not known here.",
        change: "Compare the stage's weights and code by hand, starting at the hint; dump the stages in between.",
    }
}
