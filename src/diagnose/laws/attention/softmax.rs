//! attn_weights: softmax over the keys of the scores, or of scale · Q·Kᵀ where no scores were dumped.

use super::super::{Fit, Law};
use crate::diagnose::{Site, Suspicion};
use crate::name::Stage;

/// Weights from the scores: axis and division of the softmax, scale, mask.
pub struct Softmax;

impl Law for Softmax {
    fn id(&self) -> &'static str {
        "softmax"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::AttnWeights]
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
