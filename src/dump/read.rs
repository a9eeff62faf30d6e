//! Other readings of a tensor: a slice of it, or the same bytes as another type.

use super::{DType, Guess, Payload, ReadError, ReadErrorKind, Stream, Tensor, TensorInfo};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

impl Tensor {
    /// Another reading of the same bytes, where the file did not say what they are ([`Tensor::guess`]).
    ///
    /// `Some` only when the bytes fit exactly: [`Guess::Bits`] takes a float type of the stored width and the stored
    /// shape, [`Guess::Shape`] keeps its type, the others take any type and shape of the same number of bytes.
    pub fn reread(&self, dtype: DType, shape: &[usize]) -> Option<Tensor> {
        let info = match self.guess.as_ref()? {
            Guess::Bits => {
                let fits = shape == self.info.shape()
                    && dtype.size() == self.info.dtype().size()
                    && !dtype.is_exact();
                if !fits {
                    return None;
                }
                TensorInfo::strided(dtype, shape.to_vec(), self.info.strides().to_vec()).ok()?
            }
            Guess::Shape => {
                let info = TensorInfo::new(self.info.dtype(), shape.to_vec()).ok()?;
                if info.len() != self.info.len() {
                    return None;
                }
                info
            }
            Guess::Size | Guess::Partner => {
                let info = TensorInfo::new(dtype, shape.to_vec()).ok()?;
                if info.byte_extent() != self.info.byte_extent() {
                    return None;
                }
                info
            }
        };
        Some(Tensor {
            info,
            guess: Some(Guess::Partner),
            ..self.clone()
        })
    }

    /// A tensor whose first `needs` bytes can be reached in any order: those of a stream are read into memory. `what` they
    /// are, where the stream ends before.
    pub fn resident(&self, needs: u64, what: impl FnOnce() -> String) -> Result<Tensor, ReadError> {
        let Payload::Stream(stream) = &self.payload else {
            return Ok(self.clone());
        };
        // The stream may be shorter than it declares: room is made for what comes.
        let mut bytes = Vec::new();
        stream
            .open()?
            .take(needs)
            .read_to_end(&mut bytes)
            .map_err(|e| self.stream_error(e))?;
        let found = bytes.len() as u64;
        if found < needs {
            return Err(self.error(ReadErrorKind::Truncated {
                what: what(),
                needs,
                found,
            }));
        }
        Ok(Tensor {
            payload: Payload::Memory(bytes.into()),
            ..self.clone()
        })
    }

    /// The part of the tensor at one index of each of its leading axes; −1 is the last.
    pub fn slice_leading(&self, index: &[i64]) -> Result<Tensor, ReadError> {
        let shape = self.info.shape();
        let refuse = |fact: String| self.error(ReadErrorKind::Unsupported(fact));
        if index.len() > shape.len() {
            return Err(refuse(format!(
                "{} indices for {} axes {shape:?}",
                index.len(),
                shape.len()
            )));
        }
        let mut skip = 0;
        for (axis, &i) in index.iter().enumerate() {
            let n = shape[axis];
            let at = if i < 0 { i + n as i64 } else { i };
            if at < 0 || at >= n as i64 {
                return Err(refuse(format!(
                    "index {i} is outside axis {axis} of {n} (shape {shape:?})"
                )));
            }
            skip = usize::saturating_add(
                skip,
                (at as usize).saturating_mul(self.info.strides()[axis]),
            );
        }
        let info = TensorInfo::strided(
            self.info.dtype(),
            shape[index.len()..].to_vec(),
            self.info.strides()[index.len()..].to_vec(),
        )
        .map_err(|e| refuse(e.to_string()))?;
        let skip = if info.is_empty() { 0 } else { skip as u64 } * info.dtype().size() as u64;
        let payload = match &self.payload {
            Payload::File {
                file,
                offset,
                big_endian,
                ..
            } => Payload::in_file(file.clone(), offset + skip, *big_endian),
            Payload::Memory(bytes) => {
                let end = skip + info.byte_extent();
                let part = bytes
                    .get(skip as usize..end as usize)
                    .ok_or_else(|| self.truncated(end, bytes.len() as u64))?;
                Payload::Memory(part.into())
            }
            Payload::Stream(inner) => Payload::Stream(Arc::new(Part {
                inner: Arc::clone(inner),
                skip,
                len: info.byte_extent(),
            })),
            Payload::Partial(_) | Payload::Statistics => {
                return Err(refuse("not all elements are known: cannot slice".into()));
            }
        };
        Ok(Tensor {
            info,
            payload,
            printed: Default::default(),
            guess: None,
            ..self.clone()
        })
    }

    /// An error about this tensor.
    pub fn error(&self, kind: ReadErrorKind) -> ReadError {
        let error = ReadError::new(&self.origin.path, kind);
        match &self.origin.member {
            Some(member) => error.member(member),
            None => error,
        }
    }

    pub(super) fn truncated(&self, needs: u64, found: u64) -> ReadError {
        self.error(ReadErrorKind::Truncated {
            what: data_of(&self.info),
            needs,
            found,
        })
    }

