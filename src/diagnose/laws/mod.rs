//! What an operation must obey: the law that connects a stage with its inputs, fitted on each side by itself.

mod activation;
pub mod attention;
mod branch_point;
mod embedding;
mod logits;
pub mod norm;
mod residual;
pub mod rope;
mod split;
mod stream;
#[cfg(test)]
pub(crate) mod toy;
mod trial;

use super::{Array, Site, Suspicion};
use crate::name::Stage;

/// A law fitted on one side: its parameters, and the relative error it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// In words, with parameters: `RMSNorm, eps 1e-6`.
    pub text: String,
    pub parameters: Vec<(&'static str, serde_json::Value)>,
    pub residual: f64,
}

/// What a law is asked about: one output of both sides.
pub struct Both<'a> {
    pub reference: Site<'a>,
    pub candidate: Site<'a>,
    pub output: Stage,
    /// The relative error that rounding may explain.
    pub noise: f64,
}

impl<'a> Both<'a> {
    pub fn new(reference: Site<'a>, candidate: Site<'a>, output: Stage, noise: f64) -> Both<'a> {
        Both {
            reference,
            candidate,
            output,
            noise,
        }
    }

    /// Reference, candidate, output and noise.
    fn parts(&self) -> (&Site<'a>, &Site<'a>, Stage, f64) {
        (&self.reference, &self.candidate, self.output, self.noise)
    }
}

/// The error of a candidate's output when its input is replaced and the reference's law holds; `None` where sizes do not fit.
pub(crate) type Replay = Box<dyn Fn(&Array) -> Option<f64>>;

/// One operation of the model.
pub trait Law: Sync {
    fn id(&self) -> &'static str;
    /// The stages whose values the law explains.
    fn outputs(&self) -> &'static [Stage];
    /// Fits the law at `output` on one side alone; `None` when inputs are missing or nothing fits, and of laws that show
    /// only between two sides.
    fn fit(&self, _site: &Site<'_>, _output: Stage) -> Option<Fit> {
        None
    }
    /// Fits both sides and says what the difference of the two fits means. Each side uses its own inputs, so inherited
    /// error does not count.
    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        self.suspect(both).into_iter().collect()
    }
    /// What a law has to say that knows one fault at most.
    fn suspect(&self, _both: &Both<'_>) -> Option<Suspicion> {
        None
    }
}

/// Every law.
pub const LAWS: &[&dyn Law] = &[
    &embedding::EmbeddingLaw,
    &norm::NormLaw,
    &rope::order::HeadOrder,
    &rope::Rope,
    &split::Split,
    &attention::SCORES,
    &attention::SOFTMAX,
    &attention::CONTEXT,
    &attention::cache::KvCache,
    &attention::padding::PaddedRows,
    &residual::ResidualLaw,
    &stream::HiddenStream,
    &branch_point::BranchPoint,
    &activation::ActivationLaw,
    &logits::LogitsLaw,
];
