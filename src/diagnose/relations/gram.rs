//! Least squares over tokens: few rows, many features.

use crate::diagnose::Array;
use crate::math::dot;

/// Tokens that are looked at; more say nothing new.
pub const TOKENS: usize = 192;

/// The first rows of an array.
pub fn first_rows(a: &Array) -> Array {
    let (rows, width) = (a.rows().len(), a.width());
    if rows <= TOKENS {
        return Array {
            shape: vec![rows, width],
            data: a.data.clone(),
        };
    }
    Array::new(vec![TOKENS, width], a.data[..TOKENS * width].to_vec())
}

/// The first tokens without their mean.
pub fn centred(a: &Array) -> Array {
    let a = first_rows(a);
    let mean = mean(a.rows());
    let mut data = Vec::with_capacity(a.data.len());
    for row in a.rows() {
        data.extend(row.iter().zip(&mean).map(|(x, m)| x - m));
    }
    Array::new(a.shape, data)
}

fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f64]> + Clone) -> Vec<f64> {
    let n = rows.len() as f64;
    let mut mean = vec![0.0; rows.clone().next().map_or(0, <[f64]>::len)];
    for row in rows {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
    }
    mean.iter_mut().for_each(|m| *m /= n);
    mean
}

/// The norm of the first tokens without their mean.
pub fn spread(a: &Array) -> f64 {
    let rows = a.rows().take(TOKENS);
    let mean = mean(rows.clone());
    let squares: f64 = rows.clone().map(|row| dot(row, row)).sum();
    let of_mean = rows.len() as f64 * dot(&mean, &mean);
    (squares - of_mean).max(0.0).sqrt()
}

/// A·Aᵀ for the rows of an array.
pub fn own_products(a: &Array) -> Vec<Vec<f64>> {
    let rows: Vec<&[f64]> = a.rows().collect();
    let mut products = vec![vec![0.0; rows.len()]; rows.len()];
    for i in 0..rows.len() {
        for j in 0..=i {
            products[i][j] = dot(rows[i], rows[j]);
            products[j][i] = products[i][j];
        }
    }
    products
}

/// A·Bᵀ for two arrays of rows of equal width: `[rows of a, rows of b]`.
pub fn products(a: &Array, b: &Array) -> Vec<Vec<f64>> {
    a.rows()
        .map(|x| b.rows().map(|y| dot(x, y)).collect())
        .collect()
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
    fn rows_with_themselves_are_rows_with_their_equals() {
        let a = Array::new(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        assert_eq!(own_products(&a), products(&a, &a));
    }
}
