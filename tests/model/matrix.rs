//! The matrix: every fault against every relation, law and cause, and every healthy run against all of them.
//!
//! A fault is named first where it enters, so the sharp cause of no other fault stands above its own. Every relation and every
//! law fires on some fault, and none has anything to say about a healthy run.

use super::cases::{self, Case};
use super::config::Config;
use super::faults::Fault;
use super::healthy;
use super::style::{Profile, Style};
use super::write::{Stored, damage, write};
use super::{Arithmetic, Run, run, run_with};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tdiff::causes::CAUSES;
use tdiff::diagnose::laws::{Both, LAWS};
use tdiff::diagnose::relations::{self, RELATIONS};
use tdiff::diagnose::{Conclusion, Scene, Side, confidence, investigate};
use tdiff::judge::{Finding, Rules, judge_all};
use tdiff::localise::Graph;
use tdiff::pairs::{Pair, align_all, compare_all};
use tdiff::run::plan;

const SEED: u64 = 11;

/// What is too weak to be named to a reader.
const NAMED: f64 = 0.25;

/// Causes that only `tdiff check` or a hypothesis of last resort gives, and those of files: what cannot be read or states nothing.
const NO_FAULT: &[&str] = &[
    "unreadable_file",
    "headerless",
    "dtype_from_partner",
    "layout_regrouped",
    "attention_uniform",
    "attention_one_position",
    "rope_position_constant",
    "nan",
    "inf",
    "large_values",
    "constant",
    "layers_identical",
    "layer_differs",
    "tokens_identical",
    "same_argmax",
    "kv_cache_zeros",
    "context_ignored",
    "channel_permuted",
    "channel_scale",
    "row_scale",
    "scale_factor",
    "sequence_reversed",
    "sign_flipped",
    "slice_differs",
    "same_magnitude_unrelated",
    "unexplained",
];

/// Both sides as the program sees them.
struct Seen {
    pairs: Vec<Pair>,
    findings: Vec<Option<Finding>>,
    conclusion: Conclusion,
    /// Tensors are read when they are looked at.
    _dir: tempfile::TempDir,
}

impl Seen {
    fn of(dir: tempfile::TempDir) -> Seen {
        let config = tdiff::config::Config {
            reference: dir.path().join("ref"),
            candidate: Some(dir.path().join("cand")),
            ..Default::default()
        };
        let mut pairs = plan(&config).expect("both sides open").pairs;
        align_all(&mut pairs);
        compare_all(&mut pairs, None, &|_| {});
        let findings = judge_all(&pairs, &Rules::new(&config.tolerance));
        let conclusion = investigate(&pairs, &findings, &Graph::of(&pairs));
        Seen {
            pairs,
            findings,
            conclusion,
            _dir: dir,
        }
    }

    fn first(&self) -> Option<usize> {
        self.conclusion.localisation.first()
    }

    fn causes(&self) -> Vec<&str> {
        let found = self.conclusion.diagnosis.iter();
        found.map(|d| d.id.as_str()).collect()
    }

    /// Ids of the relations and laws that name something at the chosen pairs, with what they name.
    fn named_at(&self, chosen: impl Fn(usize) -> bool) -> Vec<(&'static str, String)> {
        let errors: Vec<Option<f64>> = self
            .findings
            .iter()
            .map(|f| f.as_ref().map(Finding::error))
            .collect();
        let scene = Scene::new(&self.pairs, &errors);
        let mut out = Vec::new();
        for i in (0..self.pairs.len()).filter(|&i| chosen(i)) {
            let key = &self.pairs[i].key;
            let noise = self.conclusion.localisation.bound[i];
            let mut note = |id, found: Vec<tdiff::diagnose::Suspicion>| {
                for s in found {
                    if confidence(s.before, s.after, noise) >= NAMED {
                        out.push((id, format!("{} at {}: {}", s.cause.id, s.key, s.title)));
                    }
                }
            };
            let sides = [Side::Reference, Side::Candidate];
            if let (Some(error), [Some(r), Some(c)]) = (errors[i], sides.map(|s| scene.load(s, i)))
            {
                let case = relations::Case {
                    scene: &scene,
                    key,
                    reference: &r,
                    candidate: &c,
                    error,
                    noise,
                    looks_like_noise: Default::default(),
                };
                for relation in RELATIONS {
                    note(relation.id(), relation.test(&case));
                }
            }
            let Some(stage) = key.stage else { continue };
            let [r, c] = sides.map(|s| scene.site(s, key));
            for law in LAWS.iter().filter(|l| l.outputs().contains(&stage)) {
                note(law.id(), law.diagnose(&Both::new(r, c, stage, noise)));
            }
        }
        out
    }
}

/// A pair in canonical names, in a folder of its own.
fn seen(
    c: &Config,
    [reference, candidate]: [&Run; 2],
    fault: Option<&Fault>,
    profile: Profile,
) -> Seen {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut files = BTreeMap::new();
    for (side, run) in [("ref", reference), ("cand", candidate)] {
        let folder = dir.path().join(side);
        files = write(run, c, &folder, Style::Canonical, profile, Stored::F32).expect("written");
    }
    if let Some(fault) = fault {
        damage(fault, &dir.path().join("cand"), &files).expect("damaged");
    }
    Seen::of(dir)
}

