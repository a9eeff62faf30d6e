//! Inner products and distances (in eight sums that do not wait for one another), systems of equations, least values.

use crate::simd::{Arithmetic, LANES, Simd, Vector};
use crate::simd::{Isa, per_isa};

/// Σ a·b over the shorter of both.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    products(Isa::detect(), &a[..n], &b[..n])
}

/// ‖a‖ over finite elements.
pub fn norm(a: &[f64]) -> f64 {
    sums(a, a).a.sqrt()
}

/// ‖a − b‖ / ‖b‖ over places finite on both sides; 1 when nothing can be compared.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return 1.0;
    }
    sums(a, b).distance().unwrap_or(1.0)
}

/// Sums over places finite on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Σ a², Σ b², Σ a·b and Σ (a − b)².
    pub a: f64,
    pub b: f64,
    pub product: f64,
    pub diff: f64,
    /// How many places there are, and how many are finite on one side only.
    pub known: u64,
    pub odd: u64,
}

/// The sums of two slices, over the shorter of both.
pub fn sums(a: &[f64], b: &[f64]) -> Sums {
    let n = a.len().min(b.len());
    overlap(Isa::detect(), &a[..n], &b[..n])
}

impl Sums {
    /// ‖a − b‖ / ‖b‖; `None` where b is zero or nothing is known.
    pub fn distance(&self) -> Option<f64> {
        (self.b > 0.0).then(|| (self.diff / self.b).sqrt())
    }

    pub fn append(&mut self, other: &Sums) {
        self.a += other.a;
        self.b += other.b;
        self.product += other.product;
        self.diff += other.diff;
        self.known += other.known;
        self.odd += other.odd;
    }

    /// Adds one place.
    #[inline(always)]
    pub fn add(&mut self, a: f64, b: f64) {
        let known = a.is_finite() & b.is_finite();
        let (x, y) = if known { (a, b) } else { (0.0, 0.0) };
        self.a += x * x;
        self.b += y * y;
        self.product += x * y;
        self.diff += (x - y) * (x - y);
        self.known += u64::from(known);
        self.odd += u64::from(a.is_finite() != b.is_finite());
    }
}

impl<'a> FromIterator<(&'a f64, &'a f64)> for Sums {
    /// Adds place by place.
    fn from_iter<I: IntoIterator<Item = (&'a f64, &'a f64)>>(places: I) -> Sums {
        let mut sums = Sums::default();
        places.into_iter().for_each(|(a, b)| sums.add(*a, *b));
        sums
    }
}

