//! Both sides of every pair as views of one logical shape.

use super::heads;
use super::pair::{Outcome, Pair};
use crate::causes;
use crate::compare::layout::{KV_REPEATED, Misfit, align};
use crate::dump::{Guess, Tensor};
use crate::note::Note;
use crate::threads;
use std::borrow::Cow;
use std::sync::Arc;

/// Fewer pairs than this are not worth a second thread before their elements are read.
pub(super) const FEW: usize = 64;

/// Aligns all pairs; notes come back in the order of the pairs, with their keys.
pub fn align_all(pairs: &mut [Pair]) -> Vec<(String, Note)> {
    let notes: Vec<Vec<Note>> = threads::map_mut(pairs, FEW, align_pair);
    let keyed = pairs
        .iter()
        .zip(notes)
        .flat_map(|(p, r)| r.into_iter().map(|r| (p.key.to_string(), r)));
    keyed.collect()
}

/// Brings both sides to one shape. The notes name what was done.
fn align_pair(pair: &mut Pair) -> Vec<Note> {
    let (Some(r), Some(c)) = (&pair.reference, &pair.candidate) else {
        return Vec::new();
    };
    match align(r, c, pair.key.stage) {
        Ok(mut found) => match heads::undo(&pair.key, &found.reference, &found.candidate) {
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
                pair.view = found.view;
                pair.copies = found.notes.iter().any(|n| n.id == KV_REPEATED);
                pair.aligned = Some((shared(r, found.reference), shared(c, found.candidate)));
                found.notes
            }
            Err(error) => {
                pair.outcome = Outcome::Unreadable((&error).into());
                Vec::new()
            }
        },
        Err(Misfit::Shapes(why)) => {
            pair.outcome = Outcome::Incomparable(why);
            Vec::new()
        }
        Err(Misfit::Unreadable(error)) => {
            pair.outcome = Outcome::Unreadable((&error).into());
            Vec::new()
        }
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
    (guessed(reference) && guessed(candidate)).then(|| Note::new(causes::HEADERLESS.id, format!(
            "neither `{}` nor `{}` states its type: read as {} {:?}; --dtype and --shape say otherwise",
            reference.name,
            candidate.name,
            candidate.info.dtype(),
            candidate.info.shape()
        )))
}
