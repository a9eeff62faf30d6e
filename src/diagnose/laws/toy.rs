//! A small attention layer for tests of the laws: every tap of one layer, with faults to choose.

use super::attention::cache::Held;
use super::rope::permutation::Permutation;
use super::rope::rotation::{Pairing, Rotation, Series};
use crate::diagnose::{Array, Scene};
use crate::dtype::DType;
use crate::dump::{Origin, Payload, Printed, Tensor, TensorInfo};
use crate::name::{Key, Stage};
use crate::pairs::{Outcome, Pair};
use std::sync::Arc;

/// One attention layer. `Default` is a Llama: 2 batch elements, 12 tokens, 4 heads over 2, 16 channels each.
#[derive(Clone, Debug)]
pub struct Toy {
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
    pub rope: bool,
    pub pairing: Pairing,
    pub series: Series,
    pub rotated: usize,
    pub sign: f64,
    /// Added to the positions of each batch row.
    pub offset: Vec<i64>,
    /// Channels of Q and K re-ordered by the weights.
    pub weights: Permutation,
    pub scale: f64,
    pub cap: Option<f64>,
    pub causal: Option<i64>,
    pub window: Option<usize>,
    /// Tokens at the start of each batch row that are padding.
    pub pads: Vec<usize>,
    pub fill: f64,
    pub tiled: bool,
    pub unmerged: bool,
    pub v_is_k: bool,
    pub over_queries: bool,
    pub normalised: bool,
    /// What the cache holds for tokens from here on.
    pub cache: Option<(usize, Held)>,
    /// Added to the position of tokens from here on.
    pub new_offset: Option<(usize, i64)>,
    /// Added to the context of padded rows.
    pub pad_rows: f64,
    /// Every tap is rounded to a mantissa of so many bits.
    pub bits: u32,
    pub seed: u64,
}

impl Default for Toy {
    fn default() -> Self {
        Toy {
            batch: 2,
            tokens: 12,
            heads: 4,
            kv_heads: 2,
            d: 16,
            rope: true,
            pairing: Pairing::Halves,
            series: Series {
                theta: 1e4,
                factor: 1.0,
            },
            rotated: 16,
            sign: 1.0,
            offset: vec![0, 0],
            weights: Permutation::None,
            scale: 0.25,
            cap: None,
            causal: Some(0),
            window: None,
            pads: vec![0, 0],
            fill: f64::NEG_INFINITY,
            tiled: false,
            unmerged: false,
            v_is_k: false,
            over_queries: false,
            normalised: true,
            cache: None,
            new_offset: None,
            pad_rows: 0.0,
            bits: 24,
            seed: 1,
        }
    }
}

/// Normally distributed numbers from a fixed seed (sums of uniform ones).
pub fn noise(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n)
        .map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0)
        .collect()
}

impl Toy {
    fn rounded(&self, a: Array) -> Array {
        let unit = 2f64.powi(self.bits as i32);
        a.map(|x| {
            if x == 0.0 || !x.is_finite() {
                return x;
            }
            let exponent = x.abs().log2().floor();
            let scale = unit / 2f64.powf(exponent + 1.0);
            (x * scale).round() / scale
        })
    }

    fn rotation(&self) -> Rotation {
        let positions = |b: usize| (0..self.tokens as i64).map(move |t| (b, t));
        Rotation {
            pairing: self.pairing,
            rotated: self.rotated,
            frequencies: self
                .series
                .frequencies(self.rotated)
                .iter()
                .map(|w| w * self.sign)
                .collect(),
            series: Some(self.series),
            positions: (0..self.batch)
                .flat_map(positions)
                .map(|(b, t)| match self.new_offset {
                    Some((first, by)) if t >= first as i64 => t + by,
                    _ => t + self.offset[b],
                })
                .collect(),
            amplitude: 1.0,
        }
    }

    pub fn sees(&self, b: usize, query: usize, key: usize) -> bool {
        let (q, k) = (query as i64, key as i64);
        self.causal.is_none_or(|diagonal| k <= q + diagonal)
            && self.window.is_none_or(|w| query < key + w)
            && key >= self.pads[b]
    }

