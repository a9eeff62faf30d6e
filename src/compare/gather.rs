//! Brings the elements of a strided tensor into row-major order, a few MiB at a time.
//!
//! A stretch of the row-major order is a handful of boxes. Each box is walked in the order of storage, so that a file is
//! read forwards in runs; a transposed matrix costs one short read per column and stretch, and memory stays bounded.

use super::order::{Axis, axes};
use super::storage::{Storage, read_at, swap};
use crate::dump::{ReadError, Tensor};

/// Bytes gathered at once.
const STRETCH_BYTES: usize = 4 << 20;

/// Runs shorter than this are read together with what follows them.
const WINDOW_BYTES: usize = 4096;

/// Longest piece of storage held at once.
const MOST_BYTES: usize = 256 * 1024;

/// A strided tensor read in row-major order.
pub struct Gather<'a> {
    storage: Storage<'a>,
    /// Elements gathered: the first one's position and their bytes.
    start: u64,
    gathered: Vec<u8>,
    window: Window,
}

/// A piece of storage; `from` in bytes.
#[derive(Default)]
struct Window {
    from: u64,
    bytes: Vec<u8>,
}

impl<'a> Gather<'a> {
    pub fn new(storage: Storage<'a>) -> Self {
        Gather {
            storage,
            start: 0,
            gathered: Vec::new(),
            window: Window::default(),
        }
    }

    /// The bytes of `count` elements from row-major position `at` on.
    pub fn read(&mut self, tensor: &Tensor, at: u64, count: usize) -> Result<&[u8], ReadError> {
        let size = tensor.info.dtype().size();
        let held = (self.gathered.len() / size) as u64;
        if at < self.start || at + count as u64 > self.start + held {
            let most = (STRETCH_BYTES / size).max(count) as u64;
            let end = (at + most).min(tensor.info.len() as u64);
            self.gather(tensor, at, end)?;
        }
        let from = (at - self.start) as usize * size;
        Ok(&self.gathered[from..from + count * size])
    }

    /// The elements at the given row-major positions, as f64.
    pub fn pick(&mut self, tensor: &Tensor, positions: &[u64]) -> Result<Vec<f64>, ReadError> {
        let dtype = tensor.info.dtype();
        let axes = axes(&tensor.info);
        let mut values = vec![0.0; positions.len()];
        let mut element = [0; 8];
        let element = &mut element[..dtype.size()];
        for (value, &at) in values.iter_mut().zip(positions) {
            let place: u64 = axes
                .iter()
                .map(|axis| at / axis.logical % axis.len * axis.stride)
                .sum();
            let bytes = self.bytes(tensor, place * dtype.size() as u64, dtype.size())?;
            element.copy_from_slice(bytes);
            if self.is_big_endian() {
                swap(dtype, element);
            }
            dtype.decode(element, std::slice::from_mut(value));
        }
        Ok(values)
    }

    fn is_big_endian(&self) -> bool {
        matches!(
            self.storage,
            Storage::File {
                big_endian: true,
                ..
            }
        )
    }

    fn gather(&mut self, tensor: &Tensor, start: u64, end: u64) -> Result<(), ReadError> {
        let size = tensor.info.dtype().size();
        let mut out = std::mem::take(&mut self.gathered);
        out.resize((end - start) as usize * size, 0);
        let axes = axes(&tensor.info);
        let mut at = start;
        while at < end {
            // The outermost axis along which whole steps fit; everything inside it is complete.
            let outer = axes
                .iter()
                .position(|a| at.is_multiple_of(a.logical) && at + a.logical <= end);
            let mut origin = 0;
            for axis in &axes {
                origin += at / axis.logical % axis.len * axis.stride;
            }
            let to = (at - start) as usize * size;
            let Some(outer) = outer else {
                // A single element (a shape without axes longer than one).
                self.copy(tensor, &[], origin, &mut out[to..])?;
                at += 1;
                continue;
            };
            let axis = axes[outer];
            let left = axis.len - at / axis.logical % axis.len;
            let steps = ((end - at) / axis.logical).min(left);
            let mut inside = axes[outer..].to_vec();
            inside[0].len = steps;
            inside.sort_by_key(|a| std::cmp::Reverse(a.stride));
            self.copy(tensor, &inside, origin, &mut out[to..])?;
            at += steps * axis.logical;
        }
        if self.is_big_endian() {
            swap(tensor.info.dtype(), &mut out);
        }
        self.start = start;
        self.gathered = out;
        Ok(())
    }

