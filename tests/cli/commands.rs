//! What scripts rely on: exit codes, standard output and standard error of every command.

use super::model::faults::Which;
use super::model::{self, Arithmetic, Config, Fault, Layers, Profile, Stored, Style};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the binary.
pub fn tdiff(args: &[&str]) -> Output {
    tdiff_with(&[], args)
}

/// Runs the binary with variables of the environment.
pub fn tdiff_with(variables: &[(&str, &str)], args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tdiff"))
        .args(args)
        .env_remove("NO_COLOR")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

/// A f32 npy file.
pub fn npy(path: &Path, shape: &[usize], values: &[f32]) {
    let body: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, model::npy("<f4", shape, &body)).unwrap();
}

fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

/// A folder with `ref/` and `cand/`, each holding `x.npy`.
fn pair(reference: &[f32], candidate: &[f32]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    npy(&dir.path().join("ref/x.npy"), &[reference.len()], reference);
    npy(
        &dir.path().join("cand/x.npy"),
        &[candidate.len()],
        candidate,
    );
    dir
}

fn compare(dir: &Path, more: &[&str]) -> Output {
    let (r, c) = (dir.join("ref"), dir.join("cand"));
    tdiff(&[&[path(&r), path(&c)], more].concat())
}

#[test]
fn equal_dumps_exit_with_0_and_different_ones_with_1() {
    let same = pair(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]);
    let output = compare(same.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("AGREED"));
    let other = pair(&[1.0, 2.0, 3.0], &[1.0, 2.5, 3.0]);
    let output = compare(other.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).starts_with("DIVERGED first at x"));
}

