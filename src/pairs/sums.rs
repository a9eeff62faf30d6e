//! Sums, means and deviations over tensors of which only some elements are printed: they tell of a difference between the
//! elements shown.

use crate::compare::PairStats;
use crate::compare::summarise::summarise;
use crate::dump::{Payload, PrintedStats, Rounded, Tensor};

/// Printed elements that differ more than this speak for themselves, and the sums differ with them.
const ALIKE: f64 = 0.01;
/// The sums of values that have nothing to do with each other differ by about √n times their size; a part of that is no chance.
const TELLING: f64 = 0.25;

/// Deviations of tensors whose elements agree differ by less than this part, whatever the arithmetic.
const DEVIATION: f64 = 0.05;

/// Statistics of both sides when the printed elements agree and those over all cannot; `None` otherwise.
///
/// Noise of the size that the printed elements show, were it all of one sign, moves a sum by `n` times that; half of the way from
/// there to independent noise (√n) is allowed.
pub fn contradiction(
    stats: &PairStats,
    dumped: [&Tensor; 2],
    aligned: [&Tensor; 2],
) -> Option<[PrintedStats; 2]> {
    let partial = |t: &Tensor| matches!(t.payload, Payload::Partial(_));
    let whole = |(a, b): (&Tensor, &Tensor)| a.info.len() == b.info.len();
    let d = &stats.diff;
    let apart = !aligned.iter().any(|t| partial(t))
        || !aligned.into_iter().zip(dumped).all(whole)
        || d.count == 0
        || d.reference_l2 <= 0.0;
    let error = d.l2 / d.reference_l2;
    if apart || error.is_nan() || error > ALIKE {
        return None;
    }
    let [r, c] = [figures(aligned[0])?, figures(aligned[1])?];
    let shown = d.reference_l2 / (d.count as f64).sqrt();
    let rms = r.rms.or(c.rms).unwrap_or(shown);
    let n = aligned[0].info.len() as f64;
    let half: f64 = aligned.iter().map(|t| t.printed.half_unit_abs).sum();
    let beyond = (r.sum.value - c.sum.value).abs() - r.sum.half_unit - c.sum.half_unit;
    let noise = (error + half / rms) * (10.0 + n.sqrt() / 2.0);
    let sums = beyond.is_finite() && beyond > rms * n.sqrt() * (TELLING + noise);
    let deviations = r.std.zip(c.std).filter(|(a, b)| {
        let beyond = (a.value - b.value).abs() - a.half_unit - b.half_unit;
        beyond > (DEVIATION + noise) * a.value.max(b.value)
    });
    if !sums && deviations.is_none() {
        return None;
    }
    // Where no deviation is known, the size of the values is the scale of their sum.
    let size = Rounded {
        value: rms,
        half_unit: 0.0,
    };
    let (std_r, std_c) = deviations.unwrap_or((size, size));
    Some([(r, std_r), (c, std_c)].map(|(side, std)| PrintedStats {
        count: Some(n as u64),
        std: Some(std),
        sum: sums.then_some(side.sum),
        ..PrintedStats::default()
    }))
}

struct Figures {
    sum: Rounded,
    std: Option<Rounded>,
    /// Known of complete tensors.
    rms: Option<f64>,
}

/// The sum that was printed, or that of all elements.
fn figures(t: &Tensor) -> Option<Figures> {
    if let Payload::Partial(_) = t.payload {
        let stats = t.printed.stats.as_ref()?;
        let n = t.info.len() as f64;
        let of_mean = |mean: Rounded| Rounded {
            value: mean.value * n,
            half_unit: mean.half_unit * n,
        };
        return Some(Figures {
            sum: stats.sum.or(stats.mean.map(of_mean))?,
            std: stats.std,
            rms: None,
        });
    }
    // What cannot be read has said so in the comparison.
    let s = summarise(t).ok()?;
    if s.nan + s.inf > 0 {
        return None;
    }
    let sum = Rounded {
        value: s.mean? * s.count as f64,
        half_unit: 0.0,
    };
    Some(Figures {
        sum,
        std: s.std.map(|value| Rounded {
            value,
            half_unit: 0.0,
        }),
        rms: s.rms,
    })
}
