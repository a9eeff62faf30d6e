//! What values settle: with names that say nothing, with names that are wrong, and where the values are no proof.

use super::*;
use crate::dtype::DType;
use crate::dump::{Payload, TensorInfo, formats};
use crate::name::{Options, pair};
use std::path::Path;

/// A tensor of `shape` whose values depend on `seed`.
type Row<'a> = (&'a str, &'a [usize], f64);

fn values(len: usize, seed: f64) -> Vec<f32> {
    let wave = |i: usize| ((i as f64 + 1.0) * (1.3 + seed)).sin() * (1.0 + seed);
    (0..len).map(|i| wave(i) as f32).collect()
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Arc<Tensor> {
    let info = TensorInfo::new(DType::F32, shape.to_vec()).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let payload = Payload::Memory(bytes.into());
    let path = Path::new("x.npz");
    Arc::new(formats::tensor(path, "npz", name.into(), info, payload))
}

fn dump(rows: &[Row<'_>]) -> Vec<Arc<Tensor>> {
    let tensor =
        |&(name, shape, seed): &Row<'_>| tensor(name, shape, &values(shape.iter().product(), seed));
    rows.iter().map(tensor).collect()
}

/// `reference ~ candidate` of every pair, with how it came about where the names alone did not make it.
fn settled(r: &[Arc<Tensor>], c: &[Arc<Tensor>]) -> Vec<String> {
    fn entry(tensor: &Arc<Tensor>) -> Entry<'_> {
        Entry {
            name: &tensor.name,
            shape: Some(tensor.info.shape()),
            ..Entry::default()
        }
    }
    let entries = [r, c].map(|side| side.iter().map(entry).collect::<Vec<_>>());
    let mut pairing = pair(&entries[0], &entries[1], &Options::default());
    let names = |side: usize, tensors| Names {
        entries: &entries[side],
        tensors,
    };
    settle([names(0, r), names(1, c)], &mut pairing);
    let shown = |p: &Paired| {
        let how = match p.how {
            How::Content => " by values",
            How::Guess => " by a guess",
            _ => "",
        };
        format!("{} ~ {}{how}", r[p.reference].name, c[p.candidate].name)
    };
    pairing.pairs.iter().map(shown).collect()
}

#[test]
fn names_that_say_nothing_are_paired_by_values_in_any_layout() {
    let r = dump(&[
        ("net.a", &[6, 8], 0.1),
        ("net.b", &[6, 8], 0.2),
        ("net.c", &[6, 8], 0.3),
    ]);
    let across: Vec<f32> = {
        let b = values(48, 0.2);
        (0..48).map(|i| b[i % 6 * 8 + i / 6]).collect()
    };
    let near: Vec<f32> = values(48, 0.1).iter().map(|v| v * 1.001).collect();
    let c = [
        tensor("x1", &[48], &values(48, 0.3)),
        tensor("y2", &[8, 6], &across),
        tensor("z3", &[6, 8], &near),
    ];
    assert_eq!(
        settled(&r, &c),
        [
            "net.a ~ z3 by values",
            "net.b ~ y2 by values",
            "net.c ~ x1 by values"
        ]
    );
}

#[test]
fn nodes_that_both_sides_name_are_not_exchanged() {
    let names = ["layers.0.mlp.gate_proj", "layers.0.mlp.up_proj", "norm"];
    let r = dump(&[
        (names[0], &[4, 8], 0.1),
        (names[1], &[4, 8], 0.2),
        (names[2], &[4, 8], 0.3),
    ]);
    let c = dump(&[
        ("ffn_gate-0", &[4, 8], 0.2),
        ("ffn_up-0", &[4, 8], 0.1),
        ("other", &[4, 8], 0.9),
        ("result_norm", &[4, 8], 0.3),
    ]);
    let found = settled(&r, &c);
    assert_eq!(
        found[..2],
        [
            format!("{} ~ ffn_gate-0", names[0]),
            format!("{} ~ ffn_up-0", names[1])
        ]
    );
}

#[test]
fn two_forms_of_a_node_are_told_apart_by_values() {
    // the sum before the norm of an exporter stands beside the norm, which is the output
    let r = dump(&[
        ("encoder.layer.0", &[4, 8], 0.1),
        ("encoder.layer.0.output.dense", &[4, 8], 0.2),
    ]);
    let c = dump(&[
        ("_model_encoder_layer.0_output_Add", &[4, 8], 0.5),
        (
            "_model_encoder_layer.0_output_LayerNorm_LayerNormalization",
            &[4, 8],
            0.1,
        ),
        ("_model_encoder_layer.0_output_dense_Add", &[4, 8], 0.2),
    ]);
    assert_eq!(
        settled(&r, &c)[0],
        format!("encoder.layer.0 ~ {} by values", c[1].name)
    );
}

#[test]
fn what_repeats_a_pair_takes_no_other_partner() {
    let r = dump(&[
        ("model.layers.0.self_attn.o_proj", &[4, 8], 0.1),
        ("model.layers.0.self_attn", &[4, 8], 0.1),
    ]);
    let c = dump(&[
        ("layer_0_attn_proj", &[4, 8], 0.1),
        ("layer_0_attn", &[4, 8], 0.7),
    ]);
    assert_eq!(
        settled(&r, &c),
        ["model.layers.0.self_attn.o_proj ~ layer_0_attn_proj"]
    );
}

#[test]
fn layers_that_are_counted_from_one_are_the_same_layers() {
    let r = dump(&[
        ("blocks.0.mix", &[4, 8], 0.1),
        ("blocks.1.mix", &[4, 8], 0.2),
        ("blocks.2.mix", &[4, 8], 0.3),
    ]);
    let mut c = dump(&[
        ("stack/1/blend", &[4, 8], 0.1),
        ("stack/2/blend", &[4, 8], 0.2),
    ]);
    // behind a fault: far from everything
    c.push(tensor("stack/3/blend", &[4, 8], &values(32, 2.7)));
    let found = settled(&r, &c);
    assert_eq!(
        found[..2],
        [
            "blocks.0.mix ~ stack/1/blend by values",
            "blocks.1.mix ~ stack/2/blend by values"
        ]
    );
    assert_eq!(found[2], "blocks.2.mix ~ stack/3/blend by a guess");
}

#[test]
fn far_tensors_meet_only_where_nothing_else_has_their_size() {
    let r = dump(&[
        ("a", &[4, 8], 0.1),
        ("b", &[4, 8], 0.2),
        ("head", &[50], 0.3),
    ]);
    let c = dump(&[
        ("x", &[4, 8], 0.1),
        ("y", &[4, 8], 1.9),
        ("out", &[50], 2.3),
    ]);
    assert_eq!(
        settled(&r, &c),
        ["a ~ x by values", "head ~ out by a guess"]
    );
}

#[test]
fn constant_tensors_are_no_evidence() {
    let zero = |name: &str| tensor(name, &[4, 8], &[0.0; 32]);
    let r = [zero("a"), zero("b")];
    let c = [zero("x"), zero("y")];
    assert!(settled(&r, &c).is_empty());
}
