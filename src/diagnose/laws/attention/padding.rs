//! Rows of padding: queries that see nothing, or that nobody looks at.
//!
//! softmax of a row of −∞ is 0/0. A finite filling gives equal weights there, a clamped one zeros: the values of such rows mean
//! nothing and may differ between two right implementations, but NaN spreads from them through V and later layers.

use super::super::Law;
use super::mask::Sight;
use crate::causes;
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Side, Site, Suspicion};
use crate::name::Stage;

/// Rows of padded queries: NaN in them, or differences in nothing but them.
pub struct PaddedRows;

/// For each batch row, which tokens are padding on one side: from the attention mask, else from the keys that no query of the
/// layer (or of the first layer) sees.
pub fn padding(site: &Site<'_>) -> Option<Vec<Vec<bool>>> {
    if let Some(mask) = site.dumped(Stage::ATTENTION_MASK)
        && mask.shape.len() == 2
    {
        let hidden = |row: &[f64]| row.iter().map(|x| *x == 0.0).collect();
        return Some(mask.rows().map(hidden).collect());
    }
    [*site, site.in_layer(0)].iter().find_map(|site| {
        let sight = match site.dumped(Stage::ATTN_SCORES) {
            Some(scores) => Sight::of_scores(&scores, 0),
            None => Sight::of_weights(&site.dumped(Stage::ATTN_WEIGHTS)?, 0),
        }?;
        let tokens = sight.queries;
        let mask = sight.mask();
        let rows = mask.padded.iter();
        (sight.keys >= tokens && tokens > 1).then(|| rows.map(|r| r[..tokens].to_vec()).collect())
    })
}

impl Law for PaddedRows {
    fn id(&self) -> &'static str {
        "padded_rows"
    }

    fn outputs(&self) -> &'static [Stage] {
        use crate::graph::known::*;
        &[
            ATTN_QK,
            ATTN_WEIGHTS,
            ATTN_CTX,
            O_PROJ,
            ATTN_POST_NORM,
            ATTN_RESIDUAL,
            ATTN_OUT_NORM,
            MLP_NORM,
            GATE_PROJ,
            UP_PROJ,
            ACT,
            MLP_MID,
            DOWN_PROJ,
            MLP_POST_NORM,
            MLP_RESIDUAL,
            OUTPUT,
            FINAL_NORM,
            LOGITS,
        ]
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let (r, c) = (reference.dumped(output)?, candidate.dumped(output)?);
        if r.shape != c.shape {
            return None;
        }
        let token = token_of(output, &r)?;
        let padded = idle(reference, output, &r)?;
        let is_idle = |at: usize| {
            let (b, t) = token(at);
            let idle = |t: usize| {
                padded
                    .get(b)
                    .and_then(|row| row.get(t))
                    .copied()
                    .unwrap_or(false)
            };
            // a product with a padded key is masked later
            let key = at % r.width();
            idle(t) || output == Stage::ATTN_QK && idle(key)
        };
        if !(0..r.data.len()).any(is_idle) {
            return None;
        }
        let nan: Vec<usize> = (0..c.data.len())
            .filter(|&i| c.data[i].is_nan() && !r.data[i].is_nan())
            .collect();
        let (mut inside, mut outside, mut norm) = (0.0, 0.0, 0.0);
        for i in 0..r.data.len() {
            let (x, y) = (r.data[i], c.data[i]);
            if x.is_finite() && y.is_finite() {
                let d = (x - y) * (x - y);
                if is_idle(i) {
                    inside += d;
                } else {
                    outside += d;
                    norm += x * x;
                }
            }
        }
        if norm == 0.0 {
            return None;
        }
        let (before, after) = (((inside + outside) / norm).sqrt(), (outside / norm).sqrt());
        let rows = (0..padded.len())
            .filter(|&b| padded[b].iter().any(|p| *p))
            .count();
        let key = candidate.key(output);
        if !nan.is_empty() {
            return nan.iter().all(|&i| is_idle(i)).then(|| Suspicion {
                cause: causes::NAN_FULLY_MASKED_ROW,
                key,
                title: "rows in which every key is masked are NaN in the candidate".into(),
                before: f64::INFINITY,
                after,
                evidence: vec![
                    format!(
                        "{} values are NaN, all of them in rows of padding or of queries that see no key",
                        nan.len()
                    ),
                    format!("relative error over all other rows: {after:.2e}"),
                ],
            });
        }
        (before > noise && after < 0.1 * before).then(|| Suspicion {
            cause: causes::PAD_ROWS_DIFFER,
            key,
            title: "only rows of padding differ, which nothing looks at".into(),
            before,
            after,
            evidence: vec![format!(
                "relative error with the rows of padding: {before:.2e}, without them: {after:.2e} ({rows} batch rows have padding)"
            )],
        })
    }
}

