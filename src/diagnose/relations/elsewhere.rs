//! The candidate holds what belongs to another place: another stage, another layer, twice another stage, a part of the fused
//! projection, or the sum that the other side dumped before (or after).
//!
//! Norms from the one pass of the comparison are the fingerprints: only tensors of equal size and norm, whose first elements
//! are no others altogether, are loaded.

mod fused;
mod meaning;

use super::{Case, EXPLAINS, Relation, undone};
use crate::causes;
use crate::diagnose::{Side, Suspicion};
use crate::graph::known::*;
use crate::name::{Key, Stage};

pub struct Elsewhere;

/// Norms further apart than this are no match.
const NORM: f64 = 0.02;
/// First elements that are further apart than this belong to different tensors.
const OTHER: f64 = 0.5;
/// Two places of the reference that are closer than this cannot be told apart.
const ALIKE: f64 = 0.02;

impl Relation for Elsewhere {
    fn id(&self) -> &'static str {
        "elsewhere"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let Some(own) = case.index() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if case.is(&[INPUT_IDS, POSITION_IDS, ATTENTION_MASK]) || case.candidate.norm() == 0.0 {
            return found;
        }
        found.extend(dump_point(case));
        found.extend(fused::parts(case));
        found.extend(another_place(case, own));
        found.extend(twice(case));
        found
    }
}

/// A tensor that the candidate's values were found in.
struct Match {
    side: Side,
    key: Key,
    after: f64,
    /// Bit for bit.
    exact: bool,
}

fn another_place(case: &Case<'_>, own: usize) -> Vec<Suspicion> {
    let scene = case.scene;
    let (r, c) = case.visible();
    let before = c.distance(&r);
    let mut matches: Vec<Match> = Vec::new();
    for (j, pair) in scene.pairs.iter().enumerate() {
        let ids = matches!(
            pair.key.stage,
            None | Some(INPUT_IDS | POSITION_IDS | ATTENTION_MASK)
        );
        if j == own || ids || pair.key.rank != case.key.rank {
            continue;
        }
        for side in [Side::Candidate, Side::Reference] {
            if !may_equal(case, own, side, j) {
                continue;
            }
            let Some(other) = scene.load(side, j).filter(|x| x.data.len() == c.data.len()) else {
                continue;
            };
            // where the reference itself does not tell the two places apart, equality says nothing
            let theirs = scene
                .load(Side::Reference, j)
                .filter(|x| x.data.len() == r.data.len());
            if theirs.is_some_and(|x| x.distance(&r) < ALIKE) {
                continue;
            }
            let exact = case.candidate.data == other.data;
            let after = if exact { 0.0 } else { c.distance(&other) };
            if after < ALIKE + 4.0 * case.noise {
                matches.push(Match {
                    side,
                    key: pair.key.clone(),
                    after,
                    exact,
                });
            }
        }
    }
    // nearest first: exact copies, then the same step and layer
    matches.sort_by(|a, b| {
        let far = |m: &Match| {
            let here = (m.key.step == case.key.step, m.key.layer == case.key.layer);
            (!m.exact, !here.0, !here.1)
        };
        far(a).cmp(&far(b)).then(a.after.total_cmp(&b.after))
    });
    // what stands there in the candidate itself is a copy of it; that the reference agrees there says no more
    let copied: Vec<Key> = matches
        .iter()
        .filter(|m| m.exact && m.side == Side::Candidate)
        .map(|m| m.key.clone())
        .collect();
    matches.retain(|m| m.side == Side::Candidate || !copied.contains(&m.key));
    let mut found: Vec<Suspicion> = Vec::new();
    for m in matches {
        let Some((cause, title)) = meaning::of(case, &m) else {
            continue;
        };
        if found
            .iter()
            .any(|s| s.cause == cause || cause == causes::DUPLICATE_DUMP)
        {
            continue;
        }
        let what = if m.exact {
            "equal bit for bit to"
        } else {
            "equal to"
        };
        let mut evidence = vec![
            format!(
                "the candidate's {} is {what} the {}'s {}",
                case.key,
                m.side.name(),
                m.key
            ),
            undone("comparing with that tensor instead", before, m.after),
        ];
        evidence.extend(meaning::in_all_layers(case, &m));
        found.extend(case.suspect(cause, title, before, m.after, evidence));
    }
    found.truncate(3);
    found
}

