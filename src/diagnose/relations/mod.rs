//! Hypotheses about the two tensors of one pair: does the candidate become the reference when something is undone?

mod bytes;
mod elsewhere;
mod gram;
mod matching;
pub mod noise;
pub mod normed;
mod offset;
pub mod permute;
mod rounded;
pub mod scale;
mod slices;
mod transpose;
mod weights;
mod zeros;

#[cfg(test)]
mod fixture;

use super::{Array, Scene, Side, Site, Suspicion};
use crate::causes::Cause;
use crate::compare::FILLING;
use crate::math::{Sums, sums};
use crate::name::{Key, Stage};
use crate::text::short;
use std::sync::OnceLock;

/// The two tensors of a pair that differs, in the same axes.
pub struct Case<'a> {
    pub scene: &'a Scene<'a>,
    pub key: &'a Key,
    pub reference: &'a Array,
    pub candidate: &'a Array,
    /// Relative error of the pair, and what rounding may explain.
    pub error: f64,
    pub noise: f64,
    /// Whether the difference looks like rounding: several hypotheses ask.
    pub looks_like_noise: OnceLock<Option<noise::NoiseEvidence>>,
}

/// One hypothesis (or a family of like ones).
pub trait Relation: Sync {
    fn id(&self) -> &'static str;
    /// Every variant that explains a good part of the difference.
    fn test(&self, case: &Case<'_>) -> Vec<Suspicion>;
}

/// Every relation, the sharper ones first.
pub const RELATIONS: &[&dyn Relation] = &[
    &zeros::Zeros,
    &bytes::Bytes,
    &elsewhere::Elsewhere,
    &normed::Normed,
    &permute::Permute,
    &transpose::Transpose,
    &offset::Offset,
    &scale::Scale,
    &weights::Weights,
    &rounded::Rounded,
    &slices::Slices,
];

/// A hypothesis explains a difference when it leaves less than this part of it.
const EXPLAINS: f64 = 0.35;
/// Rounding excuses what is left, but something must have been explained.
const BARELY: f64 = 0.75;
/// What a hypothesis is said to leave when it holds by elimination only, or says where but not why: a confidence of one half.
const UNPROVED: f64 = 0.25;

impl<'a> Case<'a> {
    fn stage(&self) -> Option<Stage> {
        self.key.stage
    }

    fn is(&self, stages: &[Stage]) -> bool {
        self.key.stage.is_some_and(|s| stages.contains(&s))
    }

    fn site(&self, side: Side) -> Site<'a> {
        self.scene.site(side, self.key)
    }

    /// Both sides with mask fillings replaced by NaN, which every measure leaves out.
    fn visible(&self) -> (Array, Array) {
        if !self.is(&[Stage::ATTN_SCORES]) {
            return (self.reference.clone(), self.candidate.clone());
        }
        let hidden = |x: f64| x < FILLING;
        let clear = |own: &Array, other: &Array| {
            own.zip(
                other,
                |a, b| {
                    if hidden(a) || hidden(b) { f64::NAN } else { a }
                },
            )
            .unwrap_or_else(|| own.clone())
        };
        (
            clear(self.reference, self.candidate),
            clear(self.candidate, self.reference),
        )
    }

    /// Values per token: the last axis, or heads × channels.
    fn features(&self) -> usize {
        features(self.reference)
    }

    /// Both sides as `[tokens, features]`; `None` for scores and ids, which have no such axes.
    fn by_token(&self) -> Option<(Array, Array)> {
        use crate::graph::known::*;
        if self.is(&[
            INPUT_IDS,
            POSITION_IDS,
            ATTENTION_MASK,
            ATTN_QK,
            ATTN_SCORES,
            ATTN_WEIGHTS,
        ]) || self.reference.shape.len() < 2
        {
            return None;
        }
        let width = self.features();
        Some((
            self.reference.with_width(width)?,
            self.candidate.with_width(width)?,
        ))
    }

    /// A suspicion about this pair, if it leaves little enough of the difference.
    fn suspect(
        &self,
        cause: &'static Cause,
        title: String,
        before: f64,
        after: f64,
        evidence: Vec<String>,
    ) -> Option<Suspicion> {
        let left = (after - self.noise).max(0.0);
        // what rounding explains needs no hypothesis; written so that NaN explains nothing
        let explains =
            before > self.noise && left < EXPLAINS * before.min(1e6) && after < BARELY * before;
        explains.then(|| Suspicion {
            cause,
            key: self.key.clone(),
            title,
            before,
            after,
            evidence,
        })
    }

