//! What a hypothesis leaves of a difference, and when that is enough to name it.

use crate::text::rough;

/// Relative errors under the reference's law (`before`) and under the hypothesis (`after`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    pub before: f64,
    pub after: f64,
}

impl Trial {
    /// Whether there is something to explain (well above `noise`, what rounding may do) and the hypothesis explains most of it.
    pub fn convinces(self, noise: f64) -> bool {
        // as far off as zeros are is to explain nothing, however far the candidate was
        let most = 0.4 * self.before.min(1.0);
        self.before > 1.5 * noise && self.after.is_finite() && self.after < most
    }

    /// `relative error 3e-3 → 2e-7`
    pub fn text(self) -> String {
        format!(
            "relative error {} → {}",
            rough(self.before),
            rough(self.after)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthy_noise_does_not_convince() {
        assert!(
            !Trial {
                before: 1e-6,
                after: 1e-7
            }
            .convinces(2e-6)
        );
        assert!(
            Trial {
                before: 1e-4,
                after: 1e-7
            }
            .convinces(2e-6)
        );
        assert!(
            !Trial {
                before: 1e-4,
                after: 9e-5
            }
            .convinces(2e-6)
        );
        assert!(
            !Trial {
                before: 1e-4,
                after: f64::NAN
            }
            .convinces(2e-6)
        );
    }
}
