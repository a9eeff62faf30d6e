//! Numbers of the usual spelling, three at a time.
//!
//! [`super::number`] learns where a number ends by reading it, and only then can the next one start. Here one look at 64
//! characters tells where all numbers among them start and end and have their point, so that a processor works on several
//! of them at once, and nothing depends on a guess about signs or lengths.

use super::number;
use crate::simd::{Text, per_isa};

/// Values that are read at once.
pub const VALUES: usize = 3;
/// After this many bytes it is worth looking again for numbers of the usual spelling.
pub const REST: usize = 2048;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub bytes: usize,
    pub values: usize,
}

per_isa! {
    /// Reads numbers from the start of `text`, where one begins, until one is spelled otherwise, a comment follows, a row
    /// does not hold `columns` values (0: they may differ), or there are `room`; the last [`WINDOW`] bytes are left alone.
    /// `in_row` counts the values of the row.
    pub fn run[][](text: &[u8], columns: u64, in_row: &mut u64, room: usize, out: &mut Vec<f64>) -> Run = run_body;
}

/// The characters looked at, and what eight bytes loaded from the last of them reach.
const WINDOW: usize = 96;

#[inline(always)]
fn run_body<S: Text>(
    text: &[u8],
    columns: u64,
    in_row: &mut u64,
    room: usize,
    out: &mut Vec<f64>,
) -> Run {
    let mut run = Run::default();
    if !S::IS_FAST && !cfg!(test) {
        return run;
    }
    while run.values + VALUES <= room
        && let Some(window) = text[run.bytes..].first_chunk::<WINDOW>()
    {
        let marks = Marks::of::<S>(window);
        let Some((values, end)) = three::<S>(window, &marks) else {
            break;
        };
        if columns != 0 {
            match rows(&marks, end, columns, *in_row) {
                Some(now) => *in_row = now,
                None => break,
            }
        }
        out.extend_from_slice(&values);
        run.bytes += end;
        run.values += VALUES;
    }
    run
}

/// Bit `i` for character `i` of 64.
struct Marks {
    /// The first character of a word, but for the window's own first; the first one behind a word.
    starts: u64,
    ends: u64,
    points: u64,
    lines: u64,
    comments: u64,
}

impl Marks {
    #[inline(always)]
    fn of<S: Text>(window: &[u8; WINDOW]) -> Marks {
        let text = S::bytes(window.first_chunk().expect("a window is longer"));
        let gaps = S::at_most(text, b' ') | S::equal(text, b',') | S::equal(text, b';');
        Marks {
            starts: !gaps & gaps << 1,
            ends: gaps & !(gaps << 1),
            points: S::equal(text, b'.'),
            lines: S::equal(text, b'\n'),
            comments: S::equal(text, b'#'),
        }
    }
}

/// The bits below `end`, which is at most 64.
#[inline(always)]
fn below(end: usize) -> u64 {
    1u64.checked_shl(end as u32).map_or(u64::MAX, |bit| bit - 1)
}

/// The lowest bit of `marks`, which is taken out of them; 64 when there is none.
#[inline(always)]
fn next(marks: &mut u64) -> usize {
    let at = marks.trailing_zeros() as usize;
    *marks &= marks.wrapping_sub(1);
    at
}

