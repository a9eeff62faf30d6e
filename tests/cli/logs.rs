//! Logs: llama.cpp's graph, summary lines of training runs, printed elements and statistics.

use super::commands::{json, npy, tdiff, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

fn write(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn compare(args: &[&str]) -> Value {
    json(&tdiff(&[args, &["--format", "json", "--all"]].concat()))
}

/// A log of llama.cpp's eval-callback.
fn llama_cpp() -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats/text/llama_cpp.log");
    let log = fs::read_to_string(&path).unwrap();
    (path, log)
}

#[test]
fn a_log_agrees_with_itself_and_says_what_it_knows() {
    let (path, _) = llama_cpp();
    let path = path.to_str().unwrap();
    let report = compare(&[path, path]);
    assert_eq!(report["verdict"], "agreed");
    let notes = report["notes"].as_array().unwrap();
    assert!(
        notes.iter().any(|n| n["id"] == "partial_tensors"),
        "{notes:?}"
    );
}

#[test]
fn a_sum_tells_of_elements_that_are_not_printed() {
    let (path, log) = llama_cpp();
    let dir = tempfile::tempdir().unwrap();
    // The last sum of a tensor that is printed with gaps.
    let at = log.rfind("sum = ").unwrap();
    let end = at + log[at..].find('\n').unwrap();
    let changed = format!("{}sum = 98765.5{}", &log[..at], &log[end..]);
    let other = write(dir.path(), "other.log", &changed);
    let report = compare(&[path.to_str().unwrap(), &other]);
    assert_eq!(report["verdict"], "diverged");
    assert_eq!(report["counts"]["diverged"], 1);
    let reason = report["tensors"].as_array().unwrap().iter();
    let reason = reason
        .filter(|r| r["status"] == "diverged")
        .map(|r| r["reason"].to_string());
    assert!(reason.collect::<String>().contains("sum"));
}

#[test]
fn a_log_cut_off_is_read_up_to_the_cut_and_that_is_said() {
    let (path, log) = llama_cpp();
    let dir = tempfile::tempdir().unwrap();
    let at = log.rfind("...").unwrap();
    let cut = write(dir.path(), "cut.log", &log[..at]);
    let report = compare(&[path.to_str().unwrap(), &cut, "--allow-missing"]);
    assert_eq!(report["verdict"], "agreed", "{}", report["counts"]);
    let notes = report["notes"].as_array().unwrap();
    let note = notes.iter().find(|n| n["id"] == "log_cut_off").unwrap();
    assert!(note["message"].as_str().unwrap().contains("line"), "{note}");
}

#[test]
fn statistics_tell_of_elements_that_are_not_printed() {
    let dir = tempfile::tempdir().unwrap();
    let excerpt = |mean: f64, std: f64| {
        let mut file = format!(
            "# Tensor: q\n# Shape: (1, 3, 2048)\n# Mean: {mean:.6}\n# Std: {std:.6}\n# Data:\n"
        );
        for part in ["First", "Last"] {
            file.push_str(&format!("# {part} 50 elements:\n"));
            (0..50).for_each(|i| file.push_str(&format!("{:.6e}\n", f64::from(i % 7) - 3.0)));
        }
        file
    };
    let reference = write(dir.path(), "py_q.txt", &excerpt(0.01, 2.0));
    for (mean, std, verdict, word) in [
        (0.01, 2.0, "agreed", ""),
        (0.0100004, 2.000003, "agreed", ""),
        (0.01, 2.4, "diverged", "std"),
        (1.01, 2.0, "diverged", "sum"),
    ] {
        let candidate = write(dir.path(), "cpp_q.txt", &excerpt(mean, std));
        let report = compare(&[&reference, &candidate]);
        assert_eq!(
            report["verdict"], verdict,
            "{mean} {std}: {}",
            report["tensors"]
        );
        let reason = report["tensors"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(word), "{reason}");
    }
}

const FSDP: &str = "[rank0]:[titan] 2025-01-01 12:00:00 - root - INFO - starting
[rank0]: FSDP_SUMMARY: embed[0.0012,0.4567] attn_norm[0.0100,1.0000] Q[0.0200,0.5000] K[0.0300,0.6000] logits[0.5000,2.5000]
step: 1 loss: 10.9
[rank0]: FSDP_SUMMARY: embed[0.0013,0.4568] attn_norm[0.0101,1.0001] Q[0.0201,0.5001] K[0.0301,0.6001] logits[0.5001,2.5001]
";

#[test]
fn summary_lines_of_two_logs_pair_by_step_and_rank() {
    let dir = tempfile::tempdir().unwrap();
    let fsdp = write(dir.path(), "fsdp.log", FSDP);
    let titan = FSDP.replace("FSDP", "TITAN");
    let same = write(dir.path(), "titan.log", &titan);
    let report = compare(&[&fsdp, &same]);
    assert_eq!(report["verdict"], "agreed");
    assert_eq!(report["counts"]["compared"], 10);
    // Half a unit of the last digit is no difference.
    let rounded = write(dir.path(), "rounded.log", &titan.replace("0.4568", "0.457"));
    assert_eq!(compare(&[&fsdp, &rounded])["verdict"], "agreed");
    let other = write(
        dir.path(),
        "other.log",
        &titan.replace("0.5001]", "0.7001]"),
    );
    let first = &compare(&[&fsdp, &other])["first_divergence"];
    assert_eq!(first["key"], "step1/layers.0.q_proj");
    assert_eq!(first["step"], 1);
}

#[test]
fn both_sides_in_one_log_are_told_apart_by_their_tags() {
    let dir = tempfile::tempdir().unwrap();
    let both = format!(
        "{FSDP}{}",
        FSDP.replace("FSDP", "TITAN").replace("0.6001", "0.9001")
    );
    let both = write(dir.path(), "train.log", &both);
    let report = compare(&[&both]);
    assert_eq!(report["first_divergence"]["key"], "step1/layers.0.k_proj");
    assert_eq!(
        (&report["reference"]["tag"], &report["candidate"]["tag"]),
        (&"fsdp".into(), &"titan".into())
    );
}

#[test]
fn the_stage_that_differs_names_what_to_look_at() {
    let dir = tempfile::tempdir().unwrap();
    let fsdp = write(dir.path(), "fsdp.log", FSDP);
    for (was, is, advice) in [
        (
            "embed[0.0012,0.4567]",
            "embed[0.0012,0.6567]",
            "embedding weights",
        ),
        (
            "attn_norm[0.0100,1.0000]",
            "attn_norm[0.0100,1.4000]",
            "RMSNorm",
        ),
        ("Q[0.0200,0.5000]", "Q[0.0200,0.9000]", "projection"),
        ("K[0.0300,0.6000]", "K[0.0300,0.9000]", "projection"),
        (
            "logits[0.5000,2.5000]",
            "logits[0.5000,3.5000]",
            "attention/FFN",
        ),
    ] {
        let titan = FSDP.replace("FSDP", "TITAN").replace(was, is);
        let titan = write(dir.path(), "titan.log", &titan);
        let report = compare(&[&fsdp, &titan]);
        let diagnosis = report["diagnosis"][0].to_string();
        assert!(diagnosis.contains(advice), "{was}: {diagnosis}");
    }
}

/// 64 values with a mean and spread of their own.
fn values() -> Vec<f32> {
    (0..64u32)
        .map(|i| ((i * 37 % 64) as f32 - 20.0) / 8.0)
        .collect()
}

#[test]
fn printed_statistics_are_held_against_complete_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let v = values();
    npy(&dir.path().join("ref/layers.0.q_proj.npy"), &[1, 4, 16], &v);
    let reference = dir.path().join("ref");
    let reference = reference.to_str().unwrap();
    let mean = v.iter().sum::<f32>() / 64.0;
    let squares = v.iter().map(|x| (x - mean).powi(2)).sum::<f32>();
    let (population, sample) = ((squares / 64.0).sqrt(), (squares / 63.0).sqrt());
    for std in [population, sample] {
        let line = format!("TITAN_SUMMARY: Q[{mean:.6},{std:.6}]\n");
        let log = write(dir.path(), "titan.log", &line);
        assert_eq!(compare(&[reference, &log])["verdict"], "agreed", "{line}");
        let line = format!("INFO q_proj: mean={mean:.4} std={std:.4} min=-2.5 max=5.375\n");
        let log = write(dir.path(), "stats.log", &line);
        assert_eq!(compare(&[reference, &log])["verdict"], "agreed", "{line}");
    }
    let log = write(
        dir.path(),
        "other.log",
        &format!("TITAN_SUMMARY: Q[{mean:.6},9.5]\n"),
    );
    assert_eq!(compare(&[reference, &log])["verdict"], "diverged");
}

