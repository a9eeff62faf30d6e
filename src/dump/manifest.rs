//! A JSON file that describes the other files of its folder.

use super::calls;
use super::formats::json;
use super::formats::raw::Description;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// A larger JSON file is no list of files.
const MAX_MANIFEST: u64 = 64 << 20;
/// Names of manifests whose order is the order of execution.
const NAMES: &[&str] = &[
    "manifest", "index", "dump", "tensors", "order", "metadata", "meta",
];

/// What ends the name of a call tree of Hugging Face's debugger that lists files of values.
const CALL_TREE: &str = "_debug_tree_full_tensors";

/// What the manifests of a dump say about its files.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    entries: HashMap<PathBuf, (Description, u64)>,
    used: Vec<PathBuf>,
}

impl Manifests {
    /// Reads every manifest among `files`. Anything that names a file of its folder, with the dtype and shape beside
    /// the name, is an entry; the order of the entries is the order of execution.
    pub fn read(files: &[PathBuf]) -> Manifests {
        let mut manifests = Manifests::default();
        for path in files {
            let is_json = path
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("json"));
            if let Some(calls) = calls::read(path, files) {
                for (file, _) in calls.places {
                    manifests.add(file, Description::default());
                }
                manifests.used.push(calls.list);
                continue;
            }
            if !is_json || !is_manifest(path) {
                continue;
            }
            let readable = fs::metadata(path).is_ok_and(|m| m.len() <= MAX_MANIFEST);
            let Some(json) = readable.then(|| json::read(path).ok()).flatten() else {
                continue;
            };
            let folder = path.parent().unwrap_or(Path::new(""));
            let mut collector = Collector {
                known: known(files, folder),
                found: Vec::new(),
            };
            collector.value(&json);
            let mut any = false;
            for (file, description) in collector.found {
                manifests.add(file, description);
                any = true;
            }
            if any {
                manifests.used.push(path.clone());
            }
        }
        manifests
    }

    fn add(&mut self, file: PathBuf, description: Description) {
        let next = self.entries.len() as u64;
        self.entries.entry(file).or_insert((description, next));
    }

    pub fn get(&self, file: &Path) -> Option<&Description> {
        self.entries.get(file).map(|(description, _)| description)
    }

    pub fn sequence(&self, file: &Path) -> Option<u64> {
        self.entries.get(file).map(|(_, sequence)| *sequence)
    }

    /// The manifests themselves.
    pub fn used(&self) -> &[PathBuf] {
        &self.used
    }
}

fn is_manifest(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.to_ascii_lowercase();
    NAMES.contains(&&*stem) || stem.ends_with(CALL_TREE)
}

/// The ways to name a file below `folder`: its path from there, that without extension.
fn known(files: &[PathBuf], folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut known = BTreeMap::new();
    for file in files {
        let Ok(relative) = file.strip_prefix(folder) else {
            continue;
        };
        if file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"))
        {
            continue;
        }
        let full = relative.to_string_lossy().replace('\\', "/");
        if let Some(name) = relative.file_name() {
            known
                .entry(name.to_string_lossy().into_owned())
                .or_insert_with(|| file.clone());
        }
        let bare = relative.with_file_name(super::formats::stem(relative));
        known
            .entry(bare.to_string_lossy().into_owned())
            .or_insert_with(|| file.clone());
        known.insert(full, file.clone());
    }
    known
}

struct Collector {
    known: BTreeMap<String, PathBuf>,
    found: Vec<(PathBuf, Description)>,
}

impl Collector {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                const KEYS: [&str; 7] = [
                    "file",
                    "filename",
                    "file_name",
                    "path",
                    "data_name",
                    "name",
                    "value",
                ];
                let named = KEYS
                    .iter()
                    .find_map(|key| self.file(fields.get(*key)?.as_str()?));
                if let Some(file) = named {
                    self.add(file, value);
                    return;
                }
                for (key, inner) in fields {
                    match (self.file(key), inner) {
                        (Some(file), Value::Object(_)) => self.add(file, inner),
                        _ => self.value(inner),
                    }
                }
            }
            // A plain list of files is an order.
            Value::String(text) => {
                if let Some(file) = self.file(text) {
                    self.add(file, value);
                }
            }
            _ => {}
        }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        self.known.get(name.trim_start_matches("./")).cloned()
    }

    fn add(&mut self, file: PathBuf, value: &Value) {
        let description = Description::from_json(value).unwrap_or_default();
        self.found.push((file, description));
    }
}
