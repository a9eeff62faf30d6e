//! The ways in which one shape can be read as another.

use crate::causes;
use crate::compare::permutations;
use crate::name::Stage;
use crate::note::Note;
use std::collections::BTreeSet;

/// A way to read one tensor in the axes of another: axes permuted, then a box cut out.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Axis of the source for every axis of the result.
    pub axes: Vec<usize>,
    pub start: Vec<usize>,
    pub shape: Vec<usize>,
}

impl Reading {
    pub fn whole(shape: &[usize]) -> Self {
        Reading::permuted((0..shape.len()).collect(), shape)
    }

    fn permuted(axes: Vec<usize>, shape: &[usize]) -> Self {
        Reading {
            start: vec![0; axes.len()],
            shape: axes.iter().map(|&a| shape[a]).collect(),
            axes,
        }
    }

    pub fn is_permuted(&self) -> bool {
        self.axes.windows(2).any(|w| w[0] > w[1])
    }
}

/// A way to bring both sides together.
#[derive(Clone, Debug)]
pub struct Choice {
    pub reference: Reading,
    pub candidate: Reading,
    /// `Some(axis)`: the sides share only a part along this axis of the reference.
    cut: Option<Cut>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Leading,
    Trailing,
}

impl Choice {
    pub fn note(&self, r: &[usize], c: &[usize]) -> Note {
        match (
            self.cut,
            self.candidate.is_permuted() || self.reference.is_permuted(),
        ) {
            (Some(Cut::Trailing), _)
                if self.reference.shape.iter().product::<usize>() < r.iter().product() =>
            {
                Note::new(
                    causes::LAST_TOKEN_ONLY.id,
                    format!("shape {r:?} against {c:?}: the last part along one axis is compared"),
                )
            }
            (Some(_), _) => Note::new(
                causes::SEQUENCE_PADDED.id,
                format!(
                    "shape {r:?} against {c:?}: the common part {:?} is compared",
                    self.reference.shape
                ),
            ),
            (None, true) => Note::new(
                causes::LAYOUT_PERMUTED.id,
                format!("shape {r:?} against {c:?}: compared with the axes of one side reordered"),
            ),
            (None, false) => Note::new(
                causes::LAYOUT_REGROUPED.id,
                format!("shape {r:?} against {c:?}: same elements in the same order"),
            ),
        }
    }
}

/// All readings that make the squeezed shapes equal, the most natural first.
pub fn readings(r: &[usize], c: &[usize], stage: Option<Stage>) -> Vec<Choice> {
    let mut out = Vec::new();
    let (nr, nc): (usize, usize) = (r.iter().product(), c.iter().product());
    if nr == nc {
        let regrouped = Choice {
            reference: Reading::whole(r),
            candidate: Reading::whole(c),
            cut: None,
        };
        // axes that are only split or joined lie in memory as they did; else heads and tokens would mix
        let natural = refines(r, c) || refines(c, r);
        if natural {
            out.push(regrouped.clone());
        }
        if c.len() <= 5 {
            for axes in permutations(c.len()) {
                let reading = Reading::permuted(axes, c);
                if reading.is_permuted() && refines(&reading.shape, r) {
                    out.push(Choice {
                        reference: Reading::whole(r),
                        candidate: reading,
                        cut: None,
                    });
                }
            }
        }
        // the reference's axes are the finer ones: permute them instead, and read the candidate as it is
        if r.len() <= 5 && r.len() > c.len() {
            for axes in permutations(r.len()) {
                let reading = Reading::permuted(axes, r);
                if reading.is_permuted() && refines(&reading.shape, c) {
                    out.push(Choice {
                        reference: reading,
                        candidate: Reading::whole(c),
                        cut: None,
                    });
                }
            }
        }
        // the same axes in another order are more natural than the same order under other axes
        out.sort_by_key(|choice| choice.candidate.shape != r);
        if !natural {
            out.push(regrouped);
        }
        return out;
    }
    if r.len() == c.len() {
        cuts(r, c, stage, &mut out);
    } else if r.len() == c.len() + 1 || c.len() == r.len() + 1 {
        // one side kept a single position along an axis that the squeezed other side has
        let (long, short) = if r.len() > c.len() { (r, c) } else { (c, r) };
        for axis in 0..long.len().saturating_sub(1) {
            let mut widened = short.to_vec();
            widened.insert(axis, 1);
            // a side without elements shares no position
            if long[axis] == 0 {
                continue;
            }
            if widened
                .iter()
                .zip(long)
                .enumerate()
                .all(|(i, (a, b))| i == axis || a == b)
            {
                for cut in [Cut::Trailing, Cut::Leading] {
                    let boxed = cut_box(long, &widened, cut);
                    let plain = Reading::whole(short);
                    let (reference, candidate) = if r.len() > c.len() {
                        (boxed, plain)
                    } else {
                        (plain, boxed)
                    };
                    out.push(Choice {
                        reference,
                        candidate,
                        cut: Some(cut),
                    });
                }
            }
        }
    }
    out
}

/// Same rank, different lengths: the part that both sides share.
fn cuts(r: &[usize], c: &[usize], stage: Option<Stage>, out: &mut Vec<Choice>) {
    let attention = matches!(
        stage,
        Some(Stage::ATTN_QK | Stage::ATTN_SCORES | Stage::ATTN_WEIGHTS | Stage::ATTENTION_MASK)
    );
    let differing: Vec<usize> = (0..r.len()).filter(|&i| r[i] != c[i]).collect();
    let last = r.len() - 1;
    let few = if attention {
        differing.len() <= 2
    } else {
        differing.len() == 1
    };
    let feature =
        differing.contains(&last) && r.len() > 1 && !attention && stage != Some(Stage::LOGITS);
    if !few || feature || r.len() < 2 {
        return;
    }
    let common: Vec<usize> = r.iter().zip(c).map(|(&a, &b)| a.min(b)).collect();
    // what one side has none of is not shared
    if common.contains(&0) {
        return;
    }
    for cut in [Cut::Leading, Cut::Trailing] {
        out.push(Choice {
            reference: cut_box(r, &common, cut),
            candidate: cut_box(c, &common, cut),
            cut: Some(cut),
        });
    }
}

fn cut_box(full: &[usize], part: &[usize], cut: Cut) -> Reading {
    let start = full
        .iter()
        .zip(part)
        .map(|(&n, &k)| if cut == Cut::Trailing { n - k } else { 0 })
        .collect();
    Reading {
        axes: (0..full.len()).collect(),
        start,
        shape: part.to_vec(),
    }
}

/// Whether neighbouring axes of `fine` multiply to the axes of `coarse`.
fn refines(fine: &[usize], coarse: &[usize]) -> bool {
    let bounds = |shape: &[usize]| -> BTreeSet<usize> {
        shape
            .iter()
            .rev()
            .scan(1usize, |p, &n| {
                *p *= n;
                Some(*p)
            })
            .collect()
    };
    bounds(coarse).is_subset(&bounds(fine))
}
