//! The catalogue of causes: what each id means, how it shows in the data, why it happens, and what to change.
//!
//! Ids are stable: reports, `tdiff explain`, fixtures and tests use them.

mod attention;
mod dumps;
mod norms;
mod numerics;
mod projections;
mod rope;
mod stream;
mod tokens;

use std::sync::LazyLock;

/// One cause of a difference, or one red flag of a single dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    pub id: &'static str,
    /// A few words, in lower case.
    pub title: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// How it shows in the data.
    pub looks: &'static str,
    /// How it usually comes about.
    pub why: &'static str,
    /// What to look at, and what to change.
    pub change: &'static str,
}

/// Every cause, in the order of the pipeline: one file per group.
pub static CAUSES: LazyLock<Vec<Cause>> = LazyLock::new(|| {
    [
        tokens::CAUSES,
        norms::CAUSES,
        projections::CAUSES,
        rope::CAUSES,
        attention::CAUSES,
        stream::CAUSES,
        numerics::CAUSES,
        dumps::CAUSES,
    ]
    .concat()
});

/// The cause of an id.
pub fn find(id: &str) -> Option<&'static Cause> {
    CAUSES.iter().find(|c| c.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const CATALOGUE: &str = "
        token_id_offset sequence_shift embedding_wrong_rows embedding_scale_missing embedding_scale_rounded
        position_offset position_embedding_missing token_type_embedding_missing
        norm_eps norm_missing norm_applied_twice norm_weight_missing norm_bias_missing norm_wrong_weight
        norm_plus_one_missing norm_plus_one_extra layernorm_instead_of_rmsnorm rmsnorm_instead_of_layernorm
        qk_norm_missing qk_norm_wrong_axis
        weight_transposed wrong_layer_weight weight_quantisation_error bias_missing bias_doubled qk_swapped kv_swapped
        fused_qkv_order qk_weight_permuted gqa_head_mapping head_split_order head_merge_order
        rope_interleaved rope_theta rope_scaling_missing rope_position_offset rope_sign rope_partial rope_missing
        attention_scale attention_softcap_missing causal_mask_missing causal_mask_off_by_one padding_mask_ignored
        sliding_window_ignored sliding_window_wrong softmax_axis softmax_not_normalised nan_fully_masked_row
        pad_rows_differ tile_tail_unwritten kv_cache_position kv_cache_stale
        residual_missing residual_doubled residual_sign residual_from_normed residual_wrong_source branch_doubled gate_up_swapped
        activation_on_wrong_branch wrong_activation gelu_variant activation_missing lm_head_tied_wrongly
        logit_softcap_missing logit_scale_missing
        fp16_overflow precision_loss dropout_active
        buffer_aliased stale_buffer batch_offset duplicate_dump dump_aliased dump_point all_zeros layout_permuted
        missing_batch_dim batch_permuted sequence_padded last_token_only missing_files truncated_file byte_order
        dtype_mislabelled
        attention_uniform attention_one_position rope_position_constant nan inf large_values constant layers_identical
        layer_differs tokens_identical same_argmax kv_cache_zeros context_ignored
        same_magnitude_unrelated unexplained";

    #[test]
    fn every_id_of_the_catalogue_is_explained_once() {
        let ids: BTreeSet<&str> = CAUSES.iter().map(|c| c.id).collect();
        assert_eq!(ids.len(), CAUSES.len(), "an id stands twice");
        let missing: Vec<&str> = CATALOGUE
            .split_whitespace()
            .filter(|id| !ids.contains(id))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_cause_says_something_in_every_field() {
        for c in CAUSES.iter() {
            for text in [c.title, c.what, c.looks, c.why, c.change] {
                assert!(text.len() > 8 && !text.contains("  "), "{}: {text:?}", c.id);
            }
            assert!(c.title.len() <= 72, "{}: {}", c.id, c.title);
            assert!(
                c.title.starts_with(|x: char| !x.is_uppercase())
                    || c.title.starts_with("RoPE")
                    || ["LayerNorm", "RMSNorm", "Gemma"]
                        .iter()
                        .any(|w| c.title.starts_with(w)),
                "{}",
                c.title
            );
            assert!(c.change.ends_with('.'), "{}", c.id);
        }
    }

    /// Ids stand in the sources as `cause: "id"`.
    #[test]
    fn every_id_that_a_hypothesis_gives_is_in_the_catalogue() {
        fn walk(folder: &std::path::Path, seen: &mut usize) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, seen);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for rest in text.split("cause: \"").skip(1) {
                        let id = rest.split('"').next().unwrap();
                        assert!(find(id).is_some() || id == "id", "{}: {id}", path.display());
                        *seen += 1;
                    }
                }
            }
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/diagnose");
        let mut seen = 0;
        walk(&root, &mut seen);
        assert!(seen > 0);
    }
}
