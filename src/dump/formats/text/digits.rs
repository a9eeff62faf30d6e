//! What the printed digits say about the precision of the values.

use crate::dump::Rounded;

/// The digits of one printed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digits {
    /// Digits after the point.
    decimals: i32,
    /// From the first digit that is not 0 to the last one printed.
    significant: i32,
    /// The decimal exponent, where one is printed.
    exponent: Option<i32>,
    /// A point or an exponent is there; whole numbers are exact.
    fractional: bool,
    /// Some digit after the point is not 0.
    fraction: bool,
}

impl Digits {
    /// `None` for NaN, infinities, hexadecimal floats (which are exact) and what is no number.
    fn of(token: &[u8]) -> Option<Digits> {
        let body = match token {
            [b'-' | b'+', rest @ ..] => rest,
            _ => token,
        };
        if !matches!(body.first(), Some(b'0'..=b'9' | b'.')) || body.starts_with(b"0x") {
            return None;
        }
        let mut d = Digits {
            decimals: 0,
            significant: 0,
            exponent: None,
            fractional: false,
            fraction: false,
        };
        for (i, &b) in body.iter().enumerate() {
            match b {
                b'0'..=b'9' => {
                    d.decimals += i32::from(d.fractional);
                    d.fraction |= d.fractional && b != b'0';
                    if d.significant > 0 || b != b'0' {
                        d.significant = d.significant.saturating_add(1);
                    }
                }
                b'.' if !d.fractional => d.fractional = true,
                b'e' | b'E' => {
                    let text = std::str::from_utf8(&body[i + 1..]).ok()?;
                    d.exponent = Some(text.parse().ok()?);
                    d.fractional = true;
                    break;
                }
                b'f' | b'F' => break,
                _ => return None,
            }
        }
        Some(d)
    }
}

/// Reads a printed number with half a unit of its last digit.
pub fn rounded(token: &[u8]) -> Option<Rounded> {
    let value = super::number::whole(token)?;
    let half_unit = match Digits::of(token) {
        Some(d) if d.fractional => {
            let last = d.exponent.unwrap_or(0).saturating_sub(d.decimals);
            0.5 * 10f64.powi(last)
        }
        _ => 0.0,
    };
    Some(Rounded { value, half_unit })
}

/// Gathers the digits of many values of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Precision {
    decimals: Option<(i32, i32)>,
    significant: i32,
    exponents: bool,
    fractions: bool,
}

impl Precision {
    pub fn see(&mut self, token: &[u8]) {
        let Some(d) = Digits::of(token) else { return };
        if d.fractional {
            let (low, high) = self.decimals.unwrap_or((d.decimals, d.decimals));
            self.decimals = Some((low.min(d.decimals), high.max(d.decimals)));
            self.exponents |= d.exponent.is_some();
            self.fractions |= d.fraction;
        }
        self.significant = self.significant.max(d.significant);
    }

    pub fn merge(&mut self, other: &Precision) {
        self.decimals = match (self.decimals, other.decimals) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, None) => one,
            (None, one) => one,
        };
        self.significant = self.significant.max(other.significant);
        self.exponents |= other.exponents;
        self.fractions |= other.fractions;
    }

    /// Half a unit of the last digit as (absolute, relative); one of them is 0.
    ///
    /// The same number of decimals everywhere is a fixed format (`%.6f`): absolute. Exponents, or decimals that vary
    /// (`%g`, the shortest form that reads back), are relative to the largest number of digits seen. Whole numbers, also
    /// those with `.` or `.0` behind them, are exact.
    pub fn half_units(&self) -> (f64, f64) {
        let Some((low, high)) = self.decimals else {
            return (0.0, 0.0);
        };
        if !self.exponents && (high == 0 || (high == 1 && !self.fractions)) {
            (0.0, 0.0)
        } else if !self.exponents && low == high {
            (0.5 * 10f64.powi(-high), 0.0)
        } else {
            (0.0, 0.5 * 10f64.powi(1 - self.significant.max(1)))
        }
    }

    /// The same for prints that align their columns (numpy, torch): the decimals seen are the most there are, unless
    /// exponents are used.
    pub fn half_units_aligned(&self) -> (f64, f64) {
        match self.decimals {
            Some((_, high)) if !self.exponents && high > 0 => {
                if high == 1 && !self.fractions {
                    (0.0, 0.0)
                } else {
                    (0.5 * 10f64.powi(-high), 0.0)
                }
            }
            _ => self.half_units(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tokens: &[&str]) -> (f64, f64) {
        let mut p = Precision::default();
        tokens.iter().for_each(|t| p.see(t.as_bytes()));
        p.half_units()
    }

    fn close(a: (f64, f64), b: (f64, f64)) -> bool {
        (a.0 - b.0).abs() <= 1e-9 * b.0 && (a.1 - b.1).abs() <= 1e-9 * b.1
    }

    #[test]
    fn fixed_decimals_are_absolute_and_exponents_relative() {
        assert!(close(of(&["1.413610", "-0.101892", "nan"]), (5e-7, 0.0)));
        assert!(close(of(&["-1.234567e-03", "0.000000e+00"]), (0.0, 5e-7)));
    }

    #[test]
    fn varying_decimals_are_relative_to_the_most_digits() {
        assert!(close(of(&["0.5", "0.123457", "12.3457"]), (0.0, 5e-6)));
        assert!(close(of(&["0.1", "1e-05", "0.33333334"]), (0.0, 5e-8)));
    }

    #[test]
    fn whole_numbers_are_exact() {
        assert_eq!(of(&["1", "263"]), (0.0, 0.0));
        assert_eq!(of(&["1.", "-2."]), (0.0, 0.0));
        assert_eq!(of(&["0.0", "1.0"]), (0.0, 0.0));
        assert_eq!(of(&["0x1.8p+3", "inf"]), (0.0, 0.0));
    }

    #[test]
    fn a_printed_figure_knows_its_last_digit() {
        let r = rounded(b"0.0054").unwrap();
        assert_eq!(r.value, 0.0054);
        assert!((r.half_unit - 5e-5).abs() < 1e-12);
        let r = rounded(b"-1.2e+03").unwrap();
        assert!((r.half_unit - 50.0).abs() < 1e-9);
        assert_eq!(rounded(b"17").unwrap().half_unit, 0.0);
        assert!(rounded(b"inf").unwrap().value.is_infinite());
        assert_eq!(rounded(b"x"), None);
    }
}
