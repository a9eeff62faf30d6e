//! c = s·r: one factor for all elements, per token, or per channel; the sign reversed.
//!
//! Least squares: s = Σc·r / Σr². A factor per token (or channel) is a parameter for every row (column) of n elements, so what
//! it leaves is scaled by √(n / (n − 1)).

use super::{Case, Relation, along, undone};
use crate::causes::{self, Cause};
use crate::diagnose::{Array, Suspicion};
use crate::math::{Sums, sums};
use crate::name::Stage;
use crate::text::{factor, short};

pub struct Scale;

/// A row or channel factor has many parameters: it must leave less than this part of what one factor leaves.
const CLEARLY: f64 = 0.1;
/// Fewest elements of a row (column) that a factor of its own may be fitted to.
const FEWEST: usize = 6;
/// An element alone has a factor whatever it is.
const TESTABLE: u64 = 2;

impl Relation for Scale {
    fn id(&self) -> &'static str {
        "scale"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let (r, c) = case.visible();
        let before = c.distance(&r);
        // an infinity is no factor, and what stands beside it is the smaller part
        let mut pairs = r.data.iter().zip(&*c.data);
        let lost = pairs.any(|(r, c)| r.is_finite() && !c.is_finite());
        let lost = lost && !case.is(&[Stage::ATTN_QK, Stage::ATTN_SCORES]);
        let Some((s, left)) = fit(&r.data, &c.data).filter(|_| !lost) else {
            return Vec::new();
        };
        let finer = per_slice(case, before, left);
        // what is left counts against the reference, not against a candidate that is 1e30 times too large
        if s == 1.0 || !finer.is_empty() || left > 0.5 {
            return finer;
        }
        let (cause, title) = name(case, s);
        let evidence = vec![
            format!("best factor {s:.7}"),
            undone(
                &format!("dividing the candidate by {}", factor(s)),
                before,
                left,
            ),
        ];
        let found = case.suspect(cause, title, before, left, evidence);
        found.into_iter().collect()
    }
}

/// Best s in c ≈ s·r, and ‖c/s − r‖ / ‖r‖; over places finite on both sides.
fn fit(r: &[f64], c: &[f64]) -> Option<(f64, f64)> {
    let sums = sums(r, c);
    let s = sums.product / sums.a;
    if !s.is_finite() || s == 0.0 || sums.known < TESTABLE {
        return None;
    }
    let inverse = 1.0 / s;
    let left = r.iter().zip(c).map(|(r, c)| {
        let d = c * inverse - r;
        if d.is_finite() { d * d } else { 0.0 }
    });
    Some((s, (left.sum::<f64>() / sums.a).sqrt()))
}

/// What one factor means here.
fn name(case: &Case<'_>, s: f64) -> (&'static Cause, String) {
    use crate::graph::known::*;
    let g = case.scene.geometry(case.key);
    let near = |x: f64, y: f64| (x / y - 1.0).abs() < 2e-3;
    let factor = factor(s);
    if near(s, -1.0) {
        return (
            causes::SIGN_FLIPPED,
            "the candidate has the opposite sign".into(),
        );
    }
    if case.is(&[TOK_EMBED, EMBED_SUM, EMBED, INPUT]) && case.key.layer.is_none_or(|l| l == 0) {
        let root = g.hidden.map(|h| (h as f64).sqrt());
        return match root {
            _ if (s - 1.0).abs() < 1.0 / 256.0 => (
                causes::EMBEDDING_SCALE_ROUNDED,
                format!("the embedding multiplier is rounded on one side: factor {s:.6}"),
            ),
            Some(root) if near(s, 1.0 / root) => (
                causes::EMBEDDING_SCALE_MISSING,
                format!(
                    "the candidate does not multiply the embedding by √hidden = {}",
                    short(root)
                ),
            ),
            Some(root) if near(s, root) => (
                causes::EMBEDDING_SCALE_MISSING,
                format!(
                    "only the candidate multiplies the embedding by √hidden = {}",
                    short(root)
                ),
            ),
            _ => (
                causes::EMBEDDING_SCALE_MISSING,
                format!(
                    "the candidate's embedding is {factor} times the reference's: a multiplier differs"
                ),
            ),
        };
    }
    if case.is(&[ATTN_QK, ATTN_SCORES]) {
        let root = g.head_dim.map(|d| (d as f64).sqrt());
        let why = match root {
            Some(root) if near(s, root) => ": 1/√head_dim is not applied",
            Some(root) if near(s, 1.0 / root) => {
                ": 1/√head_dim is applied twice, or 1/head_dim is used"
            }
            _ => "",
        };
        return (
            causes::ATTENTION_SCALE,
            format!("the candidate's attention scores are {factor} times the reference's{why}"),
        );
    }
    if case.is(&[LOGITS]) {
        return (
            causes::LOGIT_SCALE_MISSING,
            format!("the candidate's logits are {factor} times the reference's"),
        );
    }
    if near(s, 2.0) && case.is(&[O_PROJ, DOWN_PROJ, ATTN_POST_NORM, MLP_POST_NORM]) {
        return (
            causes::BRANCH_DOUBLED,
            "the candidate's branch is twice the reference's".into(),
        );
    }
    let stage = case.key.to_string();
    (
        causes::SCALE_FACTOR,
        format!("the candidate's {stage} is {factor} times the reference's"),
    )
}