/// Tells batch row and token (query) of an element.
type TokenOf = Box<dyn Fn(usize) -> (usize, usize)>;

fn token_of(output: Stage, a: &Array) -> Option<TokenOf> {
    let shape = a.shape.clone();
    match (output, shape.len()) {
        (Stage::ATTN_QK | Stage::ATTN_WEIGHTS, 4) => {
            let (h, q, k) = (shape[1], shape[2], shape[3]);
            Some(Box::new(move |at| (at / (h * q * k), at / k % q)))
        }
        (_, 3 | 4) => {
            let row: usize = shape[2..].iter().product();
            let tokens = shape[1];
            Some(Box::new(move |at| (at / (row * tokens), at / row % tokens)))
        }
        _ => None,
    }
}

/// Tokens whose rows mean nothing: padding, and queries that see no key on the reference's side.
fn idle(reference: &Site<'_>, output: Stage, a: &Array) -> Option<Vec<Vec<bool>>> {
    let tokens = match output {
        Stage::ATTN_QK | Stage::ATTN_WEIGHTS => *a.shape.get(2)?,
        _ => *a.shape.get(1)?,
    };
    let mut idle = padding(reference)
        .or_else(|| padding(&reference.on(Side::Candidate)))
        .filter(|rows| rows.iter().all(|r| r.len() == tokens));
    let scores = reference.dumped(Stage::ATTN_SCORES);
    let sight = scores.and_then(|s| Sight::of_scores(&s, 0));
    if let Some(sight) = sight.filter(|s| s.queries == tokens) {
        let rows = idle.get_or_insert_with(|| vec![vec![false; tokens]; sight.batch]);
        for (b, row) in rows.iter_mut().enumerate().take(sight.batch) {
            for (q, x) in row.iter_mut().enumerate() {
                *x |= sight.is_blank(b, q);
            }
        }
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::laws::rope::Rope;
    use crate::diagnose::laws::toy::{Toy, key, pairs, scene};

    fn diagnose(law: &dyn Law, r: &Toy, c: &Toy, output: Stage) -> Vec<Suspicion> {
        let pairs = pairs(None, &r.run(), &c.run());
        scene(&pairs, |scene| {
            let site = |side| scene.site(side, &key(None, output));
            let (r, c) = (site(Side::Reference), site(Side::Candidate));
            law.diagnose(&Both::new(r, c, output, 2e-6))
        })
    }

    fn padded(fill: f64) -> Toy {
        Toy {
            pads: vec![0, 4],
            fill,
            ..Toy::default()
        }
    }

    #[test]
    fn nan_in_fully_masked_rows_is_told_from_other_nan() {
        let (finite, infinite) = (padded(-1e9), padded(f64::NEG_INFINITY));
        for output in [Stage::ATTN_WEIGHTS, Stage::ATTN_CTX] {
            let found = diagnose(&PaddedRows, &finite, &infinite, output);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].cause.id, "nan_fully_masked_row");
            assert_eq!(diagnose(&PaddedRows, &finite, &finite, output), []);
        }
        // a diagonal that hides the query itself is another fault
        let moved = Toy {
            causal: Some(-1),
            ..infinite
        };
        assert_eq!(
            diagnose(&PaddedRows, &finite, &moved, Stage::ATTN_WEIGHTS),
            []
        );
    }

    #[test]
    fn rows_of_padding_that_differ_alone_are_harmless() {
        // a right mask that pads see differently: −1e4 + score keeps an order among them
        let found = diagnose(
            &PaddedRows,
            &padded(-1e9),
            &Toy {
                pad_rows: 3.0,
                ..padded(-1e9)
            },
            Stage::ATTN_CTX,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cause.id, "pad_rows_differ");
    }

    #[test]
    fn positions_that_count_the_padding_are_harmless() {
        let shifted = Toy {
            offset: vec![0, -4],
            ..padded(-1e9)
        };
        let found = diagnose(&Rope, &padded(-1e9), &shifted, Stage::Q_ROPE);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cause.id, "pad_rows_differ");
        let wrong = Toy {
            offset: vec![0, -3],
            ..padded(-1e9)
        };
        let found = diagnose(&Rope, &padded(-1e9), &wrong, Stage::Q_ROPE);
        assert_eq!(found[0].cause.id, "rope_position_offset");
    }
}
