//! What a run dumps, and the batch it is run on.

use super::config::{Config, Padding};
use super::math::Prng;

/// A dumped stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Tap {
    /// Canonical key, with a step prefix where there are decode steps.
    pub key: String,
    pub shape: Vec<usize>,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Values of the side's arithmetic, held exactly.
    Float(Vec<f64>),
    Ids(Vec<i64>),
}

impl Data {
    /// The values as f64, ids included.
    pub fn floats(&self) -> Vec<f64> {
        match self {
            Data::Float(v) => v.clone(),
            Data::Ids(v) => v.iter().map(|&i| i as f64).collect(),
        }
    }
}

/// What one side dumped, in the order it was computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub tensors: Vec<Tap>,
}

impl Run {
    pub fn get(&self, key: &str) -> Option<&Tap> {
        self.tensors.iter().find(|t| t.key == key)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Tap> {
        self.tensors.iter_mut().find(|t| t.key == key)
    }
}

/// The batch: ids and which of them are padding.
pub struct Inputs {
    pub ids: Vec<Vec<usize>>,
    pub real: Vec<Vec<bool>>,
}

impl Inputs {
    /// Prompt and decode tokens; some tokens stand twice, the first is a BOS.
    pub fn new(c: &Config, seed: u64) -> Inputs {
        let mut rng = Prng::named(seed, "input_ids");
        let mut ids = Vec::new();
        let mut real = Vec::new();
        for b in 0..c.batch {
            let mut row: Vec<usize> = (0..c.seq + c.decode)
                .map(|_| 3 + rng.below(c.vocab - 3))
                .collect();
            row[0] = 1;
            row[4] = row[2];
            let mut keep = vec![true; row.len()];
            let padded = |n: usize| {
                if b + 1 == c.batch {
                    n
                } else if b > 0 {
                    n / 2
                } else {
                    0
                }
            };
            match c.pad {
                Padding::None => {}
                Padding::Left(n) => {
                    row.rotate_right(padded(n));
                    keep[..padded(n)].fill(false);
                }
                Padding::Right(n) => keep[c.seq - padded(n)..c.seq].fill(false),
            }
            for (id, keep) in row.iter_mut().zip(&keep) {
                if !keep {
                    *id = 0;
                }
            }
            ids.push(row);
            real.push(keep);
        }
        Inputs { ids, real }
    }
}
