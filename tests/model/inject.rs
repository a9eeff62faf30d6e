//! Injection: a fault as edits of the weights and of the recipe.

use super::config::{Activation, Config, NormKind, RopeScaling};
use super::faults::{Aliasing, Factor, Fault, Layers, Site, Which, WrongWindow};
use super::math::{on_grid, round_mantissa};
use super::recipe::{Layer, NormLaw, Patch, Recipe, Residual};
use super::weights::{Matrix, Weights};

/// Edits what the candidate holds and does; called before q, k, v are fused and before weights are rounded.
pub fn inject(fault: &Fault, c: &Config, w: &mut Weights, r: &mut Recipe) {
    use Fault::*;
    match *fault {
        TokenIdOffset { by, in_input: true } => r.id_offset = by,
        TokenIdOffset {
            by,
            in_input: false,
        } => {
            r.rows = (0..c.vocab as i64)
                .map(|i| (i + by).rem_euclid(c.vocab as i64) as usize)
                .collect();
        }
        SequenceShift(by) => r.roll = by,
        EmbeddingWrongRows(from) => {
            let n = c.vocab - from;
            (from..c.vocab).for_each(|i| r.rows[i] = from + (i - from + n / 3) % n);
        }
        EmbeddingScaleMissing => r.embed_scale = 1.0,
        EmbeddingScaleRounded => r.embed_scale = round_mantissa(r.embed_scale, 7),
        PositionOffset(by) => r.position_offset = by,
        PositionEmbeddingMissing => r.positions = false,
        TokenTypeEmbeddingMissing => r.token_types = false,

        NormEps(site, eps) => norms(r, site, |n| n.eps = eps),
        NormMissing(site) => norms(r, site, |n| n.law = NormLaw::Missing),
        NormAppliedTwice(site) => norms(r, site, |n| n.law = NormLaw::Twice),
        NormWeightMissing(site) => {
            let ones = if c.plus_one { 0.0 } else { 1.0 };
            norm_keys(r, site).iter().for_each(|k| fill(w, k, ones));
        }
        NormBiasMissing(site) => norm_keys(r, site)
            .iter()
            .for_each(|k| fill(w, &format!("{k}.bias"), 0.0)),
        NormWrongWeight(key, from) => {
            for suffix in ["", ".bias"] {
                if let Some(other) = w.get(&format!("{from}{suffix}")).cloned() {
                    w.insert(format!("{key}{suffix}"), other);
                }
            }
        }
        NormPlusOneMissing(site) => norms(r, site, |n| n.plus_one = false),
        NormPlusOneExtra(site) => norms(r, site, |n| n.plus_one = true),
        LayernormInsteadOfRmsnorm(site) => norms(r, site, |n| n.kind = NormKind::Layer),
        RmsnormInsteadOfLayernorm(site) => norms(r, site, |n| n.kind = NormKind::Rms),
        QkNormMissing(which, layers) => {
            if which != Which::K {
                norms(r, Site("q_norm", layers), |n| n.law = NormLaw::Missing);
            }
            if which != Which::Q {
                norms(r, Site("k_norm", layers), |n| n.law = NormLaw::Missing);
            }
        }
        QkNormWrongAxis(layers) => {
            for site in ["q_norm", "k_norm"] {
                norms(r, Site(site, layers), |n| n.law = NormLaw::WholeRow);
            }
        }

        WeightTransposed(site) => {
            for (key, m) in w.iter_mut().filter(|(k, _)| site.covers(k)) {
                assert_eq!(m.rows, m.cols, "{key} is not square");
                *m = m.transposed();
            }
        }
        WrongLayerWeight(key, from) => {
            let other = w[from].clone();
            assert_eq!(
                (other.rows, other.cols),
                (w[key].rows, w[key].cols),
                "{from} does not fit {key}"
            );
            w.insert(key.into(), other);
        }
        WeightQuantisationError(key, levels) => {
            let m = weight(w, key);
            m.data
                .chunks_mut(m.cols)
                .for_each(|row| on_grid(row, levels));
        }
        BiasMissing(stages, layers) => biases(w, stages, layers, 0.0),
        BiasDoubled(stages, layers) => biases(w, stages, layers, 2.0),
        QkSwapped(layers) => at(r, layers, |l| l.qkv_order = [1, 0, 2]),
        KvSwapped(layers) => at(r, layers, |l| l.qkv_order = [0, 2, 1]),
        FusedQkvOrder(order, layers) => at(r, layers, |l| l.qkv_order = order),
        FusedQkvLayout(layout, layers) => at(r, layers, |l| l.fused = layout),
        QkWeightPermuted(layers) => permute_qk(c, w, layers),
        QkWeightPermutedRightly => {
            permute_qk(c, w, Layers::All);
            rotation(r, Layers::All, |t| t.rope.interleaved = true);
        }
        GqaHeadMapping(layers) => at(r, layers, |l| l.tiled_kv = true),
        HeadSplitOrder(which, layers) => at(r, layers, |l| {
            l.split_swapped = match which {
                Which::Q => [true, false, false],
                Which::K => [false, true, false],
                Which::V => [false, false, true],
                Which::Both => [true; 3],
            }
        }),
        HeadMergeOrder(layers) => at(r, layers, |l| l.merge_swapped = true),
        _ => inject_later(fault, c, w, r),
    }
}

