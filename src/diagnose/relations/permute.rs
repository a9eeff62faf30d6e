//! The same values in another order: axes, heads, channels within heads, batch rows, tokens.
//!
//! Fixed formulas come first (they need no search); then channels are matched by their values over tokens.

use super::matching::{Matching, columns};
use super::{Case, EXPLAINS, Relation, features, undone};
use crate::causes::{self, Cause};
use crate::diagnose::{Array, Suspicion};
use crate::dump::unravel;
use crate::graph::known::*;
use crate::math::permutations;
use crate::math::{Sums, sums};

pub struct Permute;

/// Elements looked at before a whole tensor is put into another order.
const SAMPLE: usize = 1024;
/// Orders of more axes are not searched.
const MOST_AXES: usize = 4;

impl Relation for Permute {
    fn id(&self) -> &'static str {
        "permute"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        if case.reference.data.len() != case.candidate.data.len() {
            return Vec::new();
        }
        let mut found = Vec::new();
        found.extend(batch_order(case));
        found.extend(token_order(case));
        found.extend(axes(case));
        found.extend(within_heads(case));
        if found.is_empty() {
            found.extend(channels(case));
        }
        found
    }
}

/// The candidate's memory read with its axes in another order.
fn axes(case: &Case<'_>) -> Vec<Suspicion> {
    let (r, c) = case.visible();
    let shape = &r.shape;
    let n = shape.len();
    if n > MOST_AXES {
        return Vec::new();
    }
    let before = c.distance(&r);
    let mut seen: Vec<Vec<usize>> = vec![squeezed(&(0..n).collect::<Vec<_>>(), shape)];
    let mut found = Vec::new();
    for order in permutations(n) {
        let moved = squeezed(&order, shape);
        if seen.contains(&moved) {
            continue;
        }
        seen.push(moved);
        // position in the candidate's memory of each element of the reference
        let lengths: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
        let mut strides = vec![0; n];
        let mut next = 1;
        for (&axis, &length) in order.iter().zip(&lengths).rev() {
            strides[axis] = next;
            next *= length;
        }
        let place = |p: usize| -> usize {
            unravel(p as u64, shape)
                .iter()
                .zip(&strides)
                .map(|(i, s)| i * s)
                .sum()
        };
        let total = c.data.len();
        let step = (total / SAMPLE).max(1) | 1;
        let sampled = error_over(
            (0..total)
                .step_by(step)
                .map(|p| (c.data[place(p)], r.data[p])),
        );
        if sampled.is_nan() || sampled > 2.0 * EXPLAINS * before + case.noise {
            continue;
        }
        let after = error_over((0..total).map(|p| (c.data[place(p)], r.data[p])));
        // a causal mask leaves nothing but the diagonal to compare with its own transpose
        let shown = |a: &Array| a.data.iter().filter(|x| x.is_finite()).count();
        let both = (0..total).filter(|&p| c.data[place(p)].is_finite() && r.data[p].is_finite());
        if 2 * both.count() < shown(&r) {
            continue;
        }
        let (cause, what) = axes_name(case, &order);
        let evidence = vec![undone(
            &format!("reading the candidate's memory as {what}"),
            before,
            after,
        )];
        let title = match cause {
            causes::HEAD_MERGE_ORDER => {
                "the candidate merges heads without transposing back".to_owned()
            }
            causes::HEAD_SPLIT_ORDER => {
                "the candidate splits channels into heads in the wrong order".to_owned()
            }
            _ => format!("the candidate holds the same values in another layout, {what}"),
        };
        found.extend(case.suspect(cause, title, before, after, evidence));
    }
    found
}

fn axes_name(case: &Case<'_>, order: &[usize]) -> (&'static Cause, String) {
    let names: &[&str] = match (case.stage(), order.len()) {
        (Some(ATTN_QK | ATTN_SCORES | ATTN_WEIGHTS), 4) => &["batch", "head", "query", "key"],
        (Some(_), 4) => &["batch", "token", "head", "channel"],
        (Some(_), 3) => &["batch", "token", "channel"],
        _ => &[],
    };
    let spelled: Vec<String> = order
        .iter()
        .map(|&a| {
            names
                .get(a)
                .map_or_else(|| format!("axis {a}"), |s| (*s).to_owned())
        })
        .collect();
    let what = format!("[{}]", spelled.join(", "));
    let heads = names.get(2) == Some(&"head");
    let cause = match (case.stage(), order) {
        (Some(ATTN_CTX), [.., 1, 3] | [.., 3, 2]) if heads => causes::HEAD_MERGE_ORDER,
        (Some(Q_PROJ | K_PROJ | V_PROJ | Q_NORM | K_NORM), [0, 1, 3, 2]) if heads => {
            causes::HEAD_SPLIT_ORDER
        }
        _ => causes::LAYOUT_PERMUTED,
    };
    (cause, what)
}

