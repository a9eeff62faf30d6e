//! A dump: everything that one side wrote, as lazy tensors.

mod calls;
mod disk;
mod elements;
pub mod error;
pub mod formats;
mod manifest;
mod names;
mod nearest;
mod open;
mod passes;
pub mod payload;
mod read;
mod select;
mod values;

pub use disk::DiskFile;
pub use error::{Place, ReadError, ReadErrorKind};
pub use open::{open, open_both};
pub use payload::{Crc, Partial, Payload, Stream};

use crate::dtype::DType;
use crate::note::Note;
use std::path::{Path, PathBuf};

/// What one path (directory, archive, file or log) holds.
#[derive(Debug, Default)]
pub struct Dump {
    pub root: PathBuf,
    /// In file order: natural order of paths, archive order inside an archive.
    pub tensors: Vec<Tensor>,
    /// Files and members that should be tensors and could not be read.
    pub unreadable: Vec<ReadError>,
    /// Files that are no tensors (json, md, png, logs without numbers).
    pub ignored: Vec<PathBuf>,
    pub notes: Vec<Note>,
}

/// One named tensor; its elements stay on disk until asked for.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name without root folder and extension: `step0/model.layers.0.mlp`, or the member's name in an archive.
    pub name: String,
    pub info: TensorInfo,
    pub origin: Origin,
    pub payload: Payload,
    /// What a text form adds: precision and statistics.
    pub printed: Printed,
    /// dtype and shape were not in the file: another reading of the same bytes may be taken ([`Tensor::reread`]).
    pub guess: Option<Guess>,
    /// Position in a declared order of execution (manifest, dump index, archive of a tracer); `None` where there is none.
    pub sequence: Option<u64>,
}

/// Where a tensor was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub path: PathBuf,
    /// Archive member, log entry or key.
    pub member: Option<String>,
    /// The format's name, as in [`formats::FORMATS`].
    pub format: &'static str,
}

/// Why dtype and shape of a headerless tensor are what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guess {
    /// Nothing said so: read as f32 with shape `[n]`, or as the file size allows.
    Size,
    /// From the partner's dtype and shape.
    Partner,
    /// No shape was stated: printed values in a flat list or in rows, or headerless data of a stated type. The dtype is no
    /// guess.
    Shape,
    /// The stored dtype is an unsigned integer (or void) that may hold bf16 or f8 bits.
    Bits,
}

/// What printed text tells beside the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Printed {
    /// Half a unit of the last printed digit: absolute (`%.4f`).
    pub half_unit_abs: f64,
    /// Half a unit of the last printed digit: relative to the value (`%.6e`); of dequantised blocks what quantising lost.
    pub half_unit_rel: f64,
    pub stats: Option<Box<PrintedStats>>,
}

/// Statistics over the whole tensor that a producer printed; each value with half a unit of its last digit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrintedStats {
    pub count: Option<u64>,
    pub mean: Option<Rounded>,
    pub std: Option<Rounded>,
    pub min: Option<Rounded>,
    pub max: Option<Rounded>,
    pub sum: Option<Rounded>,
    pub l2: Option<Rounded>,
}

/// A printed number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounded {
    pub value: f64,
    pub half_unit: f64,
}

/// Element type, shape and memory order; the number of elements and the extent in storage are known to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    dtype: DType,
    shape: Vec<usize>,
    /// In elements, one per axis.
    strides: Vec<usize>,
    len: usize,
    /// Elements from the first to the last one touched, plus one.
    extent: usize,
}

impl TensorInfo {
    /// Row-major ("C") order. `Err` when the number of elements or bytes does not fit.
    pub fn new(dtype: DType, shape: Vec<usize>) -> Result<Self, ShapeOverflow> {
        let mut strides = vec![0; shape.len()];
        let mut next = 1usize;
        for (stride, &n) in strides.iter_mut().zip(&shape).rev() {
            *stride = next;
            next = next.saturating_mul(n.max(1));
        }
        Self::strided(dtype, shape, strides)
    }