fn inject_later(fault: &Fault, c: &Config, w: &mut Weights, r: &mut Recipe) {
    use Fault::*;
    match *fault {
        RopeInterleaved(layers) => {
            rotation(r, layers, |t| t.rope.interleaved = !t.rope.interleaved)
        }
        RopeTheta(theta, layers) => rotation(r, layers, |t| t.rope.theta = theta),
        RopeScalingMissing(layers) => rotation(r, layers, |t| t.rope.scaling = RopeScaling::None),
        RopePositionOffset(by, layers) => rotation(r, layers, |t| t.offset = by),
        RopeSign(layers) => rotation(r, layers, |t| t.sign = -1.0),
        RopePartial(dims, layers) => rotation(r, layers, |t| t.rope.dims = dims),
        RopeMissing(which, layers) => rotation(r, layers, |t| {
            t.on_q &= which == Which::K;
            t.on_k &= which == Which::Q;
        }),

        AttentionScale(factor, layers) => at(r, layers, |l| {
            l.scale = match factor {
                Factor::Missing => 1.0,
                Factor::InverseDim => 1.0 / c.head_dim as f64,
                Factor::InverseRootHidden => 1.0 / (c.hidden as f64).sqrt(),
                Factor::Twice => l.scale * l.scale,
                Factor::Times(x) => l.scale * x,
            }
        }),
        AttentionSoftcapMissing(layers) => at(r, layers, |l| l.softcap = None),
        CausalMaskMissing(layers) => at(r, layers, |l| l.ahead = None),
        CausalMaskOffByOne(by, layers) => at(r, layers, |l| l.ahead = Some(by)),
        PaddingMaskIgnored(layers) => at(r, layers, |l| l.padding_mask = false),
        SlidingWindowIgnored(layers) => at(r, layers, |l| l.window = None),
        SlidingWindowWrong(WrongWindow::Width(width), layers) => {
            at(r, layers, |l| l.window = l.window.map(|_| width));
        }
        SlidingWindowWrong(WrongWindow::OtherLayers, layers) => {
            at(r, layers, |l| {
                l.window = if l.window.is_some() { None } else { c.window }
            });
        }
        SoftmaxAxis(layers) => at(r, layers, |l| l.softmax = super::recipe::Softmax::Columns),
        SoftmaxNotNormalised(layers) => at(r, layers, |l| {
            l.softmax = super::recipe::Softmax::NoDivision
        }),
        NanFullyMaskedRow(layers) => at(r, layers, |l| l.mask_fill = f64::NEG_INFINITY),
        TileTailUnwritten(key, tile) => patch(r, key, Patch::TailZero(tile)),
        KvCachePosition(by) => r.decode_offset = by,
        KvCacheStale(how) => r.cache = how,

        ResidualMissing(site) => residual(r, site, Residual::BranchOnly),
        ResidualDoubled(site) => residual(r, site, Residual::InputDoubled),
        ResidualSign(site) => residual(r, site, Residual::Minus),
        ResidualFromNormed(site) => residual(r, site, Residual::FromNormed),
        ResidualWrongSource(Site(stage, layers)) => at(r, layers, |l| match stage {
            "mlp_norm" => l.norm_before_attention = true,
            _ => l.sum_before_attention = true,
        }),
        BranchDoubled(site) => residual(r, site, Residual::BranchDoubled),
        GateUpSwapped(layers) => (0..c.layers).filter(|&l| layers.contains(l)).for_each(|l| {
            for suffix in ["", ".bias"] {
                let [gate, up] =
                    ["gate_proj", "up_proj"].map(|s| format!("layers.{l}.{s}{suffix}"));
                if let (Some(a), Some(b)) = (w.remove(&gate), w.remove(&up)) {
                    w.insert(gate, b);
                    w.insert(up, a);
                }
            }
        }),
        ActivationOnWrongBranch(layers) => at(r, layers, |l| l.act_on_up = true),
        WrongActivation(act, layers) => at(r, layers, |l| l.act = act),
        GeluVariant(layers) => at(r, layers, |l| {
            l.act = if l.act == Activation::GeluErf {
                Activation::GeluTanh
            } else {
                Activation::GeluErf
            };
        }),
        ActivationMissing(layers) => at(r, layers, |l| l.act = Activation::Identity),
        LmHeadTiedWrongly => {
            let table = w["tok_embed"].clone();
            w.insert("lm_head".into(), table);
        }
        LogitSoftcapMissing => r.logit_softcap = None,
        LogitScaleMissing => r.logit_scale = 1.0,

        Fp16Overflow => r.overflow = true,
        Fp16OverflowAt(key, saturated) => patch(
            r,
            key,
            if saturated {
                Patch::Saturate
            } else {
                Patch::Overflow
            },
        ),
        PrecisionLoss(key, bits) => patch(r, key, Patch::Mantissa(bits)),
        DropoutActive(key, p) => patch(r, key, Patch::Dropout(p)),

        BufferAliased(how, layers) => match how {
            Aliasing::NormInPlace => at(r, layers, |l| l.attn_residual = Residual::FromNormed),
            Aliasing::BranchOverStream => at(r, layers, |l| l.mlp_residual = Residual::BranchTwice),
            Aliasing::StreamOverBranch => at(r, layers, |l| l.mlp_residual = Residual::InputTwice),
            Aliasing::Shared { at, holds } => {
                for l in (0..c.layers).filter(|&l| layers.contains(l)) {
                    r.patches
                        .insert(format!("layers.{l}.{at}"), Patch::Stale(holds));
                }
            }
        },
        StaleBuffer(key, holds) => patch(r, key, Patch::Stale(holds)),
        BatchOffset(key, repeated) => {
            patch(
                r,
                key,
                if repeated {
                    Patch::FirstBatchRepeated
                } else {
                    Patch::FirstBatchOnly
                },
            );
        }
        // What is left concerns the dump, not the computation.
        _ => {}
    }
}

