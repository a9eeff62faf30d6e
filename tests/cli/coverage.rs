//! What was not compared does not agree, and what decides nothing accuses nobody.

use super::commands::{json, npy, tdiff, text};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Tensors of 2 × 8 in a folder, each of its own values; `(name, seed, shape)`.
fn folder(root: &Path, side: &str, files: &[(&str, u32, &[usize])]) -> String {
    let folder = root.join(side);
    for (name, seed, shape) in files {
        let len: usize = shape.iter().product();
        let value = |i: usize| ((i as f32 + 1.0) * (1.7 + *seed as f32)).sin();
        let values: Vec<f32> = (0..len).map(value).collect();
        npy(&folder.join(format!("{name}.npy")), shape, &values);
    }
    folder.to_str().unwrap().to_owned()
}

fn report(sides: &[&str], more: &[&str]) -> Value {
    json(&tdiff(&[sides, more, &["--format", "json"]].concat()))
}

#[test]
fn a_guess_that_differs_while_all_around_agrees_is_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    let s: &[usize] = &[2, 8];
    let around = [
        ("layers.0.attn_norm", 1, s),
        ("layers.0.q_proj", 2, s),
        ("layers.0.output", 3, s),
    ];
    let r = folder(
        dir.path(),
        "r",
        &[&around[..], &[("layers.0.zig_gate", 4, s)]].concat(),
    );
    let c = folder(
        dir.path(),
        "c",
        &[&around[..], &[("layers.0.zag_gate", 9, s)]].concat(),
    );
    let found = report(&[&r, &c], &[]);
    assert_eq!(found["verdict"], "incomplete", "{found:#}");
    assert_eq!(found["exit_code"], 1);
    assert_eq!(found["first_divergence"], Value::Null);
    assert_eq!(found["coverage"]["not_compared"][0]["tensors"], 1);
    let said = text(&tdiff(&[&r, &c]).stdout);
    assert!(said.starts_with("INCOMPLETE: 3 of 3"), "{said}");
    assert!(
        said.contains("[not_compared]") && said.contains("--map"),
        "{said}"
    );
    assert_eq!(report(&[&r, &c], &["--allow-missing"])["verdict"], "agreed");
    // the user says that they are the same: then it is a divergence
    let map = [
        "--map",
        "cand:layers.{layer}.zag_gate=layers.{layer}.zig_gate",
    ];
    let sure = report(&[&r, &c], &map);
    assert_eq!(sure["verdict"], "diverged");
    assert_eq!(sure["first_divergence"]["key"], "layers.0.zig_gate");
}

#[test]
fn shapes_that_nothing_reconciles_are_no_first_divergence_where_what_follows_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let dump = |side: &str, q: &[usize], output: u32| {
        let s: &[usize] = &[2, 8];
        let files = [
            ("layers.0.attn_norm", 1, s),
            ("layers.0.q_proj", 2, q),
            ("layers.0.output", output, s),
        ];
        folder(dir.path(), side, &files)
    };
    let (r, same, other) = (
        dump("r", &[2, 8], 3),
        dump("same", &[3, 7], 3),
        dump("other", &[3, 7], 5),
    );
    let found = report(&[&r, &same], &[]);
    assert_eq!(found["verdict"], "incomplete", "{found:#}");
    let found = report(&[&r, &other], &[]);
    assert_eq!(found["verdict"], "diverged");
    assert_eq!(found["first_divergence"]["key"], "layers.0.q_proj");
}

#[test]
fn lines_that_no_reader_took_have_not_agreed() {
    let dir = tempfile::tempdir().unwrap();
    let log = |side: &str, last: &str| {
        let folder = dir.path().join(side);
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join("run.log"),
            format!("q: tensor([0.5000, 0.2500, 1.5000])\nlogits 0.5 {last} 2\n"),
        )
        .unwrap();
        folder.to_str().unwrap().to_owned()
    };
    let found = report(&[&log("r", "0.25"), &log("c", "9.75")], &[]);
    assert_eq!(found["verdict"], "incomplete", "{found:#}");
    let what = found["coverage"]["not_compared"][0]["what"]
        .as_str()
        .unwrap();
    assert!(what.contains("lines"), "{what}");
}