/// Axes of length 1 say nothing about an order.
fn squeezed(order: &[usize], shape: &[usize]) -> Vec<usize> {
    order.iter().copied().filter(|&a| shape[a] != 1).collect()
}

fn error_over(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut diff, mut norm) = (0.0, 0.0);
    for (c, r) in pairs.filter(|(c, r)| c.is_finite() && r.is_finite()) {
        diff += (c - r) * (c - r);
        norm += r * r;
    }
    (diff / norm).sqrt()
}

/// Halves (i, i + d/2) against interleaved pairs (2i, 2i + 1) within each head: how GGUF and Meta checkpoints order the rows
/// of Q and K.
pub fn within_heads(case: &Case<'_>) -> Vec<Suspicion> {
    let (r, c) = (case.reference, case.candidate);
    let &[_, _, _, d] = r.shape.as_slice() else {
        return Vec::new();
    };
    let ours = [
        Q_PROJ, K_PROJ, Q_NORM, K_NORM, Q_ROPE, K_ROPE, V_PROJ, ATTN_CTX,
    ];
    if d < 4 || d % 2 == 1 || !case.is(&ours) {
        return Vec::new();
    }
    let before = c.distance(r);
    let half = d / 2;
    type Place = fn(usize, usize) -> usize;
    let ways: [(Place, &str); 2] = [
        (
            |i, half| i % half * 2 + i / half,
            "interleaved pairs, the reference halves",
        ),
        (
            |i, half| i / 2 + i % 2 * half,
            "halves, the reference interleaved pairs",
        ),
    ];
    ways.iter()
        .filter_map(|(place, what)| {
            let pairs = c
                .rows()
                .zip(r.rows())
                .flat_map(|(c, r)| (0..d).map(move |i| (c[place(i, half)], r[i])));
            let after = error_over(pairs);
            let queries = !case.is(&[V_PROJ, ATTN_CTX]);
            case.suspect(
                if queries {
                    causes::QK_WEIGHT_PERMUTED
                } else {
                    causes::CHANNEL_PERMUTED
                },
                format!("channels within heads: the candidate has {what}"),
                before,
                after,
                vec![undone(
                    "re-pairing the candidate's channels within heads",
                    before,
                    after,
                )],
            )
        })
        .collect()
}

/// Any order of channels, by their values over tokens.
fn channels(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = case.by_token()?;
    let before = c.distance(&r);
    if before < 0.1 || r.width() < 4 {
        return None;
    }
    let found = columns(&r, &c)?;
    if !found.is_injective() || found.is_identity() || !found.convinces(r.rows().len(), case.noise)
    {
        return None;
    }
    let (cause, title) = channels_name(case, &found);
    let moved = found
        .from
        .iter()
        .enumerate()
        .filter(|(i, f)| i != *f)
        .count();
    let first: Vec<String> = found.from.iter().take(8).map(usize::to_string).collect();
    let evidence = vec![
        undone(
            "putting the candidate's channels in the reference's order",
            before,
            found.error,
        ),
        format!(
            "{moved} of {} channels stand elsewhere; the candidate's first are the reference's {}",
            r.width(),
            first.join(", ")
        ),
    ];
    case.suspect(cause, title, before, found.error, evidence)
}

fn channels_name(case: &Case<'_>, found: &Matching) -> (&'static Cause, String) {
    let d = match case.reference.shape.as_slice() {
        &[_, _, _, d] => d,
        _ => 0,
    };
    let all = |holds: &dyn Fn(usize, usize) -> bool| {
        d > 0 && found.from.iter().enumerate().all(|(i, &f)| holds(i, f))
    };
    let queries = [Q_PROJ, K_PROJ, Q_NORM, K_NORM, Q_ROPE, K_ROPE];
    if all(&|i, f| i / d == f / d) && case.is(&queries) {
        return (
            causes::QK_WEIGHT_PERMUTED,
            "the candidate's channels are permuted within heads".into(),
        );
    }
    if all(&|i, f| i % d == f % d && found.from[i / d * d] / d == f / d) {
        return (
            causes::LAYOUT_PERMUTED,
            "the candidate's heads are in another order".into(),
        );
    }
    if case.is(&[QKV_PROJ]) {
        return (
            causes::FUSED_QKV_ORDER,
            "the candidate's fused projection holds its channels in another order".into(),
        );
    }
    (
        causes::CHANNEL_PERMUTED,
        "the candidate holds the same channels in another order".into(),
    )
}

