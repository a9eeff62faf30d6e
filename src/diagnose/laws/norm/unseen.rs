//! A norm whose input was not dumped: what its two outputs tell by themselves.
//!
//! A norm that is left out shows the input, so the reference's output is the norm of the candidate's; one that is applied twice
//! is the norm of the reference's. Another weight is a factor per channel, and the weight itself is known by an identity that
//! needs no input: a normalised row divided by its weight has a mean square of 1.

use super::super::trial::Trial;
use super::fit::{Norm, Rows};
use crate::causes::{self, Cause};
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Suspicion};
use crate::math::distance;
use crate::text::rough;

/// Fewest rows from which a weight per channel may be concluded.
const ROWS: usize = 4;
/// A mean square this far from 1 belongs to another weight.
const UNIT: f64 = 0.05;
/// What one factor per channel may leave, in the coarsest arithmetic.
const SAME: f64 = 0.02;
/// A weight that differs is known by elimination: nothing but the weight acts on a channel by itself.
const ELIMINATED: f64 = 0.02;

pub fn suspicions(both: &Both<'_>) -> Vec<Suspicion> {
    let (reference, candidate, output, noise) = both.parts();
    let (Some(r), Some(c)) = (reference.dumped(output), candidate.dumped(output)) else {
        return Vec::new();
    };
    let width = r.width();
    if r.data.len() != c.data.len() || r.rows().len() < ROWS || width < 8 {
        return Vec::new();
    }
    let before = c.distance(&r);
    // rows of a bare norm have one length, so their norm is a factor per channel too: the weight comes first
    let found = weight(&r, &c)
        .or_else(|| missing(&r, &c))
        .or_else(|| twice(&r, &c));
    let Some((cause, title, after)) = found else {
        return Vec::new();
    };
    let trial = Trial { before, after };
    if !trial.convinces(noise) {
        return Vec::new();
    }
    vec![Suspicion {
        cause,
        key: candidate.key(output),
        title,
        before,
        after,
        evidence: vec![
            trial.text(),
            "its input was not dumped: told by the two outputs alone".into(),
        ],
    }]
}

type Found = (&'static Cause, String, f64);

fn missing(r: &Array, c: &Array) -> Option<Found> {
    let norm = Norm::best(&Rows::new(c, r, r.width())?)?;
    let left = norm.residual.filter(|l| *l < UNIT)?;
    let title = format!(
        "the candidate skips the norm: the reference's output is the {} of the candidate's",
        norm.form.kind.name()
    );
    Some((causes::NORM_MISSING, title, left))
}

fn twice(r: &Array, c: &Array) -> Option<Found> {
    let norm = Norm::best(&Rows::new(r, c, r.width())?)?;
    let left = norm.residual.filter(|l| *l < UNIT)?;
    let title = format!(
        "the candidate applies the {} twice: its output is the norm of the reference's",
        norm.form.kind.name()
    );
    Some((causes::NORM_APPLIED_TWICE, title, left))
}

/// One factor per channel, and what it says of the two weights.
fn weight(r: &Array, c: &Array) -> Option<Found> {
    let width = r.width();
    let (mut cr, mut rr) = (vec![0.0; width], vec![0.0; width]);
    for (r, c) in r.rows().zip(c.rows()) {
        for j in 0..width {
            cr[j] += c[j] * r[j];
            rr[j] += r[j] * r[j];
        }
    }
    let factors: Vec<f64> = cr.iter().zip(&rr).map(|(a, b)| a / b).collect();
    if factors.iter().any(|s| !s.is_finite()) {
        return None;
    }
    let scaled: Vec<f64> = r
        .rows()
        .flat_map(|row| row.iter().zip(&factors).map(|(x, s)| x * s))
        .collect();
    let left = distance(&scaled, &c.data);
    if left > SAME {
        return None;
    }
    let bare = vec![1.0; width];
    if unit(c, &bare) {
        let title = "the candidate's norm has a weight of 1 in every channel: its rows have a mean square of 1".into();
        return Some((causes::NORM_WEIGHT_MISSING, title, left));
    }
    if unit(r, &bare) {
        let title =
            "only the candidate's norm has a weight: the reference's rows have a mean square of 1"
                .into();
        return Some((causes::NORM_WEIGHT_MISSING, title, left));
    }
    // weights that differ by exactly 1 are known from their ratio: γ = ±1/(s − 1)
    let inverse: Vec<f64> = factors.iter().map(|s| 1.0 / (s - 1.0)).collect();
    if unit(r, &inverse) {
        let smaller = factors.iter().filter(|s| **s < 1.0).count();
        let (cause, text) = if 2 * smaller > width {
            (causes::NORM_PLUS_ONE_MISSING, "smaller")
        } else {
            (causes::NORM_PLUS_ONE_EXTRA, "larger")
        };
        let title =
            format!("the candidate's weight is {text} by 1 than the reference's in every channel");
        return Some((cause, title, left));
    }
    let (low, high) = factors
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), s| {
            (a.min(*s), b.max(*s))
        });
    let title = format!(
        "the candidate's norm has another weight: {} to {} times the reference's, by channel",
        rough(low),
        rough(high)
    );
    let before = c.distance(r);
    Some((
        causes::NORM_WRONG_WEIGHT,
        title,
        left.max(ELIMINATED * before),
    ))
}

