//! How large a difference is, in words for people: by absolute tolerances, whatever decides the verdict.

use super::PairStats;
use serde::{Deserialize, Serialize};

/// From the same bits to anything at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    Identical,
    Excellent,
    Good,
    Acceptable,
    Significant,
}

impl Grade {
    pub fn name(self) -> &'static str {
        match self {
            Grade::Identical => "identical",
            Grade::Excellent => "excellent",
            Grade::Good => "good",
            Grade::Acceptable => "acceptable",
            Grade::Significant => "significant",
        }
    }

    /// The grade of a pair.
    pub fn of(stats: &PairStats) -> Grade {
        let d = &stats.diff;
        if d.nan_one_side > 0 || d.inf_mismatch > 0 {
            return Grade::Significant;
        }
        if d.identical {
            Grade::Identical
        } else if d.max_mixed <= 1e-4 {
            Grade::Excellent
        } else if d.max_mixed <= 1e-3 {
            Grade::Good
        } else if d.max_abs < 1e-2 && d.cosine.is_some_and(|c| c > 0.99) {
            Grade::Acceptable
        } else {
            Grade::Significant
        }
    }
}
