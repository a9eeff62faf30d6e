//! Sizes of the model, inferred from the shapes of both dumps, and the canonical axes that follow.

use super::array::Array;
use super::flat;
use crate::dump::{Payload, Tensor, TensorInfo};
use crate::name::{Key, Stage};
use crate::pairs::Pair;
use std::collections::{BTreeMap, HashMap};

/// Sizes of the model, as far as shapes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    pub hidden: Option<usize>,
    pub heads: Option<usize>,
    pub kv_heads: Option<usize>,
    pub head_dim: Option<usize>,
    /// (batch, tokens) of each step.
    pub steps: HashMap<Option<u32>, (usize, usize)>,
    /// (batch, tokens) that are looked at, for steps whose tensors are too large to be looked at whole.
    pub kept: HashMap<Option<u32>, (usize, usize)>,
    /// Elements of an array that is looked at whole.
    pub whole: usize,
}

/// Elements that are left of the largest tensor of a step, about.
const PART: usize = 1 << 16;
/// Tokens that are left at least and at most, batch elements at most.
const FEWEST: usize = 16;
const MOST: usize = 1024;
const BATCH: usize = 8;
/// Rows of logits that are left at least: what a tied head needs.
const LOGITS: usize = 6;

/// How a stage's axes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axes {
    /// `[batch, token, feature]`
    Stream,
    /// `[batch, token, head, channel]`
    Heads,
    /// `[batch, head, query, key]`
    Scores,
    /// `[batch, token]`
    Ids,
}

impl Axes {
    pub fn of(stage: Stage) -> Axes {
        use crate::graph::known::*;
        match stage {
            INPUT_IDS | POSITION_IDS | ATTENTION_MASK => Axes::Ids,
            Q_PROJ | K_PROJ | V_PROJ | Q_NORM | K_NORM | Q_ROPE | K_ROPE | ATTN_CTX => Axes::Heads,
            ATTN_QK | ATTN_SCORES | ATTN_WEIGHTS => Axes::Scores,
            _ => Axes::Stream,
        }
    }
}

/// Axes of a tensor as it was dumped.
struct TokenAxes {
    batch: Option<usize>,
    /// Of scores both queries and keys.
    tokens: Vec<usize>,
}

impl Geometry {
    /// Reads the sizes off the shapes; what no shape tells stays `None`.
    pub fn infer(pairs: &[&Pair], whole: usize) -> Geometry {
        let shapes: Vec<(&Key, Stage, Vec<usize>)> = pairs
            .iter()
            .filter_map(|p| {
                let t = p
                    .aligned
                    .as_ref()
                    .map(|(r, _)| r)
                    .or(p.reference.as_ref())
                    .or(p.candidate.as_ref())?;
                // an empty tensor tells no size
                let shape = Some(t.info.shape()).filter(|_| !t.info.is_empty())?;
                Some((&p.key, p.key.stage?, shape.to_vec()))
            })
            .collect();
        let mut g = Geometry {
            whole,
            ..Geometry::default()
        };
        let of_stream = || {
            shapes
                .iter()
                .filter(|(_, s, shape)| flat::STREAM.contains(s) && shape.len() >= 2)
        };
        g.hidden = most_common(of_stream().map(|(_, _, shape)| shape[shape.len() - 1]));
        let scores = |key: &Key| {
            let found = shapes.iter().find(|(k, s, shape)| {
                k.step == key.step && Axes::of(*s) == Axes::Scores && shape.len() >= 3
            })?;
            Some(found.2.clone())
        };
        for (key, _, shape) in
            of_stream().filter(|(_, _, shape)| Some(shape[shape.len() - 1]) == g.hidden)
        {
            let tokens: usize = shape[..shape.len() - 1].iter().product();
            let (batch, seq) = match (shape.len(), scores(key)) {
                (3, _) => (shape[0], shape[1]),
                (2, Some(s)) if s.len() == 4 && s[0] * s[2] == tokens => (s[0], s[2]),
                _ => (1, tokens),
            };
            let known = g.steps.entry(key.step).or_insert((batch, seq));
            // the fullest tensor of the step counts: the last layer may hold the last token only
            if known.0 * known.1 < batch * seq {
                *known = (batch, seq);
            }
        }
        if g.hidden.is_none()
            && let Some((tokens, width)) = flat::tokens_and_width(pairs)
        {
            g.hidden = Some(width);
            g.steps
                .extend(pairs.iter().map(|p| (p.key.step, (1, tokens))));
        }
        g.heads_from(&shapes);
        g.keep_from(&shapes);
        g
    }

