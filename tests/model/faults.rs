//! The faults that can be injected: one variant per cause id, its parameters, and the id.

use super::config::{Activation, Fused};
use super::math::Arithmetic;
use super::recipe::Cache;

/// Which layers are hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layers {
    All,
    Only(usize),
    From(usize),
}

impl Layers {
    pub fn contains(self, layer: usize) -> bool {
        match self {
            Layers::All => true,
            Layers::Only(l) => l == layer,
            Layers::From(l) => layer >= l,
        }
    }
}

/// A stage in some layers (`final_norm`, `lm_head`, `embed` stand outside of layers).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Site(pub &'static str, pub Layers);

impl Site {
    /// Whether the key `layers.I.stage` (or a stage outside of layers) is meant.
    pub fn covers(self, key: &str) -> bool {
        match key.strip_prefix("layers.").and_then(|k| k.split_once('.')) {
            Some((layer, stage)) => {
                (self.0.is_empty() || self.0 == stage)
                    && layer.parse().is_ok_and(|l| self.1.contains(l))
            }
            None => (self.0.is_empty() && self.1 == Layers::All) || self.0 == key,
        }
    }
}

/// A norm or projection kind in every layer and outside.
pub const EVERYWHERE: Site = Site("", Layers::All);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Which {
    Q,
    K,
    V,
    Both,
}

/// A wrong factor on the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Factor {
    /// 1
    Missing,
    /// 1/d
    InverseDim,
    /// 1/√hidden
    InverseRootHidden,
    /// The right factor applied twice.
    Twice,
    Times(f64),
}

/// A wrong sliding window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WrongWindow {
    Width(usize),
    /// In the layers that should have none, and not in the others.
    OtherLayers,
}

/// Two orders of one thing's axes in the dump.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axes {
    /// [B, S, H, D] against [B, H, S, D] of q and k after rotation.
    HeadsFirst,
    /// The last two axes exchanged.
    LastTwo,
}

/// An operation that wrote over a buffer it still needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aliasing {
    /// The norm wrote into the residual stream.
    NormInPlace,
    /// The branch wrote into the residual stream: 2 · branch.
    BranchOverStream,
    /// The stream wrote into the branch: 2 · stream.
    StreamOverBranch,
    /// `at` shares the memory of `holds`, which was written before.
    Shared {
        at: &'static str,
        holds: &'static str,
    },
}

/// The dump's point of a residual sum moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moved {
    /// `output` holds the MLP's branch.
    OutputBeforeSum(Layers),
    /// `attn_residual` holds the attention's branch.
    AttentionBeforeSum(Layers),
    /// `o_proj` holds the stream after the sum.
    ProjectionAfterSum(Layers),
    /// `attn_norm` holds its input.
    BeforeNorm(Layers),
    /// The last layer's `output` holds the final norm, as the last of transformers' hidden states does.
    OutputBehindNorm,
}

