//! The layers of one model obey the same laws: one that does not is where to look, without any reference.

use super::{Finding, LawFit, Severity};
use crate::causes;
use crate::diagnose::Scene;
use crate::name::{Key, Stage};
use crate::text::{count, short};
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

/// Layers that differ from most others in a law or its parameters. One alone is a red flag; several may be of another kind.
/// Where a sharper flag was raised, it stands alone.
pub fn differing(scene: &Scene<'_>, laws: &[Fitted], flags: &[Finding]) -> Vec<Finding> {
    let key = |f: &Fitted| &scene.pairs[f.place].key;
    let layers = Layers::of(scene, flags);
    let mut groups: BTreeMap<_, Vec<&Fitted>> = BTreeMap::new();
    for law in laws {
        let key = key(law);
        if let (Some(stage), Some(dumped), true) =
            (key.stage, layers.dumped(key), key.is_canonical())
        {
            let group = (key.step, key.rank, key.tower(), stage, law.fit.law, dumped);
            groups.entry(group).or_default().push(law);
        }
    }
    let mut found = Vec::new();
    for ((.., stage, law, _), fits) in groups {
        let Some(shared) = SHARED.iter().find(|s| s.law == law) else {
            continue;
        };
        let alike = |a: &Fitted| fits.iter().filter(|b| same(a, b, shared)).count();
        let Some(usual) = fits.iter().max_by_key(|f| alike(f)) else {
            continue;
        };
        let most = alike(usual);
        let others = fits.iter().filter(|f| !same(f, usual, shared));
        let mut odd: Vec<(Key, String)> = others.map(|f| (key(f).clone(), f.text())).collect();
        if shared.by_all {
            let mut like = layers.like(key(usual));
            like.retain(|layer| !fits.iter().any(|f| key(f).layer == layer.layer));
            let none = |layer| (layer, String::from("obeys no such law"));
            odd.extend(like.into_iter().map(none));
        }
        let all = most + odd.len();
        if all < LAYERS || most * 3 < all * 2 {
            continue;
        }
        // the last hidden state of some dumps went through the final norm
        let normed = |key: &Key| stage == Stage::OUTPUT && layers.is_last(key);
        odd.retain(|(key, _)| !normed(key) && !layers.flagged.contains(&place(key)));
        let as_others = format!("{most} of {}: {}", count(all, "layer"), usual.text());
        for (layer, text) in &odd {
            let at = Key {
                stage: Some(stage),
                ..layer.clone()
            };
            let raise = if odd.len() == 1 {
                Finding::red
            } else {
                Finding::note
            };
            found.push(raise(
                causes::LAYER_DIFFERS.id,
                &at,
                format!("{text}; {as_others}"),
            ));
        }
    }
    found
}

/// The layer that a tensor belongs to: step, rank, tower, layer.
type Place = (Option<u32>, Option<u32>, &'static str, Option<u32>);

fn place(key: &Key) -> Place {
    (key.step, key.rank, key.tower(), key.layer)
}

/// The tensors of a layer and their shapes: what another layer must have, too, to be held against it.
type Dumped = BTreeMap<Stage, Vec<usize>>;

struct Layers {
    dumped: BTreeMap<Place, Dumped>,
    /// Layers with a red flag of their own.
    flagged: BTreeSet<Place>,
}

impl Layers {
    fn of(scene: &Scene<'_>, flags: &[Finding]) -> Layers {
        let red = flags.iter().filter(|f| f.severity == Severity::Red);
        let red: BTreeSet<&str> = red.map(|f| f.key.as_str()).collect();
        let mut layers = Layers {
            dumped: BTreeMap::new(),
            flagged: BTreeSet::new(),
        };
        for pair in scene.pairs.iter().filter(|p| p.key.layer.is_some()) {
            let shape = pair.reference.as_ref().map(|t| t.info.shape().to_vec());
            if let (Some(stage), Some(shape), true) =
                (pair.key.stage, shape, pair.key.is_canonical())
            {
                let dumped = layers.dumped.entry(place(&pair.key)).or_default();
                dumped.insert(stage, shape);
            }
            if red.contains(pair.key.to_string().as_str()) {
                layers.flagged.insert(place(&pair.key));
            }
        }
        layers
    }

    fn dumped(&self, key: &Key) -> Option<&Dumped> {
        self.dumped.get(&place(key))
    }

    fn is_last(&self, key: &Key) -> bool {
        let next = Key {
            layer: key.layer.map(|l| l + 1),
            ..key.clone()
        };
        self.dumped(&next).is_none()
    }

    /// The layers of which the same was dumped as of this one, and of those before them as of the one before it.
    fn like(&self, key: &Key) -> Vec<Key> {
        let at = |layer: u32| Key {
            layer: Some(layer),
            ..key.clone()
        };
        let both = |layer: u32| {
            Some((
                self.dumped(&at(layer.checked_sub(1)?)),
                self.dumped(&at(layer)),
            ))
        };
        let own = key.layer.and_then(both);
        let of_run = self
            .dumped
            .keys()
            .filter(|k| (k.0, k.1, k.2) == (key.step, key.rank, key.tower()));
        let layers = of_run.filter_map(|k| k.3);
        layers
            .filter(|&l| own.is_some() && both(l) == own)
            .map(at)
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