#[test]
fn elements_printed_one_by_one_are_gathered_from_any_text() {
    let dir = tempfile::tempdir().unwrap();
    let v = values();
    let mut log = String::from("loading the model\n");
    for name in ["layers.0.q_proj", "layers.0.k_proj"] {
        npy(&dir.path().join(format!("ref/{name}.npy")), &[64], &v);
        for (i, x) in v.iter().enumerate() {
            log.push_str(&format!("{name}[{i}] = {x:.4}\n"));
        }
        log.push_str("the next one\n");
    }
    let reference = dir.path().join("ref");
    let reference = reference.to_str().unwrap();
    // The name of the first line decides nothing.
    for start in [0, log.find("layers").unwrap()] {
        let path = write(dir.path(), "elements.log", &log[start..]);
        let report = compare(&[reference, &path]);
        assert_eq!(report["verdict"], "agreed", "{}", report["tensors"]);
        assert_eq!(report["counts"]["compared"], 2);
    }
}

#[test]
fn stats_and_pairs_work_on_logs() {
    let (path, _) = llama_cpp();
    let dir = tempfile::tempdir().unwrap();
    let fsdp = write(dir.path(), "fsdp.log", FSDP);
    for log in [path.to_str().unwrap(), &fsdp] {
        let stats = tdiff(&["stats", log]);
        assert_eq!(stats.status.code(), Some(0), "{}", text(&stats.stderr));
        let found = json(&tdiff(&["stats", log, "--format", "json"]));
        assert!(!found["tensors"].as_array().unwrap().is_empty());
        let pairs = tdiff(&["pairs", log, log]);
        assert_eq!(pairs.status.code(), Some(0), "{}", text(&pairs.stderr));
    }
    let found = json(&tdiff(&["stats", &fsdp, "--format", "json"]));
    let embed = &found["tensors"][0]["stats"];
    assert_eq!(
        (&embed["mean"], &embed["nan"]),
        (&0.0012.into(), &Value::Null)
    );
}