/// Whether sizes and norms allow the candidate's tensor to be that one. Where a norm is not known, only the same layer is
/// looked at.
fn may_equal(case: &Case<'_>, own: usize, side: Side, j: usize) -> bool {
    let pairs = case.scene.pairs;
    let tensor = match side {
        Side::Reference => &pairs[j].reference,
        Side::Candidate => &pairs[j].candidate,
    };
    if tensor.is_none() {
        return false;
    }
    let (Some(mine), Some(theirs)) = (pairs[own].stats(), pairs[j].stats()) else {
        return pairs[j].key.layer == case.key.layer && pairs[j].key.step == case.key.step;
    };
    let theirs = match side {
        Side::Reference => &theirs.reference,
        Side::Candidate => &theirs.candidate,
    };
    let mine = &mine.candidate;
    mine.count == theirs.count
        && (mine.l2 - theirs.l2).abs() <= (NORM + 2.0 * case.noise) * mine.l2
        && first_elements_agree(case, own, side, j)
}

/// Whether a glance at both leaves it open that they are equal.
fn first_elements_agree(case: &Case<'_>, own: usize, side: Side, j: usize) -> bool {
    let pairs = case.scene.pairs;
    let shape = |i: usize| {
        let (r, _) = pairs[i].aligned.as_ref()?;
        Some(r.info.shape())
    };
    if shape(own) != shape(j) {
        return true;
    }
    let glance = |side, i| case.scene.glance(side, i);
    match (glance(Side::Candidate, own), glance(side, j)) {
        (Some(mine), Some(theirs)) => {
            theirs.norm() == 0.0 || mine.norm() == 0.0 || mine.distance(&theirs) <= OTHER
        }
        _ => true,
    }
}

/// Twice another tensor of its own layer: the sum of a tensor with itself, which an in-place operation gives.
fn twice(case: &Case<'_>) -> Option<Suspicion> {
    if !case.is(&[ATTN_RESIDUAL, MLP_RESIDUAL, OUTPUT]) {
        return None;
    }
    let site = case.site(Side::Candidate);
    let (before, c) = (case.candidate.distance(case.reference), case.candidate);
    [
        INPUT,
        O_PROJ,
        ATTN_POST_NORM,
        ATTN_RESIDUAL,
        DOWN_PROJ,
        MLP_POST_NORM,
    ]
    .into_iter()
    .filter(|s| Some(*s) < case.stage())
    .filter(|stage| may_be_half(case, site.key(*stage), before))
    .find_map(|stage| {
        let other = site.tap(stage).filter(|x| x.data.len() == c.data.len())?;
        let after = c.distance(&other.map(|x| 2.0 * x));
        let title = format!(
            "the candidate holds twice its own {}: an operation wrote over its input",
            site.key(stage)
        );
        let evidence = vec![undone(
            &format!("comparing with twice {}", site.key(stage)),
            before,
            after,
        )];
        case.suspect(causes::BUFFER_ALIASED, title, before, after, evidence)
    })
}

/// Whether the candidate's norms leave it open that the tensor of the case is twice that one: ‖c − 2x‖ ≥ |‖c‖ − 2‖x‖|.
fn may_be_half(case: &Case<'_>, key: Key, before: f64) -> bool {
    // of parts that are looked at the norms may differ from those of the whole
    const PARTS: f64 = 0.2;
    let norm = |i: usize| Some(case.scene.pairs[i].stats()?.candidate.l2);
    let before_it = |key: &Key| {
        let layer = key
            .layer?
            .checked_sub(1)
            .filter(|_| key.stage == Some(INPUT))?;
        case.scene
            .find(&case.site(Side::Candidate).in_layer(layer).key(OUTPUT))
    };
    let there = case.scene.find(&key).or_else(|| before_it(&key));
    let norms = (case.index().and_then(norm), there.and_then(norm));
    match norms {
        (Some(c), Some(x)) => (c / (2.0 * x) - 1.0).abs() <= PARTS + EXPLAINS * before + case.noise,
        // derived from others, or not compared
        _ => true,
    }
}

