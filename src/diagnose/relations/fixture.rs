//! Dumps made up in memory, for the tests of relations.

use super::{Case, Relation};
use crate::diagnose::{Array, Scene, Side, Suspicion};
use crate::dtype::DType;
use crate::dump::{Origin, Payload, Printed, Tensor, TensorInfo};
use crate::name::{Key, Stage};
use crate::pairs::{Outcome, Pair};
use std::sync::Arc;

/// Pairs in the order in which they are given.
#[derive(Default)]
pub struct Dumps {
    pairs: Vec<Pair>,
}

pub fn key(layer: u32, stage: Stage) -> Key {
    Key {
        layer: stage.is_per_layer().then_some(layer),
        stage: Some(stage),
        ..Key::default()
    }
}

fn tensor(name: &str, array: &Array, dtype: DType) -> Tensor {
    let mut bytes = Vec::new();
    array.data.iter().for_each(|x| dtype.encode(*x, &mut bytes));
    Tensor {
        name: name.into(),
        info: TensorInfo::new(dtype, array.shape.clone()).unwrap(),
        origin: Origin {
            path: name.into(),
            member: None,
            format: "memory",
        },
        payload: Payload::Memory(bytes.into()),
        printed: Printed::default(),
        guess: None,
        sequence: None,
    }
}

impl Dumps {
    pub fn with(self, layer: u32, stage: Stage, reference: Array, candidate: Array) -> Self {
        self.typed(
            layer,
            stage,
            (reference, DType::F64),
            (candidate, DType::F64),
        )
    }

    /// The same values on both sides.
    pub fn same(self, layer: u32, stage: Stage, values: &Array) -> Self {
        self.with(layer, stage, values.clone(), values.clone())
    }

    /// Each side in a type of its own.
    pub fn typed(
        mut self,
        layer: u32,
        stage: Stage,
        reference: (Array, DType),
        candidate: (Array, DType),
    ) -> Self {
        let key = key(layer, stage);
        let name = key.to_string();
        let side = |(array, dtype): (Array, DType)| Arc::new(tensor(&name, &array, dtype));
        self.pairs.push(Pair {
            outcome: Outcome::Incomparable(String::new()),
            ..Pair::new(key, Some(side(reference)), Some(side(candidate)))
        });
        self
    }

    /// Runs `look` on the case of one stage.
    pub fn case(&self, layer: u32, stage: Stage, look: impl FnOnce(&Case<'_>)) {
        let errors: Vec<Option<f64>> = self
            .pairs
            .iter()
            .map(|p| {
                let values = |t: &Option<Arc<Tensor>>| t.as_ref().unwrap().values().unwrap();
                let (r, c) = (values(&p.reference), values(&p.candidate));
                let array = |v: Vec<f64>| Array::new(vec![v.len()], v);
                Some(array(c).distance(&array(r)))
            })
            .collect();
        let scene = Scene::new(&self.pairs, &errors);
        let key = key(layer, stage);
        let i = scene.find(&key).unwrap();
        let (r, c) = (
            scene.load(Side::Reference, i).unwrap(),
            scene.load(Side::Candidate, i).unwrap(),
        );
        look(&Case {
            scene: &scene,
            key: &key,
            reference: &r,
            candidate: &c,
            error: errors[i].unwrap(),
            noise: 2e-6,
            looks_like_noise: Default::default(),
        });
    }

    /// What one relation says about one stage, the most convincing first.
    pub fn test(&self, relation: &dyn Relation, layer: u32, stage: Stage) -> Vec<Suspicion> {
        let mut found = Vec::new();
        self.case(layer, stage, |case| found = relation.test(case));
        found.sort_by(|a, b| (a.after / a.before).total_cmp(&(b.after / b.before)));
        found
    }

    /// Ids of what one relation says, the most convincing first.
    pub fn causes(&self, relation: &dyn Relation, layer: u32, stage: Stage) -> Vec<&'static str> {
        self.test(relation, layer, stage)
            .iter()
            .map(|s| s.cause.id)
            .collect()
    }
}

/// Deterministic numbers, roughly normal.
pub fn normal(n: usize, seed: u64) -> Vec<f64> {
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

/// `[1, tokens, width]`.
pub fn stream(tokens: usize, width: usize, seed: u64) -> Array {
    Array::new(vec![1, tokens, width], normal(tokens * width, seed))
}

/// Like rounding in a coarser arithmetic.
pub fn noisy(a: &Array, level: f64, seed: u64) -> Array {
    let noise = normal(a.data.len(), seed);
    let data = a
        .data
        .iter()
        .zip(noise)
        .map(|(x, e)| x + level * x.abs().max(0.3) * e)
        .collect();
    Array::new(a.shape.clone(), data)
}

/// x·Wᵀ for a weight `[out, in]`, row by row.
pub fn project(x: &Array, weight: &[f64], out: usize) -> Array {
    let width = x.width();
    let data = x
        .rows()
        .flat_map(|row| {
            weight
                .chunks_exact(width)
                .map(|w| w.iter().zip(row).map(|(a, b)| a * b).sum::<f64>())
                .collect::<Vec<_>>()
        })
        .collect();
    let mut shape = x.shape.clone();
    *shape.last_mut().unwrap() = out;
    Array::new(shape, data)
}
