//! Checksums that an archive states for its members, verified while they are compared.

use super::source::Source;
use super::storage::{located, open_file, read_at};
use crate::dump::{Crc, Payload, ReadError, ReadErrorKind, Tensor};
use crc32fast::Hasher;
use std::fs::File;
use std::ops::Range;

/// The checksum that the archive states.
pub fn stated(tensor: &Tensor) -> Option<Crc> {
    match tensor.payload {
        Payload::File { crc, .. } => crc,
        _ => None,
    }
}

/// Holds what was computed against what is stated.
pub fn verify(tensor: &Tensor, crc: Crc, checksum: Hasher) -> Result<(), ReadError> {
    let computed = checksum.finalize();
    if computed == crc.crc32 {
        return Ok(());
    }
    let kind = ReadErrorKind::Checksum {
        stored: crc.crc32,
        computed,
    };
    Err(located(tensor, ReadError::new(&tensor.origin.path, kind)))
}

/// Bytes of the archive member that stand before the elements; the whole member where it is not read in order.
pub fn begin(tensor: &Tensor, source: &mut Source<'_>, first: bool) -> Result<(), ReadError> {
    let Some(stated) = stated(tensor).filter(|_| first) else {
        return Ok(());
    };
    match source {
        Source::File {
            file,
            offset,
            crc: Some(crc),
            ..
        } => hash(tensor, file, stated.start..*offset, crc),
        Source::Gather(_) => verify_member(tensor),
        _ => Ok(()),
    }
}

/// Bytes of the archive member that stand behind the elements; gives what this piece hashed.
pub fn end(
    tensor: &Tensor,
    source: &mut Source<'_>,
    last: bool,
) -> Result<Option<Hasher>, ReadError> {
    let (
        Some(stated),
        Source::File {
            file,
            offset,
            crc: Some(crc),
            ..
        },
    ) = (stated(tensor), source)
    else {
        return Ok(None);
    };
    if last {
        let behind = *offset + tensor.info.byte_extent();
        hash(tensor, file, behind..stated.start + stated.len, crc)?;
    }
    Ok(Some(crc.clone()))
}

fn hash(
    tensor: &Tensor,
    file: &File,
    range: Range<u64>,
    crc: &mut Hasher,
) -> Result<(), ReadError> {
    let mut piece = vec![0; 16 * 1024];
    let mut at = range.start;
    while at < range.end {
        let len = (piece.len() as u64).min(range.end - at) as usize;
        read_at(tensor, file, at, &mut piece[..len])?;
        crc.update(&piece[..len]);
        at += len as u64;
    }
    Ok(())
}

/// Reads the whole member of a tensor in an archive and verifies its checksum.
pub fn verify_member(tensor: &Tensor) -> Result<(), ReadError> {
    let (Some(stated), Payload::File { file, .. }) = (stated(tensor), &tensor.payload) else {
        return Ok(());
    };
    let mut crc = Hasher::new();
    let file = open_file(tensor, file)?;
    let member = stated.start..stated.start + stated.len;
    hash(tensor, &file, member, &mut crc)?;
    verify(tensor, stated, crc)
}
