//! Every fixture of `fixtures/formats`, written by its real producer, is read to the truth beside it; damaged, it is read
//! or refused, never trusted.

use super::commands::{json, tdiff};
use crate::allocation;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tdiff::dump::{Dump, Guess, Hints, ReadError, open};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats")
}

fn truth() -> serde_json::Map<String, Value> {
    let text = fs::read(fixtures().join("truth.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some(text) => text.parse().unwrap(),
        None => value.as_f64().unwrap(),
    }
}

fn texts(truth: &Value, key: &str) -> Vec<String> {
    let list = truth[key].as_array().cloned().unwrap_or_default();
    list.iter().map(|t| t.as_str().unwrap().into()).collect()
}

fn check(path: &str, truth: &Value) {
    let outcome = open(&fixtures().join(path), &Hints::default());
    let refused = texts(truth, "refused");
    let (dump, mut refusals) = match outcome {
        Ok(dump) => (dump, String::new()),
        Err(error) => (Dump::default(), error.to_string()),
    };
    for error in &dump.unreadable {
        refusals.push_str(&error.to_string());
    }
    assert!(
        !refused.is_empty() || refusals.is_empty(),
        "{path}: {refusals}"
    );
    for word in refused {
        assert!(
            refusals.contains(&word),
            "{path}: no `{word}` in {refusals}"
        );
    }
    let expected = truth["tensors"].as_array().unwrap();
    let names: Vec<&str> = dump.tensors.iter().map(|t| &*t.name).collect();
    let expected_names: Vec<&str> = expected
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, expected_names, "{path}");
    for (tensor, expected) in dump.tensors.iter().zip(expected) {
        let place = format!("{path}::{}", tensor.name);
        assert_eq!(
            tensor.info.dtype().name(),
            expected["dtype"].as_str().unwrap(),
            "{place}"
        );
        let guess = match expected["guess"].as_str() {
            Some("bits") => Some(Guess::Bits),
            // A type in the file's name is no guess.
            Some("size") if path == "raw/infix" => Some(Guess::Shape),
            Some("size") => Some(Guess::Size),
            _ => None,
        };
        assert_eq!(tensor.guess, guess, "{place}");
        let shape: Vec<u64> = tensor.info.shape().iter().map(|&n| n as u64).collect();
        assert_eq!(Value::from(shape), expected["shape"], "{place}");
        let values = tensor.values().unwrap_or_else(|e| panic!("{place}: {e}"));
        let expected_values = expected["values"].as_array().unwrap();
        assert_eq!(values.len(), expected_values.len(), "{place}");
        for (i, (&found, expected)) in values.iter().zip(expected_values).enumerate() {
            let expected = number(expected);
            let same = found == expected
                || (found.is_nan() && expected.is_nan())
                || (found - expected).abs() <= 1e-15 * expected.abs();
            assert!(same, "{place}[{i}]: {found}, the producer says {expected}");
        }
    }
    let notes: Vec<&str> = dump.notes.iter().map(|n| &*n.id).collect();
    assert_eq!(notes, texts(truth, "notes"), "{path}");
    let ignored: Vec<_> = dump
        .ignored
        .iter()
        .map(|f| f.file_name().unwrap().to_string_lossy())
        .collect();
    assert_eq!(ignored, texts(truth, "ignored"), "{path}");
}

#[test]
fn every_fixture_reads_to_what_its_producer_wrote() {
    let truth = truth();
    assert!(truth.len() > 100, "{} fixtures", truth.len());
    for (path, truth) in &truth {
        check(path, truth);
    }
}

#[test]
fn every_fixture_file_has_a_truth() {
    let truth = truth();
    let mut folders = vec![fixtures()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // text has a truth of its own
                if !path.ends_with("text") {
                    folders.push(path);
                }
                continue;
            }
            let name = path.strip_prefix(fixtures()).unwrap().to_str().unwrap();
            let known = truth
                .keys()
                .any(|key| name == key || name.starts_with(&format!("{key}/")));
            assert!(known || matches!(name, "make.py" | "truth.json"), "{name}");
        }
    }
}