/// The first three numbers of the window and where the fourth starts; where that is not in sight, behind the third.
///
/// `-1.23456789e-05`, `123.4567`: up to seven digits, a point, up to eight, an exponent of two digits.
#[inline(always)]
fn three<S: Text>(window: &[u8; WINDOW], marks: &Marks) -> Option<([f64; VALUES], usize)> {
    let load = |at: usize| {
        let at = at & 63;
        let bytes: &[u8; 8] = window[at..].first_chunk().expect("windows reach further");
        u64::from_le_bytes(*bytes)
    };
    let (mut starts, mut ends, mut points) = (marks.starts, marks.ends, marks.points);
    let mut values = [0.0; VALUES];
    let (mut start, mut last) = (0, 0);
    let mut good = true;
    for value in &mut values {
        let (end, point) = (next(&mut ends), next(&mut points));
        let negative = load(start) as u8 == b'-';
        let first = start + usize::from(negative);
        let tail = load(end.saturating_sub(4)) as u32;
        let has_exponent = tail as u8 | 0x20 == b'e';
        let (exponent, behind) = match has_exponent {
            true => (tail, end.wrapping_sub(4)),
            false => (u32::from_le_bytes(*b"e+00"), end),
        };
        // wrong order makes them huge
        let whole = point.wrapping_sub(first);
        let decimals = behind.wrapping_sub(point + 1);
        good &= whole.wrapping_sub(1) < 7 && decimals <= 8;
        let high = (load(first) ^ ZEROS) << (64usize.wrapping_sub(whole << 3) & 63);
        let unused = 32usize.wrapping_sub(decimals << 2) & 63;
        let low = (load(point + 1) ^ ZEROS) << unused << unused >> unused >> unused;
        let (mantissa, digits) = S::number(high, low);
        let [_, sign, tens, ones] = exponent.to_le_bytes();
        // 0 for `+`, 2 for `-`
        let sign = sign.wrapping_sub(b'+');
        let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
        good &= digits & (sign & !2 == 0) & (tens <= 9) & (ones <= 9);
        let power = (i32::from(tens) * 10 + i32::from(ones)) * (1 - i32::from(sign)) - 8;
        good &= power.unsigned_abs() <= 22;
        let (times, over) = POWERS[power.wrapping_add(64) as usize & 127];
        let magnitude = mantissa as i64 as f64 * times / over;
        *value = f64::from_bits(magnitude.to_bits() | u64::from(negative) << 63);
        last = end;
        start = next(&mut starts);
    }
    let stop = if start < 64 { start } else { last + 1 };
    // a second point would have been taken for a digit
    let pointed = (marks.points & below(last)).count_ones() as usize == VALUES;
    let plain = marks.comments & below(stop) == 0;
    (good & pointed & plain & (last < 64)).then_some((values, stop))
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// How many values the row holds after the window's first three, which end before `stop`; `None` when one that ends there
/// does not hold `columns`.
#[inline(always)]
fn rows(marks: &Marks, stop: usize, columns: u64, in_row: u64) -> Option<u64> {
    let ends = marks.ends & below(stop);
    let mut lines = marks.lines & below(stop);
    let (mut row, mut seen) = (in_row, 0);
    while lines != 0 {
        let line = next(&mut lines);
        let before = u64::from((ends & below(line + 1)).count_ones());
        row += before - seen;
        if row != columns && row != 0 {
            return None;
        }
        (row, seen) = (0, before);
    }
    Some(row + VALUES as u64 - seen)
}

/// `10^(i - 64)` as a factor and a divisor, one of which is 1; both are exact.
static POWERS: [(f64, f64); 128] = {
    let mut powers = [(1.0, 1.0); 128];
    let mut i = 0;
    while i < number::POWERS.len() {
        powers[64 + i] = (number::POWERS[i], 1.0);
        powers[64 - i] = (1.0, number::POWERS[i]);
        i += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use super::super::source::is_separator;
    use super::*;
    use crate::simd::Isa;
    use proptest::prelude::*;

    /// Holds what was read against the words one by one, and gives how many values there were.
    fn check(text: &str, columns: u64) -> usize {
        let padded = format!("{text}{}", "\0".repeat(WINDOW - 64));
        let mut all = Vec::new();
        for isa in Isa::ALL {
            let (mut in_row, mut out) = (0, Vec::new());
            let found = run(
                isa,
                padded.as_bytes(),
                columns,
                &mut in_row,
                usize::MAX,
                &mut out,
            );
            all.push((found, in_row, out));
        }
        let (found, in_row, out) = &all[0];
        assert!(all.iter().all(|one| one == &all[0]));
        let read = &text[..found.bytes];
        let is_gap = |c: char| c.is_ascii() && is_separator(c as u8);
        let words: Vec<&str> = read.split(is_gap).filter(|w| !w.is_empty()).collect();
        assert_eq!(
            (words.len(), out.len()),
            (found.values, found.values),
            "{text}"
        );
        for (word, value) in words.iter().zip(out) {
            let expected = word.parse::<f64>().unwrap();
            assert_eq!(expected.to_bits(), value.to_bits(), "{word} in {text}");
        }
        if columns != 0 && found.values > 0 {
            let row = read.rsplit('\n').next().unwrap();
            let count = row.split(is_gap).filter(|w| !w.is_empty()).count();
            assert_eq!(*in_row, count as u64, "{text}");
        }
        found.values
    }

    #[test]
    fn usual_spellings_are_read_to_the_end() {
        let three = "1.5 -2.25e+01,1234567.5\n";
        for text in [
            three,
            "-0.0 0.12345678 9.99999999E-14;  ",
            "1. -2.\t3.5\r\n",
        ] {
            let values = check(&text.repeat(20), 0);
            assert!(values >= 45, "{text} {values}");
        }
    }

    #[test]
    fn other_spellings_are_left() {
        for odd in [
            "nan",
            "inf",
            "1",
            "1e5",
            ".5",
            "+1.5",
            "1.5e5",
            "1.5e+100",
            "1.5e-32",
            "12345678.5",
            "1.123456789",
            "1.2.3",
            "1.5f",
            "0x1.8p+3",
            "1.5e+0x",
            "1.5ee+05",
            "--1.5",
            "1-.5",
            "1.-5",
            "# 1.5",
            "1.5# 2.5",
            "1.5é",
        ] {
            let text = format!("1.5 2.5 3.5 1.5 2.5 {odd} 1.5 2.5 {}", "4.5 ".repeat(40));
            assert_eq!(check(&text, 0), 3, "{odd}");
        }
    }

    #[test]
    fn rows_are_counted() {
        for columns in [1, 2, 3, 4, 7, 10] {
            let row = vec!["-1.25e-01"; columns].join(" ");
            let good = format!("{row}\n\n{row}\r\n").repeat(40);
            assert!(check(&good, columns as u64) > 60 * columns);
            let long = good.replacen('\n', " 1.5\n", 1);
            assert!(check(&long, columns as u64) <= columns);
            let short = good.replace("\r\n", " \r\n").replacen('\n', "", 2);
            assert!(check(&short, columns as u64) <= columns);
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_stands_there(
            words in prop::collection::vec(("-?[0-9]{1,8}\\.[0-9]{0,9}([eE][+-][0-9]{2})?", "[ ,;\t\n]{1,2}"), 1..60),
            columns in 0u64..4,
        ) {
            check(&words.iter().map(|(word, gap)| format!("{word}{gap}")).collect::<String>(), columns);
        }

        #[test]
        fn any_text_is_survived(text in "[-+0-9.eE# ,\n]{0,200}") {
            check(&text, 0);
        }
    }
}
