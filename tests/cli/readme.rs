//! The transcripts of the README are what the binary prints.

use super::commands::{npy, tdiff, text};
use std::path::Path;

/// `$ tdiff …` and the lines that follow it, from every console block of the README.
fn transcripts(readme: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in readme.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or("");
        if let Some((command, output)) = block.split_once('\n')
            && let Some(command) = command.strip_prefix("$ tdiff ")
        {
            found.push((command.to_owned(), output.to_owned()));
        }
    }
    found
}

#[test]
fn the_readme_shows_what_the_binary_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let found = transcripts(&readme);
    assert!(!found.is_empty());
    for (command, expected) in found {
        let arguments: Vec<String> = command
            .split_whitespace()
            .map(|a| {
                if a.starts_with("fixtures/") {
                    root.join(a).to_str().unwrap().to_owned()
                } else {
                    a.to_owned()
                }
            })
            .collect();
        let output = tdiff(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let said = text(&output.stdout).replace(&format!("{}/", root.display()), "");
        assert_eq!(said.trim_end(), expected.trim_end(), "tdiff {command}");
    }
}

#[test]
fn the_readme_s_own_architecture_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let model = readme
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, model).unwrap();
    for name in ["input_layernorm", "self_attn.zeta", "self_attn.o_proj"] {
        let path = dir.path().join(format!("dump/model.layers.0.{name}.npy"));
        npy(&path, &[2], &[1.0, 2.0]);
    }
    let dump = dir.path().join("dump");
    let [dump, file] = [dump, file].map(|p| p.to_str().unwrap().to_owned());
    let said = text(&tdiff(&["pairs", &dump, &dump, "--model", &file]).stdout);
    let places = [
        "layers.0.attn_norm",
        "layers.0.attn_zeta",
        "layers.0.o_proj",
    ];
    let at = places.map(|key| {
        said.find(key)
            .unwrap_or_else(|| panic!("no {key} in {said}"))
    });
    assert!(at.is_sorted() && said.contains("order: pipeline"), "{said}");
}
