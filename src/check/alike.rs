//! The layers of one model obey the same laws: one that does not is where to look, without any reference.

use super::{Finding, LawFit, Severity};
use crate::diagnose::Scene;
use crate::name::{Key, Stage};
use crate::report::real::{count, short};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A law fitted at one place of the scene.
pub struct Fitted {
    pub place: usize,
    pub fit: LawFit,
}

impl Fitted {
    fn text(&self) -> String {
        format!(
            "{} (relative residual {})",
            self.fit.text,
            short(self.fit.residual)
        )
    }
}

/// Fewer layers have no majority.
const LAYERS: usize = 3;
/// Parameters are the same within this, and so many times what the fits leave.
const SAME: f64 = 0.02;
const NOISE: f64 = 20.0;
/// A fit that leaves so many times what those of the other layers leave is none; below `ROUNDING` nothing is said.
const WORSE: f64 = 30.0;
const ROUNDING: f64 = 1e-5;

/// What the layers of a model share in one law.
struct Shared {
    law: &'static str,
    /// Parameters that are the same in all layers.
    parameters: &'static [&'static str],
    /// All layers obey the law, with errors of one size.
    by_all: bool,
}

/// Models exist whose layers take turns in their masks (sliding window, global) and rotations (another theta, none), an epsilon
/// shows in some layers only, and padded rows may hide a softmax: these are not compared.
const SHARED: &[Shared] = &[
    shared("norm", &["kind", "bias"]),
    Shared {
        by_all: false,
        ..shared("rope", &["pairs"])
    },
    shared("attention_scores", &["scale", "softcap", "kv_of_head"]),
    shared("softmax", &["scale", "softcap"]),
    Shared {
        by_all: false,
        ..shared("attention_context", &["scale", "kv_of_head"])
    },
    shared("residual", &["stream", "branch", "normed"]),
    shared("activation", &["activation"]),
];

const fn shared(law: &'static str, parameters: &'static [&'static str]) -> Shared {
    Shared {
        law,
        parameters,
        by_all: true,
    }
}

/// The layer that a tensor belongs to: step, rank, layer.
type Place = (Option<u32>, Option<u32>, Option<u32>);

/// Layers that differ from most others in a law or its parameters. Where a sharper flag was raised, it stands alone.
pub fn differing(scene: &Scene<'_>, laws: &[Fitted], flags: &[Finding]) -> Vec<Finding> {
    let key = |f: &Fitted| &scene.pairs[f.place].key;
    let layers = Layers::of(scene, flags);
    let mut groups: BTreeMap<_, Vec<&Fitted>> = BTreeMap::new();
    for law in laws {
        let key = key(law);
        if let (Some(stage), Some(_), true) = (key.stage, key.layer, key.rest.is_empty()) {
            let group = (key.step, key.rank, stage, law.fit.law);
            groups.entry(group).or_default().push(law);
        }
    }
    let mut found = Vec::new();
    for ((.., stage, law), fits) in groups {
        let Some(shared) = SHARED.iter().find(|s| s.law == law) else {
            continue;
        };
        let alike = |a: &Fitted| fits.iter().filter(|b| same(a, b, shared)).count();
        let Some(usual) = fits.iter().max_by_key(|f| alike(f)) else {
            continue;
        };
        let most = alike(usual);
        let example = key(usual);
        let others = layers.like(example);
        let of =
            |keys: &mut dyn Iterator<Item = &Key>| keys.map(|k| k.layer).collect::<BTreeSet<_>>();
        let fitted = of(&mut fits.iter().map(|f| key(f)));
        let all = (&fitted | &of(&mut others.iter())).len();
        if all < LAYERS || most * 3 < all * 2 {
            continue;
        }
        let as_others = format!("{most} of {}: {}", count(all, "layer"), usual.text());
        for fit in fits.iter().filter(|f| !same(f, usual, shared)) {
            if !layers.flagged.contains(&line(key(fit))) {
                let message = format!("{}; {as_others}", fit.text());
                found.push(Finding::red("layer_differs", key(fit), message));
            }
        }
        let unfitted = others.iter().filter(|l| !fitted.contains(&l.layer));
        for layer in unfitted.filter(|_| shared.by_all) {
            let place = Key {
                stage: Some(stage),
                ..(*layer).clone()
            };
            if !layers.flagged.contains(&line(&place)) {
                let message = format!("obeys no such law; {as_others}");
                found.push(Finding::red("layer_differs", &place, message));
            }
        }
    }
    found
}

fn line(key: &Key) -> Place {
    (key.step, key.rank, key.layer)
}

/// What was dumped of each layer.
struct Layers {
    stages: BTreeMap<Place, BTreeSet<Stage>>,
    /// Layers with a red flag of their own.
    flagged: BTreeSet<Place>,
}

impl Layers {
    fn of(scene: &Scene<'_>, flags: &[Finding]) -> Layers {
        let mut stages: BTreeMap<_, BTreeSet<Stage>> = BTreeMap::new();
        let red: BTreeSet<&str> = flags
            .iter()
            .filter(|f| f.severity == Severity::Red)
            .map(|f| f.key.as_str())
            .collect();
        let mut flagged = BTreeSet::new();
        for pair in scene.pairs {
            if let Some(stage) = pair.key.stage.filter(|_| pair.key.rest.is_empty()) {
                stages.entry(line(&pair.key)).or_default().insert(stage);
            }
            if red.contains(pair.key.to_string().as_str()) {
                flagged.insert(line(&pair.key));
            }
        }
        Layers { stages, flagged }
    }

    /// The layers of which as much was dumped as of this one, and of the layer before.
    fn like(&self, key: &Key) -> Vec<Key> {
        let dumped = |layer: Option<u32>| self.stages.get(&(key.step, key.rank, layer));
        let inputs = |layer: u32| {
            (
                dumped(Some(layer)),
                layer.checked_sub(1).map(|l| dumped(Some(l))),
            )
        };
        let own = key.layer.map(inputs);
        let of_run = self
            .stages
            .keys()
            .filter(|k| (k.0, k.1) == (key.step, key.rank));
        of_run
            .filter_map(|k| k.2)
            .filter(|&layer| Some(inputs(layer)) == own)
            .map(|layer| Key {
                layer: Some(layer),
                ..key.clone()
            })
            .collect()
    }
}

/// Whether two fits of one law say the same.
fn same(a: &Fitted, b: &Fitted, shared: &Shared) -> bool {
    let (a, b) = (&a.fit, &b.fit);
    let worse = |a: &LawFit, b: &LawFit| a.residual > WORSE * b.residual.max(ROUNDING);
    if worse(a, b) || worse(b, a) {
        return !shared.by_all;
    }
    // what was scaled is not the same where the inputs differ
    if a.fit.get("from") != b.fit.get("from") {
        return true;
    }
    let noise = a.residual + b.residual;
    let alike = |name: &&str| match (a.fit.get(*name), b.fit.get(*name)) {
        (Some(a), Some(b)) => equal(a, b, noise),
        _ => true,
    };
    shared.parameters.iter().all(alike)
}

/// Whether two values of a parameter are one, as far as fits tell that leave so much.
fn equal(a: &Value, b: &Value, noise: f64) -> bool {
    if let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) {
        return (a - b).abs() <= (SAME + NOISE * noise) * a.abs().max(b.abs());
    }
    let gelu = |x: &Value| x.as_str().is_some_and(|x| x.starts_with("gelu"));
    // a cap shows only where the values come near it, the approximations of GELU only in exact arithmetic
    a == b || a.is_null() || b.is_null() || noise > 1e-4 && gelu(a) && gelu(b)
}
