//! Places that were never written: zeros throughout, one value throughout, zeros past the last full tile, batch rows that
//! hold zeros or another row.

use super::{Case, Relation, along, undone};
use crate::causes;
use crate::diagnose::laws::rope;
use crate::diagnose::{Array, Side, Suspicion};
use crate::name::Stage;
use crate::text::short;

pub struct Zeros;

impl Relation for Zeros {
    fn id(&self) -> &'static str {
        "zeros"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let (r, c) = (case.reference, case.candidate);
        let Some(&first) = c.data.first() else {
            return Vec::new();
        };
        if r.data.len() == c.data.len() && c.data.len() > 1 && c.data.iter().all(|x| *x == first) {
            return uniform(case, first).into_iter().collect();
        }
        let mut found = Vec::new();
        found.extend(batch_rows(case));
        found.extend(tile_tail(case));
        found
    }
}

fn uniform(case: &Case<'_>, value: f64) -> Option<Suspicion> {
    let r = case.reference;
    let varied = r.data.iter().any(|x| *x != value);
    let (cause, title) = if value == 0.0 {
        (causes::ALL_ZEROS, "the candidate is all zeros".to_owned())
    } else {
        (
            causes::CONSTANT,
            format!("the candidate holds {} everywhere", short(value)),
        )
    };
    let evidence = vec![format!(
        "{} elements, all {}; norm of the reference {}",
        r.data.len(),
        short(value),
        short(r.norm())
    )];
    let before = case.candidate.distance(r);
    varied.then(|| case.suspect(cause, title, before, 0.0, evidence))?
}

/// Blocks of equal size: how far each is from the reference, and whether it is zero where the reference is not.
struct Blocks {
    error: Vec<f64>,
    zero: Vec<bool>,
}

impl Blocks {
    /// Along one axis of the shape.
    fn along(r: &Array, c: &Array, axis: usize) -> Blocks {
        let slices = along(r, c, axis);
        Blocks {
            error: slices.iter().map(|s| (s.diff / s.a).sqrt()).collect(),
            zero: slices.iter().map(|s| s.b == 0.0 && s.a > 0.0).collect(),
        }
    }

    /// Largest error among the first `n`.
    fn worst_before(&self, n: usize) -> f64 {
        self.error[..n]
            .iter()
            .copied()
            .filter(|e| !e.is_nan())
            .fold(0.0, f64::max)
    }

    /// Where the zeros begin that reach to the end.
    fn tail(&self) -> Option<usize> {
        let n = self.zero.len();
        let start = n - self.zero.iter().rev().take_while(|z| **z).count();
        (start > 0 && start < n).then_some(start)
    }
}

/// Zeros from a multiple of a power of two on: full tiles were written, the rest was not.
fn tile_tail(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = case.visible();
    let names: &[&str] = match (case.stage()?, r.shape.len()) {
        (Stage::ATTN_QK | Stage::ATTN_SCORES | Stage::ATTN_WEIGHTS, 4) => {
            &["batch row", "head", "query", "key"]
        }
        (_, 4) => &["batch row", "token", "head", "channel"],
        (_, 3) => &["batch row", "token", "channel"],
        _ => return None,
    };
    for axis in (1..r.shape.len()).filter(|&a| names[a] != "head") {
        let blocks = Blocks::along(&r, &c, axis);
        let (Some(start), n) = (blocks.tail(), r.shape[axis]) else {
            continue;
        };
        let name = names[axis];
        let before = c.distance(&r);
        let after = blocks.worst_before(start);
        // the keys of a decode step's own tokens are no tile: the cache was not written
        let past = rope::start(&case.site(Side::Candidate));
        if name == "key" && past > 0 && start >= past {
            let title = format!(
                "keys from {start} on, the new tokens', are zeros in the candidate: their slots of the cache were not written"
            );
            let evidence = vec![undone("leaving out the new keys", before, after)];
            return case.suspect(causes::KV_CACHE_STALE, title, before, after, evidence);
        }
        // the largest tile that fits `start` times into the full part
        let tile = 1usize << start.trailing_zeros();
        // future keys carry no weight in any case
        if tile <= n - start || tile < 2 {
            continue;
        }
        let title = format!(
            "{name}s from {start} on are zeros in the candidate: past the last full tile of {tile} or a part of it"
        );
        let evidence = vec![undone(
            &format!("leaving out {name}s {start} to {}", n - 1),
            before,
            after,
        )];
        if let Some(found) =
            case.suspect(causes::TILE_TAIL_UNWRITTEN, title, before, after, evidence)
        {
            return Some(found);
        }
    }
    None
}

