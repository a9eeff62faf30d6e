//! Numbers as programs print them, read in place.
//!
//! The common spellings (`-1.25`, `3.5e-07`) take eight digits at a time and one exact multiplication or division by a
//! power of ten (W. D. Clinger, "How to read floating point numbers accurately", 1990); what does not fit goes to the
//! Eisel-Lemire algorithm of `fast_float2`. Both round to the nearest f64.

use crate::simd::eight_digits;

/// Reads the number at the start of `text`: its value and how many bytes it takes.
///
/// Beside decimal numbers: `nan`, `-nan(ind)`, `inf`, `Infinity`, `1.#INF`, `-1.#IND00`, C's `%a` (`0x1.8p+3`) and the
/// suffix of `0.5f`. What follows the number is not looked at.
#[inline(always)]
pub fn number(text: &[u8]) -> Option<(f64, usize)> {
    match usual(text) {
        Some(found) => Some(found),
        None => any(text),
    }
}

/// Bytes that [`usual`] looks at.
const WINDOW: usize = 24;

/// `-1.23456789e-05`, `-123.4567`: up to seven digits, a point, up to eight, an exponent of two digits, a separator.
///
/// Every access is known to lie in the window, and no branch depends on a sign, which is as good as random.
#[inline(always)]
fn usual(text: &[u8]) -> Option<(f64, usize)> {
    let w: &[u8; WINDOW] = text.first_chunk()?;
    let negative = w[0] == b'-';
    let start = usize::from(negative);
    let (mut mantissa, point) = match w[start + 1] {
        // One digit before the point is what exponents come with.
        b'.' if w[start].is_ascii_digit() => (u64::from(w[start] - b'0'), start + 1),
        _ => {
            let word = eight(w, start);
            let found = leading_digits(word);
            if found == 0 || found == 8 || w[start + found] != b'.' {
                return None;
            }
            (first_digits(word, found), start + found)
        }
    };
    let word = eight(w, point + 1);
    let decimals = leading_digits(word);
    mantissa = mantissa * SMALL_POWERS[decimals] + first_digits(word, decimals);
    let mut end = point + 1 + decimals;
    let mut exponent = -(decimals as i64);
    if w[end] | 0x20 == b'e' {
        // 0 for `+`, 2 for `-`
        let sign = w[end + 1].wrapping_sub(b'+');
        let (tens, ones) = (w[end + 2].wrapping_sub(b'0'), w[end + 3].wrapping_sub(b'0'));
        if sign & !2 != 0 || tens > 9 || ones > 9 {
            return None;
        }
        let e = i64::from(tens * 10 + ones);
        exponent += e * (1 - i64::from(sign));
        end += 4;
    }
    if w[end] > b' ' && w[end] != b',' || !(-22..=22).contains(&exponent) {
        return None;
    }
    Some((exact(mantissa, exponent, negative), end))
}

