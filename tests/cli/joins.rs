//! Several tensors of one side that are one of the other: whatever way a healthy dump is split, it agrees; a fault in one part
//! diverges at that part; a part that is missing is no agreement.

use super::commands::{json, npy, tdiff};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A tensor of three axes.
#[derive(Clone)]
struct Array {
    shape: [usize; 3],
    values: Vec<f32>,
}

/// Random numbers, the same at every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn value(&mut self) -> f32 {
        (0..4)
            .map(|_| self.next(1 << 20) as f32 / (1 << 20) as f32 - 0.5)
            .sum()
    }

    fn array(&mut self, shape: [usize; 3]) -> Array {
        let values = (0..shape.iter().product()).map(|_| self.value()).collect();
        Array { shape, values }
    }
}

impl Array {
    /// The stretch from `start` to `end` along an axis.
    fn stretch(&self, axis: usize, start: usize, end: usize) -> Array {
        let mut shape = self.shape;
        shape[axis] = end - start;
        let inner: usize = self.shape[axis + 1..].iter().product();
        let rows = self.values.chunks_exact(self.shape[axis] * inner);
        let values = rows.flat_map(|row| row[start * inner..end * inner].iter().copied());
        Array {
            shape,
            values: values.collect(),
        }
    }

    fn scaled(&self, factor: f32) -> Array {
        Array {
            shape: self.shape,
            values: self.values.iter().map(|x| x * factor).collect(),
        }
    }
}

type Dump = BTreeMap<String, Array>;

const STAGES: [(&str, usize); 7] = [
    ("attn_norm", 24),
    ("q_proj", 48),
    ("k_proj", 24),
    ("v_proj", 24),
    ("o_proj", 24),
    ("up_proj", 48),
    ("down_proj", 24),
];
const LAYERS: usize = 3;
const TOKENS: usize = 12;

fn healthy(random: &mut Random) -> Dump {
    let names = (0..LAYERS).flat_map(|layer| STAGES.map(|(stage, width)| (layer, stage, width)));
    names
        .map(|(layer, stage, width)| {
            let name = format!("layers.{layer}.{stage}");
            (name, random.array([1, TOKENS, width]))
        })
        .collect()
}

fn write(dir: &Path, dump: &Dump) {
    for (name, array) in dump {
        npy(
            &dir.join(format!("{name}.npy")),
            &array.shape,
            &array.values,
        );
    }
}

/// The report on two dumps; `turned` has the second as the reference.
fn report(whole: &Dump, split: &Dump, turned: bool) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&a, whole);
    write(&b, split);
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let (r, c) = if turned { (b, a) } else { (a, b) };
    json(&tdiff(&[r, c, "--format", "json"]))
}

fn notes(report: &Value) -> Vec<&str> {
    let notes = report["notes"].as_array().unwrap();
    notes.iter().map(|n| n["id"].as_str().unwrap()).collect()
}

/// Every tensor on `n` ranks: cut along an axis, as terms of a sum, or whole.
fn on_ranks(dump: &Dump, n: usize, axis: usize, random: &mut Random) -> Dump {
    let mut out = Dump::new();
    for (name, array) in dump {
        let parts: Vec<Array> = match name.rsplit('.').next().unwrap() {
            "attn_norm" if axis == 2 => vec![array.clone(); n],
            "o_proj" | "down_proj" if axis == 2 => {
                let mut parts: Vec<Array> = (1..n).map(|_| random.array(array.shape)).collect();
                let mut last = array.clone();
                for part in &parts {
                    last.values
                        .iter_mut()
                        .zip(&part.values)
                        .for_each(|(x, p)| *x -= p);
                }
                parts.push(last);
                parts
            }
            _ => {
                let width = array.shape[axis] / n;
                let part = |r| array.stretch(axis, r * width, (r + 1) * width);
                (0..n).map(part).collect()
            }
        };
        out.extend(
            parts
                .into_iter()
                .enumerate()
                .map(|(r, p)| (format!("{name}_tp{r}"), p)),
        );
    }
    out
}

#[test]
fn a_healthy_dump_agrees_however_many_ranks_hold_it() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let whole = healthy(&mut random);
        let (n, axis) = ([2, 3, 4][random.next(3)], 1 + random.next(2));
        let split = on_ranks(&whole, n, axis, &mut random);
        let report = report(&whole, &split, seed % 2 == 1);
        assert_eq!(
            report["verdict"], "agreed",
            "{n} ranks, axis {axis}: {report:#}"
        );
        assert_eq!(report["counts"]["compared"], whole.len());
        assert!(notes(&report).contains(&"ranks_joined"));
        let summed = notes(&report).contains(&"ranks_summed");
        assert_eq!(summed, axis == 2);
    }
}

