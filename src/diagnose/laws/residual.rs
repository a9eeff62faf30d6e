//! Residual sums: what leaves is the stream that entered plus the branch, s + b (pre-norm), or the norm of that sum
//! (post-norm; also where the sum itself was not dumped).
//!
//! Every variant has fixed small coefficients on the stream, the branch and the normed stream, so it predicts the output
//! without freedom; a model's own factor on the branch (s + m·b) is fitted on the reference and kept.

mod terms;

use super::norm::fit::{Form, Kind, Norm, Rows};
use super::trial::Trial;
use super::{Fit, Law, Site, Suspicion};
use crate::causes::{self, Cause};
use crate::diagnose::Array;
use crate::diagnose::laws::Both;
use crate::math::distance;
use crate::name::{Key, Stage};
use crate::text::rough;
use serde_json::json;
use terms::{Terms, terms};

/// A residual sum fitted to the reference has to explain it at least this well.
const FITS: f64 = 0.1;

pub struct ResidualLaw;

/// A sum with its coefficients on stream, branch and normed stream.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Variant {
    stream: f64,
    branch: f64,
    normed: f64,
    /// `None`: what the model means, or no fault of its own.
    cause: Option<&'static Cause>,
}

const fn variant(stream: f64, branch: f64, normed: f64, cause: Option<&'static Cause>) -> Variant {
    Variant {
        stream,
        branch,
        normed,
        cause,
    }
}

/// What a sum can be; where two predict the same, the first one is named.
const VARIANTS: &[Variant] = &[
    variant(1.0, 1.0, 0.0, None),
    variant(0.0, 1.0, 0.0, Some(causes::RESIDUAL_MISSING)),
    variant(2.0, 1.0, 0.0, Some(causes::RESIDUAL_DOUBLED)),
    variant(1.0, -1.0, 0.0, Some(causes::RESIDUAL_SIGN)),
    variant(-1.0, 1.0, 0.0, Some(causes::RESIDUAL_SIGN)),
    variant(0.0, 1.0, 1.0, Some(causes::RESIDUAL_FROM_NORMED)),
    variant(1.0, 2.0, 0.0, Some(causes::BRANCH_DOUBLED)),
    variant(0.0, 2.0, 0.0, Some(causes::BUFFER_ALIASED)),
    variant(2.0, 0.0, 0.0, Some(causes::BUFFER_ALIASED)),
    variant(1.0, 0.0, 0.0, None),
];

impl Variant {
    fn predict(&self, t: &Terms, factor: f64) -> Option<Vec<f64>> {
        let n = t.stream.data.len();
        let normed = match (&t.normed, self.normed) {
            (_, 0.0) => None,
            (Some(normed), _) => Some(normed),
            _ => return None,
        };
        let terms = [
            (self.stream, Some(&t.stream)),
            (self.branch * factor, Some(&t.branch)),
            (self.normed, normed),
            (1.0, t.rest.as_ref()),
        ];
        let terms: Vec<(f64, &Array)> = terms
            .into_iter()
            .filter_map(|(c, x)| Some((c, x?)))
            .filter(|(c, _)| *c != 0.0)
            .collect();
        if terms.iter().any(|(_, x)| x.data.len() != n) {
            return None;
        }
        Some(
            (0..n)
                .map(|i| terms.iter().map(|(c, x)| c * x.data[i]).sum())
                .collect(),
        )
    }

    /// `input + 2·o_proj`
    fn text(&self, t: &Terms, factor: f64) -> String {
        let mut out = String::new();
        for (c, name) in [
            (self.stream, t.names[0]),
            (self.normed, t.names[2]),
            (self.branch * factor, t.names[1]),
        ] {
            if c == 0.0 {
                continue;
            }
            out += match (out.is_empty(), c < 0.0) {
                (true, false) => "",
                (true, true) => "−",
                (false, false) => " + ",
                (false, true) => " − ",
            };
            if c.abs() != 1.0 {
                out += &format!("{}·", rough(c.abs()));
            }
            out += name;
        }
        if t.rest.is_some() {
            out += " + mlp";
        }
        out
    }
}

/// What one side's output is.
enum Meaning {
    Sum {
        factor: f64,
    },
    /// The norm of the sum; one for each kind when the rows are too few to tell.
    Normed(Vec<Norm>),
}

