//! The inner product, in eight sums that do not wait for one another.

/// Σ a·b over the shorter of both.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let (heads, tail) = a.as_chunks::<LANES>();
    let (others, rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, y) in heads.iter().zip(others) {
        for i in 0..LANES {
            sums[i] += x[i] * y[i];
        }
    }
    let left: f64 = tail.iter().zip(rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + left
}

#[cfg(test)]
mod tests {
    use super::dot;

    #[test]
    fn every_length_is_summed_whole() {
        for n in [0, 1, 7, 8, 9, 100] {
            let a: Vec<f64> = (0..n).map(f64::from).collect();
            let expected: f64 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), expected);
        }
    }
}
