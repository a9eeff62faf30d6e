//! How the values stand in their lines.

use super::number::number;
use super::source::{lines, words};

/// How the values of a text are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Numbers between spaces, commas, semicolons, tabs.
    Rows,
    /// One value a line behind its index: `[3] = 0.5`, `x[1][2]: 0.5`, `3: 0.5`, `3 0.5`.
    Indexed,
}

/// One line `name[i][j] = value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    index: [u64; MOST_AXES],
    axes: usize,
    /// Where the value starts in the line.
    pub value_at: usize,
}

const MOST_AXES: usize = 8;

impl<'a> Entry<'a> {
    pub fn index(&self) -> &[u64] {
        &self.index[..self.axes]
    }

    /// Reads the part before the value; the value must start with something that looks like a number.
    pub fn of(line: &'a [u8]) -> Option<Entry<'a>> {
        let mut entry = Entry {
            name: b"",
            index: [0; MOST_AXES],
            axes: 0,
            value_at: 0,
        };
        let start = line.len() - line.trim_ascii_start().len();
        let mut at = start;
        let ends =
            |b: &u8| b.is_ascii_whitespace() || matches!(b, b'[' | b'(' | b':' | b'=' | b',');
        while line.get(at).is_some_and(|b| !ends(b)) {
            at += 1;
        }
        let word = &line[start..at];
        let bracketed = matches!(line.get(at), Some(b'[' | b'('));
        if bracketed {
            entry.name = word;
            while let Some(open @ (b'[' | b'(')) = line.get(at) {
                let close = if *open == b'[' { b']' } else { b')' };
                let end = at + line[at..].iter().take(96).position(|b| *b == close)?;
                for part in line[at + 1..end].split(|b| *b == b',') {
                    entry.push(part.trim_ascii())?;
                }
                at = end + 1;
            }
        } else {
            entry.push(word)?;
        }
        let (mut signs, gap) = (0, at);
        while let Some(&b) = line.get(at) {
            match b {
                b' ' | b'\t' => {}
                b'=' | b':' | b',' if signs == 0 => signs += 1,
                b'>' if signs == 1 && line[at - 1] == b'=' => {}
                _ => break,
            }
            at += 1;
        }
        // `-`, a digit, a point, `n`an or `i`nf.
        let starts = line.get(at).is_some_and(|b| {
            b.is_ascii_digit() || matches!(b | 0x20, b'-' | b'+' | b'.' | b'n' | b'i')
        });
        entry.value_at = at;
        (at > gap && starts && entry.axes > 0).then_some(entry)
    }

    fn push(&mut self, digits: &[u8]) -> Option<()> {
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let n = digits.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        *self.index.get_mut(self.axes)? = n;
        self.axes += 1;
        Some(())
    }

    /// Whether the value is a number that ends its line, but for spaces, a comma or a comment.
    pub fn value<'l>(&self, line: &'l [u8]) -> Option<(&'l [u8], f64)> {
        let text = &line[self.value_at..];
        let (value, used) = number(text)?;
        let rest = text[used..].trim_ascii();
        let ends = rest.is_empty() || rest == b"," || rest == b";" || rest.starts_with(b"#");
        ends.then_some((&text[..used], value))
    }
}