#[test]
fn the_shape_above_an_excerpt_is_no_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, shape: &str, first: &str, values: [i32; 6]| {
        let mut text = format!("{shape}\n{first}\n");
        values.iter().for_each(|v| text.push_str(&format!("{v}\n")));
        write(dir.path(), name, &text)
    };
    for shape in ["# shape: [1, 2, 3]", "dims: [1, 2, 3]", "Size: [1, 2, 3]"] {
        for first in ["First 50:", "# first 50", "First 50 values:"] {
            let py = file("py_q.txt", shape, first, [1, 2, 3, 4, 5, 6]);
            let cpp = file("cpp_q.txt", shape, first, [9, -2, 30, 4, -5, 16]);
            let report = compare(&[&py, &cpp]);
            assert_eq!(report["verdict"], "diverged", "{shape} {first}");
            assert_eq!(report["tensors"][0]["compared"], 6, "{shape} {first}");
        }
    }
}

#[test]
fn shapes_and_settings_in_a_log_are_no_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let log = "q_proj shape: [1, 12, 64]\nstep done\nk_proj shape: torch.Size([1, 12, 32])\ncfg heads: [4, 2]\nk_norm shape: [1, 12, 32]\nsome pair: [4, 2]\n\
               v_proj: [[0.5, 1.5, 2.5, 3.5]]\no_proj shape: [1, 2]\n";
    let path = write(dir.path(), "run.log", log);
    let report = compare(&[&path, &path]);
    let names: Vec<&Value> = report["tensors"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(names[0]["reference"]["name"], "v_proj");
    assert_eq!(names[0]["reference"]["shape"], serde_json::json!([1, 4]));
}

