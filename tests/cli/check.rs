//! `tdiff check`: every red flag rises on its own fault and on no healthy model; the fitted laws are those of the model.

use super::model::config::{NormKind, Rope};
use super::model::{self, Arithmetic, Config, Data, Profile, Run, Stored, Style};
use tdiff::check::{Health, Severity, check};
use tdiff::dump::Hints;

const SEED: u64 = 5;

fn healthy(config: &Config) -> Run {
    model::run(config, SEED, Arithmetic::F32Chunked, None)
}

fn health(run: &Run, config: &Config) -> Health {
    let dir = tempfile::tempdir().unwrap();
    let (style, profile) = (Style::Canonical, Profile::Full);
    model::write(run, config, dir.path(), style, profile, Stored::F32).unwrap();
    check(dir.path(), &Hints::default()).unwrap()
}

fn reds(health: &Health) -> Vec<(&str, &str)> {
    let red = health
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Red);
    red.map(|f| (&*f.id, f.key.as_str())).collect()
}

/// The values at a key, to be changed.
fn values<'a>(run: &'a mut Run, key: &str) -> (&'a [usize], &'a mut Vec<f64>) {
    let tap = run.get_mut(key).unwrap();
    match &mut tap.data {
        Data::Float(values) => (&tap.shape, values),
        Data::Ids(_) => panic!("{key} holds ids"),
    }
}

fn copy(run: &mut Run, from: &str, to: &str) {
    let data = run.get(from).unwrap().data.clone();
    run.get_mut(to).unwrap().data = data;
}

fn families() -> Vec<Config> {
    vec![
        Config::llama(),
        Config::qwen2(),
        Config::qwen3(),
        Config::gemma(),
        Config::gemma2(),
        Config::gpt2(),
        Config::bert(),
        Config::neox(),
        Config::mistral(),
        Config::llama().with_decode(3),
    ]
}

#[test]
fn a_healthy_model_has_no_red_flag() {
    for config in families() {
        let health = health(&healthy(&config), &config);
        assert_eq!(reds(&health), [], "{}", config.family);
        assert_eq!((health.verdict, health.exit_code), ("healthy", 0));
    }
}

/// A red flag, where it rises, and what makes it rise.
type Flag = (&'static str, &'static str, fn(&mut Run));

const FLAGS: &[Flag] = &[
    ("nan", "layers.1.o_proj", |run| {
        values(run, "layers.1.o_proj").1[17] = f64::NAN;
    }),
    ("inf", "layers.1.down_proj", |run| {
        values(run, "layers.1.down_proj").1[3] = f64::NEG_INFINITY;
    }),
    ("all_zeros", "layers.1.o_proj", |run| {
        values(run, "layers.1.o_proj").1.fill(0.0);
    }),
    ("constant", "layers.1.act", |run| {
        values(run, "layers.1.act").1.fill(0.25);
    }),
    ("large_values", "layers.1.v_proj", |run| {
        values(run, "layers.1.v_proj").1[5] = 1001.0;
    }),
    ("softmax_not_normalised", "layers.1.attn_weights", |run| {
        let (_, weights) = values(run, "layers.1.attn_weights");
        weights.iter_mut().for_each(|x| *x *= 1.5);
    }),
    ("attention_uniform", "layers.1.attn_weights", |run| {
        let (shape, weights) = values(run, "layers.1.attn_weights");
        for (i, row) in weights.chunks_mut(shape[3]).enumerate() {
            let visible = i % shape[2] + 1;
            row.fill(0.0);
            row[..visible].fill(1.0 / visible as f64);
        }
    }),
    ("attention_one_position", "layers.1.attn_weights", |run| {
        let (shape, weights) = values(run, "layers.1.attn_weights");
        for row in weights.chunks_mut(shape[3]) {
            // so small that they are there and count for nothing
            row.iter_mut().for_each(|x| *x = x.min(1e-9));
            row[1] = 1.0;
        }
    }),
    ("context_ignored", "layers.1.attn_weights", |run| {
        let (shape, weights) = values(run, "layers.1.attn_weights");
        for (i, row) in weights.chunks_mut(shape[3]).enumerate() {
            row.fill(0.0);
            row[i % shape[2]] = 1.0;
        }
    }),
    ("rope_missing", "layers.1.q_rope", |run| {
        rotate(run, |_| 0.0);
    }),
    ("rope_position_constant", "layers.1.q_rope", |run| {
        rotate(run, |_| 3.0);
    }),
    ("rope_norm", "layers.1.q_rope", |run| {
        let (_, q) = values(run, "layers.1.q_rope");
        q.iter_mut().for_each(|x| *x *= 1.2);
    }),
    ("layers_identical", "layers.2.output", |run| {
        copy(run, "layers.1.output", "layers.2.output");
    }),
    ("layer_differs", "layers.1.output", |run| {
        let (_, branch) = values(run, "layers.1.down_proj");
        let branch = branch.clone();
        let (_, x) = values(run, "layers.1.output");
        x.iter_mut().zip(branch).for_each(|(x, b)| *x += b);
    }),
    ("layer_differs", "layers.1.mlp_mid", |run| {
        let (_, x) = values(run, "layers.1.mlp_mid");
        x.iter_mut().step_by(7).for_each(|x| *x = -*x);
    }),
    ("tokens_identical", "layers.1.output", |run| {
        let (shape, x) = values(run, "layers.1.output");
        let first = x[..shape[2]].to_vec();
        x.chunks_mut(first.len())
            .for_each(|row| row.copy_from_slice(&first));
    }),
];

