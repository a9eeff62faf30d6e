//! What can be wrong with a norm: each hypothesis predicts the candidate's output from the reference's weights.

use super::super::trial::Trial;
use super::fit::{Form, Kind, Norm, Rows};
use super::source::inputs;
use crate::causes::{self, Cause};
use crate::diagnose::Site;
use crate::math::distance;
use crate::name::{Key, Stage};
use crate::text::rough;

/// One prediction and what it leaves.
pub struct Hypothesis {
    pub cause: &'static Cause,
    pub title: String,
    /// What was predicted, in a few words.
    pub what: String,
    pub trial: Trial,
}

/// Every change of the reference's norm that needs no other tensor.
pub fn all(norm: &Norm, rows: &Rows, before: f64) -> Vec<Hypothesis> {
    let mut out = vec![
        eps(norm, rows, before),
        kind(norm, rows, before),
        twice(norm, rows, before),
    ];
    out.extend(missing(norm, rows, before));
    out.extend(weights(norm, rows, before));
    out
}

fn hypothesis(
    cause: &'static Cause,
    rows: &Rows,
    before: f64,
    predicted: &[f64],
    title: String,
    what: &str,
) -> Hypothesis {
    Hypothesis {
        cause,
        title,
        what: what.to_owned(),
        trial: Trial {
            before,
            after: distance(predicted, &rows.y),
        },
    }
}

fn with_eps(norm: &Norm, rows: &Rows) -> Norm {
    let eps = norm.refit_eps(rows);
    Norm {
        eps,
        ..norm.clone()
    }
}

fn eps(norm: &Norm, rows: &Rows, before: f64) -> Hypothesis {
    let other = with_eps(norm, rows);
    let predicted = other.apply(&rows.x);
    let name = norm.form.kind.name();
    let title = format!(
        "reference: {name}, eps {}; candidate: {name}, eps {}",
        norm.eps.text(),
        other.eps.text()
    );
    hypothesis(
        causes::NORM_EPS,
        rows,
        before,
        &predicted,
        title,
        &format!(
            "the reference's weights with eps {}",
            rough(other.eps.value)
        ),
    )
}

/// The same weights in the other kind of norm.
fn kind(norm: &Norm, rows: &Rows, before: f64) -> Hypothesis {
    let (cause, kind) = match norm.form.kind {
        Kind::Rms => (causes::LAYERNORM_INSTEAD_OF_RMSNORM, Kind::Layer),
        Kind::Layer => (causes::RMSNORM_INSTEAD_OF_LAYERNORM, Kind::Rms),
    };
    let other = Norm {
        form: Form {
            kind,
            bias: norm.form.bias,
        },
        ..norm.clone()
    };
    let plain = Norm {
        beta: vec![0.0; norm.beta.len()],
        ..other.clone()
    };
    let title = format!(
        "reference: {}; candidate: {}, with the same weights",
        norm.form.kind.name(),
        kind.name()
    );
    let tried = [
        other.clone(),
        plain.clone(),
        with_eps(&other, rows),
        with_eps(&plain, rows),
    ];
    let found = tried.iter().map(|n| {
        hypothesis(
            cause,
            rows,
            before,
            &n.apply(&rows.x),
            title.clone(),
            &format!("{} of the input", kind.name()),
        )
    });
    found
        .min_by(|a, b| a.trial.after.total_cmp(&b.trial.after))
        .unwrap_or_else(|| hypothesis(cause, rows, before, &rows.x, title.clone(), ""))
}

fn twice(norm: &Norm, rows: &Rows, before: f64) -> Hypothesis {
    let again = norm.apply(&norm.apply(&rows.x));
    let title = format!("the candidate applies the {} twice", norm.form.kind.name());
    hypothesis(
        causes::NORM_APPLIED_TWICE,
        rows,
        before,
        &again,
        title,
        "the norm of the norm",
    )
}

fn missing(norm: &Norm, rows: &Rows, before: f64) -> Vec<Hypothesis> {
    let name = norm.form.kind.name();
    let weighted: Vec<f64> = rows
        .x
        .chunks_exact(rows.width)
        .flat_map(|row| {
            row.iter()
                .zip(&norm.gamma)
                .zip(&norm.beta)
                .map(|((x, g), b)| g * x + b)
                .collect::<Vec<_>>()
        })
        .collect();
    vec![
        hypothesis(
            causes::NORM_MISSING,
            rows,
            before,
            &rows.x,
            format!("reference: {name}; candidate: no norm, its output is its input"),
            "the input itself",
        ),
        hypothesis(
            causes::NORM_MISSING,
            rows,
            before,
            &weighted,
            format!(
                "reference: {name}; candidate: its weights without the division by the {}",
                if norm.form.kind == Kind::Rms {
                    "rms"
                } else {
                    "deviation"
                }
            ),
            "weights times the input",
        ),
    ]
}