/// Whether rows divided by `gamma` have a mean square of 1 (LayerNorm: of their deviations), as far as epsilon lets them.
fn unit(y: &Array, gamma: &[f64]) -> bool {
    let n = gamma.len() as f64;
    let mut squares: Vec<f64> = y
        .rows()
        .map(|row| {
            row.iter()
                .zip(gamma)
                .map(|(y, g)| (y / g) * (y / g))
                .sum::<f64>()
                / n
        })
        .collect();
    squares.sort_by(f64::total_cmp);
    let near = |x: f64| (x - 1.0).abs() < UNIT;
    let rows = squares.len();
    near(squares[rows / 2]) && near(squares[rows - 1]) && near(squares[rows / 4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Side;
    use crate::diagnose::laws::toy::{key, noise, pairs, scene};
    use crate::name::Stage;

    const WIDTH: usize = 32;

    fn found(candidate: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Vec<&'static str> {
        let stream = noise(3, 8 * WIDTH);
        let gamma: Vec<f64> = noise(4, WIDTH).iter().map(|g| 1.2 + 0.2 * g).collect();
        type Law<'a> = &'a dyn Fn(&[f64], &[f64]) -> Vec<f64>;
        let array = |f: Law<'_>| {
            let data = stream.chunks(WIDTH).enumerate().flat_map(|(t, row)| {
                let row: Vec<f64> = row.iter().map(|x| x * (1.0 + t as f64)).collect();
                f(&row, &gamma)
            });
            Array::new(vec![1, 8, WIDTH], data.collect())
        };
        let taps = |y: Array| vec![(Stage::MLP_NORM, y)];
        let (r, c) = (taps(array(&rms)), taps(array(&candidate)));
        scene(&pairs(None, &r, &c), |scene| {
            let site = |side| scene.site(side, &key(None, Stage::MLP_NORM));
            suspicions(&Both::new(
                site(Side::Reference),
                site(Side::Candidate),
                Stage::MLP_NORM,
                2e-6,
            ))
            .iter()
            .map(|s| s.cause.id)
            .collect()
        })
    }

    fn rms(x: &[f64], gamma: &[f64]) -> Vec<f64> {
        let rms = (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64).sqrt();
        x.iter().zip(gamma).map(|(x, g)| g * x / rms).collect()
    }

    #[test]
    fn what_the_outputs_tell_is_named() {
        assert_eq!(found(|x, _| x.to_vec()), ["norm_missing"]);
        assert_eq!(found(|x, g| rms(&rms(x, g), g)), ["norm_applied_twice"]);
        assert_eq!(
            found(|x, g| rms(x, &vec![1.0; g.len()])),
            ["norm_weight_missing"]
        );
        let plus = |by: f64| {
            move |x: &[f64], g: &[f64]| rms(x, &g.iter().map(|g| g + by).collect::<Vec<_>>())
        };
        assert_eq!(found(plus(1.0)), ["norm_plus_one_extra"]);
        assert_eq!(found(plus(-1.0)), ["norm_plus_one_missing"]);
        let other = |x: &[f64], _: &[f64]| {
            rms(
                x,
                &noise(9, WIDTH)
                    .iter()
                    .map(|g| 1.0 + 0.3 * g)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(found(other), ["norm_wrong_weight"]);
    }

    #[test]
    fn healthy_and_foreign_outputs_are_silent() {
        assert!(found(rms).is_empty());
        assert!(found(|x, g| rms(&x.iter().map(|v| v * v).collect::<Vec<_>>(), g)).is_empty());
    }
}
