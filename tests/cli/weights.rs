//! Weights of one model as Hugging Face and llama.cpp store them: names, quantised blocks, the rows of Q and K.

use super::commands::{json, tdiff};
use serde_json::Value;
use std::path::Path;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/weights")
        .join(name);
    path.to_str().unwrap().to_owned()
}

fn compare(reference: &str, candidate: &str) -> Value {
    let (r, c) = (fixture(reference), fixture(candidate));
    json(&tdiff(&[&r, &c, "--format", "json", "--all"]))
}

fn row<'a>(report: &'a Value, key: &str) -> &'a Value {
    let rows = report["tensors"].as_array().unwrap();
    let found = rows.iter().find(|row| row["key"] == key);
    found.unwrap_or_else(|| panic!("no {key} in {rows:?}"))
}

#[test]
fn gguf_weights_pair_with_those_of_hugging_face_and_agree() {
    let report = compare("model.safetensors", "mixed.gguf");
    assert_eq!(report["verdict"], "agreed", "{}", report["counts"]);
    assert_eq!(report["counts"]["compared"], 21);
    let key = |i: usize| report["tensors"][i]["key"].as_str().unwrap();
    assert_eq!(
        (key(0), key(1), key(2), key(20), &report["order"]),
        (
            "tok_embed.weight",
            "layers.0.attn_norm.weight",
            "layers.0.q_proj.weight",
            "logits.weight",
            &"pipeline".into()
        )
    );
    for (key, name) in [
        ("tok_embed.weight", "token_embd.weight"),
        ("layers.0.attn_norm.weight", "blk.0.attn_norm.weight"),
        ("layers.1.o_proj.weight", "blk.1.attn_output.weight"),
        ("layers.1.mlp_norm.weight", "blk.1.ffn_norm.weight"),
        ("layers.0.down_proj.weight", "blk.0.ffn_down.weight"),
        ("final_norm.weight", "output_norm.weight"),
        ("logits.weight", "output.weight"),
    ] {
        assert_eq!(row(&report, key)["candidate"]["name"], name, "{key}");
    }
}

#[test]
fn rows_of_q_and_k_are_brought_to_one_order_and_that_is_said() {
    let report = compare("model.safetensors", "mixed.gguf");
    let notes = report["notes"].as_array().unwrap();
    let note = notes
        .iter()
        .find(|n| n["id"] == "qk_weight_permuted")
        .unwrap();
    assert!(
        note["message"]
            .as_str()
            .unwrap()
            .contains("heads of 8 rows"),
        "{note}"
    );
    assert_eq!(note["tensors"].as_array().unwrap().len(), 4);
    // Q4_K and Q6_K blocks, dequantised by gguf-py on the other side; plain rows.
    for key in [
        "layers.0.q_proj.weight",
        "layers.0.k_proj.weight",
        "layers.1.q_proj.weight",
    ] {
        assert_eq!(row(&report, key)["status"], "identical", "{key}");
    }
    // The order is found whichever side is the reference.
    let turned = compare("mixed.gguf", "model.safetensors");
    assert_eq!(turned["verdict"], "agreed", "{}", turned["counts"]);
    assert_eq!(
        row(&turned, "layers.0.k_proj.weight")["status"],
        "identical"
    );
}

#[test]
fn what_quantising_loses_is_no_divergence_and_another_weight_is() {
    let (reference, candidate) = ("model.safetensors::model.layers", "mixed.gguf::blk");
    let of = |layer: u32, other: u32| {
        compare(
            &format!("{reference}.{layer}.self_attn.v_proj.weight"),
            &format!("{candidate}.{other}.attn_v.weight"),
        )
    };
    let same = of(1, 1);
    assert_eq!(same["verdict"], "agreed");
    assert!(same["tensors"][0]["metrics"]["rel_l2"].as_f64().unwrap() > 1e-3);
    assert_eq!(of(0, 1)["verdict"], "diverged");
}

#[test]
fn one_row_of_the_embedding_is_compared() {
    let report = compare(
        "model.safetensors::model.embed_tokens.weight[3]",
        "mixed.gguf::token_embd.weight[3]",
    );
    assert_eq!(report["verdict"], "agreed", "{}", report["tensors"]);
    assert_eq!(report["tensors"][0]["of"], 256);
    let other = compare(
        "model.safetensors::model.embed_tokens.weight[3]",
        "mixed.gguf::token_embd.weight[4]",
    );
    assert_eq!(other["verdict"], "diverged");
}
