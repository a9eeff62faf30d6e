//! A residual sum whose stream was not dumped, known by the norm that read it.
//!
//! Forward hooks see the output of a layer and of its norms, not the stream after attention. Every faulty sum gives the stream
//! back as a combination of both sides' outputs (r = s + b and c = b give s = r − c), and the stream is right when the norm
//! before the MLP, which both sides dumped, is its norm.

use super::norm::fit::{Norm, Rows};
use super::trial::Trial;
use super::{Law, Site, Suspicion};
use crate::causes::{self, Cause};
use crate::diagnose::Array;
use crate::diagnose::laws::Both;
use crate::name::Stage;
use crate::text::rough;

pub struct HiddenStream;

/// s = of_r·r + of_c·c + of_m·m, when the reference is s + b and the candidate's sum has the cause's form.
struct Form {
    cause: &'static Cause,
    text: &'static str,
    of_r: f64,
    of_c: f64,
    of_m: f64,
}

const fn form(cause: &'static Cause, text: &'static str, [of_r, of_c, of_m]: [f64; 3]) -> Form {
    Form {
        cause,
        text,
        of_r,
        of_c,
        of_m,
    }
}

const FORMS: &[Form] = &[
    form(
        causes::RESIDUAL_MISSING,
        "the branch alone",
        [1.0, -1.0, 0.0],
    ),
    form(
        causes::RESIDUAL_DOUBLED,
        "2·stream + branch",
        [-1.0, 1.0, 0.0],
    ),
    form(causes::RESIDUAL_SIGN, "stream − branch", [0.5, 0.5, 0.0]),
    form(causes::RESIDUAL_SIGN, "branch − stream", [0.5, -0.5, 0.0]),
    form(
        causes::BRANCH_DOUBLED,
        "stream + 2·branch",
        [2.0, -1.0, 0.0],
    ),
    form(
        causes::RESIDUAL_FROM_NORMED,
        "mlp_norm + branch",
        [1.0, -1.0, 1.0],
    ),
    form(causes::BUFFER_ALIASED, "2·branch", [1.0, -0.5, 0.0]),
    form(causes::BUFFER_ALIASED, "2·stream", [0.0, 0.5, 0.0]),
];

/// The stream's norm is met at least this well.
const FITS: f64 = 0.05;
/// Fewest rows from which a norm may be concluded.
const ROWS: usize = 4;

impl Law for HiddenStream {
    fn id(&self) -> &'static str {
        "hidden_stream"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::OUTPUT]
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let seen = |site: &Site<'_>| site.tap(Stage::ATTN_RESIDUAL).is_some();
        if seen(reference) || seen(candidate) {
            return None;
        }
        let (m, m_c) = (
            reference.dumped(Stage::MLP_NORM)?,
            candidate.dumped(Stage::MLP_NORM)?,
        );
        let (r, c) = (reference.dumped(output)?, candidate.dumped(output)?);
        let before = c.distance(&r);
        // both sides have one stream only where the norm agrees
        let sizes = [&c, &m, &m_c].iter().all(|a| a.data.len() == r.data.len());
        if !sizes || m_c.distance(&m) > 0.1 * before || r.rows().len() < ROWS {
            return None;
        }
        let input = reference.tap(Stage::INPUT);
        let fits = |f: &Form| -> Option<(f64, f64)> {
            let data = (0..r.data.len())
                .map(|i| f.of_r * r.data[i] + f.of_c * c.data[i] + f.of_m * m.data[i]);
            let stream = Array::new(r.shape.clone(), data.collect());
            let norm = Norm::best(&Rows::new(&stream, &m, r.width())?)?;
            // a stream with the wrong sign has a norm with weights of the wrong sign
            let upright = norm.gamma.iter().sum::<f64>() > 0.0;
            let size = input.as_ref().map_or(0.0, |x| scale(&stream, x));
            upright.then_some((norm.residual?, size))
        };
        let tried: Vec<(&Form, f64, f64)> = FORMS
            .iter()
            .filter_map(|f| fits(f).map(|(left, size)| (f, left, size)))
            .collect();
        let least = tried.iter().map(|t| t.1).fold(f64::INFINITY, f64::min);
        // a norm does not see a factor: of streams that differ by one, the one that is nearest to what entered the layer
        let (form, residual, _) = tried
            .into_iter()
            .filter(|t| t.1 <= 1.5 * least + noise)
            .min_by(|a, b| a.2.total_cmp(&b.2))?;
        let trial = Trial {
            before,
            after: residual,
        };
        (residual < FITS && trial.convinces(noise)).then(|| Suspicion {
            cause: form.cause,
            key: candidate.key(output),
            title: format!(
                "reference: {output} = stream + branch; candidate: {}",
                form.text
            ),
            before,
            after: residual,
            evidence: vec![format!(
                "the stream that follows from the two sums has the mlp_norm of both sides: relative error {}",
                rough(residual)
            )],
        })
    }
}

