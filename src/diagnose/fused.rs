//! How one fused projection is cut into Q, K and V.
//!
//! Models order the parts as [Q | K | V] (GPT-2, Phi-3) or, for every key/value head, as its query heads, its key and its value
//! (GPT-NeoX, BLOOM, Falcon, InternLM). No shape tells which. Three identities do, without any weight: a rotation keeps the
//! length of every head's vector; it turns a query and the key of the same token alike, so the diagonal of the scores is that of
//! Q·Kᵀ; and the first token sees itself alone, so its context is its own value.

use super::array::Array;
use super::geometry::Geometry;
use crate::compare::FILLING;
use crate::name::Stage;

/// An order of the parts; `order[i]` is the part (0 for Q, 1 for K, 2 for V) at place i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub order: [usize; 3],
    /// Once for each key/value head, not once for the whole.
    pub grouped: bool,
}

const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [1, 0, 2],
    [0, 2, 1],
    [2, 1, 0],
    [1, 2, 0],
    [2, 0, 1],
];
/// A cut other than the usual one leaves less than this part of what the usual one does.
const CLEARLY: f64 = 0.5;

impl Cut {
    pub const USUAL: Cut = Cut {
        order: ORDERS[0],
        grouped: false,
    };

    /// Every cut, the usual ones first.
    pub fn all() -> impl Iterator<Item = Cut> {
        let of = |grouped| ORDERS.map(|order| Cut { order, grouped });
        let [whole, grouped] = [of(false), of(true)];
        [whole[0], grouped[0]]
            .into_iter()
            .chain(whole.into_iter().skip(1))
            .chain(grouped.into_iter().skip(1))
    }

    /// One part of `[batch, token, all features]`, as `[batch, token, head, channel]`; `None` when the sizes do not fit.
    pub fn part(self, whole: &Array, g: &Geometry, part: usize) -> Option<Array> {
        let &[b, s, f] = whole.shape.as_slice() else {
            return None;
        };
        let (h, d) = (g.heads?, g.head_dim?);
        let kv = g.kv_heads.unwrap_or(h);
        if kv == 0 || h % kv != 0 || (h + 2 * kv) * d != f {
            return None;
        }
        let groups = if self.grouped { kv } else { 1 };
        // channels of each part within one group, and where the wanted one begins
        let sizes = [h * d / groups, kv * d / groups, kv * d / groups];
        let before = self.order.iter().take_while(|p| **p != part);
        let start: usize = before.map(|p| sizes[*p]).sum();
        let mut data = Vec::with_capacity(b * s * groups * sizes[part]);
        for row in whole.data.chunks_exact(f) {
            for group in row.chunks_exact(f / groups) {
                data.extend_from_slice(&group[start..start + sizes[part]]);
            }
        }
        Some(Array::new(vec![b, s, groups * sizes[part] / d, d], data))
    }

    /// In words: `[Q | K | V]`, or `[Q K V] for each head`.
    pub fn text(self) -> String {
        let [a, b, c] = self.order.map(|p| ["Q", "K", "V"][p]);
        if self.grouped {
            format!("[{a} {b} {c}] for each key/value head")
        } else {
            format!("[{a} | {b} | {c}]")
        }
    }

    /// The cut by the first of these layers that tells; what was dumped in each is asked for by its stage.
    pub fn of<'a, D: Fn(Stage) -> Option<Array>>(
        layers: impl Iterator<Item = (&'a Geometry, D)>,
    ) -> Cut {
        for (g, dumped) in layers {
            let Some(whole) = dumped(Stage::QKV_PROJ) else {
                continue;
            };
            let left = |cut: Cut| cut.left(g, &dumped, &whole);
            let Some(usual) = left(Cut::USUAL) else {
                continue;
            };
            let others = Cut::all().skip(1);
            let found = others.filter_map(|cut| Some((left(cut)?, cut)));
            let best = found.min_by(|a, b| a.0.total_cmp(&b.0));
            return match best {
                Some((left, cut)) if left < CLEARLY * usual => cut,
                _ => Cut::USUAL,
            };
        }
        Cut::USUAL
    }

