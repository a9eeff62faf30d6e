//! Which column of one array is which column of another: the order of channels, told by their values over tokens.

use super::gram::first_rows;
use crate::diagnose::Array;
use crate::math::dot;
use std::cmp::Ordering;

/// For every column its source, and ‖column − source‖ / ‖source‖ over all columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    pub from: Vec<usize>,
    pub error: f64,
}

/// Work (multiplications) up to which every column is compared with every other.
const WORK: usize = 1 << 27;
/// Directions that columns are sorted along beyond that, and neighbours looked at in each.
const DIRECTIONS: u64 = 4;
const NEIGHBOURS: usize = 16;

/// Finds the column of `pool` that each column of `values` is nearest to; both have the same rows.
pub fn columns(pool: &Array, values: &Array) -> Option<Matching> {
    if pool.rows().len() != values.rows().len() {
        return None;
    }
    let columns = pool.width().max(values.width()) * DIRECTIONS as usize * NEIGHBOURS;
    let rows = (WORK / columns.max(1)).max(16);
    let (pool, values) = (turned(pool, rows), turned(values, rows));
    let all: Vec<usize> = (0..pool.len()).collect();
    let sorted = Sorted::new(&pool);
    let brute = pool.len() * values.len() * pool.first()?.len() <= WORK;
    let mut from = Vec::with_capacity(values.len());
    let (mut diff, mut norm) = (0.0, 0.0);
    for column in &values {
        let near;
        let choice: &[usize] = if brute {
            &all
        } else {
            near = sorted.near(column);
            &near
        };
        let (best, distance) = choice
            .iter()
            .map(|&i| (i, distance(&pool[i], column)))
            .min_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal))?;
        diff += distance;
        norm += pool[best].iter().map(|x| x * x).sum::<f64>();
        from.push(best);
    }
    let error = (diff / norm).sqrt();
    error.is_finite().then_some(Matching { from, error })
}

impl Matching {
    /// No source stands twice.
    pub fn is_injective(&self) -> bool {
        let mut seen = self.from.clone();
        seen.sort_unstable();
        seen.windows(2).all(|w| w[0] != w[1])
    }

    pub fn is_identity(&self) -> bool {
        self.from.iter().enumerate().all(|(i, &f)| i == f)
    }

    /// Few rows match something by chance; what is left must be smaller then.
    pub fn convinces(&self, rows: usize, noise: f64) -> bool {
        let limit = match rows {
            0..=3 => 1e-4,
            4..=15 => 0.03,
            _ => 0.2,
        };
        self.error <= limit + 2.0 * noise
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// The columns of the first rows.
fn turned(a: &Array, rows: usize) -> Vec<Vec<f64>> {
    let a = first_rows(a);
    (0..a.width())
        .map(|j| a.rows().take(rows).map(|row| row[j]).collect())
        .collect()
}

/// Columns sorted along a few fixed directions.
struct Sorted {
    lines: Vec<Line>,
}

struct Line {
    direction: Vec<f64>,
    /// Place along the direction, and which column.
    places: Vec<(f64, usize)>,
}

impl Sorted {
    fn new(pool: &[Vec<f64>]) -> Self {
        let rows = pool.first().map_or(0, Vec::len);
        let lines = (0..DIRECTIONS)
            .map(|seed| {
                let direction: Vec<f64> = (0..rows).map(|t| coefficient(seed, t as u64)).collect();
                let mut places: Vec<(f64, usize)> = pool
                    .iter()
                    .enumerate()
                    .map(|(i, column)| (dot(&direction, column), i))
                    .collect();
                places.sort_by(|a, b| a.0.total_cmp(&b.0));
                Line { direction, places }
            })
            .collect();
        Sorted { lines }
    }

    fn near(&self, column: &[f64]) -> Vec<usize> {
        let mut out = Vec::with_capacity(self.lines.len() * NEIGHBOURS);
        for Line { direction, places } in &self.lines {
            let place = dot(direction, column);
            let at = places.partition_point(|(x, _)| *x < place);
            let start = at.saturating_sub(NEIGHBOURS / 2);
            let end = (start + NEIGHBOURS).min(places.len());
            out.extend(places[start..end].iter().map(|(_, i)| *i));
        }
        out
    }
}

/// A fixed number in −1..1 that looks random.
fn coefficient(seed: u64, t: u64) -> f64 {
    let mut x = (seed << 32 | t).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{noisy, normal};
    use super::*;

    fn shuffled(a: &Array, order: impl Fn(usize) -> usize) -> Array {
        let data = a
            .rows()
            .flat_map(|row| (0..row.len()).map(|j| row[order(j)]).collect::<Vec<_>>())
            .collect();
        Array::new(a.shape.clone(), data)
    }

    #[test]
    fn columns_are_found_in_another_order() {
        for (rows, width) in [(10, 64), (40, 3000)] {
            let a = Array::new(vec![rows, width], normal(rows * width, 3));
            let b = shuffled(&a, |j| j * 7 % width + usize::from(j * 7 % width == width));
            let found = columns(&a, &noisy(&b, 1e-4, 4)).unwrap();
            assert!(found.is_injective() && !found.is_identity());
            assert!(
                found
                    .from
                    .iter()
                    .enumerate()
                    .all(|(j, &f)| f == j * 7 % width)
            );
            assert!(found.error < 1e-3 && found.convinces(rows, 1e-6));
        }
    }

    #[test]
    fn unrelated_columns_do_not_convince() {
        let a = Array::new(vec![10, 64], normal(640, 3));
        let b = Array::new(vec![10, 64], normal(640, 4));
        assert!(!columns(&a, &b).unwrap().convinces(10, 1e-6));
    }
}