/// How far the stream's part along the layer's input is from the input itself, as |ln of the factor|.
fn scale(stream: &Array, input: &Array) -> f64 {
    let pairs = stream.data.iter().zip(&*input.data);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (s, x) in pairs.filter(|(s, x)| s.is_finite() && x.is_finite()) {
        xy += s * x;
        xx += x * x;
    }
    let log = (xy / xx).ln().abs();
    if log.is_finite() { log } else { f64::MAX }
}

#[cfg(test)]
mod tests {
    use super::super::toy::{key, noise, pairs, scene};
    use super::*;
    use crate::diagnose::Side;

    const WIDTH: usize = 24;

    fn found(candidate: impl Fn(f64, f64, f64) -> f64) -> Vec<&'static str> {
        let array = |data: Vec<f64>| Array::new(vec![1, 8, WIDTH], data);
        let (s, b) = (noise(1, 8 * WIDTH), noise(2, 8 * WIDTH));
        let gamma: Vec<f64> = noise(3, WIDTH).iter().map(|g| 1.0 + 0.2 * g).collect();
        let m: Vec<f64> = s
            .chunks(WIDTH)
            .flat_map(|row| {
                let rms = (row.iter().map(|x| x * x).sum::<f64>() / WIDTH as f64).sqrt();
                row.iter()
                    .zip(&gamma)
                    .map(move |(x, g)| g * x / rms)
                    .collect::<Vec<_>>()
            })
            .collect();
        let taps = |f: &dyn Fn(f64, f64, f64) -> f64| {
            let out = (0..s.len()).map(|i| f(s[i], b[i], m[i])).collect();
            let input = s.iter().zip(noise(7, s.len())).map(|(s, a)| s - 0.3 * a);
            vec![
                (Stage::INPUT, array(input.collect())),
                (Stage::MLP_NORM, array(m.clone())),
                (Stage::OUTPUT, array(out)),
            ]
        };
        let (r, c) = (taps(&|s, b, _| s + b), taps(&candidate));
        scene(&pairs(None, &r, &c), |scene| {
            let site = |side| scene.site(side, &key(None, Stage::OUTPUT));
            HiddenStream
                .diagnose(&Both::new(
                    site(Side::Reference),
                    site(Side::Candidate),
                    Stage::OUTPUT,
                    2e-6,
                ))
                .iter()
                .map(|s| s.cause.id)
                .collect()
        })
    }

    #[test]
    fn every_sum_is_told_by_the_norm_of_its_stream() {
        assert_eq!(found(|_, b, _| b), ["residual_missing"]);
        assert_eq!(found(|s, b, _| 2.0 * s + b), ["residual_doubled"]);
        assert_eq!(found(|s, b, _| s - b), ["residual_sign"]);
        assert_eq!(found(|s, b, _| s + 2.0 * b), ["branch_doubled"]);
        assert_eq!(found(|s, b, _| b - s), ["residual_sign"]);
        assert_eq!(found(|_, b, m| m + b), ["residual_from_normed"]);
        assert_eq!(found(|_, b, _| 2.0 * b), ["buffer_aliased"]);
        assert_eq!(found(|s, _, _| 2.0 * s), ["buffer_aliased"]);
    }

    #[test]
    fn right_sums_and_other_branches_are_silent() {
        assert!(found(|s, b, _| s + b).is_empty());
        assert!(found(|s, b, _| s + b * b).is_empty());
        assert!(found(|s, b, _| s + 1.3 * b).is_empty());
    }
}