/// `[batch, token, rest]`; `None` where the stage has no such axes.
fn by_batch(case: &Case<'_>) -> Option<(usize, usize, usize)> {
    let shape = &case.reference.shape;
    let scores = case.is(&[ATTN_QK, ATTN_SCORES, ATTN_WEIGHTS]);
    if shape.len() < 2 || scores || case.stage().is_none() {
        return None;
    }
    let rest = if case.is(&[INPUT_IDS, POSITION_IDS, ATTENTION_MASK]) {
        1
    } else {
        features(case.reference)
    };
    Some((shape[0], shape[1], rest))
}

/// The index of the row that is nearest, by values.
fn nearest<'a>(rows: impl Iterator<Item = &'a [f64]>, row: &[f64]) -> usize {
    rows.enumerate()
        .map(|(i, r)| {
            (
                i,
                r.iter()
                    .zip(row)
                    .map(|(a, b)| (a - b) * (a - b))
                    .sum::<f64>(),
            )
        })
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |(i, _)| i)
}

fn batch_order(case: &Case<'_>) -> Option<Suspicion> {
    let (r, c) = case.visible();
    let batch = *r.shape.first()?;
    if r.shape.len() < 2 || batch < 2 || case.stage().is_none() {
        return None;
    }
    let size = r.data.len() / batch;
    // a NaN of a masked place is no distance
    let plain = |a: &Array| a.map(|x| if x.is_finite() { x } else { 0.0 });
    let (r, c) = (plain(&r), plain(&c));
    let order: Vec<usize> = c
        .data
        .chunks_exact(size)
        .map(|row| nearest(r.data.chunks_exact(size), row))
        .collect();
    let found = Matching {
        from: order,
        error: 0.0,
    };
    if !found.is_injective() || found.is_identity() {
        return None;
    }
    let before = c.distance(&r);
    let back = found
        .from
        .iter()
        .flat_map(|&b| r.data[b * size..(b + 1) * size].iter());
    let after = error_over(c.data.iter().copied().zip(back.copied()));
    let title = format!(
        "the candidate's batch rows are the reference's rows {:?}",
        found.from
    );
    let evidence = vec![undone("reordering the batch", before, after)];
    case.suspect(causes::BATCH_PERMUTED, title, before, after, evidence)
}

