//! The tensors of both sides, brought together: what every step after pairing works on.

use crate::compare::layout::{KV_REPEATED, Misfit, View, align};
use crate::compare::logits::{Logits, compare_logits};
use crate::compare::summarise::summarise;
use crate::compare::{ElementTolerance, Job, PairStats, compare, rows};
use crate::dump::{Guess, Payload, PrintedStats, ReadError, ReadErrorKind, Rounded, Tensor};
use crate::heads;
use crate::judge::usual_tolerance;
use crate::localise::Graph;
use crate::masks;
use crate::name::{Flow, Key, Stage};
use crate::note::Note;
use crate::sums;
use crate::threads;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Fewer pairs than this are not worth a second thread before their elements are read.
const FEW: usize = 64;

/// One place in the pipeline, with what each side has there.
#[derive(Debug)]
pub struct Pair {
    pub key: Key,
    /// As dumped.
    pub reference: Option<Arc<Tensor>>,
    pub candidate: Option<Arc<Tensor>>,
    /// Both sides as views of one logical shape, where that is possible.
    pub aligned: Option<(Arc<Tensor>, Arc<Tensor>)>,
    /// Where the reference's view lies in the reference, unless they are one.
    pub view: Option<View>,
    /// What the view leaves out of the reference are copies of what it holds.
    pub copies: bool,
    pub outcome: Outcome,
    /// For logits: what the distributions say.
    pub logits: Option<Logits>,
}

/// What the comparison gave.
#[derive(Debug)]
pub enum Outcome {
    Compared(Box<PairStats>),
    /// At least one side is known by printed statistics only.
    Statistics(Box<[PrintedStats; 2]>),
    Incomparable(String),
    Unreadable(Lost),
    MissingInCandidate,
    MissingInReference,
    /// Not compared yet.
    Pending,
}

/// A tensor that cannot be read: the id of the cause, and the error in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub id: &'static str,
    pub error: String,
}

impl From<&ReadError> for Lost {
    fn from(error: &ReadError) -> Self {
        let truncated = matches!(error.kind, ReadErrorKind::Truncated { .. });
        Lost {
            id: if truncated {
                "truncated_file"
            } else {
                "unreadable_file"
            },
            error: error.to_string(),
        }
    }
}

impl Pair {
    pub fn stats(&self) -> Option<&PairStats> {
        match &self.outcome {
            Outcome::Compared(stats) => Some(stats),
            _ => None,
        }
    }

    /// Elements that were compared, and those of the reference's tensor: it may have been cut to what both sides hold.
    pub fn known(&self) -> (u64, u64) {
        let compared = self.stats().map_or(0, |s| s.reference.count);
        let of = self.aligned.as_ref().map_or(0, |(r, _)| {
            let dumped = self.reference.as_ref().filter(|_| !self.copies);
            dumped.map_or(0, |t| t.info.len()).max(r.info.len())
        });
        (compared, of as u64)
    }

    /// Key, stage and names: what globs may match.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.key.to_string()];
        names.extend(self.key.stage.map(|s| s.to_string()));
        names.extend(
            [&self.reference, &self.candidate]
                .into_iter()
                .flatten()
                .map(|t| t.name.clone()),
        );
        names
    }

    /// Bytes to read.
    pub fn bytes(&self) -> u64 {
        self.aligned
            .as_ref()
            .map_or(0, |(r, c)| r.info.byte_extent() + c.info.byte_extent())
    }

    /// Brings both sides to one shape. The notes name what was done.
    fn align(&mut self) -> Vec<Note> {
        let (Some(r), Some(c)) = (&self.reference, &self.candidate) else {
            return Vec::new();
        };
        match align(r, c, self.key.stage) {
            Ok(mut found) => match heads::undo(&self.key, &found.reference, &found.candidate) {
                Ok(undone) => {
                    if let Some(undone) = undone {
                        found.reference = Cow::Owned(undone.reference);
                        found.candidate = Cow::Owned(undone.candidate);
                        found.view = None;
                        found.notes.push(undone.note);
                    }
                    found
                        .notes
                        .extend(headerless(&found.reference, &found.candidate));
                    self.view = found.view;
                    self.copies = found.notes.iter().any(|n| n.id == KV_REPEATED);
                    self.aligned = Some((shared(r, found.reference), shared(c, found.candidate)));
                    found.notes
                }
                Err(error) => {
                    self.outcome = Outcome::Unreadable((&error).into());
                    Vec::new()
                }
            },
            Err(Misfit::Shapes(why)) => {
                self.outcome = Outcome::Incomparable(why);
                Vec::new()
            }
            Err(Misfit::Unreadable(error)) => {
                self.outcome = Outcome::Unreadable((&error).into());
                Vec::new()
            }
        }
    }

    /// Where single elements outweigh all others, the error of a typical row counts as well.
    fn look_at_rows(&mut self) {
        if let (Outcome::Compared(stats), Some((r, c))) = (&mut self.outcome, &self.aligned)
            && rows::is_outweighed(stats)
        {
            // a tensor that cannot be read again stays as it was
            stats.diff.row_error = rows::typical_row_error(r, c).ok().flatten();
        }
    }

    /// Where the printed elements of a partial tensor agree and the printed sums do not, the sums are what is judged.
    fn compare_sums(&mut self) {
        if let (Outcome::Compared(stats), Some(r), Some(c), Some((a, b))) = (
            &self.outcome,
            &self.reference,
            &self.candidate,
            &self.aligned,
        ) && let Some(sides) = sums::contradiction(stats, [r, c], [a, b])
        {
            self.outcome = Outcome::Statistics(Box::new(sides));
        }
    }

    /// Whether one side has nothing but statistics.
    fn is_summary(&self) -> bool {
        self.aligned.as_ref().is_some_and(|(r, c)| {
            [r, c]
                .iter()
                .any(|t| matches!(t.payload, Payload::Statistics))
        })
    }
}

