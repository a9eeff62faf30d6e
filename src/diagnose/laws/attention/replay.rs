//! Attention computed again from its dumped inputs, under given parameters, on a sample of queries and heads.

use super::mask::{HIDDEN, Mask};
use super::setting::{Merge, Setting, Softmax, Values};
use crate::diagnose::Array;
use crate::diagnose::laws::rope::rotation::Rotation;
use crate::math::dot;

/// Where the scores come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Q and K, `[batch, token, head, channel]`; K holds the keys of earlier steps too.
    Heads { q: Array, k: Array },
    /// Scores, `[batch, head, query, key]`.
    Scores(Array),
    /// Weights, `[batch, head, query, key]`.
    Weights(Array),
}

/// What is to be reproduced.
#[derive(Clone, Debug)]
pub enum Target {
    /// `[batch, head, query, key]`; masked positions do not count.
    Scores(Array),
    Weights(Array),
    /// The context with heads merged, `[batch, token, heads · channels]` row-major, and V of all keys.
    Context {
        context: Array,
        v: Array,
    },
}

/// One attention layer to be replayed.
#[derive(Clone, Debug)]
pub struct Task {
    pub source: Source,
    pub target: Target,
    pub batch: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub channels: usize,
    pub queries: usize,
    pub keys: usize,
    /// Position of the first query among the keys.
    pub first: usize,
    /// Q and K come before RoPE: a rotation may be part of the setting.
    pub raw: bool,
    /// The mask as the target itself shows it.
    pub seen: Option<Mask>,
    /// Padded keys as the attention mask has them.
    pub padding: Option<Vec<Vec<bool>>>,
    /// What is computed: batch rows, heads and queries.
    pub sample: Sample,
}

/// A part that stands for the whole.
#[derive(Clone, Debug)]
pub struct Sample {
    pub batch: Vec<usize>,
    pub heads: Vec<usize>,
    pub queries: Vec<usize>,
}

/// Multiplications per replay.
const BUDGET: usize = 4 << 20;

impl Sample {
    pub fn of(batch: usize, heads: usize, queries: usize, keys: usize, channels: usize) -> Sample {
        let one = (keys * channels).max(1);
        let heads = evenly(heads, 8);
        let rows = (BUDGET / (one * heads.len().max(1))).max(12);
        let queries = evenly(queries, rows.min(64));
        let batch = evenly(batch, (rows / queries.len().max(1)).clamp(1, 8));
        Sample {
            batch,
            heads,
            queries,
        }
    }

    /// Number of lines: one for each batch row, head and query.
    pub fn line_count(&self) -> usize {
        self.batch.len() * self.heads.len() * self.queries.len()
    }

    /// Batch row, head and query of every line, in order.
    pub fn lines(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.batch.iter().flat_map(move |&b| {
            self.heads
                .iter()
                .flat_map(move |&h| self.queries.iter().map(move |&q| (b, h, q)))
        })
    }
}

/// At most `most` of 0..n, evenly spread, the first and the last among them.
fn evenly(n: usize, most: usize) -> Vec<usize> {
    if n <= most || most < 2 {
        return (0..n.min(most.max(1))).collect();
    }
    (0..most).map(|i| i * (n - 1) / (most - 1)).collect()
}

impl Task {
    /// Q·K of every line and key, before scale and mask. Given scores are taken as they are.
    pub fn logits(&self, rotation: Option<&Rotation>, kv_of: &[usize]) -> Vec<f64> {
        match &self.source {
            Source::Heads { q, k } => {
                let turned =
                    rotation.map(|r| (self.turned(r, q, self.first), self.turned(r, k, 0)));
                let (q, k) = match &turned {
                    Some((Some(q), Some(k))) => (q, k),
                    _ => (q, k),
                };
                let d = self.channels;
                let mut out = Vec::with_capacity(self.sample.line_count() * self.keys);
                for (b, h, t) in self.sample.lines() {
                    let at = ((b * self.queries + t) * self.heads + h) * d;
                    let x = &q.data[at..at + d];
                    for u in 0..self.keys {
                        let at = ((b * self.keys + u) * self.kv_heads + kv_of[h]) * d;
                        out.push(dot(x, &k.data[at..at + d]));
                    }
                }
                out
            }
            Source::Scores(a) | Source::Weights(a) => self.picked(a),
        }
    }

    fn turned(&self, rotation: &Rotation, x: &Array, first: usize) -> Option<Array> {
        let (batch, tokens) = (*x.shape.first()?, *x.shape.get(1)?);
        let positions = (0..batch).flat_map(|_| (first..first + tokens).map(|p| p as i64));
        let here = Rotation {
            positions: positions.collect(),
            ..rotation.clone()
        };
        here.apply(x)
    }

    /// The sampled lines of `[batch, head, query, key]`.
    pub fn picked(&self, a: &Array) -> Vec<f64> {
        let keys = a.width();
        let mut out = Vec::with_capacity(self.sample.line_count() * self.keys);
        for (b, h, t) in self.sample.lines() {
            let at = ((b * self.heads + h) * self.queries + t) * keys;
            out.extend_from_slice(&a.data[at..at + self.keys]);
        }
        out
    }

    /// Whether the line says nothing: its query is padding, or nothing is visible to it.
    pub fn is_blank(&self, mask: &Mask, batch: usize, query: usize) -> bool {
        let at = self.first + query;
        mask.is_padded(batch, at) || !(0..self.keys).any(|k| mask.sees(batch, at, k))
    }

