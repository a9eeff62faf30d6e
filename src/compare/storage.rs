//! Where the elements of a tensor lie, and reading there.

use crate::dtype::DType;
use crate::dump::{DiskFile, Payload, ReadError, Tensor};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Where storage lies.
pub enum Storage<'a> {
    File {
        file: Arc<File>,
        offset: u64,
        big_endian: bool,
    },
    Memory(&'a [u8]),
    Owned(Arc<[u8]>),
}

/// Fills `out` from a place in a file.
pub fn read_at(tensor: &Tensor, file: &File, from: u64, out: &mut [u8]) -> Result<(), ReadError> {
    let mut filled = 0;
    while filled < out.len() {
        match file.read_at(&mut out[filled..], from + filled as u64) {
            Ok(0) => {
                let start = match &tensor.payload {
                    Payload::File { offset, .. } => *offset,
                    _ => 0,
                };
                let there = (from + filled as u64).saturating_sub(start);
                return Err(truncated(tensor, there));
            }
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(from_io(tensor, e)),
        }
    }
    Ok(())
}

/// Turns big-endian elements into little-endian ones.
pub fn swap(dtype: DType, bytes: &mut [u8]) {
    fn each<const N: usize>(bytes: &mut [u8]) {
        for b in bytes.as_chunks_mut::<N>().0 {
            b.reverse();
        }
    }
    match dtype.size() {
        8 => each::<8>(bytes),
        4 => each::<4>(bytes),
        2 => each::<2>(bytes),
        _ => {}
    }
}

/// Opens the file of a payload.
pub fn open_file(tensor: &Tensor, file: &DiskFile) -> Result<Arc<File>, ReadError> {
    file.open().map_err(|e| from_io(tensor, e))
}

pub fn truncated(tensor: &Tensor, found: u64) -> ReadError {
    let what = format!("data of {} {:?}", tensor.info.dtype(), tensor.info.shape());
    let needs = tensor.info.byte_extent();
    located(
        tensor,
        ReadError::truncated(&tensor.origin.path, what, needs, found),
    )
}

/// An I/O error as what it is: the reader's own error where it carries one.
pub fn from_io(tensor: &Tensor, error: io::Error) -> ReadError {
    match error.downcast::<ReadError>() {
        Ok(inner) => inner,
        Err(error) => located(tensor, ReadError::io(&tensor.origin.path, error)),
    }
}

pub fn located(tensor: &Tensor, error: ReadError) -> ReadError {
    match &tensor.origin.member {
        Some(member) => error.member(member.clone()),
        None => error,
    }
}
