//! Q and K whose channels the weights re-ordered within each head.
//!
//! convert_hf_to_gguf.py interleaves the halves of every head of a Llama's Q and K, because llama.cpp turns adjacent pairs there.
//! With the pairs that belong to the order the scores are the same: another layout. With the other pairs they are wrong.

use super::Law;
use super::permutation::Permutation;
use super::rotation::{Pairing, Rotation};
use crate::causes;
use crate::diagnose::laws::Both;
use crate::diagnose::laws::attention;
use crate::diagnose::{Site, Suspicion};
use crate::name::Stage;

/// The order of the channels of Q and K within a head, against the pairs that RoPE turns.
pub struct HeadOrder;

/// Q or K of one side are the other side's, re-ordered, when less than this is left.
const SAME: f64 = 0.5;
/// Outputs of attention that are nearer than this agree.
const AGREES: f64 = 0.1;

impl Law for HeadOrder {
    fn id(&self) -> &'static str {
        "head_order"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::Q_PROJ, Stage::K_PROJ, Stage::Q_NORM, Stage::K_NORM]
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let (r, c) = (reference.dumped(output)?, candidate.dumped(output)?);
        if r.shape.len() != 4 || r.shape != c.shape {
            return None;
        }
        let (order, after) = Permutation::between(&r, &c, SAME)?;
        let before = c.distance(&r);
        if order == Permutation::None || before <= noise {
            return None;
        }
        let (harmless, why) = match (turned(reference, output), turned(candidate, output)) {
            (Some(a), Some(b)) => (
                order.of_pairing(a) == Some(b),
                format!("RoPE: reference {}, candidate {}", a.name(), b.name()),
            ),
            _ => agreement(reference, candidate)?,
        };
        let what = if matches!(output, Stage::Q_PROJ | Stage::Q_NORM) {
            "Q"
        } else {
            "K"
        };
        Some(Suspicion {
            cause: if harmless {
                causes::LAYOUT_PERMUTED
            } else {
                causes::QK_WEIGHT_PERMUTED
            },
            key: candidate.key(output),
            title: format!(
                "channels of the candidate's {what} are in another order: {}{}",
                order.text(),
                if harmless {
                    "; RoPE turns the pairs that belong to it, so nothing is wrong"
                } else {
                    ", but RoPE does not turn the pairs that belong to it"
                }
            ),
            before,
            after,
            evidence: vec![
                format!(
                    "the reference's channels re-ordered: relative error {before:.2e} → {after:.2e}"
                ),
                why,
            ],
        })
    }
}

/// The pairs that a side's RoPE turns.
fn turned(site: &Site<'_>, output: Stage) -> Option<Pairing> {
    let rope = match output {
        Stage::Q_PROJ | Stage::Q_NORM => Stage::Q_ROPE,
        _ => Stage::K_ROPE,
    };
    let of = |r: Rotation| (!r.is_identity()).then_some(r.pairing);
    match super::own(site, rope, None) {
        Some(found) => of(found.fitted.rotation),
        None => attention::rotation(site).and_then(of),
    }
}

/// Whether the nearest output of attention that both sides dumped agrees.
fn agreement(reference: &Site<'_>, candidate: &Site<'_>) -> Option<(bool, String)> {
    let stages = [
        Stage::ATTN_WEIGHTS,
        Stage::ATTN_CTX,
        Stage::O_PROJ,
        Stage::OUTPUT,
    ];
    stages.iter().find_map(|&stage| {
        let (r, c) = (reference.dumped(stage)?, candidate.dumped(stage)?);
        let d = c.distance(&r);
        Some((d < AGREES, format!("{stage}: relative error {d:.2e}")))
    })
}
