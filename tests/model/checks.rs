//! The generator checked against itself: its laws, its noise, and that every fault shows where the table says.

use super::cases;
use super::config::{Config, Padding};
use super::families::FAMILIES;
use super::faults::Fault;
use super::math::rel_l2;
use super::truth;
use super::{Arithmetic, Run, run, run_with};
use std::collections::BTreeMap;

const SEED: u64 = 11;

fn floats(run: &Run, key: &str) -> Vec<f64> {
    run.get(key)
        .unwrap_or_else(|| panic!("no {key}"))
        .data
        .floats()
}

#[test]
fn softmax_rows_sum_to_one_and_see_no_future() {
    for family in FAMILIES {
        let c = family();
        let run = run(&c, SEED, Arithmetic::F32, None);
        for layer in 0..c.layers {
            let weights = floats(&run, &format!("layers.{layer}.attn_weights"));
            let mut entropy = 0.0;
            for (i, row) in weights.chunks(c.seq).enumerate() {
                assert!(
                    (row.iter().sum::<f64>() - 1.0).abs() < 1e-6,
                    "{} row {i}",
                    c.family
                );
                let future = &row[i % c.seq + 1..];
                assert!(
                    !c.causal || future.iter().all(|&w| w == 0.0),
                    "{} row {i} sees the future",
                    c.family
                );
                entropy -= row.iter().map(|w| w * (w + 1e-30).ln()).sum::<f64>();
            }
            let mean = entropy / (weights.len() / c.seq) as f64;
            assert!(
                mean > 0.2 && mean < 0.9 * (c.seq as f64).ln(),
                "{}: entropy {mean}",
                c.family
            );
        }
    }
}

#[test]
fn rotation_keeps_the_norm_of_every_head() {
    for family in [
        Config::llama,
        Config::qwen3,
        Config::neox,
        Config::gptj,
        Config::llama3,
    ] {
        let c = family();
        let run = run(&c, SEED, Arithmetic::F64, None);
        let before = floats(
            &run,
            if c.qk_norm {
                "layers.1.q_norm"
            } else {
                "layers.1.q_proj"
            },
        );
        let after = floats(&run, "layers.1.q_rope");
        for (a, b) in before.chunks(c.head_dim).zip(after.chunks(c.head_dim)) {
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
            assert!((norm(a) - norm(b)).abs() < 1e-9 * norm(a), "{}", c.family);
        }
        assert!(
            rel_l2(&before, &after) > 0.05,
            "{}: nothing was rotated",
            c.family
        );
    }
}

#[test]
fn residual_sums_hold() {
    for family in FAMILIES {
        let c = family();
        let run = run(&c, SEED, Arithmetic::F64, None);
        let get = |stage: &str| floats(&run, &format!("layers.1.{stage}"));
        let add =
            |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(x, y)| x + y).collect::<Vec<_>>();
        let mlp = get(if c.post_norms {
            "mlp_post_norm"
        } else {
            "down_proj"
        });
        if c.parallel() {
            assert!(rel_l2(&get("output"), &add(add(get("input"), get("o_proj")), mlp)) < 1e-12);
            continue;
        }
        let branch = get(if c.post_norms {
            "attn_post_norm"
        } else {
            "o_proj"
        });
        assert!(
            rel_l2(&get("attn_residual"), &add(get("input"), branch)) < 1e-12,
            "{}",
            c.family
        );
        if run.get("layers.1.mlp_residual").is_none() {
            assert!(
                rel_l2(&get("output"), &add(get("attn_residual"), mlp)) < 1e-12,
                "{}",
                c.family
            );
        }
        assert_eq!(get("input"), floats(&run, "layers.0.output"));
    }
}

#[test]
fn arithmetics_stay_within_the_noise_that_is_known_of_them() {
    let limits = [
        (Arithmetic::F32, 0.0, 0.0),
        (Arithmetic::F32Chunked, 5e-8, 4e-6),
        (Arithmetic::F64, 5e-8, 4e-6),
        (Arithmetic::Tf32, 1e-4, 4e-3),
        (Arithmetic::F16, 1e-4, 6e-3),
        (Arithmetic::Bf16, 1e-3, 6e-2),
        (Arithmetic::Int8, 1e-3, 1e-1),
        (Arithmetic::HalfMatmul, 1e-4, 1e-2),
        (Arithmetic::Block8, 1e-3, 1e-1),
        (Arithmetic::Block4, 1e-2, 7e-1),
    ];
    for family in FAMILIES {
        let c = family();
        let reference = run(&c, SEED, Arithmetic::F32, None);
        for (arithmetic, low, high) in limits {
            let other = run(&c, SEED, arithmetic, None);
            let effects = truth::effects(&reference, &other, &other);
            let noise = effects.iter().map(|(k, e)| (e.noise, k));
            let (worst, key) = noise.max_by(|a, b| a.0.total_cmp(&b.0)).expect("stages");
            assert!(
                (low..=high).contains(&worst),
                "{} {}: {worst:.2e} at {key}",
                c.family,
                arithmetic.name()
            );
        }
    }
}

