//! What two sets of logits say position by position: the greedy token, the leading tokens, the Kullback–Leibler divergence.

use crate::dump::{Payload, ReadError, Tensor, TensorInfo};
use serde::{Deserialize, Serialize};

/// What the two distributions over the vocabulary say, position by position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logits {
    /// Share of positions where the largest logit is the same token.
    pub top1_agreement: f64,
    /// Mean overlap of the sets of the ten largest logits.
    pub topk_overlap: f64,
    /// Mean Kullback–Leibler divergence of the candidate from the reference, in nats.
    pub kl: f64,
    pub first_mismatch: Option<TokenMismatch>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenMismatch {
    pub position: usize,
    pub reference: usize,
    pub candidate: usize,
}

/// Size of the sets of leading tokens that are compared.
const LEADING: usize = 10;
/// Elements read at a time.
const CHUNK: usize = 1 << 20;
/// A tensor that cannot be read in parts is read whole up to this many elements.
const WHOLE: usize = 1 << 24;

/// Compares the distributions along the last axis; `None` for tensors without a vocabulary axis or known in part only.
pub fn compare_logits(reference: &Tensor, candidate: &Tensor) -> Result<Option<Logits>, ReadError> {
    let shape = reference.info.shape();
    let Some(&vocabulary) = shape
        .last()
        .filter(|v| **v > 1 && shape == candidate.info.shape())
    else {
        return Ok(None);
    };
    let known = |t: &Tensor| {
        matches!(
            t.payload,
            Payload::File { .. } | Payload::Memory(_) | Payload::Stream(_)
        )
    };
    let rows = reference.info.len() / vocabulary;
    if rows == 0 || !known(reference) || !known(candidate) {
        return Ok(None);
    }
    let step = if in_parts(reference) && in_parts(candidate) {
        (CHUNK / vocabulary).max(1)
    } else if reference.info.len() <= WHOLE {
        rows
    } else {
        return Ok(None);
    };
    let mut sums = Sums::default();
    for first in (0..rows).step_by(step) {
        let n = step.min(rows - first);
        let (r, c) = (
            part(reference, first, n, vocabulary)?,
            part(candidate, first, n, vocabulary)?,
        );
        for (i, (r, c)) in r
            .chunks_exact(vocabulary)
            .zip(c.chunks_exact(vocabulary))
            .enumerate()
        {
            sums.add(first + i, r, c);
        }
    }
    Ok(Some(sums.report()))
}

#[derive(Default)]
struct Sums {
    rows: usize,
    same: usize,
    overlap: f64,
    kl: f64,
    first_mismatch: Option<TokenMismatch>,
}

impl Sums {
    fn add(&mut self, position: usize, r: &[f64], c: &[f64]) {
        let leading = LEADING.min(r.len());
        let (top_r, top_c) = (top(r, leading), top(c, leading));
        self.rows += 1;
        if top_r[0] == top_c[0] {
            self.same += 1;
        } else if self.first_mismatch.is_none() {
            self.first_mismatch = Some(TokenMismatch {
                position,
                reference: top_r[0],
                candidate: top_c[0],
            });
        }
        self.overlap += top_r.iter().filter(|t| top_c.contains(t)).count() as f64 / leading as f64;
        self.kl += divergence(r, c);
    }

    fn report(self) -> Logits {
        let n = self.rows as f64;
        Logits {
            top1_agreement: self.same as f64 / n,
            topk_overlap: self.overlap / n,
            kl: (self.kl / n).max(0.0),
            first_mismatch: self.first_mismatch,
        }
    }
}

/// Indices of the largest values, the largest first; NaN counts as the smallest, equal values keep their order.
fn top(x: &[f64], k: usize) -> Vec<usize> {
    let value = |i: usize| {
        if x[i].is_nan() {
            f64::NEG_INFINITY
        } else {
            x[i]
        }
    };
    let mut best: Vec<usize> = Vec::with_capacity(k + 1);
    for i in 0..x.len() {
        if best.len() == k && value(i) <= value(best[k - 1]) {
            continue;
        }
        let at = best.partition_point(|&b| value(b) >= value(i));
        best.insert(at, i);
        best.truncate(k);
    }
    best
}

/// KL(softmax(r) ‖ softmax(c)) in nats, over the tokens that are finite on both sides.
fn divergence(r: &[f64], c: &[f64]) -> f64 {
    let both = || {
        r.iter()
            .zip(c)
            .filter(|(a, b)| a.is_finite() && b.is_finite())
    };
    let (max_r, max_c) = both().fold((f64::NEG_INFINITY, f64::NEG_INFINITY), |(m, n), (a, b)| {
        (m.max(*a), n.max(*b))
    });
    let (sum_r, sum_c) = both().fold((0.0, 0.0), |(s, t), (a, b)| {
        (s + (a - max_r).exp(), t + (b - max_c).exp())
    });
    let (log_r, log_c) = (max_r + f64::ln(sum_r), max_c + f64::ln(sum_c));
    both()
        .map(|(a, b)| (a - log_r).exp() * ((a - log_r) - (b - log_c)))
        .sum()
}

fn in_parts(t: &Tensor) -> bool {
    t.info.is_contiguous() && matches!(t.payload, Payload::File { .. })
}

/// `n` rows from `first` on.
fn part(t: &Tensor, first: usize, n: usize, width: usize) -> Result<Vec<f64>, ReadError> {
    let Payload::File {
        file,
        offset,
        big_endian,
        ..
    } = &t.payload
    else {
        return t.values();
    };
    let Ok(info) = TensorInfo::new(t.info.dtype(), vec![n, width]) else {
        return t.values();
    };
    if !in_parts(t) {
        return t.values();
    }
    let offset = offset + (first * width * t.info.dtype().size()) as u64;
    let payload = Payload::in_file(file.clone(), offset, *big_endian);
    Tensor {
        info,
        payload,
        ..t.clone()
    }
    .values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_have_no_divergence_and_a_shift_does_not_count() {
        let r = [0.1, 2.0, -1.0, 0.5];
        let shifted: Vec<f64> = r.iter().map(|x| x + 7.0).collect();
        assert!(divergence(&r, &r).abs() < 1e-15);
        assert!(divergence(&r, &shifted).abs() < 1e-15);
    }

    #[test]
    fn the_divergence_of_two_coins_is_the_textbook_value() {
        // p = (1/2, 1/2), q = (1/4, 3/4): ½ ln 2 + ½ ln ⅔
        let kl = divergence(&[0.0, 0.0], &[0.0, f64::ln(3.0)]);
        assert!((kl - (0.5 * f64::ln(2.0) + 0.5 * f64::ln(2.0 / 3.0))).abs() < 1e-15);
    }

    #[test]
    fn the_first_position_with_another_greedy_token_is_named() {
        let mut sums = Sums::default();
        sums.add(0, &[3.0, 1.0, 2.0], &[3.0, 2.0, 1.0]);
        sums.add(1, &[3.0, 1.0, 2.0], &[1.0, f64::NAN, 2.0]);
        let report = sums.report();
        assert_eq!(report.top1_agreement, 0.5);
        assert_eq!(
            report.first_mismatch,
            Some(TokenMismatch {
                position: 1,
                reference: 0,
                candidate: 2
            })
        );
        assert_eq!(top(&[1.0, 1.0, 0.0], 2), [0, 1]);
    }
}