#[test]
fn a_fault_in_one_shard_is_found_at_its_rank() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let whole = healthy(&mut random);
        let n = [2, 4][random.next(2)];
        let mut split = on_ranks(&whole, n, 2, &mut random);
        let stage = ["q_proj", "k_proj", "v_proj", "up_proj", "attn_norm"][random.next(5)];
        let (layer, rank) = (random.next(LAYERS), random.next(n));
        let name = format!("layers.{layer}.{stage}_tp{rank}");
        let wrong = split[&name].scaled(1.1);
        split.insert(name.clone(), wrong);
        let report = report(&whole, &split, false);
        assert_eq!(report["verdict"], "diverged");
        let first = &report["first_divergence"];
        assert_eq!(first["candidate"], name.as_str(), "{first:#}");
        let key = first["key"].as_str().unwrap();
        assert!(key.ends_with(&format!("layers.{layer}.{stage}")), "{key}");
    }
}

#[test]
fn a_rank_without_its_part_is_no_agreement() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let whole = healthy(&mut random);
        let mut split = on_ranks(&whole, 4, 2, &mut random);
        let rank = random.next(4);
        split.remove(&format!("layers.1.k_proj_tp{rank}"));
        let report = report(&whole, &split, false);
        assert_eq!(report["verdict"], "incomplete", "{report:#}");
        assert_eq!(report["counts"]["missing_in_candidate"], 1);
    }
}

#[test]
fn ranks_of_two_and_of_four_are_joined_on_both_sides() {
    let mut random = Random(5);
    let whole = healthy(&mut random);
    let (two, four) = (
        on_ranks(&whole, 2, 2, &mut random),
        on_ranks(&whole, 4, 2, &mut random),
    );
    let report = report(&two, &four, false);
    assert_eq!(report["verdict"], "agreed", "{report:#}");
    assert_eq!(report["counts"]["compared"], whole.len());
}

/// Steps of so many tokens each.
fn in_steps(dump: &Dump, lengths: &[usize]) -> Dump {
    let mut out = Dump::new();
    let mut start = 0;
    for (step, n) in lengths.iter().enumerate() {
        let part = |array: &Array| array.stretch(1, start, start + n);
        let tensors = dump
            .iter()
            .map(|(name, a)| (format!("step_{step}/{name}"), part(a)));
        out.extend(tensors);
        start += n;
    }
    out
}

fn lengths(random: &mut Random) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut left = TOKENS;
    while left > 0 {
        let n = (1 + random.next(5)).min(left);
        lengths.push(n);
        left -= n;
    }
    lengths
}

#[test]
fn a_pass_agrees_with_the_same_tokens_in_steps() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let whole = healthy(&mut random);
        let lengths = lengths(&mut random);
        let report = report(&whole, &in_steps(&whole, &lengths), seed % 2 == 1);
        assert_eq!(report["verdict"], "agreed", "{lengths:?}: {report:#}");
        assert_eq!(report["counts"]["compared"], whole.len() * lengths.len());
        assert!(notes(&report).contains(&"steps_cut"));
    }
}

#[test]
fn a_fault_in_one_step_is_found_at_that_step() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let whole = healthy(&mut random);
        let lengths = lengths(&mut random);
        let mut steps = in_steps(&whole, &lengths);
        let step = random.next(lengths.len());
        let (layer, stage) = (random.next(LAYERS), STAGES[random.next(STAGES.len())].0);
        let name = format!("step_{step}/layers.{layer}.{stage}");
        let wrong = steps[&name].scaled(1.1);
        steps.insert(name, wrong);
        let report = report(&whole, &steps, false);
        assert_eq!(report["verdict"], "diverged");
        let key = &report["first_divergence"]["key"];
        assert_eq!(
            *key,
            format!("step{step}/layers.{layer}.{stage}"),
            "{lengths:?}"
        );
    }
}

