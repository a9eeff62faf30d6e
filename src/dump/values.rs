//! All elements of a tensor as numbers, read through a window: what is held beside the result does not grow with the storage.

use super::read::swap_bytes;
use super::{Crc, Payload, ReadError, ReadErrorKind, Tensor, TensorInfo};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes read at once.
const WINDOW: usize = 1 << 16;

/// Elements closer together in storage than so many bytes are read with what lies between them.
const NEAR: usize = 1 << 12;

/// Before room is made for more elements than this, a stream shows that it holds them.
const MANY: usize = 1 << 20;

impl Tensor {
    /// All elements in logical row-major order, converted to f64 (integers beyond 2^53 are rounded); a stated checksum is
    /// verified first.
    ///
    /// `Err` for a tensor of which only some elements, or only statistics, are known.
    pub fn values(&self) -> Result<Vec<f64>, ReadError> {
        let len = self.info.len();
        let too_many = || {
            self.error(ReadErrorKind::Unsupported(format!(
                "{len} elements do not fit in memory"
            )))
        };
        let dtype = self.info.dtype();
        let room = WINDOW / dtype.size();
        let mut storage = Storage::open(self)?;
        if self.info.is_contiguous() {
            let mut out = Vec::new();
            // A stream may hold less than it declares: room is made for what has come.
            if !storage.is_stream() {
                out.try_reserve_exact(len).map_err(|_| too_many())?;
            }
            while out.len() < len {
                let at = out.len();
                let count = room.min(len - at);
                let bytes = storage.read(at, count)?;
                out.try_reserve(count).map_err(|_| too_many())?;
                out.resize(at + count, 0.0);
                dtype.decode(bytes, &mut out[at..]);
            }
            return Ok(out);
        }
        if storage.is_stream() && len > MANY {
            self.measure()?;
        }
        let mut out = zeros(len).ok_or_else(too_many)?;
        let order = in_storage_order(&self.info);
        let mut decoded = vec![0.0; room];
        let mut rest = order.as_slice();
        while let Some(&(first, _)) = rest.first() {
            let apart = rest
                .windows(2)
                .position(|w| w[1].0 >= first + room || (w[1].0 - w[0].0) * dtype.size() > NEAR);
            let (here, later) = rest.split_at(apart.map_or(rest.len(), |i| i + 1));
            let count = here[here.len() - 1].0 - first + 1;
            dtype.decode(storage.read(first, count)?, &mut decoded[..count]);
            for &(stored, logical) in here {
                out[logical] = decoded[stored - first];
            }
            rest = later;
        }
        Ok(out)
    }

    /// Verifies the checksum that an archive states for the member that this tensor lies in.
    pub fn verify(&self) -> Result<(), ReadError> {
        let Payload::File {
            file,
            crc: Some(crc),
            ..
        } = &self.payload
        else {
            return Ok(());
        };
        let io = |e| self.error(ReadErrorKind::Io(e));
        verify(self, &*file.open().map_err(io)?, crc)
    }

    /// Reads through a stream to see that it is as long as it declares.
    fn measure(&self) -> Result<(), ReadError> {
        let Payload::Stream(stream) = &self.payload else {
            return Ok(());
        };
        let needs = self.info.byte_extent();
        let found = io::copy(&mut stream.open()?.take(needs), &mut io::sink());
        match found.map_err(|e| self.stream_error(e))? {
            found if found < needs => Err(self.truncated(needs, found)),
            _ => Ok(()),
        }
    }
}

/// Where each element lies in storage, with its logical position, in the order of storage.
fn in_storage_order(info: &TensorInfo) -> Vec<(usize, usize)> {
    let mut places = vec![0];
    for (&n, &stride) in info.shape().iter().zip(info.strides()) {
        let steps = (0..n).map(|i| i * stride);
        places = places
            .iter()
            .flat_map(|p| steps.clone().map(move |s| p + s))
            .collect();
    }
    let mut order: Vec<(usize, usize)> = places.into_iter().zip(0..).collect();
    order.sort_unstable();
    order
}

