//! RMSNorm and LayerNorm: y = γ·x / √(mean(x²) + ε), or y = γ·(x − mean(x)) / √(var(x) + ε) + β.
//!
//! Each side's output is held against its own input. The reference gives γ, β, ε and the kind; every hypothesis about the
//! candidate changes one of them and predicts the candidate's output without any further freedom but ε.

mod case;
pub(in crate::diagnose) mod fit;
mod heads;
mod hypotheses;
pub(super) mod source;
mod unseen;

use super::{Fit, Law, Site, Suspicion};
use crate::diagnose::Array;
use crate::diagnose::laws::Both;
use crate::name::Stage;
use case::Case;
use fit::{Norm, Rows};
use serde_json::json;
use source::inputs;

/// A norm fitted to the reference has to explain it at least this well.
const FITS: f64 = 0.1;

pub struct NormLaw;

const OUTPUTS: &[Stage] = &[
    Stage::EMBED,
    Stage::ATTN_NORM,
    Stage::Q_NORM,
    Stage::K_NORM,
    Stage::Q_ROPE,
    Stage::K_ROPE,
    Stage::ATTN_POST_NORM,
    Stage::ATTN_OUT_NORM,
    Stage::MLP_NORM,
    Stage::MLP_POST_NORM,
    Stage::OUTPUT,
    Stage::FINAL_NORM,
];

impl Law for NormLaw {
    fn id(&self) -> &'static str {
        "norm"
    }

    fn outputs(&self) -> &'static [Stage] {
        OUTPUTS
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        let y = site.dumped(output)?;
        let fits = inputs(site, output)
            .into_iter()
            .filter_map(|x| best(&Rows::new(&x, &y, width(&x, &y, output)?)?, output));
        let norm = fits.min_by(|a, b| left(a).total_cmp(&left(b)))?;
        (left(&norm) < FITS).then(|| describe(&norm))
    }

    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let output = both.output;
        if matches!(output, Stage::Q_ROPE | Stage::K_ROPE) {
            return heads::skipped(both)
                .or_else(|| heads::unseen(both))
                .into_iter()
                .collect();
        }
        let Some(case) = Case::new(both) else {
            // no dumped tensor is its input; heads have no row of their own, and other outputs need not be norms
            if !may_be_plain(output) && !heads::is_per_head(output) {
                return unseen::suspicions(both);
            }
            return Vec::new();
        };
        case.suspicions(both)
    }
}

/// The error of the candidate's norm output from any input, under the reference's norm.
pub(super) fn replay(
    reference: &Site<'_>,
    candidate: &Site<'_>,
    output: Stage,
) -> Option<super::Replay> {
    let (y_r, y_c) = (reference.dumped(output)?, candidate.dumped(output)?);
    let fits = inputs(reference, output).into_iter().filter_map(|x| {
        let w = width(&x, &y_r, output)?;
        best(&Rows::new(&x, &y_r, w)?, output)
    });
    let norm = fits
        .min_by(|a, b| left(a).total_cmp(&left(b)))
        .filter(|n| left(n) < FITS)?;
    Some(Box::new(move |x| {
        let fits = x.data.len() == y_c.data.len() && x.data.len().is_multiple_of(norm.gamma.len());
        fits.then(|| crate::math::distance(&norm.apply(&x.data), &y_c.data))
    }))
}

/// Most models have no norm at these places.
fn may_be_plain(output: Stage) -> bool {
    matches!(output, Stage::EMBED | Stage::OUTPUT)
}

/// The best norm; where a model may have none, only one that fits better than a mere factor on every channel.
fn best(rows: &Rows, output: Stage) -> Option<Norm> {
    let norm = Norm::best(rows)?;
    (!may_be_plain(output) || norm.residual? < 0.3 * fit::linear(rows)?).then_some(norm)
}

fn left(norm: &Norm) -> f64 {
    norm.residual.unwrap_or(1.0)
}

pub(super) fn describe(norm: &Norm) -> Fit {
    let mean = norm.gamma.iter().sum::<f64>() / norm.gamma.len().max(1) as f64;
    Fit {
        text: norm.text(),
        parameters: vec![
            ("kind", json!(norm.form.kind.name())),
            ("eps", json!(norm.eps.value)),
            ("eps_range", json!([norm.eps.low, norm.eps.high])),
            ("bias", json!(norm.form.bias)),
            ("gamma_mean", json!(mean)),
        ],
        residual: left(norm),
    }
}

/// The length of a row: that of the last axis, or for a flat tensor the divisor with which a norm fits best.
fn width(x: &Array, y: &Array, output: Stage) -> Option<usize> {
    if heads::is_per_head(output) {
        return heads::best_width(x, y, &heads::widths(y));
    }
    if y.shape.len() > 1 {
        return Some(y.width());
    }
    let n = y.data.len();
    let divisors: Vec<usize> = (8..=n / 2).filter(|w| n.is_multiple_of(*w)).collect();
    heads::best_width(x, y, &divisors)
}
