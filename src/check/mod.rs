//! Health of one dump, for a person who has no reference: red flags of single tensors, and the laws its operations obey.

mod alike;
mod attention;
mod layers;
mod values;

use self::alike::Fitted;
use crate::causes;
use crate::diagnose::laws::LAWS;
use crate::diagnose::{Scene, Side};
use crate::dump::{Hints, open};
use crate::error::Result;
use crate::name::{Key, keys};
use crate::order::order;
use crate::pairs::Pair;
use crate::sides;
use crate::text::count;
use serde::Serialize;
use std::borrow::Cow;
use std::path::Path;

/// The result of `tdiff check` (schema 1).
#[derive(Debug, Serialize)]
pub struct Health {
    pub schema: u32,
    pub path: String,
    pub tensors: usize,
    pub verdict: &'static str,
    pub findings: Vec<Finding>,
    pub laws: Vec<LawFit>,
    pub exit_code: u8,
}

/// Something that is wrong (red) or worth knowing (note).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub id: Cow<'static, str>,
    pub severity: Severity,
    pub key: String,
    pub message: String,
    pub evidence: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Red,
    Note,
}

/// A law that was fitted: its parameters, to be held against the model's configuration.
#[derive(Debug, Serialize)]
pub struct LawFit {
    pub law: &'static str,
    pub key: String,
    pub fit: serde_json::Map<String, serde_json::Value>,
    pub text: String,
    pub residual: f64,
}

/// One kind of check over the whole dump.
pub trait Check: Sync {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding>;
}

/// Every check.
pub const CHECKS: &[&dyn Check] = &[
    &values::Values,
    &attention::Weights,
    &attention::Rotation,
    &attention::Context,
    &layers::Identical,
    &layers::Tokens,
    &layers::Argmax,
];

impl Finding {
    pub fn red(id: &'static str, key: &Key, message: String) -> Finding {
        Finding {
            id: id.into(),
            severity: Severity::Red,
            key: key.to_string(),
            message,
            evidence: Vec::new(),
        }
    }

    pub fn note(id: &'static str, key: &Key, message: String) -> Finding {
        Finding {
            severity: Severity::Note,
            ..Finding::red(id, key, message)
        }
    }

    pub fn with(mut self, evidence: String) -> Finding {
        self.evidence.push(evidence);
        self
    }
}

/// Checks one dump.
pub fn check(path: &Path, hints: &Hints) -> Result<Health> {
    let side: sides::Side = open(path, hints)?.into();
    if side.tensors.is_empty() && side.unreadable.is_empty() {
        return Err(sides::nothing_found(&side.path, &side.ignored, &side.notes));
    }
    let entries = side.entries(&[]);
    let (keys, places) = keys(&entries);
    let items = side.items(&entries, &places, &keys);
    let sequence = order(&items).sequence;
    let pairs: Vec<Pair> = sequence
        .into_iter()
        .map(|i| Pair::new(keys[i].clone(), Some(side.tensors[i].clone()), None))
        .collect();
    let unknown = vec![None; pairs.len()];
    let scene = Scene::new(&pairs, &unknown);
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|c| c.run(&scene)).collect();
    findings.extend(side.unreadable.iter().map(|e| Finding {
        id: causes::UNREADABLE_FILE.id.into(),
        severity: Severity::Red,
        key: e.tensor_name(path),
        message: e.to_string(),
        evidence: vec![],
    }));
    let notes = side.notes.iter().cloned().chain(side.ignored());
    findings.extend(notes.map(|r| Finding {
        id: r.id,
        severity: Severity::Note,
        key: path.display().to_string(),
        message: r.message,
        evidence: vec![],
    }));
    let laws = fits(&scene);
    findings.extend(alike::differing(&scene, &laws, &findings));
    let sampled = scene.sampled();
    if !sampled.is_empty() {
        findings.push(Finding {
            id: "sampled".into(),
            severity: Severity::Note,
            key: sampled[0].clone(),
            message: format!(
                "the laws were fitted on the first tokens of {}, large or beside large ones",
                count(sampled.len(), "tensor")
            ),
            evidence: vec![],
        });
    }
    findings.sort_by_key(|f| f.severity);
    let suspicious = findings.iter().any(|f| f.severity == Severity::Red);
    Ok(Health {
        schema: 1,
        path: path.display().to_string(),
        tensors: pairs.len(),
        verdict: if suspicious { "suspicious" } else { "healthy" },
        laws: laws.into_iter().map(|l| l.fit).collect(),
        findings,
        exit_code: u8::from(suspicious),
    })
}

fn fits(scene: &Scene<'_>) -> Vec<Fitted> {
    let mut out = Vec::new();
    for (place, pair) in scene.pairs.iter().enumerate() {
        let Some(stage) = pair.key.stage.filter(|_| pair.key.is_canonical()) else {
            continue;
        };
        let site = scene.site(Side::Reference, &pair.key);
        for law in LAWS.iter().filter(|l| l.outputs().contains(&stage)) {
            if let Some(fit) = law.fit(&site, stage) {
                let parameters = fit
                    .parameters
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect();
                let fit = LawFit {
                    law: law.id(),
                    key: pair.key.to_string(),
                    fit: parameters,
                    text: fit.text,
                    residual: fit.residual,
                };
                out.push(Fitted { place, fit });
            }
        }
    }
    out
}
