//! What a path that does not exist was probably meant to be.

use std::fs;
use std::path::Path;

/// A file or folder of the same parent whose name differs by little.
pub(super) fn nearest(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let near = wanted.chars().count().div_ceil(4).min(3);
    let names = fs::read_dir(parent)
        .ok()?
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok());
    let mut found: Vec<(usize, String)> = names
        .map(|name| (distance(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(d, name)| *d <= near || name.starts_with(&format!("{wanted}.")))
        .collect();
    found.sort();
    let (_, name) = found.into_iter().next()?;
    Some(path.with_file_name(name).display().to_string())
}

/// Characters to insert, drop or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_little_are_offered() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["reference", "cand.npz", "x"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let near = |name: &str| {
            nearest(&dir.path().join(name)).map(|p| p.rsplit('/').next().unwrap().to_owned())
        };
        assert_eq!(near("refernce").as_deref(), Some("reference"));
        assert_eq!(near("Reference").as_deref(), Some("reference"));
        assert_eq!(near("cand").as_deref(), Some("cand.npz"));
        assert_eq!(near("output"), None);
    }
}
