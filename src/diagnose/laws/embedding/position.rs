//! The row of a learned position table that a decode step reads.

use super::super::trial::Trial;
use super::Rows;
use crate::causes;
use crate::diagnose::laws::rope::start;
use crate::diagnose::{Site, Suspicion};
use crate::name::{Key, Stage};
use crate::text::rough;

/// Every row of the candidate's step is the reference's row of another position, all of them off by the same number.
///
/// The positions of all steps are known: the reference's tokens count on from step to step.
pub fn in_a_decode_step(
    reference: &Site<'_>,
    r: &Rows,
    c: &Rows,
    key: Key,
    noise: f64,
) -> Option<Suspicion> {
    let first = start(reference);
    if first == 0 || r.batch != 1 {
        return None;
    }
    // position and row of everything that the reference read
    let steps = reference.geometry().steps.keys();
    let mut table: Vec<(usize, Rows)> = Vec::new();
    for step in steps.filter(|s| s.is_some()) {
        let site = reference.at_step(*step);
        if let Some(rows) = site
            .dumped(Stage::POS_EMBED)
            .and_then(|a| Rows::new(&a, false))
            .filter(|rows| rows.width == r.width)
        {
            table.push((start(&site), rows));
        }
    }
    let row = |position: i64| {
        table.iter().find_map(|(start, rows)| {
            let at = usize::try_from(position).ok()?.checked_sub(*start)?;
            (at < rows.tokens).then_some((rows, at))
        })
    };
    let left = |by: i64| -> Option<f64> {
        let mut worst = 0.0f64;
        for t in 0..c.tokens {
            let (rows, at) = row((first + t) as i64 + by)?;
            worst = worst.max(c.distance(rows, &[(t, at)]));
        }
        Some(worst)
    };
    let before = left(0)?;
    let reach = first as i64 + table.len() as i64;
    let (by, after) = (-reach..=reach)
        .filter(|by| *by != 0)
        .filter_map(|by| Some((by, left(by)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.abs().cmp(&b.0.abs())))?;
    let trial = Trial { before, after };
    trial.convinces(noise).then(|| Suspicion {
        cause: causes::KV_CACHE_POSITION,
        key,
        title: format!(
            "the candidate's new token is at position {} in place of {first}",
            first as i64 + by
        ),
        before,
        after,
        evidence: vec![
            format!("the reference's row of that position: {}", trial.text()),
            format!(
                "the rows of the two positions are {} apart in the reference",
                rough(before)
            ),
        ],
    })
}
