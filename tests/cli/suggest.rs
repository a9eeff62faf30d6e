//! Names that do not pair are answered with the rule that pairs them, and that rule works.

use super::commands::{json, npy, tdiff, text};
use std::path::Path;

/// Folders of tensors of 16 values; the same number gives the same values.
fn folder(root: &Path, side: &str, files: &[(&str, usize)]) -> String {
    let folder = root.join(side);
    for (name, seed) in files {
        let values = (0..16).map(|i| ((i * 7 + seed * 5) % 11) as f32 + *seed as f32);
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
        ("layers.0.mlp.mixed", 3),
        ("layers.1.mlp.zig_gate", 4),
        ("layers.1.mlp.mixed", 5),
    ];
    let c = &[
        ("layers.0.attention_norm", 1),
        ("blk-0.mlp.zag_gate", 2),
        ("blk-0.other", 3),
        ("blk-1.mlp.zag_gate", 4),
        ("blk-1.other", 5),
    ];
    [folder(root, "ref", r), folder(root, "cand", c)]
}

#[test]
fn a_printed_map_pairs_the_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let sides = foreign(dir.path());
    let sides = [&*sides[0], &*sides[1]];
    let before = run(&sides, &[], &[]);
    let said = text(&before.stdout);
    assert_eq!(before.status.code(), Some(1), "{said}");
    let found = maps(&said);
    assert_eq!(found.len(), 4, "one rule for each kind: {said}");
    assert!(
        said.contains("tdiff pairs says why [suggested_pairs]"),
        "{said}"
    );
    assert!(found[1].contains("{layer}"), "{found:?}");
    let after = json(&run(&sides, &found, &["--format", "json"]));
    assert_eq!(after["counts"]["compared"], 5, "{after:#}");
    assert_eq!(after["counts"]["missing_in_candidate"], 0);
    assert_eq!(after["verdict"], "agreed");
}

#[test]
fn pairs_and_the_report_list_suggestions_as_data() {
    let dir = tempfile::tempdir().unwrap();
    let sides = foreign(dir.path());
    let said = text(&tdiff(&["pairs", &sides[0], &sides[1]]).stdout);
    assert!(
        said.contains("zag_gate: equal values, same shape [2, 8], "),
        "{said}"
    );
    let plan = json(&tdiff(&["pairs", &sides[0], &sides[1], "--format", "json"]));
    let suggestions = plan["suggestions"].as_array().unwrap();
    assert_eq!(suggestions.len(), 2);
    let first = suggestions[0].as_object().unwrap();
    assert!(first.keys().eq(["reference", "candidate", "why", "map"]));
    assert_eq!(first["reference"].as_array().unwrap().len(), 2);
    let report = json(&tdiff(&[&sides[0], &sides[1], "--format", "json"]));
    let notes = report["notes"].as_array().unwrap();
    let note = notes.iter().find(|n| n["id"] == "suggested_pairs").unwrap();
    assert_eq!(note["tensors"].as_array().unwrap().len(), 8);
}

#[test]
fn where_nothing_pairs_the_error_ends_with_rules_that_work() {
    let dir = tempfile::tempdir().unwrap();
    let r = folder(dir.path(), "ref", &[("alpha", 1), ("beta", 2)]);
    let c = folder(dir.path(), "cand", &[("gamma", 2), ("delta", 1)]);
    let before = tdiff(&[&r, &c]);
    assert_eq!(before.status.code(), Some(2));
    let said = text(&before.stderr);
    assert!(said.trim_end().ends_with('\''), "{said}");
    let found = maps(&said);
    assert_eq!(
        found,
        ["--map", "cand:delta=alpha", "--map", "cand:gamma=beta"]
    );
    let after = run(&[&r, &c], &found, &[]);
    assert_eq!(after.status.code(), Some(0), "{}", text(&after.stdout));
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
    let after = run(&sides, &found, &[]);
    assert_eq!(after.status.code(), Some(0), "{}", text(&after.stdout));
}
