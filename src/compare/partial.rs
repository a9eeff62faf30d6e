//! Pairs of which some elements only are known: printed tensors cut in the middle.

use super::gather::Gather;
use super::order::Positions;
use super::source::{Buffer, CHUNK_BYTES, Source, storage};
use crate::dump::{Partial, Payload, ReadError, Tensor};

/// The positions known on both sides, and the values there.
pub struct Known {
    pub positions: Positions,
    pub values: [Vec<f64>; 2],
}

/// Finds what both sides know. One side at least is [`Payload::Partial`].
pub fn known(reference: &Tensor, candidate: &Tensor) -> Result<Known, ReadError> {
    let (positions, values) = match (&reference.payload, &candidate.payload) {
        (Payload::Partial(r), Payload::Partial(c)) => intersect(r, c),
        (Payload::Partial(r), _) => {
            let (positions, values) = within(r, candidate.info.len());
            let other = values_at(candidate, &positions)?;
            (positions, [values, other])
        }
        (_, Payload::Partial(c)) => {
            let (positions, values) = within(c, reference.info.len());
            let other = values_at(reference, &positions)?;
            (positions, [other, values])
        }
        _ => (Vec::new(), [Vec::new(), Vec::new()]),
    };
    Ok(Known {
        positions: Positions::Listed(positions),
        values,
    })
}

fn intersect(r: &Partial, c: &Partial) -> (Vec<u64>, [Vec<f64>; 2]) {
    let (mut positions, mut values) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut others = c.positions.iter().zip(&c.values).peekable();
    for (&at, &value) in r.positions.iter().zip(&r.values) {
        while others.next_if(|(other, _)| **other < at).is_some() {}
        if let Some((_, &other)) = others.next_if(|(other, _)| **other == at) {
            positions.push(at);
            values[0].push(value);
            values[1].push(other);
        }
    }
    (positions, values)
}

fn within(partial: &Partial, len: usize) -> (Vec<u64>, Vec<f64>) {
    partial
        .positions
        .iter()
        .zip(&partial.values)
        .filter(|(at, _)| **at < len as u64)
        .map(|(at, value)| (*at, *value))
        .unzip()
}

/// Reads single elements of a complete tensor; `positions` ascend.
fn values_at(tensor: &Tensor, positions: &[u64]) -> Result<Vec<f64>, ReadError> {
    match &tensor.payload {
        Payload::Stream(stream) if tensor.info.is_contiguous() => {
            let dtype = tensor.info.dtype();
            let chunk = CHUNK_BYTES / dtype.size();
            let mut source = Source::Stream(stream.open()?);
            let mut buffer = Buffer::default();
            let mut values = Vec::with_capacity(positions.len());
            let mut wanted = positions.iter().copied().peekable();
            let (mut at, len) = (0, tensor.info.len());
            while at < len && wanted.peek().is_some() {
                let count = chunk.min(len - at);
                let bytes = source.read(tensor, &mut buffer, at as u64, count)?;
                while let Some(place) = wanted.next_if(|p| *p < (at + count) as u64) {
                    let from = (place as usize - at) * dtype.size();
                    let mut value = [0.0];
                    dtype.decode(&bytes[from..from + dtype.size()], &mut value);
                    values.push(value[0]);
                }
                at += count;
            }
            Ok(values)
        }
        _ => Gather::new(storage(tensor)?).pick(tensor, positions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_common_positions_are_compared() {
        let side = |positions: &[u64]| Partial {
            positions: positions.to_vec(),
            values: positions.iter().map(|p| *p as f64).collect(),
        };
        let (positions, [r, c]) = intersect(&side(&[0, 1, 5, 9]), &side(&[1, 2, 9, 10]));
        assert_eq!(positions, [1, 9]);
        assert_eq!(r, c);
    }
}
