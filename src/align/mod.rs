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

/// Both sides as they are read, and how they are brought together where their shapes are not one.
struct Ready {
    sides: [Arc<Tensor>; 2],
    read: [Option<Read>; 2],
    found: Option<Found>,
}

impl Ready {
    fn new(item: &Item<'_>) -> Result<Ready, ReadError> {
        let shared = |tensor: &Arc<Tensor>, read: Cow<'_, Tensor>| match read {
            Cow::Borrowed(_) => Arc::clone(tensor),
            Cow::Owned(read) => Arc::new(read),
        };
        let (c, read_c) = like_partner(item.candidate, item.reference)?;
        let (r, read_r) = like_partner(item.reference, &c)?;
        Ok(Ready {
            sides: [shared(item.reference, r), shared(item.candidate, c)],
            read: [read_r, read_c],
            found: None,
        })
    }

    fn shapes(&self) -> [&[usize]; 2] {
        [self.sides[0].info.shape(), self.sides[1].info.shape()]
    }

    fn is_unlike(&self) -> bool {
        let statistics = |t: &Arc<Tensor>| matches!(t.payload, Payload::Statistics);
        self.shapes()[0] != self.shapes()[1] && !self.sides.iter().any(statistics)
    }

    fn find(&self, item: &Item<'_>, hints: &Hints) -> Result<Option<Found>, ReadError> {
        let both = [&*self.sides[0], &*self.sides[1]];
        match self.is_unlike() {
            true => choose(both, item.key.stage, item.is_list(), hints),
            false => weights::exchanged(item.key, both),
        }
    }
}

/// Aligns all pairs, in the order of the pipeline. `masks`: the attention masks of the reference (`false`) and of the candidate.
///
/// Of a single pair the shapes are the verdict, not the part that both have.
pub fn align_all(items: &[Item<'_>], masks: &[(bool, &Tensor)]) -> Vec<Result<Aligned, Misfit>> {
    let mut ready: Vec<Result<Ready, ReadError>> = threads::map(items, FEW, Ready::new);
    find_all(items, &mut ready);
    let left = left::left_out(items, &ready, masks);
    let all = items.iter().zip(ready).zip(left);
    all.map(|((item, ready), left)| {
        let ready = ready.map_err(Misfit::Unreadable)?;
        aligned(item, &ready, left, items.len() == 1)
    })
    .collect()
}

/// Two tensors by themselves, in the layout that fits best.
pub fn together(
    key: &Key,
    reference: &Arc<Tensor>,
    candidate: &Arc<Tensor>,
) -> Option<[Arc<Tensor>; 2]> {
    let item = Item {
        key,
        reference,
        candidate,
    };
    let aligned = align_all(&[item], &[]).pop()?.ok()?;
    Some([aligned.reference, aligned.candidate])
}

/// Tensors of one stage and rank: what holds for one holds for its siblings.
type Node<'a> = (Option<Stage>, &'a str, usize, usize);