#[test]
fn decoding_with_a_cache_equals_one_pass_over_everything() {
    for family in [Config::llama, Config::qwen3, Config::gpt2, Config::gemma2] {
        let c = family().with_decode(3);
        let whole = Config {
            seq: c.seq + 3,
            decode: 0,
            ..c.clone()
        };
        let steps = run(&c, SEED, Arithmetic::F64, None);
        let once = floats(&run(&whole, SEED, Arithmetic::F64, None), "logits");
        let last = floats(&steps, "step3/logits");
        assert!(
            rel_l2(&once[once.len() - c.vocab..], &last) < 1e-10,
            "{}",
            c.family
        );
    }
}

#[test]
fn padding_does_not_change_what_real_tokens_compute() {
    let alone = Config {
        positions_skip_padding: true,
        ..Config::llama()
    };
    for pad in [Padding::Left(3), Padding::Right(3)] {
        let c = alone.clone().with_batch(2, pad);
        let run = run(&c, SEED, Arithmetic::F64, None);
        let weights = floats(&run, "layers.1.attn_weights");
        let block = c.heads * c.seq * c.seq;
        let padded = |j: usize| {
            if pad == Padding::Left(3) {
                j < 3
            } else {
                j >= c.seq - 3
            }
        };
        for (i, row) in weights[block..]
            .chunks(c.seq)
            .enumerate()
            .filter(|(i, _)| !padded(i % c.seq))
        {
            let on_padding: f64 = row
                .iter()
                .enumerate()
                .filter(|(j, _)| padded(*j))
                .map(|(_, w)| w)
                .sum();
            assert_eq!(on_padding, 0.0, "row {i}");
        }
    }
}

#[test]
fn every_fault_of_the_computation_enters_where_the_table_says_and_touches_nothing_before() {
    let mut healthy_runs: BTreeMap<String, [Run; 2]> = BTreeMap::new();
    let mut wrong = Vec::new();
    let named = cases::named();
    for (name, case) in named
        .iter()
        .filter(|(_, case)| case.fault.dump_verdict().is_none())
    {
        let c = (case.config)();
        let arithmetic = case.fault.arithmetic().unwrap_or(Arithmetic::F32Chunked);
        let [reference, healthy] = healthy_runs
            .entry(format!("{c:?} {arithmetic:?}"))
            .or_insert_with(|| [Arithmetic::F32, arithmetic].map(|a| run(&c, SEED, a, None)));
        let faulty = run_with(&c, SEED, arithmetic, &case.faults());
        let effects = truth::effects(reference, healthy, &faulty);
        let order: Vec<String> = healthy.tensors.iter().map(|t| t.key.clone()).collect();
        let found = truth::origins(&c, &order, &effects);
        let before = order.iter().take_while(|k| found.first() != Some(*k));
        let touched: Vec<_> = before
            .filter(|k| effects.get(*k).is_some_and(|e| e.signal != 0.0))
            .collect();
        if found != case.first || !touched.is_empty() {
            wrong.push(format!(
                "{name}: enters {found:?}, table {:?}, before {touched:?}",
                case.first
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_fault_of_the_dump_leaves_the_rest_of_the_dump_alone() {
    for (name, case) in cases::named() {
        let (Fault::AllZeros(key) | Fault::DuplicateDump(key, _)) = case.fault else {
            continue;
        };
        let c = (case.config)();
        let [healthy, faulty] =
            [None, Some(&case.fault)].map(|f| run(&c, SEED, Arithmetic::F32, f));
        for tap in &healthy.tensors {
            assert_eq!(
                tap.key == key,
                faulty.get(&tap.key) != Some(tap),
                "{name}: {}",
                tap.key
            );
        }
    }
}
