//! What is told of the suspicions: the causes at the origins, further faults behind them, and what another layer proves.

use super::suspect::{DESCRIPTIONS, EXPLAINS, at_all, lawful, weight};
use super::tokens::{self, Pattern};
use super::{Scene, Suspicion};
use crate::causes;
use crate::localise::{Graph, Localisation};
use crate::note::Diagnosis;
use crate::pairs::{Outcome, Pair};

/// Hypotheses shown for one place.
const MOST: usize = 4;
/// How certain the pattern of the tokens makes a cause.
const SEEN: f64 = 0.7;
/// The share of its confidence that a cause keeps which was proved in another layer than where the difference begins.
const PROMOTED: f64 = 0.8;
/// Places beside the first divergence that are searched for further faults.
pub(super) const FURTHER: usize = 256;

/// Every diagnosis, what to look at first at the head.
pub fn conclude(
    scene: &Scene<'_>,
    found: &Localisation,
    graph: &Graph,
    suspicions: &[Vec<Suspicion>],
) -> Vec<Diagnosis> {
    let mut out = at_origins(scene, found, graph, suspicions);
    let shorter = scene.shorter();
    further(&shorter, found, &mut out);
    scene.sampled_too(&shorter);
    promote(scene, found, graph, &mut out);
    descending(&mut out);
    out
}

/// The causes at the origins, the first divergence first.
fn at_origins(
    scene: &Scene<'_>,
    found: &Localisation,
    graph: &Graph,
    suspicions: &[Vec<Suspicion>],
) -> Vec<Diagnosis> {
    let Some(first) = found.first() else {
        return Vec::new();
    };
    let mut out: Vec<Diagnosis> = Vec::new();
    let pairs = scene.pairs;
    let others = (0..pairs.len()).filter(|&i| found.origin[i] && i != first);
    for i in std::iter::once(first).chain(others) {
        let bound = found.bound[i];
        for s in suspicions[i].iter().take(if i == first { MOST } else { 1 }) {
            match out.iter_mut().find(|d| d.id == s.cause.id) {
                Some(known) if known.key != s.key.to_string() => {
                    known.evidence.push(format!("the same at {}", s.key))
                }
                Some(_) => {}
                None => out.push(diagnosis(s, weight(s, bound))),
            }
        }
        if i == first && out.first().is_none_or(is_vague) {
            let pattern = tokens::pattern(scene, i, &graph.skipped[i], bound);
            match (pattern, out.first_mut()) {
                (Some(p), _) if p.cause.is_some() => out.insert(0, seen(&p, &pairs[i])),
                (Some(p), Some(best)) => best.evidence.extend([p.title, p.evidence]),
                (None, Some(_)) => {}
                (pattern, None) => out.push(unexplained(&pairs[i], pattern)),
            }
        }
    }
    out
}

/// Whether it names no cause, or none with certainty.
fn is_vague(d: &Diagnosis) -> bool {
    d.id == causes::UNEXPLAINED.id
        || DESCRIPTIONS.iter().any(|c| c.id == d.id)
        || d.confidence < EXPLAINS
}

/// The order says what to look at first: no entry claims more than the one before it.
fn descending(out: &mut [Diagnosis]) {
    for i in 1..out.len() {
        out[i].confidence = out[i].confidence.min(out[i - 1].confidence);
    }
}

fn diagnosis(s: &Suspicion, confidence: f64) -> Diagnosis {
    Diagnosis {
        id: s.cause.id.into(),
        title: s.title.clone(),
        key: s.key.to_string(),
        confidence,
        evidence: s.evidence.clone(),
        advice: s.cause.change.into(),
    }
}

/// A cause that the pattern of the tokens shows.
fn seen(pattern: &Pattern, pair: &Pair) -> Diagnosis {
    let cause = pattern.cause.unwrap_or(causes::UNEXPLAINED);
    Diagnosis {
        id: cause.id.into(),
        title: pattern.title.clone(),
        key: pair.key.to_string(),
        confidence: SEEN,
        evidence: vec![pattern.evidence.clone()],
        advice: cause.change.into(),
    }
}

fn unexplained(pair: &Pair, pattern: Option<Pattern>) -> Diagnosis {
    let hint = match (&pair.outcome, pair.key.stage) {
        (Outcome::Incomparable(_), _) => {
            "the sizes differ: compare what both sides dump there, and both configurations"
        }
        (_, Some(stage)) => stage.hint(),
        (_, None) => "compare what computes this tensor on both sides, and its weights",
    };
    let fact = match &pair.outcome {
        Outcome::Incomparable(why) => why.clone(),
        Outcome::Statistics(_) => {
            "only statistics are known here: dump the tensors to have causes tested".into()
        }
        Outcome::Compared(stats) if pair.is_partial() => format!(
            "only {} elements are known here, and what can be tested on them leaves the difference as it is: dump whole \
             tensors to have all causes tested",
            stats.reference.count
        ),
        _ => "every tested hypothesis leaves the difference as it is".into(),
    };
    let (hint, evidence) = match pattern {
        Some(p) => (p.title, vec![p.evidence, fact]),
        None => (hint.to_owned(), vec![fact]),
    };
    Diagnosis {
        id: causes::UNEXPLAINED.id.into(),
        title: format!("no known cause explains it; {hint}"),
        key: pair.key.to_string(),
        confidence: 0.2,
        evidence,
        advice: hint,
    }
}

/// Independent faults behind the first: laws use each side's own inputs, so inherited error does not hide them.
fn further(scene: &Scene<'_>, found: &Localisation, out: &mut Vec<Diagnosis>) {
    let behind: Vec<usize> = found.behind().take(FURTHER).collect();
    let broken = at_all(scene, &behind, |i| lawful(scene, i, found.bound[i]));
    for (i, broken) in behind.into_iter().zip(broken) {
        for s in broken {
            let weight = weight(&s, found.bound[i]);
            if weight < 0.9 || out.iter().any(|d| d.id == s.cause.id) {
                continue;
            }
            out.push(diagnosis(&s, weight));
        }
    }
}

/// What nothing explains at the first divergence may be proved in another layer: a fault is usually one of every layer, and a
/// dump that holds one layer in full shows it there. The place must be one that lies between the first divergence and what
/// agrees before it, or the same stage.
fn promote(scene: &Scene<'_>, found: &Localisation, graph: &Graph, out: &mut Vec<Diagnosis>) {
    let Some(first) = found.first() else { return };
    let key = &scene.pairs[first].key;
    if !out.first().is_some_and(is_vague) {
        return;
    }
    let stage_of = |key: &str| key.rsplit(['.', '/']).next().unwrap_or(key).to_owned();
    let mut gap: Vec<String> = graph.skipped[first].iter().map(|k| stage_of(k)).collect();
    gap.push(stage_of(&key.to_string()));
    let proved = out
        .iter()
        .position(|d| !is_vague(d) && d.key != key.to_string() && gap.contains(&stage_of(&d.key)));
    let Some(at) = proved else { return };
    let mut cause = out.remove(at);
    cause.confidence *= PROMOTED;
    cause.evidence.push(format!(
        "proved there; {key}, where the difference begins, fits it as far as it was dumped"
    ));
    out.retain(|d| d.id != causes::UNEXPLAINED.id);
    out.insert(0, cause);
}