/// Finds the composition of each pair that needs one.
fn find_all(items: &[Item<'_>], ready: &mut [Result<Ready, ReadError>]) {
    let node = |i: usize| -> Node<'_> {
        let Item {
            key,
            reference,
            candidate,
        } = &items[i];
        let rank = |t: &Tensor| t.info.shape().len();
        (key.stage, &key.rest, rank(reference), rank(candidate))
    };
    let find = |ready: &[Result<Ready, ReadError>], i: usize, hints: &Hints| match &ready[i] {
        Ok(ready) => ready.find(&items[i], hints),
        Err(_) => Ok(None),
    };
    let proven = |ready: &Result<Ready, ReadError>| -> Option<Found> {
        let found = ready.as_ref().ok()?.found.as_ref()?;
        found.is_proven().then(|| found.clone())
    };
    let set = |ready: &mut Result<Ready, ReadError>, found| match (&mut *ready, found) {
        (Ok(ready), Ok(found)) => ready.found = found,
        (_, Err(error)) => *ready = Err(error),
        _ => {}
    };
    let mut hints = Hints {
        search: true,
        ..Hints::default()
    };
    let mut nodes: HashMap<Node<'_>, (Option<Composition>, usize)> = HashMap::new();
    let mut rest = Vec::new();
    // the first tensor of each node in turn, so that each knows what the earlier ones have shown
    for i in 0..items.len() {
        let needs = ready[i].as_ref().is_ok_and(Ready::is_unlike);
        let (known, tries) = nodes.entry(node(i)).or_default();
        if !needs || known.is_some() || *tries == TRIES {
            rest.push(i);
            continue;
        }
        let found = find(ready, i, &hints);
        set(&mut ready[i], found);
        *tries += 1;
        if let Some(found) = proven(&ready[i]) {
            hints.learn(&found, items[i].key.stage);
            *known = Some(found.composition);
        }
    }
    let like = |i: usize, nodes: &HashMap<Node<'_>, (Option<Composition>, usize)>| {
        let node = nodes.get(&node(i)).and_then(|(known, _)| known.clone());
        Hints {
            search: node.is_some(),
            node,
            ..hints.clone()
        }
    };
    let others = threads::map(&rest, FEW, |&i| find(ready, i, &like(i, &nodes)));
    for (i, found) in rest.into_iter().zip(others) {
        set(&mut ready[i], found);
        if let (Some(found), Some((known @ None, _))) = (proven(&ready[i]), nodes.get_mut(&node(i)))
        {
            *known = Some(found.composition);
        }
    }
    // what no value shows is as its siblings are
    for i in 0..items.len() {
        let open = ready[i]
            .as_ref()
            .is_ok_and(|r| r.is_unlike() && r.found.is_some());
        let hints = like(i, &nodes);
        if open && hints.node.is_some() && proven(&ready[i]).is_none() {
            let found = find(ready, i, &hints);
            set(&mut ready[i], found);
        }
    }
}

/// The views of a pair.
fn aligned(
    item: &Item<'_>,
    ready: &Ready,
    left_out: [LeftOut; 2],
    alone: bool,
) -> Result<Aligned, Misfit> {
    let ([r, c], shapes) = (&ready.sides, ready.shapes());
    let Some(found) = &ready.found else {
        if ready.is_unlike() {
            return Err(unfit(
                shapes,
                "no layout makes them comparable",
                &headerless::bytes(r, c),
            ));
        }
        return Ok(Aligned {
            notes: stated(ready, r.info.shape()),
            reference: Arc::clone(r),
            candidate: Arc::clone(c),
            views: None,
            layout: None,
            left_out,
        });
    };
    let views = &found.composition;
    let layout = views.shown(shapes[0], shapes[1]);
    let lacks = |least: Why| left_out.iter().any(|l| l.elements > 0 && l.why >= least);
    let last = item.key.stage == Some(Stage::LOGITS) && found.is_proven();
    if alone && lacks(Why::LastToken) && !item.is_list() && !last {
        return Err(unfit(shapes, "one holds only a part of the other", ""));
    }
    let groups = views.groups(&r.info, &c.info);
    let of = |view: &View, t: &Tensor| view.of(t, &groups).map_err(Misfit::Unreadable);
    let reference = Arc::new(of(&views.reference, r)?);
    let candidate = Arc::new(of(&views.candidate, c)?);
    let mut notes = stated(ready, reference.info.shape());
    let read = ready.read.iter().any(Option::is_some);
    if shapes[0] == shapes[1] {
        notes.push(weights::note(item.key, &views.reference, &layout));
    } else if !read || lacks(Why::Padding) || views.candidate.is_permuted() {
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

fn unfit([r, c]: [&[usize]; 2], why: &str, more: &str) -> Misfit {
    Misfit::Shapes(format!("shape {r:?} against {c:?}: {why}{more}"))
}

/// The notes on tensors that do not state their types or shapes.
fn stated(ready: &Ready, shape: &[usize]) -> Vec<Note> {
    let ([r, c], read) = (&ready.sides, ready.read);
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