/// The stored bytes, asked for from front to back.
struct Storage<'a> {
    tensor: &'a Tensor,
    source: Source<'a>,
    buffer: Vec<u8>,
}

enum Source<'a> {
    File {
        file: Arc<File>,
        offset: u64,
        big_endian: bool,
    },
    Memory(&'a [u8]),
    /// Read up to byte `at`.
    Stream {
        reader: Box<dyn Read + Send>,
        at: u64,
    },
}

impl<'a> Storage<'a> {
    fn open(tensor: &'a Tensor) -> Result<Self, ReadError> {
        let needs = tensor.info.byte_extent();
        let unknown = |fact: String| tensor.error(ReadErrorKind::Unsupported(fact));
        let io = |e: io::Error| tensor.error(ReadErrorKind::Io(e));
        let source = match &tensor.payload {
            Payload::File {
                file,
                offset,
                big_endian,
                crc,
            } => {
                let file = file.open().map_err(io)?;
                let len = file.metadata().map_err(io)?.len();
                if len.saturating_sub(*offset) < needs {
                    return Err(tensor.truncated(needs, len.saturating_sub(*offset)));
                }
                if let Some(crc) = crc {
                    verify(tensor, &file, crc)?;
                }
                Source::File {
                    file,
                    offset: *offset,
                    big_endian: *big_endian,
                }
            }
            Payload::Memory(bytes) if (bytes.len() as u64) < needs => {
                return Err(tensor.truncated(needs, bytes.len() as u64));
            }
            Payload::Memory(bytes) => Source::Memory(bytes),
            Payload::Stream(stream) => Source::Stream {
                reader: stream.open()?,
                at: 0,
            },
            Payload::Partial(known) => {
                return Err(unknown(format!(
                    "only {} of {} elements are known",
                    known.positions.len(),
                    tensor.info.len()
                )));
            }
            Payload::Statistics => {
                return Err(unknown("only statistics are known, no elements".into()));
            }
        };
        Ok(Storage {
            tensor,
            source,
            buffer: vec![0; WINDOW],
        })
    }

    fn is_stream(&self) -> bool {
        matches!(self.source, Source::Stream { .. })
    }

    /// The bytes of at most [`WINDOW`] / size elements from the `first` stored one on, little endian. What a stream has
    /// passed is gone.
    fn read(&mut self, first: usize, count: usize) -> Result<&[u8], ReadError> {
        let tensor = self.tensor;
        let size = tensor.info.dtype().size();
        let (start, len) = ((first * size) as u64, count * size);
        let out = &mut self.buffer[..len];
        match &mut self.source {
            Source::Memory(bytes) => {
                return Ok(&bytes[start as usize..start as usize + len]);
            }
            Source::File {
                file,
                offset,
                big_endian,
            } => {
                file.read_exact_at(out, *offset + start)
                    .map_err(|e| tensor.error(ReadErrorKind::Io(e)))?;
                if *big_endian {
                    swap_bytes(out, size);
                }
            }
            Source::Stream { reader, at } => {
                let skip = io::copy(&mut reader.take(start - *at), &mut io::sink());
                *at += skip.map_err(|e| tensor.stream_error(e))?;
                let mut filled = 0;
                while *at == start && filled < len {
                    match reader.read(&mut out[filled..]) {
                        Ok(0) => break,
                        Ok(n) => filled += n,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(tensor.stream_error(e)),
                    }
                }
                *at += filled as u64;
                if filled < len {
                    return Err(tensor.truncated(tensor.info.byte_extent(), *at));
                }
            }
        }
        Ok(&self.buffer[..len])
    }
}

/// Verifies the checksum of the member that the tensor is a part of.
fn verify(tensor: &Tensor, file: &File, crc: &Crc) -> Result<(), ReadError> {
    let mut hasher = crc32fast::Hasher::new();
    let mut block = vec![0; WINDOW];
    let mut at = 0;
    while at < crc.len {
        let n = block.len().min((crc.len - at) as usize);
        file.read_exact_at(&mut block[..n], crc.start + at)
            .map_err(|e| tensor.error(ReadErrorKind::Io(e)))?;
        hasher.update(&block[..n]);
        at += n as u64;
    }
    let computed = hasher.finalize();
    if computed != crc.crc32 {
        return Err(tensor.error(ReadErrorKind::Checksum {
            stored: crc.crc32,
            computed,
        }));
    }
    Ok(())
}