/// Turns Q of layer 1 as RoPE does at the position that is given for each token.
fn rotate(run: &mut Run, position: fn(usize) -> f64) {
    let raw = run.get("layers.1.q_proj").unwrap().data.floats();
    let (shape, rotated) = values(run, "layers.1.q_rope");
    let &[_, _, heads, width] = shape else {
        panic!("[batch, token, head, channel], not {shape:?}")
    };
    let half = width / 2;
    for (row, (x, y)) in raw.chunks(width).zip(rotated.chunks_mut(width)).enumerate() {
        for i in 0..half {
            let (a, b) = (x[i], x[half + i]);
            let angle = position(row / heads) * 1e4f64.powf(-(i as f64) / half as f64);
            y[i] = a * angle.cos() - b * angle.sin();
            y[half + i] = b * angle.cos() + a * angle.sin();
        }
    }
}

#[test]
fn every_red_flag_rises_on_its_own_fault_alone() {
    let config = Config::llama();
    let run = healthy(&config);
    for (id, key, damage) in FLAGS {
        let mut run = run.clone();
        damage(&mut run);
        let health = health(&run, &config);
        assert!(
            reds(&health).contains(&(id, key)),
            "{id}: {:?}",
            reds(&health)
        );
        let others: Vec<_> = reds(&health).into_iter().filter(|f| f.0 != *id).collect();
        assert_eq!(others, [], "{id}");
        assert_eq!((health.verdict, health.exit_code), ("suspicious", 1));
    }
}

#[test]
fn several_layers_of_another_kind_are_noted_and_no_flag() {
    let config = Config {
        layers: 8,
        ..Config::llama()
    };
    let mut run = healthy(&config);
    for layer in [3, 5] {
        let (_, x) = values(&mut run, &format!("layers.{layer}.mlp_mid"));
        x.iter_mut().step_by(7).for_each(|x| *x = -*x);
    }
    let health = health(&run, &config);
    assert_eq!((reds(&health), health.verdict), (vec![], "healthy"));
    let noted = health.findings.iter().filter(|f| f.id == "layer_differs");
    let noted: Vec<&str> = noted.map(|f| f.key.as_str()).collect();
    assert_eq!(noted, ["layers.3.mlp_mid", "layers.5.mlp_mid"]);
}

#[test]
fn a_decoder_that_is_stuck_is_seen_over_its_steps() {
    let config = Config::llama().with_decode(4);
    let run = healthy(&config);
    let mut cache = run.clone();
    values(&mut cache, "step2/layers.1.v_proj").1.fill(0.0);
    let found = health(&cache, &config);
    assert!(reds(&found).contains(&("kv_cache_zeros", "step2/layers.1.v_proj")));

    let mut stuck = run.clone();
    let keys = [
        "step0/logits",
        "step1/logits",
        "step2/logits",
        "step3/logits",
        "step4/logits",
    ];
    for key in keys {
        let (shape, logits) = values(&mut stuck, key);
        let vocabulary = shape[2];
        logits
            .chunks_mut(vocabulary)
            .for_each(|row| row[7] += 100.0);
    }
    assert_eq!(
        reds(&health(&stuck, &config)),
        [("same_argmax", "step4/logits")]
    );

    let mut replayed = run;
    copy(
        &mut replayed,
        "step1/layers.2.output",
        "step2/layers.2.output",
    );
    let found = health(&replayed, &config);
    assert_eq!(
        reds(&found),
        [("layers_identical", "step2/layers.2.output")]
    );
}

#[test]
fn the_fitted_laws_are_those_of_the_configuration() {
    for config in [
        Config::llama(),
        Config::qwen3(),
        Config::gemma2(),
        Config::gpt2(),
        Config::bert(),
    ] {
        let health = health(&healthy(&config), &config);
        let fit = |law: &str, key: &str| {
            let found = health.laws.iter().find(|f| f.law == law && f.key == key);
            found.unwrap_or_else(|| panic!("{}: no {law} at {key}", config.family))
        };
        let norm = match config.norm {
            NormKind::Rms => "RMSNorm",
            _ => "LayerNorm",
        };
        let normed = if config.family == "bert" {
            "layers.0.attn_out_norm"
        } else {
            "layers.0.attn_norm"
        };
        assert!(
            fit("norm", normed).text.starts_with(norm),
            "{}",
            config.family
        );
        if let Some(Rope { theta, .. }) = config.rope {
            let found = fit("rope", "layers.0.q_rope");
            let found = found.fit.get("theta").and_then(|t| t.as_f64());
            let found = found.unwrap_or_else(|| panic!("{}: no theta", config.family));
            assert!(
                (found / theta - 1.0).abs() < 1e-3,
                "{}: {found}",
                config.family
            );
        }
        let softmax = fit("softmax", "layers.0.attn_weights");
        assert!(
            softmax.residual < 1e-4,
            "{}: {}",
            config.family,
            softmax.text
        );
    }
}

#[test]
fn an_attention_sink_is_no_fault_unless_every_layer_is_one() {
    let config = Config::llama();
    let sink = |layers: std::ops::Range<usize>| {
        let mut run = healthy(&config);
        for layer in layers {
            let (shape, weights) = values(&mut run, &format!("layers.{layer}.attn_weights"));
            for row in weights.chunks_mut(shape[3]) {
                row.iter_mut().for_each(|x| *x = x.min(1e-5));
                row[0] = 1.0;
            }
        }
        let health = health(&run, &config);
        let mut found = health.findings.into_iter();
        found.find(|f| f.id == "attention_one_position").unwrap()
    };
    let one = sink(1..2);
    assert_eq!(one.severity, Severity::Note);
    assert!(one.message.ends_with("position 0: an attention sink"));
    assert_eq!(sink(0..config.layers).severity, Severity::Red);
}
