//! What is added up before layer 0: token, position and segment rows (then perhaps a norm), or a multiple of the token row.

use super::super::norm::fit::{Norm, Rows as NormRows};
use super::super::norm::source::broadcast_sum;
use super::super::trial::Trial;
use super::table::Rows;
use crate::causes::{self, Cause};
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Site, Suspicion};
use crate::math::distance;
use crate::name::{Key, Stage};
use crate::text::rough;

/// A sum fitted to the reference has to explain it at least this well.
const FITS: f64 = 0.1;
const PARTS: [Stage; 3] = [Stage::TOK_EMBED, Stage::POS_EMBED, Stage::TYPE_EMBED];

/// Which of token, position and segment rows are added, and what it means when the others are not.
const SUMS: [([bool; 3], &Cause); 3] = [
    ([true, false, true], causes::POSITION_EMBEDDING_MISSING),
    ([true, true, false], causes::TOKEN_TYPE_EMBEDDING_MISSING),
    ([true, false, false], causes::POSITION_EMBEDDING_MISSING),
];

fn add(parts: &[Option<Array>; 3], which: [bool; 3]) -> Option<Array> {
    let mut sum = parts[0].clone()?;
    for (part, _) in parts[1..].iter().zip(&which[1..]).filter(|(_, w)| **w) {
        if let Some(part) = part {
            sum = broadcast_sum(&sum, part)?;
        }
    }
    Some(sum)
}

/// A summand that one side leaves out, by the summands that were dumped.
pub fn missing(both: &Both<'_>) -> Vec<Suspicion> {
    let (reference, candidate, output, noise) = both.parts();
    let parts_of = |site: &Site<'_>, other: &Site<'_>| {
        PARTS.map(|s| site.dumped(s).or_else(|| other.dumped(s)))
    };
    let (Some(y_r), Some(y_c)) = (reference.dumped(output), candidate.dumped(output)) else {
        return Vec::new();
    };
    let (r, c) = (
        parts_of(reference, candidate),
        parts_of(candidate, reference),
    );
    let Some(whole) = add(&r, [true; 3]) else {
        return Vec::new();
    };
    let plain = distance(&whole.data, &y_r.data);
    // BERT dumps what its norm leaves of the sum
    let normed = (plain >= FITS)
        .then(|| Norm::best(&NormRows::new(&whole, &y_r, y_r.width())?))
        .flatten();
    let fitted = normed.as_ref().map_or(plain, |n| n.residual.unwrap_or(1.0));
    if fitted >= FITS || y_r.data.len() != y_c.data.len() {
        return Vec::new();
    }
    let left = |which| {
        let sum = add(&c, which)?;
        let predicted = normed
            .as_ref()
            .map_or_else(|| sum.data.to_vec(), |n| n.apply(&sum.data));
        Some(distance(&predicted, &y_c.data))
    };
    let Some(before) = left([true; 3]) else {
        return Vec::new();
    };
    let known = |which: [bool; 3]| (0..3).all(|i| which[i] || r[i].is_some());
    let mut out: Vec<Suspicion> = SUMS
        .into_iter()
        .filter(|(which, _)| known(*which))
        .filter_map(|(which, cause)| {
            let trial = Trial {
                before,
                after: left(which)?,
            };
            trial.convinces(noise).then(|| {
                let lost: Vec<&str> = (0..3)
                    .filter(|i| !which[*i])
                    .map(|i| PARTS[i].name())
                    .collect();
                Suspicion {
                    cause,
                    key: candidate.key(output),
                    title: format!("the candidate's {output} lacks {}", lost.join(" and ")),
                    before: trial.before,
                    after: trial.after,
                    evidence: vec![format!(
                        "the sum without {}: {}",
                        lost.join(" and "),
                        trial.text()
                    )],
                }
            })
        })
        .collect();
    out.sort_by(|a, b| a.after.total_cmp(&b.after));
    out.truncate(1);
    out
}