/// One side saved the branch, the other the stream after it (or before and after a norm): a sum with the input fits, and what
/// follows agrees.
fn dump_point(case: &Case<'_>) -> Option<Suspicion> {
    let streams: &[Stage] = match case.stage()? {
        O_PROJ | ATTN_POST_NORM | ATTN_RESIDUAL => &[INPUT],
        DOWN_PROJ | MLP_POST_NORM | MLP_RESIDUAL => &[ATTN_RESIDUAL, ATTN_OUT_NORM, INPUT],
        OUTPUT => &[ATTN_RESIDUAL, ATTN_OUT_NORM, INPUT],
        _ => return None,
    };
    if !case.downstream_agrees() {
        return None;
    }
    let (r, c) = (case.reference, case.candidate);
    let before = c.distance(r);
    let mut best: Option<(f64, Side, String)> = None;
    for &stage in streams {
        for side in Side::BOTH {
            let site = case.site(side);
            let Some(x) = site.tap(stage).filter(|x| x.data.len() == r.data.len()) else {
                continue;
            };
            let (Some(of_candidate), Some(of_reference)) = (r.plus(&x), c.plus(&x)) else {
                continue;
            };
            let place = format!("the {}'s {}", side.name(), site.key(stage));
            for (after, later) in [
                (c.distance(&of_candidate), Side::Candidate),
                (of_reference.distance(r), Side::Reference),
            ] {
                if best.as_ref().is_none_or(|b| after < b.0) {
                    best = Some((after, later, place.clone()));
                }
            }
        }
    }
    let (after, later, place) = best?;
    let first = if later == Side::Candidate {
        "reference"
    } else {
        "candidate"
    };
    case.suspect(
        causes::DUMP_POINT,
        format!(
            "the {first} was saved before the residual addition, the {} after it",
            later.name()
        ),
        before,
        after,
        vec![
            undone(&format!("adding {place} to the {first}"), before, after),
            "what is computed from it agrees".into(),
        ],
    )
}

