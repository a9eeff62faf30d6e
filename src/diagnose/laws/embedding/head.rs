//! Token ids read off a tied output head: logits = final_norm · Eᵀ, so the column of id v is final_norm · E[v].

use crate::diagnose::{Array, Site};
use crate::math::dot;
use crate::name::Stage;

/// The final norm and the logits of one side.
pub struct Head {
    norm: Array,
    logits: Array,
}

/// Tokens that a column is compared over.
const TOKENS: usize = 24;
/// Fewer rows than these do not tell one column among a vocabulary from another.
const FEWEST: usize = 5;

impl Head {
    pub fn new(site: &Site<'_>) -> Option<Head> {
        let (norm, logits) = (site.dumped(Stage::FINAL_NORM)?, site.dumped(Stage::LOGITS)?);
        let tokens = |stage| site.scene.rows(site.side, &site.key(stage));
        // of a large vocabulary only the first rows are looked at
        let (norms, rows) = (norm.rows().len(), logits.rows().len());
        (tokens(Stage::FINAL_NORM) == tokens(Stage::LOGITS) && norms >= rows && rows >= FEWEST)
            .then_some(Head { norm, logits })
    }

    /// final_norm · row: what the column of the row's id is in a tied model, up to a constant factor.
    pub fn column(&self, row: &[f64]) -> Vec<f64> {
        self.norm.rows().take(TOKENS).map(|x| dot(x, row)).collect()
    }

    /// The id whose column is `column` times a constant, with the relative error left.
    pub fn id(&self, column: &[f64]) -> Option<(usize, f64)> {
        let own: f64 = column.iter().map(|x| x * x).sum();
        let v = self.logits.width();
        let (mut dots, mut squares) = (vec![0.0; v], vec![0.0; v]);
        for (row, x) in self.logits.rows().zip(column) {
            for (j, l) in row.iter().enumerate() {
                dots[j] += l * x;
                squares[j] += l * l;
            }
        }
        let cosines = dots
            .iter()
            .zip(&squares)
            .map(|(d, s)| if *s > 0.0 { d / (s * own).sqrt() } else { 0.0 });
        let (id, cosine) = cosines
            .enumerate()
            .filter(|(_, c)| c.is_finite())
            .max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((id, (1.0 - cosine * cosine).max(0.0).sqrt()))
    }

    /// The first `n` tokens' logits of `id`.
    pub fn logits(&self, id: usize, n: usize) -> Option<Vec<f64>> {
        let rows = self.logits.rows().take(n);
        rows.map(|row| row.get(id).copied()).collect()
    }

    /// The relative error of `column` against the column of `id`, up to a constant factor.
    pub fn error(&self, column: &[f64], id: usize) -> Option<f64> {
        let logits: Vec<f64> = self
            .logits
            .rows()
            .take(column.len())
            .map(|row| row.get(id).copied())
            .collect::<Option<_>>()?;
        let cosine = super::table::cosine(&logits, column);
        Some((1.0 - cosine * cosine).max(0.0).sqrt())
    }
}
