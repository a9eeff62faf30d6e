//! A user's own architecture, `--model FILE`: its nodes give keys, their inputs the order; a wrong file is refused by its line.

use super::commands::{json, npy, tdiff, text};
use std::fs;
use std::path::Path;

const HEAD: &str = "family = \"mine\"\nabout = \"a gate behind attention\"\n";

/// A dump with a tensor that tdiff does not know, and the file that describes it.
fn dump(root: &Path, value: f32) -> String {
    let folder = root.join(format!("dump{value}"));
    for name in ["input_layernorm", "self_attn.o_proj", "self_attn.zz_gate"] {
        let file = folder.join(format!("model.layers.0.{name}.npy"));
        npy(&file, &[4], &[1.0, value, 3.0, 4.5]);
    }
    folder.to_str().unwrap().to_owned()
}

fn model(root: &Path, text: &str) -> String {
    let path = root.join("mine.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const GATE: &str = "[[node]]\nname = \"zz_gate\"\nholds = \"the gate of attention\"\noperation = \"linear\"\n\
                    inputs = [\"attn_norm\"]\nfeeds = [\"o_proj\"]\nnames.mine = [\"self_attn.zz_gate\"]\n";

#[test]
fn a_users_own_file_gives_keys_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let (r, c) = (dump(dir.path(), 2.0), dump(dir.path(), 2.5));
    let file = model(dir.path(), &format!("{HEAD}{GATE}"));
    let plan = json(&tdiff(&[
        "pairs", &r, &c, "--model", &file, "--format", "json",
    ]));
    let pairs = plan["pairs"].as_array().unwrap();
    let keys: Vec<&str> = pairs.iter().map(|p| p["key"].as_str().unwrap()).collect();
    assert_eq!(
        keys,
        ["layers.0.attn_norm", "layers.0.zz_gate", "layers.0.o_proj"]
    );
    assert_eq!(plan["order"], "pipeline");
    let said = text(&tdiff(&["explain", "zz_gate", "--model", &file]).stdout);
    assert!(
        said.contains("the gate of attention") && said.contains("written by mine"),
        "{said}"
    );
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_what_is_near() {
    let dir = tempfile::tempdir().unwrap();
    let r = dump(dir.path(), 2.0);
    let refused = |text_of_file: &str, words: &str| {
        let file = model(dir.path(), text_of_file);
        let output = tdiff(&[&r, &r, "--model", &file]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        assert!(
            said.starts_with(&format!("tdiff: {file}")) && said.contains(words),
            "{said}"
        );
    };
    let wrong = GATE.replace("attn_norm", "atn_norm");
    refused(
        &format!("{HEAD}{wrong}"),
        " line 7: no node is called `atn_norm`; `attn_norm` is near",
    );
    refused(&GATE.replace("inputs", "imputs"), "unknown field `imputs`");
    refused(&format!("{HEAD}{GATE}{GATE}"), "declared twice");
    let absent = tdiff(&[&r, &r, "--model", "no/such.toml"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(
        text(&absent.stderr).contains("--model no/such.toml: "),
        "{}",
        text(&absent.stderr)
    );
}
