//! The transcripts of the README are what the binary prints.

use super::commands::{tdiff, text};
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
