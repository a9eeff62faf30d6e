//! The dumps of `fixtures/producers`, one model as each producer writes it, against the outputs of its modules.

use super::commands::{json, tdiff, text};
use super::formats::damage_file;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn producers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/producers")
}

fn compare(candidate: &str) -> Value {
    let path = |name: &str| producers().join(name).to_str().unwrap().to_owned();
    let args = [
        &*path("reference"),
        &path(candidate),
        "--format",
        "json",
        "--all",
    ];
    json(&tdiff(&args))
}

/// What was compared: key, and the candidate's name.
fn compared(report: &Value) -> BTreeMap<String, String> {
    let rows = report["tensors"].as_array().unwrap().iter();
    rows.filter(|row| matches!(row["status"].as_str(), Some("agreed" | "identical")))
        .map(|row| {
            let name = row["candidate"]["name"].as_str().unwrap();
            (row["key"].as_str().unwrap().into(), name.into())
        })
        .collect()
}

fn notes(report: &Value) -> Vec<&str> {
    let notes = report["notes"].as_array().unwrap().iter();
    notes.map(|n| n["id"].as_str().unwrap()).collect()
}

/// Everything that pairs agrees, in this number, among it these keys with these names.
fn agrees(producer: &str, pairs: u64, some: &[(&str, &str)]) -> Value {
    let report = compare(producer);
    let counts = &report["counts"];
    assert_eq!(counts["compared"], pairs, "{producer}: {counts}");
    for bad in ["diverged", "incomparable", "unreadable"] {
        assert_eq!(counts[bad], 0, "{producer}: {counts}");
    }
    let compared = compared(&report);
    assert_eq!(compared.len() as u64, pairs, "{producer}");
    for (key, name) in some {
        let found = compared.get(*key).map(String::as_str);
        assert_eq!(found, Some(*name), "{producer}: {key}");
    }
    let guessed = ["paired_by_words", "ambiguous_names", "ignored_files"];
    assert!(
        notes(&report).iter().all(|id| !guessed.contains(id)),
        "{producer}: {}",
        report["notes"]
    );
    report
}

#[test]
fn sglang_dumper_tags_say_step_rank_and_layer() {
    let report = agrees(
        "sglang_dumper",
        22,
        &[
            (
                "step0/layers.1.q_proj",
                "step=0___rank=0___dump_index=6___name=q_proj___recompute_status=disabled___layer_id=1",
            ),
            (
                "step1/layers.0.output",
                "step=1___rank=0___dump_index=16___name=layer_end__hidden_states___recompute_status=disabled___layer_id=0",
            ),
        ],
    );
    assert!(notes(&report).contains(&"ranks_replicated"));
}

