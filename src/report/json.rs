//! The report as one JSON object: rows by line, what stands inside them on one line each.

use super::{Report, Reporter, Row, Style};
use crate::threads;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use std::io::{self, Write};

pub struct Json;

/// Rows written as one piece, and pieces held at once.
const ROWS: usize = 32;
const PIECES: usize = 16;

impl Reporter for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["json"]
    }

    fn write(&self, report: &Report, _: &Style, out: &mut dyn Write) -> io::Result<()> {
        const NO_ROWS: &[u8] = b"[]\n}";
        let mut text = Vec::new();
        write_lines(&report.without_rows(), 0, &mut text)?;
        let rows_last = text.strip_suffix(NO_ROWS);
        let Some(head) = rows_last.filter(|_| !report.tensors.is_empty()) else {
            out.write_all(&text)?;
            return writeln!(out);
        };
        out.write_all(head)?;
        let pieces: Vec<&[Row]> = report.tensors.chunks(ROWS).collect();
        let mut before = "[\n    ";
        for some in pieces.chunks(PIECES) {
            for piece in threads::map(some, 4, |rows| lines_of(rows)) {
                out.write_all(before.as_bytes())?;
                out.write_all(&piece?)?;
                before = ",\n    ";
            }
        }
        writeln!(out, "\n  ]\n}}")
    }
}

/// Rows as they stand in the list.
fn lines_of(rows: &[Row]) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(rows.len() * 2048);
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            text.extend_from_slice(b",\n    ");
        }
        write_lines(row, 2, &mut text)?;
    }
    Ok(text)
}

/// Writes a value that stands inside `depth` others.
fn write_lines(value: &impl Serialize, depth: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let lines = Lines {
        depth,
        empty: false,
    };
    let mut serializer = Serializer::with_formatter(out, lines);
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// A line for every entry of the report and of its rows.
struct Lines {
    depth: usize,
    /// Nothing stands yet in the innermost value.
    empty: bool,
}

impl Lines {
    /// Entries of values that stand inside so many others share a line.
    const INNER: usize = 3;

    fn begin<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.empty = true;
        out.write_all(bracket)
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.empty && self.depth < Self::INNER {
            new_line(out, self.depth)?;
        }
        self.empty = false;
        out.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match (first, self.depth > Self::INNER) {
            (true, true) => Ok(()),
            (false, true) => out.write_all(b", "),
            (true, false) => new_line(out, self.depth),
            (false, false) => {
                out.write_all(b",")?;
                new_line(out, self.depth)
            }
        }
    }
}

fn new_line<W: ?Sized + Write>(out: &mut W, depth: usize) -> io::Result<()> {
    const SPACES: &[u8] = b"\n      ";
    out.write_all(&SPACES[..1 + 2 * depth])
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }
    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }
    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.empty = false;
        Ok(())
    }
    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }
    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.next(out, first)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.empty = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn lines(value: &Value, depth: usize) -> String {
        let mut out = Vec::new();
        write_lines(value, depth, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_of_a_row_share_a_line() {
        let row = json!({"key": "x", "shape": [2, 3], "none": [], "stats": {"mean": 1.5, "of": {"n": 2}}});
        assert_eq!(
            lines(&json!({"schema": 1, "empty": {}, "tensors": [row]}), 0),
            r#"{
  "schema": 1,
  "empty": {},
  "tensors": [
    {
      "key": "x",
      "shape": [2, 3],
      "none": [],
      "stats": {"mean": 1.5, "of": {"n": 2}}
    }
  ]
}"#
        );
        assert_eq!(
            lines(&json!({"key": [1]}), 2),
            "{\n      \"key\": [1]\n    }"
        );
    }
}
