//! Tensors as C++ PyTorch prints them: matrices under `(1,.,.) = `, columns in groups, a common factor, and
//! `[ CPUFloatType{2,3,4} ]` at the end.

use super::digits::Precision;
use super::number::number;
use super::source::words;
use crate::dtype::DType;
use std::collections::BTreeMap;

/// The lines since the last one that cannot belong to a print.
#[derive(Debug, Default)]
pub struct Rows {
    matrices: Vec<Matrix>,
    rows: u64,
}

/// One matrix, or one group of its columns.
#[derive(Debug, Default)]
struct Matrix {
    /// `(1,2,.,.)`, counted from 0.
    index: Vec<usize>,
    first_column: usize,
    factor: f64,
    rows: Vec<Vec<f64>>,
    precision: Precision,
}

/// A printed tensor.
#[derive(Debug, PartialEq)]
pub struct Printed {
    pub shape: Vec<usize>,
    pub dtype: DType,
    /// Row-major, complete.
    pub values: Vec<f64>,
    pub half_units: (f64, f64),
}

/// Rows of equal length that no last line explains.
#[derive(Debug, PartialEq)]
pub struct Plain {
    /// Row-major.
    pub values: Vec<f64>,
    pub columns: usize,
    pub precision: Precision,
}

/// What a line meant.
#[derive(Debug, PartialEq)]
pub enum Taken {
    Yes,
    /// It ends the rows above, which may be a tensor nevertheless.
    No(Option<Plain>),
    Done(Printed),
    /// The lines above do not fill the shape of the last line.
    Misfit {
        shape: Vec<usize>,
        found: usize,
    },
}

impl Rows {
    pub fn line(&mut self, line: &str) -> Taken {
        let body = line.trim();
        if let Some((dtype, shape)) = trailer(body) {
            let rows = std::mem::take(self);
            return rows.finish(dtype, shape);
        }
        if body.is_empty() {
            return Taken::No(None);
        }
        if let Some(index) = block(body) {
            self.matrices.push(Matrix {
                index,
                factor: 1.0,
                ..Matrix::default()
            });
            return Taken::Yes;
        }
        if let Some((first, rest)) = columns(body) {
            let index = self.matrices.last().map_or(vec![], |m| m.index.clone());
            self.matrices.push(Matrix {
                index,
                first_column: first,
                factor: 1.0,
                ..Matrix::default()
            });
            return match rest.trim().is_empty() {
                true => Taken::Yes,
                false => self.row(rest),
            };
        }
        self.row(body)
    }

    fn row(&mut self, body: &str) -> Taken {
        if let Some(factor) = body.trim().strip_suffix(" *")
            && let Some((factor, used)) = number(factor.as_bytes())
            && used + 2 == body.trim().len()
        {
            self.matrix().factor = factor;
            return Taken::Yes;
        }
        let mut row = Vec::new();
        let mut precision = Precision::default();
        for word in words(body.as_bytes()) {
            match number(word) {
                Some((value, used)) if used == word.len() => {
                    precision.see(word);
                    row.push(value);
                }
                _ => return Taken::No(std::mem::take(self).plain()),
            }
        }
        // A log full of numbers is no print that grows without end.
        self.rows += row.len() as u64;
        let matrix = self.matrix();
        matrix.precision.merge(&precision);
        matrix.rows.push(row);
        Taken::Yes
    }

    fn matrix(&mut self) -> &mut Matrix {
        if self.matrices.is_empty() {
            self.matrices.push(Matrix {
                factor: 1.0,
                ..Matrix::default()
            });
        }
        let last = self.matrices.len() - 1;
        &mut self.matrices[last]
    }

    /// The rows alone, where they are a matrix with fractions.
    pub fn plain(mut self) -> Option<Plain> {
        let matrix = self.matrices.pop().filter(|m| m.index.is_empty())?;
        let columns = matrix.rows.first()?.len();
        let even = matrix.rows.iter().all(|row| row.len() == columns);
        let fractions = matrix.rows.iter().flatten().any(|v| v.fract() != 0.0);
        let alone = self.matrices.is_empty() && matrix.factor == 1.0;
        (alone && even && fractions).then(|| Plain {
            values: matrix.rows.into_iter().flatten().collect(),
            columns,
            precision: matrix.precision,
        })
    }

