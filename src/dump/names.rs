//! Names of tensors that no other tensor of the dump has.

use super::{Dump, ReadError, formats};
use crate::note::Note;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// Puts the unreadable and ignored in order and tells tensors of one name apart.
pub(super) fn finish(dump: &mut Dump) {
    dump.ignored.sort();
    // Folders list their entries in any order; what one file holds keeps its own.
    dump.unreadable.sort_by(|a, b| a.path.cmp(&b.path));
    tell_apart(dump);
}

/// Several archives of one folder may use the same keys (one file per pass): then the file's name goes before them. Two
/// files of one stem keep their extension; two members of one archive are numbered.
fn tell_apart(dump: &mut Dump) {
    let distinct: HashSet<&str> = dump.tensors.iter().map(|t| t.name.as_str()).collect();
    if distinct.len() == dump.tensors.len() {
        return;
    }
    let mut files_of: BTreeMap<&str, BTreeSet<&Path>> = BTreeMap::new();
    for t in &dump.tensors {
        files_of.entry(&t.name).or_default().insert(&t.origin.path);
    }
    let clashing: BTreeSet<PathBuf> = files_of
        .values()
        .filter(|files| files.len() > 1)
        .flatten()
        .map(|f| f.to_path_buf())
        .collect();
    if !clashing.is_empty() {
        let stems: Vec<PathBuf> = clashing
            .iter()
            .map(|f| f.with_file_name(formats::stem(f)))
            .collect();
        let mut renamed = Vec::new();
        for tensor in &mut dump.tensors {
            let path = &tensor.origin.path;
            if !clashing.contains(path) {
                continue;
            }
            let stem = formats::stem(path);
            let own = path.with_file_name(&stem);
            // The stem alone does not tell two files apart that differ in extension only.
            let file = match stems.iter().filter(|s| **s == own).count() {
                1 => stem.clone(),
                _ => path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
            };
            let (folder, name) = match tensor.name.rsplit_once('/') {
                Some((folder, name)) => (format!("{folder}/"), name),
                None => (String::new(), &*tensor.name),
            };
            tensor.name = match name.strip_prefix(&*stem) {
                Some(rest) if rest.is_empty() || rest.starts_with('.') => {
                    format!("{folder}{file}{rest}")
                }
                _ => format!("{folder}{file}/{name}"),
            };
            renamed.push(tensor.name.clone());
        }
        dump.notes.push(
            Note::new(
                "same_names",
                format!(
                    "{} files hold tensors of the same names; the file's name goes before them",
                    clashing.len()
                ),
            )
            .about(renamed),
        );
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut doubled = Vec::new();
    for tensor in &mut dump.tensors {
        let times = seen.entry(tensor.name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            let name = format!("{}#{times}", tensor.name);
            doubled.push(name.clone());
            tensor.name = name;
        }
    }
    if !doubled.is_empty() {
        dump.notes.push(
            Note::new(
                "same_names",
                format!(
                    "{} tensors have the name of an earlier one and are numbered: {}",
                    doubled.len(),
                    doubled.join(", ")
                ),
            )
            .about(doubled),
        );
    }
}

/// SGLang's dumper counts what it writes: `…___dump_index=17___…`.
pub(super) fn dump_index(name: &str) -> Option<u64> {
    // most names hold no such sign, and that is quickly seen
    let (_, rest) = name
        .contains('=')
        .then(|| name.split_once("dump_index="))??;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

impl ReadError {
    /// The name that the unreadable tensor would have had in the dump at `root`.
    pub fn tensor_name(&self, root: &Path) -> String {
        if let Some(member) = &self.member {
            return member.trim_end_matches(".npy").to_owned();
        }
        let file = self.path.with_file_name(formats::stem(&self.path));
        let inside = file
            .strip_prefix(root)
            .ok()
            .filter(|p| !p.as_os_str().is_empty());
        inside.unwrap_or(&file).to_string_lossy().replace('\\', "/")
    }
}