fn per_slice(case: &Case<'_>, before: f64, left: f64) -> Vec<Suspicion> {
    let Some((r, c)) = case.by_token() else {
        return Vec::new();
    };
    let (tokens, width) = (r.rows().len(), r.width());
    let mut found = Vec::new();
    if width >= FEWEST && tokens >= 2 {
        let factors: Vec<f64> = r
            .rows()
            .zip(c.rows())
            .map(|(r, c)| factor_of(&sums(r, c)))
            .collect();
        let after = scaled_error(&r, &c, |t, _| 1.0 / factors[t], width);
        if after < CLEARLY * left {
            let (low, high) = range(&factors);
            let title = format!(
                "each token of the candidate has a factor of its own, {low:.5} to {high:.5}"
            );
            let evidence = vec![undone("dividing every token by its factor", before, after)];
            let cause = if near_one_sided(low, high) && is_norm(case) {
                causes::NORM_EPS
            } else {
                causes::ROW_SCALE
            };
            found.extend(case.suspect(cause, title, before, after, evidence));
        }
    }
    if tokens >= FEWEST && width >= 2 {
        let factors: Vec<f64> = along(&r, &c, 1).iter().map(factor_of).collect();
        let inverse: Vec<f64> = factors.iter().map(|s| 1.0 / s).collect();
        let after = scaled_error(&r, &c, |_, j| inverse[j], tokens);
        if after < CLEARLY * left {
            let (low, high) = range(&factors);
            let title = format!(
                "each channel of the candidate has a factor of its own, {} to {}",
                short(low),
                short(high)
            );
            let evidence = vec![undone(
                "dividing every channel by its factor",
                before,
                after,
            )];
            found.extend(case.suspect(causes::CHANNEL_SCALE, title, before, after, evidence));
        }
    }
    found
}

/// The factor of a slice; 1 where none fits, or too little of it is known.
fn factor_of(sums: &Sums) -> f64 {
    let s = sums.product / sums.a;
    let fits = s.is_finite() && s != 0.0 && sums.known >= TESTABLE;
    if fits { s } else { 1.0 }
}

/// ‖c/s − r‖ / ‖r‖ with the inverse of a factor for every slice of n elements.
fn scaled_error(r: &Array, c: &Array, inverse: impl Fn(usize, usize) -> f64, n: usize) -> f64 {
    let (mut diff, mut norm) = (0.0, 0.0);
    for (t, (r, c)) in r.rows().zip(c.rows()).enumerate() {
        for (j, (r, c)) in r.iter().zip(c).enumerate() {
            if r.is_finite() && c.is_finite() {
                let d = c * inverse(t, j) - r;
                diff += d * d;
                norm += r * r;
            }
        }
    }
    (diff / norm).sqrt() * (n as f64 / (n - 1) as f64).sqrt()
}

fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &x| {
            (a.min(x), b.max(x))
        })
}

