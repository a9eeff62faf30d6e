//! A view of elements that can only be read from start to end: block by block along its slowest axis.

use crate::dump::{ReadError, Stream, TensorInfo, unravel};
use std::io::{self, Read};
use std::sync::Arc;

/// A stream of the elements of a view, in its row-major order. What is held is one block: what the view shows at one index of
/// its first axis, where such blocks lie one behind the other, else everything.
pub struct Blocks {
    inner: Arc<dyn Stream>,
    /// All in bytes: before the first block, from one to the next, and what is needed of each.
    skip: u64,
    step: usize,
    extent: usize,
    count: usize,
    /// Of an element.
    size: usize,
    /// Axes of a block, strides in elements.
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Blocks {
    /// The view `info` of a stream whose first element stands behind `skip` bytes.
    pub fn new(inner: Arc<dyn Stream>, skip: u64, info: &TensorInfo) -> Blocks {
        let (shape, strides) = (info.shape(), info.strides());
        let size = info.dtype().size();
        let outer = shape.iter().position(|&n| n != 1).unwrap_or(shape.len());
        let from = (outer + 1).min(shape.len());
        let reach = |from: usize| -> usize {
            let axes = shape[from..].iter().zip(&strides[from..]);
            axes.map(|(n, s)| n.saturating_sub(1) * s).sum::<usize>() + 1
        };
        let in_turn = outer < shape.len() && strides[outer] >= reach(from);
        let from = if in_turn { from } else { 0 };
        Blocks {
            inner,
            skip,
            step: if in_turn { strides[outer] * size } else { 0 },
            extent: reach(from) * size,
            count: if in_turn { shape[outer] } else { 1 },
            size,
            shape: shape[from..].to_vec(),
            strides: strides[from..].to_vec(),
        }
    }

    /// The elements of a block in the order of the view.
    fn sort(&self, block: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let (run, step) = match (self.shape.last(), self.strides.last()) {
            (Some(&run), Some(&step)) => (run, step),
            _ => (1, 1),
        };
        let outer = &self.shape[..self.shape.len().saturating_sub(1)];
        for i in 0..outer.iter().product() {
            let index = unravel(i as u64, outer);
            let start: usize = index.iter().zip(&self.strides).map(|(i, s)| i * s).sum();
            if step == 1 {
                out.extend_from_slice(&block[start * self.size..][..run * self.size]);
                continue;
            }
            for k in 0..run {
                out.extend_from_slice(&block[(start + k * step) * self.size..][..self.size]);
            }
        }
    }
}

impl Stream for Blocks {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        Ok(Box::new(Reader {
            inner: self.inner.open()?,
            of: Blocks {
                inner: Arc::clone(&self.inner),
                shape: self.shape.clone(),
                strides: self.strides.clone(),
                ..*self
            },
            next: 0,
            block: Vec::new(),
            ready: Vec::new(),
            at: 0,
        }))
    }
}

struct Reader {
    inner: Box<dyn Read + Send>,
    of: Blocks,
    next: usize,
    block: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
}

impl Reader {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.inner).take(bytes), &mut io::sink())? {
            passed if passed < bytes => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sorts the next block; whether there is one. Behind the last the stream is read to its end, where its checksum stands.
    fn advance(&mut self) -> io::Result<bool> {
        if self.next == self.of.count {
            io::copy(&mut self.inner, &mut io::sink())?;
            return Ok(false);
        }
        let between = self.of.step.saturating_sub(self.of.extent) as u64;
        self.pass(if self.next == 0 {
            self.of.skip
        } else {
            between
        })?;
        self.block.clear();
        // the stream may be shorter than it declares: room is made for what comes
        let mut block = (&mut self.inner).take(self.of.extent as u64);
        if block.read_to_end(&mut self.block)? < self.of.extent {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.of.sort(&self.block, &mut self.ready);
        (self.next, self.at) = (self.next + 1, 0);
        Ok(true)
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() && !self.advance()? {
            return Ok(0);
        }
        let n = out.len().min(self.ready.len() - self.at);
        out[..n].copy_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
