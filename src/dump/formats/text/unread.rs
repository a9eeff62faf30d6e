//! Lines of a log that seem to hold values and that no reader took.

use super::number::whole;
use crate::note::Note;
use std::path::Path;

/// So many numbers behind each other are values, where one of them has a fraction.
const RUN: usize = 3;
/// Characters of a line that a message shows.
const SHOWN: usize = 60;

/// How many such lines, and the first of them.
#[derive(Debug, Default)]
pub struct Unread {
    lines: u64,
    first: Option<(u64, String)>,
}

impl Unread {
    pub fn see(&mut self, number: u64, line: &str) {
        if !holds_values(line) {
            return;
        }
        self.lines += 1;
        self.first.get_or_insert_with(|| (number, shown(line)));
    }

    pub fn note(&self, path: &Path) -> Option<Note> {
        let (number, text) = self.first.as_ref()?;
        Some(Note::new(
            "lines_not_read",
            format!(
                "{}: lines with numbers that no tensor was read from: {}, the first is line {number}: `{text}`",
                path.display(),
                self.lines
            ),
        ))
    }
}

/// A line as messages show it.
pub fn shown(line: &str) -> String {
    let text = line.trim();
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown}{more}")
}

fn holds_values(line: &str) -> bool {
    let (mut run, mut fraction) = (0, false);
    for word in line.split([' ', ',', ';', '\t', '[', ']', '(', ')', '{', '}']) {
        match whole(word.as_bytes()) {
            Some(_) => {
                run += 1;
                fraction |= word.contains('.');
                if run >= RUN && fraction {
                    return true;
                }
            }
            None if word.is_empty() => {}
            None => (run, fraction) = (0, false),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_of_numbers_are_values() {
        for (line, values) in [
            ("q_proj 0.5 0.25 1", true),
            ("x = mx.array([[0.5, 0.25], [1, 2]])", true),
            ("step 1 loss: 8.1 memory: 1.2GiB tps: 1,234", false),
            ("load time = 123.45 ms / 5 runs (0.12 ms per token)", false),
            ("shape [1, 12, 64]", false),
        ] {
            assert_eq!(holds_values(line), values, "{line}");
        }
    }
}
