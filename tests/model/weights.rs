//! Synthetic weights with the statistics of trained ones: outlier channels, gammas around 1, biases that matter.

use super::config::{Config, Fused, NormKind};
use super::math::{Arithmetic, Prng};
use std::collections::BTreeMap;

/// A matrix of `rows` outputs by `cols` inputs (a vector has one row).
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub data: Vec<f64>,
}

impl Matrix {
    pub fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.cols..(r + 1) * self.cols]
    }

    pub fn transposed(&self) -> Matrix {
        let data = (0..self.rows * self.cols)
            .map(|i| self.data[(i % self.rows) * self.cols + i / self.rows])
            .collect();
        Matrix {
            rows: self.cols,
            cols: self.rows,
            data,
        }
    }

    /// The rows in the order `from`.
    pub fn gather(&self, from: &[usize]) -> Matrix {
        let data = from.iter().flat_map(|&r| self.row(r).to_vec()).collect();
        Matrix {
            rows: from.len(),
            cols: self.cols,
            data,
        }
    }
}

/// All parameters by name: `tok_embed`, `layers.0.q_proj`, `layers.0.q_proj.bias`, `layers.0.attn_norm`, `lm_head`, …
pub type Weights = BTreeMap<String, Matrix>;

/// Stages of one layer that carry a norm, in order.
pub fn layer_norms(c: &Config) -> Vec<&'static str> {
    use super::config::Block;
    let mut sites = match c.block {
        Block::PreNorm | Block::Parallel => vec!["attn_norm", "mlp_norm"],
        Block::ParallelShared => vec!["attn_norm"],
        Block::PostNorm => vec!["attn_out_norm", "output"],
    };
    if c.post_norms {
        sites.extend(["attn_post_norm", "mlp_post_norm"]);
    }
    if c.qk_norm {
        sites.extend(["q_norm", "k_norm"]);
    }
    sites
}

/// The parameters of a model; the same names hold the same values whatever else the model has.
pub fn generate(c: &Config, seed: u64) -> Weights {
    let mut w = Weights::new();
    let outliers: Vec<usize> = {
        let mut rng = Prng::named(seed, "outliers");
        (0..4).map(|_| rng.below(c.hidden)).collect()
    };
    let table = |name: &str, rows: usize, std: f64| {
        let mut rng = Prng::named(seed, name);
        let spread: Vec<f64> = (0..c.hidden)
            .map(|i| {
                (0.4 * rng.normal()).exp() * if outliers[..2].contains(&i) { 4.0 } else { 1.0 }
            })
            .collect();
        let mean: Vec<f64> = spread.iter().map(|s| 0.3 * s * rng.normal()).collect();
        let data = (0..rows)
            .flat_map(|_| {
                let size = std * (0.6 * rng.normal()).exp();
                (0..c.hidden)
                    .map(|i| size * (mean[i] + spread[i] * rng.normal()))
                    .collect::<Vec<_>>()
            })
            .collect();
        Matrix {
            rows,
            cols: c.hidden,
            data,
        }
    };
    w.insert(
        "tok_embed".into(),
        table("tok_embed", c.vocab, 0.3 / c.embed_scale.sqrt()),
    );
    if c.learned_positions {
        w.insert("pos_embed".into(), table("pos_embed", 128, 0.2));
    }
    if c.token_types {
        w.insert("type_embed".into(), table("type_embed", 2, 0.15));
    }
    let norm = |w: &mut Weights, key: &str, n: usize| {
        let mut rng = Prng::named(seed, key);
        let gamma = (0..n)
            .map(|i| {
                let g: f64 =
                    if outliers.contains(&i) { 0.3 } else { 1.0 } * (0.3 * rng.normal()).exp();
                if c.plus_one { g - 1.0 } else { g }
            })
            .collect();
        w.insert(
            key.into(),
            Matrix {
                rows: 1,
                cols: n,
                data: gamma,
            },
        );
        if c.norm == NormKind::Layer {
            let beta = (0..n).map(|_| 0.2 * rng.normal()).collect();
            w.insert(
                format!("{key}.bias"),
                Matrix {
                    rows: 1,
                    cols: n,
                    data: beta,
                },
            );
        }
    };
    let linear =
        |w: &mut Weights, key: &str, rows: usize, cols: usize, gain: f64, bias: Option<f64>| {
            let mut rng = Prng::named(seed, key);
            let rank_one: Vec<f64> = (0..cols).map(|_| rng.normal()).collect();
            let data = (0..rows)
                .flat_map(|_| {
                    let size = gain * (0.3 * rng.normal()).exp() / (cols as f64).sqrt();
                    let along = 0.5 * rng.normal();
                    rank_one
                        .iter()
                        .map(|u| size * (0.9 * rng.normal() + along * u))
                        .collect::<Vec<_>>()
                })
                .collect();
            w.insert(key.into(), Matrix { rows, cols, data });
            if let Some(std) = bias {
                let data = (0..rows).map(|_| std * rng.normal()).collect();
                w.insert(
                    format!("{key}.bias"),
                    Matrix {
                        rows: 1,
                        cols: rows,
                        data,
                    },
                );
            }
        };
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    for layer in 0..c.layers {
        let key = |stage: &str| format!("layers.{layer}.{stage}");
        for site in layer_norms(c) {
            let n = if matches!(site, "q_norm" | "k_norm") {
                c.head_dim
            } else {
                c.hidden
            };
            norm(&mut w, &key(site), n);
        }
        let bias = |on: bool, std: f64| on.then_some(std);
        linear(
            &mut w,
            &key("q_proj"),
            q,
            c.hidden,
            1.4,
            bias(c.qkv_bias, 0.4),
        );
        linear(
            &mut w,
            &key("k_proj"),
            kv,
            c.hidden,
            1.4,
            bias(c.qkv_bias, 0.6),
        );
        linear(
            &mut w,
            &key("v_proj"),
            kv,
            c.hidden,
            0.9,
            bias(c.qkv_bias, 0.15),
        );
        linear(
            &mut w,
            &key("o_proj"),
            c.hidden,
            q,
            0.7,
            bias(c.o_bias, 0.1),
        );
        if c.glu {
            linear(
                &mut w,
                &key("gate_proj"),
                c.inter,
                c.hidden,
                1.2,
                bias(c.mlp_bias, 0.1),
            );
        }
        linear(
            &mut w,
            &key("up_proj"),
            c.inter,
            c.hidden,
            1.0,
            bias(c.mlp_bias, 0.2),
        );
        linear(
            &mut w,
            &key("down_proj"),
            c.hidden,
            c.inter,
            0.8,
            bias(c.mlp_bias, 0.1),
        );
        if layer == 1
            && let Some(down) = w.get_mut(&key("down_proj"))
        {
            for &r in &outliers[2..] {
                down.data[r * c.inter..(r + 1) * c.inter]
                    .iter_mut()
                    .for_each(|x| *x *= c.massive);
            }
        }
    }
    use super::config::Block;
    if c.block == Block::PostNorm {
        norm(&mut w, "embed", c.hidden);
    } else {
        norm(&mut w, "final_norm", c.hidden);
    }
    if c.head {
        if c.tied {
            let head = w["tok_embed"].clone();
            w.insert("lm_head".into(), head);
        } else {
            linear(&mut w, "lm_head", c.vocab, c.hidden, 1.0, None);
        }
    }
    w
}