#[test]
fn a_missing_path_says_so_and_exits_with_2() {
    let output = tdiff(&["no/such/place", "no/other"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("no/such/place: no such file or directory"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn an_empty_folder_and_a_folder_of_pictures_say_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("ref")).unwrap();
    fs::create_dir_all(dir.path().join("cand")).unwrap();
    fs::write(dir.path().join("cand/a.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let output = compare(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("no tensors found, 0 other files"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn unrelated_names_do_not_pair_and_exit_with_2_also_with_allow_missing() {
    let dir = tempfile::tempdir().unwrap();
    let sides = [
        ("ref", ["conv1", "pool"], 1.0),
        ("cand", ["alpha", "omega"], -9.0),
    ];
    for (side, names, first) in sides {
        for name in names {
            npy(
                &dir.path().join(side).join(format!("{name}.npy")),
                &[4],
                &[first, 2.0, 3.0 * first, name.len() as f32],
            );
        }
    }
    for more in [&[][..], &["--allow-missing"]] {
        let output = compare(dir.path(), more);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        assert!(
            text(&output.stderr).contains("tdiff pairs"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn a_missing_candidate_is_incomplete_unless_allowed() {
    let dir = pair(&[1.0, 2.0], &[1.0, 2.0]);
    npy(&dir.path().join("ref/y.npy"), &[2], &[1.0, 2.0]);
    let output = compare(dir.path(), &["--format", "json"]);
    assert_eq!(
        (output.status.code(), json(&output)["verdict"].as_str()),
        (Some(1), Some("incomplete"))
    );
    assert!(
        json(&output)["notes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|n| n["id"] == "missing_files")
    );
    assert_eq!(
        compare(dir.path(), &["--allow-missing"]).status.code(),
        Some(0)
    );
}

#[test]
fn a_cut_file_is_a_row_and_a_line_and_the_rest_is_compared() {
    let dir = pair(&[1.0, 2.0], &[1.0, 2.0]);
    for side in ["ref", "cand"] {
        npy(&dir.path().join(side).join("y.npy"), &[100], &[1.0; 100]);
    }
    let file = dir.path().join("cand/y.npy");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 37]).unwrap();
    let output = compare(dir.path(), &["--format", "json"]);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(report["counts"]["unreadable"], 1);
    assert_eq!(report["counts"]["compared"], 1);
    assert_eq!(report["counts"]["missing_in_candidate"], 0);
    let error = text(&output.stderr);
    assert!(
        error.contains("y.npy") && error.contains("400") && error.contains("363"),
        "{error}"
    );
}

#[test]
fn shapes_that_nothing_reconciles_are_named_and_diverge() {
    let dir = tempfile::tempdir().unwrap();
    npy(&dir.path().join("ref/x.npy"), &[2, 3], &[1.0; 6]);
    npy(&dir.path().join("cand/x.npy"), &[2, 4], &[1.0; 8]);
    let output = compare(dir.path(), &["--format", "json"]);
    let report = json(&output);
    assert_eq!(
        (
            output.status.code(),
            report["counts"]["incomparable"].as_u64(),
            report["counts"]["diverged"].as_u64()
        ),
        (Some(1), Some(1), Some(0))
    );
    let reason = report["tensors"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("[2, 3]") && reason.contains("[2, 4]"),
        "{reason}"
    );
}

#[test]
fn explicit_tolerances_replace_the_automatic_one() {
    let dir = pair(&[1.0, 2.0, 4.0], &[1.0, 2.0, 4.5]);
    let code = |more: &[&str]| compare(dir.path(), more).status.code();
    assert_eq!(code(&["--atol", "0.5"]), Some(0));
    assert_eq!(code(&["--atol", "0.49"]), Some(1));
    assert_eq!(code(&["--rtol", "0.125"]), Some(0));
    assert_eq!(code(&["--max", "max_abs=0.5"]), Some(0));
    assert_eq!(code(&["--max", "max_abs=0.4"]), Some(1));
    assert_eq!(code(&["--min", "cosine=0.9"]), Some(0));
    assert_eq!(code(&["--max", "y*:max_abs=0.1", "--atol", "1"]), Some(0));
    assert_eq!(code(&["--max", "nonsense=1"]), Some(2));
}

#[test]
fn nan_on_one_side_diverges_whatever_the_tolerance() {
    let dir = pair(&[1.0, 2.0], &[1.0, f32::NAN]);
    assert_eq!(
        compare(dir.path(), &["--atol", "1e9"]).status.code(),
        Some(1)
    );
    let both = pair(&[1.0, f32::NAN], &[1.0, f32::NAN]);
    assert_eq!(compare(both.path(), &[]).status.code(), Some(0));
}

#[test]
fn the_json_reads_back_as_the_report_and_holds_nothing_volatile() {
    let dir = pair(&[1.0, 2.0, f32::INFINITY], &[1.0, 2.5, 3.0]);
    let first = compare(dir.path(), &["--format", "json", "-j", "1"]);
    let again = compare(dir.path(), &["--format", "json", "-j", "3"]);
    assert_eq!(first.stdout, again.stdout);
    let report: tdiff::report::Report = serde_json::from_slice(&first.stdout).unwrap();
    let written = serde_json::to_value(&report).unwrap();
    assert_eq!(written, json(&first));
    assert_eq!(written["schema"], 1);
    assert_eq!(written["exit_code"], 1);
}

#[test]
fn a_report_is_also_written_to_a_file_by_its_extension() {
    let dir = pair(&[1.0], &[1.0]);
    let file = dir.path().join("report.json");
    assert_eq!(
        compare(dir.path(), &["-o", path(&file)]).status.code(),
        Some(0)
    );
    let report: tdiff::report::Report = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(report.counts.identical, 1);
    let output = compare(dir.path(), &["-o", "report.xyz"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(".json"));
}

#[test]
fn two_single_files_pair_whatever_they_are_called() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.npy"), dir.path().join("quite_else.npy"));
    npy(&a, &[3], &[1.0, 2.0, 3.0]);
    npy(&b, &[3], &[1.0, 2.0, 3.0]);
    assert_eq!(tdiff(&[path(&a), path(&b)]).status.code(), Some(0));
}

#[test]
fn one_folder_with_both_sides_is_told_apart_by_tags() {
    let dir = tempfile::tempdir().unwrap();
    for (name, x) in [
        ("h0_torch", 1.0),
        ("h0_cpp", 1.0),
        ("logits_torch", 2.0),
        ("logits_cpp", 3.0),
    ] {
        npy(
            &dir.path().join(format!("{name}.npy")),
            &[4],
            &[x, 2.0, 3.0, 5.0],
        );
    }
    let output = tdiff(&[path(dir.path()), "--format", "json"]);
    let report = json(&output);
    assert_eq!(report["reference"]["tag"], "torch");
    assert_eq!(report["first_divergence"]["key"], "logits");
}

#[test]
fn every_fixture_agrees_with_itself() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
    for folder in fs::read_dir(&fixtures)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
    {
        let output = tdiff(&[path(&folder), path(&folder), "-q"]);
        // a folder may hold fixtures that are refused on purpose: those are unreadable on both sides, nothing differs
        assert!(
            matches!(output.status.code(), Some(0 | 2)),
            "{}: {}",
            folder.display(),
            text(&output.stdout)
        );
        let report = json(&tdiff(&[path(&folder), path(&folder), "--format", "json"]));
        assert_eq!(report["counts"]["diverged"], 0, "{}", folder.display());
        assert_eq!(report["first_divergence"], serde_json::Value::Null);
    }
}

#[test]
fn a_fault_is_located_and_the_same_at_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::llama();
    let reference = model::run(&config, 1, Arithmetic::F32, None);
    let candidate = model::run(
        &config,
        1,
        Arithmetic::F32,
        Some(&Fault::RopeTheta(500.0, Layers::All)),
    );
    for (run, side) in [(&reference, "ref"), (&candidate, "cand")] {
        model::write(
            run,
            &config,
            &dir.path().join(side),
            Style::Canonical,
            Profile::Full,
            Stored::F32,
        )
        .unwrap();
    }
    let outputs: Vec<Output> = ["1", "2", "3", "16"]
        .iter()
        .map(|n| compare(dir.path(), &["--format", "json", "-j", n]))
        .collect();
    assert!(outputs.windows(2).all(|w| w[0].stdout == w[1].stdout));
    let report = json(&outputs[0]);
    assert_eq!(report["first_divergence"]["key"], "layers.0.q_rope");
    assert_eq!(report["diagnosis"][0]["id"], "rope_theta");
}

#[test]
fn a_fault_in_an_encoder_is_explained_by_the_sizes_of_the_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let decoder = Config::llama();
    let encoder = Config {
        hidden: 96,
        heads: 6,
        kv_heads: 6,
        seq: 7,
        causal: false,
        head: false,
        ..Config::llama()
    };
    let fault = Fault::RopeTheta(500.0, Layers::From(1));
    for (side, fault) in [("ref", None), ("cand", Some(&fault))] {
        let folder = dir.path().join(side);
        for (tower, config, fault) in [("encoder", &encoder, fault), ("decoder", &decoder, None)] {
            let run = model::run(config, 1, Arithmetic::F32, fault);
            let plain = dir.path().join("plain");
            let (style, profile) = (Style::Hf, Profile::Full);
            model::write(&run, config, &plain, style, profile, Stored::F32).unwrap();
            fs::create_dir_all(&folder).unwrap();
            for file in fs::read_dir(&plain).unwrap() {
                let file = file.unwrap();
                let name = file.file_name().into_string().unwrap();
                let name = name.strip_prefix("model.").unwrap_or(&name);
                fs::rename(file.path(), folder.join(format!("{tower}.{name}"))).unwrap();
            }
        }
    }
    let report = json(&compare(dir.path(), &["--format", "json"]));
    let first = &report["first_divergence"];
    assert_eq!(first["key"], "layers.1.q_rope#encoder", "{report:#}");
    assert_eq!(first["propagates"], true);
    assert_eq!(report["diagnosis"][0]["id"], "rope_theta");
    let health = json(&tdiff(&[
        "check",
        path(&dir.path().join("ref")),
        "--format",
        "json",
    ]));
    assert_eq!(health["verdict"], "healthy", "{health:#}");
    let laws = health["laws"].as_array().unwrap();
    let of_encoder = |l: &&serde_json::Value| l["key"].as_str().unwrap().ends_with("#encoder");
    assert!(2 * laws.iter().filter(of_encoder).count() >= laws.len() - 1);
}

#[test]
fn a_norm_of_heads_that_was_not_dumped_is_seen_at_the_first_token() {
    let config = Config::qwen3();
    let all = Layers::All;
    let faults = [
        (Fault::RopeTheta(500.0, all), "rope_theta"),
        (Fault::RopeInterleaved(all), "rope_interleaved"),
        (Fault::QkNormMissing(Which::Both, all), "qk_norm_missing"),
        (Fault::QkNormWrongAxis(all), "qk_norm_wrong_axis"),
    ];
    for (fault, id) in faults {
        let dir = tempfile::tempdir().unwrap();
        for (side, fault) in [("ref", None), ("cand", Some(&fault))] {
            let run = model::run(&config, 1, Arithmetic::F32Chunked, fault);
            let folder = dir.path().join(side);
            let (style, profile) = (Style::Canonical, Profile::NoAttention);
            model::write(&run, &config, &folder, style, profile, Stored::F32).unwrap();
            for layer in 0..config.layers {
                for norm in ["q_norm", "k_norm"] {
                    // a candidate without the norm has no such file
                    let _ = fs::remove_file(folder.join(format!("layers.{layer}.{norm}.npy")));
                }
            }
        }
        let report = json(&compare(dir.path(), &["--format", "json"]));
        assert_eq!(report["first_divergence"]["key"], "layers.0.q_rope", "{id}");
        assert_eq!(
            report["diagnosis"][0]["id"], id,
            "{:#}",
            report["diagnosis"]
        );
    }
}

#[test]
fn attention_that_was_not_dumped_shows_in_the_tokens() {
    let config = Config::llama();
    let all = Layers::All;
    let faults = [
        (Fault::CausalMaskMissing(all), "causal_mask_missing", "last"),
        (Fault::RopeTheta(500.0, all), "unexplained", "first"),
    ];
    for (fault, id, token) in faults {
        let dir = tempfile::tempdir().unwrap();
        for (side, fault) in [("ref", None), ("cand", Some(&fault))] {
            let run = model::run(&config, 1, Arithmetic::F32Chunked, fault);
            let folder = dir.path().join(side);
            let (style, profile) = (Style::Hf, Profile::Blocks);
            model::write(&run, &config, &folder, style, profile, Stored::F32).unwrap();
        }
        let report = json(&compare(dir.path(), &["--format", "json"]));
        let best = &report["diagnosis"][0];
        let title = best["title"].as_str().unwrap();
        assert_eq!(best["id"], id, "{title}");
        assert!(
            title.contains(&format!("the {token} token agrees")),
            "{title}"
        );
    }
}

#[test]
fn stats_and_explain_and_completions_answer() {
    let dir = pair(&[1.0, 2.0, 3.0, f32::NAN], &[1.0, 2.0, 3.0, 4.0]);
    let file = dir.path().join("ref/x.npy");
    let stats = json(&tdiff(&["stats", path(&file), "--format", "json"]));
    let s = &stats["tensors"][0]["stats"];
    assert_eq!(
        (s["count"].as_u64(), s["nan"].as_u64(), s["mean"].as_f64()),
        (Some(4), Some(1), Some(2.0))
    );
    assert!(text(&tdiff(&["explain", "rope_theta"]).stdout).contains("what to change"));
    assert_eq!(tdiff(&["explain", "no_such_cause"]).status.code(), Some(2));
    assert!(text(&tdiff(&["completions", "bash"]).stdout).contains("tdiff"));
    assert_eq!(tdiff(&["--help"]).status.code(), Some(0));
    assert_eq!(tdiff(&[]).status.code(), Some(2));
}
