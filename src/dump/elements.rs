//! Single elements by their place in storage.

use super::{Payload, ReadError, Tensor};
use std::os::unix::fs::FileExt;

impl Tensor {
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
