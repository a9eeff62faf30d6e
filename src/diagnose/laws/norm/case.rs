//! One norm on both sides: the reference's fitted, the candidate's held against it.

use super::super::trial::Trial;
use super::fit::{Form, Kind, Norm, Rows};
use super::hypotheses::{self, Hypothesis};
use super::source::inputs;
use super::{FITS, best, heads, left, may_be_plain, width};
use crate::causes;
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Suspicion};
use crate::math::distance;
use crate::name::{Key, Stage};
use crate::text::rough;

/// The reference's norm and the candidate's rows.
pub struct Case {
    /// One norm, or one for each kind when the rows are too few to tell.
    reference: Vec<Norm>,
    candidate: Rows,
    /// Rows of the candidate's output with the reference's input, where that may stand for the candidate's own.
    swapped: Option<Rows>,
    /// All of the candidate's input and output.
    whole: (Array, Array),
}

/// The norms that the reference may be: one when its rows tell, one of each kind when they are too few and the inputs agree
/// (weights that go exactly through the reference's rows say nothing about other inputs).
fn readings(rows: &Rows, output: Stage, alike: bool, noise: f64) -> Vec<Norm> {
    let best = best(rows, output).filter(|n| left(n) < FITS);
    let doubtful = best.as_ref().is_none_or(|n| left(n) > noise.max(1e-5));
    if rows.len() < 3 && doubtful && alike && !may_be_plain(output) {
        let form = |kind| Form {
            kind,
            bias: rows.len() > 1 && kind == Kind::Layer,
        };
        return [Kind::Rms, Kind::Layer]
            .map(|k| Norm::fit(rows, form(k)))
            .to_vec();
    }
    best.into_iter().collect()
}

impl Case {
    pub fn new(both: &Both<'_>) -> Option<Case> {
        let (reference, candidate, output, noise) = both.parts();
        let (y_r, y_c) = (reference.dumped(output)?, candidate.dumped(output)?);
        let (mut in_r, mut in_c) = (inputs(reference, output), inputs(candidate, output));
        // an input that only one side dumped stands for the other's
        if in_r.is_empty() {
            in_r.clone_from(&in_c);
        } else if in_c.is_empty() {
            in_c.clone_from(&in_r);
        }
        let mut cases = Vec::new();
        for (i, x_r) in in_r.iter().enumerate() {
            let same = in_c.get(i).filter(|_| in_c.len() == in_r.len());
            let x_c = same.or(in_c.first()).unwrap_or(x_r);
            let Some(w) = width(x_r, &y_r, output) else {
                continue;
            };
            let (Some(rows_r), Some(rows_c)) = (Rows::new(x_r, &y_r, w), Rows::new(x_c, &y_c, w))
            else {
                continue;
            };
            // an input that one side dumped before a factor, the other behind it
            let swapped = collinear(x_c, x_r)
                .then(|| Rows::new(x_r, &y_c, w))
                .flatten();
            let alike = distance(&x_c.data, &x_r.data) < 1e-2;
            let readings = readings(&rows_r, output, alike, noise);
            if !readings.is_empty() {
                let whole = (x_c.clone(), y_c.clone());
                cases.push(Case {
                    reference: readings,
                    candidate: rows_c,
                    swapped,
                    whole,
                });
            }
        }
        cases
            .into_iter()
            .min_by(|a, b| left(&a.reference[0]).total_cmp(&left(&b.reference[0])))
    }

    pub fn suspicions(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let before = |norm: &Norm, rows: &Rows| distance(&rows.y, &norm.apply(&rows.x));
        let least = |rows: &Rows| {
            self.reference
                .iter()
                .map(|n| before(n, rows))
                .fold(f64::INFINITY, f64::min)
        };
        let swapped = self.swapped.as_ref().map_or(f64::INFINITY, least);
        if least(&self.candidate).min(swapped) <= 1.5 * noise {
            return Vec::new();
        }
        let rows = match &self.swapped {
            Some(rows) if swapped < least(&self.candidate) => rows,
            _ => &self.candidate,
        };
        let own = Norm::best(rows).filter(|n| left(n) < FITS);
        let mut out = Vec::new();
        for norm in &self.reference {
            let before = before(norm, rows);
            let noise = noise.max(left(norm).min(FITS) / 2.0 * f64::from(norm.residual.is_some()));
            let mut found = hypotheses::all(norm, rows, before);
            if heads::is_per_head(output) {
                let (x, y) = &self.whole;
                found.extend(heads::wrong_axis(norm, x, y, before));
                for h in found.iter_mut().filter(|h| h.cause == causes::NORM_MISSING) {
                    h.cause = causes::QK_NORM_MISSING;
                }
            }
            if !found.iter().any(|h| h.trial.convinces(noise)) {
                found.extend(hypotheses::other_weights(
                    norm,
                    rows,
                    before,
                    reference,
                    output,
                    own.as_ref(),
                ));
            }
            let good = found.into_iter().filter(|h| h.trial.convinces(noise));
            out.extend(good.map(|h| h.suspicion(norm, own.as_ref(), candidate.key(output), rows)));
        }
        out.sort_by(|a, b| a.after.total_cmp(&b.after));
        let best = out.first().map_or(0.0, |s| s.after);
        out.retain(|s| s.after <= (20.0 * best).max(noise));
        out
    }
}

/// Whether a = s·b for some factor s other than 1.
fn collinear(a: &Array, b: &Array) -> bool {
    let dot = |x: &Array, y: &Array| x.data.iter().zip(&*y.data).map(|(x, y)| x * y).sum::<f64>();
    let s = dot(a, b) / dot(b, b);
    a.data.len() == b.data.len()
        && s.is_finite()
        && (s - 1.0).abs() > 1e-3
        && a.distance(&b.map(|x| s * x)) < 1e-2
}

impl Hypothesis {
    fn suspicion(self, norm: &Norm, own: Option<&Norm>, key: Key, rows: &Rows) -> Suspicion {
        let mut evidence = vec![format!("{}: {}", self.what, self.trial.text())];
        if let Some(r) = norm.residual {
            evidence.push(format!(
                "reference fits {} over {} rows with relative error {}",
                norm.text(),
                rows.len(),
                rough(r)
            ));
        }
        if let Some(own) = own {
            evidence.push(format!(
                "candidate fits {} with relative error {}",
                own.text(),
                rough(left(own))
            ));
        }
        let Trial { before, after } = self.trial;
        Suspicion {
            cause: self.cause,
            key,
            title: self.title,
            before,
            after,
            evidence,
        }
    }
}
