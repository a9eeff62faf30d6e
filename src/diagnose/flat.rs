//! Sizes of dumps that hold nothing but flat lists of numbers: where does one token end and the next begin?
//!
//! RMSNorm tells: y / x = gamma(channel) / rms(token), so log |y / x| is a sum of one number per token and one per channel, with
//! the right width only. LayerNorm does so nearly, since the mean it subtracts is small.

use crate::dump::Tensor;
use crate::name::Stage;
use crate::pairs::Pair;

/// Elements of a tensor that are looked at.
const ENOUGH: usize = 1 << 20;
/// Narrower rows are no hidden states.
const NARROWEST: usize = 8;
/// The best width leaves no more than this share of the variance.
const CLEAR: f64 = 0.3;

/// Stages as wide as the residual stream.
pub const STREAM: [Stage; 11] = [
    Stage::TOK_EMBED,
    Stage::EMBED,
    Stage::INPUT,
    Stage::ATTN_NORM,
    Stage::O_PROJ,
    Stage::ATTN_RESIDUAL,
    Stage::ATTN_OUT_NORM,
    Stage::MLP_NORM,
    Stage::DOWN_PROJ,
    Stage::OUTPUT,
    Stage::FINAL_NORM,
];

/// (tokens, hidden) of a dump without shapes; `None` when shapes are known or the data do not tell.
pub fn tokens_and_width(pairs: &[&Pair]) -> Option<(usize, usize)> {
    use crate::graph::known::*;
    let held: Vec<(Stage, &Tensor)> = pairs
        .iter()
        .filter_map(|p| Some((p.key.stage?, p.reference.as_deref()?)))
        .collect();
    let mut streams = held
        .iter()
        .filter(|(s, _)| STREAM.contains(s))
        .map(|(_, t)| t);
    let n = streams.clone().next()?.info.len();
    if n > ENOUGH || !streams.all(|t| t.info.shape().len() < 2 && t.info.len() == n) {
        return None;
    }
    // every tensor of the step holds whole tokens
    let whole = |s: usize| held.iter().all(|(_, t)| t.info.len().is_multiple_of(s));
    let widths: Vec<usize> = (NARROWEST..n)
        .filter(|w| n.is_multiple_of(*w) && n / w > 1 && whole(n / w))
        .collect();
    let values = |stage: Stage, layer: Option<u32>| {
        let pair = pairs
            .iter()
            .find(|p| p.key.stage == Some(stage) && (layer.is_none() || p.key.layer == layer));
        pair?.reference.as_ref()?.values().ok()
    };
    let last = pairs.iter().filter_map(|p| p.key.layer).max();
    let norms = [
        (
            values(EMBED, None).or_else(|| values(INPUT, Some(0))),
            values(ATTN_NORM, Some(0)),
        ),
        (values(ATTN_RESIDUAL, Some(0)), values(MLP_NORM, Some(0))),
        (values(OUTPUT, last), values(FINAL_NORM, None)),
    ];
    let norms: Vec<(Vec<f64>, Vec<f64>)> = norms
        .into_iter()
        .filter_map(|(x, y)| Some((x?, y?)))
        .collect();
    let left = |w: usize| {
        norms
            .iter()
            .map(|(x, y)| not_additive(x, y, w))
            .fold(1.0, f64::min)
    };
    let best = widths
        .into_iter()
        .map(|w| (left(w), w))
        .min_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 < CLEAR).then_some((n / best.1, best.1))
}

/// What a sum a(token) + b(channel) leaves of log |y / x|, as a share of its variance.
fn not_additive(x: &[f64], y: &[f64], width: usize) -> f64 {
    let logs: Vec<f64> = x.iter().zip(y).map(|(x, y)| (y / x).abs().ln()).collect();
    if logs.iter().any(|l| !l.is_finite()) || logs.len() != x.len() {
        return 1.0;
    }
    let rows = logs.len() / width;
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let of_row: Vec<f64> = logs
        .chunks_exact(width)
        .map(|r| r.iter().sum::<f64>() / width as f64)
        .collect();
    let of_column: Vec<f64> = (0..width)
        .map(|j| logs.iter().skip(j).step_by(width).sum::<f64>() / rows as f64)
        .collect();
    let (mut left, mut total) = (0.0, 0.0);
    for (i, l) in logs.iter().enumerate() {
        left += (l - of_row[i / width] - of_column[i % width] + mean).powi(2);
        total += (l - mean).powi(2);
    }
    // the fit has a parameter per row and column
    let free = (rows - 1) * (width - 1);
    if total > 0.0 {
        left / total * (logs.len() - 1) as f64 / free as f64
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_a_norm_is_found() {
        let noise = |i: usize| ((i * 7919 + 13) % 101) as f64 / 101.0 - 0.497;
        let x: Vec<f64> = (0..96)
            .map(|i| noise(i * 3) * (1.0 + (i / 16) as f64))
            .collect();
        let rms =
            |t: usize| (x[t * 16..(t + 1) * 16].iter().map(|v| v * v).sum::<f64>() / 16.0).sqrt();
        let y: Vec<f64> = x
            .iter()
            .enumerate()
            .map(|(i, v)| v / rms(i / 16) * (1.0 + noise(i % 16 + 50)))
            .collect();
        let best = [8, 12, 16, 24, 32, 48]
            .into_iter()
            .min_by(|a, b| not_additive(&x, &y, *a).total_cmp(&not_additive(&x, &y, *b)));
        assert_eq!(best, Some(16));
        assert!(not_additive(&x, &y, 16) < 1e-20);
    }
}
