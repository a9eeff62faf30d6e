//! What a hypothesis leaves of a difference, and when that is enough to name it.

pub use crate::diagnose::dot::distance;

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
            short(self.before),
            short(self.after)
        )
    }
}

/// A number as a person writes it: three digits at most.
pub fn short(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    if (1e-3..1e4).contains(&x.abs()) {
        let digits = (2 - x.abs().log10().floor() as i32).clamp(0, 5) as usize;
        let text = format!("{x:.digits$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let text = format!("{x:.1e}");
    text.replace(".0e", "e")
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

    #[test]
    fn numbers_are_short() {
        let texts = [1e-6, 0.5, 12345.0, 1.23456e-5, 2.0, 0.0123, 1000.0].map(short);
        assert_eq!(
            texts,
            ["1e-6", "0.5", "1.2e4", "1.2e-5", "2", "0.0123", "1000"]
        );
    }
}