#[inline(always)]
fn eight(w: &[u8; WINDOW], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&w[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// `mantissa · 10^exponent`, both exact as f64, rounded once.
#[inline(always)]
fn exact(mantissa: u64, exponent: i64, negative: bool) -> f64 {
    let m = mantissa as i64 as f64;
    let power = POWERS[exponent.unsigned_abs() as usize];
    let value = if exponent < 0 { m / power } else { m * power };
    f64::from_bits(value.to_bits() | u64::from(negative) << 63)
}

/// Every spelling.
#[inline(never)]
fn any(text: &[u8]) -> Option<(f64, usize)> {
    let start = usize::from(matches!(text.first()?, b'-' | b'+'));
    if !matches!(text.get(start)?, b'0'..=b'9' | b'.') {
        return special(text);
    }
    let (value, end) = fast_float2::parse_partial::<f64, _>(text).ok()?;
    match text.get(end).map(|b| b | 0x20) {
        Some(b'f' | b'x' | b'#') => odd_tail(text, value, end, start),
        _ => Some((value, end)),
    }
}

/// Reads `text` from end to end as one number.
pub fn whole(text: &[u8]) -> Option<f64> {
    match number(text) {
        Some((value, used)) if used == text.len() => Some(value),
        _ => None,
    }
}

/// Exact powers of ten.
pub const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

const SMALL_POWERS: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// How many of the eight bytes, from the first, are digits.
#[inline(always)]
fn leading_digits(word: u64) -> usize {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let x = word ^ 0x3030_3030_3030_3030;
    // A digit is 0..=9 now: adding 0x76 sets the high bit of anything above, and letters beyond ASCII have it already.
    let other = ((x & !HIGH).wrapping_add(0x7676_7676_7676_7676) | x) & HIGH;
    (other.trailing_zeros() / 8) as usize
}

/// The number that the first `count` digits of eight bytes spell.
#[inline(always)]
fn first_digits(word: u64, count: usize) -> u64 {
    // Shifting up by whole bytes puts zeros before the digits and drops what follows them; in two steps, since eight
    // bytes at once are too far for one shift.
    let x = (word ^ 0x3030_3030_3030_3030) << (4 * (8 - count)) << (4 * (8 - count));
    eight_digits(x)
}

/// The exponent after `e`, clamped, and where it ends; `None` when no digit follows.
#[inline(always)]
fn decimal_exponent(text: &[u8], mut at: usize) -> Option<(i64, usize)> {
    let negative = text.get(at) == Some(&b'-');
    at += usize::from(negative || text.get(at) == Some(&b'+'));
    let start = at;
    let mut value = 0i64;
    while let Some(d) = text
        .get(at)
        .map(|b| b.wrapping_sub(b'0'))
        .filter(|d| *d < 10)
    {
        value = (value * 10 + i64::from(d)).min(1 << 40);
        at += 1;
    }
    (at > start).then_some((if negative { -value } else { value }, at))
}

/// A `f`, `x` or `#` after the digits: a C suffix, a hexadecimal float, or Microsoft's infinity.
#[cold]
fn odd_tail(text: &[u8], value: f64, at: usize, start: usize) -> Option<(f64, usize)> {
    let sign = if text[0] == b'-' { -1.0 } else { 1.0 };
    match text[at] {
        b'f' | b'F' => {
            let alone = !text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
            let decimal = text[start..at]
                .iter()
                .any(|b| matches!(b, b'.' | b'e' | b'E'));
            Some((value, at + usize::from(alone && decimal)))
        }
        b'x' | b'X' if &text[start..at] == b"0" => {
            let (value, used) = hex_float(&text[at + 1..])?;
            Some((sign * value, at + 1 + used))
        }
        b'#' if &text[start..at] == b"1." => {
            let name = &text[at + 1..];
            for (spelling, value) in [
                (&b"INF"[..], f64::INFINITY),
                (b"IND", f64::NAN),
                (b"QNAN", f64::NAN),
                (b"SNAN", f64::NAN),
            ] {
                if name.starts_with(spelling) {
                    let mut end = at + 1 + spelling.len();
                    while text.get(end) == Some(&b'0') {
                        end += 1;
                    }
                    return Some((sign * value, end));
                }
            }
            None
        }
        _ => Some((value, at)),
    }
}

/// `1.8p+3`, after the `0x`; at most 16 significant hexadecimal digits are kept exact, as `%a` prints.
fn hex_float(text: &[u8]) -> Option<(f64, usize)> {
    let (mut at, mut mantissa, mut scale, mut any) = (0, 0u64, 0i64, false);
    let mut fraction = false;
    while let Some(&b) = text.get(at) {
        match (b as char).to_digit(16) {
            Some(d) => {
                any = true;
                if mantissa < 1 << 60 {
                    mantissa = mantissa << 4 | u64::from(d);
                    scale -= 4 * i64::from(fraction);
                } else {
                    scale += 4 * i64::from(!fraction);
                }
            }
            None if b == b'.' && !fraction => fraction = true,
            None => break,
        }
        at += 1;
    }
    if !any || text.get(at)? | 0x20 != b'p' {
        return None;
    }
    let (exponent, end) = decimal_exponent(text, at + 1)?;
    let power = (exponent + scale).clamp(-4000, 4000) as i32;
    // In two steps: the power alone may leave the range where the product does not.
    let half = power / 2;
    Some((
        mantissa as f64 * f64::exp2(f64::from(half)) * f64::exp2(f64::from(power - half)),
        end,
    ))
}

/// `nan`, `inf` and their relatives.
#[cold]
fn special(text: &[u8]) -> Option<(f64, usize)> {
    let (sign, start) = match text.first()? {
        b'-' => (-1.0, 1),
        b'+' => (1.0, 1),
        _ => (1.0, 0),
    };
    let rest = &text[start..];
    let word = |w: &[u8]| {
        rest.get(..w.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(w))
    };
    let (value, mut used) = if word(b"infinity") {
        (f64::INFINITY, 8)
    } else if word(b"inf") {
        (f64::INFINITY, 3)
    } else if word(b"nan") {
        (f64::NAN, 3)
    } else {
        return None;
    };
    if value.is_nan() && rest.get(3) == Some(&b'(') {
        // nan(ind), nan(snan), nan(0x8000000000000)
        let close = rest.iter().take(32).position(|b| *b == b')')?;
        used = close + 1;
    }
    if rest
        .get(used)
        .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
    {
        return None;
    }
    Some((sign * value, start + used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn the_spellings_of_c_python_and_windows_are_read() {
        for (text, value) in [
            ("0.5f", 0.5),
            ("1e3F", 1000.0),
            ("-0x1.8p+1", -3.0),
            ("0x1p-2", 0.25),
            ("0x1.fffffffffffffp+1023", f64::MAX),
            ("0x0.0000000000001p-1022", 5e-324),
            ("1.#INF", f64::INFINITY),
            ("-1.#INF00", f64::NEG_INFINITY),
            ("-1.#IND", f64::NAN),
            ("1.#QNAN0", f64::NAN),
            ("-nan(ind)", f64::NAN),
            ("NaN", f64::NAN),
            ("-Infinity", f64::NEG_INFINITY),
            ("+inf", f64::INFINITY),
            (".5", 0.5),
            ("5.", 5.0),
            ("-0.", -0.0),
            ("00000000000000000000000000000001.5", 1.5),
        ] {
            let found = whole(text.as_bytes());
            assert!(found.is_some_and(|v| same(v, value)), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", ".", "e5", "info", "nano", "0x1F", "0x", "1.#X", "--1", "abc", "é", "\u{ff11}",
        ] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
        // A number may start something else: the caller sees where it ends.
        assert_eq!(number(b"1e+"), Some((1.0, 1)));
        assert_eq!(number(b"12 files"), Some((12.0, 2)));
        assert_eq!(number(b"3f"), Some((3.0, 1)));
    }

    proptest! {
        #[test]
        fn every_f64_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.9e}")] {
                let want: f64 = text.parse().unwrap();
                prop_assert!(same(whole(text.as_bytes()).unwrap(), want), "{}", text);
            }
        }

        #[test]
        fn decimals_agree_with_the_standard_library(text in "[+-]?[0-9]{1,24}(\\.[0-9]{0,24})?([eE][+-]?[0-9]{1,3})?") {
            let want: f64 = text.parse().unwrap();
            prop_assert!(same(whole(text.as_bytes()).unwrap(), want), "{}", text);
            // The same with bytes after it, where eight can be loaded at once.
            let longer = format!("{text}\n1234567890");
            let (value, used) = number(longer.as_bytes()).unwrap();
            prop_assert!(same(value, want) && used == text.len(), "{}", longer);
        }

        #[test]
        fn short_decimals_agree_with_the_standard_library(text in "-?[0-9]{1,3}\\.[0-9]{1,9}(e[+-][0-9]{2})?") {
            prop_assert_eq!(whole(text.as_bytes()).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn any_bytes_are_read_without_panic(text: Vec<u8>) {
            if let Some((_, used)) = number(&text) {
                prop_assert!(used > 0 && used <= text.len());
            }
        }
    }
}