    /// Scaled, capped and masked in place: scores become weights.
    pub fn weights(&self, mut logits: Vec<f64>, s: &Setting) -> Vec<f64> {
        if matches!(self.source, Source::Weights(_)) {
            return logits;
        }
        let lines = self.sample.lines().zip(logits.chunks_exact_mut(self.keys));
        for ((b, _, t), line) in lines {
            for (u, x) in line.iter_mut().enumerate() {
                *x = if s.mask.sees(b, self.first + t, u) && *x > HIDDEN {
                    shaped(*x, s)
                } else {
                    f64::NEG_INFINITY
                };
            }
            if s.softmax != Softmax::OverQueries {
                let top = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut sum = 0.0;
                for x in line.iter_mut() {
                    *x = (*x - top).exp();
                    sum += *x;
                }
                if s.softmax == Softmax::OverKeys {
                    line.iter_mut().for_each(|x| *x /= sum);
                }
            }
        }
        if s.softmax == Softmax::OverQueries {
            let block = self.sample.queries.len() * self.keys;
            for block in logits.chunks_exact_mut(block) {
                for u in 0..self.keys {
                    let column = || block.iter().skip(u).step_by(self.keys).copied();
                    let top = column().fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = column().map(|x| (x - top).exp()).sum();
                    for x in block.iter_mut().skip(u).step_by(self.keys) {
                        *x = (*x - top).exp() / sum;
                    }
                }
            }
        }
        logits
    }

    /// ‖prediction − target‖ / ‖target‖ over the sampled lines that say something; `None` when none does.
    pub fn residual(&self, s: &Setting) -> Option<f64> {
        self.residual_within(s, &s.mask)
    }

    /// Whether a setting, maybe of another side, has the heads of this one, where it needs any.
    pub fn takes(&self, s: &Setting) -> bool {
        let heads = matches!(self.source, Source::Heads { .. })
            || matches!(self.target, Target::Context { .. });
        !heads || s.kv_of.len() == self.heads && s.kv_of.iter().all(|g| *g < self.kv_heads)
    }

    /// The same over lines that say something under `other` too.
    pub fn residual_within(&self, s: &Setting, other: &Mask) -> Option<f64> {
        if !self.takes(s) {
            return None;
        }
        let logits = self.logits(s.rotation.as_ref(), &s.kv_of);
        self.residual_of(logits, s, other)
    }

    /// The same with known logits.
    pub fn residual_of(&self, logits: Vec<f64>, s: &Setting, other: &Mask) -> Option<f64> {
        let mut sum = Sum::default();
        let blank = |b: usize, t: usize| self.is_blank(&s.mask, b, t) || self.is_blank(other, b, t);
        match &self.target {
            Target::Scores(scores) => {
                let target = self.picked(scores);
                for (x, y) in logits.iter().zip(&target).filter(|(_, y)| **y > HIDDEN) {
                    sum.add(shaped(*x, s), *y);
                }
            }
            Target::Weights(weights) => {
                let target = self.picked(weights);
                let w = self.weights(logits, s);
                let lines = w
                    .chunks_exact(self.keys)
                    .zip(target.chunks_exact(self.keys));
                for ((b, _, t), (w, y)) in self.sample.lines().zip(lines) {
                    if !blank(b, t) {
                        w.iter().zip(y).for_each(|(w, y)| sum.add(*w, *y));
                    }
                }
            }
            Target::Context { context, v } => {
                let w = self.weights(logits, s);
                let values = match (s.values, &self.source) {
                    (Values::K, Source::Heads { k, .. }) => k,
                    _ => v,
                };
                let mut row = vec![0.0; self.channels];
                for ((b, h, t), w) in self.sample.lines().zip(w.chunks_exact(self.keys)) {
                    if blank(b, t) {
                        continue;
                    }
                    self.mix(w, values, b, s.kv_of[h], &mut row);
                    for (c, x) in row.iter().enumerate() {
                        sum.add(*x, context.data[self.place(s.merge, b, h, t, c)]);
                    }
                }
            }
        }
        sum.relative()
    }

    /// Σ over keys of weight · value.
    pub fn mix(&self, weights: &[f64], values: &Array, batch: usize, kv: usize, out: &mut [f64]) {
        out.fill(0.0);
        let d = self.channels;
        for (u, w) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            let at = ((batch * self.keys + u) * self.kv_heads + kv) * d;
            for (o, x) in out.iter_mut().zip(&values.data[at..at + d]) {
                *o += w * x;
            }
        }
    }

    /// Where a channel of a head stands in the merged context.
    pub fn place(&self, merge: Merge, b: usize, h: usize, t: usize, c: usize) -> usize {
        let (heads, tokens, d) = (self.heads, self.queries, self.channels);
        match merge {
            Merge::TokensFirst => ((b * tokens + t) * heads + h) * d + c,
            Merge::HeadsFirst => ((b * heads + h) * tokens + t) * d + c,
            Merge::ChannelsFirst => ((b * tokens + t) * d + c) * heads + h,
        }
    }
}

/// Scale and soft cap.
pub fn shaped(x: f64, s: &Setting) -> f64 {
    match s.cap {
        Some(c) => c * (s.scale * x / c).tanh(),
        None => s.scale * x,
    }
}

/// Squared difference and norm, over finite numbers.
#[derive(Default)]
struct Sum {
    difference: f64,
    norm: f64,
}

impl Sum {
    fn add(&mut self, x: f64, y: f64) {
        if x.is_finite() && y.is_finite() {
            self.difference += (x - y) * (x - y);
            self.norm += y * y;
        }
    }

    fn relative(&self) -> Option<f64> {
        (self.norm > 0.0).then(|| (self.difference / self.norm).sqrt())
    }
}
