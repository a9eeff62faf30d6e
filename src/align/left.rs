//! What the views of a pair leave out, and why: padding that is proved, the other prompts of a batch, all but the last token,
//! or rows that were not compared.

use super::fit::{FITS, at_hand, sample};
use super::view::{Part, View};
use super::{Item, Ready};
use crate::dump::{ReadError, Tensor};
use crate::name::Stage;
use std::collections::BTreeSet;

/// Elements of one side that have no counterpart in the views.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub elements: u64,
    pub why: Why,
}

/// Why elements are left out; the later the weaker the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Padding: zeros, masked, rows of one token that stands for nothing, or rows that nothing behind them has seen.
    #[default]
    Padding,
    /// From the last layer's end on engines keep the last token alone.
    LastToken,
    /// The other side holds one prompt of the batch.
    Prompts,
    /// Nothing says why the other side has no such rows.
    Cut,
}

/// Elements of a cut looked at for zeros.
const MOST: usize = 1 << 14;
/// Elements of a mask that is read.
const MASK: usize = 1 << 22;
/// Masked scores lie here and below.
const FILLING: f64 = crate::compare::FILLING;

/// A stretch of an axis: on the candidate?, its length, and where what is compared starts and ends.
type Stretch = (bool, usize, usize, usize);

/// What each pair leaves out of both sides. `masks`: the attention masks of the dumps, with their side.
pub fn left_out(
    items: &[Item<'_>],
    ready: &[Result<Ready, ReadError>],
    masks: &[(bool, &Tensor)],
) -> Vec<[LeftOut; 2]> {
    let last = items.iter().filter_map(|i| i.key.layer).max();
    let mut padding: BTreeSet<Stretch> = BTreeSet::new();
    let mut zeros: Vec<BTreeSet<Stretch>> = Vec::with_capacity(items.len());
    for (item, ready) in items.iter().zip(ready) {
        let mut own = BTreeSet::new();
        for side in ready.iter().filter_map(sides).flatten() {
            for (i, part) in side.cut() {
                let stretch = side.stretch(i, part);
                if padding.contains(&stretch) || own.contains(&stretch) {
                    continue;
                }
                let behind = item.key.layer.is_some_and(|l| l > 0)
                    || item.key.stage.is_some_and(|s| s > Stage::OUTPUT);
                // what agrees behind attention has not seen the rows before it
                let unseen =
                    side.error <= FITS && part.at > 0 && behind && stretch.3 - stretch.2 > 1;
                let masked = || {
                    masks
                        .iter()
                        .any(|(of, t)| *of == side.on_candidate && masks_out(t, stretch))
                };
                let one_token =
                    || is_input(item.key.stage) && side.one_token(i, part).unwrap_or(false);
                if unseen || masked() || one_token() {
                    padding.insert(stretch);
                } else if side.is_blank(i, part).unwrap_or(false) {
                    own.insert(stretch);
                }
            }
        }
        zeros.push(own);
    }
    let of = |(i, ready): (usize, &Result<Ready, ReadError>)| {
        let mut both = [LeftOut::default(); 2];
        for side in ready.iter().filter_map(sides).flatten() {
            let key = items[i].key;
            let end = key.layer.is_none() && key.stage.is_none_or(|s| s > Stage::OUTPUT)
                || key.layer == last
                    && last > Some(0)
                    && key.stage.is_none_or(|s| s > Stage::ATTN_CTX);
            let mut why = Why::Padding;
            for (p, part) in side.cut() {
                let stretch = side.stretch(p, part);
                let padded = padding.contains(&stretch) || zeros[i].contains(&stretch);
                let alone = stretch.3 - stretch.2 == 1 && stretch.3 == part.len;
                let stands = side.view.walk(p).is_none();
                why = why.max(match (padded, alone && end) {
                    (true, _) => Why::Padding,
                    (_, true) => Why::LastToken,
                    _ if stands && p == 0 && side.view.walks.len() > 1 => Why::Prompts,
                    _ => Why::Cut,
                });
            }
            both[usize::from(side.on_candidate)] = LeftOut {
                elements: side.view.left_out() as u64,
                why,
            };
        }
        both
    };
    ready.iter().enumerate().map(of).collect()
}

/// Whether it is what a model is given.
pub fn is_input(stage: Option<Stage>) -> bool {
    use crate::graph::known::{EMBED, EMBED_SUM, INPUT, INPUT_IDS, TOK_EMBED};
    matches!(
        stage,
        Some(INPUT_IDS | TOK_EMBED | EMBED_SUM | EMBED | INPUT)
    )
}

/// One side of a pair.
struct Side<'a> {
    on_candidate: bool,
    tensor: &'a Tensor,
    view: &'a View,
    error: f64,
}

