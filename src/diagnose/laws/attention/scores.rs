//! attn_qk and attn_scores: scale · Q·Kᵀ, soft-capped and masked.

use super::super::{Fit, Law};
use crate::diagnose::{Site, Suspicion};
use crate::name::Stage;

/// Scores from q_rope and k_rope (or q_proj and k_proj): scale, soft cap, mask, key/value head of each query head.
pub struct Scores;

impl Law for Scores {
    fn id(&self) -> &'static str {
        "attention_scores"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::AttnQk, Stage::AttnScores]
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        super::lawful(site, output)
    }

    fn diagnose(
        &self,
        reference: &Site<'_>,
        candidate: &Site<'_>,
        output: Stage,
        noise: f64,
    ) -> Vec<Suspicion> {
        super::diagnose(reference, candidate, output, noise)
    }
}
