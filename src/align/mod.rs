//! Brings the tensors of a pair together: both are seen through views that have the same axes.
//!
//! ```text
//! shapes ─search─▶ compositions (split, reorder, cut, stand, repeat) ─choose: values, siblings─▶ views of both ─left─▶ what has no counterpart
//! ```
//!
//! Names propose, values decide: where several compositions are possible the one that fits a sample of elements is taken;
//! what was found at one tensor is tried first at the same node of other layers, then at all. Nothing is copied.

mod blocks;
mod choose;
mod fit;
mod headerless;
mod left;
mod search;
mod shown;
mod view;
mod weights;

pub use left::{LeftOut, Why};
pub use view::{Composition, View};

use crate::causes;
use crate::dump::{Guess, Payload, ReadError, Tensor};
use crate::name::{Key, Stage};
use crate::note::Note;
use crate::threads;
use choose::{Found, Hints, choose};
use headerless::{Read, like_partner};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Fewer pairs than this are not worth a second thread before their elements are read.
const FEW: usize = 64;

/// Tensors of a node that are searched before it is taken for one whose values show nothing.
const TRIES: usize = 3;

/// The tensors of one place.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub key: &'a Key,
    pub reference: &'a Arc<Tensor>,
    pub candidate: &'a Arc<Tensor>,
}

impl Item<'_> {
    /// Whether one side is a list of printed values, of which some may be missing.
    fn is_list(&self) -> bool {
        let sides = [self.reference, self.candidate];
        sides.iter().any(|t| t.guess == Some(Guess::Shape))
    }
}

/// Two views of equal shape, and what was done to get there.
#[derive(Debug)]
pub struct Aligned {
    pub reference: Arc<Tensor>,
    pub candidate: Arc<Tensor>,
    /// Where the views lie in their tensors; `None` where these are compared as they are.
    pub views: Option<Composition>,
    /// In words.
    pub layout: Option<String>,
    /// Of the reference and of the candidate.
    pub left_out: [LeftOut; 2],
    pub notes: Vec<Note>,
}

/// Why two tensors cannot be brought together.
#[derive(Debug)]
pub enum Misfit {
    /// No layout reconciles the shapes; the text names both.
    Shapes(String),
    Unreadable(ReadError),
}

/// Both sides as they are read, and how they were brought together.
struct Chosen {
    reference: Arc<Tensor>,
    candidate: Arc<Tensor>,
    found: Found,
}

/// A pair whose types are known.
struct Ready {
    reference: Arc<Tensor>,
    candidate: Arc<Tensor>,
    read: [Option<Read>; 2],
}

/// Aligns all pairs, in the order of the pipeline. `masks`: the attention masks of the reference (`false`) and of the candidate.
///
/// Of a single pair the shapes are the verdict, not the part that both have.
pub fn align_all(items: &[Item<'_>], masks: &[(bool, &Tensor)]) -> Vec<Result<Aligned, Misfit>> {
    let ready: Vec<Result<Ready, ReadError>> = threads::map(items, FEW, ready);
    let found = find_all(items, &ready);
    let mut failed: Vec<Option<ReadError>> = Vec::with_capacity(items.len());
    let mut chosen: Vec<Option<Chosen>> = Vec::with_capacity(items.len());
    for (found, ready) in found.into_iter().zip(&ready) {
        let (found, error) = match found {
            Ok(found) => (found, None),
            Err(error) => (None, Some(error)),
        };
        failed.push(error);
        let both = ready.as_ref().ok().zip(found);
        chosen.push(both.map(|(ready, found)| Chosen {
            reference: Arc::clone(&ready.reference),
            candidate: Arc::clone(&ready.candidate),
            found,
        }));
    }
    let left = left::left_out(items, &chosen, masks);
    let alone = items.len() == 1;
    let all = items
        .iter()
        .zip(ready)
        .zip(failed)
        .zip(chosen.iter().zip(left));
    all.map(|(((item, ready), failed), (chosen, left))| {
        let ready = ready.map_err(Misfit::Unreadable)?;
        match failed {
            Some(error) => Err(Misfit::Unreadable(error)),
            None => aligned(item, ready, chosen.as_ref(), left, alone),
        }
    })
    .collect()
}

fn ready(item: &Item<'_>) -> Result<Ready, ReadError> {
    let shared = |tensor: &Arc<Tensor>, read: Cow<'_, Tensor>| match read {
        Cow::Borrowed(_) => Arc::clone(tensor),
        Cow::Owned(read) => Arc::new(read),
    };
    let (c, read_c) = like_partner(item.candidate, item.reference)?;
    let (r, read_r) = like_partner(item.reference, &c)?;
    Ok(Ready {
        reference: shared(item.reference, r),
        candidate: shared(item.candidate, c),
        read: [read_r, read_c],
    })
}