/// The first batch rows are right, the others are zeros or hold another row.
fn batch_rows(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = case.visible();
    let batch = *r.shape.first()?;
    if r.shape.len() < 2 || batch < 2 || case.stage().is_none() {
        return None;
    }
    let blocks = Blocks::along(&r, &c, 0);
    let before = c.distance(&r);
    let limit = (0.01 * before).max(10.0 * case.noise);
    let exact = blocks.error.iter().take_while(|e| **e <= limit).count();
    if exact == 0 || exact == batch {
        return None;
    }
    let size = r.data.len() / batch;
    let row =
        |a: &Array, b: usize| Array::new(vec![size], a.data[b * size..(b + 1) * size].to_vec());
    let mut what = Vec::new();
    let mut after = blocks.worst_before(exact);
    for b in exact..batch {
        if blocks.zero[b] {
            what.push(format!("{b}: zeros"));
            continue;
        }
        let own = row(&c, b);
        let source = (0..batch)
            .filter(|&s| s != b)
            .map(|s| (s, own.distance(&row(&r, s))))
            .min_by(|x, y| x.1.total_cmp(&y.1))?;
        what.push(format!("{b}: the reference's row {}", source.0));
        after = after.max(source.1);
    }
    let title = format!("only the first {exact} of {batch} batch rows are right in the candidate");
    let evidence = vec![
        format!("batch rows of the candidate, {}", what.join(", ")),
        undone("explaining the other rows so", before, after),
    ];
    case.suspect(causes::BATCH_OFFSET, title, before, after, evidence)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, stream};
    use super::*;

    fn found(r: &Array, f: impl Fn(usize, f64) -> f64) -> Vec<&'static str> {
        let data = r.data.iter().enumerate().map(|(p, x)| f(p, *x)).collect();
        Dumps::default()
            .with(
                0,
                Stage::O_PROJ,
                r.clone(),
                Array::new(r.shape.clone(), data),
            )
            .causes(&Zeros, 0, Stage::O_PROJ)
    }

    #[test]
    fn tensors_without_content_are_found() {
        let r = stream(10, 64, 1);
        assert_eq!(found(&r, |_, _| 0.0), ["all_zeros"]);
        assert_eq!(found(&r, |_, _| 7.0), ["constant"]);
    }

    #[test]
    fn a_tail_of_zeros_is_a_lost_tile() {
        let r = stream(10, 64, 1);
        assert_eq!(
            found(&r, |p, x| if p / 64 >= 8 { 0.0 } else { x }),
            ["tile_tail_unwritten"]
        );
        let wide = stream(6, 72, 1);
        assert_eq!(
            found(&wide, |p, x| if p % 72 >= 64 { 0.0 } else { x }),
            ["tile_tail_unwritten"]
        );
        // 7 rows are no whole number of tiles, 2 rows leave room for more tiles of 2
        assert!(found(&r, |p, x| if p / 64 >= 7 { 0.0 } else { x }).is_empty());
        assert!(found(&r, |p, x| if p / 64 >= 2 { 0.0 } else { x }).is_empty());
    }

    #[test]
    fn batch_rows_left_out_are_found() {
        let r = Array::new(vec![3, 5, 16], normal(240, 1));
        assert_eq!(
            found(&r, |p, x| if p >= 80 { 0.0 } else { x }),
            ["batch_offset"]
        );
        assert_eq!(found(&r, |p, _| r.data[p % 80]), ["batch_offset"]);
        let wrong = noisy(&r, 1.0, 9);
        assert!(found(&r, |p, x| if p >= 80 { wrong.data[p] } else { x }).is_empty());
    }
}