/// embed = m · tok_embed on each side, or one side's rows a constant multiple of the other's.
pub fn scale(both: &Both<'_>) -> Option<Suspicion> {
    let (reference, candidate, output, noise) = both.parts();
    let (y_r, y_c) = (reference.dumped(output)?, candidate.dumped(output)?);
    let tok = |site: &Site<'_>| {
        site.dumped(Stage::TOK_EMBED)
            .filter(|_| output != Stage::TOK_EMBED)
    };
    let (own_r, own_c) = (tok(reference), tok(candidate));
    let through = |x: &Option<Array>, y: &Array| {
        let (m, left) = multiple(x.as_ref()?, y)?;
        (left < FITS).then_some((m, left))
    };
    let (m_r, (m_c, after)) = match (through(&own_r, &y_r), through(&own_c, &y_c)) {
        (Some((m_r, left)), Some((m_c, after))) => (m_r, (m_c, after.max(left))),
        _ => (1.0, multiple(&y_r, &y_c)?),
    };
    let ratio = m_c / m_r;
    let trial = Trial {
        before: (ratio - 1.0).abs(),
        after,
    };
    if ratio <= 0.0 || !trial.convinces(noise) {
        return None;
    }
    let hidden = y_r.width();
    let rounded = (ratio - 1.0).abs() < 1.0 / 256.0;
    let cause = if rounded {
        causes::EMBEDDING_SCALE_ROUNDED
    } else {
        causes::EMBEDDING_SCALE_MISSING
    };
    let title = match (m_r == 1.0, rounded) {
        (_, true) => format!(
            "the candidate's embedding is {ratio:.6} times the reference's: the multiplier was rounded"
        ),
        (true, _) => format!(
            "the candidate's embedding is {} times the reference's{}",
            rough(ratio),
            named(ratio, hidden)
        ),
        (false, _) => format!(
            "reference: tok_embed · {}{}; candidate: · {}{}",
            rough(m_r),
            named(m_r, hidden),
            rough(m_c),
            named(m_c, hidden)
        ),
    };
    let mut evidence = vec![format!(
        "one factor for all {} elements: {}",
        y_r.data.len(),
        trial.text()
    )];
    let root = (hidden as f64).sqrt();
    if rounded && (bf16(root) / root - ratio).abs() < 1e-6_f64.max(after) {
        evidence.push(format!(
            "√{hidden} = {root:.6} in bf16 is {}: its ratio is {:.6}",
            bf16(root),
            bf16(root) / root
        ));
    }
    Some(Suspicion {
        cause,
        key: candidate.key(output),
        title,
        before: trial.before,
        after: trial.after,
        evidence,
    })
}

fn bf16(x: f64) -> f64 {
    half::bf16::from_f64(x).to_f64()
}

/// The factor m in y = m·x by least squares, and the relative error left.
pub fn multiple(x: &Array, y: &Array) -> Option<(f64, f64)> {
    if x.data.len() != y.data.len() {
        return None;
    }
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in x
        .data
        .iter()
        .zip(&*y.data)
        .filter(|(x, y)| x.is_finite() && y.is_finite())
    {
        xy += x * y;
        xx += x * x;
    }
    let m = xy / xx;
    (m.is_finite() && m != 0.0).then(|| (m, x.map(|x| m * x).distance(y)))
}

/// ` (√64)`, where a number is a root of the width or its inverse.
fn named(m: f64, hidden: usize) -> String {
    let root = (hidden as f64).sqrt();
    match m {
        m if (m / root - 1.0).abs() < 5e-3 => format!(" (√{hidden})"),
        m if (m * root - 1.0).abs() < 5e-3 => format!(" (1/√{hidden})"),
        _ => String::new(),
    }
}

/// Where the summands were not dumped: a difference that is one constant row (segment), or depends on the place alone
/// (position).
pub fn by_place(r: &Rows, c: &Rows, key: &Key, noise: f64) -> Vec<Suspicion> {
    let (n, w) = (r.count(), r.width);
    let diff: Vec<Vec<f64>> = (0..n)
        .map(|i| c.row(i).iter().zip(r.row(i)).map(|(c, r)| c - r).collect())
        .collect();
    if diff.iter().flatten().any(|x| !x.is_finite()) || n < 3 {
        return Vec::new();
    }
    let norm = (0..n)
        .flat_map(|i| r.row(i))
        .map(|x| x * x)
        .sum::<f64>()
        .sqrt();
    // relative size of what is left when every group of rows loses its mean, per degree of freedom
    let left = |groups: &[Vec<usize>]| {
        let mut sum = 0.0;
        for group in groups {
            sum += (0..w)
                .map(|j| {
                    let column = || group.iter().map(|i| diff[*i][j]);
                    let mean = column().sum::<f64>() / group.len() as f64;
                    column().map(|x| (x - mean) * (x - mean)).sum::<f64>()
                })
                .sum::<f64>();
        }
        (sum * n as f64 / (n - groups.len()).max(1) as f64).sqrt() / norm
    };
    let before = diff.iter().flatten().map(|x| x * x).sum::<f64>().sqrt() / norm;
    let mut out = Vec::new();
    let mut push = |cause, title: &str, what: &str, after: f64| {
        let trial = Trial { before, after };
        if trial.convinces(noise) {
            let evidence = vec![format!("{what}: {}", trial.text())];
            out.push(Suspicion {
                cause,
                key: key.clone(),
                title: title.into(),
                before,
                after,
                evidence,
            });
        }
    };
    let constant = left(&[(0..n).collect()]);
    push(
        causes::TOKEN_TYPE_EMBEDDING_MISSING,
        "one constant row is added on one side only: the segment row",
        "the difference is one row for all tokens",
        constant,
    );
    if r.batch > 1 && constant > 0.4 * before {
        let places: Vec<Vec<usize>> = (0..r.tokens)
            .map(|t| (0..r.batch).map(|b| b * r.tokens + t).collect())
            .collect();
        let by_position = left(&places);
        push(
            causes::POSITION_OFFSET,
            "the difference depends on the position alone: other position rows",
            "the difference is one row for each position",
            by_position,
        );
        push(
            causes::POSITION_EMBEDDING_MISSING,
            "the difference depends on the position alone: position rows of one side only",
            "the difference is one row for each position",
            by_position,
        );
    }
    out
}
