//! Inner products and distances, in eight sums that do not wait for one another.

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

/// ‖a − b‖ / ‖b‖ over places finite on both sides; 1 when nothing can be compared.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return 1.0;
    }
    let squares = |a: f64, b: f64| {
        let known = a.is_finite() & b.is_finite();
        let of = |x: f64| if known { x * x } else { 0.0 };
        (of(a - b), of(b))
    };
    let (mut diffs, mut norms) = ([0.0; 8], [0.0; 8]);
    let (heads, tail) = a.as_chunks::<8>();
    let (others, rest) = b.as_chunks::<8>();
    for (a, b) in heads.iter().zip(others) {
        for i in 0..8 {
            let (d, n) = squares(a[i], b[i]);
            diffs[i] += d;
            norms[i] += n;
        }
    }
    let (mut diff, mut norm) = (diffs.iter().sum::<f64>(), norms.iter().sum::<f64>());
    for (a, b) in tail.iter().zip(rest) {
        let (d, n) = squares(*a, *b);
        diff += d;
        norm += n;
    }
    if norm > 0.0 {
        (diff / norm).sqrt()
    } else {
        1.0
    }
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