    /// Steps with a tensor too large to be looked at whole keep their first batch elements and tokens: the same in all taps, so
    /// that they still belong together. The logits are cut by themselves ([`Geometry::cut`]).
    fn keep_from(&mut self, shapes: &[(&Key, Stage, Vec<usize>)]) {
        for (&step, &(batch, seq)) in &self.steps {
            let of_step = shapes
                .iter()
                .filter(|(k, s, _)| k.step == step && *s != Stage::LOGITS);
            let sizes = of_step.map(|(_, _, shape)| shape.iter().product::<usize>());
            let largest = sizes.max().unwrap_or(0);
            if largest > self.whole && batch * seq > 0 {
                let per_token = largest.div_ceil(batch * seq);
                let batch = batch.min(BATCH);
                let tokens = (PART / (per_token * batch).max(1)).clamp(FEWEST, MOST);
                self.kept.insert(step, (batch, tokens.min(seq)));
            }
        }
    }

    fn heads_from(&mut self, shapes: &[(&Key, Stage, Vec<usize>)]) {
        use crate::graph::known::*;
        let features = |stages: &[Stage]| {
            most_common(
                shapes
                    .iter()
                    .filter(|(_, s, _)| stages.contains(s))
                    .filter_map(|(k, _, shape)| {
                        let (b, s) = self.steps.get(&k.step)?;
                        let n: usize = shape.iter().product();
                        n.is_multiple_of(b * s).then_some(n / (b * s))
                    }),
            )
        };
        let q = features(&[Q_PROJ, Q_NORM, Q_ROPE, ATTN_CTX]);
        let k = features(&[K_PROJ, V_PROJ, K_NORM, K_ROPE]);
        let last_of_four = |stages: &[Stage]| {
            most_common(
                shapes
                    .iter()
                    .filter(|(_, s, shape)| stages.contains(s) && shape.len() >= 3)
                    .filter_map(|(key, _, shape)| {
                        let (b, s) = *self.steps.get(&key.step)?;
                        let d = shape[shape.len() - 1];
                        let inner: usize = shape[..shape.len() - 1].iter().product();
                        // [B, S, features] is no split into heads
                        (inner != b * s && inner.is_multiple_of(b * s)).then_some(d)
                    }),
            )
        };
        let score_heads = most_common(
            shapes
                .iter()
                .filter(|(_, s, _)| Axes::of(*s) == Axes::Scores)
                .filter_map(|(_, _, shape)| match shape.len() {
                    4 => Some(shape[1]),
                    3 => Some(shape[0]),
                    _ => None,
                }),
        );
        self.head_dim = last_of_four(&[
            Q_ROPE, K_ROPE, Q_NORM, K_NORM, Q_PROJ, K_PROJ, V_PROJ, ATTN_CTX,
        ])
        .or_else(|| Some(q? / score_heads?).filter(|d| *d > 0));
        self.heads = score_heads.or_else(|| Some(q? / self.head_dim?));
        self.kv_heads = self
            .head_dim
            .and_then(|d| k.filter(|k| k % d == 0).map(|k| k / d));
    }

    /// The part of a tensor that is looked at: `None` for all of it.
    pub fn cut(&self, key: &Key, tensor: &Tensor) -> Option<Tensor> {
        let shape = tensor.info.shape();
        let mut cut = shape.to_vec();
        if let (Some(stage), Some(&(batch, tokens))) = (key.stage, self.kept.get(&key.step))
            && let Some(axes) = self.token_axes(key, stage, shape)
        {
            for axis in axes.tokens {
                cut[axis] = cut[axis].min(tokens);
            }
            if let Some(axis) = axes.batch {
                cut[axis] = cut[axis].min(batch);
            }
        }
        if cut.iter().product::<usize>() > self.whole {
            let most = if key.stage == Some(Stage::LOGITS) {
                self.whole.max(LOGITS * shape.last()?)
            } else {
                PART
            };
            cut_leading(&mut cut, most);
        }
        if cut == shape {
            return None;
        }
        let strides = tensor.info.strides().to_vec();
        let info = TensorInfo::strided(tensor.info.dtype(), cut, strides).ok()?;
        Some(part_of(tensor, info))
    }

    /// Which axes of a tensor as it was dumped run over batch and tokens; `None` where the shape does not tell.
    fn token_axes(&self, key: &Key, stage: Stage, shape: &[usize]) -> Option<TokenAxes> {
        let &(batch, seq) = self.steps.get(&key.step)?;
        let with_batch = shape.len() >= 2 && shape[0] == batch;
        let of = |tokens: Vec<usize>, has_batch: bool| TokenAxes {
            batch: has_batch.then_some(0),
            tokens,
        };
        let is_seq = |axis: usize| shape.get(axis) == Some(&seq);
        match (Axes::of(stage), shape.len()) {
            (Axes::Ids, 2) | (Axes::Stream, 3) if with_batch && is_seq(1) => {
                Some(of(vec![1], true))
            }
            (Axes::Ids, 1) | (Axes::Stream | Axes::Heads, 2) if batch == 1 && is_seq(0) => {
                Some(of(vec![0], false))
            }
            (Axes::Heads, 4) if with_batch => {
                let heads_first = is_seq(2) && (!is_seq(1) || transposed_by_habit(stage));
                let axis = if heads_first { 2 } else { 1 };
                is_seq(axis).then(|| of(vec![axis], true))
            }
            (Axes::Heads, 3) if with_batch && is_seq(1) && self.head_dim != Some(shape[2]) => {
                Some(of(vec![1], true))
            }
            (Axes::Heads, 3) if batch == 1 => {
                let heads_first = is_seq(1) && (!is_seq(0) || transposed_by_habit(stage));
                let axis = usize::from(heads_first);
                is_seq(axis).then(|| of(vec![axis], false))
            }
            // keys are cut with the queries where both are the tokens of one pass
            (Axes::Scores, 4) if with_batch && is_seq(2) => {
                Some(of(if is_seq(3) { vec![2, 3] } else { vec![2] }, true))
            }
            (Axes::Scores, 3) if batch == 1 && is_seq(1) => {
                Some(of(if is_seq(2) { vec![1, 2] } else { vec![1] }, false))
            }
            _ => None,
        }
    }