#[test]
fn causes_are_tested_on_the_known_elements_of_an_excerpt() {
    let dir = tempfile::tempdir().unwrap();
    let value = |i: usize| ((i * 7919) % 997) as f64 / 400.0 - 1.2;
    let file = |name: &str, f: &dyn Fn(f64) -> f64| {
        let mut text = String::from("# Shape: 1x4x512\n# Data:\n# First 50 elements:\n");
        let line = |i: usize| format!("{:.6e}\n", f(value(i)));
        text.extend((0..50).map(line));
        text.push_str("# Last 50 elements:\n");
        text.extend((1998..2048).map(line));
        write(dir.path(), name, &text)
    };
    let py = file("py_layer_0_o_proj.txt", &|x| x);
    let twice = file("cpp_layer_0_o_proj.txt", &|x| 2.0 * x);
    let report = compare(&[&py, &twice]);
    assert_eq!(report["tensors"][0]["compared"], 100);
    assert_eq!(report["diagnosis"][0]["id"], "branch_doubled", "{report:#}");
    let other = file("cpp_layer_0_o_proj.txt", &|x| (5.0 * x).sin());
    let report = compare(&[&py, &other]);
    let evidence = report["diagnosis"][0]["evidence"][0].as_str().unwrap();
    assert_eq!(report["diagnosis"][0]["id"], "unexplained");
    assert!(
        evidence.starts_with("only 100 elements are known"),
        "{evidence}"
    );
}

#[test]
fn a_file_of_several_named_tensors_is_no_single_one() {
    let statistics = |std: &str| {
        format!(
            "layers.0.q_proj: shape=(1, 4, 16), mean=0.0123, std=0.9871\n\
             layers.0.k_proj: shape=(1, 4, 16), mean=0.0456, std={std}\n"
        )
    };
    let sections = |last: &str| {
        format!(
            "# Tensor: layers.0.q_proj\n# Shape: 2 2\n0.1 0.2\n0.3 0.4\n\
             # Tensor: layers.0.k_proj\n# Shape: 2 2\n1.1 1.2\n1.3 {last}\n"
        )
    };
    let line = |std: &str| format!("REF: embed[0.01,0.45] Q[0.12,0.98] K[0.10,{std}]\n");
    let dir = tempfile::tempdir().unwrap();
    for (reference, candidate) in [
        (statistics("0.8871"), statistics("1.7742")),
        (sections("1.4"), sections("9.4")),
        (line("0.50"), line("0.75").replace("REF", "CAND")),
    ] {
        let r = write(dir.path(), "ref.txt", &reference);
        let c = write(dir.path(), "cand.txt", &candidate);
        let report = compare(&[&r, &c]);
        assert_eq!(report["counts"]["diverged"], 1, "{reference}");
        let key = report["first_divergence"]["key"].as_str().unwrap();
        assert!(key.ends_with("layers.0.k_proj"), "{key}");
    }
}

#[test]
fn a_text_without_tensors_is_named_by_its_first_line() {
    let dir = tempfile::tempdir().unwrap();
    let prose = write(dir.path(), "notes.txt", "\nnothing but prose\n");
    let message = text(&tdiff(&["stats", &prose]).stderr);
    assert!(message.ends_with("text without tensors: it begins with `nothing but prose`\n"));
}