/// Reads a damaged copy: what it holds is read or refused with a place, and no length in it is trusted.
fn survive(path: &Path, bytes: &[u8], what: &str) {
    // Shortened at the end, not at the start: some file systems wait for the disk when a file is emptied and refilled.
    let mut file = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    drop(file);
    let (outcome, largest) = allocation::largest(|| open(path, &Hints::default()));
    let limit = 3 * bytes.len() + (1 << 18);
    assert!(
        largest <= limit,
        "{what}: allocated {largest} bytes for a file of {}",
        bytes.len()
    );
    let placed = |error: &ReadError| {
        assert!(
            // the file itself, or one beside it that it names
            error
                .to_string()
                .contains(path.parent().unwrap().to_str().unwrap()),
            "{what}: {error}"
        )
    };
    match outcome {
        Ok(dump) => {
            dump.unreadable.iter().for_each(placed);
            for tensor in &dump.tensors {
                if tensor.info.len() < 1 << 20
                    && let Err(error) = tensor.values()
                {
                    placed(&error);
                }
            }
        }
        Err(error) => placed(&error),
    }
}

/// Damages every fixture below `folder` that is a file of its own.
fn damage(folder: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for name in truth().keys().filter(|k| k.starts_with(folder)) {
        let path = fixtures().join(name);
        if !path.is_file() {
            continue;
        }
        seen += 1;
        damage_copies(&path, scratch.path());
    }
    assert!(seen > 0, "no fixture below {folder}");
}

/// Damages one file, which is opened alone.
pub fn damage_file(path: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    damage_copies(path, scratch.path());
}

/// Opens copies of a file: cut at every byte (or every 17th of a long one), and with single bytes changed.
fn damage_copies(path: &Path, scratch: &Path) {
    let name = path.display();
    let bytes = fs::read(path).unwrap();
    let copy = scratch.join(path.file_name().unwrap());
    let step = if bytes.len() > 400 { 17 } else { 1 };
    for end in (0..bytes.len()).step_by(step) {
        survive(&copy, &bytes[..end], &format!("{name} cut at byte {end}"));
    }
    // Headers stand at the start, the directory of an archive at the end.
    let head = 0..bytes.len().min(700);
    let tail = bytes.len().saturating_sub(700).max(head.end)..bytes.len();
    let mut changed = bytes.clone();
    for at in head.chain(tail) {
        // One change per byte, another one for its neighbour.
        let value = [bytes[at] ^ 0x01, 0xff, bytes[at] ^ 0x10, 0x00][at % 4];
        changed[at] = value;
        survive(
            &copy,
            &changed,
            &format!("{name} with byte {at} = {value:#04x}"),
        );
        changed[at] = bytes[at];
    }
    fs::remove_file(&copy).unwrap();
}

#[test]
fn damaged_npy_is_read_or_refused() {
    damage("npy/");
}

#[test]
fn damaged_npz_is_read_or_refused() {
    damage("npz/");
}

#[test]
fn damaged_safetensors_are_read_or_refused() {
    damage("safetensors/");
}

#[test]
fn damaged_headerless_files_are_read_or_refused() {
    damage("raw/");
}

#[test]
fn damaged_torch_files_are_read_or_refused() {
    damage("torch/");
}

#[test]
fn damaged_gguf_is_read_or_refused() {
    damage("gguf/");
}

#[test]
fn damaged_onnx_tensors_are_read_or_refused() {
    damage("onnx/");
}

#[test]
fn damaged_max_checkpoints_are_read_or_refused() {
    damage("max/");
}

#[test]
fn the_content_decides_whatever_the_extension_says() {
    let scratch = tempfile::tempdir().unwrap();
    let copy = |from: &str, name: &str| {
        let path = scratch.path().join(name);
        fs::copy(fixtures().join(from), &path).unwrap();
        path
    };
    for (from, name, format) in [
        ("npy/f32.npy", "a.pt", "npy"),
        ("npz/stored.npz", "b.safetensors", "npz"),
        ("torch/bare.pt", "c.npy", "torch"),
        ("safetensors/numpy.safetensors", "d.npz", "safetensors"),
        ("gguf/q8_0.gguf", "e.bin", "gguf"),
        ("onnx/raw.pb", "f.npy", "onnx"),
        ("onnx/float.tensorproto", "g.bin", "onnx"),
        ("max/q.max", "h.gguf", "max"),
        ("text/llama_cpp.log", "i.bin", "log"),
        ("text/savetxt_default.txt", "j.raw", "text"),
        (
            "../producers/msprobe_statistics/step0/proc4711/dump.json",
            "k.log",
            "msprobe",
        ),
        (
            "../producers/hf_debugger_summary/LlamaForCausalLM_debug_tree_SUMMARY.json",
            "l.txt",
            "hf_debugger",
        ),
    ] {
        let dump = open(&copy(from, name), &Hints::default()).unwrap();
        assert_eq!(dump.tensors[0].origin.format, format, "{from} as {name}");
        let noted = dump.notes.iter().find(|n| n.id == "wrong_extension");
        let message = &noted
            .unwrap_or_else(|| panic!("{from} as {name}: no note"))
            .message;
        assert!(message.contains(format), "{message}");
    }
}

