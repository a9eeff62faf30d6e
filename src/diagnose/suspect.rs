//! What is suspected at one place: every relation and law asked, the best answers kept.

use super::laws::{Both, LAWS};
use super::relations::{Case, RELATIONS, Relation, permute, scale::Scale};
use super::{Scene, Side, Suspicion, confidence};
use crate::causes::{self, Cause};
use crate::threads;
use std::sync::OnceLock;

/// Below this a hypothesis explains too little to be named.
const WORTH_NAMING: f64 = 0.25;
/// A hypothesis that explains this much makes a difference a fault, not noise.
pub const EXPLAINS: f64 = 0.5;
/// What a description, and what a cause with a likelier twin, is set back by.
const DESCRIBED: f64 = 0.1;
const LESS_LIKELY: f64 = 0.05;

/// Causes in the handling of buffers: an operation that was left out makes the same equality, and is the likelier fault.
const BUFFERS: &[&Cause] = &[
    causes::STALE_BUFFER,
    causes::BUFFER_ALIASED,
    causes::DUPLICATE_DUMP,
    causes::DUMP_POINT,
    causes::DUMP_ALIASED,
];

/// Causes that describe the difference without naming what makes it: any sharper cause that explains as much comes first.
pub const DESCRIPTIONS: &[&Cause] = &[
    causes::CHANNEL_SCALE,
    causes::ROW_SCALE,
    causes::SCALE_FACTOR,
    causes::CHANNEL_PERMUTED,
    causes::SLICE_DIFFERS,
    causes::SAME_MAGNITUDE_UNRELATED,
    causes::SEQUENCE_REVERSED,
    causes::SIGN_FLIPPED,
];

/// Every hypothesis about one place that explains something, the best first, one per cause.
pub fn suspect(scene: &Scene<'_>, i: usize, bound: f64) -> Vec<Suspicion> {
    let few = worth_threads(scene.looked_at(i));
    let test = |case: &Case<'_>| threads::map(RELATIONS, few, |r| r.test(case)).concat();
    let mut all = if scene.pairs[i].is_partial() {
        known_part(scene, i, bound).unwrap_or_default()
    } else {
        with_case(scene, i, bound, test).unwrap_or_default()
    };
    all.extend(lawful(scene, i, bound));
    rank(&mut all, bound);
    all
}

/// Looks at several places at once, as far as their tensors are small: what hypotheses hold stays bounded.
pub fn at_all(
    scene: &Scene<'_>,
    places: &[usize],
    look: impl Fn(usize) -> Vec<Suspicion> + Sync,
) -> Vec<Vec<Suspicion>> {
    const AT_ONCE: usize = 1 << 17;
    let mut out = Vec::with_capacity(places.len());
    let mut left = places;
    while !left.is_empty() {
        let mut held = 0;
        let fit = left.iter().take_while(|&&i| {
            held += scene.looked_at(i);
            held <= AT_ONCE
        });
        let (now, later) = left.split_at(fit.count().max(1));
        out.extend(threads::map(now, worth_threads(held), |&i| look(i)));
        left = later;
    }
    out
}

/// How many hypotheses about so many elements are worth a second thread.
fn worth_threads(elements: usize) -> usize {
    const TINY: usize = 1 << 14;
    if elements < TINY { usize::MAX } else { 2 }
}

pub fn with_case<T>(
    scene: &Scene<'_>,
    i: usize,
    bound: f64,
    f: impl FnOnce(&Case<'_>) -> T,
) -> Option<T> {
    let pair = &scene.pairs[i];
    pair.stats()?;
    let reference = scene.load(Side::Reference, i)?;
    let candidate = scene.load(Side::Candidate, i)?;
    let case = Case {
        scene,
        key: &pair.key,
        reference: &reference,
        candidate: &candidate,
        error: scene.errors[i]?,
        noise: bound,
        looks_like_noise: OnceLock::new(),
    };
    Some(f(&case))
}

/// What can be tested when only some elements are known.
fn known_part(scene: &Scene<'_>, i: usize, bound: f64) -> Option<Vec<Suspicion>> {
    let reference = scene.load_known(Side::Reference, i)?;
    let candidate = scene.load_known(Side::Candidate, i)?;
    let case = Case {
        scene,
        key: &scene.pairs[i].key,
        reference: &reference,
        candidate: &candidate,
        error: scene.errors[i]?,
        noise: bound,
        looks_like_noise: OnceLock::new(),
    };
    let mut found = permute::within_heads(&case);
    found.extend(Scale.test(&case));
    Some(found)
}

pub fn lawful(scene: &Scene<'_>, i: usize, bound: f64) -> Vec<Suspicion> {
    let key = &scene.pairs[i].key;
    let Some(stage) = key.stage.filter(|_| key.is_canonical()) else {
        return Vec::new();
    };
    let [r, c] = [Side::Reference, Side::Candidate].map(|side| scene.site(side, key));
    let both = Both::new(r, c, stage, bound);
    LAWS.iter()
        .filter(|law| law.outputs().contains(&stage))
        .flat_map(|law| law.diagnose(&both))
        .collect()
}

pub fn weight(s: &Suspicion, bound: f64) -> f64 {
    confidence(s.before, s.after, bound)
}

fn rank(all: &mut Vec<Suspicion>, bound: f64) {
    all.retain(|s| weight(s, bound) >= WORTH_NAMING);
    let value = |s: &Suspicion| {
        // RoPE that works in the first step is not missing in a later one: there the position is 0
        let first_position =
            s.cause == causes::ROPE_MISSING && s.key.step.is_some_and(|step| step > 0);
        let set_back = if DESCRIPTIONS.contains(&s.cause) {
            DESCRIBED
        } else if BUFFERS.contains(&s.cause) || first_position {
            LESS_LIKELY
        } else {
            0.0
        };
        weight(s, bound) - set_back
    };
    all.sort_by(|a, b| value(b).total_cmp(&value(a)));
    let mut seen = std::collections::HashSet::new();
    all.retain(|s| seen.insert(s.cause));
}
