//! From origins to causes: what is excused as a layout, what is the pair's own noise, what remains and why.

use super::arithmetic::Seen;
use super::conclude::{FURTHER, conclude};
use super::relations::{Case, normed};
use super::suspect::{EXPLAINS, at_all, suspect, weight, with_case};
use super::{Array, Scene, Suspicion};
use crate::causes::{self, Cause};
use crate::judge::Finding;
use crate::localise::{Graph, Localisation, localise};
use crate::name::{Key, Stage};
use crate::note::{Diagnosis, Note};
use crate::pairs::Pair;
use crate::text::count;

/// Everything the report needs to know about causes.
#[derive(Debug, Default)]
pub struct Conclusion {
    pub localisation: Localisation,
    pub diagnosis: Vec<Diagnosis>,
    pub notes: Vec<Note>,
    /// For pairs that agree after a layout is undone: how.
    pub excuses: Vec<Option<String>>,
}

/// A layout relation is exact when it leaves nothing but rounding.
const EXACT: f64 = 0.97;
/// Causes that are another layout of the same values.
const LAYOUTS: &[&Cause] = &[
    causes::LAYOUT_PERMUTED,
    causes::QK_WEIGHT_PERMUTED,
    causes::CHANNEL_PERMUTED,
    causes::BATCH_PERMUTED,
    causes::SEQUENCE_PADDED,
    causes::LAST_TOKEN_ONLY,
    causes::DUMP_POINT,
    causes::MISSING_BATCH_DIM,
    causes::PAD_ROWS_DIFFER,
];

/// Layouts that no later operation sees: rows of a batch do not meet one another.
const HARMLESS: &[&Cause] = &[causes::BATCH_PERMUTED];

/// Elements that hypotheses look at, over all places where a difference begins; the first ones say most.
const ROOM: usize = 1 << 24;

/// Localises, tests hypotheses at the origins, and repeats while an origin turns out to be a layout or noise.
pub fn investigate(pairs: &[Pair], findings: &[Option<Finding>], graph: &Graph) -> Conclusion {
    let errors: Vec<Option<f64>> = findings
        .iter()
        .map(|f| f.as_ref().map(Finding::error))
        .collect();
    let scene = Scene::new(pairs, &errors);
    let mut known = Known {
        noise: vec![0.0; pairs.len()],
        excuses: vec![None; pairs.len()],
        notes: Vec::new(),
    };
    let mut suspicions: Vec<Vec<Suspicion>> = vec![Vec::new(); pairs.len()];
    let mut tested = vec![false; pairs.len()];
    let (mut room, mut untested) = (ROOM, Vec::new());
    let localisation = loop {
        let excused: Vec<bool> = known.excuses.iter().map(Option::is_some).collect();
        let found = localise(findings, graph, &known.noise, &excused);
        let origins: Vec<usize> = (0..pairs.len()).filter(|&i| found.origin[i]).collect();
        let mut fresh = Vec::new();
        for &i in &origins {
            if !std::mem::replace(&mut tested[i], true) {
                if room == 0 {
                    untested.push(pairs[i].key.to_string());
                    continue;
                }
                fresh.push(i);
                room = room.saturating_sub(scene.looked_at(i));
            }
        }
        let all = at_all(&scene, &fresh, |i| suspect(&scene, i, found.bound[i]));
        for (i, found) in fresh.into_iter().zip(all) {
            suspicions[i] = found;
        }
        if !known.learn(&scene, &found, &origins, &suspicions, graph) {
            break found;
        }
    };
    let diagnosis = conclude(&scene, &localisation, graph, &suspicions);
    known.notes.extend(sampled_note(&scene));
    let behind = localisation.behind().skip(FURTHER);
    untested.extend(behind.map(|i| pairs[i].key.to_string()));
    known.notes.extend(untested_note(untested));
    Conclusion {
        localisation,
        diagnosis,
        notes: known.notes,
        excuses: known.excuses,
    }
}

/// What is learned about the pair of dumps on the way.
struct Known {
    /// The relative error of one stage, from where it was found on.
    noise: Vec<f64>,
    excuses: Vec<Option<String>>,
    notes: Vec<Note>,
}