#[test]
fn sglang_dumper_counts_in_the_order_of_execution() {
    let dump = producers().join("sglang_dumper");
    let dump = tdiff::dump::open(&dump, &Default::default()).unwrap();
    let mut first: Vec<_> = dump
        .tensors
        .iter()
        .filter(|t| t.name.starts_with("step=0___rank=0"))
        .collect();
    first.sort_by_key(|t| t.sequence.unwrap());
    let names: Vec<&str> = first
        .iter()
        .map(|t| {
            t.name
                .split("name=")
                .nth(1)
                .unwrap()
                .split("___")
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(
        [names[0], names[1], names[9], names[10]],
        ["embed_tokens", "q_proj", "final_norm", "logits"]
    );
}

#[test]
fn sglang_hook_outputs_of_the_model_belong_to_the_pass_before() {
    let report = agrees(
        "sglang_hook",
        48,
        &[
            ("step0/logits", "TP0_PP0_Rank0_pid4711/Pass00000/lm_head"),
            ("step1/logits", "TP0_PP0_Rank0_pid4711/Pass00001/lm_head"),
            (
                "step1/layers.0.attn_norm",
                "TP0_PP0_Rank0_pid4711/Pass00001/model.layers.0.input_layernorm",
            ),
        ],
    );
    assert!(notes(&report).contains(&"late_outputs"));
}

#[test]
fn vllm_folders_hold_the_inputs_and_outputs_of_modules() {
    let report = agrees(
        "vllm",
        40,
        &[
            (
                "step1/layers.1.down_proj",
                "step_1/model.layers.1.mlp.down_proj/outputs_cuda_0",
            ),
            (
                "step0/layers.1.down_proj#mlp",
                "step_0/model.layers.1.mlp/outputs_cuda_0",
            ),
        ],
    );
    let extra: Vec<&str> = report["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["status"] == "missing_in_reference")
        .map(|row| row["key"].as_str().unwrap())
        .collect();
    for key in [
        "step0/input_ids",
        "step0/layers.1.mlp_mid",
        "step1/layers.1.attn_ctx",
    ] {
        assert!(extra.contains(&key), "{key} not in {extra:?}");
    }
}

#[test]
fn neuron_phases_are_steps_and_ranks_that_hold_the_same_are_one() {
    let report = agrees(
        "neuron",
        10,
        &[
            (
                "step0/layers.1.o_proj",
                "dp0/prefill_s4_0/model.layers.1.self_attn.o_proj/rank0",
            ),
            ("step1/logits", "dp0/decode_s1_0/lm_head/rank0"),
        ],
    );
    assert!(notes(&report).contains(&"ranks_replicated"));
}

#[test]
fn msprobe_files_are_modules_and_process_ids_are_no_part_of_them() {
    let report = agrees(
        "msprobe_tensor",
        60,
        &[(
            "step1/layers.0.down_proj#mlp",
            "step1/proc4711/dump_tensor_data/Module.model.layers.0.mlp.MLP.forward.0.output.0",
        )],
    );
    assert_eq!(report["counts"]["identical"], 60);
}

#[test]
fn msprobe_statistics_are_compared_with_those_of_complete_tensors() {
    let report = agrees(
        "msprobe_statistics",
        58,
        &[(
            "step1/logits",
            "step1/proc4711/Module.lm_head.Linear.forward.0.output.0",
        )],
    );
    let row = |key: &str| {
        let rows = report["tensors"].as_array().unwrap();
        rows.iter().find(|r| r["key"] == key).unwrap().clone()
    };
    assert_eq!(row("step1/logits")["compared"], 0);
    let stats = &row("step1/logits")["candidate"]["stats"];
    assert!(stats["max"].is_number(), "{stats}");
}

#[test]
fn hugging_face_debugger_writes_files_prints_or_statistics() {
    let name = "LlamaForCausalLM.model.layers.1.mlp.gate_proj_outputs";
    for (producer, pairs) in [
        ("hf_debugger_files", 26),
        ("hf_debugger_prints", 26),
        ("hf_debugger_summary", 24),
    ] {
        agrees(producer, pairs, &[("step0/layers.1.gate_proj", name)]);
    }
}

#[test]
fn edge_llm_keys_count_rounds() {
    agrees(
        "edge_llm",
        10,
        &[
            // the cache of a layer holds its keys, then its values
            ("step0/layers.1.v_proj", "round_0.layer_1.kv"),
            ("step0/logits", "round_0.logits"),
            ("step1/logits", "round_1.logits"),
        ],
    );
}

#[test]
fn modular_layers_leave_their_layer() {
    agrees(
        "modular",
        4,
        &[
            ("step0/layers.1.output", "hf_layers/layer_01"),
            ("step0/final_norm", "hf_layers/post_final_norm"),
        ],
    );
}

#[test]
fn the_last_node_of_a_module_is_its_output() {
    for (producer, pairs, name) in [
        (
            "onnx_runtime",
            14,
            "/model/layers.1/input_layernorm/Mul_1_output_0",
        ),
        (
            "tpu_mlir",
            14,
            "/model/layers.1/input_layernorm/Mul_1_output_0_Mul",
        ),
    ] {
        agrees(producer, pairs, &[("step0/layers.1.attn_norm", name)]);
    }
}

#[test]
fn qualcomm_results_count_steps_and_take_their_partners_shape() {
    let report = agrees(
        "qualcomm",
        22,
        &[(
            "step1/layers.1.up_proj",
            "output/Result_1/_model_layers_1_mlp_up_proj_MatMul_output_0",
        )],
    );
    assert!(notes(&report).contains(&"headerless"));
}

/// Every producer's folder but the reference.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(producers())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    folders
}

#[test]
fn stats_and_pairs_work_on_every_producer() {
    for folder in folders() {
        let path = folder.to_str().unwrap();
        let stats = json(&tdiff(&["stats", path, "--format", "json"]));
        let found = stats["tensors"].as_array().unwrap().len();
        let pairs = tdiff(&["pairs", path, path]);
        assert_eq!(pairs.status.code(), Some(0), "{path}");
        let first = text(&pairs.stdout).lines().next().unwrap().to_owned();
        assert!(
            first.starts_with(&format!("{found} pairs")),
            "{path}: {first}"
        );
    }
}

#[test]
fn every_dump_agrees_with_itself() {
    for folder in folders() {
        let path = folder.to_str().unwrap();
        let report = json(&tdiff(&[path, path, "--format", "json"]));
        assert_eq!(report["verdict"], "agreed", "{path}");
    }
}

#[test]
fn damaged_call_trees_and_statistics_are_read_or_refused() {
    damage_file(&producers().join("msprobe_statistics/step0/proc4711/dump.json"));
    damage_file(&producers().join("hf_debugger_summary/LlamaForCausalLM_debug_tree_SUMMARY.json"));
    damage_file(
        &producers().join("hf_debugger_prints/LlamaForCausalLM_debug_tree_FULL_TENSORS.json"),
    );
}
