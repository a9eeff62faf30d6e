//! Where a file of numbers begins, and what stands above.

use super::excerpt;
use super::header::{Header, is_comment, uncomment};
use super::source::lines;
use super::summary::statistics;

/// The lines above the values.
pub struct Preamble {
    pub header: Header,
    /// Where the first line with values starts.
    pub data_at: usize,
    pub no_data: bool,
    /// A line says that only the first or last elements follow.
    pub excerpt: bool,
    /// The first and the last ones stand in that line itself.
    pub in_lines: [bool; 2],
    /// So they do more than once: several tensors.
    pub several: bool,
    /// And the line is no comment.
    pub bare: bool,
}

impl Preamble {
    pub fn read(text: &[u8]) -> Preamble {
        let mut p = Preamble {
            header: Header::default(),
            data_at: text.len(),
            no_data: true,
            excerpt: false,
            in_lines: [false; 2],
            several: false,
            bare: false,
        };
        let mut lines = lines(text).peekable();
        while let Some((at, line)) = lines.next() {
            let line = line.trim_ascii();
            if let Some((last, _, values)) = excerpt::announced(line) {
                p.excerpt = true;
                if !values.is_empty() {
                    p.several |= std::mem::replace(&mut p.in_lines[usize::from(last)], true);
                    p.bare |= !is_comment(line);
                }
            } else if !line.is_empty()
                && !p.header.read(line)
                && !is_comment(line)
                && !lines
                    .peek()
                    .is_some_and(|(_, next)| counts_columns(line, next))
            {
                (p.data_at, p.no_data) = (at, false);
                break;
            }
        }
        p
    }
}

/// Whether a line of a table only counts the columns, from 0, and the next line holds fractions: `0,1,2`.
fn counts_columns(line: &[u8], next: &[u8]) -> bool {
    let columns = |line: &[u8]| line.split(|b| *b == b',').count();
    let counted = (0..columns(line)).map(|i| i.to_string());
    columns(line) > 1
        && columns(line) == columns(next)
        && next.split(|b| *b == b',').all(|word| word.contains(&b'.'))
        && line
            .split(|b| *b == b',')
            .eq(counted.map(String::into_bytes))
}

/// Headings `# Tensor: q_proj`, or lines `q_proj: shape=…, mean=…`, of more than one tensor.
pub fn names_several(text: &[u8]) -> bool {
    let mut first: [Option<String>; 3] = [const { None }; 3];
    for (_, line) in lines(text) {
        // rows of numbers end here
        if !line.iter().any(|b| matches!(b, b':' | b'=')) {
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let found = match statistics(&line) {
            Some((Some(name), header)) if header.shape.is_some() => Some((2, name)),
            _ => heading(&line),
        };
        if let Some((kind, name)) = found
            && first[kind].get_or_insert_with(|| name.clone()) != &name
        {
            return true;
        }
    }
    false
}

/// `# Tensor: q_proj`, `# Name: q_proj`: which of the two, and the name.
fn heading(line: &str) -> Option<(usize, String)> {
    let (body, _) = uncomment(line);
    let (key, value) = body.split_once([':', '='])?;
    let kind = ["tensor", "name"]
        .iter()
        .position(|k| key.trim().eq_ignore_ascii_case(k))?;
    let name = value.split_whitespace().next()?;
    Some((kind, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Preamble, names_several};

    #[test]
    fn a_line_that_counts_the_columns_is_no_data() {
        for (text, data_at) in [
            ("0,1,2\n0.5,1.5,2.5\n", 6),
            ("0,1,2\n3,4,5\n", 0),
            ("0,1,3\n0.5,1.5,2.5\n", 0),
            ("0\n0.5\n", 0),
        ] {
            assert_eq!(Preamble::read(text.as_bytes()).data_at, data_at, "{text}");
        }
    }

    #[test]
    fn one_tensor_may_say_much_about_itself() {
        for (text, several) in [
            ("# Tensor: q\n# Shape: 2\n1.0\n2.0\n", false),
            ("# Tensor: q\n1.0\n# Tensor: k\n2.0\n", true),
            ("# Tensor: q (FP16)\n# Name: layer 0 q\n1.0\n", false),
            ("Stats: mean=0.1, std=2\nRange: min=-1, max=2\n", false),
            (
                "q: shape=(2,), mean=1, std=2\nk: shape=(2,), mean=1, std=2\n",
                true,
            ),
            ("q: shape=(2,), mean=1, std=2\n", false),
        ] {
            assert_eq!(names_several(text.as_bytes()), several, "{text}");
        }
    }
}