    /// Brings an array to the canonical axes of its stage; arrays that do not fit keep their shape. `dumped` is the shape
    /// before it was cut, where it was.
    pub fn canonical(&self, key: &Key, array: Array, dumped: Option<&[usize]>) -> Array {
        let (Some(stage), Some(&whole)) = (key.stage, self.steps.get(&key.step)) else {
            return array;
        };
        let (batch, seq) = match (dumped, self.kept.get(&key.step)) {
            (None, _) => whole,
            // cut by themselves, to the first rows
            (Some(_), _) if stage == Stage::LOGITS => (1, array.rows().len()),
            (Some(dumped), Some(&kept)) if self.token_axes(key, stage, dumped).is_some() => kept,
            _ => return array,
        };
        let n = array.data.len();
        let dims: Vec<usize> = array.shape.iter().copied().filter(|&d| d != 1).collect();
        let reshape = |shape: Vec<usize>| Array {
            shape,
            data: array.data.clone(),
        };
        match Axes::of(stage) {
            Axes::Ids if n == batch * seq => reshape(vec![batch, seq]),
            Axes::Stream if n.is_multiple_of(batch * seq) && n > 0 => {
                reshape(vec![batch, seq, n / (batch * seq)])
            }
            Axes::Scores => match (array.shape.len(), self.heads) {
                (4, _) => array,
                (3, _) => reshape([&[1], &array.shape[..]].concat()),
                (_, Some(h)) if n > 0 && n.is_multiple_of(batch * h * seq) => {
                    reshape(vec![batch, h, seq, n / (batch * h * seq)])
                }
                _ => array,
            },
            Axes::Heads if n.is_multiple_of(batch * seq) && n > 0 => {
                let features = n / (batch * seq);
                let Some(d) = self.head_dim.filter(|d| features.is_multiple_of(*d)) else {
                    return reshape(vec![batch, seq, 1, features]);
                };
                let h = features / d;
                let heads_first = dims.ends_with(&squeezed(&[h, seq, d]))
                    && h > 1
                    && seq > 1
                    && (h != seq || transposed_by_habit(stage));
                if heads_first {
                    reshape(vec![batch, h, seq, d]).swap_middle()
                } else {
                    reshape(vec![batch, seq, h, d])
                }
            }
            _ => array,
        }
    }
}

/// Keeps the first entries of the leading axes, so many that `most` elements are left, and one of the last axes' own.
fn cut_leading(shape: &mut [usize], most: usize) {
    for axis in 0..shape.len() {
        let inner: usize = shape[axis + 1..].iter().product();
        shape[axis] = shape[axis].min((most / inner.max(1)).max(1));
        if inner <= most {
            return;
        }
    }
}

fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d != 1).collect()
}

/// With as many tokens as heads the shape does not tell: rotated Q and K are usually taken after the transposition to
/// [batch, head, token, channel], projections before.
fn transposed_by_habit(stage: Stage) -> bool {
    matches!(stage, Stage::Q_ROPE | Stage::K_ROPE)
}

impl Array {
    /// Exchanges the two middle axes of four.
    pub fn swap_middle(&self) -> Array {
        let &[a, b, c, d] = self.shape.as_slice() else {
            return self.clone();
        };
        let mut data = Vec::with_capacity(self.data.len());
        for i in 0..a {
            for k in 0..c {
                for j in 0..b {
                    let at = ((i * b + j) * c + k) * d;
                    data.extend_from_slice(&self.data[at..at + d]);
                }
            }
        }
        Array::new(vec![a, c, b, d], data)
    }
}

fn most_common(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = BTreeMap::new();
    values.for_each(|v| *counts.entry(v).or_insert(0usize) += 1);
    counts
        .into_iter()
        .max_by_key(|(value, count)| (*count, std::cmp::Reverse(*value)))
        .map(|(value, _)| value)
}

/// The elements of a tensor that `info` names, from its first one on. A checksum is left to the comparison, which has read
/// all that it covers.
pub fn part_of(tensor: &Tensor, info: TensorInfo) -> Tensor {
    let mut part = Tensor {
        info,
        ..tensor.clone()
    };
    if let Payload::File { crc, .. } = &mut part.payload {
        *crc = None;
    }
    part
}
