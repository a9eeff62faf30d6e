//! A composition in words.

use super::left::{LeftOut, Why};
use super::view::{Composition, View, Walk};
use crate::causes;
use crate::name::Stage;
use crate::note::Note;

/// The note on keys and values that one side repeats for every query head of a group.
pub const KV_REPEATED: &str = "kv_repeated";

impl Composition {
    /// What is done to both sides: `[1, 32, 128] → 8.. of 32 → 128 as 4×32 ~ [24, 4, 32]`.
    pub fn shown(&self, r: &[usize], c: &[usize]) -> String {
        let (a, b) = (&self.reference, &self.candidate);
        format!("{r:?}{} ~ {c:?}{}", steps(a, b), steps(b, a))
    }

    /// The note on how the sides were brought together.
    pub fn note(
        &self,
        stage: Option<Stage>,
        [r, c]: [&[usize]; 2],
        left: &[LeftOut; 2],
    ) -> Option<Note> {
        use crate::graph::known::{K_NORM, K_PROJ, K_ROPE, V_PROJ};
        let cut = left.iter().filter(|l| l.elements > 0).map(|l| l.why).max();
        let (id, what) = match cut {
            Some(Why::Padding) => (causes::SEQUENCE_PADDED.id, "padding is left out"),
            Some(Why::LastToken) => (causes::LAST_TOKEN_ONLY.id, "the last token is compared"),
            Some(Why::Prompts) => ("batch_row", "one prompt of the batch is compared"),
            Some(Why::Cut) => ("part_compared", "only a part is compared"),
            None if self.repeats()
                && self.batch().is_none()
                && matches!(stage, Some(K_PROJ | V_PROJ | K_NORM | K_ROPE)) =>
            {
                (
                    KV_REPEATED,
                    "one side repeats every head, every copy is compared",
                )
            }
            None if self.repeats() => (
                "rows_repeated",
                "the one side is compared with every row of the other",
            ),
            None if self.is_permuted() => {
                (causes::LAYOUT_PERMUTED.id, "the axes are in another order")
            }
            None if self.is_whole() && r.len() == c.len() => return None,
            None if self.is_whole() => (causes::MISSING_BATCH_DIM.id, "axes of length 1 ignored"),
            None => (
                causes::LAYOUT_REGROUPED.id,
                "the same elements in the same order",
            ),
        };
        Some(Note::new(id, format!("{}: {what}", self.shown(r, c))))
    }
}

/// What is done to one side to make it the other.
fn steps(view: &View, other: &View) -> String {
    let mut said = Vec::new();
    for axis in 0..view.rank {
        let lens: Vec<usize> = view
            .parts
            .iter()
            .filter(|p| p.axis == axis)
            .map(|p| p.len)
            .collect();
        if lens.len() > 1 {
            let parts: Vec<String> = lens.iter().map(usize::to_string).collect();
            let whole: usize = lens.iter().product();
            said.push(format!("{whole} as {}", parts.join("×")));
        }
    }
    for (i, part) in view.parts.iter().enumerate() {
        let end = part.at + view.walk(i).map_or(1, |w| w.len);
        match (end - part.at, part.at, end == part.len) {
            (_, 0, true) => {}
            (1, at, _) => said.push(format!("{at} of {}", part.len)),
            (_, at, true) => said.push(format!("{at}.. of {}", part.len)),
            (_, at, false) => said.push(format!("{at}..{end} of {}", part.len)),
        }
    }
    let copies = view
        .walks
        .iter()
        .zip(&other.walks)
        .filter(|(w, _)| w.part.is_none());
    said.extend(copies.map(|(w, _)| format!("{} times", w.len)));
    if view.is_permuted() {
        let order = |w: &Walk| w.part.map(|p| view.parts[p].len.to_string());
        let order: Vec<String> = view.walks.iter().filter_map(order).collect();
        said.push(format!("in order {}", order.join("×")));
    }
    said.into_iter().map(|s| format!(" → {s}")).collect()
}