    /// Copies a box whose axes are sorted from slow to fast in storage; `out` starts at its first element.
    fn copy(
        &mut self,
        tensor: &Tensor,
        axes: &[Axis],
        origin: u64,
        out: &mut [u8],
    ) -> Result<(), ReadError> {
        let Some((run, outer)) = axes.split_last() else {
            let one = Axis {
                len: 1,
                stride: 1,
                logical: 1,
            };
            return self.copy_run(tensor, one, origin, 0, out);
        };
        let mut index = vec![0; outer.len()];
        loop {
            let (mut from, mut to) = (origin, 0);
            for (axis, i) in outer.iter().zip(&index) {
                from += axis.stride * i;
                to += axis.logical * i;
            }
            self.copy_run(tensor, *run, from, to, out)?;
            let Some(step) = (0..outer.len())
                .rev()
                .find(|&k| index[k] + 1 < outer[k].len)
            else {
                return Ok(());
            };
            index[step] += 1;
            index[step + 1..].fill(0);
        }
    }

    /// Copies elements `from`, `from + stride`, … of storage to places `to`, `to + logical`, … of `out`.
    fn copy_run(
        &mut self,
        tensor: &Tensor,
        run: Axis,
        from: u64,
        to: u64,
        out: &mut [u8],
    ) -> Result<(), ReadError> {
        let size = tensor.info.dtype().size() as u64;
        let at_once = if run.stride == 0 {
            run.len
        } else {
            (MOST_BYTES as u64 / (run.stride * size)).max(1)
        };
        let mut done = 0;
        while done < run.len {
            let count = at_once.min(run.len - done);
            let first = (from + done * run.stride) * size;
            let len = ((count - 1) * run.stride + 1) * size;
            let bytes = self.bytes(tensor, first, len as usize)?;
            let (step_in, step_out) = (run.stride * size, run.logical * size);
            let start = (to + done * run.logical) * size;
            match size {
                8 => scatter::<8>(bytes, step_in, out, start, step_out, count),
                4 => scatter::<4>(bytes, step_in, out, start, step_out, count),
                2 => scatter::<2>(bytes, step_in, out, start, step_out, count),
                _ => scatter::<1>(bytes, step_in, out, start, step_out, count),
            }
            done += count;
        }
        Ok(())
    }

    /// Bytes of storage.
    fn bytes(&mut self, tensor: &Tensor, from: u64, len: usize) -> Result<&[u8], ReadError> {
        let extent = tensor.info.byte_extent();
        let in_memory = |bytes: &[u8]| (from as usize + len <= bytes.len()).then_some(());
        let cut = |found: usize| {
            let what = format!("data of {} {:?}", tensor.info.dtype(), tensor.info.shape());
            ReadError::truncated(&tensor.origin.path, what, extent, found as u64)
        };
        match &self.storage {
            Storage::Memory(bytes) => {
                in_memory(bytes).ok_or_else(|| cut(bytes.len()))?;
                Ok(&bytes[from as usize..from as usize + len])
            }
            Storage::Owned(bytes) => {
                in_memory(bytes).ok_or_else(|| cut(bytes.len()))?;
                Ok(&bytes[from as usize..from as usize + len])
            }
            Storage::File { file, offset, .. } => {
                let window = &mut self.window;
                let held = window.from..window.from + window.bytes.len() as u64;
                if from < held.start || from + len as u64 > held.end {
                    let most = extent.saturating_sub(from) as usize;
                    let ask = if len >= WINDOW_BYTES / 8 {
                        len
                    } else {
                        WINDOW_BYTES.min(most).max(len)
                    };
                    window.bytes.resize(ask, 0);
                    window.from = from;
                    if let Err(e) = read_at(tensor, file, offset + from, &mut window.bytes) {
                        window.bytes.clear();
                        return Err(e);
                    }
                }
                let start = (from - window.from) as usize;
                Ok(&window.bytes[start..start + len])
            }
        }
    }
}

fn scatter<const N: usize>(
    bytes: &[u8],
    step_in: u64,
    out: &mut [u8],
    start: u64,
    step_out: u64,
    count: u64,
) {
    for i in 0..count {
        let from = (i * step_in) as usize;
        let to = (start + i * step_out) as usize;
        out[to..to + N].copy_from_slice(&bytes[from..from + N]);
    }
}
