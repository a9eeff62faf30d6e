//! What a new user gets wrong, and what the message says then: what was found, and what to do.

use super::commands::{npy, tdiff, text};
use std::fs;
use std::path::Path;

/// Exit code 2, one line that starts as every error does, with these words in it.
fn refused(args: &[&str], words: &[&str]) {
    let output = tdiff(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    let message = text(&output.stderr);
    assert!(message.starts_with("tdiff: "), "{message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: no `{word}` in {message}");
    }
}

fn folder(root: &Path, name: &str, files: &[&str]) -> String {
    let path = root.join(name);
    fs::create_dir_all(&path).unwrap();
    for file in files {
        match file.ends_with(".npy") {
            true => npy(&path.join(file), &[2], &[1.0, 2.0]),
            false => fs::write(path.join(file), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap(),
        }
    }
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_path_that_is_not_there_is_named_once_with_the_one_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let there = folder(dir.path(), "reference", &["x.npy"]);
    let wrong = there.replace("reference", "refernce");
    let hint = format!("no such file or directory; there is {there}");
    refused(&[&wrong, &there], &[&wrong, &hint]);
    let message = text(&tdiff(&[&there, &wrong]).stderr);
    assert_eq!(message.matches("no such file").count(), 1, "{message}");
    refused(&["stats", &wrong], &[&hint]);
}

#[test]
fn folders_without_tensors_say_what_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let dump = folder(dir.path(), "dump", &["x.npy"]);
    let empty = folder(dir.path(), "empty", &[]);
    let plots = folder(dir.path(), "plots", &["a.png", "b.png", "c.png", "d.png"]);
    for args in [
        &[&*dump, &empty][..],
        &[&empty, &dump],
        &[&empty],
        &["stats", &empty],
        &["check", &empty],
    ] {
        refused(
            args,
            &["no tensors found", "the folder is empty", ".safetensors"],
        );
    }
    for args in [&[&*dump, &plots][..], &[&plots], &["stats", &plots]] {
        refused(args, &["4 other files", "a.png, b.png, c.png, …"]);
    }
    let plot = format!("{plots}/a.png");
    refused(
        &[&dump, &plot],
        &["no known tensor format", "89 50 4e 47", "--dtype"],
    );
}

#[test]
fn unrelated_folders_name_examples_of_both_and_the_option_that_pairs_them() {
    let dir = tempfile::tempdir().unwrap();
    let one = folder(dir.path(), "one", &["alpha.npy", "beta.npy"]);
    let other = folder(dir.path(), "other", &["gamma.npy", "delta.npy"]);
    refused(
        &[&one, &other],
        &["alpha, beta)", "delta, gamma)", "--map", "tdiff pairs"],
    );
    let output = tdiff(&[&one, &other, "--map", "cand:gamma=alpha", "--allow-missing"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn one_folder_without_tags_asks_for_two_paths() {
    let dir = tempfile::tempdir().unwrap();
    let one = folder(dir.path(), "one", &["alpha.npy", "beta.npy"]);
    refused(
        &[&one],
        &["2 tensors", "alpha, beta", "two paths", "--ref-tag"],
    );
    // how its names are understood can be shown all the same
    let output = tdiff(&["pairs", &one]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.starts_with("0 pairs; one side") && said.contains("[one_side]"),
        "{said}"
    );
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let one = folder(dir.path(), "one", &["alpha.npy", "beta.npy"]);
    let other = folder(dir.path(), "other", &["alpha.npy", "gamma.npy"]);
    let output = tdiff(&[&one, &other]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["candidate lacks beta", "only the candidate has gamma"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_tensor_that_is_not_in_the_file_is_answered_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let one = folder(dir.path(), "one", &["alpha.npy", "beta.npy"]);
    let wrong = format!("{one}::gamma");
    refused(&[&wrong, &one], &["no tensor of this name", "alpha, beta"]);
}

#[test]
fn a_cut_file_is_named_with_both_sizes_and_the_rest_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let one = folder(dir.path(), "one", &["alpha.npy", "beta.npy"]);
    let other = folder(dir.path(), "other", &["alpha.npy", "beta.npy"]);
    let cut = Path::new(&other).join("beta.npy");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 3]).unwrap();
    let output = tdiff(&[&one, &other]);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("beta.npy at byte") && message.contains("needs 8, found 5"),
        "{message}"
    );
    assert!(text(&output.stdout).contains("1 unreadable"));
}

#[test]
fn an_empty_tensor_is_not_a_part_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none.npy");
    npy(&none, &[0, 4], &[]);
    for rows in [1, 3] {
        let some = dir.path().join(format!("some{rows}.npy"));
        npy(&some, &[rows, 4], &vec![1.0; rows * 4]);
        for pair in [[&none, &some], [&some, &none]] {
            let output = tdiff(&pair.map(|p| p.to_str().unwrap()));
            let said = text(&output.stdout);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("1 not comparable"), "{said}");
        }
    }
}

#[test]
fn a_cut_file_without_header_is_named_with_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = folder(dir.path(), "whole", &["x.npy"]);
    let cut = folder(dir.path(), "cut", &[]);
    fs::write(Path::new(&cut).join("x.bin"), [0; 6]).unwrap();
    let output = tdiff(&[&whole, &cut]);
    let said = text(&output.stdout);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("`x` has no header: it holds 6 bytes, f32 [2] takes 8"),
        "{said}"
    );
}

#[test]
fn a_report_is_not_written_over_what_was_compared() {
    let dir = tempfile::tempdir().unwrap();
    let [r, c] = ["r.txt", "c.txt"].map(|name| {
        let path = dir.path().join(name);
        fs::write(&path, "0.5 0.25\n").unwrap();
        path.to_str().unwrap().to_owned()
    });
    refused(
        &[&r, &c, "-o", &c],
        &["one of the files that were compared"],
    );
    assert_eq!(fs::read_to_string(&c).unwrap(), "0.5 0.25\n");
    let report = dir.path().join("report.HTML");
    let output = tdiff(&[&r, &c, "-q", "-o", report.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(fs::read_to_string(report).unwrap().contains("<html"));
}

#[test]
fn what_is_left_out_is_said_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let dump = folder(dir.path(), "dump", &["alpha.npy", "plot.png"]);
    let lines = dir.path().join("lines");
    fs::write(&lines, "alpha\nomega\n").unwrap();
    let said = |args: &[&str]| text(&tdiff(args).stdout);
    let compared = said(&[&dump, &dump, "--order", lines.to_str().unwrap()]);
    assert!(compared.contains("`omega` of --order names no tensor"));
    for shown in [compared, said(&["stats", &dump]), said(&["check", &dump])] {
        assert!(shown.contains("1 file is no tensor (plot.png)"), "{shown}");
    }
}
