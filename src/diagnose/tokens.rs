//! Which tokens differ: what a difference says of attention that was not dumped.
//!
//! Under a causal mask the first token attends to itself alone, with weight 1 whatever its score is. A fault in the scores (Q, K,
//! RoPE, scale, window) leaves that token right; one in V, a projection, a norm or the MLP does not. The last token sees
//! every key, masked or not: a mask that lets later tokens through leaves that one right.

use super::relations::along;
use super::{Scene, Side};
use crate::causes::{self, Cause};
use crate::text::short;

/// Fewer tokens show no pattern.
const FEWEST: usize = 4;
/// Stages that decide which tokens a token sees, and how much of each.
const SCORES: &[&str] = &["attn_qk", "attn_scores", "attn_weights"];

/// Where tokens agree and where they do not.
pub struct Pattern {
    /// The cause, where there is but one.
    pub cause: Option<&'static Cause>,
    pub title: String,
    pub evidence: String,
}

/// The pattern of a pair whose scores were not dumped: they stand in `skipped`.
pub fn pattern(scene: &Scene<'_>, i: usize, skipped: &[String], bound: f64) -> Option<Pattern> {
    let unseen = |key: &String| SCORES.iter().any(|stage| key.contains(stage));
    if !skipped.iter().any(unseen) {
        return None;
    }
    let errors = by_token(scene, i)?;
    let whole = !scene.is_cut(Side::Reference, i);
    read(&errors, bound, whole)
}

/// The pattern of the tokens' errors; `whole`: the last one is the last of the pass.
fn read(errors: &[f64], bound: f64, whole: bool) -> Option<Pattern> {
    let n = errors.len();
    let agrees = |e: &f64| *e <= bound;
    let first = errors.iter().take_while(|e| agrees(e)).count();
    let last = errors.iter().rev().take_while(|e| agrees(e)).count();
    if first + last >= n || errors[first..n - last].iter().any(agrees) {
        return None;
    }
    match (first, last) {
        // of the tokens before it some see nearly all as well
        (0, 1..) if whole && last <= n.div_ceil(FEWEST) => {
            let (earlier, rest) = errors.split_at(n - last);
            Some(Pattern {
                cause: Some(causes::CAUSAL_MASK_MISSING),
                title: format!(
                    "{} and all earlier ones do not: on one side only they see later tokens (a causal mask is missing, or off by one)",
                    agreeing("last", last)
                ),
                evidence: format!(
                    "relative error of {} {}, of the {} before {}",
                    named("last", last),
                    range(rest),
                    n - last,
                    range(earlier)
                ),
            })
        }
        (1.., 0) => {
            let what = match first {
                1 => String::from(
                    "which sees but itself: V, the output projection and the MLP are right; look at Q, K, their norms, \
                     RoPE, the scale and the window",
                ),
                _ => format!(
                    "the others do not: look for what begins at position {first}, as a sliding window, a chunk or a tile"
                ),
            };
            let (right, wrong) = errors.split_at(first);
            Some(Pattern {
                cause: None,
                title: format!("{}, {what}", agreeing("first", first)),
                evidence: format!(
                    "relative error of {} {}, of the {} behind {}",
                    named("first", first),
                    range(right),
                    n - first,
                    range(wrong)
                ),
            })
        }
        _ => None,
    }
}

/// `the first token`, `the last 3 tokens`.
fn named(end: &str, count: usize) -> String {
    match count {
        1 => format!("the {end} token"),
        _ => format!("the {end} {count} tokens"),
    }
}

fn agreeing(end: &str, count: usize) -> String {
    let verb = if count == 1 { "agrees" } else { "agree" };
    format!("{} {verb}", named(end, count))
}

fn range(errors: &[f64]) -> String {
    let low = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let high = errors.iter().copied().fold(0.0, f64::max);
    match errors.len() {
        1 => short(low),
        _ => format!("{} to {}", short(low), short(high)),
    }
}

/// The relative error of each token, over all rows of the batch; `None` where the axes are not known.
fn by_token(scene: &Scene<'_>, i: usize) -> Option<Vec<f64>> {
    let (r, c) = (
        scene.load(Side::Reference, i)?,
        scene.load(Side::Candidate, i)?,
    );
    let key = &scene.pairs[i].key;
    let &[batch, tokens, ..] = r.shape.as_slice() else {
        return None;
    };
    // without a stream of known size a third axis is a batch
    let known = scene.geometry(key).steps.get(&key.step);
    let expected = known.is_none_or(|size| *size == (batch, tokens));
    if r.shape != c.shape || r.shape.len() < 3 || !expected || tokens < FEWEST {
        return None;
    }
    let sums = along(&r, &c, 1);
    let known: u64 = sums.iter().map(|s| s.known).sum();
    let errors: Vec<f64> = sums.iter().map(|s| (s.diff / s.a).sqrt()).collect();
    let finite = known == r.data.len() as u64 && errors.iter().all(|e| e.is_finite());
    finite.then_some(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_tell_masks_scores_and_windows_apart() {
        let (right, wrong) = (1e-7, 0.3);
        let tell = |errors: &[f64]| {
            read(errors, 2e-6, true)
                .map(|p| (p.cause, p.title.split(',').next().unwrap().to_owned()))
        };
        let first = |n: usize| [vec![right; n], vec![wrong; 8 - n]].concat();
        assert_eq!(
            tell(&first(1)),
            Some((None, "the first token agrees".into()))
        );
        assert_eq!(
            tell(&first(4)),
            Some((None, "the first 4 tokens agree".into()))
        );
        assert!(tell(&first(0)).is_none() && tell(&first(8)).is_none());
        let mut mask = vec![wrong; 8];
        mask[7] = right;
        let found = read(&mask, 2e-6, true).unwrap();
        assert_eq!(found.cause, Some(causes::CAUSAL_MASK_MISSING));
        assert_eq!(
            found.evidence,
            "relative error of the last token 1e-7, of the 7 before 0.3 to 0.3"
        );
        // what was cut off has no last token, and a hole is no pattern
        assert!(read(&mask, 2e-6, false).is_none());
        mask[3] = right;
        assert!(read(&mask, 2e-6, true).is_none());
    }
}
