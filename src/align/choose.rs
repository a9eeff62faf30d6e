//! The composition that the values of a pair prove; else the one that its siblings have, else the most natural.

use super::fit::{FITS, SAMPLE, at_hand, error, resident, sample};
use super::left::is_input;
use super::search::{Cuts, compositions, elsewhere};
use super::view::{Composition, View};
use crate::dump::{ReadError, Tensor};
use crate::name::Stage;

/// Another composition than the natural one is taken when it leaves less than this part of the error.
const CLEARLY: f64 = 0.75;
/// What fits leaves no more than this in any arithmetic: better is not looked for.
const ALIKE: f64 = 0.1;
/// Fewer elements than this may be alike by chance at one of many places, but not as closely as this.
const ENOUGH: usize = 24;
const EXACT: f64 = 1e-3;
/// Ways that are looked at, and those of them that are looked for at all places, which are so many at most.
const TRIED: usize = 256;
const WAYS: usize = 8;
const MOST: usize = 2048;
/// Elements looked at where many places are tried.
const FEW: usize = 256;

/// What was found at other tensors.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Whether cuts are looked for that start at neither end.
    pub search: bool,
    /// At the same node of other layers.
    pub node: Option<Composition>,
    /// Where cuts start in the reference and in the candidate.
    pub starts: Vec<[usize; 2]>,
    /// Batches whose rows all hold the one prompt of the other side: on the candidate?, rows.
    pub repeated: Vec<(bool, usize)>,
}

#[derive(Clone, Debug)]
pub struct Found {
    pub composition: Composition,
    /// What it leaves of the values, relative to them; 0 where it is the only one.
    pub error: f64,
}

impl Found {
    /// Whether the values show it.
    pub fn is_proven(&self) -> bool {
        self.error <= FITS
    }
}

/// The axes that may be cut: of scores queries and keys, of logits words; the features of all else are what they are.
fn tiers(stage: Option<Stage>, fastest: bool) -> Vec<Vec<Cuts>> {
    let scores = [
        Stage::ATTN_QK,
        Stage::ATTN_SCORES,
        Stage::ATTN_WEIGHTS,
        Stage::ATTENTION_MASK,
    ];
    let scores = stage.is_some_and(|s| scores.contains(&s));
    let fastest = fastest || scores || stage == Some(Stage::LOGITS);
    let cuts = |shorter, absent| Cuts {
        shorter,
        absent,
        fastest,
    };
    let mut tiers = vec![
        vec![cuts(0, 0)],
        vec![cuts(1, 0), cuts(0, 1)],
        vec![cuts(1, 1)],
    ];
    if scores {
        tiers[1].push(cuts(2, 0));
        tiers[2].push(cuts(2, 1));
    }
    tiers
}

/// Chooses; `None` where no composition brings the shapes together. `fastest`: the tensor is a list of values, its axis may
/// be cut.
pub fn choose(
    sides: [&Tensor; 2],
    stage: Option<Stage>,
    fastest: bool,
    hints: &Hints,
) -> Result<Option<Found>, ReadError> {
    let [r, c] = sides.map(|t| t.info.shape());
    let only = |composition| {
        Ok(Some(Found {
            composition,
            error: 0.0,
        }))
    };
    let longer = |shape: &[usize]| {
        shape
            .iter()
            .copied()
            .filter(|n| *n != 1)
            .collect::<Vec<_>>()
    };
    if longer(r) == longer(c) {
        let [reference, candidate] = [r, c].map(View::whole);
        return only(Composition {
            reference,
            candidate,
        });
    }
    if sides.iter().any(|t| t.info.is_empty()) {
        return Ok(None);
    }
    let mut loaded: Option<[Tensor; 2]> = None;
    let mut natural: Option<Composition> = None;
    for (tier, cuts) in tiers(stage, fastest).into_iter().enumerate() {
        let ways = cuts
            .into_iter()
            .flat_map(|cuts| compositions(r, c, cuts, &hints.starts));
        let mut ways: Vec<Composition> = ways.take(TRIED).collect();
        if ways.iter().any(|w| hints.demand(w)) {
            ways.retain(|w| hints.demand(w));
        }
        if tier == 0 && ways.len() == 1 {
            return only(ways[0].clone());
        }
        // where axes can be cut as they are, nothing is split to keep less
        if tier > 0 && ways.iter().any(Composition::is_plain) {
            ways.retain(|w| w.is_plain() || w.repeats());
        }
        if ways.is_empty() {
            continue;
        }
        let like = hints
            .node
            .as_ref()
            .and_then(|h| ways.iter().find(|w| w.is_like(h)));
        if let Some(like) = like
            && let [a, b] = [&resident(sides[0])?, &resident(sides[1])?]
            && let Some(error) = error([a, b], like, FEW)?.filter(|e| *e <= FITS)
        {
            let composition = like.clone();
            return Ok(Some(Found { composition, error }));
        }
        if loaded.is_none() {
            loaded = Some([at_hand(sides[0])?, at_hand(sides[1])?]);
        }
        let Some([a, b]) = &loaded else { continue };
        let plain = |w: &Composition| {
            w.is_plain() && (!fastest || w.sides().iter().all(|v| v.parts.len() == 1))
        };
        let usual = like.or(ways.iter().find(|w| tier == 0 || plain(w)));
        let usual = usual.or(ways.first().filter(|w| tier == 0 || hints.demand(w)));
        if natural.is_none() {
            natural = usual.cloned();
        }
        let most = if tier == 0 { SAMPLE } else { FEW };
        let mut best = best(&[a, b], &ways, usual, most)?;
        if tier > 0 && hints.search && best.as_ref().is_none_or(|(e, _)| *e > ALIKE) {
            let plain = ways.iter().filter(|w| !w.repeats()).take(WAYS);
            let all: Vec<Composition> = plain.flat_map(elsewhere).take(MOST).collect();
            let found = self::best(&[a, b], &all, None, FEW)?;
            let clear = |e: f64| best.as_ref().is_none_or(|(b, _)| e < CLEARLY * b);
            best = found.filter(|(e, _)| clear(*e)).or(best);
        }
        let chance = |e: f64, w: &Composition| e > EXACT && w.reference.count() < ENOUGH;
        best = best.filter(|(e, w)| tier == 0 || !chance(*e, w));
        if let Some((error, composition)) = best.filter(|(e, _)| tier == 0 || *e <= FITS) {
            return Ok(Some(Found { composition, error }));
        }
        if ways.iter().any(Composition::is_plain) && tier > 0 {
            break;
        }
    }
    let error = f64::INFINITY;
    Ok(natural.map(|composition| Found { composition, error }))
}

