//! What names and values do not settle is answered with the rule that does, and that rule works.

use super::commands::{json, npy, tdiff, text};
use std::path::Path;

/// Folders of tensors of 16 values, which no other tensor has.
fn folder(root: &Path, side: &str, files: &[(&str, usize)]) -> String {
    let folder = root.join(side);
    for (name, seed) in files {
        let seed = *seed + 20 * side.len();
        let values = (0..16).map(|i| ((i * 7 + seed * 5) % 11) as f32 + seed as f32);
        npy(
            &folder.join(format!("{name}.npy")),
            &[2, 8],
            &values.collect::<Vec<_>>(),
        );
    }
    folder.to_str().unwrap().to_owned()
}

/// The arguments of the `--map` that a line holds.
fn maps(said: &str) -> Vec<String> {
    let rules = said.split("--map '").skip(1);
    let rules = rules.filter_map(|rest| rest.split_once('\''));
    rules
        .flat_map(|(rule, _)| ["--map".to_owned(), rule.to_owned()])
        .collect()
}

fn run(sides: &[&str], maps: &[String], more: &[&str]) -> std::process::Output {
    let maps: Vec<&str> = maps.iter().map(String::as_str).collect();
    tdiff(&[sides, &maps, more].concat())
}

fn foreign(root: &Path) -> [String; 2] {
    let r = &[
        ("layers.0.attention_norm", 1),
        ("layers.0.mlp.zig_gate", 2),
        ("layers.1.mlp.zig_gate", 4),
    ];
    let c = &[
        ("layers.0.attention_norm", 1),
        ("blk-0.mlp.zag_gate", 2),
        ("blk-1.mlp.zag_gate", 4),
    ];
    [folder(root, "ref", r), folder(root, "cand", c)]
}

const MAP: &str = "cand:blk-{layer}.mlp.zag_gate=layers.{layer}.mlp.zig_gate";

#[test]
fn a_guess_is_told_with_the_map_that_makes_it_sure() {
    let dir = tempfile::tempdir().unwrap();
    let sides = foreign(dir.path());
    let sides = [&*sides[0], &*sides[1]];
    let said = text(&run(&sides, &[], &[]).stdout);
    assert!(said.contains("[paired_by_guess]"), "{said}");
    assert_eq!(maps(&said), ["--map", MAP], "{said}");
    let report = json(&run(&sides, &[], &["--format", "json"]));
    let notes = report["notes"].as_array().unwrap();
    let note = notes.iter().find(|n| n["id"] == "suggested_pairs").unwrap();
    assert_eq!(note["tensors"].as_array().unwrap().len(), 4);
    let after = json(&run(&sides, &maps(&said), &["--format", "json"]));
    assert_eq!(after["counts"]["compared"], 3, "{after:#}");
    let notes = after["notes"].as_array().unwrap();
    assert!(notes.iter().all(|n| n["id"] != "paired_by_guess"));
}

#[test]
fn pairs_lists_suggestions_as_data() {
    let dir = tempfile::tempdir().unwrap();
    let sides = foreign(dir.path());
    let said = text(&tdiff(&["pairs", &sides[0], &sides[1]]).stdout);
    assert!(
        said.contains("zag_gate: same shape [2, 8], at 2 places"),
        "{said}"
    );
    let plan = json(&tdiff(&["pairs", &sides[0], &sides[1], "--format", "json"]));
    let suggestions = plan["suggestions"].as_array().unwrap();
    assert_eq!(suggestions.len(), 1);
    let first = suggestions[0].as_object().unwrap();
    assert!(first.keys().eq(["reference", "candidate", "why", "map"]));
    assert_eq!(first["reference"].as_array().unwrap().len(), 2);
}

#[test]
fn where_nothing_pairs_the_error_ends_with_rules_that_work() {
    let dir = tempfile::tempdir().unwrap();
    let r = folder(dir.path(), "ref", &[("gate_of_ab", 1), ("sum_of_bc", 2)]);
    let c = folder(
        dir.path(),
        "cand",
        &[("the.gates.xy", 1), ("the.sums.yz", 2)],
    );
    let before = tdiff(&[&r, &c]);
    assert_eq!(before.status.code(), Some(2), "{}", text(&before.stdout));
    let said = text(&before.stderr);
    assert!(said.trim_end().ends_with('\''), "{said}");
    let found = maps(&said);
    let after = json(&run(&[&r, &c], &found, &["--format", "json"]));
    assert_eq!(after["counts"]["compared"], 2, "{after:#}");
}

#[test]
fn tags_and_steps_stay_out_of_a_rule() {
    let dir = tempfile::tempdir().unwrap();
    let r = [
        ("step0/layers.0.zig_gate_py", 1),
        ("step0/norm_py", 3),
        ("step1/layers.0.zig_gate_py", 2),
        ("step1/norm_py", 4),
    ];
    let c = [
        ("step0/layers.0.zag_gate_cpp", 1),
        ("step0/norm_cpp", 3),
        ("step1/layers.0.zag_gate_cpp", 2),
        ("step1/norm_cpp", 4),
    ];
    let sides = [
        folder(dir.path(), "ref", &r),
        folder(dir.path(), "cand", &c),
    ];
    let sides = [&*sides[0], &*sides[1]];
    let found = maps(&text(&run(&sides, &[], &[]).stdout));
    assert_eq!(
        found,
        [
            "--map",
            "cand:layers.{layer}.zag_gate=layers.{layer}.zig_gate"
        ]
    );
}
