//! The rotation that turns one tensor into another: which channels form pairs, by which angle each pair turns.
//!
//! RoPE (Su et al., <https://arxiv.org/abs/2104.09864>) turns pair i of the token at position p by the angle p·ω_i, with
//! ω_i = theta^(−2i/r) for r rotated channels. Seen as complex numbers, y = x·e^{ipω}, so that Σ conj(x)·y over heads has the
//! angle as its argument, whatever the weights were.

use crate::diagnose::Array;

/// Which channels turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Channel i with channel i + r/2 (Llama in transformers, GPT-NeoX).
    Halves,
    /// Channel 2i with channel 2i + 1 (the paper, GPT-J, llama.cpp's Llama).
    Adjacent,
}

impl Pairing {
    pub const ALL: [Pairing; 2] = [Pairing::Halves, Pairing::Adjacent];

    /// The two channels of pair `i` of `rotated` channels.
    pub fn channels(self, i: usize, rotated: usize) -> (usize, usize) {
        match self {
            Pairing::Halves => (i, i + rotated / 2),
            Pairing::Adjacent => (2 * i, 2 * i + 1),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Pairing::Halves => "half-split pairs",
            Pairing::Adjacent => "interleaved pairs",
        }
    }
}

/// Base and divisor of a geometric series of frequencies: theta^(−2i/r) / factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series {
    pub theta: f64,
    pub factor: f64,
}

impl Series {
    pub fn frequencies(&self, rotated: usize) -> Vec<f64> {
        (0..rotated / 2)
            .map(|i| self.theta.powf(-2.0 * i as f64 / rotated as f64) / self.factor)
            .collect()
    }
}

/// A rotation of `[batch, token, head, channel]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    pub pairing: Pairing,
    /// How many leading channels of a head turn; 0 when nothing does.
    pub rotated: usize,
    /// Radians per position, one for each pair; negative when it turns the other way.
    pub frequencies: Vec<f64>,
    /// The series the frequencies follow, where they follow one (of their absolute values).
    pub series: Option<Series>,
    /// One for each batch element and token.
    pub positions: Vec<i64>,
    /// Factor on the whole (YaRN's attention factor, or a scale merged into Q).
    pub amplitude: f64,
}

impl Rotation {
    /// Leaves everything as it is.
    pub fn identity(rows: usize) -> Rotation {
        Rotation {
            pairing: Pairing::Halves,
            rotated: 0,
            frequencies: Vec::new(),
            series: None,
            positions: vec![0; rows],
            amplitude: 1.0,
        }
    }

    pub fn is_identity(&self) -> bool {
        self.rotated == 0
    }

    /// Turns `[batch, token, head, channel]`; `None` when the sizes do not fit.
    pub fn apply(&self, x: &Array) -> Option<Array> {
        let &[b, s, h, d] = x.shape.as_slice() else {
            return None;
        };
        if self.rotated > d || self.positions.len() != b * s {
            return None;
        }
        let mut data: Vec<f64> = x.data.iter().map(|v| v * self.amplitude).collect();
        for (row, &p) in self.positions.iter().enumerate() {
            for (i, &w) in self.frequencies.iter().enumerate() {
                let (sin, cos) = (p as f64 * w).sin_cos();
                let (c1, c2) = self.pairing.channels(i, self.rotated);
                for head in 0..h {
                    let at = (row * h + head) * d;
                    let (u, v) = (data[at + c1], data[at + c2]);
                    data[at + c1] = u * cos - v * sin;
                    data[at + c2] = u * sin + v * cos;
                }
            }
        }
        Some(Array::new(x.shape.clone(), data))
    }

    /// ‖y − R·x‖ / ‖y‖.
    pub fn residual(&self, x: &Array, y: &Array) -> Option<f64> {
        Some(self.apply(x)?.distance(y))
    }

    /// Position minus token index (minus `start`), when it is the same for all tokens of each batch row: one for each row.
    pub fn offsets(&self, tokens: usize, start: usize) -> Option<Vec<i64>> {
        self.positions
            .chunks_exact(tokens.max(1))
            .map(|row| {
                let first = row.first()? - start as i64;
                let steady = row
                    .iter()
                    .enumerate()
                    .all(|(t, p)| p - start as i64 - t as i64 == first);
                steady.then_some(first)
            })
            .collect()
    }

    /// In words: `RoPE, half-split pairs, theta 10000, 16 of 16 channels`.
    pub fn text(&self, channels: usize) -> String {
        if self.is_identity() {
            return "no rotation".into();
        }
        let mut text = format!("RoPE, {}, ", self.pairing.name());
        match &self.series {
            Some(s) => {
                text += &format!("theta {}, ", figures(s.theta, 3));
                if (s.factor - 1.0).abs() > 0.01 {
                    text += &format!("frequencies divided by {}, ", figures(s.factor, 3));
                }
            }
            None => text += "frequencies of no single base, ",
        }
        if self.backwards() {
            text += "turning backwards, ";
        }
        if (self.amplitude - 1.0).abs() > 0.01 {
            text += &format!("times {}, ", figures(self.amplitude, 3));
        }
        text + &format!("{} of {channels} channels", self.rotated)
    }

    /// Whether most of it turns against the usual direction.
    pub fn backwards(&self) -> bool {
        self.frequencies.iter().sum::<f64>() < 0.0
    }
}