/// Every order of `n` things, the natural one first.
pub fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut out = vec![vec![]];
    for _ in 0..n {
        out = out
            .into_iter()
            .flat_map(|p: Vec<usize>| {
                (0..n)
                    .filter(|a| !p.contains(a))
                    .map(|a| [p.clone(), vec![a]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    out
}

/// Solves S·x = b for several right-hand sides, S symmetric and positive definite (Cholesky); `None` when it is not.
pub fn solve(mut s: Vec<Vec<f64>>, mut columns: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let n = s.len();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| s[i][k] * s[j][k]).sum();
            let rest = s[i][j] - dot;
            s[i][j] = if i == j {
                if rest <= 0.0 || !rest.is_finite() {
                    return None;
                }
                rest.sqrt()
            } else {
                rest / s[j][j]
            };
        }
    }
    for x in &mut columns {
        for i in 0..n {
            let dot: f64 = (0..i).map(|k| s[i][k] * x[k]).sum();
            x[i] = (x[i] - dot) / s[i][i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|k| s[k][i] * x[k]).sum();
            x[i] = (x[i] - dot) / s[i][i];
        }
    }
    Some(columns)
}

/// The place of the least value within `reach` of `around`, by golden sections.
pub fn least(f: impl Fn(f64) -> f64, around: f64, reach: f64) -> f64 {
    let share = (5f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (around - reach, around + reach);
    let (mut c, mut d) = (b - share * (b - a), a + share * (b - a));
    let (mut fc, mut fd) = (f(c), f(d));
    for _ in 0..36 {
        if fc < fd {
            (b, d, fd) = (d, c, fc);
            c = b - share * (b - a);
            fc = f(c);
        } else {
            (a, c, fc) = (c, d, fd);
            d = a + share * (b - a);
            fd = f(d);
        }
    }
    (a + b) / 2.0
}

per_isa! {
    /// Σ a·b of slices of one length.
    fn products[][](a: &[f64], b: &[f64]) -> f64 = products_body;
}

per_isa! {
    /// [`sums`] of slices of one length.
    fn overlap[][](a: &[f64], b: &[f64]) -> Sums = overlap_body;
}

#[inline(always)]
fn products_body<S: Simd>(a: &[f64], b: &[f64]) -> f64 {
    let (heads, tail) = a.as_chunks::<LANES>();
    let (others, rest) = b.as_chunks::<LANES>();
    let mut sums = S::F64::splat(0.0);
    for (x, y) in heads.iter().zip(others) {
        sums = sums.add(S::of_f64(x).mul(S::of_f64(y)));
    }
    let left: f64 = tail.iter().zip(rest).map(|(x, y)| x * y).sum();
    total(sums) + left
}

#[inline(always)]
fn overlap_body<S: Simd>(a: &[f64], b: &[f64]) -> Sums {
    let (heads, tail) = a.as_chunks::<LANES>();
    let (others, rest) = b.as_chunks::<LANES>();
    let (zero, infinity) = (S::F64::splat(0.0), S::F64::splat(f64::INFINITY));
    let [mut aa, mut bb, mut ab, mut dd] = [zero; 4];
    let (mut known, mut finite) = (0, 0);
    for (a, b) in heads.iter().zip(others) {
        let (a, b) = (S::of_f64(a), S::of_f64(b));
        let (of_a, of_b) = (a.abs().less(infinity), b.abs().less(infinity));
        let both = S::F64::both(of_a, of_b);
        known += S::F64::count(both);
        finite += S::F64::count(S::F64::either(of_a, of_b));
        let (a, b) = (a.select(both, zero), b.select(both, zero));
        let d = a.sub(b);
        aa = aa.add(a.mul(a));
        bb = bb.add(b.mul(b));
        ab = ab.add(a.mul(b));
        dd = dd.add(d.mul(d));
    }
    let mut sums = Sums {
        a: total(aa),
        b: total(bb),
        product: total(ab),
        diff: total(dd),
        known,
        odd: finite - known,
    };
    for (a, b) in tail.iter().zip(rest) {
        sums.add(*a, *b);
    }
    sums
}

fn total(lanes: impl Vector<Scalar = f64>) -> f64 {
    lanes.array().iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_summed_whole() {
        for n in [0, 1, 7, 8, 9, 100] {
            let a: Vec<f64> = (0..n).map(f64::from).collect();
            let expected: f64 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), expected);
        }
    }

    #[test]
    fn places_that_are_not_finite_on_both_sides_are_left_out() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for n in [1, 8, 11, 40] {
            let a: Vec<f64> = (0..n).map(|i| f64::from(i) - 3.5).collect();
            let mut b: Vec<f64> = a.iter().map(|x| x * x).collect();
            b[n as usize / 2] = odd[n as usize % 3];
            let mut expected = Sums::default();
            a.iter().zip(&b).for_each(|(a, b)| expected.add(*a, *b));
            assert_eq!((expected.known, expected.odd), (n as u64 - 1, 1));
            for isa in Isa::ALL {
                assert_eq!(overlap(isa, &a, &b), expected);
            }
        }
        assert_eq!(sums(&odd, &odd), Sums::default());
    }

    #[test]
    fn a_small_system_is_solved() {
        let x = solve(vec![vec![4.0, 2.0], vec![2.0, 3.0]], vec![vec![2.0, -1.0]]).unwrap();
        assert!((x[0][0] - 1.0).abs() < 1e-12 && (x[0][1] + 1.0).abs() < 1e-12);
        assert_eq!(solve(vec![vec![0.0]], vec![vec![1.0]]), None);
    }

    #[test]
    fn a_least_value_is_found() {
        assert!((least(|x| (x - 1.5).powi(2), 1.0, 2.0) - 1.5).abs() < 1e-6);
    }
}