    /// What the identities leave under this cut; `None` where nothing can be tested.
    fn left(
        self,
        g: &Geometry,
        dumped: &impl Fn(Stage) -> Option<Array>,
        whole: &Array,
    ) -> Option<f64> {
        let part = |i| self.part(whole, g, i);
        let mut errors = Vec::new();
        for (i, rotated) in [(0, Stage::Q_ROPE), (1, Stage::K_ROPE)] {
            if let (Some(x), Some(y)) = (part(i), dumped(rotated)) {
                errors.extend(gap(&lengths(&x), &lengths(&y)));
            }
        }
        let scores = [Stage::ATTN_QK, Stage::ATTN_SCORES];
        if let Some(scores) = scores.iter().find_map(|s| dumped(*s)) {
            errors.extend(diagonal(&part(0)?, &part(1)?, &scores));
        }
        if let (Some(v), Some(context)) = (part(2), dumped(Stage::ATTN_CTX)) {
            errors.extend(first_token(&v, &context));
        }
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    }
}

/// Length of every head's vector, sorted: the order of the axes is of no matter.
fn lengths(x: &Array) -> Vec<f64> {
    let mut all: Vec<f64> = x
        .rows()
        .map(|r| r.iter().map(|v| v * v).sum::<f64>().sqrt())
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

fn gap(a: &[f64], b: &[f64]) -> Option<f64> {
    let norm: f64 = b.iter().map(|x| x * x).sum();
    let diff: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
    (a.len() == b.len() && norm > 0.0).then(|| (diff / norm).sqrt())
}

/// What one factor leaves of the diagonal of the scores: 1 − cos², over all heads and tokens.
fn diagonal(q: &Array, k: &Array, scores: &Array) -> Option<f64> {
    let (&[b, s, h, d], &[_, _, kv, _], &[sb, sh, queries, keys]) = (
        q.shape.as_slice(),
        k.shape.as_slice(),
        scores.shape.as_slice(),
    ) else {
        return None;
    };
    if (b, s, h) != (sb, queries, sh) || keys != s || kv == 0 {
        return None;
    }
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for i in 0..b * s * h {
        let (row, head) = (i / h, i % h);
        let (batch, t) = (row / s, row % s);
        let at = (row * kv + head / (h / kv)) * d;
        let dot: f64 = q.data[i * d..(i + 1) * d]
            .iter()
            .zip(&k.data[at..at + d])
            .map(|(x, y)| x * y)
            .sum();
        let y = scores.data[((batch * h + head) * queries + t) * keys + t];
        if y.is_finite() && y > FILLING {
            xy += dot * y;
            xx += dot * dot;
            yy += y * y;
        }
    }
    let left = 1.0 - xy * xy / (xx * yy);
    left.is_finite().then(|| left.max(0.0).sqrt())
}

/// The first token's context against its value.
fn first_token(v: &Array, context: &Array) -> Option<f64> {
    let &[b, s, kv, d] = v.shape.as_slice() else {
        return None;
    };
    let rows = b * s;
    let h = context.data.len() / (rows * d).max(1);
    if kv == 0 || !h.is_multiple_of(kv) || context.data.len() != rows * h * d {
        return None;
    }
    let mut x = Vec::new();
    let mut y = Vec::new();
    for batch in 0..b {
        for head in 0..h {
            let from = (batch * s * kv + head / (h / kv)) * d;
            x.extend_from_slice(&v.data[from..from + d]);
            let to = (batch * s * h + head) * d;
            y.extend_from_slice(&context.data[to..to + d]);
        }
    }
    // without a causal mask the first token sees more, and nothing follows
    gap(&x, &y).map(|g| g.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_takes_each_channel_once() {
        let g = Geometry {
            heads: Some(4),
            kv_heads: Some(2),
            head_dim: Some(2),
            ..Geometry::default()
        };
        let whole = Array::new(vec![1, 1, 16], (0..16).map(f64::from).collect());
        for cut in Cut::all() {
            let mut all: Vec<f64> = (0..3)
                .flat_map(|p| cut.part(&whole, &g, p).unwrap().data.to_vec())
                .collect();
            all.sort_by(f64::total_cmp);
            assert_eq!(all, *whole.data, "{cut:?}");
        }
        let grouped = Cut {
            grouped: true,
            ..Cut::USUAL
        };
        let k = grouped.part(&whole, &g, 1).unwrap();
        assert_eq!(
            (&*k.data, &*k.shape),
            (&[4.0, 5.0, 12.0, 13.0][..], &[1, 1, 2, 2][..])
        );
    }
}
