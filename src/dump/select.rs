//! One tensor of a dump, or a slice of it: `model.gguf::token_embd.weight[1]`.

use super::{Dump, ReadError, Tensor};
use std::path::{Path, PathBuf};

/// The part of a path behind `::`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
}

impl Selector {
    /// Splits `file::member` at the first `::` before which there is a file.
    pub fn split(path: &Path) -> Option<(PathBuf, Selector)> {
        let text = path.to_str()?;
        text.match_indices("::").find_map(|(at, _)| {
            let file = PathBuf::from(&text[..at]);
            file.exists().then(|| {
                let text = text[at + 2..].to_string();
                (file, Selector { text })
            })
        })
    }

    /// Keeps the one tensor meant.
    pub fn apply(&self, mut dump: Dump) -> Result<Dump, ReadError> {
        if let Some(tensor) = find(&dump.tensors, &self.text) {
            let tensor = tensor.clone();
            dump.keep(tensor);
            return Ok(dump);
        }
        if let Some((name, index)) = self.text.strip_suffix(']').and_then(|t| t.rsplit_once('['))
            && let Some(tensor) = find(&dump.tensors, name)
        {
            let whole = |i: &str| {
                i.trim().parse::<i64>().map_err(|_| {
                    let fact = format!(
                        "`[{index}]`: the leading axes are picked by whole numbers, `{i}` is none"
                    );
                    ReadError::unsupported(&tensor.origin.path, fact).member(name)
                })
            };
            let index = index.split(',').map(whole).collect::<Result<Vec<_>, _>>()?;
            let mut slice = tensor.slice_leading(&index)?;
            slice.origin.member = Some(self.text.clone());
            dump.keep(slice);
            return Ok(dump);
        }
        let bare = self.text.split('[').next().unwrap_or_default();
        let is_meant = |e: &ReadError| {
            e.member
                .as_deref()
                .is_some_and(|m| m == self.text || m == bare)
        };
        if let Some(at) = dump.unreadable.iter().position(is_meant) {
            return Err(dump.unreadable.swap_remove(at));
        }
        let names: Vec<&str> = dump.tensors.iter().map(|t| &*t.name).take(8).collect();
        let fact = format!(
            "no tensor of this name among {}: {}{}",
            dump.tensors.len(),
            names.join(", "),
            if dump.tensors.len() > names.len() {
                ", …"
            } else {
                ""
            }
        );
        Err(ReadError::unsupported(&dump.root, fact).member(&self.text))
    }
}

impl Dump {
    fn keep(&mut self, tensor: Tensor) {
        self.tensors = vec![tensor];
        self.unreadable.clear();
        self.ignored.clear();
        self.notes.clear();
    }
}

/// By name, by the member's own name, or the only tensor when nothing is said.
fn find<'a>(tensors: &'a [Tensor], name: &str) -> Option<&'a Tensor> {
    if let ([only], "") = (tensors, name) {
        return Some(only);
    }
    tensors.iter().find(|t| t.name == name).or_else(|| {
        let mut matching = tensors
            .iter()
            .filter(|t| t.origin.member.as_deref() == Some(name));
        let first = matching.next();
        // A member's own name may occur in several files.
        first.filter(|_| matching.next().is_none())
    })
}