fn case_seen(case: &Case, profile: Profile) -> Seen {
    let c = (case.config)();
    let arithmetic = case.fault.arithmetic().unwrap_or(Arithmetic::F32Chunked);
    let reference = run(&c, SEED, Arithmetic::F32, None);
    let candidate = run_with(&c, SEED, arithmetic, &case.faults());
    seen(&c, [&reference, &candidate], Some(&case.fault), profile)
}

/// Runs `check` on every item, on all cores; what it finds wrong, in the order of the items.
fn wrong<T: Sync>(items: &[T], check: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for first in 0..cores {
            let (found, check) = (&found, &check);
            scope.spawn(move || {
                for (i, item) in items.iter().enumerate().skip(first).step_by(cores) {
                    let wrong = check(item);
                    found.lock().expect("no panic before").insert(i, wrong);
                }
            });
        }
    });
    let found = found.into_inner().expect("no panic before");
    found.into_values().flatten().collect()
}

#[test]
fn every_fault_is_named_first_where_it_enters_and_every_hypothesis_fires() {
    let fired: Mutex<BTreeSet<&str>> = Mutex::default();
    let named = cases::named();
    let wrong = wrong(&named, |(name, case)| {
        let seen = case_seen(case, Profile::Full);
        let first = seen.first();
        let note = |seen: &Seen| {
            let said = &seen.conclusion;
            let ids = seen.named_at(|i| said.localisation.origin[i] || said.excuses[i].is_some());
            let mut fired = fired.lock().expect("no panic before");
            fired.extend(ids.iter().map(|(id, _)| *id));
        };
        note(&seen);
        // what follows from the outputs of layers and norms alone
        if case.fault.cause().starts_with("residual") {
            note(&case_seen(case, Profile::Blocks));
        }
        if case.fault.dump_verdict().is_some() {
            return Vec::new();
        }
        let key = first.map(|i| seen.pairs[i].key.to_string());
        let right: Vec<String> = case
            .first
            .iter()
            .flat_map(|k| std::iter::once(k.to_string()).chain(case.fault.places(k)))
            .collect();
        let cause = seen
            .causes()
            .first()
            .copied()
            .unwrap_or("nothing")
            .to_owned();
        let also = case.fault.also();
        let mut wrong = Vec::new();
        if !key.as_ref().is_some_and(|k| right.contains(k)) {
            wrong.push(format!(
                "{name}: begins at {key:?}, not at {:?}",
                case.first
            ));
        }
        if cause != case.fault.cause() && !also.contains(&cause.as_str()) {
            wrong.push(format!("{name}: {:?}", seen.causes()));
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let fired = fired.into_inner().expect("no panic before");
    let all = RELATIONS
        .iter()
        .map(|r| r.id())
        .chain(LAWS.iter().map(|l| l.id()));
    let idle: Vec<&str> = all.filter(|id| !fired.contains(id)).collect();
    assert!(idle.is_empty(), "no fault fires {idle:?}");
}

#[test]
fn every_cause_has_a_fault() {
    let injected: BTreeSet<&str> = cases::named()
        .iter()
        .map(|(_, case)| case.fault.cause())
        .collect();
    let ids = CAUSES.iter().map(|c| c.id);
    let missing: Vec<&str> = ids
        .filter(|id| !injected.contains(id) && !NO_FAULT.contains(id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<&str> = injected
        .into_iter()
        .filter(|id| !CAUSES.iter().any(|c| c.id == *id))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_second_fault_behind_the_first_is_a_further_finding_with_a_place_of_its_own() {
    let named = cases::named();
    let double: Vec<_> = named.iter().filter(|(_, c)| c.further.is_some()).collect();
    assert!(double.len() >= 8);
    let wrong = wrong(&double, |(name, case)| {
        let seen = case_seen(case, Profile::Full);
        let Some(further) = case.further else {
            return Vec::new();
        };
        let is = |fault: &Fault, id: &str| fault.cause() == id || fault.also().contains(&id);
        let found = &seen.conclusion.diagnosis;
        let second = found.iter().skip(1).find(|d| is(&further, &d.id));
        let apart = second.is_some_and(|d| d.key != found[0].key);
        if found.first().is_some_and(|d| is(&case.fault, &d.id)) && apart {
            return Vec::new();
        }
        let said: Vec<String> = found
            .iter()
            .map(|d| format!("{} at {}", d.id, d.key))
            .collect();
        vec![format!("{name}: {said:?}")]
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_healthy_run_is_silent_for_every_relation_and_law() {
    let pairs = healthy::pairs();
    let wrong = wrong(&pairs, |pair| {
        let reference = run(&pair.reference, SEED, Arithmetic::F32, None);
        let candidate = run(&pair.candidate, SEED, pair.arithmetic, None);
        let seen = seen(
            &pair.reference,
            [&reference, &candidate],
            None,
            Profile::Full,
        );
        let mut wrong = Vec::new();
        if let Some(i) = seen.first() {
            wrong.push(format!(
                "{}: {} {:?}",
                pair.name,
                seen.pairs[i].key,
                seen.causes()
            ));
        }
        // a coarse arithmetic is one of the hypotheses, and other fillings and layouts are another; the verdict counts there
        if pair.arithmetic == Arithmetic::F32Chunked && !pair.name.starts_with("trap") {
            let named = seen.named_at(|_| true);
            wrong.extend(
                named
                    .iter()
                    .map(|(id, what)| format!("{}: {id}: {what}", pair.name)),
            );
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