/// The one that fits best, with its error; `usual` where the sample does not clearly tell. What fits with every copy compared
/// stands before what fits with one of them.
fn best(
    sides: &[&Tensor; 2],
    ways: &[Composition],
    usual: Option<&Composition>,
    most: usize,
) -> Result<Option<(f64, Composition)>, ReadError> {
    let mut best: Option<(f64, &Composition)> = None;
    let mut natural = None;
    let rank = |(e, w): &(f64, &Composition)| (*e > FITS, *e > FITS || !w.repeats());
    for way in ways {
        let Some(mut e) = error(*sides, way, most)? else {
            continue;
        };
        if way.repeats() {
            if !varies(sides[0], &way.reference, most)? {
                continue;
            }
            if e > FITS && !way.is_permuted() && has_copies(sides, way, most)? {
                e = FITS;
            }
        }
        let new = (e, way);
        if usual == Some(way) {
            natural = Some(new);
        }
        let better = best
            .as_ref()
            .is_none_or(|b| (rank(&new), e) < (rank(b), b.0));
        if better {
            best = Some(new);
        }
    }
    if let (Some(b), Some(n)) = (best, natural)
        && rank(&b) == rank(&n)
        && b.0 >= CLEARLY * n.0
    {
        best = Some(n);
    }
    Ok(best.map(|(e, way)| (e, way.clone())))
}

/// Whether one side holds nothing but copies along what the other repeats: that shows whatever the other's values are.
fn has_copies(sides: &[&Tensor; 2], way: &Composition, most: usize) -> Result<bool, ReadError> {
    let (r, c) = (&way.reference, &way.candidate);
    for (t, all, other) in [(sides[0], r, c), (sides[1], c, r)] {
        let mut first = all.clone();
        for (walk, other) in first.walks.iter_mut().zip(&other.walks) {
            walk.part = walk.part.filter(|_| other.part.is_some());
        }
        let copies = Composition {
            reference: all.clone(),
            candidate: first,
        };
        if copies.reference != copies.candidate {
            return Ok(varies(t, all, most)? && error([t, t], &copies, most)? == Some(0.0));
        }
    }
    Ok(false)
}

/// Whether the values of a tensor are not all one: copies of that are no copies.
fn varies(t: &Tensor, view: &View, most: usize) -> Result<bool, ReadError> {
    let at: Vec<u64> = (0..most.min(view.count()) as u64).collect();
    let values = sample(t, view, &at)?;
    Ok(values.iter().any(|x| *x != values[0]))
}

impl Hints {
    /// Whether a composition compares every row of a batch that is known to hold one prompt in all of them.
    fn demand(&self, way: &Composition) -> bool {
        way.batch()
            .is_some_and(|rows| self.repeated.contains(&rows))
    }

    /// Learns from what the values have proven at a tensor; at the inputs of a model it shows what the rows of a batch are.
    pub fn learn(&mut self, found: &Found, stage: Option<Stage>) {
        if !found.is_proven() {
            return;
        }
        let (r, c) = (&found.composition.reference, &found.composition.candidate);
        for [a, b] in found.composition.cuts() {
            let start = [r.parts[a].at, c.parts[b].at];
            if start != [0, 0] && !self.starts.contains(&start) {
                self.starts.push(start);
            }
        }
        if !is_input(stage) || found.error > ALIKE {
            return;
        }
        self.repeated.extend(found.composition.batch());
    }
}