    /// Whether the last tensor computed from this one agrees: what stands here was not used.
    fn downstream_agrees(&self) -> bool {
        let place = |k: &Key| {
            (
                k.layer
                    .unwrap_or(if k.stage.is_some_and(|s| s > Stage::OUTPUT) {
                        u32::MAX
                    } else {
                        0
                    }),
                k.stage,
            )
        };
        let here = place(self.key);
        let last = self
            .scene
            .pairs
            .iter()
            .enumerate()
            .filter(|(_, p)| {
                p.key.tower() == self.key.tower()
                    && p.key.step == self.key.step
                    && p.key.rank == self.key.rank
                    && p.key.stage.is_some()
                    && place(&p.key) > here
            })
            .filter_map(|(i, p)| Some((place(&p.key), self.scene.errors.get(i).copied()??)))
            .max_by_key(|(place, ..)| *place);
        let bound = (0.01 * self.error).max((4.0 * self.noise).min(0.25 * self.error));
        last.is_some_and(|(_, error)| error <= bound)
    }

    /// What a hypothesis by elimination is said to leave, beside rounding.
    fn unproved(&self, before: f64) -> f64 {
        UNPROVED * before + self.noise
    }

    /// The index of this pair in the scene.
    fn index(&self) -> Option<usize> {
        self.scene.find(self.key)
    }

    /// What this projection was computed from, on both sides.
    fn projection_inputs(&self) -> Option<(Array, Array)> {
        let stage = self.stage()?;
        let input = |side| projection_input(&self.site(side), stage);
        let (r, c) = (input(Side::Reference)?, input(Side::Candidate)?);
        let flat = |a: Array| a.with_width(features(&a));
        Some((flat(r)?, flat(c)?))
    }
}

/// Values per token of an array in canonical axes.
fn features(a: &Array) -> usize {
    match a.shape.as_slice() {
        [_, _, h, d] => h * d,
        [.., w] => *w,
        [] => 1,
    }
    .max(1)
}

/// The input of a projection, where it was dumped or can be derived; in post-norm models that is the stream itself.
fn projection_input(site: &Site<'_>, stage: Stage) -> Option<Array> {
    use crate::graph::known::*;
    let first = |stages: &[Stage]| stages.iter().find_map(|s| site.tap(*s));
    match stage {
        QKV_PROJ | Q_PROJ | K_PROJ | V_PROJ => first(&[ATTN_NORM]).or_else(|| {
            let post_norm = site.scene.find(&site.key(ATTN_OUT_NORM)).is_some();
            let normed = site
                .scene
                .tower(site.tower)
                .any(|p| p.key.stage == Some(ATTN_NORM));
            (post_norm || !normed).then(|| site.tap(INPUT)).flatten()
        }),
        O_PROJ => first(&[ATTN_CTX]),
        GATE_PROJ | UP_PROJ => first(&[MLP_NORM, ATTN_OUT_NORM, ATTN_NORM]),
        DOWN_PROJ => first(&[MLP_MID]).or_else(|| {
            let gated = site
                .scene
                .tower(site.tower)
                .any(|p| p.key.stage == Some(GATE_PROJ));
            (!gated).then(|| site.tap(ACT)).flatten()
        }),
        LOGITS => first(&[FINAL_NORM]),
        _ => None,
    }
}

/// The sums of every slice along one axis of two arrays of one shape; the reference is the first.
pub fn along(r: &Array, c: &Array, axis: usize) -> Vec<Sums> {
    let n = r.shape[axis];
    let inner: usize = r.shape[axis + 1..].iter().product();
    let mut slices = vec![Sums::default(); n];
    if inner * n == 0 {
        return slices;
    }
    for (r, c) in r.data.chunks(n * inner).zip(c.data.chunks(n * inner)) {
        if inner == 1 {
            for ((slice, r), c) in slices.iter_mut().zip(r).zip(c) {
                slice.add(*r, *c);
            }
        } else {
            for ((slice, r), c) in slices.iter_mut().zip(r.chunks(inner)).zip(c.chunks(inner)) {
                slice.append(&sums(r, c));
            }
        }
    }
    slices
}

/// Evidence in the usual words.
fn undone(what: &str, before: f64, after: f64) -> String {
    format!(
        "{what}: relative error {} → {}",
        short(before),
        short(after)
    )
}

#[cfg(test)]
mod tests {
    use super::fixture::{Dumps, noisy, stream};
    use super::*;

    #[test]
    fn healthy_noise_raises_no_suspicion() {
        for stage in [
            Stage::EMBED,
            Stage::ATTN_NORM,
            Stage::Q_PROJ,
            Stage::O_PROJ,
            Stage::OUTPUT,
            Stage::LOGITS,
        ] {
            for level in [1e-6, 1e-3, 1e-2] {
                let r = stream(12, 64, 5);
                let c = noisy(&r, level, 6);
                let dumps = Dumps::default().with(0, stage, r, c);
                dumps.case(0, stage, |case| {
                    let named: Vec<_> = RELATIONS
                        .iter()
                        .flat_map(|r| r.test(case))
                        // noise at one stage alone is coarser arithmetic there, which is what these two say
                        .filter(|s| {
                            !["precision_loss", "weight_quantisation_error"].contains(&s.cause.id)
                        })
                        .collect();
                    assert!(named.is_empty(), "{stage} {level}: {named:?}");
                });
            }
        }
    }
}
