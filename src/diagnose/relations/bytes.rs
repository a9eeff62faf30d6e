//! The bytes of one side read in another way: swapped, or as elements of another type of the same size.

use super::{Case, Relation, undone};
use crate::causes;
use crate::diagnose::{Array, Suspicion};
use crate::dtype::DType;
use crate::dump::Tensor;

pub struct Bytes;

/// Bytes read in another way give values that have nothing in common.
const ALIKE: f64 = 0.1;

impl Relation for Bytes {
    fn id(&self) -> &'static str {
        "bytes"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let pair = case.index().map(|i| &case.scene.pairs[i]);
        let Some(pair) = pair else {
            return Vec::new();
        };
        if case.candidate.distance(case.reference) < ALIKE {
            return Vec::new();
        }
        let mut sides = [
            ("candidate", &pair.candidate, case.candidate, case.reference),
            ("reference", &pair.reference, case.reference, case.candidate),
        ];
        // swapping is its own inverse, so either side could be the wrong one: the wilder values are
        if wildness(case.reference) > wildness(case.candidate) {
            sides.reverse();
        }
        for (side, tensor, own, other) in sides {
            let found = tensor.as_ref().and_then(|tensor| {
                let bytes = encoded(tensor, own)?;
                Some(readings(case, side, tensor.info.dtype(), &bytes, other))
            });
            if let Some(found) = found.filter(|f| !f.is_empty()) {
                return found;
            }
        }
        Vec::new()
    }
}

/// How far magnitudes lie apart, in powers of two; misread bytes have exponents all over the range, or are no numbers.
fn wildness(a: &Array) -> f64 {
    let sizes = || {
        a.data
            .iter()
            .filter(|x| **x != 0.0)
            .map(|x| if x.is_finite() { x.abs().log2() } else { 1e3 })
    };
    let n = sizes().count().max(1) as f64;
    let mean = sizes().sum::<f64>() / n;
    sizes().map(|x| (x - mean).abs()).sum::<f64>() / n
}

/// The elements as they lie in storage, little endian.
fn encoded(tensor: &Tensor, values: &Array) -> Option<Vec<u8>> {
    let dtype = tensor.info.dtype();
    // f64 cannot carry all 64-bit integers
    if matches!(dtype, DType::I64 | DType::U64) {
        return None;
    }
    let mut bytes = Vec::with_capacity(values.data.len() * dtype.size());
    values
        .data
        .iter()
        .for_each(|x| dtype.encode(*x, &mut bytes));
    Some(bytes)
}

fn readings(
    case: &Case<'_>,
    side: &str,
    dtype: DType,
    bytes: &[u8],
    other: &Array,
) -> Vec<Suspicion> {
    let size = dtype.size();
    let n = bytes.len() / size;
    if n != other.data.len() || n < 4 {
        return Vec::new();
    }
    // misread values can be of any size; to be as far off as zeros are is to say nothing
    let before = 1.0;
    let mut found = Vec::new();
    if size > 1 {
        let swapped: Vec<u8> = bytes
            .chunks_exact(size)
            .flat_map(|b| b.iter().rev().copied())
            .collect();
        if let Some(after) = error(dtype, &swapped, other) {
            let evidence = vec![undone(
                &format!("swapping the bytes of the {side}"),
                1.0,
                after,
            )];
            let title = format!("the {side}'s bytes are in the other order");
            found.extend(case.suspect(causes::BYTE_ORDER, title, before, after, evidence));
        }
    }
    for read in DType::ALL {
        if read == dtype || read.size() != size || (read.is_exact() && dtype.is_exact()) {
            continue;
        }
        if let Some(after) = error(read, bytes, other) {
            let evidence = vec![undone(
                &format!("reading the {side} as {read}"),
                before,
                after,
            )];
            let title = format!("the {side}'s elements are {read}, not {dtype}");
            found.extend(case.suspect(causes::DTYPE_MISLABELLED, title, before, after, evidence));
        }
    }
    found
}

/// Distance of a reading from the other side; `None` when many elements are no numbers in it.
fn error(dtype: DType, bytes: &[u8], other: &Array) -> Option<f64> {
    let mut values = vec![0.0; other.data.len()];
    dtype.decode(bytes, &mut values);
    let finite = values.iter().filter(|x| x.is_finite()).count();
    (finite * 20 >= values.len() * 19)
        .then(|| Array::new(other.shape.clone(), values).distance(other))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, stream};
    use super::*;
    use crate::name::Stage;

    /// The reference's values in one type, their bytes misread as another.
    fn misread(written: DType, read: DType, swap: bool) -> Vec<&'static str> {
        let r = stream(6, 32, 1);
        let mut bytes = Vec::new();
        r.data.iter().for_each(|x| written.encode(*x, &mut bytes));
        if swap {
            bytes
                .chunks_exact_mut(written.size())
                .for_each(<[u8]>::reverse);
        }
        let mut values = vec![0.0; r.data.len()];
        read.decode(&bytes, &mut values);
        let mut exact = vec![0.0; r.data.len()];
        let mut plain = Vec::new();
        r.data.iter().for_each(|x| written.encode(*x, &mut plain));
        written.decode(&plain, &mut exact);
        let array = |v| Array::new(r.shape.clone(), v);
        Dumps::default()
            .typed(
                0,
                Stage::O_PROJ,
                (array(exact), DType::F32),
                (array(values), read),
            )
            .causes(&Bytes, 0, Stage::O_PROJ)
    }

    #[test]
    fn swapped_bytes_are_found() {
        assert_eq!(misread(DType::F32, DType::F32, true), ["byte_order"]);
        assert_eq!(misread(DType::F16, DType::F16, true), ["byte_order"]);
    }

    #[test]
    fn another_type_of_the_same_size_is_found() {
        assert_eq!(
            misread(DType::BF16, DType::F16, false)[0],
            "dtype_mislabelled"
        );
        assert_eq!(
            misread(DType::BF16, DType::U16, false)[0],
            "dtype_mislabelled"
        );
        assert_eq!(
            misread(DType::F32, DType::I32, false)[0],
            "dtype_mislabelled"
        );
    }

    #[test]
    fn values_read_rightly_raise_nothing() {
        assert!(misread(DType::F16, DType::F16, false).is_empty());
    }
}
