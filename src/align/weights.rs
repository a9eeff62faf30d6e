//! Rows of weights that one format writes in another order: one axis read as `outer × a × b` on one side and as `outer × b × a`
//! on the other.
//!
//! Hugging Face rotates the two halves of a head against each other, llama.cpp's llama graph neighbouring channels; so
//! `convert_hf_to_gguf.py` writes row `i` of a head's first half beside row `i` of its second half. Fused products are written
//! one behind the other, or head by head, or (gate and up) row by row. Weights that differ by that alone are the same; the
//! tensors computed from them are judged by themselves.

use super::choose::Found;
use super::fit::{error_at, resident};
use super::view::{Composition, Part, View, Walk};
use crate::causes;
use crate::dump::{Payload, ReadError, Tensor};
use crate::name::Key;
use crate::note::Note;

/// Head sizes looked for.
const LARGEST_HEAD: usize = 512;
/// Elements compared to find the order.
const SAMPLE: usize = 1024;
/// Exchanged rows fit when they leave less than this part of the error.
const CLEARLY: f64 = 0.5;

/// The order of the rows of two weights of equal shape; `None` where they are in one, or in none that is known.
pub fn exchanged(key: &Key, [r, c]: [&Tensor; 2]) -> Result<Option<Found>, ReadError> {
    let shape = r.info.shape();
    let dense = |t: &Tensor| !matches!(t.payload, Payload::Partial(_) | Payload::Statistics);
    let product = key.rest.split('.').next().filter(|_| key.is_parameter());
    let heads = matches!(product, Some("q_proj" | "k_proj"));
    let fused = match product {
        Some("gate_up_proj") => 2,
        Some("qkv_proj") => 3,
        _ => 0,
    };
    let wanted = (heads || fused > 0) && matches!(shape.len(), 1 | 2) && dense(r) && dense(c);
    if !wanted || r.info.is_empty() {
        return Ok(None);
    }
    let rows = shape[0];
    let columns = r.info.len() / rows;
    let sizes = (1..=rows.min(LARGEST_HEAD)).filter(|d| rows.is_multiple_of(*d));
    let splits: Vec<[usize; 4]> = match fused {
        // [outer, a, b, inner]
        0 => sizes
            .filter(|d| *d >= 4 && d % 2 == 0)
            .map(|d| [rows / d, 2, d / 2, 1])
            .collect(),
        n => sizes
            .filter(|d| rows.is_multiple_of(n * d))
            .map(|d| [1, n, rows / n / d, d])
            .collect(),
    };
    // the first heads say it; fused products lie far apart
    let looked_at = if heads { rows.min(LARGEST_HEAD) } else { rows };
    let few = |t: &Tensor| match t.info.is_contiguous() && looked_at < rows {
        true => t.resident((looked_at * columns * t.info.dtype().size()) as u64, || {
            "first rows of the weight (bytes)".into()
        }),
        false => resident(t),
    };
    let (r, c) = (few(r)?, few(c)?);
    let error = |way: &Composition, rows: usize| {
        let len = (rows * columns) as u64;
        let step = (len / SAMPLE as u64).max(1) | 1;
        let at: Vec<u64> = (0..len).step_by(step as usize).collect();
        Ok::<f64, ReadError>(error_at([&r, &c], way, &at)?.unwrap_or(0.0))
    };
    let whole = View::whole(r.info.shape());
    let natural = Composition {
        reference: whole.clone(),
        candidate: whole,
    };
    let natural = error(&natural, looked_at)?;
    let mut best: Option<Found> = None;
    for split in splits.into_iter().filter(|_| natural > 0.0) {
        for turned in [false, true] {
            let (halves, pairs) = views(split, shape.len(), columns);
            let composition = match turned {
                false => Composition {
                    reference: halves,
                    candidate: pairs,
                },
                true => Composition {
                    reference: pairs,
                    candidate: halves,
                },
            };
            let head = split[1] * split[2] * split[3];
            let error = error(&composition, looked_at / head * head)?;
            if best.as_ref().is_none_or(|b| error < b.error) {
                best = Some(Found { composition, error });
            }
        }
    }
    Ok(best.filter(|b| b.error < CLEARLY * natural))
}

/// The note on rows that were brought to one order.
pub fn note(key: &Key, of: &View, layout: &str) -> Note {
    let heads = ["q_proj.", "k_proj."];
    let (cause, of) = match heads.iter().any(|p| key.rest.starts_with(p)) {
        true => {
            let rows = of.parts.iter().filter(|p| p.axis == 0).map(|p| p.len);
            let head: usize = rows.rev().take(2).product();
            (
                causes::QK_WEIGHT_PERMUTED,
                format!("heads of {head} rows, "),
            )
        }
        false => (causes::LAYOUT_PERMUTED, String::new()),
    };
    let what = "rows in another order, as converters of weights write them; compared in one order";
    Note::new(cause.id, format!("{layout}: {of}{what}"))
}

/// The rows as `outer × a × b × inner`, and as `outer × b × a × inner` seen in the same order.
fn views([outer, a, b, inner]: [usize; 4], rank: usize, columns: usize) -> (View, View) {
    // in the order of the views, with the axis
    let all = [(0, outer), (0, a), (0, b), (0, inner), (1, columns)];
    let seen = |order: [usize; 5]| {
        let kept = order.into_iter().filter(|&p| all[p].1 != 1);
        let kept: Vec<usize> = kept.collect();
        let part = |&p: &usize| Part {
            axis: all[p].0,
            len: all[p].1,
            at: 0,
        };
        let walk = |p: usize| {
            let part = kept.iter().position(|&k| k == p);
            part.map(|i| Walk {
                part: Some(i),
                len: all[p].1,
            })
        };
        View {
            parts: kept.iter().map(part).collect(),
            walks: (0..all.len()).filter_map(walk).collect(),
            rank,
        }
    };
    (seen([0, 1, 2, 3, 4]), seen([0, 2, 1, 3, 4]))
}
