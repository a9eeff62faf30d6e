//! c = r + 1·b: one constant row over all tokens, as a bias gives that is left out or added twice.
//!
//! Which of the two: with y = W·x + b an affine combination of tokens (Σα = 1) whose inputs cancel, Σα·x ≈ 0, leaves Σα·y = b.
//! Taken of the reference and projected on the constant row it is −1 where the candidate lacks b, +1 where it has it twice.
//! Without the inputs the plain mean over tokens serves.

use super::{Case, Relation, gram, undone};
use crate::causes;
use crate::diagnose::{Array, Suspicion};
use crate::math;
use crate::text::short;

pub struct Offset;

/// Log odds of a forgotten against a doubled bias before looking: twenty to one.
const FORGOTTEN: f64 = 3.0;

impl Relation for Offset {
    fn id(&self) -> &'static str {
        "offset"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        constant_row(case).unwrap_or_default()
    }
}

fn constant_row(case: &Case<'_>) -> Option<Vec<Suspicion>> {
    let (r, c) = case.by_token()?;
    let n = r.rows().len();
    if n < 2 || r.width() < 2 {
        return None;
    }
    let d = c.minus(&r)?;
    let row = mean_row(&d)?;
    let (mut left, mut norm) = (0.0, 0.0);
    for (d, r) in d.rows().zip(r.rows()) {
        left += d
            .iter()
            .zip(&row)
            .map(|(d, b)| (d - b) * (d - b))
            .sum::<f64>();
        norm += r.iter().map(|x| x * x).sum::<f64>();
    }
    let before = c.distance(&r);
    let after = (left / norm).sqrt() * (n as f64 / (n - 1) as f64).sqrt();
    let size = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut evidence = vec![
        undone(
            "subtracting one constant row from all tokens",
            before,
            after,
        ),
        format!("norm of the row {}, over {n} tokens", short(size)),
    ];
    use crate::graph::known::*;
    let only = |cause, title: String, evidence| {
        Some(
            case.suspect(cause, title, before, after, evidence)
                .into_iter()
                .collect(),
        )
    };
    match case.stage()? {
        TOK_EMBED | EMBED_SUM | EMBED => only(
            causes::TOKEN_TYPE_EMBEDDING_MISSING,
            "one constant row is missing from (or added to) the embedding of all tokens: the token type row".into(),
            evidence,
        ),
        ATTN_NORM | Q_NORM | K_NORM | ATTN_POST_NORM | ATTN_OUT_NORM | MLP_NORM | MLP_POST_NORM | FINAL_NORM => only(
            causes::NORM_BIAS_MISSING,
            "the norm's outputs differ by one constant row: its bias is not added on one side".into(),
            evidence,
        ),
        QKV_PROJ | Q_PROJ | K_PROJ | V_PROJ | O_PROJ | GATE_PROJ | UP_PROJ | DOWN_PROJ | LOGITS | ATTN_RESIDUAL
        | MLP_RESIDUAL | OUTPUT => {
            let (along, chance) = side_of_bias(case, &r, &row)?;
            evidence.push(format!(
                "the reference without its inputs' share, along that row: {} ± {} (−1: the candidate lacks it, 1: has it twice)",
                short(along),
                short(chance)
            ));
            let stage = case.key.to_string();
            let missing = || case.suspect(causes::BIAS_MISSING, format!("the candidate does not add the bias at {stage}"), before, after, evidence.clone());
            let doubled = || case.suspect(causes::BIAS_DOUBLED, format!("the candidate adds the bias at {stage} twice"), before, after, evidence.clone());
            // log likelihood ratio of +1 against −1 under normal noise; a forgotten bias is by far the more common fault
            let odds = 2.0 * along / (chance * chance) - FORGOTTEN;
            let both = if odds < 0.0 { [missing(), doubled()] } else { [doubled(), missing()] };
            // where chance could turn the sign, the other one stays possible
            let keep = if odds.abs() > 2.0 * FORGOTTEN { 1 } else { 2 };
            Some(both.into_iter().take(keep).flatten().collect())
        }
        _ => None,
    }
}