fn zeros(len: usize) -> Option<Vec<f64>> {
    let mut out = Vec::new();
    out.try_reserve_exact(len).ok()?;
    out.resize(len, 0.0);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::dump::{Origin, Printed, Stream};
    use std::sync::Arc;

    struct Bytes(Arc<[u8]>);
    impl Stream for Bytes {
        fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
            Ok(Box::new(io::Cursor::new(Arc::clone(&self.0))))
        }
    }

    /// Counts from 0 in f32, held in the three kinds of storage.
    fn everywhere(info: TensorInfo) -> Vec<(Tensor, Option<tempfile::NamedTempFile>)> {
        let count = info.byte_extent() as usize / 4;
        let bytes: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let swapped: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_be_bytes()).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [&[7; 5], swapped.as_slice()].concat()).unwrap();
        let at = Payload::in_file(file.path(), 5, true);
        let bytes: Arc<[u8]> = bytes.into();
        let stream = Payload::Stream(Arc::new(Bytes(Arc::clone(&bytes))));
        let tensor = |payload| Tensor {
            name: "x".into(),
            info: info.clone(),
            origin: Origin {
                path: "x.npy".into(),
                member: None,
                format: "npy",
            },
            payload,
            printed: Printed::default(),
            guess: None,
            sequence: None,
        };
        vec![
            (tensor(at), Some(file)),
            (tensor(Payload::Memory(bytes)), None),
            (tensor(stream), None),
        ]
    }

    #[test]
    fn values_come_in_row_major_order_whatever_the_memory_order() {
        let cases = [
            (vec![2, 3], vec![3, 1], vec![0., 1., 2., 3., 4., 5.]),
            (vec![2, 3], vec![1, 2], vec![0., 2., 4., 1., 3., 5.]),
            (vec![2, 2], vec![0, 1], vec![0., 1., 0., 1.]),
            (vec![], vec![], vec![0.]),
            (vec![0, 3], vec![3, 1], vec![]),
        ];
        for (shape, strides, expected) in cases {
            let info = TensorInfo::strided(DType::F32, shape, strides).unwrap();
            for (t, _file) in everywhere(info) {
                assert_eq!(t.values().unwrap(), expected, "{:?}", t.payload);
            }
        }
    }

    #[test]
    fn a_part_of_a_large_tensor_is_read_over_many_windows() {
        // two tokens of each of five heads of [5, 20000, 3], and all of it transposed
        let part = TensorInfo::strided(DType::F32, vec![5, 2, 3], vec![60_000, 3, 1]).unwrap();
        let turned = TensorInfo::fortran(DType::F32, vec![300, 400]).unwrap();
        for info in [part, turned] {
            let expected: Vec<f64> = {
                let (shape, strides) = (info.shape().to_vec(), info.strides().to_vec());
                (0..info.len())
                    .map(|mut i| {
                        let mut at = 0;
                        for (n, s) in shape.iter().zip(&strides).rev() {
                            at += i % n * s;
                            i /= n;
                        }
                        at as f64
                    })
                    .collect()
            };
            for (t, _file) in everywhere(info.clone()) {
                assert_eq!(t.values().unwrap(), expected, "{:?}", t.payload);
            }
        }
    }

    #[test]
    fn a_stream_that_declares_more_than_it_holds_is_cut_off_before_room_is_made() {
        let shape = vec![1 << 20, 1 << 22];
        let infos = [
            TensorInfo::new(DType::F32, shape.clone()).unwrap(),
            TensorInfo::fortran(DType::F32, shape).unwrap(),
        ];
        for info in infos {
            let (mut t, _) = everywhere(TensorInfo::new(DType::F32, vec![3]).unwrap()).remove(2);
            t.info = info;
            let error = t.values().unwrap_err().to_string();
            assert!(error.ends_with("needs 17592186044416, found 12"), "{error}");
        }
    }
}