    fn finish(self, dtype: DType, shape: Vec<usize>) -> Taken {
        let found = self.rows as usize;
        let misfit = Taken::Misfit {
            shape: shape.clone(),
            found,
        };
        let total = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if total != Some(found) {
            return misfit;
        }
        let (outer, inner) = shape.split_at(shape.len().saturating_sub(2));
        let (height, width) = match inner {
            [] => (1, 1),
            [n] => (*n, 1),
            [n, m, ..] => (*n, *m),
        };
        let mut places = BTreeMap::new();
        let mut half_units = (0f64, 0f64);
        for m in &self.matrices {
            if m.index.len() != outer.len() || m.rows.len() != height {
                return misfit;
            }
            let at = m.index.iter().zip(outer).fold(0, |at, (&i, &n)| at * n + i);
            for (i, row) in m.rows.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    places.insert(
                        (at * height + i) * width + m.first_column + j,
                        value * m.factor,
                    );
                }
            }
            let (absolute, relative) = m.precision.half_units_aligned();
            half_units.0 = half_units.0.max(absolute * m.factor.abs());
            half_units.1 = half_units.1.max(relative);
        }
        if places.len() != found
            || places
                .keys()
                .next_back()
                .is_some_and(|last| *last + 1 != found)
        {
            return misfit;
        }
        Taken::Done(Printed {
            shape,
            dtype,
            values: places.into_values().collect(),
            half_units,
        })
    }
}

/// `[ CPUFloatType{2,3} ]`, `[ CUDABFloat16Type{4} ]`.
pub fn trailer(body: &str) -> Option<(DType, Vec<usize>)> {
    let inner = body.strip_prefix("[ ")?.strip_suffix(" ]")?;
    let (kind, dims) = inner.split_once("Type{")?;
    let dims = dims.split_once('}')?.0;
    let kind = ["CPU", "CUDA", "MPS", "XPU", "Variable", "PrivateUse1"]
        .iter()
        .fold(kind, |k, device| k.strip_prefix(device).unwrap_or(k));
    let dtype = DType::parse(kind)?;
    let dims = dims
        .split(',')
        .filter(|d| !d.trim().is_empty())
        .map(|d| d.trim().parse().ok())
        .collect::<Option<Vec<usize>>>()?;
    Some((dtype, dims))
}

/// `(1,2,.,.) =`: the index, from 0.
fn block(body: &str) -> Option<Vec<usize>> {
    let inner = body.strip_suffix('=')?.trim_end().strip_prefix('(')?;
    let index = inner.strip_suffix(".,.)")?;
    index
        .split(',')
        .filter(|i| !i.is_empty())
        .map(|i| i.parse::<usize>().ok()?.checked_sub(1))
        .collect()
}

/// `Columns 1 to 8` and what follows, which may stand right behind the number (`Columns 13 to 18-13253.2`).
fn columns(body: &str) -> Option<(usize, &str)> {
    let rest = body.strip_prefix("Columns ")?;
    let (first, rest) = rest.split_once(" to ")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse::<usize>().ok()?;
    Some((first.parse::<usize>().ok()?.checked_sub(1)?, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(text: &str) -> Taken {
        let mut rows = Rows::default();
        let mut last = Taken::No(None);
        for line in text.lines() {
            last = rows.line(line);
        }
        last
    }

    #[test]
    fn matrices_find_their_places() {
        let text = "(1,.,.) = \n  1  2\n  3  4\n\n(2,.,.) = \n 0.01 *\n 5.5  6\n   7  8\n[ CPUFloatType{2,2,2} ]";
        let Taken::Done(p) = print(text) else {
            panic!()
        };
        assert_eq!((p.dtype, p.shape), (DType::F32, vec![2, 2, 2]));
        assert_eq!(p.values, [1., 2., 3., 4., 5.5 * 0.01, 0.06, 0.07, 0.08]);
    }

    #[test]
    fn groups_of_columns_are_joined() {
        let text =
            "Columns 1 to 2 1.5  2.5\n 3.5 4.5\n\nColumns 3 to 3-9.5\n-8.5\n[ CPUDoubleType{2,3} ]";
        let Taken::Done(p) = print(text) else {
            panic!()
        };
        assert_eq!(p.values, [1.5, 2.5, -9.5, 3.5, 4.5, -8.5]);
    }

    #[test]
    fn vectors_scalars_and_factors_are_read() {
        let Taken::Done(p) = print("0.001 *\n 0.3704\n 1.4565\n[ CPUFloatType{2} ]") else {
            panic!()
        };
        assert_eq!(p.values, [0.3704 * 0.001, 1.4565 * 0.001]);
        assert!((p.half_units.0 - 5e-8).abs() < 1e-12);
        let Taken::Done(p) = print("2.5\n[ CPUFloatType{} ]") else {
            panic!()
        };
        assert_eq!((p.shape, p.values), (vec![], vec![2.5]));
    }

    #[test]
    fn too_few_values_are_a_misfit() {
        assert_eq!(
            print("1\n2\n[ CPUFloatType{3} ]"),
            Taken::Misfit {
                shape: vec![3],
                found: 2
            }
        );
        assert_eq!(print("some words"), Taken::No(None));
        assert_eq!(trailer("[ 1, 2 ]"), None);
    }
}