fn mean_row(a: &Array) -> Option<Vec<f64>> {
    let mut mean = vec![0.0; a.width()];
    for row in a.rows() {
        for (m, x) in mean.iter_mut().zip(row) {
            *m += x / a.rows().len() as f64;
        }
    }
    mean.iter().all(|m| m.is_finite()).then_some(mean)
}

/// The reference's own share of the constant row, in units of that row, and the standard deviation that the inputs' part of it
/// has by chance: a row of the reference's size in a random direction.
fn side_of_bias(case: &Case<'_>, r: &Array, row: &[f64]) -> Option<(f64, f64)> {
    let size: f64 = row.iter().map(|x| x * x).sum();
    let judged = |y: &[f64]| {
        let along = y.iter().zip(row).map(|(a, b)| a * b).sum::<f64>() / size;
        let norm = y.iter().map(|x| x * x).sum::<f64>();
        (along, (norm / size / row.len() as f64).sqrt())
    };
    let combined = without_inputs(case, r).or_else(|| mean_row(r))?;
    Some(judged(&combined)).filter(|(a, s)| a.is_finite() && s.is_finite())
}

/// The combination of the reference's rows, with weights that sum to 1, whose inputs are smallest: what is left is mostly bias.
fn without_inputs(case: &Case<'_>, r: &Array) -> Option<Vec<f64>> {
    let (x, _) = case
        .projection_inputs()
        .filter(|(x, _)| x.rows().len() == r.rows().len())?;
    let x = gram::first_rows(&x);
    let n = x.rows().len();
    // minimises ‖Σα·x‖² + λ·‖α‖² under Σα = 1
    let g = gram::ridged(gram::products(&x, &x), 1e-4);
    let alpha = math::solve(g, vec![vec![1.0; n]])?.remove(0);
    let total: f64 = alpha.iter().sum();
    let mut combined = vec![0.0; r.width()];
    for (a, y) in alpha.iter().zip(r.rows()) {
        combined
            .iter_mut()
            .zip(y)
            .for_each(|(c, y)| *c += a / total * y);
    }
    combined.iter().all(|c| c.is_finite()).then_some(combined)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, project, stream};
    use super::*;
    use crate::name::Stage;

    /// A projection with bias b on the reference and k·b on the candidate.
    fn with_bias(k: f64, stage: Stage, input: Stage) -> Vec<&'static str> {
        let x = stream(10, 64, 1).map(|v| v + 0.5);
        let y = project(&x, &normal(64 * 64, 2), 64).map(|v| v / 8.0);
        let bias = normal(64, 3);
        let add = |k: f64| {
            let data = y
                .data
                .iter()
                .enumerate()
                .map(|(i, v)| v + 0.4 * k * bias[i % 64])
                .collect();
            Array::new(y.shape.clone(), data)
        };
        Dumps::default()
            .same(0, input, &x)
            .with(0, stage, add(1.0), noisy(&add(k), 1e-7, 4))
            .causes(&Offset, 0, stage)
    }

    #[test]
    fn a_missing_and_a_doubled_bias_are_told_apart() {
        assert_eq!(
            with_bias(0.0, Stage::V_PROJ, Stage::ATTN_NORM)[0],
            "bias_missing"
        );
        assert_eq!(
            with_bias(2.0, Stage::V_PROJ, Stage::ATTN_NORM)[0],
            "bias_doubled"
        );
        assert_eq!(
            with_bias(0.0, Stage::LOGITS, Stage::FINAL_NORM)[0],
            "bias_missing"
        );
        assert_eq!(
            with_bias(2.0, Stage::LOGITS, Stage::FINAL_NORM)[0],
            "bias_doubled"
        );
    }

    #[test]
    fn a_constant_row_is_named_by_stage() {
        assert_eq!(
            with_bias(0.0, Stage::EMBED, Stage::TOK_EMBED),
            ["token_type_embedding_missing"]
        );
        assert_eq!(
            with_bias(0.0, Stage::MLP_NORM, Stage::ATTN_RESIDUAL),
            ["norm_bias_missing"]
        );
    }

    #[test]
    fn a_factor_is_no_constant_row() {
        let r = stream(10, 64, 1);
        let dumps = Dumps::default().with(0, Stage::V_PROJ, r.clone(), r.map(|x| 1.5 * x));
        assert!(dumps.test(&Offset, 0, Stage::V_PROJ).is_empty());
    }
}