/// The bits in a line `0x3c00 (1.000000e+00)`, `0x3c00 1.0`, `0x3c00`.
pub fn bits(line: &[u8]) -> Option<u16> {
    let hex = line.trim_ascii().strip_prefix(b"0x")?;
    let digits = std::str::from_utf8(hex.get(..4)?).ok()?;
    let rest = &hex[4..];
    if rest.first().is_some_and(|b| !b.is_ascii_whitespace()) || digits.starts_with('+') {
        return None;
    }
    let rest = rest.trim_ascii();
    let inner = rest
        .strip_prefix(b"(")
        .map_or(Some(rest), |r| r.strip_suffix(b")"))?;
    if !inner.is_empty() && super::number::whole(inner.trim_ascii()).is_none() {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// Whether every word of the line is a number; a line cut at the end of what is at hand may end within a word.
pub fn is_row(line: &[u8], cut: bool) -> bool {
    let mut found = false;
    let mut words = words(line).peekable();
    while let Some(word) = words.next() {
        if word[0] == b'#' {
            break;
        }
        if cut && words.peek().is_none() {
            break;
        }
        if super::number::whole(word).is_none() {
            return false;
        }
        found = true;
    }
    found
}

/// The layout of a text from its first lines of data; `None` when they are no data. `cut`: the text goes on.
pub fn layout(text: &[u8], cut: bool) -> Option<Layout> {
    let mut data = lines(text)
        .map(|(at, line)| (line.trim_ascii(), cut && at + line.len() == text.len()))
        .filter(|(line, _)| !line.is_empty() && line[0] != b'#')
        .take(8)
        .collect::<Vec<_>>();
    if data.len() > 1 {
        data.retain(|(_, cut)| !cut);
    }
    let &(first, first_cut) = data.first()?;
    if is_row(first, first_cut) {
        return Some(match counts_up(&data) {
            true => Layout::Indexed,
            false => Layout::Rows,
        });
    }
    Entry::of(first)?.value(first).map(|_| Layout::Indexed)
}

/// Lines `0 0.5`, `1 0.25`, …: the first of two columns only counts.
fn counts_up(data: &[(&[u8], bool)]) -> bool {
    let first = data.first().and_then(|(line, _)| Entry::of(line));
    let Some(from) = first.map(|e| e.index()[0]) else {
        return false;
    };
    data.len() >= 2
        && from <= 1
        && data.iter().zip(from..).all(|((line, _), i)| {
            Entry::of(line).is_some_and(|e| e.index() == [i] && e.value(line).is_some())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexed_lines_are_read_in_every_spelling() {
        for (line, name, index, value) in [
            ("[3] = 0.58", "", &[3][..], 0.58),
            ("hidden[0] = 0.58", "hidden", &[0], 0.58),
            ("  q[1][2]: -1e-3", "q", &[1, 2], -1e-3),
            ("q[1, 2] 4", "q", &[1, 2], 4.0),
            ("(0, 7) -> ", "", &[], 0.0),
            ("12: nan", "", &[12], f64::NAN),
            ("12 0.5", "", &[12], 0.5),
            ("12,0.5", "", &[12], 0.5),
            ("1,2,0.5", "", &[], 0.5),
            ("h.3.w[5]=-.5f", "h.3.w", &[5], -0.5),
        ] {
            let found =
                Entry::of(line.as_bytes()).and_then(|e| Some((e, e.value(line.as_bytes())?.1)));
            if index.is_empty() {
                assert_eq!(found, None, "{line}");
                continue;
            }
            let (e, v) = found.unwrap();
            assert_eq!((e.name, e.index()), (name.as_bytes(), index), "{line}");
            assert!(v == value || (v.is_nan() && value.is_nan()), "{line}");
        }
    }

    #[test]
    fn bits_of_f16_are_read() {
        assert_eq!(bits(b"0x3c00 (1.000000e+00)"), Some(0x3c00));
        assert_eq!(bits(b"0x3c00"), Some(0x3c00));
        assert_eq!(bits(b"0x3c00 (one)"), None);
        assert_eq!(bits(b"0x3c001"), None);
        assert_eq!(bits(b"3c00"), None);
    }

    #[test]
    fn layouts_are_told_apart() {
        assert_eq!(layout(b"1.0 2.0\n3.0 4.0\n", false), Some(Layout::Rows));
        assert_eq!(layout(b"\n# c\n-1.5e-3\n", false), Some(Layout::Rows));
        assert_eq!(
            layout(b"0 0.5\n1 0.25\n2 1\n", false),
            Some(Layout::Indexed)
        );
        assert_eq!(layout(b"0 0.5\n7 0.25\n", false), Some(Layout::Rows));
        assert_eq!(layout(b"[0] = 1\n[1] = 2\n", false), Some(Layout::Indexed));
        assert_eq!(layout(b"1.5 2.5 3.", true), Some(Layout::Rows));
        for prose in [
            "dumped by hook",
            "12 files",
            "2024-01-01 1.0",
            "[1] loading model",
            "version 1.0",
            "x = 3",
        ] {
            assert_eq!(layout(prose.as_bytes(), false), None, "{prose}");
        }
    }
}