/// A number rounded to so many significant figures, written plainly.
pub fn figures(x: f64, n: usize) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let rounded: f64 = format!("{:.*e}", n.saturating_sub(1), x)
        .parse()
        .unwrap_or(x);
    if (1e-4..1e16).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

/// Σ over heads of conj(x)·y, of |x|² and |y|², for each row (batch element and token) and pair.
#[derive(Clone, Debug)]
pub struct Spins {
    pub pairing: Pairing,
    pub rotated: usize,
    pub batch: usize,
    pub tokens: usize,
    /// `[row][pair]`: real and imaginary part.
    pub turn: Vec<(f64, f64)>,
    /// Σ|x|² and Σ|y|² over all rows and rotated channels.
    pub before: f64,
    pub after: f64,
    /// Σ x·y, Σ x² and Σ y² over the channels that do not turn.
    still: (f64, f64, f64),
    /// Numbers that went in for each angle: two channels, so many heads.
    pub heads: usize,
}

impl Spins {
    /// `None` when the two do not have the same four axes.
    pub fn new(x: &Array, y: &Array, pairing: Pairing, rotated: usize) -> Option<Spins> {
        let &[batch, tokens, heads, d] = x.shape.as_slice() else {
            return None;
        };
        if x.shape != y.shape || rotated > d || rotated < 2 || rotated % 2 == 1 {
            return None;
        }
        let pairs = rotated / 2;
        let mut spins = Spins {
            pairing,
            rotated,
            batch,
            tokens,
            turn: vec![(0.0, 0.0); batch * tokens * pairs],
            before: 0.0,
            after: 0.0,
            still: (0.0, 0.0, 0.0),
            heads,
        };
        let rows = x.data.chunks_exact(d).zip(y.data.chunks_exact(d));
        for (at, (x, y)) in rows.enumerate() {
            let row = at / heads;
            for i in 0..pairs {
                let (a, b) = pairing.channels(i, rotated);
                let turn = &mut spins.turn[row * pairs + i];
                turn.0 += x[a] * y[a] + x[b] * y[b];
                turn.1 += x[a] * y[b] - x[b] * y[a];
                spins.before += x[a] * x[a] + x[b] * x[b];
                spins.after += y[a] * y[a] + y[b] * y[b];
            }
            for (u, v) in x[rotated..].iter().zip(&y[rotated..]) {
                spins.still.0 += u * v;
                spins.still.1 += u * u;
                spins.still.2 += v * v;
            }
        }
        let finite = spins.before.is_finite() && spins.after.is_finite();
        finite.then_some(spins)
    }

    pub fn pairs(&self) -> usize {
        self.rotated / 2
    }

    /// What is left, relative to ‖y‖, when Σ Re(turn·e^{−iφ}) is `aligned`; with the best amplitude, which comes second.
    pub fn left(&self, aligned: f64) -> (f64, f64) {
        let (xy, xx, yy) = self.still;
        let amplitude = (aligned + xy) / (self.before + xx);
        // an amplitude within rounding of one is one
        let amplitude = if (amplitude - 1.0).abs() < 0.01 {
            1.0
        } else {
            amplitude
        };
        let total = self.after + yy;
        let left =
            amplitude * amplitude * (self.before + xx) + total - 2.0 * amplitude * (aligned + xy);
        ((left.max(0.0) / total).sqrt(), amplitude)
    }

    /// Σ Re(turn·e^{−ipω}) for given frequencies and positions.
    pub fn aligned(&self, frequencies: &[f64], positions: &[i64]) -> f64 {
        let rows = self.turn.chunks_exact(self.pairs()).zip(positions);
        rows.map(|(row, &p)| {
            row.iter()
                .zip(frequencies)
                .map(|(&z, w)| turned_back(z, p as f64 * w).0)
                .sum::<f64>()
        })
        .sum()
    }

    /// What is left when every pair of every row may turn by its own angle, corrected for the freedom that gives.
    pub fn left_with_free_angles(&self) -> f64 {
        let aligned = self.turn.iter().map(|z| z.0.hypot(z.1)).sum();
        let numbers = 2.0 * self.heads as f64;
        self.left(aligned).0 * (numbers / (numbers - 1.0)).sqrt()
    }
}

/// z·e^{−iφ}
pub fn turned_back(z: (f64, f64), phi: f64) -> (f64, f64) {
    let (sin, cos) = phi.sin_cos();
    (z.0 * cos + z.1 * sin, z.1 * cos - z.0 * sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_turns_by_position_times_frequency() {
        let x = Array::new(
            vec![1, 2, 1, 4],
            vec![1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
        );
        let mut r = Rotation {
            pairing: Pairing::Halves,
            rotated: 4,
            frequencies: vec![std::f64::consts::FRAC_PI_2, 0.0],
            series: None,
            positions: vec![0, 1],
            amplitude: 1.0,
        };
        let expected = [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0];
        let close = |a: &Array, b: &[f64]| a.data.iter().zip(b).all(|(u, v)| (u - v).abs() < 1e-12);
        assert!(close(&r.apply(&x).unwrap(), &expected));
        r.pairing = Pairing::Adjacent;
        let expected = [1.0, 1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0];
        assert!(close(&r.apply(&x).unwrap(), &expected));
    }

    #[test]
    fn numbers_are_written_with_few_figures() {
        assert_eq!(figures(9999.97, 3), "10000");
        assert_eq!(figures(500_012.0, 3), "500000");
        assert_eq!(figures(0.0078126, 3), "0.00781");
    }
}
