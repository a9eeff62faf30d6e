//! Where the MLP branches off the stream, and where it is added: after attention, or before it as in parallel blocks.
//!
//! A norm or a sum that reads the other of the two streams obeys its law all the same, with the other stream: the reference's
//! weights tell a norm, the sum needs none.

use super::norm::fit::{Norm, Rows};
use super::trial::Trial;
use super::{Law, Site, Suspicion};
use crate::causes;
use crate::diagnose::Array;
use crate::diagnose::laws::Both;
use crate::math::distance;
use crate::name::Stage;
use crate::text::rough;

pub struct BranchPoint;

/// The reference follows from its stream at least this well.
const FITS: f64 = 0.05;
/// And leaves this part of what the candidate's difference is: a stream that is nearly the right one is not the one.
const CLEAR: f64 = 0.05;
/// Fewest rows from which a norm may be concluded.
const ROWS: usize = 4;

/// The streams that a norm or a sum of the MLP may read.
const STREAMS: [(Stage, &str); 2] = [
    (Stage::ATTN_RESIDUAL, "the stream after attention"),
    (Stage::INPUT, "the stream that enters the layer"),
];

impl Law for BranchPoint {
    fn id(&self) -> &'static str {
        "branch_point"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::MLP_NORM, Stage::MLP_RESIDUAL, Stage::OUTPUT]
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let (y_r, y_c) = (reference.dumped(output)?, candidate.dumped(output)?);
        let streams = |site: &Site<'_>| Some([site.tap(STREAMS[0].0)?, site.tap(STREAMS[1].0)?]);
        let (x_r, x_c) = (streams(reference)?, streams(candidate)?);
        // what each stream makes of the reference's output, and what that leaves
        let read = |i: usize| Some((i, Operation::of(reference, output, &x_r[i], &y_r)?));
        let (own, (operation, residual)) = (0..STREAMS.len())
            .filter_map(read)
            .min_by(|a, b| a.1.1.total_cmp(&b.1.1))
            .filter(|(_, (_, residual))| *residual < FITS)?;
        let left = |i: usize| {
            Some(distance(
                &operation.apply(candidate, output, &x_c[i])?,
                &y_c.data,
            ))
        };
        let other = 1 - own;
        let trial = Trial {
            before: left(own)?,
            after: left(other)?,
        };
        let place = |i: usize| STREAMS[i].1;
        let clear = residual < CLEAR * trial.before;
        (clear && trial.convinces(noise.max(residual))).then(|| Suspicion {
            cause: causes::RESIDUAL_WRONG_SOURCE,
            key: candidate.key(output),
            title: format!(
                "{output} is made from {} in the reference, from {} in the candidate",
                place(own),
                place(other)
            ),
            before: trial.before,
            after: trial.after,
            evidence: vec![
                format!("the candidate's from {}: {}", place(other), trial.text()),
                format!(
                    "the reference's from {}: relative error {}",
                    place(own),
                    rough(residual)
                ),
            ],
        })
    }
}

/// What the reference does with its stream.
enum Operation {
    Norm(Norm),
    /// The MLP's branch is added.
    Sum,
}

impl Operation {
    /// The operation, and the relative error it leaves with this stream.
    fn of(site: &Site<'_>, output: Stage, x: &Array, y: &Array) -> Option<(Operation, f64)> {
        if output != Stage::MLP_NORM {
            let sum = Operation::Sum.apply(site, output, x)?;
            return Some((Operation::Sum, distance(&sum, &y.data)));
        }
        let rows = Rows::new(x, y, y.width()).filter(|_| y.rows().len() >= ROWS)?;
        let norm = Norm::best(&rows)?;
        let residual = norm.residual?;
        Some((Operation::Norm(norm), residual))
    }

    fn apply(&self, site: &Site<'_>, output: Stage, x: &Array) -> Option<Vec<f64>> {
        match self {
            Operation::Norm(norm) => (x.width() == norm.gamma.len()).then(|| norm.apply(&x.data)),
            Operation::Sum => {
                let branch = site.dumped(Stage::MLP_POST_NORM);
                let branch = branch.or_else(|| site.dumped(Stage::DOWN_PROJ))?;
                let size = site.dumped(output)?.data.len();
                Some(x.plus(&branch)?.data.to_vec()).filter(|sum| sum.len() == size)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::Side;
    use crate::diagnose::laws::toy::{key, noise, pairs, scene};

    fn found(output: Stage, make: impl Fn(&[Vec<f64>; 3], bool) -> Vec<f64>) -> Vec<String> {
        let (rows, width) = (6, 16);
        let values = |seed| noise(seed, rows * width);
        let parts: [Vec<f64>; 3] = [values(1), values(2), values(3)];
        let array = |data: &[f64]| Array::new(vec![1, rows, width], data.to_vec());
        let after: Vec<f64> = parts[0].iter().zip(&parts[1]).map(|(a, b)| a + b).collect();
        let taps = |right: bool| {
            vec![
                (Stage::INPUT, array(&parts[0])),
                (Stage::O_PROJ, array(&parts[1])),
                (Stage::ATTN_RESIDUAL, array(&after)),
                (Stage::DOWN_PROJ, array(&parts[2])),
                (output, array(&make(&parts, right))),
            ]
        };
        scene(&pairs(None, &taps(true), &taps(false)), |scene| {
            let site = |side| scene.site(side, &key(None, output));
            let suspicions = BranchPoint.diagnose(&Both::new(
                site(Side::Reference),
                site(Side::Candidate),
                output,
                1e-9,
            ));
            suspicions.into_iter().map(|s| s.title).collect()
        })
    }

    #[test]
    fn the_stream_before_attention_is_told_from_that_behind_it() {
        let sum = |[input, attention, mlp]: &[Vec<f64>; 3], right: bool| -> Vec<f64> {
            let kept = f64::from(u8::from(right));
            (0..input.len())
                .map(|i| input[i] + kept * attention[i] + mlp[i])
                .collect()
        };
        let norm = |[input, attention, _]: &[Vec<f64>; 3], right: bool| -> Vec<f64> {
            let kept = f64::from(u8::from(right));
            let x: Vec<f64> = (0..input.len())
                .map(|i| input[i] + kept * attention[i])
                .collect();
            x.chunks(16)
                .flat_map(|row| {
                    let rms = (row.iter().map(|x| x * x).sum::<f64>() / 16.0).sqrt();
                    row.iter()
                        .enumerate()
                        .map(move |(j, x)| x / rms * (1.0 + 0.1 * j as f64))
                })
                .collect()
        };
        let expected = |stage| {
            format!(
                "{stage} is made from the stream after attention in the reference, from the stream that enters the layer in \
                 the candidate"
            )
        };
        assert_eq!(found(Stage::OUTPUT, sum), [expected("output")]);
        assert_eq!(found(Stage::MLP_NORM, norm), [expected("mlp_norm")]);
        assert!(found(Stage::MLP_NORM, |parts, _| norm(parts, true)).is_empty());
    }
}
