//! Reads the elements of one side in the order of comparison, a few hundred KiB at a time.

use super::gather::Gather;
use super::storage::{Storage, from_io, located, open_file, read_at, swap, truncated};
use crate::dump::{Payload, ReadError, Tensor};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Bytes read at once: two of these (one a side) fit the second-level cache beside what the loop needs.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Pages of the page cache; a buffer that lies in its page as the data lies in the file is copied fastest.
const PAGE: usize = 4096;

/// One side of a pair, open for reading.
pub enum Source<'a> {
    File {
        file: Arc<File>,
        offset: u64,
        big_endian: bool,
        crc: Option<crc32fast::Hasher>,
    },
    Memory(&'a [u8]),
    Stream(Box<dyn Read + Send>),
    Gather(Gather<'a>),
}

/// A reusable buffer with room to start anywhere in its first page.
#[derive(Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// `len` bytes whose address is congruent to `offset` modulo the page size.
    pub fn slice(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let room = len + 2 * PAGE;
        if self.0.len() < room {
            self.0 = vec![0; room];
        }
        let here = self.0.as_ptr() as usize % PAGE;
        let start = (PAGE - here + (offset % PAGE as u64) as usize) % PAGE;
        &mut self.0[start..start + len]
    }
}

impl<'a> Source<'a> {
    /// Opens a tensor whose elements come in the order of storage when `straight`, else row-major. `file` is its file where
    /// it is open already.
    pub fn open(
        tensor: &'a Tensor,
        file: Option<Arc<File>>,
        straight: bool,
    ) -> Result<Source<'a>, ReadError> {
        Ok(match (&tensor.payload, file) {
            (
                Payload::File {
                    offset,
                    big_endian,
                    crc,
                    ..
                },
                Some(file),
            ) if straight => Source::File {
                file,
                offset: *offset,
                big_endian: *big_endian,
                crc: crc.map(|_| crc32fast::Hasher::new()),
            },
            (Payload::Memory(bytes), _) if straight => Source::Memory(bytes),
            (Payload::Stream(stream), _) if straight => Source::Stream(stream.open()?),
            _ => Source::Gather(Gather::new(storage(tensor)?)),
        })
    }
}

impl Source<'_> {
    /// The bytes of `count` elements from the `at`-th on, little endian.
    pub fn read<'b>(
        &'b mut self,
        tensor: &Tensor,
        buffer: &'b mut Buffer,
        at: u64,
        count: usize,
    ) -> Result<&'b [u8], ReadError> {
        let dtype = tensor.info.dtype();
        let (start, len) = (at * dtype.size() as u64, count * dtype.size());
        let memory = |bytes: &'b [u8]| {
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            start
                .checked_add(len)
                .and_then(|end| bytes.get(start..end))
                .ok_or_else(|| truncated(tensor, bytes.len() as u64))
        };
        match self {
            Source::Memory(bytes) => memory(bytes),
            Source::File {
                file,
                offset,
                big_endian,
                crc,
            } => {
                let from = *offset + start;
                let out = buffer.slice(from, len);
                read_at(tensor, file, from, out)?;
                if let Some(crc) = crc {
                    crc.update(out);
                }
                if *big_endian {
                    swap(dtype, out);
                }
                Ok(out)
            }
            Source::Stream(stream) => {
                let out = buffer.slice(0, len);
                let mut filled = 0;
                while filled < len {
                    match stream.read(&mut out[filled..]) {
                        Ok(0) => return Err(truncated(tensor, start + filled as u64)),
                        Ok(n) => filled += n,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(from_io(tensor, e)),
                    }
                }
                Ok(out)
            }
            Source::Gather(gather) => gather.read(tensor, at, count),
        }
    }

    /// Reads a stream to its end, where its reader verifies checksums.
    pub fn finish(&mut self, tensor: &Tensor) -> Result<(), ReadError> {
        if let Source::Stream(stream) = self {
            let mut rest = [0; 1];
            match stream.read(&mut rest) {
                Ok(0) => {}
                Ok(_) => {
                    return Err(located(
                        tensor,
                        ReadError::malformed(
                            &tensor.origin.path,
                            format!("more than the {} elements of the shape", tensor.info.len()),
                        ),
                    ));
                }
                Err(e) => return Err(from_io(tensor, e)),
            }
        }
        Ok(())
    }
}

/// The file of a tensor that lies in one, open.
pub fn file_of(tensor: &Tensor) -> Result<Option<Arc<File>>, ReadError> {
    match &tensor.payload {
        Payload::File { file, .. } => open_file(tensor, file).map(Some),
        _ => Ok(None),
    }
}

/// Storage that can be read at any place; a stream is held in memory for it.
pub fn storage(tensor: &Tensor) -> Result<Storage<'_>, ReadError> {
    match &tensor.payload {
        Payload::File {
            file,
            offset,
            big_endian,
            ..
        } => Ok(Storage::File {
            file: open_file(tensor, file)?,
            offset: *offset,
            big_endian: *big_endian,
        }),
        Payload::Memory(bytes) => Ok(Storage::Memory(bytes)),
        Payload::Stream(stream) => {
            let mut source = Source::Stream(stream.open()?);
            let mut buffer = Buffer::default();
            let size = tensor.info.dtype().size();
            let (mut at, extent) = (0, tensor.info.extent());
            let mut all = Vec::new();
            while at < extent {
                let count = (CHUNK_BYTES / size).min(extent - at);
                all.extend_from_slice(source.read(tensor, &mut buffer, at as u64, count)?);
                at += count;
            }
            source.finish(tensor)?;
            Ok(Storage::Owned(all.into()))
        }
        Payload::Partial(_) | Payload::Statistics => Ok(Storage::Memory(&[])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn buffers_lie_in_their_page_as_the_file_does() {
        let mut buffer = Buffer::default();
        for offset in [0, 128, 4095, 4096, 1 << 40 | 77] {
            let slice = buffer.slice(offset, 10_000);
            assert_eq!(slice.len(), 10_000);
            assert_eq!(slice.as_ptr() as u64 % PAGE as u64, offset % PAGE as u64);
        }
    }

    #[test]
    fn big_endian_elements_are_turned() {
        let mut bytes = [0x3f, 0x80, 0, 0, 0x40, 0, 0, 0];
        swap(DType::F32, &mut bytes);
        assert_eq!(bytes[..4], 1.0f32.to_le_bytes());
        assert_eq!(bytes[4..], 2.0f32.to_le_bytes());
    }
}