    /// The [`ReadError`] inside an error of a stream, or one made of it.
    pub fn stream_error(&self, error: io::Error) -> ReadError {
        match error.downcast::<ReadError>() {
            Ok(error) => error,
            Err(error) => self.error(ReadErrorKind::Io(error)),
        }
    }
}

/// How messages name the elements of a tensor whose bytes are missing.
pub(super) fn data_of(info: &TensorInfo) -> String {
    format!("data of {} {:?} (bytes)", info.dtype(), info.shape())
}

/// Opens `path` and returns it with its length.
pub(super) fn open_file(path: &Path) -> Result<(File, u64), ReadError> {
    let file = File::open(path).map_err(|e| ReadError::io(path, e))?;
    let len = file.metadata().map_err(|e| ReadError::io(path, e))?.len();
    Ok((file, len))
}

/// Reverses the bytes of every element of `size` bytes.
pub(super) fn swap_bytes(bytes: &mut [u8], size: usize) {
    if size > 1 {
        for element in bytes.chunks_exact_mut(size) {
            element.reverse();
        }
    }
}

/// A stretch of another stream.
struct Part {
    inner: Arc<dyn Stream>,
    skip: u64,
    len: u64,
}

impl Stream for Part {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        Ok(Box::new(PartReader {
            inner: self.inner.open()?,
            skip: self.skip,
            len: self.len,
        }))
    }
}

struct PartReader {
    inner: Box<dyn Read + Send>,
    skip: u64,
    len: u64,
}

impl Read for PartReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.skip > 0 {
            let skipped = io::copy(&mut (&mut self.inner).take(self.skip), &mut io::sink())?;
            if skipped < self.skip {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.skip = 0;
        }
        let n = buf
            .len()
            .min(usize::try_from(self.len).unwrap_or(buf.len()));
        let read = self.inner.read(&mut buf[..n])?;
        self.len -= read as u64;
        Ok(read)
    }
}

/// The first bytes of a file, at most `limit`.
pub fn head(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |e| ReadError::io(path, e);
    let mut head = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(limit).read_to_end(&mut head).map_err(io)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::formats;

    fn tensor(info: TensorInfo, payload: Payload, guess: Option<Guess>) -> Tensor {
        Tensor {
            guess,
            ..formats::tensor(Path::new("x.npy"), "npy", "x".into(), info, payload)
        }
    }

    fn memory(info: TensorInfo, values: &[f64], guess: Option<Guess>) -> Tensor {
        let mut bytes = Vec::new();
        for &v in values {
            info.dtype().encode(v, &mut bytes);
        }
        tensor(info, Payload::Memory(bytes.into()), guess)
    }

    const COUNT: [f64; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

    #[test]
    fn a_slice_of_leading_axes_counts_from_either_end() {
        let c = TensorInfo::new(DType::F32, vec![2, 3]).unwrap();
        let t = memory(c, &COUNT, None);
        assert_eq!(
            t.slice_leading(&[1]).unwrap().values().unwrap(),
            [3.0, 4.0, 5.0]
        );
        assert_eq!(t.slice_leading(&[-2, -1]).unwrap().values().unwrap(), [2.0]);
        let message = t.slice_leading(&[2]).unwrap_err().to_string();
        assert_eq!(
            message,
            "x.npy: index 2 is outside axis 0 of 2 (shape [2, 3])"
        );
        let f = TensorInfo::fortran(DType::F32, vec![2, 3]).unwrap();
        let t = memory(f, &COUNT, None);
        assert_eq!(
            t.slice_leading(&[1]).unwrap().values().unwrap(),
            [1.0, 3.0, 5.0]
        );
    }

    #[test]
    fn a_guessed_tensor_is_read_again_only_when_the_bytes_fit() {
        let flat = TensorInfo::new(DType::F32, vec![6]).unwrap();
        let t = memory(flat.clone(), &COUNT, Some(Guess::Size));
        let again = t.reread(DType::F32, &[2, 3]).unwrap();
        assert_eq!(
            (again.info.shape(), again.guess),
            (&[2usize, 3][..], Some(Guess::Partner))
        );
        assert!(t.reread(DType::F16, &[2, 3]).is_none());
        assert!(t.reread(DType::F16, &[2, 6]).is_some());
        assert!(
            memory(flat, &COUNT, None)
                .reread(DType::F32, &[2, 3])
                .is_none()
        );
    }

    #[test]
    fn bits_become_floats_of_the_same_width_only() {
        let info = TensorInfo::new(DType::U16, vec![1]).unwrap();
        let t = memory(info, &[f64::from(0x3f80)], Some(Guess::Bits));
        let again = t.reread(DType::BF16, &[1]).unwrap();
        assert_eq!(again.values().unwrap(), [1.0]);
        assert!(t.reread(DType::I16, &[1]).is_none());
        assert!(t.reread(DType::F8E4M3, &[1]).is_none());
    }
}