/// The composition of each pair that needs one; `Ok(None)` where there is none.
fn find_all(
    items: &[Item<'_>],
    ready: &[Result<Ready, ReadError>],
) -> Vec<Result<Option<Found>, ReadError>> {
    let unlike = |i: usize| {
        let ready = ready[i].as_ref().ok()?;
        let both = [&*ready.reference, &*ready.candidate];
        let elements = both
            .iter()
            .all(|t| !matches!(t.payload, Payload::Statistics));
        elements.then_some(both)
    };
    let find = |i: usize, hints: &Hints| {
        let Some(both) = unlike(i) else {
            return Ok(None);
        };
        match both[0].info.shape() == both[1].info.shape() {
            true => weights::exchanged(items[i].key, both),
            false => choose(both, items[i].key.stage, items[i].is_list(), hints),
        }
    };
    // the first tensor of each node in turn, so that each knows what the earlier ones have shown
    type Node<'a> = (Option<Stage>, &'a str, usize, usize);
    let node = |i: usize| -> Node<'_> {
        let item = &items[i];
        let rank = |t: &Tensor| t.info.shape().len();
        (
            item.key.stage,
            &item.key.rest,
            rank(item.reference),
            rank(item.candidate),
        )
    };
    let mut hints = Hints {
        search: true,
        ..Hints::default()
    };
    let mut nodes: HashMap<Node<'_>, (Option<Composition>, usize)> = HashMap::new();
    let mut found: Vec<Option<Result<Option<Found>, ReadError>>> =
        items.iter().map(|_| None).collect();
    for i in 0..items.len() {
        let needs = unlike(i).is_some_and(|[r, c]| r.info.shape() != c.info.shape());
        let (known, tries) = nodes.entry(node(i)).or_default();
        if !needs || known.is_some() || *tries == TRIES {
            continue;
        }
        let own = find(i, &hints);
        let proven = own
            .as_ref()
            .ok()
            .and_then(Option::as_ref)
            .filter(|f| f.is_proven());
        if let Some(own) = proven {
            hints.learn(own, items[i].key.stage);
        }
        (*known, *tries) = (proven.map(|f| f.composition.clone()), *tries + 1);
        found[i] = Some(own);
    }
    let rest: Vec<usize> = (0..items.len()).filter(|i| found[*i].is_none()).collect();
    let others = threads::map(&rest, FEW, |&i| {
        let node = nodes.get(&node(i)).and_then(|(node, _)| node.clone());
        find(
            i,
            &Hints {
                search: node.is_some(),
                node,
                ..hints.clone()
            },
        )
    });
    for (i, own) in rest.into_iter().zip(others) {
        if let Ok(Some(f)) = &own
            && f.is_proven()
            && let Some((known @ None, _)) = nodes.get_mut(&node(i))
        {
            *known = Some(f.composition.clone());
        }
        found[i] = Some(own);
    }
    // what no value shows is as its siblings are
    let settle = |(i, own): (usize, Option<Result<Option<Found>, ReadError>>)| {
        let own = own.unwrap_or(Ok(None));
        match (&own, nodes.get(&node(i))) {
            (Ok(Some(f)), Some((Some(node), _)))
                if !f.is_proven() && !f.composition.is_like(node) =>
            {
                let hints = Hints {
                    node: Some(node.clone()),
                    ..hints.clone()
                };
                find(i, &hints)
            }
            _ => own,
        }
    };
    found.into_iter().enumerate().map(settle).collect()
}