/// Changes of γ and β.
fn weights(norm: &Norm, rows: &Rows, before: f64) -> Vec<Hypothesis> {
    let w = norm.gamma.len();
    let changed = |gamma: Vec<f64>, beta: Vec<f64>| Norm {
        gamma,
        beta,
        ..norm.clone()
    };
    let shifted = |by: f64| norm.gamma.iter().map(|g| g + by).collect::<Vec<_>>();
    let (ones, zeros) = (vec![1.0; w], vec![0.0; w]);
    let mean = norm.gamma.iter().sum::<f64>() / w.max(1) as f64;
    let name = norm.form.kind.name();
    let mut tried = vec![
        (
            causes::NORM_WEIGHT_MISSING,
            changed(ones.clone(), norm.beta.clone()),
            format!(
                "reference: {name} with a weight (mean {}); candidate: without, its weight is 1 in every channel",
                rough(mean)
            ),
            "weight 1",
        ),
        (
            causes::NORM_PLUS_ONE_MISSING,
            changed(shifted(-1.0), norm.beta.clone()),
            format!(
                "the candidate's weights of the {name} are the reference's less 1: γ is applied where 1 + γ is meant"
            ),
            "weights less 1",
        ),
        (
            causes::NORM_PLUS_ONE_EXTRA,
            changed(shifted(1.0), norm.beta.clone()),
            format!(
                "the candidate's weights of the {name} are the reference's plus 1: 1 + γ is applied where γ is meant"
            ),
            "weights plus 1",
        ),
    ];
    if norm.form.bias {
        tried.push((
            causes::NORM_WEIGHT_MISSING,
            changed(ones, zeros.clone()),
            format!("reference: {name} with weight and bias; candidate: with neither"),
            "weight 1, no bias",
        ));
        tried.push((
            causes::NORM_BIAS_MISSING,
            changed(norm.gamma.clone(), zeros),
            format!("reference: {name} with a bias; candidate: without"),
            "the reference's weights without the bias",
        ));
    }
    tried
        .into_iter()
        .map(|(cause, norm, title, what)| {
            hypothesis(cause, rows, before, &norm.apply(&rows.x), title, what)
        })
        .collect()
}

/// The norms of a model.
const NORMS: &[Stage] = &[
    Stage::EMBED,
    Stage::ATTN_NORM,
    Stage::Q_NORM,
    Stage::K_NORM,
    Stage::ATTN_POST_NORM,
    Stage::ATTN_OUT_NORM,
    Stage::MLP_NORM,
    Stage::MLP_POST_NORM,
    Stage::OUTPUT,
    Stage::FINAL_NORM,
];

/// Weights of another norm of the reference, or weights that no other norm has.
pub fn other_weights(
    norm: &Norm,
    rows: &Rows,
    before: f64,
    reference: &Site<'_>,
    output: Stage,
    own: Option<&Norm>,
) -> Vec<Hypothesis> {
    let name = norm.form.kind.name();
    let here = reference.key(output);
    let mut best: Option<(Key, f64)> = None;
    for key in reference.scene.tower(reference.tower).map(|p| &p.key) {
        let Some(stage) = key
            .stage
            .filter(|s| NORMS.contains(s) && key.is_canonical() && *key != here)
        else {
            continue;
        };
        let site = reference.scene.site(reference.side, key);
        let Some(y) = site.dumped(stage) else {
            continue;
        };
        for x in inputs(&site, stage) {
            let Some(other) = Rows::new(&x, &y, norm.gamma.len()).map(|r| Norm::fit(&r, norm.form))
            else {
                continue;
            };
            if other.residual.is_some_and(|r| r > super::FITS) {
                continue;
            }
            let after = distance(
                &Norm {
                    eps: norm.eps,
                    ..other
                }
                .apply(&rows.x),
                &rows.y,
            );
            if best.as_ref().is_none_or(|(_, least)| after < *least) {
                best = Some((key.clone(), after));
            }
        }
    }
    if let Some((key, after)) = best.filter(|(_, after)| *after < 0.3 * before) {
        let title = format!("the candidate's {name} has the weights of {key}");
        return vec![Hypothesis {
            cause: causes::NORM_WRONG_WEIGHT,
            title,
            what: format!("the reference's weights of {key}"),
            trial: Trial { before, after },
        }];
    }
    let own = own.filter(|own| own.form == norm.form && distance(&own.gamma, &norm.gamma) > 1e-3);
    let fitted = own.and_then(|own| Some((own, own.residual?)));
    fitted
        .map(|(own, after)| Hypothesis {
            cause: causes::NORM_WRONG_WEIGHT,
            title: format!(
                "the candidate's {name} obeys the law with other weights, of no other norm in the dump (relative difference {})",
                rough(distance(&own.gamma, &norm.gamma))
            ),
            what: "weights fitted on the candidate".into(),
            trial: Trial { before, after },
        })
        .into_iter()
        .collect()
}
