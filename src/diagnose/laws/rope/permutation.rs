//! Orders of the channels within a head.

use super::rotation::Pairing;
use crate::diagnose::Array;

/// How the channels of every head were re-ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permutation {
    None,
    /// Halves to adjacent pairs: channel i goes to 2i, channel i + d/2 to 2i + 1 (convert_hf_to_gguf.py, `permute`).
    ToAdjacent,
    /// Adjacent pairs to halves, the reverse.
    ToHalves,
}

impl Permutation {
    pub const ALL: [Permutation; 3] = [
        Permutation::None,
        Permutation::ToAdjacent,
        Permutation::ToHalves,
    ];

    /// Re-orders the last axis of `[batch, token, head, channel]`; `None` when it has an odd length.
    pub fn apply(self, x: &Array) -> Option<Array> {
        let d = x.width();
        if self == Permutation::None {
            return Some(x.clone());
        }
        if d % 2 == 1 {
            return None;
        }
        let from: Vec<usize> = (0..d)
            .map(|c| match self {
                Permutation::ToAdjacent => c / 2 + (c % 2) * (d / 2),
                _ => (c % (d / 2)) * 2 + c / (d / 2),
            })
            .collect();
        let data = x.rows().flat_map(|row| from.iter().map(|&c| row[c]));
        Some(Array {
            shape: x.shape.clone(),
            data: data.collect(),
        })
    }

    /// The pairing that means the same after the re-ordering.
    pub fn of_pairing(self, pairing: Pairing) -> Option<Pairing> {
        match (self, pairing) {
            (Permutation::None, p) => Some(p),
            (Permutation::ToAdjacent, Pairing::Halves) => Some(Pairing::Adjacent),
            (Permutation::ToHalves, Pairing::Adjacent) => Some(Pairing::Halves),
            _ => None,
        }
    }

    /// The re-ordering that takes `x` to `y`, when one leaves less than a tenth of what none does and less than `limit`.
    pub fn between(x: &Array, y: &Array, limit: f64) -> Option<(Permutation, f64)> {
        let plain = y.distance(x);
        let mut found = (Permutation::None, plain);
        for p in [Permutation::ToAdjacent, Permutation::ToHalves] {
            let d = y.distance(&p.apply(x)?);
            if d < 0.1 * plain && d < found.1 {
                found = (p, d);
            }
        }
        (found.1 < limit).then_some(found)
    }

    pub fn text(self) -> &'static str {
        match self {
            Permutation::None => "the same order",
            Permutation::ToAdjacent => "halves interleaved within each head",
            Permutation::ToHalves => "adjacent pairs split into halves within each head",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_orders_undo_each_other() {
        let x = Array::new(vec![1, 1, 1, 6], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let y = Permutation::ToAdjacent.apply(&x).unwrap();
        assert_eq!(&*y.data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(Permutation::ToHalves.apply(&y).unwrap(), x);
        assert_eq!(
            Permutation::between(&x, &y, 1e-6),
            Some((Permutation::ToAdjacent, 0.0))
        );
    }
}
