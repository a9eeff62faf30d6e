//! Where the elements of a tensor come from.

use super::{DiskFile, ReadError};
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// The elements of a tensor, in its dtype, as they lie in storage (see [`super::TensorInfo::strides`]).
#[derive(Clone)]
pub enum Payload {
    /// Uncompressed in a file, from a byte offset on.
    File {
        file: DiskFile,
        offset: u64,
        big_endian: bool,
        /// The CRC-32 that an archive states for bytes `start..start + len` of the file (the whole member, its header
        /// included).
        crc: Option<Crc>,
    },
    /// In memory, little endian.
    Memory(Arc<[u8]>),
    /// Little-endian elements that can only be read from start to end: deflated members, long text.
    Stream(Arc<dyn Stream>),
    /// Only some elements are known.
    Partial(Arc<Partial>),
    /// No element is known, only [`super::Printed::stats`].
    Statistics,
}

impl Payload {
    /// Elements as they stand in a file from `offset` on, without a checksum.
    pub fn in_file(file: impl Into<DiskFile>, offset: u64, big_endian: bool) -> Payload {
        Payload::File {
            file: file.into(),
            offset,
            big_endian,
            crc: None,
        }
    }
}

/// The stated checksum of a stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc {
    pub crc32: u32,
    pub start: u64,
    pub len: u64,
}

/// A source of elements that is read from the start.
pub trait Stream: Send + Sync {
    /// Opens a reader that yields exactly the elements' bytes, little endian, then ends. Errors found on the way
    /// (corrupt data, checksum, too few values) are `io::Error`s whose inner error is a [`ReadError`] where it is known.
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError>;
}

/// The known elements of a tensor that was written with gaps (first 50 and last 50, `...` in a print).
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Logical indices, row-major, ascending.
    pub positions: Vec<u64>,
    pub values: Vec<f64>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::File { file, offset, .. } => {
                write!(f, "File({} + {offset})", file.path().display())
            }
            Payload::Memory(b) => write!(f, "Memory({} bytes)", b.len()),
            Payload::Stream(_) => write!(f, "Stream"),
            Payload::Partial(p) => write!(f, "Partial({} elements)", p.positions.len()),
            Payload::Statistics => write!(f, "Statistics"),
        }
    }
}
