//! What a path that does not exist was probably meant to be.

use std::fs;
use std::path::{Path, PathBuf};
use strsim::osa_distance;

/// A file or folder that exists and whose path differs by little in every part.
pub(super) fn nearest(path: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?;
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() || parent.exists() => parent.to_owned(),
        Some(parent) => nearest(parent)?,
        None => return None,
    };
    let here = parent.join(wanted);
    if here.exists() {
        return Some(here);
    }
    let listed = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => &parent,
    };
    let near = wanted.chars().count().div_ceil(4).min(3);
    let names = fs::read_dir(listed)
        .ok()?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut found: Vec<(usize, String)> = names
        .map(|name| {
            (
                osa_distance(&wanted.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(d, name)| *d <= near || name.starts_with(&format!("{wanted}.")))
        .collect();
    found.sort();
    let (_, name) = found.into_iter().next()?;
    Some(parent.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_little_are_offered() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dumps/step1")).unwrap();
        for name in ["reference", "cand.npz", "x", "dumps/step1/cand"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        for (name, meant) in [
            ("refernce", Some("reference")),
            ("Reference", Some("reference")),
            ("cand", Some("cand.npz")),
            ("dump/step1/cand", Some("dumps/step1/cand")),
            ("dump/stp1/cadn", Some("dumps/step1/cand")),
            ("dump/step1/other", None),
            ("output", None),
            ("output/step1", None),
        ] {
            let meant = meant.map(|m| dir.path().join(m));
            assert_eq!(nearest(&dir.path().join(name)), meant, "{name}");
        }
    }
}