    /// All taps, in canonical axes except for the context, whose heads are merged.
    pub fn run(&self) -> Vec<(Stage, Array)> {
        let (b, s, h, g, d) = (self.batch, self.tokens, self.heads, self.kv_heads, self.d);
        let tensor = |n: u64, heads: usize| {
            let raw = Array::new(
                vec![b, s, heads, d],
                noise(self.seed * 7 + n, b * s * heads * d),
            );
            self.rounded(raw)
        };
        let re_ordered = |x: Array| self.weights.apply(&x).unwrap();
        let (q, k, v) = (
            re_ordered(tensor(1, h)),
            re_ordered(tensor(2, g)),
            tensor(3, g),
        );
        let turn = |x: &Array| match self.rope {
            true => self.rounded(self.rotation().apply(x).unwrap()),
            false => x.clone(),
        };
        let (qr, kr) = (turn(&q), turn(&k));
        // what queries of a later step find in the cache
        let cached = |x: &Array| {
            let (first, held) = self.cache?;
            Some((first, held.applied(x, first)?))
        };
        let (k_cache, v_cache) = (cached(&kr), cached(&v));
        let seen_from = |x: &Array, cache: &Option<(usize, Array)>, t: usize| match cache {
            Some((first, held)) if t >= *first => held.clone(),
            _ => x.clone(),
        };
        let kv = |head: usize| {
            if self.tiled { head % g } else { head / (h / g) }
        };
        let at = |x: &Array, i: usize, t: usize, head: usize| {
            let heads = x.shape[2];
            let start = ((i * s + t) * heads + head) * d;
            x.data[start..start + d].to_vec()
        };
        let dot = |u: &[f64], w: &[f64]| u.iter().zip(w).map(|(a, b)| a * b).sum::<f64>();
        let mut scores = Vec::new();
        for i in 0..b {
            for head in 0..h {
                for t in 0..s {
                    let kr = seen_from(&kr, &k_cache, t);
                    for u in 0..s {
                        let mut x =
                            self.scale * dot(&at(&qr, i, t, head), &at(&kr, i, u, kv(head)));
                        if let Some(c) = self.cap {
                            x = c * (x / c).tanh();
                        }
                        scores.push(if self.sees(i, t, u) { x } else { self.fill });
                    }
                }
            }
        }
        let scores = self.rounded(Array::new(vec![b, h, s, s], scores));
        let mut weights = vec![0.0; b * h * s * s];
        for (m, block) in weights.chunks_exact_mut(s * s).enumerate() {
            let of = |t: usize, u: usize| scores.data[m * s * s + t * s + u];
            for t in 0..s {
                for u in 0..s {
                    let line = |x: usize| {
                        if self.over_queries {
                            of(x, u)
                        } else {
                            of(t, x)
                        }
                    };
                    let top = (0..s).map(line).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = (0..s).map(|x| (line(x) - top).exp()).sum();
                    let e = (of(t, u) - top).exp();
                    block[t * s + u] = if self.normalised { e / sum } else { e };
                }
            }
        }
        let weights = self.rounded(Array::new(vec![b, h, s, s], weights));
        let values = if self.v_is_k { &k } else { &v };
        let mut context = vec![0.0; b * s * h * d];
        for i in 0..b {
            for head in 0..h {
                for t in 0..s {
                    let row = ((i * h + head) * s + t) * s;
                    let out = if self.unmerged {
                        ((i * h + head) * s + t) * d
                    } else {
                        ((i * s + t) * h + head) * d
                    };
                    let values = seen_from(values, &v_cache, t);
                    for u in 0..s {
                        let w = weights.data[row + u];
                        for (c, x) in at(&values, i, u, kv(head)).iter().enumerate() {
                            context[out + c] += w * x;
                        }
                    }
                }
            }
        }
        for (row, x) in context.chunks_exact_mut(h * d).enumerate() {
            if row % s < self.pads[row / s] {
                x.iter_mut().for_each(|x| *x += self.pad_rows);
            }
        }
        let context = self.rounded(Array::new(vec![b, s, h * d], context));
        vec![
            (
                Stage::ATTN_NORM,
                Array::new(vec![b, s, 64], noise(99, b * s * 64)),
            ),
            (Stage::Q_PROJ, q),
            (Stage::K_PROJ, k),
            (Stage::V_PROJ, v),
            (Stage::Q_ROPE, qr),
            (Stage::K_ROPE, kr),
            (Stage::ATTN_SCORES, scores),
            (Stage::ATTN_WEIGHTS, weights),
            (Stage::ATTN_CTX, context),
        ]
    }
}

