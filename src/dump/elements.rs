//! Single elements by their place in storage.

use super::{Payload, ReadError, Tensor, unravel};
use std::os::unix::fs::FileExt;

impl Tensor {
    /// The index in `whole`, of which this tensor is a view in the same file, of a row-major position; `None` when it is none.
    pub fn index_in(&self, whole: &Tensor, position: u64) -> Option<Vec<usize>> {
        let place = |t: &Tensor| match &t.payload {
            Payload::File { file, offset, .. } => Some((file.clone(), *offset)),
            _ => None,
        };
        let ((own, start), (file, first)) = (place(self)?, place(whole)?);
        let size = whole.info.dtype().size() as u64;
        if own.path() != file.path() || self.info.dtype() != whole.info.dtype() {
            return None;
        }
        let index = unravel(position, self.info.shape());
        let inside: usize = index
            .iter()
            .zip(self.info.strides())
            .map(|(i, s)| i * s)
            .sum();
        let mut rest = (start.checked_sub(first)? / size) as usize + inside;
        let (shape, strides) = (whole.info.shape(), whole.info.strides());
        // the widest strides first: what they leave is for the others
        let mut axes: Vec<usize> = (0..shape.len()).filter(|&a| shape[a] > 1).collect();
        axes.sort_by_key(|&a| std::cmp::Reverse(strides[a]));
        let mut found = vec![0; shape.len()];
        for axis in axes {
            let stride = strides[axis].max(1);
            found[axis] = rest / stride;
            rest %= stride;
        }
        let fits = rest == 0 && found.iter().zip(shape).all(|(i, n)| i < n);
        fits.then_some(found)
    }

    /// Reads elements by storage index (in elements from the first one). Only for payloads in files or memory; the others
    /// give NaN.
    pub fn gather(&self, at: &[usize]) -> Result<Vec<f64>, ReadError> {
        let size = self.info.dtype().size();
        let mut out = vec![f64::NAN; at.len()];
        match &self.payload {
            Payload::File {
                file,
                offset,
                big_endian,
                ..
            } => {
                let path = file.path();
                let file = file.open().map_err(|e| ReadError::io(path, e))?;
                let mut bytes = [0u8; 8];
                for (&i, value) in at.iter().zip(&mut out) {
                    let place = offset + (i * size) as u64;
                    file.read_exact_at(&mut bytes[..size], place)
                        .map_err(|e| ReadError::io(path, e).at_byte(place))?;
                    if *big_endian {
                        bytes[..size].reverse();
                    }
                    self.info
                        .dtype()
                        .decode(&bytes[..size], std::slice::from_mut(value));
                }
            }
            Payload::Memory(bytes) => {
                for (&i, value) in at.iter().zip(&mut out) {
                    let Some(element) = bytes.get(i * size..(i + 1) * size) else {
                        return Err(ReadError::truncated(
                            &self.origin.path,
                            "the tensor",
                            self.info.byte_extent(),
                            bytes.len() as u64,
                        ));
                    };
                    self.info
                        .dtype()
                        .decode(element, std::slice::from_mut(value));
                }
            }
            Payload::Stream(_) | Payload::Partial(_) | Payload::Statistics => {}
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use crate::dtype::DType;
    use crate::dump::{Payload, TensorInfo, formats};
    use std::path::Path;

    #[test]
    fn a_place_of_a_view_is_known_in_the_whole() {
        let path = Path::new("x.npy");
        let tensor = |info: TensorInfo, offset: u64| {
            let payload = Payload::in_file(path, offset, false);
            formats::tensor(path, "npy", "x".into(), info, payload)
        };
        let whole = tensor(
            TensorInfo::new(DType::F32, vec![1, 4, 10, 16]).unwrap(),
            128,
        );
        // the last two heads, as [token, head, channel]
        let info = TensorInfo::strided(DType::F32, vec![10, 2, 16], vec![16, 160, 1]).unwrap();
        let view = tensor(info, 128 + 2 * 160 * 4);
        let at = |token: u64, head: u64, channel: u64| (token * 2 + head) * 16 + channel;
        assert_eq!(view.index_in(&whole, at(8, 1, 5)), Some(vec![0, 3, 8, 5]));
        let turned = tensor(TensorInfo::fortran(DType::F32, vec![3, 5]).unwrap(), 0);
        assert_eq!(turned.index_in(&turned, 7), Some(vec![1, 2]));
        let other = tensor(TensorInfo::new(DType::F16, vec![5]).unwrap(), 0);
        assert_eq!(other.index_in(&whole, 0), None);
    }
}
