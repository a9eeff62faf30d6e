//! Numbers and counts, written for people.

use std::ops::Range;

/// Up to four significant digits.
pub fn short(x: f64) -> String {
    significant(x, 4, -3..6)
}

/// Up to three significant digits: of what was fitted.
pub fn rough(x: f64) -> String {
    significant(x, 3, -3..4)
}

/// So many significant digits where the power of ten lies in `plain`, scientific else.
fn significant(x: f64, digits: i32, plain: Range<i32>) -> String {
    if x == 0.0 || !x.is_finite() {
        return (x + 0.0).to_string();
    }
    let power = x.abs().log10().floor() as i32;
    if !plain.contains(&power) {
        return format!("{x:.1e}").replace(".0e", "e");
    }
    let decimals = (digits - 1 - power).max(0) as usize;
    trimmed(format!("{x:.decimals$}"))
}

/// Without the zeros at the end of its decimals.
fn trimmed(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `1 tensor`, `3 tensors`.
pub fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {thing}{plural}")
}

/// A factor: near 1 with the digits that tell it from 1.
pub fn factor(x: f64) -> String {
    let off = (x - 1.0).abs();
    if off == 0.0 || off >= 0.01 {
        return short(x);
    }
    let decimals = (3.0 - off.log10().floor()).clamp(4.0, 12.0) as usize;
    trimmed(format!("{x:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_near_1_is_told_from_1() {
        assert_eq!(factor(1.0001), "1.0001");
        assert_eq!(factor(0.99999), "0.99999");
        assert_eq!((factor(1.0), factor(2.5)), ("1".into(), "2.5".into()));
    }

    #[test]
    fn figures_for_people_are_short() {
        for (x, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.731, "0.731"),
            (1234.6, "1235"),
            (-0.204, "-0.204"),
            (3.2e-7, "3.2e-7"),
            (1e-4, "1e-4"),
            (123456.0, "123456"),
            (2e7, "2e7"),
        ] {
            assert_eq!(short(x), text);
        }
    }

    #[test]
    fn fitted_figures_are_shorter() {
        let texts = [1e-6, 0.5, 12345.0, 1.23456e-5, 2.0, 0.0123, 1000.0].map(rough);
        assert_eq!(
            texts,
            ["1e-6", "0.5", "1.2e4", "1.2e-5", "2", "0.0123", "1000"]
        );
    }
}
