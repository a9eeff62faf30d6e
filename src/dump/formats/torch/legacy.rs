//! The stream that `torch.save` wrote before 1.6: four pickles, a fifth with the keys, then the storages.

use super::node::{Node, Storage};
use super::pickle::Machine;
use super::{collect, fit, pickle_error};
use crate::dump::read::open_file;
use crate::dump::{DiskFile, Opened, Payload, ReadError};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The first pickle: protocol 2, the number 0x1950a86a20f9469cfc6c, end.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The pickles stand before the data; reading more than this of the file finds no further ones.
const MAX_PICKLES: u64 = 1 << 26;

pub fn is_legacy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// A pickle of numpy arrays (`pickle.dump`).
fn plain(path: &Path, bytes: &[u8], mut machine: Machine<'_>) -> Result<Opened, ReadError> {
    if !matches!(bytes, [0x80, 2..=5, ..]) {
        let fact = "neither a zip archive nor a pickle, so not written by torch.save";
        return Err(ReadError::unsupported(path, fact));
    }
    let root = machine.load().map_err(|e| pickle_error(path, e, 0))?;
    let opened = collect(path, &machine, root, |view| {
        let fact = format!("the file has no storage {}", view.storage.key);
        Err(ReadError::malformed(path, fact))
    });
    if opened.tensors.is_empty() && opened.unreadable.is_empty() {
        let fact = "a pickle without tensors; save tensors with torch.save or np.save";
        return Err(ReadError::unsupported(path, fact));
    }
    Ok(opened)
}

pub fn open(path: &Path) -> Result<Opened, ReadError> {
    let (mut file, len) = open_file(path)?;
    let io = |e| ReadError::io(path, e);
    let mut bytes = Vec::new();
    (&mut file)
        .take(MAX_PICKLES)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let mut machine = Machine::new(&bytes);
    if !is_legacy(&bytes) {
        return plain(path, &bytes, machine);
    }
    let mut next = || machine.load().map_err(|e| pickle_error(path, e, 0));
    next()?; // the magic number
    next()?; // the version, 1001
    let system = next()?;
    let root = next()?;
    let keys = next()?;
    let mut at = machine.position() as u64;
    let big_endian = matches!(machine.node(system), Node::Dict(items) if items.iter().any(|&(k, v)| {
        matches!(machine.node(k), Node::Text(t) if t == "little_endian")
            && *machine.node(v) == Node::Bool(false)
    }));

    let widths: HashMap<&str, u64> = machine
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Storage(Storage { key, dtype, .. }) => {
                Some((&**key, dtype.map_or(1, |d| d.size() as u64)))
            }
            _ => None,
        })
        .collect();
    // Every storage: the number of its elements, then the elements.
    let mut places: HashMap<&str, (u64, u64)> = HashMap::new();
    if let Node::List(keys) = machine.node(keys) {
        for &key in keys {
            let Node::Text(key) = machine.node(key) else {
                return Err(ReadError::malformed(
                    path,
                    "the list of storages is not understood",
                ));
            };
            let mut count = [0; 8];
            file.seek(SeekFrom::Start(at)).map_err(io)?;
            if file.read_exact(&mut count).is_err() {
                // The file ends here; the tensors of this storage will say what is missing.
                places.insert(key, (at, 0));
                continue;
            }
            let size = u64::from_le_bytes(count)
                .saturating_mul(widths.get(&**key).copied().unwrap_or(1))
                .min(len - (at + 8).min(len));
            places.insert(key, (at + 8, size));
            at = (at + 8).saturating_add(size).min(len);
        }
    }

    let shared = DiskFile::from(path);
    Ok(collect(path, &machine, root, |view| {
        let Some(&(start, size)) = places.get(&*view.storage.key) else {
            let fact = format!("the file has no storage {}", view.storage.key);
            return Err(ReadError::malformed(path, fact));
        };
        let (info, skip) = fit(path, view, size)?;
        let payload = Payload::in_file(
            shared.clone(),
            start + skip,
            big_endian && info.dtype().size() > 1,
        );
        Ok((info, payload))
    }))
}