fn norm_keys(r: &Recipe, site: Site) -> Vec<String> {
    r.norms.keys().filter(|k| site.covers(k)).cloned().collect()
}

fn norms(r: &mut Recipe, site: Site, edit: impl Fn(&mut super::recipe::Norm)) {
    r.norms
        .iter_mut()
        .filter(|(k, _)| site.covers(k))
        .for_each(|(_, n)| edit(n));
}

fn at(r: &mut Recipe, layers: Layers, edit: impl Fn(&mut Layer)) {
    r.layers
        .iter_mut()
        .enumerate()
        .filter(|(i, _)| layers.contains(*i))
        .for_each(|(_, l)| edit(l));
}

fn rotation(r: &mut Recipe, layers: Layers, edit: impl Fn(&mut super::recipe::Rotation)) {
    at(r, layers, |l| l.rotation.iter_mut().for_each(&edit));
}

/// `Site("attn_residual", …)` is the sum after attention, anything else the one after the MLP.
fn residual(r: &mut Recipe, site: Site, how: Residual) {
    at(r, site.1, |l| match site.0 {
        "attn_residual" => l.attn_residual = how,
        _ => l.mlp_residual = how,
    });
}

fn patch(r: &mut Recipe, key: &str, patch: Patch) {
    r.patches.insert(key.into(), patch);
}

fn weight<'a>(w: &'a mut Weights, key: &str) -> &'a mut Matrix {
    w.get_mut(key).unwrap_or_else(|| panic!("no weight {key}"))
}

fn fill(w: &mut Weights, key: &str, value: f64) {
    if let Some(m) = w.get_mut(key) {
        m.data.fill(value);
    }
}

fn biases(w: &mut Weights, stages: &[&'static str], layers: Layers, factor: f64) {
    for stage in stages {
        let site = Site(stage, layers);
        let mut hit = 0;
        for (_, m) in w
            .iter_mut()
            .filter(|(k, _)| k.strip_suffix(".bias").is_some_and(|k| site.covers(k)))
        {
            m.data.iter_mut().for_each(|x| *x *= factor);
            hit += 1;
        }
        assert!(hit > 0, "no bias at {stage}");
    }
}

/// llama.cpp's conversion: within a head, the two halves are shuffled into adjacent pairs.
pub fn permute_qk(c: &Config, w: &mut Weights, layers: Layers) {
    let half = c.head_dim / 2;
    for l in (0..c.layers).filter(|&l| layers.contains(l)) {
        for (stage, heads) in [("q_proj", c.heads), ("k_proj", c.kv_heads)] {
            let from: Vec<usize> = (0..heads * c.head_dim)
                .map(|i| {
                    let (head, channel) = (i / c.head_dim, i % c.head_dim);
                    head * c.head_dim + channel / 2 + (channel % 2) * half
                })
                .collect();
            let key = format!("layers.{l}.{stage}");
            let permuted = w[&key].gather(&from);
            w.insert(key.clone(), permuted);
            if let Some(bias) = w.get(&format!("{key}.bias")) {
                let permuted = bias.transposed().gather(&from).transposed();
                w.insert(format!("{key}.bias"), permuted);
            }
        }
    }
}