pub fn key(step: Option<u32>, stage: Stage) -> Key {
    Key {
        step,
        layer: Some(0),
        stage: Some(stage),
        ..Key::default()
    }
}

fn tensor(a: &Array) -> Tensor {
    let bytes: Vec<u8> = a.data.iter().flat_map(|x| x.to_le_bytes()).collect();
    Tensor {
        name: String::new(),
        info: TensorInfo::new(DType::F64, a.shape.clone()).unwrap(),
        origin: Origin {
            path: "toy".into(),
            member: None,
            format: "toy",
        },
        payload: Payload::Memory(bytes.into()),
        printed: Printed::default(),
        guess: None,
        sequence: None,
    }
}

/// Pairs of the stages either side has.
pub fn pairs(
    step: Option<u32>,
    reference: &[(Stage, Array)],
    candidate: &[(Stage, Array)],
) -> Vec<Pair> {
    let of = |side: &[(Stage, Array)], stage: Stage| {
        side.iter()
            .find(|(s, _)| *s == stage)
            .map(|(_, a)| Arc::new(tensor(a)))
    };
    let mut stages: Vec<Stage> = reference.iter().chain(candidate).map(|(s, _)| *s).collect();
    stages.sort();
    stages.dedup();
    let pair = |stage| Pair {
        outcome: Outcome::Incomparable(String::new()),
        ..Pair::new(key(step, stage), of(reference, stage), of(candidate, stage))
    };
    stages.into_iter().map(pair).collect()
}

/// The taps of a whole run as two steps: the first tokens, then the others with the first ones as their past.
pub fn steps(taps: &[(Stage, Array)], first: usize) -> [Vec<(Stage, Array)>; 2] {
    let part = |range: std::ops::Range<usize>| {
        let cut = |stage: Stage, a: &Array| {
            let shape = &a.shape;
            let scores = matches!(stage, Stage::ATTN_SCORES | Stage::ATTN_WEIGHTS);
            let axis = if scores { 2 } else { 1 };
            let (outer, n): (usize, usize) = (shape[..axis].iter().product(), shape[axis]);
            let inner: usize = shape[axis + 1..].iter().product();
            let keys = if scores { range.end } else { inner };
            let mut data = Vec::new();
            for o in 0..outer {
                for t in range.clone() {
                    let at = (o * n + t) * inner;
                    data.extend_from_slice(&a.data[at..at + keys]);
                }
            }
            let mut shape = shape.clone();
            shape[axis] = range.len();
            if scores {
                shape[axis + 1] = range.end;
            }
            Array::new(shape, data)
        };
        taps.iter().map(|(s, a)| (*s, cut(*s, a))).collect()
    };
    let tokens = taps[0].1.shape[1];
    [part(0..first), part(first..tokens)]
}

/// Runs `look` on the scene of two dumps.
pub fn scene<T>(pairs: &[Pair], look: impl FnOnce(&Scene<'_>) -> T) -> T {
    let errors = vec![None; pairs.len()];
    look(&Scene::new(pairs, &errors))
}

/// Taps of a run without some stages.
pub fn without(taps: Vec<(Stage, Array)>, stages: &[Stage]) -> Vec<(Stage, Array)> {
    taps.into_iter()
        .filter(|(s, _)| !stages.contains(s))
        .collect()
}