/// Relative distance of one tensor of the candidate from one of the reference, by stage.
fn crossed(case: &Case<'_>, candidate: Stage, reference: Stage) -> Option<f64> {
    let c = case.site(Side::Candidate).tap(candidate)?;
    let r = case.site(Side::Reference).tap(reference)?;
    (c.data.len() == r.data.len()).then(|| c.distance(&r))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, stream};
    use super::*;
    use crate::diagnose::Array;

    fn heads(seed: u64) -> Array {
        Array::new(vec![1, 10, 4, 16], normal(640, seed))
    }

    fn sum(a: &Array, b: &Array) -> Array {
        a.plus(b).unwrap()
    }

    #[test]
    fn exchanged_projections_are_named() {
        let (q, k, v) = (heads(1), heads(2), heads(3));
        let scores = Array::new(vec![1, 4, 10, 10], normal(400, 5));
        let dumps = |kept: bool| {
            Dumps::default()
                .with(0, Q_PROJ, q.clone(), noisy(&k, 1e-7, 4))
                .with(
                    0,
                    K_PROJ,
                    k.clone(),
                    if kept { v.clone() } else { q.clone() },
                )
                .with(
                    0,
                    V_PROJ,
                    v.clone(),
                    if kept { q.clone() } else { v.clone() },
                )
                .with(0, ATTN_SCORES, scores.clone(), scores.map(|x| -x))
        };
        assert_eq!(dumps(false).causes(&Elsewhere, 0, Q_PROJ)[0], "qk_swapped");
        assert_eq!(
            dumps(true).causes(&Elsewhere, 0, Q_PROJ)[0],
            "fused_qkv_order"
        );
        let (g, u) = (stream(10, 48, 6), stream(10, 48, 7));
        let mlp = Dumps::default()
            .same(0, MLP_NORM, &stream(10, 64, 1))
            .with(0, GATE_PROJ, g.clone(), u.clone())
            .with(0, UP_PROJ, u, g);
        assert_eq!(mlp.causes(&Elsewhere, 0, UP_PROJ)[0], "gate_up_swapped");
    }

    #[test]
    fn a_fused_output_cut_per_head_is_found() {
        let parts = [heads(1), heads(2), heads(3)];
        // the candidate reads [q0 k0 v0 q1 …] as [q | k | v]: its q is q0 k0 v0 q1 of every token
        let q: Vec<f64> = (0..10)
            .flat_map(|t| {
                let head = |p: usize, h: usize| {
                    parts[p].data[t * 64 + h * 16..t * 64 + (h + 1) * 16].to_vec()
                };
                [head(0, 0), head(1, 0), head(2, 0), head(0, 1)].concat()
            })
            .collect();
        let qkv = stream(10, 192, 9);
        let dumps = Dumps::default()
            .same(0, QKV_PROJ, &qkv)
            .with(
                0,
                Q_PROJ,
                parts[0].clone(),
                Array::new(vec![1, 10, 4, 16], q),
            )
            .same(0, K_PROJ, &parts[1])
            .same(0, V_PROJ, &parts[2]);
        let found = dumps.test(&Elsewhere, 0, Q_PROJ);
        assert_eq!(found[0].cause.id, "fused_qkv_order");
        assert!(
            found[0].evidence[1].contains("k_proj[0..16]"),
            "{:?}",
            found[0].evidence
        );
    }

    #[test]
    fn a_buffer_that_was_not_written_holds_an_earlier_stage() {
        let (q, ctx, o) = (heads(1), heads(2), stream(10, 64, 3));
        let dumps = Dumps::default()
            .same(0, Q_PROJ, &q)
            .with(0, ATTN_CTX, ctx, q.clone())
            .with(0, O_PROJ, o.clone(), o.map(|x| x + 1.0));
        assert_eq!(dumps.causes(&Elsewhere, 0, ATTN_CTX), ["stale_buffer"]);
    }

    #[test]
    fn what_heals_is_a_fault_of_the_dump() {
        let (x, branch, logits) = (stream(10, 64, 1), stream(10, 64, 2), stream(10, 64, 4));
        let point = Dumps::default()
            .same(0, INPUT, &x)
            .with(0, O_PROJ, branch.clone(), sum(&branch, &x))
            .same(0, LOGITS, &logits);
        assert_eq!(point.causes(&Elsewhere, 0, O_PROJ), ["dump_point"]);
        let other = stream(10, 64, 5);
        let duplicate = Dumps::default()
            .with(0, O_PROJ, branch.clone(), other.clone())
            .same(1, O_PROJ, &other)
            .same(0, LOGITS, &logits);
        // norms of tensors in other layers come from the comparison; here they are unknown
        assert!(duplicate.causes(&Elsewhere, 0, O_PROJ).is_empty());
        let out = stream(10, 64, 6);
        let aliased = Dumps::default()
            .with(0, INPUT, x.clone(), out.clone())
            .same(0, OUTPUT, &out)
            .same(0, LOGITS, &logits);
        assert_eq!(aliased.causes(&Elsewhere, 0, INPUT), ["dump_aliased"]);
    }

    #[test]
    fn a_sum_with_itself_is_an_aliased_buffer() {
        let (x, branch) = (stream(10, 64, 1), stream(10, 64, 2));
        let dumps = Dumps::default()
            .same(0, INPUT, &x)
            .same(0, O_PROJ, &branch)
            .with(0, ATTN_RESIDUAL, sum(&x, &branch), branch.map(|v| 2.0 * v));
        assert_eq!(
            dumps.causes(&Elsewhere, 0, ATTN_RESIDUAL),
            ["buffer_aliased"]
        );
    }

    #[test]
    fn unrelated_values_are_found_nowhere() {
        let dumps = Dumps::default()
            .same(0, Q_PROJ, &heads(1))
            .same(0, K_PROJ, &heads(2))
            .with(0, V_PROJ, heads(3), heads(4));
        assert!(dumps.causes(&Elsewhere, 0, V_PROJ).is_empty());
    }
}
