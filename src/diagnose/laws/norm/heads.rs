//! Norms of queries and keys: each head by itself with weights of one head (Qwen3, Gemma 3), or all heads of a token together
//! (OLMo 2).

use super::super::trial::Trial;
use super::fit::{Norm, Rows};
use super::hypotheses::Hypothesis;
use crate::causes;
use crate::diagnose::head_norm::{FirstToken, SAME, undumped};
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Suspicion};
use crate::math::distance;
use crate::name::Stage;
use crate::text::rough;

pub fn is_per_head(output: Stage) -> bool {
    matches!(output, Stage::Q_NORM | Stage::K_NORM)
}

/// Lengths over which queries or keys `[batch, token, head, channel]` may be normalised: a head, or the whole row.
pub fn widths(y: &Array) -> Vec<usize> {
    match *y.shape.as_slice() {
        [_, _, heads, d] if heads > 1 => vec![d, heads * d],
        // heads are not told apart by any shape
        [_, _, 1, features] => (8..=features)
            .filter(|w| features.is_multiple_of(*w))
            .collect(),
        _ => vec![y.width()],
    }
}

/// The reference's weights with the mean square taken over a head where it should be the whole row, or the reverse.
///
/// `x`, `y` are the candidate's whole input and output.
pub fn wrong_axis(norm: &Norm, x: &Array, y: &Array, before: f64) -> Vec<Hypothesis> {
    let own = norm.gamma.len();
    let mut out = Vec::new();
    for other in widths(y).into_iter().filter(|w| *w != own) {
        let row = own.max(other);
        if row % own.min(other) != 0 || !y.data.len().is_multiple_of(row) {
            continue;
        }
        let tiled = |w: &[f64]| w.iter().copied().cycle().take(row).collect::<Vec<f64>>();
        let (gamma, beta) = (tiled(&norm.gamma), tiled(&norm.beta));
        let mut predicted = Vec::with_capacity(y.data.len());
        for (i, part) in x.data.chunks_exact(other).enumerate() {
            let at = (i * other) % row;
            let weights = Norm {
                gamma: gamma[at..at + other].to_vec(),
                beta: beta[at..at + other].to_vec(),
                ..norm.clone()
            };
            predicted.extend(weights.apply(part));
        }
        let text = |w: usize| {
            if w == row {
                format!("over all heads of a token together ({w} channels)")
            } else {
                format!("over each head by itself ({w} channels)")
            }
        };
        out.push(Hypothesis {
            cause: causes::QK_NORM_WRONG_AXIS,
            title: format!(
                "reference: {} {}; candidate: {}",
                norm.form.kind.name(),
                text(own),
                text(other)
            ),
            what: format!("the norm {}", text(other)),
            trial: Trial {
                before,
                after: distance(&predicted, &y.data),
            },
        });
    }
    out
}

/// A norm that the candidate skips leaves no dump: the rotation keeps the length of each head's vector, so after it the
/// length is that of the raw projection instead of the normed one.
pub fn skipped(both: &Both<'_>) -> Option<Suspicion> {
    let (reference, candidate, rotated, noise) = both.parts();
    let (normed, raw) = before(rotated);
    if candidate.dumped(normed).is_some() {
        return None;
    }
    let should = reference
        .dumped(normed)
        .or_else(|| undumped(reference, raw, rotated));
    let should = lengths(&should?);
    let (is, was) = (
        lengths(&candidate.dumped(rotated)?),
        lengths(&candidate.tap(raw)?),
    );
    let trial = Trial {
        before: distance(&is, &should),
        after: distance(&is, &was),
    };
    let healthy = distance(&lengths(&reference.dumped(rotated)?), &should);
    (trial.convinces(noise.max(healthy))).then(|| Suspicion {
        cause: causes::QK_NORM_MISSING,
        key: candidate.key(rotated),
        title: format!(
            "the candidate rotates the raw projection: it has no {normed}, the reference has"
        ),
        before: trial.before,
        after: trial.after,
        evidence: vec![
            format!(
                "length of each head's vector, held against the candidate's {raw}: {}",
                trial.text()
            ),
            format!(
                "the reference's lengths are those of its {normed} (relative error {})",
                rough(healthy)
            ),
        ],
    })
}

/// A norm that neither side dumped, seen at the first token, which RoPE leaves as it is: other weights, or over all heads.
pub fn unseen(both: &Both<'_>) -> Option<Suspicion> {
    let (reference, candidate, rotated, noise) = both.parts();
    let (normed, raw) = before(rotated);
    if candidate.dumped(normed).is_some() || reference.dumped(normed).is_some() {
        return None;
    }
    let weight = FirstToken::of(reference, raw, rotated)?.weight()?;
    let c = FirstToken::of(candidate, raw, rotated)?;
    let before = c.left_by_head(&weight);
    // epsilon is not known
    let trial =
        |after| Some(Trial { before, after }).filter(|t| before > SAME && t.convinces(noise));
    let by_token = || {
        Some((
            trial(c.left_by_token(&weight))?,
            causes::QK_NORM_WRONG_AXIS,
            "norms all heads of a token together",
        ))
    };
    let by_head = || {
        Some((
            trial(c.left_by_head(&c.weight()?))?,
            causes::NORM_WRONG_WEIGHT,
            "norms the heads with other weights",
        ))
    };
    let (trial, cause, what) = by_token().or_else(by_head)?;
    Some(Suspicion {
        cause,
        key: candidate.key(rotated),
        title: format!("the candidate's {normed}, which was not dumped, {what}"),
        before: trial.before,
        after: trial.after,
        evidence: vec![
            format!(
                "at the first token, which RoPE leaves as it is: {}",
                trial.text()
            ),
            format!(
                "there the reference's {rotated} is its {raw}, normed head by head with one weight for all heads"
            ),
        ],
    })
}

fn before(rotated: Stage) -> (Stage, Stage) {
    match rotated {
        Stage::Q_ROPE => (Stage::Q_NORM, Stage::Q_PROJ),
        _ => (Stage::K_NORM, Stage::K_PROJ),
    }
}

/// Euclidean length of every row of the last axis.
fn lengths(x: &Array) -> Vec<f64> {
    x.rows()
        .map(|row| row.iter().map(|v| v * v).sum::<f64>().sqrt())
        .collect()
}

/// The norm of the reference with the length of row that fits best.
pub fn best_width(x: &Array, y: &Array, widths: &[usize]) -> Option<usize> {
    if let [only] = widths {
        return Some(*only);
    }
    let fits = widths
        .iter()
        .filter_map(|&w| Some((w, Norm::best(&Rows::new(x, y, w)?)?.residual?)));
    fits.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(w, _)| w)
}