#[test]
fn two_files_without_a_type_say_how_they_were_read() {
    let path = fixtures().join("raw/plain.bin");
    let path = path.to_str().unwrap();
    let report = json(&tdiff(&[path, path, "--format", "json"]));
    assert_eq!(report["notes"][0]["id"], "headerless");
}

/// `x.npy` of f32 beside `x.bin` with the same values as `encode` writes them.
fn headerless(encode: impl Fn(f32) -> Vec<u8>) -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..48)
        .map(|i| ((i * 37 % 48) as f32 - 20.0) / 8.0)
        .collect();
    let (r, c) = (dir.path().join("x.npy"), dir.path().join("x.bin"));
    super::commands::npy(&r, &[3, 16], &values);
    fs::write(&c, values.into_iter().flat_map(encode).collect::<Vec<u8>>()).unwrap();
    let [r, c] = [r, c].map(|p| p.to_str().unwrap().to_owned());
    (dir, r, c)
}

fn bf16(v: f32) -> Vec<u8> {
    ((v.to_bits() >> 16) as u16).to_le_bytes().to_vec()
}

/// Values between 2^-3 and 2^3 with few digits are exact in f16.
fn f16(v: f32) -> Vec<u8> {
    let bits = v.to_bits();
    let small = match v == 0.0 {
        true => 0,
        false => ((bits >> 23 & 0xff) - 112) << 10 | (bits >> 13 & 0x3ff),
    };
    ((bits >> 16 & 0x8000 | small) as u16)
        .to_le_bytes()
        .to_vec()
}

#[test]
fn headerless_data_of_any_width_are_read_as_the_type_that_fits_the_partner() {
    let f64s = |v: f32| f64::from(v).to_le_bytes().to_vec();
    for (dtype, (_dir, r, c)) in [
        ("f16", headerless(f16)),
        ("bf16", headerless(bf16)),
        ("f64", headerless(f64s)),
    ] {
        let report = json(&tdiff(&[&r, &c, "--format", "json", "--all"]));
        assert_eq!(report["verdict"], "agreed", "{dtype}: {report}");
        let candidate = &report["tensors"][0]["candidate"];
        assert_eq!(candidate["dtype"], dtype);
        assert_eq!(candidate["shape"], serde_json::json!([3, 16]));
        let notes = report["notes"].as_array().unwrap();
        let note = notes.iter().find(|n| n["id"] == "headerless").unwrap();
        let message = note["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("read as {dtype} [3, 16]")),
            "{message}"
        );
    }
}

#[test]
fn a_type_that_was_given_is_not_taken_from_the_partner() {
    let (_dir, r, c) = headerless(|v| v.to_le_bytes().to_vec());
    let read = |dtype: &str| {
        json(&tdiff(&[
            &r, &c, "--dtype", dtype, "--format", "json", "--all",
        ]))
    };
    let report = read("f32");
    assert_eq!(report["verdict"], "agreed");
    assert_eq!(
        report["tensors"][0]["candidate"]["shape"],
        serde_json::json!([3, 16])
    );
    // As many elements, of another type.
    let report = read("i32");
    assert_eq!(report["tensors"][0]["candidate"]["dtype"], "i32");
    assert_eq!(report["verdict"], "diverged");
    let report = read("f64");
    assert_eq!(report["tensors"][0]["status"], "incomparable", "{report}");
    assert_eq!(report["tensors"][0]["candidate"]["dtype"], "f64");
}
