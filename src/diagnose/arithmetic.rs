//! The arithmetic of the pair: differences that are rounding of a coarser type than the files', with the evidence for it.
//!
//! A type is a property of a run: it shows at the like operations of all layers alike, and one like operation that is more
//! accurate refutes it. Three kinds are known: rounding of everything from one place on, weights that were rounded before the run,
//! and attention that keeps keys and values (or does its sums) in half precision while all else is single.

use super::relations::noise;
use super::suspect::{EXPLAINS, weight, with_case};
use super::{Scene, Suspicion};
use crate::causes;
use crate::dtype::DType;
use crate::judge::spike;
use crate::localise::{Graph, Localisation};
use crate::name::{Key, Stage};
use crate::text::short;

/// Rounding noise of an unknown arithmetic is accepted up to this relative error.
const NOISE_LIMIT: f64 = 0.25;
/// Noise is accepted only where so many tensors were compared.
const WITNESSES: usize = 4;
/// Noise of one arithmetic does not differ by more than this factor between like operations, and it is not below this.
const UNLIKE: f64 = 4.0;
const SINGLE: f64 = 2e-6;
/// Noise of the last tensor alone may be that of bf16 or of eight bits.
const ALONE: f64 = 0.03;

/// So many operations between two tensors that were dumped are more than a chain of matrix products.
const WHOLE_BLOCK: usize = 3;
/// A relative error grows by so much through a projection, and through an attention core (median of healthy pairs).
const PROJECTED: f64 = 1.1;
const ATTENDED: f64 = 1.3;
/// Rounded operands add at least this part of a unit, whatever cancels.
const PART: f64 = 0.4;
/// Half precision in attention adds at most so much (two units of bf16 and what a softmax makes of them).
const CORE: f64 = 6e-3;
/// Like operations of one arithmetic are within this factor.
const ALIKE: f64 = 3.0;
/// So many like operations are evidence.
const LIKE: usize = 2;
/// What entered hides what is added where it is so many times as large.
const HIDES: f64 = 1.5;

/// What is known when noise is looked for.
pub struct Seen<'a, 's> {
    pub scene: &'a Scene<'s>,
    pub found: &'a Localisation,
    pub origins: &'a [usize],
    pub suspicions: &'a [Vec<Suspicion>],
    pub graph: &'a Graph,
}

/// A level of rounding that this pair has.
#[derive(Debug)]
pub struct Noise {
    /// Relative error of one operation.
    pub level: f64,
    /// Where it shows first, and the tensors that have it.
    pub first: usize,
    pub places: Vec<usize>,
    what: String,
}

impl Noise {
    pub fn text(&self, key: &str) -> String {
        format!(
            "from {key} on the difference {} (relative error {}, unbiased, spread evenly): taken as this pair's noise",
            self.what,
            short(self.level)
        )
    }
}

impl Seen<'_, '_> {
    /// The rounding that explains the first origin.
    pub fn noise(&self) -> Option<Noise> {
        self.shared()
            .or_else(|| self.rounded_weights())
            .or_else(|| self.attention())
    }

    fn from(&self, first: usize, level: f64, what: &str) -> Noise {
        Noise {
            level,
            first,
            places: (first..self.scene.pairs.len()).collect(),
            what: what.into(),
        }
    }

    /// The noise level, and where it begins, when all first origins look like rounding of a coarser arithmetic and nothing
    /// explains them.
    fn shared(&self) -> Option<Noise> {
        let Seen {
            scene,
            found,
            suspicions,
            graph,
            ..
        } = *self;
        let &first = self.origins.first()?;
        // operations that share their inputs with the first origin stand or fall together
        let peers: Vec<usize> = (0..graph.parents.len())
            .filter(|&i| graph.parents[i] == graph.parents[first] && scene.errors[i].is_some())
            .collect();
        if peers.len() > 1 && peers.iter().any(|&i| !found.diverged[i]) {
            return None;
        }
        // a peer with a fault of its own says nothing about the noise
        let noisy = |i: usize| {
            let explained = suspicions[i]
                .iter()
                .any(|s| weight(s, found.bound[i]) > EXPLAINS);
            scene.errors[i]
                .filter(|e| *e <= NOISE_LIMIT && !explained && is_noise(scene, i, found.bound[i]))
        };
        let error = noisy(first)?;
        if exceptional(scene, first, error) {
            return None;
        }
        // noise is a property of an arithmetic: it shows in more than a tensor or two
        let compared = scene.errors.iter().flatten().count();
        if compared < WITNESSES {
            return None;
        }
        let level = peers.iter().filter_map(|&i| noisy(i)).fold(0.0, f64::max);
        // what lies between was not dumped: a fault in every layer would look the same
        if level > ALONE && graph.skipped[first].len() >= WHOLE_BLOCK {
            return None;
        }
        Some(self.from(first, level, "looks like rounding of a coarser arithmetic"))
    }

