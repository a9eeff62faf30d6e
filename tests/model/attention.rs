//! Attention of one layer: projections, per-head norms, rotation, scores, softmax, context.

use super::config::{Fused, RopeScaling};
use super::forward::Pass;
use super::math::Arithmetic;
use super::recipe::{Cache, Layer, Rotation, Softmax};

/// From the normed input to the output projection, every stage tapped.
pub fn attend(pass: &mut Pass<'_>, layer: usize, x: &[f64]) -> Vec<f64> {
    let c = pass.config;
    let rule = pass.recipe.layers[layer].clone();
    let key = |stage: &str| format!("layers.{layer}.{stage}");
    let [mut q, mut k, mut v] = project(pass, layer, &rule, x);
    for (slot, (values, heads)) in [
        (&mut q, c.heads),
        (&mut k, c.kv_heads),
        (&mut v, c.kv_heads),
    ]
    .into_iter()
    .enumerate()
    {
        if rule.split_swapped[slot] {
            *values = values
                .chunks(heads * c.head_dim)
                .flat_map(|row| regroup(row, c.head_dim, heads))
                .collect();
        }
    }
    let q_shape = [c.batch, pass.len, c.heads, c.head_dim];
    let k_shape = [c.batch, pass.len, c.kv_heads, c.head_dim];
    if c.qk_norm {
        let y = pass.norm(&key("q_norm"), &q);
        q = pass.tap(&key("q_norm"), &q_shape, y);
        let y = pass.norm(&key("k_norm"), &k);
        k = pass.tap(&key("k_norm"), &k_shape, y);
    }
    if let Some(rotation) = rule.rotation {
        let y = if rotation.on_q {
            rotate(pass, rotation, &q, c.heads)
        } else {
            q
        };
        q = pass.tap(&key("q_rope"), &q_shape, y);
        let y = if rotation.on_k {
            rotate(pass, rotation, &k, c.kv_heads)
        } else {
            k
        };
        k = pass.tap(&key("k_rope"), &k_shape, y);
    }
    remember(pass, layer, &k, &v);
    let total = pass.start + pass.len;
    let shape = [c.batch, c.heads, pass.len, total];
    let raw = products(pass, layer, &rule, &q);
    let raw = pass.tap(&key("attn_qk"), &shape, raw);
    let scores = mask(pass, &rule, &raw);
    let scores = pass.tap(&key("attn_scores"), &shape, scores);
    let weights = softmax(pass, &rule, &scores);
    let weights = pass.tap(&key("attn_weights"), &shape, weights);
    let ctx = context(pass, layer, &rule, &weights);
    let ctx = pass.tap(
        &key("attn_ctx"),
        &[c.batch, pass.len, c.heads * c.head_dim],
        ctx,
    );
    let y = pass.linear(&key("o_proj"), &ctx, true);
    pass.tap(&key("o_proj"), &[c.batch, pass.len, c.hidden], y)
}

fn project(pass: &mut Pass<'_>, layer: usize, rule: &Layer, x: &[f64]) -> [Vec<f64>; 3] {
    let c = pass.config;
    let key = |stage: &str| format!("layers.{layer}.{stage}");
    let widths = [c.heads, c.kv_heads, c.kv_heads].map(|h| h * c.head_dim);
    let names = ["q_proj", "k_proj", "v_proj"];
    let parts = if c.fused == Fused::No {
        rule.qkv_order
            .map(|from| pass.linear(&key(names[from]), x, true))
    } else {
        let fused = pass.linear(&key("qkv_proj"), x, true);
        let fused = pass.tap(
            &key("qkv_proj"),
            &[c.batch, pass.len, widths.iter().sum()],
            fused,
        );
        pass.cut(&fused, rule.fused, rule.qkv_order)
    };
    let mut out = [const { Vec::new() }; 3];
    for (i, part) in parts.into_iter().enumerate() {
        out[i] = pass.tap(&key(names[i]), &[c.batch, pass.len, widths[i]], part);
    }
    out
}

/// A row of `outer · inner` values read as [outer, inner] and written as [inner, outer].
fn regroup(row: &[f64], outer: usize, inner: usize) -> Vec<f64> {
    (0..row.len())
        .map(|i| row[(i % outer) * inner + i / outer])
        .collect()
}

/// The angle of one pair at one position.
fn angle(pass: &Pass<'_>, rotation: Rotation, pair: usize, position: i64) -> f64 {
    let rope = rotation.rope;
    let exact = pass.arithmetic == Arithmetic::F32Chunked;
    let round = |x: f64| if exact { x } else { pass.arithmetic.inner(x) };
    let mut frequency = round(rope.theta.powf(-2.0 * pair as f64 / rope.dims as f64));
    match rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Linear(factor) => frequency = round(frequency / factor),
        RopeScaling::Llama3 {
            factor,
            low,
            high,
            original,
        } => {
            let wavelength = std::f64::consts::TAU / frequency;
            let ramp = ((original / wavelength - low) / (high - low)).clamp(0.0, 1.0);
            frequency = round((1.0 - ramp) * frequency / factor + ramp * frequency);
        }
    }
    round((position + rotation.offset) as f64 * frequency)
}

fn rotate(pass: &Pass<'_>, rotation: Rotation, x: &[f64], heads: usize) -> Vec<f64> {
    let dim = pass.config.head_dim;
    let half = rotation.rope.dims / 2;
    let mut out = x.to_vec();
    for (row, values) in out.chunks_mut(heads * dim).enumerate() {
        let position = pass.position(row / pass.len, pass.start + row % pass.len);
        for pair in 0..half {
            let (sin, cos) = angle(pass, rotation, pair, position).sin_cos();
            let (sin, cos) = (pass.store(rotation.sign * sin), pass.store(cos));
            let (i, j) = if rotation.rope.interleaved {
                (2 * pair, 2 * pair + 1)
            } else {
                (pair, pair + half)
            };
            for head in values.chunks_mut(dim) {
                let a = pass.arithmetic;
                let (u, v) = (head[i], head[j]);
                head[i] = pass.store(a.inner(u * cos) - a.inner(v * sin));
                head[j] = pass.store(a.inner(v * cos) + a.inner(u * sin));
            }
        }
    }
    out
}