/// The view of a tensor, which may be the tensor itself.
fn shared(tensor: &Arc<Tensor>, view: Cow<'_, Tensor>) -> Arc<Tensor> {
    match view {
        Cow::Borrowed(_) => Arc::clone(tensor),
        Cow::Owned(view) => Arc::new(view),
    }
}

/// Two files that state nothing: no partner tells the type.
fn headerless(reference: &Tensor, candidate: &Tensor) -> Option<Note> {
    let guessed = |t: &Tensor| t.guess == Some(Guess::Size);
    (guessed(reference) && guessed(candidate)).then(|| Note::new("headerless", format!(
            "neither `{}` nor `{}` states its type: read as {} {:?}; --dtype and --shape say otherwise",
            reference.name,
            candidate.name,
            candidate.info.dtype(),
            candidate.info.shape()
        )))
}

/// Aligns all pairs; notes come back in the order of the pairs, with their keys.
pub fn align_all(pairs: &mut [Pair]) -> Vec<(String, Note)> {
    let notes: Vec<Vec<Note>> = threads::map_mut(pairs, FEW, Pair::align);
    let keyed = pairs
        .iter()
        .zip(notes)
        .flat_map(|(p, r)| r.into_iter().map(|r| (p.key.to_string(), r)));
    keyed.collect()
}

