//! Y = X·Wᵀ against Y = X·W, told without the weight.
//!
//! With input X (tokens × hidden) X·(X·W)ᵀ = (X·(X·Wᵀ)ᵀ)ᵀ: the products of inputs and outputs of the two sides are each other's
//! transpose. A bias is removed by subtracting the mean over tokens from X and Y first.

use super::{Case, Relation, gram, undone};
use crate::causes;
use crate::diagnose::{Array, Suspicion};

pub struct Transpose;

/// Inputs that differ by more than this give products that cannot be compared.
const SAME_INPUT: f64 = 0.05;

impl Relation for Transpose {
    fn id(&self) -> &'static str {
        "transpose"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        transposed(case).into_iter().collect()
    }
}

fn transposed(case: &Case<'_>) -> Option<Suspicion> {
    let (xr, xc) = case.projection_inputs()?;
    let (yr, yc) = case.by_token()?;
    let square = xr.width() == yr.width() && xr.rows().len() == yr.rows().len();
    // fewer tokens leave no room between a matrix and its transpose
    if !square || xr.rows().len() < 4 || xc.distance(&xr) > SAME_INPUT {
        return None;
    }
    let product = |x: &Array, y: &Array| {
        let m = gram::products(&gram::centred(x), &gram::centred(y));
        let n = m.len();
        Array::new(vec![n, n], m.concat())
    };
    let (r, c) = (product(&xr, &yr), product(&xc, &yc));
    let n = r.width();
    let flipped = Array::new(
        vec![n, n],
        (0..n * n).map(|i| r.data[i % n * n + i / n]).collect(),
    );
    let (before, after) = (c.distance(&r), c.distance(&flipped));
    case.suspect(
        causes::WEIGHT_TRANSPOSED,
        format!(
            "the weight at {} is used transposed in the candidate",
            case.key
        ),
        before,
        after,
        vec![undone(
            "transposing the products of inputs and outputs over tokens",
            before,
            after,
        )],
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, normal, project, stream};
    use super::*;
    use crate::name::Stage;

    fn flipped(w: &[f64], n: usize) -> Vec<f64> {
        (0..n * n).map(|i| w[i % n * n + i / n]).collect()
    }

    #[test]
    fn a_transposed_weight_is_found_whatever_the_bias() {
        let x = stream(10, 32, 1);
        let w = normal(32 * 32, 2);
        let bias = normal(32, 3);
        let y = |w: &[f64]| {
            let y = project(&x, w, 32);
            let data = y
                .data
                .iter()
                .enumerate()
                .map(|(i, v)| v + bias[i % 32])
                .collect();
            Array::new(y.shape, data)
        };
        let dumps = Dumps::default().same(0, Stage::ATTN_NORM, &x).with(
            0,
            Stage::Q_PROJ,
            y(&w),
            y(&flipped(&w, 32)),
        );
        let s = dumps.test(&Transpose, 0, Stage::Q_PROJ);
        assert_eq!(s[0].cause.id, "weight_transposed");
        assert!(s[0].before > 1.0 && s[0].after < 1e-6, "{s:?}");
        let other = Dumps::default().same(0, Stage::ATTN_NORM, &x).with(
            0,
            Stage::Q_PROJ,
            y(&w),
            y(&normal(32 * 32, 9)),
        );
        assert!(other.test(&Transpose, 0, Stage::Q_PROJ).is_empty());
    }
}
