//! Compares what was aligned: elements, or statistics where one side has nothing else.

use super::pair::{Outcome, Pair};
use super::{masks, sums};
use crate::compare::logits::compare_logits;
use crate::compare::summarise::summarise;
use crate::compare::{ElementTolerance, Job, compare, rows};
use crate::dump::{Payload, PrintedStats, ReadError, Rounded, Tensor};
use crate::name::Stage;
use crate::note::Note;
use crate::threads;

use super::align::FEW;

/// Compares every aligned pair; elements beyond `tolerance` (else the usual one of the types) are counted. Notes come
/// with the keys of the pairs.
pub fn compare_all(
    pairs: &mut [Pair],
    tolerance: Option<ElementTolerance>,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<(String, Note)> {
    let limit = |r: &Tensor, c: &Tensor| {
        tolerance.unwrap_or_else(|| ElementTolerance::usual(r.info.dtype(), c.info.dtype()))
    };
    let compared: Vec<(usize, Outcome)> = {
        let jobs: Vec<(usize, Job<'_>)> = pairs
            .iter()
            .enumerate()
            .filter(|(_, p)| !is_summary(p))
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
            .filter(|(_, p)| is_summary(p))
            .map(|(i, p)| (i, summaries(p)));
        indices.into_iter().zip(results).chain(summaries).collect()
    };
    for (i, outcome) in compared {
        pairs[i].outcome = outcome;
    }
    let notes = masks::leave_out(pairs, limit);
    threads::map_mut(pairs, FEW, look_at_rows);
    threads::map_mut(pairs, FEW, compare_sums);
    for pair in pairs
        .iter_mut()
        .filter(|p| p.key.stage == Some(Stage::LOGITS) && p.stats().is_some())
    {
        // a tensor that cannot be read has said so in the comparison
        pair.logits = pair
            .aligned
            .as_ref()
            .and_then(|(r, c)| compare_logits(r, c).ok().flatten());
    }
    notes
}

/// Where single elements outweigh all others, the error of a typical row counts as well.
fn look_at_rows(pair: &mut Pair) {
    if let (Outcome::Compared(stats), Some((r, c))) = (&mut pair.outcome, &pair.aligned)
        && rows::is_outweighed(stats)
    {
        // a tensor that cannot be read again stays as it was
        stats.diff.row_error = rows::typical_row_error(r, c).ok().flatten();
    }
}

/// Where the printed elements of a partial tensor agree and the printed sums do not, the sums are what is judged.
fn compare_sums(pair: &mut Pair) {
    if let (Outcome::Compared(stats), Some(r), Some(c), Some((a, b))) = (
        &pair.outcome,
        &pair.reference,
        &pair.candidate,
        &pair.aligned,
    ) && let Some(sides) = sums::contradiction(stats, [r, c], [a, b])
    {
        pair.outcome = Outcome::Statistics(Box::new(sides));
    }
}

/// Whether one side has nothing but statistics.
fn is_summary(pair: &Pair) -> bool {
    pair.aligned.as_ref().is_some_and(|(r, c)| {
        [r, c]
            .iter()
            .any(|t| matches!(t.payload, Payload::Statistics))
    })
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
