//! The output head: logits = cap · tanh(m · final_norm · Wᵀ / cap), where cap and m are there in some models only.
//!
//! W is not dumped, but in a tied model it is the embedding: the column of id v is then final_norm · E[v] for every token whose
//! row is known. A cap and a factor show element by element, with one parameter each.

mod cap;

use super::embedding::Head;
use super::trial::Trial;
use super::{Fit, Law, Site, Suspicion};
use crate::causes::{self, Cause};
use crate::diagnose::Array;
use crate::diagnose::laws::Both;
use crate::math::Sums;
use crate::name::Stage;
use crate::text::factor;
use crate::text::rough;
use serde_json::json;

/// Tokens whose columns are looked up.
const TOKENS: usize = 12;
/// Elements that a cap is fitted on.
const ELEMENTS: usize = 1 << 16;
/// Columns of a tied head fit at least this well (up to rounding, a cap, a coarse arithmetic).
const TIED: f64 = 0.05;

pub struct LogitsLaw;

impl Law for LogitsLaw {
    fn id(&self) -> &'static str {
        "logits"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::LOGITS]
    }

    fn fit(&self, site: &Site<'_>, _: Stage) -> Option<Fit> {
        let tied = Tied::of(site)?;
        (tied.worst < TIED).then(|| Fit {
            text: "output head tied to the embedding".into(),
            parameters: vec![("tied", json!(true)), ("ids", json!(tied.ids))],
            residual: tied.worst,
        })
    }

    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let (Some(r), Some(c)) = (reference.dumped(output), candidate.dumped(output)) else {
            return Vec::new();
        };
        if r.data.len() != c.data.len() {
            return Vec::new();
        }
        let before = c.distance(&r);
        // from each side's own tensors where the head is tied, which inherited error does not blur; else from both logits
        let capped = cap::missing(reference, candidate)
            .filter(|f| f.trial.convinces(noise))
            .or_else(|| capped(&r, &c, before))
            .filter(|f| f.trial.convinces(noise));
        // columns that a cap bent are no multiples of a tied head's, whatever the head is
        let tied = if capped.is_some() {
            None
        } else {
            tied(reference, candidate, before)
        };
        let found = [tied, capped, scaled(&r, &c, before)];
        let suspicion = |f: Finding| Suspicion {
            cause: f.cause,
            key: candidate.key(output),
            title: f.title,
            before: f.trial.before,
            after: f.trial.after,
            evidence: vec![format!("{}: {}", f.what, f.trial.text())],
        };
        found
            .into_iter()
            .flatten()
            .filter(|f| f.trial.convinces(noise))
            .map(suspicion)
            .collect()
    }
}

struct Finding {
    cause: &'static Cause,
    title: String,
    what: String,
    trial: Trial,
}

/// Which ids the known embedding rows have, by the columns of the logits.
struct Tied {
    ids: Vec<usize>,
    worst: f64,
}

impl Tied {
    fn of(site: &Site<'_>) -> Option<Tied> {
        Tied::with(site, embedding(site)?)
    }

    /// By rows of the table that may come from the other side's dump: the ids are the same.
    fn with(site: &Site<'_>, rows: Array) -> Option<Tied> {
        let head = Head::new(site)?;
        let known = site
            .dumped(Stage::INPUT_IDS)
            .filter(|ids| ids.data.len() == rows.rows().len());
        let mut found = Tied {
            ids: Vec::new(),
            worst: 0.0,
        };
        for (i, row) in rows.rows().enumerate().take(TOKENS) {
            let column = head.column(row);
            let (id, error) = match &known {
                Some(ids) if ids.data[i] >= 0.0 => (
                    ids.data[i] as usize,
                    head.error(&column, ids.data[i] as usize)?,
                ),
                _ => head.id(&column)?,
            };
            found.ids.push(id);
            found.worst = found.worst.max(error);
        }
        (!found.ids.is_empty()).then_some(found)
    }
}

