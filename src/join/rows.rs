//! Readers of tensors row by row: as they lie, a stretch of a stream, several side by side, the sum of several.

use crate::dtype::DType;
use crate::dump::{Payload, ReadError, Stream, Tensor, TensorInfo, unravel};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes that a reader holds.
pub(super) const WINDOW: usize = 1 << 16;

/// Reads until the buffer is full or nothing is left.
pub(super) fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// The elements of a tensor in row-major order, little endian.
pub(super) fn rows(t: &Tensor) -> Result<Box<dyn Read + Send>, ReadError> {
    let blocks = Blocks::of(&t.info);
    match &t.payload {
        Payload::Stream(stream) if t.info.is_contiguous() => stream.open(),
        Payload::File { .. } | Payload::Memory(_) if blocks.len > 1 || t.info.len() <= 1 => {
            t.verify()?;
            Ok(Box::new(Rows {
                tensor: t.clone(),
                file: match &t.payload {
                    Payload::File { file, .. } => {
                        Some(file.open().map_err(|e| ReadError::io(file.path(), e))?)
                    }
                    _ => None,
                },
                blocks,
                at: 0,
                buffer: Vec::new(),
                used: 0,
            }))
        }
        _ => {
            let mut bytes = Vec::new();
            let values = t.values()?;
            values
                .iter()
                .for_each(|v| t.info.dtype().encode(*v, &mut bytes));
            Ok(Box::new(io::Cursor::new(bytes)))
        }
    }
}

/// Where the blocks of a tensor lie whose elements follow one another in storage.
struct Blocks {
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// Elements of a block.
    len: usize,
    count: usize,
}

impl Blocks {
    fn of(info: &TensorInfo) -> Blocks {
        let (shape, strides) = (info.shape(), info.strides());
        let (mut axis, mut len) = (shape.len(), 1);
        while axis > 0 && (shape[axis - 1] == 1 || strides[axis - 1] == len) {
            axis -= 1;
            len *= shape[axis];
        }
        Blocks {
            shape: shape[..axis].to_vec(),
            strides: strides[..axis].to_vec(),
            len,
            count: if info.is_empty() { 0 } else { info.len() / len },
        }
    }

    /// The first element of a block in storage.
    fn start(&self, block: usize) -> usize {
        let index = unravel(block as u64, &self.shape);
        index.iter().zip(&self.strides).map(|(i, s)| i * s).sum()
    }
}

/// Reads a tensor that lies in blocks.
struct Rows {
    tensor: Tensor,
    file: Option<Arc<File>>,
    blocks: Blocks,
    /// Elements read so far.
    at: usize,
    buffer: Vec<u8>,
    used: usize,
}

impl Rows {
    fn load(&mut self) -> Result<(), ReadError> {
        let size = self.tensor.info.dtype().size();
        self.buffer.clear();
        self.used = 0;
        while self.buffer.len() < WINDOW && self.at < self.blocks.count * self.blocks.len {
            let (block, inside) = (self.at / self.blocks.len, self.at % self.blocks.len);
            let room = (WINDOW - self.buffer.len()).div_ceil(size);
            let n = (self.blocks.len - inside).min(room);
            let start = (self.blocks.start(block) + inside) * size;
            let held = self.buffer.len();
            match &self.tensor.payload {
                Payload::Memory(bytes) => {
                    let found = bytes.len() as u64;
                    let part = bytes.get(start..start + n * size);
                    let needs = self.tensor.info.byte_extent();
                    let path = &self.tensor.origin.path;
                    let short = || ReadError::truncated(path, "the tensor", needs, found);
                    self.buffer.extend_from_slice(part.ok_or_else(short)?);
                }
                Payload::File {
                    offset, big_endian, ..
                } => {
                    self.buffer.resize(held + n * size, 0);
                    let out = &mut self.buffer[held..];
                    if let Some(file) = &self.file {
                        let place = offset + start as u64;
                        file.read_exact_at(out, place).map_err(|e| {
                            ReadError::io(&self.tensor.origin.path, e).at_byte(place)
                        })?;
                    }
                    if *big_endian {
                        out.chunks_exact_mut(size).for_each(<[u8]>::reverse);
                    }
                }
                _ => {}
            }
            self.at += n;
        }
        Ok(())
    }
}

impl Rows {
    /// Many elements that lie together in a file as they are wanted need no buffer.
    fn straight(&mut self, out: &mut [u8]) -> io::Result<Option<usize>> {
        let size = self.tensor.info.dtype().size();
        let (
            Payload::File {
                offset,
                big_endian: false,
                ..
            },
            Some(file),
        ) = (&self.tensor.payload, &self.file)
        else {
            return Ok(None);
        };
        let (block, inside) = (self.at / self.blocks.len, self.at % self.blocks.len);
        let n = (self.blocks.len - inside).min(out.len() / size);
        if block == self.blocks.count || n * size < WINDOW / 4 {
            return Ok(None);
        }
        let place = offset + ((self.blocks.start(block) + inside) * size) as u64;
        let path = &self.tensor.origin.path;
        file.read_exact_at(&mut out[..n * size], place)
            .map_err(|e| io::Error::other(ReadError::io(path, e).at_byte(place)))?;
        self.at += n;
        Ok(Some(n * size))
    }
}