/// The views of a pair.
fn aligned(
    item: &Item<'_>,
    ready: Ready,
    chosen: Option<&Chosen>,
    left_out: [LeftOut; 2],
    alone: bool,
) -> Result<Aligned, Misfit> {
    let Ready {
        reference: r,
        candidate: c,
        read,
    } = ready;
    let shapes = [r.info.shape(), c.info.shape()];
    let mut notes = Vec::new();
    let Some(Chosen { found, .. }) = chosen else {
        let statistics = [&r, &c]
            .iter()
            .any(|t| matches!(t.payload, Payload::Statistics));
        if shapes[0] != shapes[1] && !statistics {
            let [r_shape, c_shape] = shapes;
            return Err(Misfit::Shapes(format!(
                "shape {r_shape:?} against {c_shape:?}: no layout makes them comparable{}",
                headerless::bytes(&r, &c)
            )));
        }
        notes.extend(stated(&r, &c, read, r.info.shape()));
        return Ok(Aligned {
            reference: r,
            candidate: c,
            views: None,
            layout: None,
            left_out,
            notes,
        });
    };
    let views = &found.composition;
    let layout = views.shown(shapes[0], shapes[1]);
    let lacks = left_out
        .iter()
        .any(|l| l.elements > 0 && l.why != Why::Padding);
    if alone
        && lacks
        && !item.is_list()
        && !(item.key.stage == Some(Stage::LOGITS) && found.is_proven())
    {
        let [r_shape, c_shape] = shapes;
        return Err(Misfit::Shapes(format!(
            "shape {r_shape:?} against {c_shape:?}: one holds only a part of the other"
        )));
    }
    let groups = views.groups(&r.info, &c.info);
    let of = |view: &View, t: &Tensor| view.of(t, &groups).map_err(Misfit::Unreadable);
    let reference = Arc::new(of(&views.reference, &r)?);
    let candidate = Arc::new(of(&views.candidate, &c)?);
    let is_read = read.iter().any(Option::is_some);
    notes.extend(stated(&r, &c, read, reference.info.shape()));
    let lacks = left_out.iter().any(|l| l.elements > 0);
    if shapes[0] == shapes[1] {
        notes.push(weights::note(item.key, &views.reference, &layout));
    } else if !is_read || lacks || views.candidate.is_permuted() {
        notes.extend(views.note(item.key.stage, shapes, &left_out));
    }
    Ok(Aligned {
        reference,
        candidate,
        layout: Some(layout),
        views: Some(views.clone()),
        left_out,
        notes,
    })
}

/// The notes on tensors that do not state their types or shapes.
fn stated(r: &Tensor, c: &Tensor, read: [Option<Read>; 2], shape: &[usize]) -> Vec<Note> {
    let sides = [(c, read[1]), (r, read[0])];
    let read = sides.into_iter().filter_map(|(t, read)| {
        let Read { id, what, why } = read?;
        let dtype = t.info.dtype();
        let message = format!(
            "`{}` does not state its {what}: read as {dtype} {shape:?}, {why}",
            t.name
        );
        Some(Note::new(id, message))
    });
    let mut notes: Vec<Note> = read.collect();
    if [r, c].iter().all(|t| t.guess == Some(Guess::Size)) {
        notes.push(Note::new(causes::HEADERLESS.id, format!(
            "neither `{}` nor `{}` states its type: read as {} {:?}; --dtype and --shape say otherwise",
            r.name, c.name, c.info.dtype(), c.info.shape()
        )));
    }
    notes
}

#[cfg(test)]
mod tests;