/// Rows of the token table, up to a constant factor.
fn embedding(site: &Site<'_>) -> Option<Array> {
    let position = site.scene.find(&site.key(Stage::POS_EMBED)).is_some();
    site.dumped(Stage::TOK_EMBED)
        .or_else(|| site.tap(Stage::EMBED).filter(|_| !position))
}

fn tied(reference: &Site<'_>, candidate: &Site<'_>, before: f64) -> Option<Finding> {
    let other = |own: &Site<'_>, other: &Site<'_>| embedding(own).or_else(|| embedding(other));
    let r = Tied::with(reference, other(reference, candidate)?)?;
    let c = Tied::with(candidate, other(candidate, reference)?)?;
    (c.worst < TIED && r.worst > 4.0 * TIED).then(|| Finding {
        cause: causes::LM_HEAD_TIED_WRONGLY,
        title: "the candidate's output head is the embedding; the reference's is another matrix".into(),
        what: format!(
            "final_norm times the embedding rows of {} tokens are the candidate's logits of ids {:?} (the reference's differ by {})",
            c.ids.len(),
            c.ids,
            rough(r.worst)
        ),
        trial: Trial { before, after: c.worst },
    })
}

/// r = cap · tanh(c / cap).
fn capped(r: &Array, c: &Array, before: f64) -> Option<Finding> {
    let largest = |a: &Array| {
        a.data
            .iter()
            .filter(|x| x.is_finite())
            .fold(0.0f64, |m, x| m.max(x.abs()))
    };
    let (top_r, top_c) = (largest(r), largest(c));
    if top_r.is_nan() || top_r <= 0.0 || top_c <= top_r {
        return None;
    }
    let (whole_r, whole_c) = (r, c);
    let (r, c) = (&sample(r), &sample(c));
    let left = |log: f64| c.map(|x| log.exp() * (x / log.exp()).tanh()).distance(r);
    let (low, high) = (top_r.ln(), (50.0 * top_c).ln());
    let cap = minimum(left, low, high);
    let round = cap.exp().round();
    let cap = if left(round.ln()) <= 1.5 * left(cap) {
        round
    } else {
        cap.exp()
    };
    Some(Finding {
        cause: causes::LOGIT_SOFTCAP_MISSING,
        title: format!(
            "the reference's logits are capped at {} by tanh, the candidate's are not",
            rough(cap)
        ),
        what: format!(
            "{} · tanh(logits / {}) of the candidate",
            rough(cap),
            rough(cap)
        ),
        trial: Trial {
            before,
            after: whole_c.map(|x| cap * (x / cap).tanh()).distance(whole_r),
        },
    })
}

/// Evenly taken elements.
fn sample(a: &Array) -> Array {
    let stride = a.data.len().div_ceil(ELEMENTS).max(1);
    let data: Vec<f64> = a.data.iter().step_by(stride).copied().collect();
    Array::new(vec![data.len()], data)
}

/// c = s · r.
fn scaled(r: &Array, c: &Array, before: f64) -> Option<Finding> {
    let sums: Sums = r.data.iter().zip(&*c.data).collect();
    let s = sums.product / sums.a;
    (s.is_finite() && s > 0.0).then(|| Finding {
        cause: causes::LOGIT_SCALE_MISSING,
        title: format!(
            "the candidate's logits are {} times the reference's",
            factor(s)
        ),
        what: format!("one factor {} for all logits", factor(s)),
        trial: Trial {
            before,
            after: c.distance(&r.map(|x| s * x)) / s.max(1.0),
        },
    })
}

/// The place of the least value, by a grid and golden-section steps.
fn minimum(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    let at = |i: usize| low + (high - low) * i as f64 / 40.0;
    let best = (0..=40)
        .min_by(|a, b| f(at(*a)).total_cmp(&f(at(*b))))
        .unwrap_or(0);
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(40)));
    for _ in 0..40 {
        let third = (high - low) / 3.0;
        if f(low + third) <= f(high - third) {
            high -= third
        } else {
            low += third
        }
    }
    (low + high) / 2.0
}
