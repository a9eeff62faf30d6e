//! The last layer's output before the final norm on one side, behind it on the other.
//!
//! transformers returns the normed state as the last entry of `hidden_states`, while all other entries are the residual stream
//! (`modeling_outputs.py`); most other programs dump the stream. One norm with one weight per channel then makes the tensors of both
//! sides one.

use super::{Case, Relation, undone};
use crate::causes;
use crate::diagnose::laws::norm::fit::{Norm, Rows};
use crate::diagnose::{Array, Side, Suspicion};
use crate::name::Stage;

pub struct Normed;

/// What the norm leaves of rows that are more than its unknowns.
const FITS: f64 = 1e-3;

impl Relation for Normed {
    fn id(&self) -> &'static str {
        "normed"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let last = case.scene.pairs.iter().filter_map(|p| p.key.layer).max();
        if !case.is(&[Stage::OUTPUT]) || case.key.layer != last {
            return Vec::new();
        }
        let sides = [
            (case.candidate, case.reference, "reference"),
            (case.reference, case.candidate, "candidate"),
        ];
        let found = sides.into_iter().find_map(|(x, y, behind)| {
            let norm = norm(case, x, y)?;
            let residual = norm.residual.filter(|r| *r < FITS)?;
            let kind = norm.form.kind.name();
            case.suspect(
                causes::DUMP_POINT,
                format!("the {behind} was saved behind the final norm, the other side before it"),
                case.error,
                residual,
                vec![undone(
                    &format!("{kind} with one weight per channel"),
                    case.error,
                    residual,
                )],
            )
        });
        found.into_iter().collect()
    }
}

/// Whether the final norm that one side dumped as well is what the other side has here.
pub fn confirmed(case: &Case<'_>) -> bool {
    let own = |side: Side| case.site(side).dumped(Stage::FINAL_NORM);
    let equals = |norm: Option<Array>, other: &Array| {
        norm.is_some_and(|n| n.data.len() == other.data.len() && n.distance(other) <= case.noise)
    };
    case.is(&[Stage::OUTPUT])
        && (equals(own(Side::Candidate), case.reference)
            || equals(own(Side::Reference), case.candidate))
}

fn norm(case: &Case<'_>, x: &Array, y: &Array) -> Option<Norm> {
    Norm::best(&Rows::new(x, y, case.features())?)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Dumps;
    use super::*;

    /// Rows of a stream, and the same behind a norm with a weight.
    fn states() -> (Array, Array) {
        let width = 16;
        let x: Vec<f64> = (0..12 * width)
            .map(|i| (i as f64 * 0.77).sin() * (1.0 + (i / width) as f64))
            .collect();
        let y = x.chunks(width).flat_map(|row| {
            let rms = (row.iter().map(|v| v * v).sum::<f64>() / width as f64 + 1e-6).sqrt();
            row.iter()
                .enumerate()
                .map(move |(j, v)| v / rms * (1.0 + 0.1 * (j as f64).cos()))
        });
        let y = y.collect();
        (
            Array::new(vec![12, width], x),
            Array::new(vec![12, width], y),
        )
    }

    fn found(layer: u32, noise: f64) -> Vec<Suspicion> {
        let (x, y) = states();
        let off = |(i, v): (usize, &f64)| v * (1.0 + noise * (i as f64 * 1.3).sin());
        let y = Array::new(
            y.shape.clone(),
            y.data.iter().enumerate().map(off).collect(),
        );
        let dumps = Dumps::default()
            .with(0, Stage::OUTPUT, y.clone(), x.clone())
            .with(1, Stage::OUTPUT, y, x);
        dumps.test(&Normed, layer, Stage::OUTPUT)
    }

    #[test]
    fn the_state_behind_the_final_norm_is_another_dump_point() {
        let all = found(1, 0.0);
        assert_eq!(all[0].cause, causes::DUMP_POINT);
        assert!(
            all[0].title.contains("the reference was saved behind"),
            "{}",
            all[0].title
        );
        // only of the last layer, and only where nothing else is left
        assert!(found(0, 0.0).is_empty());
        assert!(found(1, 0.1).is_empty());
    }
}