/// Writes this step's keys and values into the cache.
fn remember(pass: &mut Pass<'_>, layer: usize, k: &[f64], v: &[f64]) {
    let width = pass.config.kv_heads * pass.config.head_dim;
    let (start, len, how) = (pass.start, pass.len, pass.recipe.cache);
    for (side, values) in [k, v].into_iter().enumerate() {
        for (row, values) in values.chunks(width).enumerate() {
            let held = &mut pass.cache[layer][side][row / len];
            let column = start + row % len;
            held.resize(column + 1, vec![0.0; width]);
            let at = match how {
                Cache::NeverWritten if start > 0 => continue,
                Cache::OneEarly if start > 0 => column - 1,
                _ => column,
            };
            held[at] = values.to_vec();
        }
    }
}

fn kv_head(pass: &Pass<'_>, rule: &Layer, head: usize) -> usize {
    let c = pass.config;
    if rule.tiled_kv {
        head % c.kv_heads
    } else {
        head / (c.heads / c.kv_heads)
    }
}

/// Q·K, unscaled.
fn products(pass: &Pass<'_>, layer: usize, rule: &Layer, q: &[f64]) -> Vec<f64> {
    let c = pass.config;
    let d = c.head_dim;
    let mut out = Vec::new();
    for b in 0..c.batch {
        for h in 0..c.heads {
            let g = kv_head(pass, rule, h) * d;
            for i in 0..pass.len {
                let at = ((b * pass.len + i) * c.heads + h) * d;
                for key in &pass.cache[layer][0][b] {
                    out.push(pass.store(pass.arithmetic.dot(&q[at..at + d], &key[g..g + d])));
                }
            }
        }
    }
    out
}

/// Scale, soft cap and masks.
fn mask(pass: &Pass<'_>, rule: &Layer, raw: &[f64]) -> Vec<f64> {
    let c = pass.config;
    let total = pass.start + pass.len;
    let fill = match pass.arithmetic {
        // The most negative finite value of the type, as masks are filled there.
        Arithmetic::F16 if rule.mask_fill.is_finite() => -65504.0,
        Arithmetic::Bf16 if rule.mask_fill < -1e38 && rule.mask_fill.is_finite() => {
            -3.389_531_389_251_535_5e38
        }
        _ => rule.mask_fill,
    };
    raw.iter()
        .enumerate()
        .map(|(at, &s)| {
            let (b, i, j) = (
                at / (c.heads * pass.len * total),
                at / total % pass.len,
                at % total,
            );
            let query = (pass.start + i) as i64;
            let visible = rule.ahead.is_none_or(|ahead| j as i64 <= query + ahead)
                && rule.window.is_none_or(|w| (j as i64) > query - w as i64)
                && (!rule.padding_mask || pass.inputs.real[b][j]);
            if !visible {
                return fill;
            }
            let s = pass.store(s * rule.scale);
            rule.softcap.map_or(s, |cap| {
                pass.store(cap * pass.arithmetic.inner((s / cap).tanh()))
            })
        })
        .collect()
}

fn softmax(pass: &Pass<'_>, rule: &Layer, scores: &[f64]) -> Vec<f64> {
    let total = pass.start + pass.len;
    let len = pass.len;
    let a = pass.arithmetic;
    let one = |row: &[f64], divide: bool| -> Vec<f64> {
        let top = row.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
        let exps: Vec<f64> = row.iter().map(|x| a.inner((x - top).exp())).collect();
        let sum = if divide {
            a.sum(exps.iter().copied())
        } else {
            1.0
        };
        exps.iter().map(|e| pass.store(e / sum)).collect()
    };
    if rule.softmax != Softmax::Columns {
        return scores
            .chunks(total)
            .flat_map(|row| one(row, rule.softmax == Softmax::Rows))
            .collect();
    }
    let mut out = vec![0.0; scores.len()];
    for (block, written) in scores.chunks(len * total).zip(out.chunks_mut(len * total)) {
        for j in 0..total {
            let column: Vec<f64> = (0..len).map(|i| block[i * total + j]).collect();
            one(&column, true)
                .into_iter()
                .enumerate()
                .for_each(|(i, w)| written[i * total + j] = w);
        }
    }
    out
}

/// Weights · V with the heads merged.
fn context(pass: &Pass<'_>, layer: usize, rule: &Layer, weights: &[f64]) -> Vec<f64> {
    let c = pass.config;
    let (d, total, len) = (c.head_dim, pass.start + pass.len, pass.len);
    let mut out = vec![0.0; c.batch * len * c.heads * d];
    for (at, row) in weights.chunks(total).enumerate() {
        let (b, h, i) = (at / (c.heads * len), at / len % c.heads, at % len);
        let g = kv_head(pass, rule, h) * d;
        for channel in 0..d {
            let column: Vec<f64> = pass.cache[layer][1][b]
                .iter()
                .map(|v| v[g + channel])
                .collect();
            let to = if rule.merge_swapped {
                // [H, S, D] flattened as it lies.
                ((b * c.heads + h) * len + i) * d + channel
            } else {
                ((b * len + i) * c.heads + h) * d + channel
            };
            out[to] = pass.store(pass.arithmetic.dot(row, &column));
        }
    }
    out
}