impl Law for ResidualLaw {
    fn id(&self) -> &'static str {
        "residual"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[
            Stage::ATTN_RESIDUAL,
            Stage::ATTN_OUT_NORM,
            Stage::MLP_NORM,
            Stage::MLP_RESIDUAL,
            Stage::OUTPUT,
        ]
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        let y = site.dumped(output)?;
        let mut best: Option<Fit> = None;
        for t in terms(site, None, output)
            .iter()
            .filter(|t| t.plain && t.stream.data.len() == y.data.len())
        {
            let factor = branch_factor(t, &y);
            for v in VARIANTS {
                let Some(residual) = v.predict(t, factor).map(|p| distance(&p, &y.data)) else {
                    continue;
                };
                if residual < FITS.min(best.as_ref().map_or(1.0, |b| 0.5 * b.residual)) {
                    let parameters = vec![
                        ("stream", json!(v.stream)),
                        ("branch", json!(v.branch * factor)),
                        ("normed", json!(v.normed)),
                    ];
                    best = Some(Fit {
                        text: v.text(t, factor),
                        parameters,
                        residual,
                    });
                }
            }
        }
        best
    }

    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let (Some(y_r), Some(y_c)) = (reference.dumped(output), candidate.dumped(output)) else {
            return Vec::new();
        };
        let key = candidate.key(output);
        let mut out: Vec<Suspicion> = Vec::new();
        for t_r in terms(reference, Some(candidate), output) {
            if t_r.stream.data.len() != y_r.data.len() || y_r.data.len() != y_c.data.len() {
                continue;
            }
            let Some(t_c) = terms(candidate, Some(reference), output)
                .into_iter()
                .find(|t| t.names == t_r.names)
            else {
                continue;
            };
            if t_c.stream.data.len() != y_c.data.len() {
                continue;
            }
            if let Some((meaning, residual)) = meaning(&t_r, &y_r) {
                out.extend(compare(&meaning, residual, &t_r, &t_c, &y_c, noise, &key));
            }
        }
        out.sort_by(|a, b| a.after.total_cmp(&b.after));
        let best = out.first().map_or(0.0, |s| s.after);
        out.retain(|s| s.after <= (20.0 * best).max(noise));
        out
    }
}

/// The factor on the branch by least squares, exactly 1 where that fits: m in y = s + m·b.
fn branch_factor(t: &Terms, y: &Array) -> f64 {
    if t.rest.is_some() {
        return 1.0;
    }
    let (mut db, mut bb) = (0.0, 0.0);
    for ((y, s), b) in y
        .data
        .iter()
        .zip(&*t.stream.data)
        .zip(&*t.branch.data)
        .filter(|((y, s), b)| (*y + *s + *b).is_finite())
    {
        db += (y - s) * b;
        bb += b * b;
    }
    let m = db / bb;
    if !m.is_finite() || m <= 0.0 || (m - 1.0).abs() < 0.02 || (m - 2.0).abs() < 0.02 {
        1.0
    } else {
        m
    }
}

/// How the reference's output follows from its terms.
fn meaning(t: &Terms, y: &Array) -> Option<(Meaning, f64)> {
    let plain = VARIANTS[0];
    let factor = branch_factor(t, y);
    let sum = plain.predict(t, factor)?;
    let residual = distance(&sum, &y.data);
    if residual < FITS {
        return Some((Meaning::Sum { factor }, residual));
    }
    if !t.may_be_normed {
        return None;
    }
    let x = Array {
        shape: y.shape.clone(),
        data: plain.predict(t, 1.0)?.into(),
    };
    let rows = Rows::new(&x, y, y.width())?;
    match Norm::best(&rows) {
        Some(norm) => {
            let residual = norm.residual.filter(|r| *r < FITS)?;
            Some((Meaning::Normed(vec![norm]), residual))
        }
        None if rows.len() < 3 => {
            let form = |kind| Form {
                kind,
                bias: rows.len() > 1 && kind == Kind::Layer,
            };
            Some((
                Meaning::Normed(
                    [Kind::Rms, Kind::Layer]
                        .map(|k| Norm::fit(&rows, form(k)))
                        .to_vec(),
                ),
                0.0,
            ))
        }
        None => None,
    }
}

fn compare(
    meaning: &Meaning,
    residual: f64,
    t_r: &Terms,
    t_c: &Terms,
    y_c: &Array,
    noise: f64,
    key: &Key,
) -> Vec<Suspicion> {
    let readings: Vec<(f64, Option<&Norm>)> = match meaning {
        Meaning::Sum { factor } => vec![(*factor, None)],
        Meaning::Normed(norms) => norms.iter().map(|n| (1.0, Some(n))).collect(),
    };
    let mut out = Vec::new();
    for (factor, norm) in readings {
        let left = |v: &Variant| {
            let x = v.predict(t_c, factor)?;
            let predicted = norm.map_or_else(|| x.clone(), |n| n.apply(&x));
            Some(distance(&predicted, &y_c.data))
        };
        let Some(before) = left(&VARIANTS[0]) else {
            continue;
        };
        let wrap = |text: String| norm.map_or(text.clone(), |_| format!("norm({text})"));
        let mut named: Vec<f64> = Vec::new();
        for v in &VARIANTS[1..] {
            let (Some(cause), Some(after)) = (v.cause, left(v)) else {
                continue;
            };
            let trial = Trial { before, after };
            // a norm does not see the factor: what an earlier variant predicts is not named again
            let known = norm.is_some() && named.iter().any(|a| (a - after).abs() <= 1e-3 * after);
            if known || !trial.convinces(noise) {
                continue;
            }
            named.push(after);
            let (r, c) = (
                wrap(VARIANTS[0].text(t_r, factor)),
                wrap(v.text(t_c, factor)),
            );
            out.push(Suspicion {
                cause,
                key: key.clone(),
                title: format!(
                    "reference: {} = {r}; candidate: {c}",
                    key.stage.map_or(String::new(), |s| s.to_string())
                ),
                before,
                after,
                evidence: vec![
                    format!("{c} from the candidate's own tensors: {}", trial.text()),
                    format!("reference fits {r} with relative error {}", rough(residual)),
                ],
            });
        }
    }
    out
}