impl Known {
    /// Excuses layouts that heal and accepts noise; whether anything was learned.
    fn learn(
        &mut self,
        scene: &Scene<'_>,
        found: &Localisation,
        origins: &[usize],
        suspicions: &[Vec<Suspicion>],
        graph: &Graph,
    ) -> bool {
        let mut learned = false;
        for &i in origins {
            let layout = suspicions[i]
                .iter()
                .find(|s| LAYOUTS.contains(&s.cause) && weight(s, found.bound[i]) > EXACT);
            let confirmed = || with_case(scene, i, found.bound[i], normed::confirmed);
            let harmless = |s: &&Suspicion| {
                found.healed[i]
                    || HARMLESS.contains(&s.cause)
                    || s.cause == causes::DUMP_POINT && confirmed() == Some(true)
            };
            if let Some(s) = layout.filter(harmless) {
                self.excuses[i] = Some(s.title.clone());
                self.note(
                    s.cause.id,
                    format!("{}: {}", s.key, s.title),
                    s.key.to_string(),
                );
                learned = true;
            }
        }
        learned |= self.excuse_rotations(scene, found, origins, suspicions);
        if learned {
            return true;
        }
        let seen = Seen {
            scene,
            found,
            origins,
            suspicions,
            graph,
        };
        // an explicit tolerance does not yield to noise: only what is learned anew counts
        if let Some(noise) = seen.noise().filter(|n| n.level > self.noise[n.first]) {
            for &place in &noise.places {
                self.noise[place] = self.noise[place].max(noise.level);
            }
            let key = scene.pairs[noise.first].key.to_string();
            self.note("coarser_arithmetic", noise.text(&key), key);
            learned = true;
        }
        learned
    }

    /// Q and K of some rows of the batch differ, those of others agree, and so do the scores: the rows are padded, and their
    /// positions are counted from elsewhere, which the product does not see.
    fn excuse_rotations(
        &mut self,
        scene: &Scene<'_>,
        found: &Localisation,
        origins: &[usize],
        suspicions: &[Vec<Suspicion>],
    ) -> bool {
        let partner = |i: usize| -> Option<usize> {
            let key = &scene.pairs[i].key;
            let stage = match key.stage? {
                Stage::Q_PROJ => Stage::K_PROJ,
                Stage::Q_NORM => Stage::K_NORM,
                Stage::Q_ROPE => Stage::K_ROPE,
                _ => return None,
            };
            scene.find(&Key {
                stage: Some(stage),
                ..key.clone()
            })
        };
        let fault = |i: usize| {
            suspicions[i].iter().any(|s| {
                s.cause != causes::ROPE_POSITION_OFFSET && weight(s, found.bound[i]) > EXPLAINS
            })
        };
        let mut any = false;
        for &q in origins {
            let Some(k) = partner(q).filter(|k| origins.contains(k)) else {
                continue;
            };
            let padded = |i: usize| some_rows_agree(scene, i, found.bound[i]);
            if found.healed[q]
                && found.healed[k]
                && !fault(q)
                && !fault(k)
                && padded(q)
                && padded(k)
            {
                for i in [q, k] {
                    let key = scene.pairs[i].key.to_string();
                    self.excuses[i] =
                        Some("Q and K of padded rows are turned alike, the scores agree".into());
                    self.note(causes::LAYOUT_PERMUTED.id, format!("{key}: Q and K of some batch rows are turned alike (positions of padded rows), the scores agree"), key);
                }
                any = true;
            }
        }
        any
    }

    fn note(&mut self, id: &'static str, message: String, key: String) {
        self.notes.push(Note::new(id, message).about(vec![key]));
    }
}

/// Whether at least one row of the batch agrees.
fn some_rows_agree(scene: &Scene<'_>, i: usize, bound: f64) -> bool {
    let agreeing = |case: &Case<'_>| {
        let batch = case.reference.shape.first().copied().unwrap_or(1);
        let row = case.reference.data.len() / batch.max(1);
        let distance = |b: usize| {
            let part = |a: &Array| Array::new(vec![row], a.data[b * row..(b + 1) * row].to_vec());
            part(case.candidate).distance(&part(case.reference))
        };
        batch > 1 && (0..batch).any(|b| distance(b) <= bound)
    };
    with_case(scene, i, bound, agreeing).unwrap_or(false)
}

fn untested_note(tensors: Vec<String>) -> Option<Note> {
    (!tensors.is_empty()).then(|| {
        Note::new(
            "untested",
            format!(
                "{} further places differ: no causes were tested there",
                tensors.len()
            ),
        )
        .about(tensors)
    })
}

fn sampled_note(scene: &Scene<'_>) -> Option<Note> {
    let tensors = scene.sampled();
    (!tensors.is_empty()).then(|| {
        Note::new(
            "sampled",
            format!(
                "causes were tested on the first tokens of {}, large or beside large ones",
                count(tensors.len(), "tensor")
            ),
        )
        .about(tensors)
    })
}