    /// The first origin is a lookup that holds the reference's rows rounded to a narrower type, and the projections of all layers
    /// add as much: the weights were rounded before the run. A lookup alone in a narrower type is a fault.
    fn rounded_weights(&self) -> Option<Noise> {
        let &first = self.origins.first()?;
        let lookups = [Stage::TOK_EMBED, Stage::EMBED, Stage::POS_EMBED];
        let stage = self.scene.pairs[first].key.stage?;
        let error = self.scene.errors[first]?;
        let exact = self.suspicions[first].iter().any(|s| {
            s.cause == causes::PRECISION_LOSS && s.after < PART * SINGLE.max(0.01 * s.before)
        });
        if !exact || !lookups.contains(&stage) {
            return None;
        }
        let unit = [DType::F16, DType::BF16]
            .into_iter()
            .map(|d| (d, ROUNDED * d.roundoff()))
            .find(|(_, unit)| (error / unit).max(unit / error) < 2.0)?;
        let added = (0..self.scene.pairs.len()).filter_map(|i| {
            let key = &self.scene.pairs[i].key;
            let asked = key.is_canonical()
                && key.stage.is_some_and(is_projection)
                && self.graph.skipped[i].is_empty();
            self.adds(i, PROJECTED, unit.1).filter(|_| asked)
        });
        let added: Vec<f64> = added.collect();
        // one in ten may hold a fault of its own
        let refuted = added.iter().filter(|a| **a < PART * unit.1).count();
        let supported = 10 * refuted <= added.len();
        let what = format!("is rounding of the weights to {}", unit.0);
        supported.then(|| self.from(first, unit.1, &what))
    }

    /// Attention adds an error that its inputs do not explain, the same in every layer, and nothing else does.
    fn attention(&self) -> Option<Noise> {
        let &first = self.origins.first()?;
        let key = &self.scene.pairs[first].key;
        let stage = key.stage?;
        let core = |stage: Stage, skipped: &[String]| {
            let between = skipped
                .iter()
                .any(|k| k.ends_with(&Stage::ATTN_CTX.to_string()));
            CORES.contains(&stage) || stage == Stage::O_PROJ && between
        };
        let skipped = &self.graph.skipped;
        if !core(stage, &skipped[first]) || !self.is_noise(first) {
            return None;
        }
        let like: Vec<usize> = (0..self.scene.pairs.len())
            .filter(|&i| {
                let other = &self.scene.pairs[i].key;
                other.stage == Some(stage)
                    && other.rest == key.rest
                    && self.scene.errors[i].is_some()
            })
            .collect();
        let own = self.scene.errors[first]?;
        let added = like.iter().filter_map(|&i| self.adds(i, ATTENDED, own));
        let added: Vec<f64> = added.collect();
        let level = added.iter().copied().fold(0.0, f64::max);
        let least = added.iter().copied().fold(f64::INFINITY, f64::min);
        // an arithmetic that only one layer has is none; deep down what entered may hide it
        if like.len() < LIKE || added.is_empty() || level > ALIKE * least || level > CORE {
            return None;
        }
        let places = (0..self.scene.pairs.len()).filter(|&i| {
            let stage = self.scene.pairs[i].key.stage;
            stage.is_some_and(|s| core(s, &skipped[i]))
        });
        Some(Noise {
            level,
            first,
            places: places.collect(),
            what:
                "is the same in attention of every layer, as of keys and values in half precision"
                    .into(),
        })
    }