fn sides(of: &Ready) -> Option<[Side<'_>; 2]> {
    let found = of.found.as_ref()?;
    let side = |i: usize| Side {
        on_candidate: i == 1,
        tensor: &of.sides[i],
        view: found.composition.sides()[i],
        error: found.error,
    };
    Some([side(0), side(1)])
}

impl Side<'_> {
    /// The parts that are not seen in whole.
    fn cut(&self) -> impl Iterator<Item = (usize, &Part)> {
        let parts = self.view.parts.iter().enumerate();
        parts.filter(|(i, p)| self.view.walk(*i).map_or(1, |w| w.len) < p.len)
    }

    fn stretch(&self, i: usize, part: &Part) -> Stretch {
        let len = self.view.walk(i).map_or(1, |w| w.len);
        (self.on_candidate, part.len, part.at, part.at + len)
    }

    /// A sample of the elements at each place of the part that is left out, then at the first one that is not.
    fn rows(&self, i: usize, part: &Part) -> Result<Vec<Vec<f64>>, ReadError> {
        let (_, len, from, to) = self.stretch(i, part);
        let mut view = self.view.clone();
        view.walks.retain(|w| w.part.is_some_and(|p| p != i));
        let tensor = at_hand(self.tensor)?;
        let inside = view.count();
        let step = (inside * (len - to + from)).div_ceil(MOST).max(1) | 1;
        let at: Vec<u64> = (0..inside as u64).step_by(step.min(inside | 1)).collect();
        let row = |place| {
            view.parts[i].at = place;
            sample(&tensor, &view, &at)
        };
        (0..from).chain(to..len).chain([from]).map(row).collect()
    }

    /// Whether nothing but zeros, or what stands for masked scores, is left out.
    fn is_blank(&self, i: usize, part: &Part) -> Result<bool, ReadError> {
        let rows = self.rows(i, part)?;
        let mut left = rows[..rows.len() - 1].iter().flatten();
        Ok(left.all(|x| *x == 0.0 || *x <= FILLING))
    }

    /// Whether several tokens are left out that are all the same one, which the first of the others is not.
    fn one_token(&self, i: usize, part: &Part) -> Result<bool, ReadError> {
        let mut rows = self.rows(i, part)?;
        let kept = rows.pop();
        let same = rows.iter().all(|row| *row == rows[0]);
        Ok(
            self.view.walk(i).is_some()
                && rows.len() > 1
                && same
                && kept.as_ref() != Some(&rows[0]),
        )
    }
}

/// Whether a mask hides what is left out of a stretch of keys, and no more.
fn masks_out(mask: &Tensor, (_, len, from, to): Stretch) -> bool {
    if mask.info.shape().last() != Some(&len) || mask.info.len() > MASK {
        return false;
    }
    let Ok(values) = mask.values() else {
        return false;
    };
    // 0 hides where the mask is one of whole numbers or of zeros and ones, else what is far below zero
    let counts = values.iter().all(|x| *x == 0.0 || *x == 1.0);
    let hidden = |x: f64| if counts { x == 0.0 } else { x <= FILLING };
    let mut rows = values.chunks_exact(len);
    let outside = |row: &[f64]| (0..from).chain(to..len).all(|k| hidden(row[k]));
    rows.clone().next().is_some()
        && rows
            .clone()
            .any(|row| row[from..to].iter().any(|x| !hidden(*x)))
        && rows.all(outside)
}