/// Rolled or reversed along the tokens.
fn token_order(case: &Case<'_>) -> Vec<Suspicion> {
    let Some((batch, tokens, rest)) = by_batch(case) else {
        return Vec::new();
    };
    let (r, c) = (&case.reference.data, &case.candidate.data);
    if tokens < 3 || r.len() != batch * tokens * rest {
        return Vec::new();
    }
    let before = case.candidate.distance(case.reference);
    let at = |b: usize, t: usize| {
        let first = (b * tokens + t) * rest;
        first..first + rest
    };
    // token of the reference for a token of the candidate, over the pairs that exist on both sides
    let error = |source: &dyn Fn(usize) -> Option<usize>| {
        let mut all = Sums::default();
        for b in 0..batch {
            for (t, s) in (0..tokens).filter_map(|t| Some((t, source(t)?))) {
                all.append(&sums(&r[at(b, s)], &c[at(b, t)]));
            }
        }
        (all.diff / all.a).sqrt()
    };
    let mut found = Vec::new();
    let after = error(&|t| Some(tokens - 1 - t));
    found.extend(case.suspect(
        causes::SEQUENCE_REVERSED,
        "the candidate's tokens are in reverse order".into(),
        before,
        after,
        vec![undone("reversing the tokens", before, after)],
    ));
    let mut shifts: Vec<isize> = if rest == 1 {
        (1..=tokens.min(9) as isize / 2)
            .flat_map(|k| [k, -k])
            .collect()
    } else {
        [tokens / 4, tokens / 2, 3 * tokens / 4]
            .iter()
            .map(|&t| {
                nearest(r[..tokens * rest].chunks_exact(rest), &c[at(0, t)]) as isize - t as isize
            })
            .collect()
    };
    shifts.sort_unstable();
    shifts.dedup();
    for k in shifts {
        if k == 0 || 2 * k.unsigned_abs() > tokens {
            continue;
        }
        let after = error(&|t| t.checked_add_signed(k).filter(|s| *s < tokens));
        let size = k.unsigned_abs();
        let plural = if size == 1 { "" } else { "s" };
        let place = if k > 0 { "later" } else { "earlier" };
        let evidence = vec![undone(
            &format!("comparing token t with the reference's token t{k:+}"),
            before,
            after,
        )];
        let (cause, what) = match case.stage() {
            Some(POS_EMBED | POSITION_IDS) => (causes::POSITION_OFFSET, "position row"),
            _ => (causes::SEQUENCE_SHIFT, "token"),
        };
        let title = format!(
            "each {what} of the candidate is the reference's of {size} place{plural} {place}"
        );
        found.extend(case.suspect(cause, title, before, after, evidence));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, stream};
    use super::*;
    use crate::name::Stage;

    fn heads(seed: u64) -> Array {
        Array::new(vec![1, 10, 4, 16], normal(640, seed))
    }

    fn found(stage: Stage, r: Array, c: Array) -> Vec<&'static str> {
        Dumps::default()
            .same(0, ATTN_NORM, &stream(10, 64, 77))
            .same(
                0,
                ATTN_WEIGHTS,
                &Array::new(vec![1, 4, 10, 10], normal(400, 5)),
            )
            .with(0, stage, r, noisy(&c, 1e-7, 8))
            .causes(&Permute, 0, stage)
    }

    fn moved(a: &Array, place: impl Fn(usize) -> usize) -> Array {
        Array::new(
            a.shape.clone(),
            (0..a.data.len()).map(|p| a.data[place(p)]).collect(),
        )
    }

    #[test]
    fn channels_within_heads_are_re_paired() {
        let r = heads(1);
        let halves = |p: usize| p / 16 * 16 + p % 16 % 8 * 2 + p % 16 / 8;
        let pairs = |p: usize| p / 16 * 16 + p % 16 / 2 + p % 2 * 8;
        assert_eq!(
            found(Q_PROJ, r.clone(), moved(&r, halves)),
            ["qk_weight_permuted"]
        );
        assert_eq!(
            found(K_ROPE, r.clone(), moved(&r, pairs)),
            ["qk_weight_permuted"]
        );
        let odd = |p: usize| p / 16 * 16 + p * 5 % 16;
        assert_eq!(
            found(Q_PROJ, r.clone(), moved(&r, odd)),
            ["qk_weight_permuted"]
        );
        assert_eq!(
            found(V_PROJ, r.clone(), moved(&r, odd)),
            ["channel_permuted"]
        );
        let turned = |p: usize| p / 64 * 64 + (p + 16) % 64;
        assert_eq!(
            found(V_PROJ, r.clone(), moved(&r, turned)),
            ["layout_permuted"]
        );
    }

    #[test]
    fn heads_merged_without_transposing_are_found() {
        let r = heads(1);
        // [head, token, channel] in memory
        let merged = Array::new(r.shape.clone(), r.swap_middle().data.to_vec());
        assert_eq!(
            found(ATTN_CTX, r.clone(), merged.clone()),
            ["head_merge_order"]
        );
        assert_eq!(found(V_PROJ, r.clone(), merged), ["layout_permuted"]);
        // [token, channel, head]
        let split = moved(&r, |p| p / 64 * 64 + p % 64 % 4 * 16 + p % 64 / 4);
        assert_eq!(found(Q_PROJ, r.clone(), split), ["head_split_order"]);
    }

    #[test]
    fn tokens_and_batch_rows_in_another_order_are_found() {
        let r = stream(10, 64, 1);
        let rolled = moved(&r, |p| (p + 64) % 640);
        assert_eq!(
            found(TOK_EMBED, r.clone(), rolled.clone()),
            ["sequence_shift"]
        );
        assert_eq!(found(POS_EMBED, r.clone(), rolled), ["position_offset"]);
        let back = moved(&r, |p| (9 - p / 64) * 64 + p % 64);
        assert_eq!(found(TOK_EMBED, r.clone(), back), ["sequence_reversed"]);
        let r = Array::new(vec![3, 5, 16], normal(240, 1));
        let c = moved(&r, |p| (p + 80) % 240);
        let dumps = Dumps::default().with(0, O_PROJ, r, c);
        assert_eq!(dumps.causes(&Permute, 0, O_PROJ)[0], "batch_permuted");
    }

    #[test]
    fn unrelated_values_are_no_permutation() {
        assert!(found(Q_PROJ, heads(1), heads(2)).is_empty());
        assert!(found(ATTN_CTX, heads(1), heads(1).map(|x| 2.0 * x)).is_empty());
    }
}