#[test]
fn steps_that_end_early_or_lack_a_tensor_are_no_agreement() {
    let mut random = Random(7);
    let whole = healthy(&mut random);
    let early = in_steps(&whole, &[8, 1, 1]);
    let found = report(&whole, &early, false);
    assert_eq!(found["verdict"], "incomplete");
    assert_eq!(found["counts"]["missing_in_candidate"], whole.len());
    let mut steps = in_steps(&whole, &[8, 1, 1, 1, 1]);
    steps.remove("step_2/layers.1.v_proj");
    let found = report(&whole, &steps, false);
    assert_eq!(found["verdict"], "incomplete");
    assert_eq!(found["counts"]["missing_in_candidate"], 1);
    // a step that was not dumped at all, between two that were
    let mut steps = in_steps(&whole, &[8, 1, 1, 1, 1]);
    steps.retain(|name, _| !name.starts_with("step_2/"));
    let found = report(&whole, &steps, false);
    assert_eq!(found["verdict"], "incomplete");
    assert_eq!(found["counts"]["missing_in_candidate"], whole.len());
}

/// q, k and v in one tensor, in `turns` turns.
fn fused(dump: &Dump, turns: usize) -> Dump {
    let mut out = dump.clone();
    for layer in 0..LAYERS {
        let parts =
            ["q", "k", "v"].map(|p| out.remove(&format!("layers.{layer}.{p}_proj")).unwrap());
        let width: usize = parts.iter().map(|p| p.shape[2]).sum();
        let mut values = Vec::new();
        for token in 0..TOKENS {
            for turn in 0..turns {
                for part in &parts {
                    let n = part.shape[2] / turns;
                    let start = token * part.shape[2] + turn * n;
                    values.extend(&part.values[start..start + n]);
                }
            }
        }
        let shape = [1, TOKENS, width];
        out.insert(format!("layers.{layer}.qkv_proj"), Array { shape, values });
    }
    out
}

#[test]
fn a_fused_projection_meets_its_parts_however_they_lie() {
    for (turns, turned) in [(1, false), (1, true), (4, false), (24, true)] {
        let mut random = Random(turns as u64);
        let whole = healthy(&mut random);
        let mut other = fused(&whole, turns);
        let found = report(&whole, &other, turned);
        assert_eq!(found["verdict"], "agreed", "{turns}: {found:#}");
        assert_eq!(found["counts"]["compared"], whole.len());
        // a fault in one part of one layer
        let fault = other.get_mut("layers.1.qkv_proj").unwrap();
        let width = fault.shape[2];
        for (i, x) in fault.values.iter_mut().enumerate() {
            let channel = i % width % (width / turns);
            *x *= if channel >= width * 3 / 4 / turns {
                1.1
            } else {
                1.0
            };
        }
        let found = report(&whole, &other, turned);
        assert_eq!(found["first_divergence"]["key"], "layers.1.v_proj");
    }
}

#[test]
fn a_step_of_one_token_may_leave_axes_out_and_heads_may_stand_elsewhere() {
    let mut random = Random(3);
    let dir = tempfile::tempdir().unwrap();
    let (heads, channels) = (4, 6);
    for stage in ["attn_norm", "q_proj", "o_proj", "q_rope"] {
        let x = random.array([TOKENS, heads, channels]);
        let name = format!("layers.0.{stage}.npy");
        let (whole, shape) = match stage {
            // [batch, head, token, channel] in one pass, [token, head, channel] in steps
            "q_rope" => {
                let rows = |h: usize| (0..TOKENS).map(move |t| (t * heads + h) * channels);
                let places = (0..heads).flat_map(rows);
                let values = places.flat_map(|at| x.values[at..at + channels].to_vec());
                (values.collect(), vec![1, heads, TOKENS, channels])
            }
            _ => (x.values.clone(), vec![1, TOKENS, heads * channels]),
        };
        npy(&dir.path().join("a").join(&name), &shape, &whole);
        for (step, (start, n)) in [(0, 9), (9, 1), (10, 1), (11, 1)].into_iter().enumerate() {
            let part = x.stretch(0, start, start + n);
            let row: &[usize] = match stage {
                "q_rope" => &[heads, channels],
                _ => &[heads * channels],
            };
            let shape = if n > 1 {
                [&[n], row].concat()
            } else {
                row.to_vec()
            };
            npy(
                &dir.path().join(format!("b/step_{step}/{name}")),
                &shape,
                &part.values,
            );
        }
    }
    let [a, b] = ["a", "b"].map(|side| dir.path().join(side).to_str().unwrap().to_owned());
    let report = json(&tdiff(&[&a, &b, "--format", "json"]));
    assert_eq!(report["verdict"], "agreed", "{report:#}");
    assert_eq!(report["counts"]["compared"], 16);
}