impl Read for Rows {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.used == self.buffer.len() {
            if let Some(n) = self.straight(out)? {
                return Ok(n);
            }
            self.load().map_err(io::Error::other)?;
        }
        let n = out.len().min(self.buffer.len() - self.used);
        out[..n].copy_from_slice(&self.buffer[self.used..self.used + n]);
        self.used += n;
        Ok(n)
    }
}

/// A stretch of a stream.
pub(super) struct Crop {
    pub inner: Arc<dyn Stream>,
    pub info: TensorInfo,
    pub bounds: Vec<Range<usize>>,
}

impl Stream for Crop {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let shape = self.bounds.iter().map(Range::len).collect();
        let dtype = self.info.dtype();
        let strides = self.info.strides().to_vec();
        let inside = TensorInfo::strided(dtype, shape, strides);
        let blocks = Blocks::of(&inside.map_err(|e| ReadError::malformed("", e.to_string()))?);
        let starts = self.bounds.iter().zip(self.info.strides());
        Ok(Box::new(CropRows {
            inner: self.inner.open()?,
            first: starts.map(|(b, s)| b.start * s).sum(),
            blocks,
            size: dtype.size(),
            block: 0,
            passed: 0,
            left: 0,
        }))
    }
}

struct CropRows {
    inner: Box<dyn Read + Send>,
    first: usize,
    blocks: Blocks,
    size: usize,
    block: usize,
    /// Bytes of the stream that were read.
    passed: u64,
    /// Bytes left of this block.
    left: usize,
}

impl Read for CropRows {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            if self.block == self.blocks.count {
                return Ok(0);
            }
            let start = ((self.first + self.blocks.start(self.block)) * self.size) as u64;
            let skip = start - self.passed;
            if io::copy(&mut (&mut self.inner).take(skip), &mut io::sink())? < skip {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.passed = start;
            self.left = self.blocks.len * self.size;
            self.block += 1;
        }
        let n = out.len().min(self.left);
        let n = self.inner.read(&mut out[..n])?;
        if n == 0 && self.left > 0 && !out.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.passed += n as u64;
        self.left -= n;
        Ok(n)
    }
}

/// Tensors side by side.
pub(super) struct Concat {
    pub parts: Vec<Arc<Tensor>>,
    /// Bytes of each part for one index of the axes before.
    pub chunks: Vec<usize>,
    pub outer: usize,
}

impl Stream for Concat {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let readers: Result<Vec<_>, _> = self.parts.iter().map(|p| rows(p)).collect();
        Ok(Box::new(ConcatRows {
            readers: readers?,
            left: self.chunks.first().copied().unwrap_or(0),
            chunks: self.chunks.clone(),
            part: 0,
            rounds: self.outer,
        }))
    }
}

struct ConcatRows {
    readers: Vec<Box<dyn Read + Send>>,
    chunks: Vec<usize>,
    part: usize,
    /// Bytes left of this part's chunk, and rounds over all parts.
    left: usize,
    rounds: usize,
}

impl Read for ConcatRows {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() && self.rounds > 0 {
            if self.left == 0 {
                self.part += 1;
                if self.part == self.readers.len() {
                    self.part = 0;
                    self.rounds -= 1;
                }
                self.left = self.chunks[self.part];
                continue;
            }
            let end = out.len().min(filled + self.left);
            let n = fill(&mut self.readers[self.part], &mut out[filled..end])?;
            if n < end - filled {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += n;
            self.left -= n;
        }
        Ok(filled)
    }
}

/// The sum of tensors.
pub(super) struct Sum {
    pub parts: Vec<Arc<Tensor>>,
}

impl Stream for Sum {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let readers: Result<Vec<_>, _> = self.parts.iter().map(|p| rows(p)).collect();
        Ok(Box::new(SumRows {
            readers: readers?,
            dtype: self.parts[0].info.dtype(),
            ready: io::Cursor::new(Vec::new()),
        }))
    }
}

struct SumRows {
    readers: Vec<Box<dyn Read + Send>>,
    dtype: DType,
    ready: io::Cursor<Vec<u8>>,
}

impl Read for SumRows {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.ready.read(out)?;
        if n > 0 || out.is_empty() {
            return Ok(n);
        }
        let size = self.dtype.size();
        let mut bytes = vec![0; WINDOW / 8 * size];
        let mut sums: Vec<f64> = Vec::new();
        let mut values = vec![0.0; WINDOW / 8];
        for reader in &mut self.readers {
            let count = fill(reader, &mut bytes)? / size;
            self.dtype
                .decode(&bytes[..count * size], &mut values[..count]);
            sums.resize(count.max(sums.len()), 0.0);
            sums.iter_mut()
                .zip(&values[..count])
                .for_each(|(s, v)| *s += v);
        }
        let mut encoded = Vec::with_capacity(sums.len() * size);
        sums.iter()
            .for_each(|v| self.dtype.encode(*v, &mut encoded));
        self.ready = io::Cursor::new(encoded);
        self.ready.read(out)
    }
}
