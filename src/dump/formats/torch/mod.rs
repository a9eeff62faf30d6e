//! `torch.save`: a zip archive with `data.pkl` and one record per storage, or the stream of before 1.6.

mod arrays;
mod legacy;
mod node;
mod pickle;
mod rebuild;
mod walk;

use super::archive::{self, Member};
use super::{stem, tensor};
use crate::dump::read::{data_of, swap_bytes};
use crate::dump::{Format, Hints, Opened, Payload, ReadError, ReadErrorKind, TensorInfo};
use node::{Array, Node, PickleErrorKind, Ref, Tensor};
use pickle::{Machine, PickleError};
use std::collections::HashMap;
use std::path::Path;

/// A pickle describes tensors; their elements lie beside it.
const MAX_PICKLE: u64 = 1 << 28;

/// Tensors saved by PyTorch: a bare one, a list, a nested dict. Nothing in the file is executed.
pub struct Torch;

impl Format for Torch {
    fn name(&self) -> &'static str {
        "torch"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        legacy::is_legacy(head)
            || (head.starts_with(archive::MAGIC)
                && archive::first_name(head).ends_with(b"/data.pkl"))
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let head = crate::dump::read::head(path, 16)?;
        if head.starts_with(archive::MAGIC) {
            open_archive(path)
        } else {
            legacy::open(path)
        }
    }
}

fn open_archive(path: &Path) -> Result<Opened, ReadError> {
    let (mut members, unreadable) = archive::members(path)?;
    // `torch.serialization.set_crc32_options(False)` leaves every checksum zero.
    if members.iter().all(|m| m.crc32 == Some(0)) {
        members.iter_mut().for_each(|m| m.crc32 = None);
    }
    let Some(pickle) = members.iter().find(|m| m.name.ends_with("/data.pkl")) else {
        let fact = "zip archive without data.pkl: not written by torch.save";
        return Err(ReadError::unsupported(path, fact));
    };
    let folder = pickle.name.trim_end_matches("data.pkl");
    let records: HashMap<&str, &Member> = members
        .iter()
        .filter_map(|m| Some((m.name.strip_prefix(folder)?, m)))
        .collect();
    let big_endian = match records.get("byteorder") {
        Some(order) => order.bytes(64)?.starts_with(b"big"),
        None => false,
    };
    let bytes = pickle.bytes(MAX_PICKLE)?;
    let mut machine = Machine::new(&bytes);
    let failed = |e| pickle_error(path, e, pickle.start).member(&pickle.name);
    let root = machine.load().map_err(failed)?;

    let mut opened = collect(path, &machine, root, |view| {
        let record = format!("data/{}", view.storage.key);
        let Some(member) = records.get(&*record) else {
            let fact = format!("the archive has no record {record}, where the elements should be");
            return Err(ReadError::malformed(path, fact));
        };
        let (info, skip) = fit(path, view, member.size)?;
        let mut payload = member.payload(skip, &info, big_endian && info.dtype().size() > 1);
        if let Payload::File { crc, .. } = &mut payload
            && info.byte_extent() < member.size / 2
            && member.size > CHECKED_ANYWAY
        {
            *crc = None;
        }
        Ok((info, payload))
    });
    opened.unreadable.extend(unreadable);
    Ok(opened)
}

/// A small view of a storage larger than this many bytes is not worth reading all of it for the checksum.
const CHECKED_ANYWAY: u64 = 1 << 20;

/// Gathers the tensors below `root`; `place` finds the elements of a view.
fn collect(
    path: &Path,
    machine: &Machine<'_>,
    root: Ref,
    place: impl Fn(&Tensor) -> Result<(TensorInfo, Payload), ReadError>,
) -> Opened {
    let mut opened = Opened::default();
    let found = walk::walk(machine, root, &stem(path));
    for (name, elements) in found.tensors {
        let placed = match elements {
            Ok(walk::Elements::View(view)) => place(view),
            Ok(walk::Elements::Array(array)) => own(path, machine, array),
            Err(fact) => Err(ReadError::unsupported(path, fact)),
        };
        match placed {
            Ok((info, payload)) => {
                let mut tensor = tensor(path, Torch.name(), name.clone(), info, payload);
                tensor.origin.member = Some(name);
                opened.tensors.push(tensor);
            }
            Err(error) => opened.unreadable.push(error.member(&name)),
        }
    }
    opened.notes.extend(found.note);
    opened
}

/// A numpy array, whose elements the pickle holds.
fn own(
    path: &Path,
    machine: &Machine<'_>,
    array: &Array,
) -> Result<(TensorInfo, Payload), ReadError> {
    let (Some(dtype), Node::Bytes(bytes)) = (array.dtype, machine.node(array.bytes)) else {
        let fact = "a numpy array of objects, text or complex numbers; save arrays of real numbers";
        return Err(ReadError::unsupported(path, fact));
    };
    let info = match array.fortran {
        false => TensorInfo::new(dtype, array.shape.clone()),
        true => TensorInfo::fortran(dtype, array.shape.clone()),
    }
    .map_err(|e| ReadError::malformed(path, e.to_string()))?;
    let (needs, found) = (info.byte_extent(), bytes.len() as u64);
    if found < needs {
        return Err(ReadError::truncated(path, data_of(&info), needs, found));
    }
    let mut bytes = bytes[..needs as usize].to_vec();
    if array.big_endian {
        swap_bytes(&mut bytes, dtype.size());
    }
    Ok((info, Payload::Memory(bytes.into())))
}

/// Checks a view against the bytes of its storage; the second is where it begins, in bytes.
fn fit(path: &Path, view: &Tensor, storage_bytes: u64) -> Result<(TensorInfo, u64), ReadError> {
    let info = TensorInfo::strided(view.dtype, view.shape.clone(), view.strides.clone())
        .map_err(|e| ReadError::malformed(path, e.to_string()))?;
    if info.is_empty() {
        return Ok((info, 0));
    }
    if info.len() as u64 > REPEATED.max(storage_bytes) {
        let fact = format!(
            "{} elements are repeated from a storage of {storage_bytes} bytes",
            info.len()
        );
        return Err(ReadError::malformed(path, fact));
    }
    let skip = view.offset.saturating_mul(view.dtype.size() as u64);
    let found = storage_bytes.saturating_sub(skip);
    if found < info.byte_extent() {
        let what = data_of(&info);
        return Err(ReadError::truncated(path, what, info.byte_extent(), found));
    }
    Ok((info, skip))
}

/// A view that repeats elements (`expand`) may hold more of them than its storage, but not without bound.
const REPEATED: u64 = 1 << 32;

/// The error of a pickle that begins at byte `start` of the file.
fn pickle_error(path: &Path, error: PickleError, start: u64) -> ReadError {
    let kind = match error.kind {
        PickleErrorKind::Truncated { needs, found } => ReadErrorKind::Truncated {
            what: "pickle (bytes)".into(),
            needs,
            found,
        },
        PickleErrorKind::Malformed(fact) => ReadErrorKind::Malformed(fact),
        PickleErrorKind::Unsupported(fact) => ReadErrorKind::Unsupported(fact),
    };
    ReadError::new(path, kind).at_byte(start + error.at as u64)
}
