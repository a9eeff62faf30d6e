//! Both sides of every pair as views of one logical shape.

use super::pair::{Outcome, Pair};
use crate::align::{self, Item, Misfit};
use crate::dump::Tensor;
use crate::name::Stage;
use crate::note::Note;

/// Fewer pairs than this are not worth a second thread before their elements are read.
pub(super) const FEW: usize = 64;

/// Aligns all pairs; notes come back in the order of the pairs, with their keys.
pub fn align_all(pairs: &mut [Pair]) -> Vec<(String, Note)> {
    let both = |p: &Pair| matches!(p.outcome, Outcome::Pending);
    let results = {
        let is_mask = |p: &&Pair| p.key.stage == Some(Stage::ATTENTION_MASK);
        let sides = |p: &'_ Pair| [(false, p.reference.clone()), (true, p.candidate.clone())];
        let masks: Vec<_> = pairs.iter().filter(is_mask).flat_map(sides).collect();
        let masks: Vec<(bool, &Tensor)> = masks
            .iter()
            .filter_map(|(side, t)| Some((*side, &**t.as_ref()?)))
            .collect();
        let items = pairs.iter().filter(|p| both(p)).filter_map(|p| {
            Some(Item {
                key: &p.key,
                reference: p.reference.as_ref()?,
                candidate: p.candidate.as_ref()?,
            })
        });
        align::align_all(&items.collect::<Vec<_>>(), &masks)
    };
    let mut notes = Vec::new();
    for (pair, result) in pairs.iter_mut().filter(|p| both(p)).zip(results) {
        match result {
            Ok(found) => {
                let key = pair.key.to_string();
                notes.extend(found.notes.into_iter().map(|n| (key.clone(), n)));
                pair.views = found.views;
                pair.layout = found.layout;
                pair.left_out = found.left_out;
                pair.aligned = Some((found.reference, found.candidate));
            }
            Err(Misfit::Shapes(why)) => pair.outcome = Outcome::Incomparable(why),
            Err(Misfit::Unreadable(error)) => pair.outcome = Outcome::Unreadable((&error).into()),
        }
    }
    notes
}