/// What is wrong with the candidate; the variants carry the ids of the causes in snake case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    TokenIdOffset {
        by: i64,
        in_input: bool,
    },
    SequenceShift(i64),
    /// Ids from this one on (a special or added part of the vocabulary) read each other's rows.
    EmbeddingWrongRows(usize),
    EmbeddingScaleMissing,
    EmbeddingScaleRounded,
    PositionOffset(i64),
    PositionEmbeddingMissing,
    TokenTypeEmbeddingMissing,

    NormEps(Site, f64),
    NormMissing(Site),
    NormAppliedTwice(Site),
    NormWeightMissing(Site),
    NormBiasMissing(Site),
    /// The norm at this key has the gamma (and beta) of that key.
    NormWrongWeight(&'static str, &'static str),
    NormPlusOneMissing(Site),
    NormPlusOneExtra(Site),
    LayernormInsteadOfRmsnorm(Site),
    RmsnormInsteadOfLayernorm(Site),
    QkNormMissing(Which, Layers),
    QkNormWrongAxis(Layers),

    WeightTransposed(Site),
    /// The projection at this key has the weight of that key.
    WrongLayerWeight(&'static str, &'static str),
    /// One weight with so many steps to either side.
    WeightQuantisationError(&'static str, f64),
    BiasMissing(&'static [&'static str], Layers),
    BiasDoubled(&'static [&'static str], Layers),
    QkSwapped(Layers),
    KvSwapped(Layers),
    FusedQkvOrder([usize; 3], Layers),
    FusedQkvLayout(Fused, Layers),
    /// Rows of Q and K permuted for adjacent pairs, the rotation left as it was.
    QkWeightPermuted(Layers),
    /// Rows permuted and the rotation's pairs with them: the model is right.
    QkWeightPermutedRightly,
    GqaHeadMapping(Layers),
    HeadSplitOrder(Which, Layers),
    HeadMergeOrder(Layers),

    RopeInterleaved(Layers),
    RopeTheta(f64, Layers),
    RopeScalingMissing(Layers),
    RopePositionOffset(i64, Layers),
    RopeSign(Layers),
    /// So many channels of each head are rotated.
    RopePartial(usize, Layers),
    RopeMissing(Which, Layers),

    AttentionScale(Factor, Layers),
    AttentionSoftcapMissing(Layers),
    CausalMaskMissing(Layers),
    CausalMaskOffByOne(i64, Layers),
    PaddingMaskIgnored(Layers),
    SlidingWindowIgnored(Layers),
    SlidingWindowWrong(WrongWindow, Layers),
    SoftmaxAxis(Layers),
    SoftmaxNotNormalised(Layers),
    NanFullyMaskedRow(Layers),
    /// Rows of padding hold something else, and nothing real sees them.
    PadRowsDiffer,
    TileTailUnwritten(&'static str, usize),
    KvCachePosition(i64),
    KvCacheStale(Cache),

    ResidualMissing(Site),
    ResidualDoubled(Site),
    ResidualSign(Site),
    ResidualFromNormed(Site),
    ResidualWrongSource(Site),
    BranchDoubled(Site),
    GateUpSwapped(Layers),
    ActivationOnWrongBranch(Layers),
    WrongActivation(Activation, Layers),
    GeluVariant(Layers),
    ActivationMissing(Layers),
    LmHeadTiedWrongly,
    LogitSoftcapMissing,
    LogitScaleMissing,

    /// fp16 arithmetic with its real range.
    Fp16Overflow,
    /// One stage alone in fp16, infinite or saturated.
    Fp16OverflowAt(&'static str, bool),
    PrecisionLoss(&'static str, u32),
    DropoutActive(&'static str, f64),

    BufferAliased(Aliasing, Layers),
    /// The buffer of the first key holds what the second one held, and flows on.
    StaleBuffer(&'static str, &'static str),
    /// Zeros (or copies of the first) in later batch rows of a stage.
    BatchOffset(&'static str, bool),

    /// The dump of the first key holds the second's tensor.
    DuplicateDump(&'static str, &'static str),
    DumpAliased,
    DumpPoint(Moved),
    AllZeros(&'static str),
    LayoutPermuted(Axes),
    MissingBatchDim,
    BatchPermuted,
    SequencePadded(usize),
    LastTokenOnly,
    /// Every n-th tensor is not there.
    MissingFiles(usize),
    TruncatedFile(&'static str),
    ByteOrder(&'static str),
    /// f32 bytes labelled as 32-bit integers.
    DtypeMislabelled(&'static str),
}

impl Fault {
    /// The id in the catalogue of causes.
    pub fn cause(&self) -> &'static str {
        use Fault::*;
        match self {
            TokenIdOffset { .. } => "token_id_offset",
            SequenceShift(_) => "sequence_shift",
            EmbeddingWrongRows(_) => "embedding_wrong_rows",
            EmbeddingScaleMissing => "embedding_scale_missing",
            EmbeddingScaleRounded => "embedding_scale_rounded",
            PositionOffset(_) => "position_offset",
            PositionEmbeddingMissing => "position_embedding_missing",
            TokenTypeEmbeddingMissing => "token_type_embedding_missing",
            NormEps(..) => "norm_eps",
            NormMissing(_) => "norm_missing",
            NormAppliedTwice(_) => "norm_applied_twice",
            NormWeightMissing(_) => "norm_weight_missing",
            NormBiasMissing(_) => "norm_bias_missing",
            NormWrongWeight(..) => "norm_wrong_weight",
            NormPlusOneMissing(_) => "norm_plus_one_missing",
            NormPlusOneExtra(_) => "norm_plus_one_extra",
            LayernormInsteadOfRmsnorm(_) => "layernorm_instead_of_rmsnorm",
            RmsnormInsteadOfLayernorm(_) => "rmsnorm_instead_of_layernorm",
            QkNormMissing(..) => "qk_norm_missing",
            QkNormWrongAxis(_) => "qk_norm_wrong_axis",
            WeightTransposed(_) => "weight_transposed",
            WrongLayerWeight(..) => "wrong_layer_weight",
            WeightQuantisationError(..) => "weight_quantisation_error",
            BiasMissing(..) => "bias_missing",
            BiasDoubled(..) => "bias_doubled",
            QkSwapped(_) => "qk_swapped",
            KvSwapped(_) => "kv_swapped",
            FusedQkvOrder(..) | FusedQkvLayout(..) => "fused_qkv_order",
            QkWeightPermuted(_) | QkWeightPermutedRightly => "qk_weight_permuted",
            GqaHeadMapping(_) => "gqa_head_mapping",
            HeadSplitOrder(..) => "head_split_order",
            HeadMergeOrder(_) => "head_merge_order",
            RopeInterleaved(_) => "rope_interleaved",
            RopeTheta(..) => "rope_theta",
            RopeScalingMissing(_) => "rope_scaling_missing",
            RopePositionOffset(..) => "rope_position_offset",
            RopeSign(_) => "rope_sign",
            RopePartial(..) => "rope_partial",
            RopeMissing(..) => "rope_missing",
            AttentionScale(..) => "attention_scale",
            AttentionSoftcapMissing(_) => "attention_softcap_missing",
            CausalMaskMissing(_) => "causal_mask_missing",
            CausalMaskOffByOne(..) => "causal_mask_off_by_one",
            PaddingMaskIgnored(_) => "padding_mask_ignored",
            SlidingWindowIgnored(_) => "sliding_window_ignored",
            SlidingWindowWrong(..) => "sliding_window_wrong",
            SoftmaxAxis(_) => "softmax_axis",
            SoftmaxNotNormalised(_) => "softmax_not_normalised",
            NanFullyMaskedRow(_) => "nan_fully_masked_row",
            PadRowsDiffer => "pad_rows_differ",
            TileTailUnwritten(..) => "tile_tail_unwritten",
            KvCachePosition(_) => "kv_cache_position",
            KvCacheStale(_) => "kv_cache_stale",
            ResidualMissing(_) => "residual_missing",
            ResidualDoubled(_) => "residual_doubled",
            ResidualSign(_) => "residual_sign",
            ResidualFromNormed(_) => "residual_from_normed",
            ResidualWrongSource(_) => "residual_wrong_source",
            BranchDoubled(_) => "branch_doubled",
            GateUpSwapped(_) => "gate_up_swapped",
            ActivationOnWrongBranch(_) => "activation_on_wrong_branch",
            WrongActivation(..) => "wrong_activation",
            GeluVariant(_) => "gelu_variant",
            ActivationMissing(_) => "activation_missing",
            LmHeadTiedWrongly => "lm_head_tied_wrongly",
            LogitSoftcapMissing => "logit_softcap_missing",
            LogitScaleMissing => "logit_scale_missing",
            Fp16Overflow | Fp16OverflowAt(..) => "fp16_overflow",
            PrecisionLoss(..) => "precision_loss",
            DropoutActive(..) => "dropout_active",
            BufferAliased(..) => "buffer_aliased",
            StaleBuffer(..) => "stale_buffer",
            BatchOffset(..) => "batch_offset",
            DuplicateDump(..) => "duplicate_dump",
            DumpAliased => "dump_aliased",
            DumpPoint(_) => "dump_point",
            AllZeros(_) => "all_zeros",
            LayoutPermuted(_) => "layout_permuted",
            MissingBatchDim => "missing_batch_dim",
            BatchPermuted => "batch_permuted",
            SequencePadded(_) => "sequence_padded",
            LastTokenOnly => "last_token_only",
            MissingFiles(_) => "missing_files",
            TruncatedFile(_) => "truncated_file",
            ByteOrder(_) => "byte_order",
            DtypeMislabelled(_) => "dtype_mislabelled",
        }
    }

    /// Whether the fault is one of the dump (or of rows that nobody reads), and what a tool must say then:
    /// `ok`, `diverge` or `either`. None for a fault of the computation.
    pub fn dump_verdict(&self) -> Option<&'static str> {
        use Fault::*;
        match self {
            DuplicateDump(..) | DumpAliased | AllZeros(_) => Some("diverge"),
            DumpPoint(_) | MissingBatchDim | BatchPermuted | LastTokenOnly | MissingFiles(_) => {
                Some("ok")
            }
            LayoutPermuted(_) | SequencePadded(_) | TruncatedFile(_) | ByteOrder(_) => {
                Some("either")
            }
            DtypeMislabelled(_) | PadRowsDiffer | QkWeightPermutedRightly => Some("either"),
            _ => None,
        }
    }

    /// Whether a dump of the tapped stages holds what explains a fault of the dump.
    pub fn shows(&self, tapped: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Fault::DumpPoint(Moved::OutputBeforeSum(_)) => tapped("layers.1.down_proj"),
            Fault::DumpPoint(Moved::AttentionBeforeSum(_)) => {
                tapped("layers.1.attn_residual") && tapped("layers.1.o_proj")
            }
            Fault::DumpPoint(Moved::ProjectionAfterSum(_)) => tapped("layers.1.o_proj"),
            _ => true,
        }
    }

    /// Where a tool may place the fault as well: the infinite fill of the scores that makes the NaN.
    pub fn places(&self, first: &str) -> Vec<String> {
        match self {
            Fault::NanFullyMaskedRow(_) => vec![first.replace("attn_weights", "attn_scores")],
            _ => vec![],
        }
    }

    /// The arithmetic a candidate must run in to have this fault.
    pub fn arithmetic(&self) -> Option<Arithmetic> {
        (*self == Fault::Fp16Overflow).then_some(Arithmetic::F16)
    }

    /// Ids that are right for this fault as well.
    pub fn also(&self) -> &'static [&'static str] {
        use Fault::*;
        match self {
            QkNormMissing(..) => &["norm_missing"],
            GeluVariant(_) | ActivationMissing(_) => &["wrong_activation"],
            NormPlusOneMissing(_) | NormPlusOneExtra(_) => &["norm_weight_missing"],
            FusedQkvOrder(..) => &["qk_swapped", "kv_swapped"],
            RopePositionOffset(..) => &["position_offset"],
            CausalMaskOffByOne(..) => &["causal_mask_missing"],
            KvCachePosition(_) => &["rope_position_offset", "position_offset"],
            QkWeightPermutedRightly => &["rope_interleaved", "layout_permuted"],
            SlidingWindowWrong(WrongWindow::OtherLayers, _) => &["sliding_window_ignored"],
            NanFullyMaskedRow(_) => &["nan"],
            Fp16Overflow | Fp16OverflowAt(..) => &["inf", "nan"],
            BufferAliased(Aliasing::NormInPlace, _) => &["residual_from_normed"],
            BufferAliased(Aliasing::StreamOverBranch, _) => &["residual_doubled"],
            BufferAliased(Aliasing::BranchOverStream, _) => &["branch_doubled"],
            BufferAliased(Aliasing::Shared { .. }, _) => &["stale_buffer"],
            StaleBuffer(..) => &["buffer_aliased"],
            TruncatedFile(_) => &["unreadable_file"],
            _ => &[],
        }
    }
}
