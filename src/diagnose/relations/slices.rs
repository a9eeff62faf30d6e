//! The difference stands in a part only: some tokens, heads, channels or batch rows. That says where, not why.

use super::{Case, Relation, along};
use crate::causes;
use crate::compare::FILLING;
use crate::diagnose::{Array, Side, Suspicion};
use crate::math::Sums;
use crate::name::Stage;
use crate::text::short;

pub struct Slices;

/// What is said to be left: a place is no cause.
const PLACE: f64 = 0.34;
/// A part may hold at most this share of all slices.
const PART: f64 = 0.34;

impl Relation for Slices {
    fn id(&self) -> &'static str {
        "slices"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let (r, c) = case.visible();
        if r.data.len() != c.data.len() || r.data.len() < 8 {
            return Vec::new();
        }
        let mut found = Vec::new();
        found.extend(masked_rows(case));
        found.extend(padding(case, &r, &c));
        if found.is_empty() {
            found.extend(one_part(case, &r, &c));
        }
        found
    }
}

fn names(case: &Case<'_>, axes: usize) -> &'static [&'static str] {
    match (case.stage(), axes) {
        (Some(Stage::ATTN_QK | Stage::ATTN_SCORES | Stage::ATTN_WEIGHTS), 4) => {
            &["batch row", "head", "query", "key"]
        }
        (Some(_), 4) => &["batch row", "token", "head", "channel"],
        (Some(_), 3) => &["batch row", "token", "channel"],
        (Some(Stage::INPUT_IDS | Stage::POSITION_IDS | Stage::ATTENTION_MASK), 2) => {
            &["batch row", "token"]
        }
        _ => &[],
    }
}

fn one_part(case: &Case<'_>, r: &Array, c: &Array) -> Option<Suspicion> {
    let names = names(case, r.shape.len());
    if case.error <= case.noise {
        return None;
    }
    let before = c.distance(r);
    // non-finite values alone have no size
    let size = if before > 0.0 { before } else { 1.0 };
    let mut best: Option<(f64, Suspicion)> = None;
    for (axis, name) in names.iter().enumerate() {
        let facts = along(r, c, axis);
        let exact = |s: &Sums| {
            let error = (s.diff / s.a.max(f64::MIN_POSITIVE)).sqrt();
            s.odd == 0 && error <= case.noise.max(1e-3 * before)
        };
        let wrong: Vec<usize> = (0..facts.len()).filter(|&i| !exact(&facts[i])).collect();
        let share = wrong.len() as f64 / facts.len() as f64;
        // rows of a batch do not meet: one that agrees shows that the others are wrong for being others
        let few = share <= PART || wrong.len() == 1 && facts.len() == 2;
        let rest = *name == "batch row" && wrong.len() < facts.len();
        if wrong.is_empty() || facts.len() < 2 || !(few || rest) {
            continue;
        }
        let listed: Vec<String> = wrong.iter().take(6).map(usize::to_string).collect();
        let more = if wrong.len() > 6 { ", …" } else { "" };
        let (plural, differ) = match wrong.len() {
            1 => ("", "differs"),
            _ => ("s", "differ"),
        };
        let title = format!(
            "only {name}{plural} {}{more} of {} {differ}",
            listed.join(", "),
            facts.len()
        );
        let evidence = vec![format!(
            "all other {name}s agree within {}",
            short(case.noise.max(1e-3 * before))
        )];
        if best.as_ref().is_none_or(|(s, _)| share < *s) {
            let found = Suspicion {
                cause: causes::SLICE_DIFFERS,
                key: case.key.clone(),
                title,
                before: size,
                after: PLACE * size + case.noise,
                evidence,
            };
            best = Some((share, found));
        }
    }
    best.map(|(_, s)| s)
}

/// Differences at padded tokens only, by the attention mask of either side.
fn padding(case: &Case<'_>, r: &Array, c: &Array) -> Option<Suspicion> {
    let axis = match names(case, r.shape.len()) {
        [_, "token", ..] => 1,
        [_, _, "query", _] => 2,
        _ => return None,
    };
    let mask = Side::BOTH
        .iter()
        .find_map(|s| case.site(*s).dumped(Stage::ATTENTION_MASK))?;
    let (batch, tokens) = (r.shape[0], r.shape[axis]);
    if mask.shape != [batch, tokens] || mask.data.iter().all(|m| *m != 0.0) {
        return None;
    }
    let inner: usize = r.shape[axis + 1..].iter().product();
    let outer: usize = r.shape[1..].iter().product();
    let padded = |p: usize| mask.data[p / outer * tokens + p / inner % tokens] == 0.0;
    let real = |a: &Array| {
        let data = a
            .data
            .iter()
            .enumerate()
            .map(|(p, x)| if padded(p) { f64::NAN } else { *x })
            .collect();
        Array::new(a.shape.clone(), data)
    };
    let odd = r
        .data
        .iter()
        .zip(&*c.data)
        .enumerate()
        .any(|(p, (r, c))| !padded(p) && r.is_finite() != c.is_finite());
    if odd {
        return None;
    }
    let non_finite = r
        .data
        .iter()
        .zip(&*c.data)
        .any(|(r, c)| r.is_finite() != c.is_finite());
    let before = if non_finite { 1.0 } else { c.distance(r) };
    let after = real(c).distance(&real(r));
    let n = mask.data.iter().filter(|m| **m == 0.0).count();
    case.suspect(
        causes::PAD_ROWS_DIFFER,
        format!("only the {n} padded tokens differ"),
        before,
        after,
        vec![super::undone("leaving out padded tokens", before, after)],
    )
}

/// NaN in rows of attention in which every key is masked.
fn masked_rows(case: &Case<'_>) -> Option<Suspicion> {
    if !case.is(&[Stage::ATTN_WEIGHTS, Stage::ATTN_SCORES]) {
        return None;
    }
    let (r, c) = (case.reference, case.candidate);
    let nan: Vec<usize> = (0..c.rows().len())
        .filter(|&t| row(c, t).iter().any(|x| x.is_nan()) && !row(r, t).iter().any(|x| x.is_nan()))
        .collect();
    if nan.is_empty() {
        return None;
    }
    let scores = Side::BOTH.map(|s| case.site(s).dumped(Stage::ATTN_SCORES));
    let hidden = |a: &Array, t: usize| {
        a.data.len() == r.data.len() && row(a, t).iter().all(|x| *x < FILLING || x.is_nan())
    };
    let masked = |t: usize| {
        let by_scores = scores.iter().flatten().any(|a| hidden(a, t));
        let first = row(r, t)[0];
        // zeros, or equal weights on all keys: what a softmax makes of a row without any
        by_scores || row(r, t).iter().all(|x| *x == first)
    };
    let explained = nan.iter().filter(|&&t| masked(t)).count();
    let rest: f64 = 1.0 - explained as f64 / nan.len() as f64;
    case.suspect(
        causes::NAN_FULLY_MASKED_ROW,
        format!("{} fully masked rows are NaN in the candidate", nan.len()),
        1.0,
        rest,
        vec![format!(
            "{explained} of {} rows with NaN see no key",
            nan.len()
        )],
    )
}

fn row(a: &Array, t: usize) -> &[f64] {
    &a.data[t * a.width()..(t + 1) * a.width()]
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, normal};
    use super::*;

    fn array(seed: u64) -> Array {
        Array::new(vec![2, 10, 64], normal(1280, seed))
    }

    fn changed(r: &Array, at: impl Fn(usize) -> bool) -> Array {
        let data = r
            .data
            .iter()
            .enumerate()
            .map(|(p, x)| if at(p) { x + 1.0 } else { *x })
            .collect();
        Array::new(r.shape.clone(), data)
    }

    #[test]
    fn the_part_that_differs_is_named() {
        let r = array(1);
        let title = |at: &dyn Fn(usize) -> bool| {
            let dumps = Dumps::default().with(0, Stage::O_PROJ, r.clone(), changed(&r, at));
            let found = dumps.test(&Slices, 0, Stage::O_PROJ);
            found.first().map(|s| s.title.clone()).unwrap_or_default()
        };
        assert_eq!(title(&|p| p / 64 % 10 == 3), "only token 3 of 10 differs");
        assert_eq!(title(&|p| p % 64 == 7), "only channel 7 of 64 differs");
        assert_eq!(title(&|p| p / 640 == 1), "only batch row 1 of 2 differs");
        assert_eq!(title(&|_| true), "");
        let r = Array::new(vec![4, 5, 64], r.data.to_vec());
        let c = changed(&r, |p| p >= 320);
        let dumps = Dumps::default().with(0, Stage::O_PROJ, r, c);
        let found = dumps.test(&Slices, 0, Stage::O_PROJ);
        assert_eq!(found[0].title, "only batch rows 1, 2, 3 of 4 differ");
    }

    #[test]
    fn padded_tokens_are_told_by_the_mask() {
        let r = array(1);
        let mask = Array::new(
            vec![2, 10],
            (0..20).map(|i| if i >= 17 { 0.0 } else { 1.0 }).collect(),
        );
        let dumps = Dumps::default().same(0, Stage::ATTENTION_MASK, &mask).with(
            0,
            Stage::O_PROJ,
            r.clone(),
            changed(&r, |p| p / 64 >= 17),
        );
        assert_eq!(dumps.causes(&Slices, 0, Stage::O_PROJ), ["pad_rows_differ"]);
    }

    #[test]
    fn nan_in_masked_rows_is_named() {
        let scores = Array::new(
            vec![1, 2, 3, 4],
            (0..24)
                .map(|p| if p / 4 == 2 { -1e9 } else { p as f64 })
                .collect(),
        );
        let weights = scores.map(|x| if x < 0.0 { 0.25 } else { x / 100.0 });
        let c = Array::new(
            weights.shape.clone(),
            weights
                .data
                .iter()
                .enumerate()
                .map(|(p, x)| if p / 4 == 2 { f64::NAN } else { *x })
                .collect(),
        );
        let dumps = Dumps::default().same(0, Stage::ATTN_SCORES, &scores).with(
            0,
            Stage::ATTN_WEIGHTS,
            weights,
            c,
        );
        assert_eq!(
            dumps.causes(&Slices, 0, Stage::ATTN_WEIGHTS)[0],
            "nan_fully_masked_row"
        );
    }
}
