//! Where a file of numbers begins, and what stands above.

use super::excerpt;
use super::header::{Header, is_comment};
use super::source::lines;

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
        for (at, line) in lines(text) {
            let line = line.trim_ascii();
            if let Some((last, _, values)) = excerpt::announced(line) {
                p.excerpt = true;
                if !values.is_empty() {
                    p.several |= std::mem::replace(&mut p.in_lines[usize::from(last)], true);
                    p.bare |= !is_comment(line);
                }
            } else if !line.is_empty() && !p.header.read(line) && !is_comment(line) {
                (p.data_at, p.no_data) = (at, false);
                break;
            }
        }
        p
    }
}
