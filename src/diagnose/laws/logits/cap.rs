//! The cap of a tied head from each side's own tensors: logits = cap · tanh(z / cap), z = final_norm · embedding row.
//!
//! The rows of the tokens in the input are known, so z is, and error that was inherited does not count.

use super::super::embedding::Head;
use super::super::trial::Trial;
use super::{Finding, TOKENS, embedding, minimum};
use crate::causes;
use crate::diagnose::{Array, Site};
use crate::math::distance;
use crate::name::Stage;
use crate::text::rough;

/// What a law may leave of its own side's logits.
const FITS: f64 = 0.02;

/// Products of the head and the logits of the same ids.
struct Known {
    z: Vec<f64>,
    logits: Vec<f64>,
}

impl Known {
    fn new(site: &Site<'_>, rows: &Array) -> Option<Known> {
        let head = Head::new(site)?;
        let ids = site
            .dumped(Stage::INPUT_IDS)
            .filter(|ids| ids.data.len() == rows.rows().len());
        let mut known = Known {
            z: Vec::new(),
            logits: Vec::new(),
        };
        for (i, row) in rows.rows().enumerate().take(TOKENS) {
            let column = head.column(row);
            let id = match &ids {
                Some(ids) if ids.data[i] >= 0.0 => ids.data[i] as usize,
                _ => head.id(&column)?.0,
            };
            known.logits.extend(head.logits(id, column.len())?);
            known.z.extend(column);
        }
        (!known.z.is_empty()).then_some(known)
    }

    /// The factor between the products and logits that are not bent: a table may have been dumped behind its multiplier.
    fn slope(&self) -> f64 {
        let pairs = || self.z.iter().zip(&self.logits);
        let zz: f64 = pairs().map(|(z, _)| z * z).sum();
        pairs().map(|(z, l)| z * l).sum::<f64>() / zz
    }

    fn scaled(mut self, factor: f64) -> Known {
        self.z.iter_mut().for_each(|z| *z *= factor);
        self
    }

    fn plain(&self) -> f64 {
        distance(&self.z, &self.logits)
    }

    fn capped(&self, cap: f64) -> f64 {
        let bent: Vec<f64> = self.z.iter().map(|z| cap * (z / cap).tanh()).collect();
        distance(&bent, &self.logits)
    }
}

/// The reference caps the logits of its tied head, the candidate does not.
pub fn missing(reference: &Site<'_>, candidate: &Site<'_>) -> Option<Finding> {
    let rows = |own: &Site<'_>, other: &Site<'_>| embedding(own).or_else(|| embedding(other));
    let r = Known::new(reference, &rows(reference, candidate)?)?;
    let c = Known::new(candidate, &rows(candidate, reference)?)?;
    let slope = c.slope();
    let (r, c) = (r.scaled(slope), c.scaled(slope));
    let top = r.logits.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let cap = minimum(|log| r.capped(log.exp()), top.ln(), (50.0 * top).ln()).exp();
    let fits = r.capped(cap) < FITS && r.capped(cap) < 0.3 * r.plain();
    let trial = Trial {
        before: c.capped(cap),
        after: c.plain(),
    };
    (fits && trial.after < FITS).then(|| Finding {
        cause: causes::LOGIT_SOFTCAP_MISSING,
        title: format!(
            "the reference's logits are capped at {} by tanh, the candidate's are not",
            rough(cap)
        ),
        what: format!(
            "final_norm times known embedding rows, without the cap at {}, against the candidate's logits",
            rough(cap)
        ),
        trial,
    })
}
