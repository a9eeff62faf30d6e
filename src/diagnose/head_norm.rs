//! A norm of the heads that was not dumped: RoPE leaves the first position as it is, so the norm is seen there.
//!
//! Q and K of many models (Qwen3, Gemma 3) are normed head by head before they are rotated. All heads share one weight, so the
//! first token of the projection and of the rotated vector gives each channel of it several times over.

use super::laws::rope::start;
use super::{Array, Side, Site};
use crate::math::distance;
use crate::name::Stage;

/// What one weight for all heads may leave, in the coarsest arithmetic.
pub const SAME: f64 = 0.02;

/// The heads of the first token, of every row of the batch.
pub struct FirstToken {
    /// Channels of a head.
    width: usize,
    /// The projection, divided by the root mean square of its head and of all heads of the token.
    by_head: Vec<f64>,
    by_token: Vec<f64>,
    after: Vec<f64>,
}

impl FirstToken {
    /// From the projection and what RoPE made of it; `None` where they are equal (there is no norm) or do not tell.
    pub fn of(site: &Site<'_>, projected: Stage, rotated: Stage) -> Option<FirstToken> {
        let first = match start(site) {
            0 => *site,
            _ => site.at_step(site.geometry().steps.keys().min().copied()?),
        };
        let (x, y) = (first.tap(projected)?, first.dumped(rotated)?);
        let &[batch, tokens, heads, width] = x.shape.as_slice() else {
            return None;
        };
        if x.shape != y.shape || batch * heads < 2 || x.data.is_empty() {
            return None;
        }
        let heads_of = |a: &Array| -> Vec<f64> {
            let rows = a.data.chunks_exact(tokens * heads * width);
            rows.flat_map(|row| &row[..heads * width])
                .copied()
                .collect()
        };
        let (raw, after) = (heads_of(&x), heads_of(&y));
        (distance(&after, &raw) > SAME).then(|| FirstToken {
            width,
            by_head: normalised(&raw, width),
            by_token: normalised(&raw, heads * width),
            after,
        })
    }

    /// The weight of each channel, by least squares over all heads, where one fits them all.
    pub fn weight(&self) -> Option<Vec<f64>> {
        let (mut xy, mut xx) = (vec![0.0; self.width], vec![0.0; self.width]);
        let heads = self.by_head.chunks_exact(self.width);
        for (x, y) in heads.zip(self.after.chunks_exact(self.width)) {
            for j in 0..self.width {
                xy[j] += x[j] * y[j];
                xx[j] += x[j] * x[j];
            }
        }
        let weight: Vec<f64> = xy.iter().zip(&xx).map(|(a, b)| a / b).collect();
        (self.left_by_head(&weight) < SAME).then_some(weight)
    }

    /// Relative error that a norm of each head with this weight leaves.
    pub fn left_by_head(&self, weight: &[f64]) -> f64 {
        distance(&weighted(&self.by_head, weight), &self.after)
    }

    /// The same of a norm over all heads of the token.
    pub fn left_by_token(&self, weight: &[f64]) -> f64 {
        distance(&weighted(&self.by_token, weight), &self.after)
    }
}

/// The normed Q or K of a side, from its projection and the weight that the reference's first token shows; `None` where the
/// reference norms no heads, or too few to tell.
pub fn undumped(site: &Site<'_>, projected: Stage, rotated: Stage) -> Option<Array> {
    let first = FirstToken::of(&site.on(Side::Reference), projected, rotated)?;
    let weight = first.weight()?;
    let x = site.tap(projected)?;
    (x.width() == weight.len()).then(|| {
        let normed = normalised(&x.data, x.width());
        Array::new(x.shape.clone(), weighted(&normed, &weight))
    })
}

/// Every so many values divided by their root mean square.
fn normalised(values: &[f64], width: usize) -> Vec<f64> {
    let rows = values.chunks_exact(width).flat_map(|row| {
        let rms = (row.iter().map(|x| x * x).sum::<f64>() / width as f64).sqrt();
        row.iter().map(move |x| x / rms)
    });
    rows.collect()
}

fn weighted(values: &[f64], weight: &[f64]) -> Vec<f64> {
    let rows = values.chunks_exact(weight.len());
    let weighted = rows.flat_map(|row| row.iter().zip(weight).map(|(x, w)| x * w));
    weighted.collect()
}