/// Fuses q, k, v rows into `qkv_proj` where the model has one projection for the three.
pub fn fuse(c: &Config, w: &mut Weights) {
    if c.fused == Fused::No {
        return;
    }
    for layer in 0..c.layers {
        for suffix in ["", ".bias"] {
            let parts: Vec<Matrix> = ["q_proj", "k_proj", "v_proj"]
                .iter()
                .filter_map(|p| w.remove(&format!("layers.{layer}.{p}{suffix}")))
                .collect();
            let [q, k, v] = parts.as_slice() else {
                continue;
            };
            // A bias is one row: seen as a column, its rows are the outputs too.
            let column = |m: &Matrix| {
                if suffix.is_empty() {
                    m.clone()
                } else {
                    m.transposed()
                }
            };
            let mut all = column(q);
            all.data.extend(column(k).data);
            all.data.extend(column(v).data);
            all.rows = q.data.len() / all.cols + 2 * (k.data.len() / all.cols);
            if c.fused == Fused::PerHead {
                all = all.gather(&per_head(c.heads, c.head_dim));
            }
            let fused = if suffix.is_empty() {
                all
            } else {
                all.transposed()
            };
            w.insert(format!("layers.{layer}.qkv_proj{suffix}"), fused);
        }
    }
}

/// Row of the whole-fused layout that stands at each row of the per-head layout.
pub fn per_head(heads: usize, dim: usize) -> Vec<usize> {
    (0..3 * heads * dim)
        .map(|i| (i / dim % 3) * heads * dim + (i / (3 * dim)) * dim + i % dim)
        .collect()
}

/// Rounds every parameter to what the arithmetic stores.
pub fn store(w: &mut Weights, arithmetic: Arithmetic) {
    for (name, m) in w.iter_mut() {
        if m.rows > 1 && !name.ends_with("_embed") {
            arithmetic.weights(&mut m.data, m.cols);
        }
        // The reference's parameters are f32 values in every arithmetic, f64 included.
        m.data
            .iter_mut()
            .for_each(|x| *x = arithmetic.store(f64::from(*x as f32)));
    }
}
