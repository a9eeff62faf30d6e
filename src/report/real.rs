//! A number that survives JSON: infinite and NaN values are the strings "inf", "-inf", "nan".

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// A value taken from a tensor. Undefined figures are `Option<Real>` = `null`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Real(pub f64);

impl From<f64> for Real {
    fn from(value: f64) -> Self {
        Real(value)
    }
}

impl Real {
    /// The shortest digits that give the same value back, as JSON has them.
    pub fn exact(self) -> String {
        let json = serde_json::to_string(&self).unwrap_or_default();
        json.trim_matches('"').to_owned()
    }
}

impl fmt::Display for Real {
    /// Four significant digits, plain where that is short, else scientific.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&short(self.0))
    }
}

/// Formats for people: up to four significant digits.
pub fn short(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    if x == 0.0 {
        return "0".into();
    }
    let magnitude = x.abs().log10().floor();
    if (-3.0..6.0).contains(&magnitude) {
        let decimals = (3.0 - magnitude).max(0.0) as usize;
        let text = format!("{x:.decimals$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        let text = format!("{x:.1e}");
        text.replace(".0e", "e")
    }
}

/// `1 tensor`, `3 tensors`.
pub fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {thing}{plural}")
}

/// A factor for people: near 1 with the digits that tell it from 1.
pub fn factor(x: f64) -> String {
    let off = (x - 1.0).abs();
    if off == 0.0 || off >= 0.01 {
        return short(x);
    }
    let decimals = (3.0 - off.log10().floor()).clamp(4.0, 12.0) as usize;
    let text = format!("{x:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Serialize for Real {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_finite() => s.serialize_f64(x),
            x if x.is_nan() => s.serialize_str("nan"),
            x if x > 0.0 => s.serialize_str("inf"),
            _ => s.serialize_str("-inf"),
        }
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(f64),
            Text(String),
        }
        match Either::deserialize(d)? {
            Either::Number(x) => Ok(Real(x)),
            Either::Text(t) => match t.as_str() {
                "nan" => Ok(Real(f64::NAN)),
                "inf" => Ok(Real(f64::INFINITY)),
                "-inf" => Ok(Real(f64::NEG_INFINITY)),
                _ => Err(D::Error::custom(format!("`{t}` is no number"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back() {
        for x in [0.0, -1.5, 1e-300, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&Real(x)).unwrap();
            assert_eq!(serde_json::from_str::<Real>(&text).unwrap(), Real(x));
        }
        assert_eq!(serde_json::to_string(&Real(f64::NAN)).unwrap(), "\"nan\"");
    }

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
}
