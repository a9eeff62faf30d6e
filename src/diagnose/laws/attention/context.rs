//! attn_ctx: weights · V with the heads merged; from scores, or from Q and K, where no weights were dumped.

use super::super::{Fit, Law};
use crate::diagnose::{Site, Suspicion};
use crate::name::Stage;

/// Context from weights and V: value head of each query head, order of merging, and all that lies before when less was dumped.
pub struct Context;

impl Law for Context {
    fn id(&self) -> &'static str {
        "attention_context"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::AttnCtx]
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