    /// Column-major ("Fortran") order.
    pub fn fortran(dtype: DType, shape: Vec<usize>) -> Result<Self, ShapeOverflow> {
        let mut strides = Vec::with_capacity(shape.len());
        let mut next = 1usize;
        for &n in &shape {
            strides.push(next);
            next = next.saturating_mul(n.max(1));
        }
        Self::strided(dtype, shape, strides)
    }

    /// Any non-negative strides, in elements (a stride of 0 repeats).
    pub fn strided(
        dtype: DType,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, ShapeOverflow> {
        assert_eq!(shape.len(), strides.len(), "one stride per axis");
        let overflow = || ShapeOverflow {
            shape: shape.clone(),
        };
        let empty = shape.contains(&0);
        let mut len = usize::from(!empty);
        let mut last = 0usize;
        for (&n, &s) in shape.iter().zip(&strides) {
            if !empty {
                len = len.checked_mul(n).ok_or_else(overflow)?;
                last = (n - 1)
                    .checked_mul(s)
                    .and_then(|x| last.checked_add(x))
                    .ok_or_else(overflow)?;
            }
        }
        let extent = if empty {
            0
        } else {
            last.checked_add(1).ok_or_else(overflow)?
        };
        if extent
            .max(len)
            .checked_mul(dtype.size())
            .is_none_or(|bytes| bytes > isize::MAX as usize)
        {
            return Err(overflow());
        }
        Ok(TensorInfo {
            dtype,
            shape,
            strides,
            len,
            extent,
        })
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// In elements, one per axis.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Elements of storage from the first to the last one used.
    pub fn extent(&self) -> usize {
        self.extent
    }
    /// Bytes of storage from the first to the last element used.
    pub fn byte_extent(&self) -> u64 {
        self.extent as u64 * self.dtype.size() as u64
    }
    /// Elements lie one after the other in row-major order.
    pub fn is_contiguous(&self) -> bool {
        let mut next = 1;
        self.is_empty()
            || self.shape.iter().zip(&self.strides).rev().all(|(&n, &s)| {
                let fits = n == 1 || s == next;
                next *= n;
                fits
            })
    }
}

/// A shape whose number of elements or bytes does not fit in memory addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeOverflow {
    pub shape: Vec<usize>,
}

impl std::fmt::Display for ShapeOverflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "shape {:?} holds more elements than can be addressed",
            self.shape
        )
    }
}
impl std::error::Error for ShapeOverflow {}

/// What the command line says about files that do not describe themselves.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    pub dtype: Option<DType>,
    pub shape: Option<Vec<usize>>,
}

/// What a reader found in one file.
#[derive(Debug, Default)]
pub struct Opened {
    pub tensors: Vec<Tensor>,
    /// Members that could not be read, beside those that could.
    pub unreadable: Vec<ReadError>,
    pub notes: Vec<Note>,
    /// Other files that belong to this one (a JSON sidecar).
    pub consumed: Vec<PathBuf>,
}

impl Opened {
    /// Nothing was found, and nothing that should have been a tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty() && self.unreadable.is_empty() && self.consumed.is_empty()
    }
}

/// A file format. Content decides; the extension may lie.
pub trait Format: Sync {
    fn name(&self) -> &'static str;
    /// Whether the first bytes of the file (up to 64 KiB) and its path look like this format.
    fn sniff(&self, head: &[u8], path: &Path) -> bool;
    /// Reads headers only; elements stay where they are.
    fn open(&self, path: &Path, hints: &Hints) -> Result<Opened, ReadError>;
    /// As [`Format::open`] for a file of `len` bytes that is one tensor whose header lies in the first bytes: no other look
    /// at the file. `None` when there is more to see.
    fn open_head(&self, _file: &DiskFile, _head: &[u8], _len: u64) -> Option<Tensor> {
        None
    }
}

/// The index of a row-major position in a shape.
pub fn unravel(mut position: u64, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        let n = n.max(1) as u64;
        *i = (position % n) as usize;
        position /= n;
    }
    index
}
