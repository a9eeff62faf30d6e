//! numpy's `.npz`: a zip archive of `.npy` members, stored or deflated.

use super::archive::{self, Member};
use super::npy::{Header, Refusal, not_numeric};
use super::{stem, tensor, torch};
use crate::dump::read::data_of;
use crate::dump::{Format, Hints, Opened, ReadError};
use crate::note::Note;
use std::path::Path;

/// `np.savez`, `np.savez_compressed`, or any zip archive of arrays.
pub struct Npz;

impl Format for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        head.starts_with(archive::MAGIC) && archive::first_name(head).ends_with(b".npy")
    }

    fn open(&self, path: &Path, hints: &Hints) -> Result<Opened, ReadError> {
        let (members, unreadable) = archive::members(path)?;
        if members.iter().any(|m| m.name.ends_with("/data.pkl")) {
            return torch::Torch.open(path, hints);
        }
        let mut opened = Opened {
            unreadable,
            ..Opened::default()
        };
        let mut others = Vec::new();
        for member in &members {
            let Some(name) = member.name.strip_suffix(".npy") else {
                others.push(member.name.as_str());
                continue;
            };
            if let Err(error) = read(path, member, name, &mut opened) {
                opened.unreadable.push(error);
            }
        }
        if let Some(first) = others.first() {
            if opened.tensors.is_empty() && opened.unreadable.is_empty() {
                return Err(ReadError::unsupported(
                    path,
                    format!("zip archive without an array (first member: {first})"),
                ));
            }
            opened.notes.push(Note::new(
                "other_members",
                format!(
                    "{}: {} members are no arrays: {}",
                    path.display(),
                    others.len(),
                    others.join(", ")
                ),
            ));
        }
        // `np.savez(path, x)` names its only array so.
        if let [only] = &mut opened.tensors[..]
            && only.name == "arr_0"
        {
            only.name = stem(path);
        }
        Ok(opened)
    }
}

fn read(path: &Path, member: &Member, name: &str, opened: &mut Opened) -> Result<(), ReadError> {
    let header = match Header::read(&mut member.reader()?, member.size) {
        Ok(header) => header,
        Err(Refusal::NotNumeric(fact)) => {
            opened.notes.push(not_numeric(name, &fact));
            return Ok(());
        }
        Err(Refusal::Error(kind)) => return Err(ReadError::new(path, kind).member(name)),
    };
    let needs = header.info.byte_extent();
    let found = member.size.saturating_sub(header.bytes);
    if found < needs {
        return Err(ReadError::truncated(path, data_of(&header.info), needs, found).member(name));
    }
    let payload = member.payload(header.bytes, &header.info, header.big_endian);
    let mut tensor = tensor(path, Npz.name(), name.to_string(), header.info, payload);
    tensor.origin.member = Some(name.to_string());
    tensor.guess = header.guess;
    opened.tensors.push(tensor);
    Ok(())
}
