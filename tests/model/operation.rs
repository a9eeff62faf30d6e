//! Single operations of a pass: norms, activations, and what a buffer may suffer after one.

use super::config::{Activation, NormKind};
use super::forward::Pass;
use super::math::{Prng, round_mantissa};
use super::recipe::{Norm, NormLaw, Patch};

impl Pass<'_> {
    /// The norm of site `key` over rows of its weight's width.
    pub fn norm(&self, key: &str, x: &[f64]) -> Vec<f64> {
        let rule = self.recipe.norms[key];
        match rule.law {
            NormLaw::Missing => x.to_vec(),
            NormLaw::Twice => self.norm_once(key, rule, &self.norm_once(key, rule, x)),
            NormLaw::Once | NormLaw::WholeRow => self.norm_once(key, rule, x),
        }
    }

    fn norm_once(&self, key: &str, rule: Norm, x: &[f64]) -> Vec<f64> {
        let a = self.arithmetic;
        let gamma = &self.weights[key].data;
        let beta = self.weights.get(&format!("{key}.bias")).map(|b| &b.data);
        let width = match rule.law {
            NormLaw::WholeRow => x.len() / (self.inputs.ids.len() * self.len),
            _ => gamma.len(),
        };
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks(width) {
            let n = row.len() as f64;
            let mean = match rule.kind {
                NormKind::Layer => a.inner(a.sum(row.iter().copied()) / n),
                NormKind::Rms => 0.0,
            };
            let centred: Vec<f64> = row.iter().map(|x| a.inner(x - mean)).collect();
            let var = a.inner(a.sum(centred.iter().map(|x| a.inner(x * x))) / n);
            let inverse = a.inner(1.0 / a.inner(a.inner(var + rule.eps).sqrt()));
            for (i, x) in centred.iter().enumerate() {
                let g = gamma[i % gamma.len()] + if rule.plus_one { 1.0 } else { 0.0 };
                let y = a.inner(a.inner(x * inverse) * a.inner(g));
                out.push(self.store(beta.map_or(y, |b| a.inner(y + b[i % b.len()]))));
            }
        }
        out
    }

    pub fn activate(&self, act: Activation, x: f64) -> f64 {
        let a = self.arithmetic;
        let sigmoid = |z: f64| a.inner(1.0 / a.inner(1.0 + a.inner((-z).exp())));
        self.store(match act {
            Activation::Silu => x * sigmoid(x),
            Activation::QuickGelu => x * sigmoid(a.inner(1.702 * x)),
            Activation::GeluErf => {
                0.5 * x * a.inner(1.0 + a.inner(erf(x / std::f64::consts::SQRT_2)))
            }
            Activation::GeluTanh => {
                let z = a
                    .inner((2.0 / std::f64::consts::PI).sqrt() * a.inner(x + 0.044715 * x * x * x));
                0.5 * x * a.inner(1.0 + a.inner(z.tanh()))
            }
            Activation::Relu => x.max(0.0),
            Activation::Identity => x,
        })
    }

    /// Leaves in a stage's buffer what the patch says.
    pub fn suffer(&self, patch: Patch, key: &str, shape: &[usize], data: &mut [f64]) {
        let row = data.len() / shape[0];
        match patch {
            Patch::Stale(other) => {
                let beside = key
                    .rsplit_once('.')
                    .map_or(String::new(), |(layer, _)| format!("{layer}.{other}"));
                let step = &self.prefix;
                let held = [
                    format!("{step}{other}"),
                    format!("{step}{beside}"),
                    other.to_string(),
                ]
                .iter()
                .find_map(|k| self.run.get(k))
                .map(|t| t.data.floats());
                let held = held
                    .unwrap_or_else(|| panic!("{key}: nothing called {other} was computed before"));
                assert_eq!(held.len(), data.len(), "{key} cannot hold {other}");
                data.copy_from_slice(&held);
            }
            Patch::TailZero(tile) => {
                let width = row / self.len;
                for (i, x) in data.iter_mut().enumerate() {
                    if i / width % self.len >= self.len / tile * tile {
                        *x = 0.0;
                    }
                }
            }
            Patch::FirstBatchOnly => data[row..].fill(0.0),
            Patch::FirstBatchRepeated => {
                let (first, rest) = data.split_at_mut(row);
                rest.chunks_mut(row).for_each(|r| r.copy_from_slice(first));
            }
            Patch::Dropout(p) => {
                let mut rng = Prng::named(7, key);
                for x in data.iter_mut() {
                    let keep = rng.uniform() >= p;
                    *x = self.store(if keep { *x / (1.0 - p) } else { 0.0 });
                }
            }
            Patch::Mantissa(bits) => data.iter_mut().for_each(|x| *x = round_mantissa(*x, bits)),
            Patch::Overflow => data
                .iter_mut()
                .filter(|x| x.abs() > 65504.0)
                .for_each(|x| *x = x.signum() * f64::INFINITY),
            Patch::Saturate => data
                .iter_mut()
                .for_each(|x| *x = x.clamp(-65504.0, 65504.0)),
        }
    }
}

/// The error function, to f64 accuracy: its series, and a continued fraction for the tail.
pub fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..80 {
            let n = f64::from(n);
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut fraction = 0.0;
        for n in (1..60).rev() {
            fraction = f64::from(n) / 2.0 / (z + fraction);
        }
        1.0 - (-z * z).exp() / std::f64::consts::PI.sqrt() / (z + fraction)
    };
    value.copysign(x)
}