/// Compares every aligned pair; elements beyond `tolerance` (else the usual one of the types) are counted. Notes come
/// with the keys of the pairs.
pub fn compare_all(
    pairs: &mut [Pair],
    tolerance: Option<ElementTolerance>,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<(String, Note)> {
    let limit = |r: &Tensor, c: &Tensor| {
        tolerance.unwrap_or_else(|| usual_tolerance(r.info.dtype(), c.info.dtype()))
    };
    let compared: Vec<(usize, Outcome)> = {
        let jobs: Vec<(usize, Job<'_>)> = pairs
            .iter()
            .enumerate()
            .filter(|(_, p)| !p.is_summary())
            .filter_map(|(i, p)| {
                let (reference, candidate) = p.aligned.as_ref()?;
                Some((
                    i,
                    Job {
                        reference,
                        candidate,
                        tolerance: limit(reference, candidate),
                        masked: false,
                    },
                ))
            })
            .collect();
        let (indices, jobs): (Vec<usize>, Vec<Job<'_>>) = jobs.into_iter().unzip();
        let results = compare(&jobs, progress)
            .into_iter()
            .map(|result| match result {
                Ok(stats) => Outcome::Compared(stats),
                Err(error) => Outcome::Unreadable((&error).into()),
            });
        let summaries = pairs
            .iter()
            .enumerate()
            .filter(|(_, p)| p.is_summary())
            .map(|(i, p)| (i, summaries(p)));
        indices.into_iter().zip(results).chain(summaries).collect()
    };
    for (i, outcome) in compared {
        pairs[i].outcome = outcome;
    }
    let notes = masks::leave_out(pairs, limit);
    threads::map_mut(pairs, FEW, Pair::look_at_rows);
    threads::map_mut(pairs, FEW, Pair::compare_sums);
    for pair in pairs
        .iter_mut()
        .filter(|p| p.key.stage == Some(Stage::Logits) && p.stats().is_some())
    {
        // a tensor that cannot be read has said so in the comparison
        pair.logits = pair
            .aligned
            .as_ref()
            .and_then(|(r, c)| compare_logits(r, c).ok().flatten());
    }
    notes
}

fn summaries(pair: &Pair) -> Outcome {
    let Some((r, c)) = &pair.aligned else {
        return Outcome::Pending;
    };
    match (statistics(r), statistics(c)) {
        (Ok(mut reference), Ok(mut candidate)) => {
            same_deviation(&mut reference, &mut candidate);
            Outcome::Statistics(Box::new([reference, candidate]))
        }
        (Err(error), _) | (_, Err(error)) => Outcome::Unreadable((&error).into()),
    }
}

/// A printed standard deviation may be that of the population or of a sample (torch's default): the larger of the two sides
/// is taken for the sample's, √(n/(n−1)) times the population's, where that brings them together.
fn same_deviation(a: &mut PrintedStats, b: &mut PrintedStats) {
    let count = a.count.or(b.count);
    let (Some(n), Some(x), Some(y)) = (count.filter(|n| *n > 1), &mut a.std, &mut b.std) else {
        return;
    };
    let factor = ((n - 1) as f64 / n as f64).sqrt();
    let (larger, smaller) = if x.value > y.value { (x, y) } else { (y, x) };
    let population = larger.value * factor;
    if (population - smaller.value).abs() < (larger.value - smaller.value).abs() {
        larger.value = population;
        larger.half_unit *= factor;
    }
}

/// The printed statistics, or those of the values.
fn statistics(t: &Tensor) -> Result<PrintedStats, ReadError> {
    if let (Some(stats), Payload::Statistics) = (&t.printed.stats, &t.payload) {
        return Ok(PrintedStats::clone(stats));
    }
    let s = summarise(t)?;
    // Printed statistics are over all elements: one that is not finite makes them so.
    let finite = s.nan + s.inf == 0;
    let exact = |value: Option<f64>| {
        value.map(|value| Rounded {
            value: if finite { value } else { f64::NAN },
            half_unit: 0.0,
        })
    };
    Ok(PrintedStats {
        count: Some(s.count),
        mean: exact(s.mean),
        std: exact(s.std),
        min: exact(s.min),
        max: exact(s.max),
        sum: None,
        l2: exact(s.l2),
    })
}

/// The data flow between the pairs, which are in pipeline order: parents come first.
pub fn graph(pairs: &[Pair]) -> Graph {
    let have = |p: &Pair| {
        !matches!(
            p.outcome,
            Outcome::MissingInCandidate | Outcome::MissingInReference | Outcome::Unreadable(_)
        )
    };
    let index: HashMap<&Key, usize> = pairs
        .iter()
        .enumerate()
        .filter(|(_, p)| have(p))
        .map(|(i, p)| (&p.key, i))
        .collect();
    let flow = Flow::new(index.keys().copied());
    let mut graph = Graph::default();
    // the last tensor of every tower so far
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, pair) in pairs.iter().enumerate() {
        let known = pair.key.is_canonical();
        let (mut parents, mut skipped) = (Vec::new(), Vec::new());
        if known {
            let ancestors = flow.ancestors(&pair.key);
            let earlier = ancestors.iter().filter_map(|k| index.get(k).copied());
            parents.extend(earlier.filter(|&p| p < i));
            let between = flow.not_dumped_before(&pair.key);
            skipped.extend(between.iter().map(Key::to_string));
        }
        // nothing is known of its inputs: what came before it stands for them
        let tower = pair.key.tower();
        let assumed = !known || parents.is_empty() && !tower.is_empty();
        if assumed && !pair.key.is_parameter() {
            let others = last.iter().filter(|(t, _)| **t != tower);
            let other = others.map(|(_, p)| *p).max();
            let own = last.get(tower).copied();
            parents.extend(own.or(other));
            // the model may read what leaves the tower before it
            parents.extend(other.filter(|_| tower.is_empty()));
        }
        if have(pair) && !pair.key.is_parameter() {
            last.insert(tower, i);
        }
        parents.sort_unstable();
        parents.dedup();
        graph.assumed.push(assumed);
        graph.gain.push(gain(pair, &parents, pairs));
        let raw = [Stage::QProj, Stage::KProj, Stage::QNorm, Stage::KNorm];
        let from_raw = |&p: &usize| pairs[p].key.stage.is_some_and(|s| raw.contains(&s));
        let rotates = matches!(pair.key.stage, Some(Stage::QRope | Stage::KRope));
        graph
            .rotates
            .push(rotates && !parents.is_empty() && parents.iter().all(from_raw));
        graph.parents.push(parents);
        graph.skipped.push(skipped);
    }
    graph
}

/// A softmax turns an absolute error of the scores into a relative error of the weights: it amplifies by the size of the scores.
fn gain(pair: &Pair, parents: &[usize], pairs: &[Pair]) -> f64 {
    // what unknown scores are taken to be, and the most that is believed
    const USUAL: f64 = 4.0;
    const LARGEST: f64 = 32.0;
    if pair.key.stage != Some(Stage::AttnWeights) {
        return 1.0;
    }
    let scores = parents
        .iter()
        .filter(|&&p| matches!(pairs[p].key.stage, Some(Stage::AttnScores | Stage::AttnQk)));
    let rms = |s: &PairStats| s.diff.reference_l2 / (s.diff.count.max(1) as f64).sqrt();
    let size = scores
        .filter_map(|&p| pairs[p].stats())
        .map(rms)
        .fold(0.0, f64::max);
    if size > 0.0 {
        size.clamp(1.0, LARGEST)
    } else {
        USUAL
    }
}
