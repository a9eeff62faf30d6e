//! The forward pass: embedding, layers, head, with every stage tapped.

use super::attention;
use super::config::{Block, Config, Fused, Padding};
use super::math::Arithmetic;
use super::recipe::{Patch, Recipe, Residual};
use super::tap::{Data, Inputs, Run, Tap};
use super::weights::{Weights, per_head};

/// One pass over one step's tokens.
pub struct Pass<'a> {
    pub config: &'a Config,
    pub recipe: &'a Recipe,
    pub weights: &'a Weights,
    pub arithmetic: Arithmetic,
    pub inputs: &'a Inputs,
    pub prefix: String,
    /// Columns `start..start + len` of the sequence are computed.
    pub start: usize,
    pub len: usize,
    pub run: Run,
    /// Per layer: rotated keys and values of the columns so far, `[batch][column][channel]`.
    pub cache: Vec<[Vec<Vec<Vec<f64>>>; 2]>,
}

impl Pass<'_> {
    /// Rounds a result as this side stores it.
    pub fn store(&self, x: f64) -> f64 {
        let y = self.arithmetic.store(x);
        if self.recipe.overflow && self.arithmetic == Arithmetic::F16 && y.abs() > 65504.0 {
            return y.signum() * f64::INFINITY;
        }
        y
    }

    /// Records a stage, after what its buffer suffers; the values returned flow on.
    pub fn tap(&mut self, key: &str, shape: &[usize], mut data: Vec<f64>) -> Vec<f64> {
        if let Some(patch) = self.recipe.patches.get(key)
            && (self.config.decode == 0 || self.start > 0 || !matches!(patch, Patch::Stale(_)))
        {
            self.suffer(*patch, key, shape, &mut data);
        }
        let key = format!("{}{key}", self.prefix);
        self.run.tensors.push(Tap {
            key,
            shape: shape.to_vec(),
            data: Data::Float(data.clone()),
        });
        data
    }

    pub fn linear(&self, name: &str, x: &[f64], bias: bool) -> Vec<f64> {
        let a = self.arithmetic;
        let w = &self.weights[name];
        let b = self.weights.get(&format!("{name}.bias")).filter(|_| bias);
        x.chunks(w.cols)
            .flat_map(|row| {
                let row = a.activations(row);
                (0..w.rows).map(move |r| {
                    let y = a.dot(&row, w.row(r));
                    self.store(b.map_or(y, |b| a.inner(y + b.data[r])))
                })
            })
            .collect()
    }

    fn add(&self, a: &[f64], b: &[f64]) -> Vec<f64> {
        a.iter().zip(b).map(|(x, y)| self.store(x + y)).collect()
    }

    fn residual(&self, how: Residual, input: &[f64], normed: &[f64], branch: &[f64]) -> Vec<f64> {
        let with = |f: &dyn Fn(f64, f64) -> f64, input: &[f64]| {
            input
                .iter()
                .zip(branch)
                .map(|(x, y)| self.store(f(*x, *y)))
                .collect()
        };
        match how {
            Residual::Sum => with(&|x, y| x + y, input),
            Residual::BranchOnly => branch.to_vec(),
            Residual::InputDoubled => with(&|x, y| 2.0 * x + y, input),
            Residual::BranchDoubled => with(&|x, y| x + 2.0 * y, input),
            Residual::Minus => with(&|x, y| x - y, input),
            Residual::FromNormed => with(&|x, y| x + y, normed),
            Residual::InputTwice => with(&|x, _| 2.0 * x, input),
            Residual::BranchTwice => with(&|_, y| 2.0 * y, input),
        }
    }

    /// Runs embedding, layers and head over the step's columns.
    pub fn step(&mut self) {
        let mut x = self.embed();
        for layer in 0..self.config.layers {
            x = self.layer(layer, x);
        }
        let c = self.config;
        let rows = [c.batch, self.len];
        if c.block != Block::PostNorm {
            let normed = self.norm("final_norm", &x);
            x = self.tap("final_norm", &[rows[0], rows[1], c.hidden], normed);
        }
        if c.head {
            let scaled = self.linear("lm_head", &x, true).into_iter().map(|y| {
                let y = self.arithmetic.inner(y * self.recipe.logit_scale);
                self.store(
                    self.recipe
                        .logit_softcap
                        .map_or(y, |cap| cap * self.arithmetic.inner((y / cap).tanh())),
                )
            });
            let logits = scaled.collect();
            self.tap("logits", &[rows[0], rows[1], c.vocab], logits);
        }
    }

    fn embed(&mut self) -> Vec<f64> {
        let (c, r) = (self.config, self.recipe);
        let shape = [c.batch, self.len, c.hidden];
        let total = c.seq as i64;
        let ids: Vec<usize> = (0..c.batch * self.len)
            .map(|i| {
                let column = self.start + i % self.len;
                let column = if self.start == 0 {
                    (column as i64 + r.roll).rem_euclid(total) as usize
                } else {
                    column
                };
                let id = self.inputs.ids[i / self.len][column] as i64;
                (id + r.id_offset).rem_euclid(c.vocab as i64) as usize
            })
            .collect();
        let rows = [c.batch, self.len];
        self.tap_ids("input_ids", &rows, ids.iter().map(|&i| i as i64).collect());
        if c.pad != Padding::None {
            let until = self.start + self.len;
            let mask = self
                .inputs
                .real
                .iter()
                .flat_map(|row| row[..until].iter().map(|&k| i64::from(k)))
                .collect();
            self.tap_ids("attention_mask", &[c.batch, until], mask);
        }
        let gather = |name: &str, rows: Vec<usize>| -> Vec<f64> {
            rows.iter()
                .flat_map(|&i| self.weights[name].row(i).to_vec())
                .collect()
        };
        let tokens = gather("tok_embed", ids.iter().map(|&i| r.rows[i]).collect());
        let mut x = self.tap("tok_embed", &shape, tokens);
        if r.positions {
            let at = (0..c.batch * self.len).map(|i| {
                let position =
                    self.position(i / self.len, self.start + i % self.len) + r.position_offset;
                position.rem_euclid(128) as usize
            });
            let rows = gather("pos_embed", at.collect());
            let rows = self.tap("pos_embed", &shape, rows);
            x = self.add(&x, &rows);
        }
        if r.token_types {
            let half = c.seq / 2;
            let rows = gather(
                "type_embed",
                (0..c.batch * self.len)
                    .map(|i| usize::from(i % self.len >= half))
                    .collect(),
            );
            let rows = self.tap("type_embed", &shape, rows);
            x = self.add(&x, &rows);
        }
        if c.block == Block::PostNorm {
            x = self.tap("embed_sum", &shape, x);
            x = self.norm("embed", &x);
        } else if r.embed_scale != 1.0 {
            let scale = self.store(r.embed_scale);
            x.iter_mut().for_each(|v| *v = self.store(*v * scale));
        }
        self.tap("embed", &shape, x)
    }

    pub fn tap_ids(&mut self, key: &str, shape: &[usize], ids: Vec<i64>) {
        let key = format!("{}{key}", self.prefix);
        self.run.tensors.push(Tap {
            key,
            shape: shape.to_vec(),
            data: Data::Ids(ids),
        });
    }

    /// Position of a column, before the faults of rotation.
    pub fn position(&self, batch: usize, column: usize) -> i64 {
        let shift = if self.start > 0 {
            self.recipe.decode_offset
        } else {
            0
        };
        if !self.config.positions_skip_padding {
            return column as i64 + shift;
        }
        let before = self.inputs.real[batch][..=column]
            .iter()
            .filter(|&&k| k)
            .count() as i64;
        // Hugging Face gives padding the position 1 (or 0 where nothing came before).
        (before - 1).max(0) + shift
    }

    fn layer(&mut self, layer: usize, input: Vec<f64>) -> Vec<f64> {
        let c = self.config;
        let shape = [c.batch, self.len, c.hidden];
        let wide = [c.batch, self.len, c.inter];
        let rule = self.recipe.layers[layer].clone();
        let key = |stage: &str| format!("layers.{layer}.{stage}");
        let input = self.tap(&key("input"), &shape, input);
        let mut normed = input.clone();
        if c.block != Block::PostNorm {
            let y = self.norm(&key("attn_norm"), &input);
            normed = self.tap(&key("attn_norm"), &shape, y);
        }
        let mut branch = attention::attend(self, layer, &normed);
        if c.post_norms {
            let y = self.norm(&key("attn_post_norm"), &branch);
            branch = self.tap(&key("attn_post_norm"), &shape, y);
        }
        let mut stream = input.clone();
        let mut mlp_input = normed.clone();
        if !c.parallel() {
            stream = self.residual(rule.attn_residual, &input, &normed, &branch);
            stream = self.tap(&key("attn_residual"), &shape, stream);
        }
        match c.block {
            Block::PreNorm | Block::Parallel => {
                let read = if rule.norm_before_attention {
                    &input
                } else {
                    &stream
                };
                let y = self.norm(&key("mlp_norm"), read);
                mlp_input = self.tap(&key("mlp_norm"), &shape, y);
            }
            Block::PostNorm => {
                let y = self.norm(&key("attn_out_norm"), &stream);
                mlp_input = self.tap(&key("attn_out_norm"), &shape, y);
                stream = mlp_input.clone();
            }
            Block::ParallelShared => {}
        }
        let mut gate = None;
        if c.glu {
            let y = self.linear(&key("gate_proj"), &mlp_input, true);
            gate = Some(self.tap(&key("gate_proj"), &wide, y));
        }
        let y = self.linear(&key("up_proj"), &mlp_input, true);
        let up = self.tap(&key("up_proj"), &wide, y);
        let mid = match gate {
            None => up.iter().map(|&x| self.activate(rule.act, x)).collect(),
            Some(gate) => {
                let (on, by) = if rule.act_on_up {
                    (up, gate)
                } else {
                    (gate, up)
                };
                let y = on.iter().map(|&x| self.activate(rule.act, x)).collect();
                let act = self.tap(&key("act"), &wide, y);
                act.iter()
                    .zip(&by)
                    .map(|(x, y)| self.store(x * y))
                    .collect()
            }
        };
        let mid = self.tap(&key("mlp_mid"), &wide, mid);
        let y = self.linear(&key("down_proj"), &mid, true);
        let mut mlp = self.tap(&key("down_proj"), &shape, y);
        if c.post_norms {
            let y = self.norm(&key("mlp_post_norm"), &mlp);
            mlp = self.tap(&key("mlp_post_norm"), &shape, y);
        }
        if c.parallel() {
            stream = self.residual(rule.attn_residual, &stream, &normed, &branch);
        }
        if rule.sum_before_attention {
            stream = input;
        }
        let mut output = self.residual(rule.mlp_residual, &stream, &mlp_input, &mlp);
        if c.block == Block::PostNorm {
            output = self.tap(&key("mlp_residual"), &shape, output);
            output = self.norm(&key("output"), &output);
        }
        self.tap(&key("output"), &shape, output)
    }

    /// Rows of q, k, v as the fused output is cut; the caller's order of the three stands in `order`.
    pub fn cut(&self, fused: &[f64], layout: Fused, order: [usize; 3]) -> [Vec<f64>; 3] {
        let c = self.config;
        let part = c.heads * c.head_dim;
        let heads = per_head(c.heads, c.head_dim);
        let mut out = [const { Vec::new() }; 3];
        for row in fused.chunks(3 * part) {
            let mut whole = row.to_vec();
            if layout == Fused::PerHead {
                heads
                    .iter()
                    .enumerate()
                    .for_each(|(i, &w)| whole[w] = row[i]);
            }
            for (slot, &from) in out.iter_mut().zip(&order) {
                slot.extend_from_slice(&whole[from * part..(from + 1) * part]);
            }
        }
        out
    }
}
