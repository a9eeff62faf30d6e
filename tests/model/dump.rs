//! Faults of the dump: the computation was right, what was written is not.

use super::config::Config;
use super::faults::{Axes, Fault, Moved};
use super::tap::{Data, Run};

/// Edits the tensors of a run that computed rightly. What concerns files alone is left to the writer.
pub fn damage(fault: &Fault, c: &Config, run: &mut Run) {
    match *fault {
        Fault::DuplicateDump(key, other) => copy(run, key, other),
        Fault::DumpAliased => (0..c.layers).for_each(|l| {
            copy(
                run,
                &format!("layers.{l}.input"),
                &format!("layers.{l}.output"),
            );
        }),
        Fault::DumpPoint(moved) => {
            let (key, holds, layers) = match moved {
                Moved::OutputBeforeSum(l) => ("output", "down_proj", l),
                Moved::AttentionBeforeSum(l) => ("attn_residual", "o_proj", l),
                Moved::ProjectionAfterSum(l) => ("o_proj", "attn_residual", l),
                Moved::BeforeNorm(l) => ("attn_norm", "input", l),
                Moved::OutputBehindNorm => {
                    return copy(
                        run,
                        &format!("layers.{}.output", c.layers - 1),
                        "final_norm",
                    );
                }
            };
            for l in (0..c.layers).filter(|&l| layers.contains(l)) {
                copy(
                    run,
                    &format!("layers.{l}.{key}"),
                    &format!("layers.{l}.{holds}"),
                );
            }
        }
        Fault::AllZeros(key) => float(run, key).fill(0.0),
        Fault::LayoutPermuted(Axes::HeadsFirst) => each(run, |key, shape, data| {
            if key.ends_with("_rope")
                && let [b, s, h, d] = *shape.as_slice()
            {
                *data = exchange(data, b, s, h, d);
                shape.swap(1, 2);
            }
        }),
        Fault::LayoutPermuted(Axes::LastTwo) => each(run, |key, shape, data| {
            if key.ends_with("attn_ctx")
                && let [b, s, n] = *shape.as_slice()
            {
                *data = exchange(data, b, s, n, 1);
                shape.swap(1, 2);
            }
        }),
        Fault::MissingBatchDim => each(run, |_, shape, _| {
            if shape[0] == 1 {
                shape.remove(0);
            }
        }),
        Fault::BatchPermuted => run.tensors.iter_mut().for_each(|tap| match &mut tap.data {
            Data::Float(data) => rotate_batch(data, tap.shape[0]),
            Data::Ids(ids) => rotate_batch(ids, tap.shape[0]),
        }),
        Fault::SequencePadded(to) => each(run, |key, shape, data| {
            if !key.contains("attn_qk")
                && !key.contains("attn_scores")
                && !key.contains("attn_weights")
            {
                let row = data.len() / shape[0];
                let wide = row / shape[1] * to;
                *data = data
                    .chunks(row)
                    .flat_map(|r| {
                        let mut r = r.to_vec();
                        r.resize(wide, 0.0);
                        r
                    })
                    .collect();
                shape[1] = to;
            }
        }),
        Fault::LastTokenOnly => {
            let last = format!("layers.{}.output", c.layers - 1);
            each(run, |key, shape, data| {
                if key == last || key == "final_norm" || key == "logits" {
                    let row = data.len() / shape[0];
                    let width = row / shape[1];
                    *data = data
                        .chunks(row)
                        .flat_map(|r| r[row - width..].to_vec())
                        .collect();
                    shape[1] = 1;
                }
            });
        }
        Fault::PadRowsDiffer => {
            let mask = run
                .get("attention_mask")
                .map(|t| t.data.floats())
                .unwrap_or_default();
            each(run, |key, shape, data| {
                let scores = key.contains("attn_qk")
                    || key.contains("attn_scores")
                    || key.contains("attn_weights");
                let inside = key.starts_with("layers.") && key != "layers.0.input";
                if (inside || key == "final_norm" || key == "logits") && !scores {
                    let width = data.len() / (shape[0] * shape[1]);
                    for (row, keep) in data.chunks_mut(width).zip(&mask) {
                        if *keep == 0.0 {
                            row.fill(0.0);
                        }
                    }
                }
            });
        }
        Fault::MissingFiles(n) => {
            let mut i = 0;
            run.tensors.retain(|_| {
                i += 1;
                i % n != 0
            });
        }
        _ => {}
    }
}

/// The first batch row becomes the last.
fn rotate_batch<T>(data: &mut [T], batch: usize) {
    let row = data.len() / batch;
    data.rotate_left(row);
}

/// [b, m, n, d] → [b, n, m, d]
pub fn exchange(data: &[f64], b: usize, m: usize, n: usize, d: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(data.len());
    for i in 0..b {
        for k in 0..n {
            for j in 0..m {
                let at = ((i * m + j) * n + k) * d;
                out.extend_from_slice(&data[at..at + d]);
            }
        }
    }
    out
}

fn each(run: &mut Run, edit: impl Fn(&str, &mut Vec<usize>, &mut Vec<f64>)) {
    for tap in &mut run.tensors {
        if let Data::Float(data) = &mut tap.data {
            edit(&tap.key, &mut tap.shape, data);
        }
    }
}

fn float<'a>(run: &'a mut Run, key: &str) -> &'a mut Vec<f64> {
    match run.get_mut(key).map(|t| &mut t.data) {
        Some(Data::Float(data)) => data,
        _ => panic!("no tensor {key}"),
    }
}

fn copy(run: &mut Run, key: &str, other: &str) {
    let held = run
        .get(other)
        .unwrap_or_else(|| panic!("no tensor {other}"))
        .clone();
    let tap = run
        .get_mut(key)
        .unwrap_or_else(|| panic!("no tensor {key}"));
    assert_eq!(tap.shape, held.shape, "{key} cannot hold {other}");
    tap.data = held.data;
}
