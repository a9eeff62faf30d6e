//! The fixtures that real producers wrote, whole and broken.

use super::{Log, Numbers};
use crate::dump::{Format, Hints, Opened, Payload, ReadError, Tensor};
use serde_json::Value;
use std::path::{Path, PathBuf};

const READERS: &[&dyn Format] = &[&Numbers, &Log];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats/text")
}

/// What the first reader that claims the file makes of it.
fn open(path: &Path) -> Option<Result<Opened, ReadError>> {
    let head = crate::dump::read::head(path, 1 << 16).unwrap();
    let reader = READERS.iter().find(|f| f.sniff(&head, path))?;
    Some(reader.open(path, &Hints::default()))
}

/// The known elements with their places.
fn elements(t: &Tensor) -> Vec<(usize, f64)> {
    match &t.payload {
        Payload::Memory(bytes) => {
            let mut out = vec![0.0; t.info.len()];
            t.info.dtype().decode(bytes, &mut out);
            out.into_iter().enumerate().collect()
        }
        Payload::Partial(p) => p
            .positions
            .iter()
            .map(|&i| i as usize)
            .zip(p.values.iter().copied())
            .collect(),
        other => panic!("{}: {other:?}", t.name),
    }
}

#[test]
fn fixtures_hold_what_their_producers_printed() {
    let text = std::fs::read_to_string(fixtures().join("truth.json")).unwrap();
    let truth: Value = serde_json::from_str(&text).unwrap();
    for (file, named) in truth.as_object().unwrap() {
        let opened = open(&fixtures().join(file))
            .expect(file)
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(
            opened.unreadable.is_empty(),
            "{file}: {:?}",
            opened.unreadable
        );
        let named = named.as_object().unwrap();
        assert_eq!(opened.tensors.len(), named.len(), "{file}");
        for (t, (name, truth)) in opened.tensors.iter().zip(named) {
            assert_eq!(&t.name, name, "{file}");
            let shape: Vec<usize> = truth["shape"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap() as usize)
                .collect();
            // A flat print cannot tell (5, 6) from (30,): the shape is marked as a guess.
            assert!(
                t.info.shape() == shape || t.guess.is_some(),
                "{file}: {:?}",
                t.info.shape()
            );
            let values = truth["values"].as_array().unwrap();
            assert_eq!(t.info.len(), values.len(), "{file}");
            let known = elements(t);
            assert!(!known.is_empty());
            for (at, found) in known {
                let want = values[at].as_f64().unwrap();
                let slack = t.printed.half_unit_abs
                    + t.printed.half_unit_rel * want.abs()
                    + 1e-7 * want.abs()
                    + 2.0 * t.info.dtype().roundoff() * want.abs();
                assert!(
                    (found - want).abs() <= slack,
                    "{file} {name} at {at}: {found} for {want} (±{slack:e})"
                );
            }
        }
    }
}

#[test]
fn a_llama_cpp_log_is_a_dump_of_partial_tensors() {
    let opened = open(&fixtures().join("llama_cpp.log")).unwrap().unwrap();
    let names: Vec<_> = opened.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "embd",
            "norm-0",
            "attn_norm-0",
            "Qcur-0",
            "Qcur-0#2",
            "Qcur-0#3",
            "norm",
            "result_norm",
            "result_output"
        ]
    );
    let q = &opened.tensors[5];
    assert_eq!(q.info.shape(), [15, 8, 32]);
    assert_eq!(
        q.origin.member.as_deref(),
        Some("ROPE(Qcur-0{32, 8, 15, 1}, inp_pos{15, 1, 1, 1})")
    );
    assert_eq!((q.sequence, q.printed.half_unit_abs), (Some(5), 5e-5));
    let embd = &opened.tensors[0];
    assert_eq!(
        embd.printed.stats.as_ref().unwrap().sum.unwrap().value,
        1.646515
    );
    let known = elements(embd);
    assert_eq!(
        (known.len(), known[3], known[35]),
        (36, (253, 0.005), (3839, -0.0099))
    );
    assert!(opened.notes.is_empty());
}

/// Every text fixture.
fn texts() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| {
            p.extension()
                .is_some_and(|e| e == "txt" || e == "log" || e == "csv")
        })
        .collect();
    files.sort();
    assert!(files.len() > 10);
    files
}

/// Opens `bytes` under the fixture's name; whatever it holds, elements and errors can be asked for.
fn survives(dir: &Path, fixture: &Path, bytes: &[u8]) {
    let path = dir.join(fixture.file_name().unwrap());
    std::fs::write(&path, bytes).unwrap();
    for reader in READERS {
        if !reader.sniff(&bytes[..bytes.len().min(1 << 16)], &path) {
            continue;
        }
        match reader.open(&path, &Hints::default()) {
            Ok(opened) => {
                for t in &opened.tensors {
                    let known = match &t.payload {
                        Payload::Memory(b) => b.len() / t.info.dtype().size(),
                        Payload::Partial(p) => {
                            assert_eq!(p.positions.len(), p.values.len());
                            assert!(p.positions.iter().all(|&i| i < t.info.len() as u64));
                            p.positions.len()
                        }
                        _ => 0,
                    };
                    // An element takes a character and a separator at least.
                    assert!(known <= bytes.len() / 2 + 1);
                }
                for e in &opened.unreadable {
                    assert!(e.to_string().contains(path.to_str().unwrap()));
                }
            }
            Err(e) => assert!(e.to_string().contains(path.to_str().unwrap()), "{e}"),
        }
    }
}

#[test]
fn fixtures_cut_anywhere_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    for file in texts() {
        let bytes = std::fs::read(&file).unwrap();
        let step = if bytes.len() > 3000 { 67 } else { 5 };
        for end in (0..bytes.len()).step_by(step) {
            survives(dir.path(), &file, &bytes[..end]);
        }
    }
}

#[test]
fn fixtures_with_changed_bytes_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    for file in texts() {
        let mut bytes = std::fs::read(&file).unwrap();
        let step = 1 + bytes.len() / 20;
        for at in (0..bytes.len()).step_by(step) {
            for other in [0, b'9', b'[', b']', b'.', b'\n', b'#', 0xff] {
                let kept = std::mem::replace(&mut bytes[at], other);
                survives(dir.path(), &file, &bytes);
                bytes[at] = kept;
            }
        }
    }
}