    /// What an operation adds to the error that entered; `None` where that is not known, or hides what is about `unit`.
    fn adds(&self, i: usize, gain: f64, unit: f64) -> Option<f64> {
        let own = self.scene.errors[i].filter(|e| e.is_finite())?;
        let parents = &self.graph.parents[i];
        let entered = parents.iter().filter_map(|&p| self.scene.errors[p]);
        let entered = gain * entered.fold(0.0, f64::max);
        let known = !parents.is_empty() && !self.graph.assumed[i] && entered < HIDES * unit;
        known.then(|| (own * own - entered * entered).max(0.0).sqrt())
    }

    fn is_noise(&self, i: usize) -> bool {
        is_noise(self.scene, i, self.found.bound[i])
    }
}

/// Rounding to a type moves a value by this part of half a unit of its last place, in the root mean square over a binade.
const ROUNDED: f64 = 0.43;

/// Where keys and values in half precision show.
const CORES: &[Stage] = &[
    Stage::ATTN_QK,
    Stage::ATTN_SCORES,
    Stage::ATTN_WEIGHTS,
    Stage::ATTN_CTX,
];

fn is_projection(stage: Stage) -> bool {
    use crate::graph::known::*;
    [
        Q_PROJ, K_PROJ, V_PROJ, QKV_PROJ, O_PROJ, GATE_PROJ, UP_PROJ, DOWN_PROJ,
    ]
    .contains(&stage)
}

/// Whether like operations did without such an error: an arithmetic is a property of a run, so it shows at the same stage of
/// every layer, at all projections of a block, and at projections before it shows at norms, rotations and sums. Activations
/// read from tables and attention that is fused into one kernel may have an arithmetic of their own.
fn exceptional(scene: &Scene<'_>, i: usize, error: f64) -> bool {
    use crate::graph::known::*;
    let key = &scene.pairs[i].key;
    let Some(stage) = key.stage else { return false };
    let block: &[Stage] = match stage {
        O_PROJ => &[Q_PROJ, K_PROJ, V_PROJ, QKV_PROJ],
        DOWN_PROJ => &[GATE_PROJ, UP_PROJ],
        LOGITS => &[O_PROJ, GATE_PROJ, UP_PROJ, DOWN_PROJ],
        Q_NORM | K_NORM | Q_ROPE | K_ROPE => &[Q_PROJ, K_PROJ, V_PROJ, QKV_PROJ],
        ATTN_POST_NORM | ATTN_RESIDUAL | ATTN_OUT_NORM | MLP_NORM => {
            &[Q_PROJ, K_PROJ, V_PROJ, QKV_PROJ, O_PROJ]
        }
        MLP_POST_NORM | MLP_RESIDUAL | OUTPUT => &[O_PROJ, GATE_PROJ, UP_PROJ, DOWN_PROJ],
        _ => &[],
    };
    let like = |k: &Key| {
        let earlier = k.stage == Some(stage) && k.layer < key.layer;
        let beside = k.stage.is_some_and(|s| block.contains(&s))
            && (k.layer == key.layer || stage == LOGITS);
        k.rest == key.rest && k.step == key.step && k.rank == key.rank && (earlier || beside)
    };
    let pairs = scene.pairs.iter().zip(scene.errors);
    let errors: Vec<f64> = pairs
        .filter(|(p, _)| like(&p.key))
        .filter_map(|(_, e)| *e)
        .collect();
    if errors.is_empty() {
        // no like operation to compare with, and nothing behind it that would show the same
        let last = scene.errors[i + 1..].iter().all(Option::is_none);
        return last && error > ALONE;
    }
    let largest = errors.iter().copied().fold(SINGLE, f64::max);
    error > UNLIKE * largest
}

fn is_noise(scene: &Scene<'_>, i: usize, bound: f64) -> bool {
    // it need not stand among the elements that are looked at
    if scene.pairs[i].stats().and_then(spike).is_some() {
        return false;
    }
    with_case(scene, i, bound, |case| {
        noise::is_rounding_like(case).is_some()
    })
    .unwrap_or(false)
}
