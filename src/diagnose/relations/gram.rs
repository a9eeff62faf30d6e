//! Least squares over tokens: few rows, many features.

use crate::diagnose::Array;
use crate::diagnose::dot::dot;

/// Tokens that are looked at; more say nothing new.
pub const TOKENS: usize = 192;

/// The first rows of an array.
pub fn first_rows(a: &Array) -> Array {
    let rows = a.rows().len().min(TOKENS);
    Array::new(vec![rows, a.width()], a.data[..rows * a.width()].to_vec())
}

/// The first tokens without their mean.
pub fn centred(a: &Array) -> Array {
    let a = first_rows(a);
    let n = a.rows().len() as f64;
    let mut mean = vec![0.0; a.width()];
    for row in a.rows() {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / n);
    }
    let data = a
        .rows()
        .flat_map(|row| {
            row.iter()
                .zip(&mean)
                .map(|(x, m)| x - m)
                .collect::<Vec<_>>()
        })
        .collect();
    Array::new(a.shape.clone(), data)
}

/// A·Bᵀ for two arrays of rows of equal width: `[rows of a, rows of b]`.
pub fn products(a: &Array, b: &Array) -> Vec<Vec<f64>> {
    a.rows()
        .map(|x| b.rows().map(|y| dot(x, y)).collect())
        .collect()
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

/// G + λ·mean(diagonal)·1.
pub fn ridged(mut g: Vec<Vec<f64>>, lambda: f64) -> Vec<Vec<f64>> {
    let n = g.len().max(1);
    let mean = (0..g.len()).map(|i| g[i][i]).sum::<f64>() / n as f64;
    for (i, row) in g.iter_mut().enumerate() {
        row[i] += lambda * mean;
    }
    g
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_system_is_solved() {
        let x = solve(vec![vec![4.0, 2.0], vec![2.0, 3.0]], vec![vec![2.0, -1.0]]).unwrap();
        assert!((x[0][0] - 1.0).abs() < 1e-12 && (x[0][1] + 1.0).abs() < 1e-12);
        assert_eq!(solve(vec![vec![0.0]], vec![vec![1.0]]), None);
    }
}
