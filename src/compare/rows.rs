//! The relative error of a typical row, where single elements outweigh all others.
//!
//! Language models give their first token massive activations (Sun et al. 2024, <https://arxiv.org/abs/2402.17762>): one
//! row of the residual stream then has a thousand times the norm of the others. ‖c − r‖ / ‖r‖ over the whole tensor is
//! that of this row and hides what happened to the rest, although the next norm brings all rows to one size.

use super::PairStats;
use crate::dump::{Payload, ReadError, Tensor, unravel};
use crate::math::Sums;

/// An element outweighs the others when it is this share of the norm of all.
const OUTWEIGHS: f64 = 0.2;
/// Rows that are looked at, spread evenly.
const SAMPLE: usize = 64;
/// A tensor that can only be read from its start is read whole up to this many bytes.
const WHOLE: u64 = 1 << 26;

/// Whether few elements make up most of the reference's norm, so that the error of the whole is theirs. What is left out
/// as masked outweighs nothing.
pub fn is_outweighed(stats: &PairStats) -> bool {
    let d = &stats.diff;
    let largest = stats.reference.max.max(-stats.reference.min);
    largest > OUTWEIGHS * d.reference_l2 && d.max_abs > 0.0 && !d.masked
}

/// The median over rows (the last axis) of ‖c − r‖ / ‖r‖, over the elements of a row that are finite on both sides.
///
/// Rows that are zero in the reference have no relative error and do not count. `None` for a tensor of less than two rows
/// or one that is known in part only.
pub fn typical_row_error(reference: &Tensor, candidate: &Tensor) -> Result<Option<f64>, ReadError> {
    let shape = reference.info.shape();
    let Some((&width, outer)) = shape.split_last() else {
        return Ok(None);
    };
    let rows: usize = outer.iter().product();
    let readable = |t: &Tensor| match &t.payload {
        Payload::File { .. } | Payload::Memory(_) => true,
        Payload::Stream(_) => t.info.byte_extent() <= WHOLE,
        Payload::Partial(_) | Payload::Statistics => false,
    };
    if rows < 2 || width < 2 || !readable(reference) || !readable(candidate) {
        return Ok(None);
    }
    let resident = |t: &Tensor| t.resident(t.info.byte_extent(), || "the tensor".into());
    let (reference, candidate) = (resident(reference)?, resident(candidate)?);
    let looked_at = rows.min(SAMPLE);
    let mut errors = Vec::with_capacity(looked_at);
    for i in 0..looked_at {
        let index = unravel((i * rows / looked_at) as u64, outer);
        let index: Vec<i64> = index.into_iter().map(|i| i as i64).collect();
        let row = |t: &Tensor| t.slice_leading(&index)?.values();
        let (r, c) = (row(&reference)?, row(&candidate)?);
        errors.extend(c.iter().zip(&r).collect::<Sums>().distance());
    }
    errors.sort_by(f64::total_cmp);
    Ok(errors.get(errors.len() / 2).copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::{encode, tensor};
    use crate::compare::{ElementTolerance, Job, compare};
    use crate::dtype::DType;
    use crate::dump::TensorInfo;

    fn matrix(shape: [usize; 2], strides: [usize; 2], values: &[f64]) -> Tensor {
        let info = TensorInfo::strided(DType::F64, shape.to_vec(), strides.to_vec()).unwrap();
        tensor(info, Payload::Memory(encode(DType::F64, values).into()))
    }

    fn stats(r: &Tensor, c: &Tensor) -> PairStats {
        let job = Job {
            reference: r,
            candidate: c,
            tolerance: ElementTolerance {
                rtol: 0.0,
                atol: 0.0,
            },
            masked: false,
        };
        *compare(&[job], &|_| {}).remove(0).unwrap()
    }

    #[test]
    fn a_massive_row_does_not_hide_the_others() {
        let (rows, width) = (200, 8);
        let value = |i: usize| ((i * 37 % 19) as f64 - 9.0) / 9.0 + 0.05;
        let mut r: Vec<f64> = (0..rows * width).map(value).collect();
        // one row of zeros has no relative error
        r[width..2 * width].fill(0.0);
        let mut c: Vec<f64> = r.iter().map(|x| 1.1 * x).collect();
        let plain = matrix([rows, width], [width, 1], &r);
        assert!(!is_outweighed(&stats(
            &plain,
            &matrix([rows, width], [width, 1], &c)
        )));
        (r[3], c[3]) = (1e5, 1e5);
        let by_columns = |x: &[f64]| -> Vec<f64> {
            (0..x.len())
                .map(|i| x[i % rows * width + i / rows])
                .collect()
        };
        for (strides, r, c) in [
            ([width, 1], r.clone(), c.clone()),
            ([1, rows], by_columns(&r), by_columns(&c)),
        ] {
            let side = |x: &[f64]| matrix([rows, width], strides, x);
            let (r, c) = (side(&r), side(&c));
            let whole = stats(&r, &c);
            assert!(is_outweighed(&whole) && whole.diff.l2 / whole.diff.reference_l2 < 1e-4);
            let typical = typical_row_error(&r, &c).unwrap().unwrap();
            assert!((typical - 0.1).abs() < 1e-12, "{typical}");
        }
        assert_eq!(typical_row_error(&plain, &plain).unwrap(), Some(0.0));
        let line = matrix([1, 4], [4, 1], &[1e9, 1.0, 1.0, 1.0]);
        assert_eq!(typical_row_error(&line, &line).unwrap(), None);
    }
}
