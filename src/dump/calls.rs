//! `module_calls.txt` of vLLM's intermediate logging: one line per call of a module, beside a folder of that name with its inputs
//! and outputs. The order of the lines is the order in which the modules start.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

const NAME: &str = "module_calls.txt";
/// A longer list names more modules than any model has.
const LONGEST: u64 = 16 << 20;

/// The files that a list of calls orders, with their places.
pub(super) struct Calls {
    pub list: PathBuf,
    pub places: Vec<(PathBuf, u64)>,
}

/// Reads `list` if it is one; `files` are those of the dump.
pub(super) fn read(list: &Path, files: &[PathBuf]) -> Option<Calls> {
    if list.file_name()? != NAME || fs::metadata(list).ok()?.len() > LONGEST {
        return None;
    }
    let text = fs::read_to_string(list).ok()?;
    let names: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let starts: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let root = list.parent()?;
    let mut places = Vec::new();
    for file in files {
        let Ok(inside) = file.strip_prefix(root) else {
            continue;
        };
        let folder = inside.parent().and_then(Path::to_str).unwrap_or_default();
        let Some(&start) = starts.get(folder) else {
            continue;
        };
        let what = inside.file_name().unwrap_or_default().to_string_lossy();
        // A module ends behind the last one that starts inside it.
        let place = match what.starts_with("inputs") {
            true => 2 * start,
            false => 2 * end(&names, start) + 1,
        };
        places.push((file.clone(), place as u64));
    }
    // Modules that end together: the inner one first.
    places.sort_by_key(|(file, place)| {
        let depth = file.parent().map_or(0, |folder| folder.as_os_str().len());
        (
            *place,
            if place % 2 == 1 {
                usize::MAX - depth
            } else {
                depth
            },
        )
    });
    (!places.is_empty()).then(|| Calls {
        list: list.to_path_buf(),
        places,
    })
}

/// The last call that starts while the one at `start` runs.
fn end(names: &[&str], start: usize) -> usize {
    let inside = |name: &&&str| {
        let rest = name.strip_prefix(names[start]);
        rest.is_some_and(|r| r.starts_with('.'))
    };
    start + names[start + 1..].iter().take_while(inside).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_ends_behind_those_inside_it() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join(NAME);
        fs::write(&list, "m\nm.a\nm.a.b\nm.c\nhead\n").unwrap();
        let file = |name: &str| dir.path().join(name);
        let files = [
            "head/outputs",
            "m.a.b/outputs",
            "m.a/outputs",
            "m/inputs_0",
            "m/outputs",
            "m.c/inputs_0",
            "x/y",
        ];
        let calls = read(&list, &files.map(file)).unwrap();
        let order: Vec<_> = calls
            .places
            .iter()
            .map(|(f, _)| f.strip_prefix(&dir).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            order,
            [
                "m/inputs_0",
                "m.a.b/outputs",
                "m.a/outputs",
                "m.c/inputs_0",
                "m/outputs",
                "head/outputs"
            ]
        );
    }

    #[test]
    fn the_name_of_a_file_says_nothing_of_the_depth() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join(NAME);
        fs::write(&list, "m\nm.a\n").unwrap();
        let files = ["m.a/outputs", "m/outputs_of_everything"].map(|name| dir.path().join(name));
        let calls = read(&list, &files).unwrap();
        let order: Vec<_> = calls.places.iter().map(|(f, _)| f.clone()).collect();
        assert_eq!(order, files);
    }
}
