//! The rooms of the library, which are the folders and files of `src`, use each other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

/// What stands after each `crate::`, tests left out.
fn used(text: &str) -> impl Iterator<Item = String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let paths = code.unwrap().split("crate::").skip(1);
    paths.map(|rest| {
        let word = |c: &char| c.is_alphanumeric() || *c == '_';
        rest.chars().take_while(word).collect()
    })
}

#[test]
fn no_room_uses_what_uses_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let first = inside.iter().next().unwrap().to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        let is_test = ["tests.rs", "toy.rs", "fixture.rs"].map(|t| inside.ends_with(t));
        if room == "lib" || room == "main" || is_test.contains(&true) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let others = used(&text).filter(|other| *other != room);
        rooms.entry(room.clone()).or_default().extend(others);
    }
    assert!(rooms.len() > 20);
    // the ground floor first: a room goes when nothing is left that it uses
    while let Some(free) = rooms
        .iter()
        .find(|(_, uses)| !uses.iter().any(|other| rooms.contains_key(other)))
        .map(|(room, _)| room.clone())
    {
        rooms.remove(&free);
    }
    assert!(rooms.is_empty(), "rooms in a circle: {rooms:#?}");
}
