//! Names alone: 10,000 on each side, of ten families, from names to an order.

use divan::Bencher;
use divan::counter::ItemsCount;
use tdiff::graph::Key;
use tdiff::name::{Entry, Options, Pairing, pair};
use tdiff::order::{Item, Sequence, Slot};

const NAMES: usize = 10_000;

/// Modules of a layer of each family, as hooks write them.
const FAMILIES: &[(&str, &[&str])] = &[
    (
        "model.layers",
        &[
            "input_layernorm",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.o_proj",
            "mlp.act_fn",
            "mlp.down_proj",
            "mlp",
        ],
    ),
    (
        "model.layers",
        &[
            "mlp.gate",
            "mlp.experts",
            "mlp.shared_experts",
            "post_attention_layernorm",
        ],
    ),
    (
        "model.layers",
        &[
            "self_attn.q_a_proj",
            "self_attn.q_b_proj",
            "self_attn.kv_a_layernorm",
        ],
    ),
    (
        "backbone.layers",
        &[
            "norm",
            "mixer.in_proj",
            "mixer.conv1d",
            "mixer.x_proj",
            "mixer.out_proj",
            "mixer",
        ],
    ),
    (
        "model.layers",
        &[
            "linear_attn.in_proj_qkvz",
            "linear_attn.conv1d",
            "linear_attn.out_proj",
        ],
    ),
    (
        "decoder.layers",
        &[
            "self_attn.out_proj",
            "encoder_attn.q_proj",
            "encoder_attn_layer_norm",
            "fc1",
            "fc2",
        ],
    ),
    (
        "vision_model.encoder.layers",
        &["layer_norm1", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"],
    ),
    (
        "layer3",
        &[
            "conv1",
            "bn1",
            "relu",
            "conv2",
            "bn2",
            "downsample.0",
            "downsample.1",
        ],
    ),
    (
        "transformer_blocks",
        &[
            "norm1",
            "attn.to_q",
            "attn.to_k",
            "attn.to_out.0",
            "ff.net.0.proj",
            "ff.net.2",
        ],
    ),
    (
        "wav2vec2.encoder.layers",
        &[
            "attention.q_proj",
            "attention.out_proj",
            "feed_forward.intermediate_dense",
            "final_layer_norm",
        ],
    ),
];

/// The names of one side, behind a prefix; in an order that is none.
fn names(prefix: &str) -> Vec<String> {
    let layers = 0..;
    let all = layers.flat_map(|layer| {
        let of_layer = FAMILIES
            .iter()
            .enumerate()
            .flat_map(move |(family, (stack, modules))| {
                let name =
                    move |module: &&str| format!("{prefix}m{family}/{stack}.{layer}.{module}");
                modules.iter().map(name)
            });
        of_layer.collect::<Vec<_>>()
    });
    let mut names: Vec<String> = all.take(NAMES).collect();
    names.sort();
    names
}

fn entries(names: &[String]) -> Vec<Entry<'_>> {
    let entry = |i: usize| Entry {
        name: &names[i],
        ..Entry::default()
    };
    (0..names.len()).map(entry).collect()
}

/// Both sides under other prefixes, so that no name is that of the other side.
fn sides() -> [Vec<String>; 2] {
    ["model/", "module.model/"].map(names)
}

#[divan::bench]
fn naming_and_pairing(bencher: Bencher) {
    let [r, c] = sides();
    let [r, c] = [entries(&r), entries(&c)];
    let paired = || pair(&r, &c, &Options::default()).pairs.len();
    bencher.counter(ItemsCount::new(2 * NAMES)).bench(paired);
}

#[divan::bench]
fn naming_pairing_and_ordering(bencher: Bencher) {
    let [r, c] = sides();
    let [r, c] = [entries(&r), entries(&c)];
    let ordered = || {
        let pairing = pair(&r, &c, &Options::default());
        let side = |side: usize| {
            let mut keys = vec![Key::default(); NAMES];
            for p in &pairing.pairs {
                keys[[p.reference, p.candidate][side]] = p.key.clone();
            }
            let alone = [&pairing.only_reference, &pairing.only_candidate][side];
            for (i, key) in alone {
                keys[*i] = key.clone();
            }
            keys
        };
        let keys = [side(0), side(1)];
        order_of(&pairing, [&r, &c], &keys)
    };
    bencher.counter(ItemsCount::new(2 * NAMES)).bench(ordered);
}

/// How many places the order holds.
fn order_of(pairing: &Pairing, entries: [&[Entry<'_>]; 2], keys: &[Vec<Key>; 2]) -> usize {
    let item = |side: usize, i: usize| Item {
        key: &keys[side][i],
        name: entries[side][i].name,
        path: &pairing.places[side].paths[i],
        sequence: None,
        captured: None,
    };
    let [r, c] = [0, 1].map(|side| (0..NAMES).map(|i| item(side, i)).collect::<Vec<_>>());
    let slot = |key, name, r, c| Slot {
        key,
        name,
        items: [r, c],
    };
    let both = pairing.pairs.iter().map(|p| {
        let name = entries[0][p.reference].name;
        slot(&p.key, name, Some(p.reference), Some(p.candidate))
    });
    let alone_r = pairing.only_reference.iter();
    let alone_r = alone_r.map(|(i, key)| slot(key, entries[0][*i].name, Some(*i), None));
    let alone_c = pairing.only_candidate.iter();
    let alone_c = alone_c.map(|(i, key)| slot(key, entries[1][*i].name, None, Some(*i)));
    let slots: Vec<Slot<'_>> = both.chain(alone_r).chain(alone_c).collect();
    Sequence::new(&slots, [&r, &c], None).slots.len()
}