/// Another epsilon shrinks (or stretches) every row a little.
fn near_one_sided(low: f64, high: f64) -> bool {
    (low > 0.2 && high <= 1.0 + 1e-6) || (low >= 1.0 - 1e-6 && high < 5.0)
}

fn is_norm(case: &Case<'_>) -> bool {
    use crate::graph::known::*;
    case.is(&[
        ATTN_NORM,
        Q_NORM,
        K_NORM,
        ATTN_POST_NORM,
        ATTN_OUT_NORM,
        MLP_NORM,
        MLP_POST_NORM,
        FINAL_NORM,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, stream};
    use super::*;

    fn found(stage: Stage, f: impl Fn(usize, usize, f64) -> f64) -> Vec<Suspicion> {
        let r = stream(10, 64, 1);
        let data = r
            .data
            .iter()
            .enumerate()
            .map(|(i, x)| f(i / 64, i % 64, *x))
            .collect();
        let c = noisy(&Array::new(r.shape.clone(), data), 1e-7, 2);
        Dumps::default().with(0, stage, r, c).test(&Scale, 0, stage)
    }

    #[test]
    fn a_missing_root_of_hidden_is_named() {
        let s = found(Stage::EMBED, |_, _, x| x / 8.0);
        assert_eq!(s[0].cause.id, "embedding_scale_missing");
        assert!(s[0].title.contains("√hidden = 8"), "{}", s[0].title);
        assert!(s[0].after < 1e-6);
    }

    #[test]
    fn factors_are_named_by_stage() {
        assert_eq!(
            found(Stage::EMBED, |_, _, x| x * 1.002)[0].cause.id,
            "embedding_scale_rounded"
        );
        assert_eq!(
            found(Stage::LOGITS, |_, _, x| x * 0.25)[0].cause.id,
            "logit_scale_missing"
        );
        assert_eq!(
            found(Stage::O_PROJ, |_, _, x| x * 2.0)[0].cause.id,
            "branch_doubled"
        );
        assert_eq!(
            found(Stage::V_PROJ, |_, _, x| -x)[0].cause.id,
            "sign_flipped"
        );
        assert_eq!(
            found(Stage::V_PROJ, |_, _, x| x * 3.0)[0].cause.id,
            "scale_factor"
        );
    }

    #[test]
    fn factors_per_token_and_per_channel_are_found() {
        let row = |t: usize, _: usize, x: f64| x * (1.0 - 1e-3 / (1.0 + t as f64));
        assert_eq!(found(Stage::ATTN_NORM, row)[0].cause.id, "norm_eps");
        assert_eq!(
            found(Stage::O_PROJ, |t, _, x| x * (0.5 + t as f64))[0]
                .cause
                .id,
            "row_scale"
        );
        assert_eq!(
            found(Stage::O_PROJ, |_, j, x| x * (1.0 + (j % 7) as f64))[0]
                .cause
                .id,
            "channel_scale"
        );
    }

    #[test]
    fn elements_known_alone_have_no_factor_of_their_own() {
        let r = stream(10, 64, 1);
        // the first twenty elements of the tensor, and one of the fault
        let known = |i: usize, x: f64| if i < 20 { x } else { f64::NAN };
        let data = |f: &dyn Fn(usize, f64) -> f64| {
            let values = r.data.iter().enumerate();
            Array::new(r.shape.clone(), values.map(|(i, x)| f(i, *x)).collect())
        };
        let one = data(&|i, x| known(i, if i == 2 { 1.03 * x } else { x }));
        let all = data(&|i, x| known(i, 1.03 * x));
        let test = |c| {
            let dumps = Dumps::default().with(0, Stage::Q_ROPE, data(&known), c);
            dumps.test(&Scale, 0, Stage::Q_ROPE)
        };
        assert_eq!(test(one), []);
        assert_eq!(test(all)[0].cause.id, "scale_factor");
    }

    #[test]
    fn other_faults_are_no_factor() {
        assert!(found(Stage::O_PROJ, |_, j, x| x + (j % 3) as f64).is_empty());
        assert!(found(Stage::O_PROJ, |t, _, x| if t == 3 { 0.0 } else { x }).is_empty());
    }
}
