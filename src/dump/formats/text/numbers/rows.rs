//! Values in rows: how many there are, and in which shape.

use super::super::census::Census;
use super::super::decode::Values;
use super::super::layout::Layout;
use super::super::source::{self, Blocks, Keep, lines, words};
use super::File;
use crate::dump::formats::stem;
use crate::dump::{Opened, ReadError};
use crate::note::Note;
use std::io::{self, Read};

/// How plain values are arranged.
struct Rows {
    shape: Vec<usize>,
    /// Values in every row, 0 when rows may differ.
    columns: u64,
    start: usize,
    /// The values fill their lines, the rest stands in the last one.
    wrapped: bool,
}

/// A first line that holds the dimensions, without saying so: `1 3 2048`, or the number of values before fractions.
fn dimensions_above(text: &[u8], start: usize, values: u64) -> Option<Rows> {
    let mut data = lines(&text[start..]);
    let (_, first) = data.next()?;
    let (next, second) = data.next()?;
    let shape = words(first)
        .map(|w| std::str::from_utf8(w).ok()?.parse().ok().filter(|n| *n > 0))
        .collect::<Option<Vec<usize>>>()?;
    let product = shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
    let differs = shape.len() != words(second).count() || shape.len() == 1;
    let rest = &text[start + next..];
    let fractions = rest.contains(&b'.');
    (differs && fractions && product == values.checked_sub(shape.len() as u64)?).then_some(Rows {
        shape,
        columns: 0,
        start: start + next,
        wrapped: false,
    })
}

impl File<'_> {
    pub fn rows(self) -> Result<Opened, ReadError> {
        let (start, header) = (self.preamble.data_at, &self.preamble.header);
        let known = header
            .shape
            .clone()
            .or_else(|| header.stats.count.map(|n| vec![n as usize]));
        // A long file with a shape is not counted: its values are when they are read.
        let counted = match known.is_some() && !self.whole && !self.whole_numbers() {
            true => None,
            false => Some(self.census(known.is_none())?),
        };
        let dtype = header.dtype_for(counted.is_some_and(|c| c.integers));
        let mut rows = Rows {
            shape: known.clone().unwrap_or_default(),
            columns: 0,
            start,
            wrapped: false,
        };
        if let (None, Some(census)) = (&known, counted) {
            rows = self.arrange(census)?;
        }
        let notes =
            Vec::from_iter(rows.wrapped.then(|| {
                Note::new("wrapped_rows", format!(
                "{}: the last row is shorter than the others: read as {} values without shape",
                self.path.display(),
                rows.shape[0]
            )).about(vec![stem(self.path)])
            }));
        let precision = self.precision(|sample, see| {
            for (_, line) in lines(sample) {
                let line = line.split(|b| *b == b'#').next().unwrap_or(line);
                words(line).for_each(&mut *see);
            }
        })?;
        let values = Values {
            path: self.path.into(),
            encoding: self.encoding,
            start: rows.start as u64,
            layout: Layout::Rows,
            dtype,
            count: 0,
            shape: rows.shape,
            columns: rows.columns,
            first: 0,
        };
        self.finish(values, known.is_none(), precision, notes)
    }

    /// Shape and row length of values that come without a shape.
    fn arrange(&self, census: Census) -> Result<Rows, ReadError> {
        let start = self.preamble.data_at;
        let flat = |wrapped| Rows {
            shape: vec![census.values as usize],
            columns: 0,
            start,
            wrapped,
        };
        if let Some(shape) = &self.hints.shape
            && shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)) == Some(census.values)
        {
            return Ok(Rows {
                shape: shape.clone(),
                ..flat(false)
            });
        }
        if self.whole
            && let Some(rows) = dimensions_above(&self.text, start, census.values)
        {
            return Ok(rows);
        }
        let even = census.misfit.is_none()
            && census.rows.checked_mul(census.columns) == Some(census.values);
        Ok(match census.misfit {
            _ if even && census.rows > 1 && census.columns > 1 => Rows {
                shape: vec![census.rows as usize, census.columns as usize],
                columns: census.columns,
                ..flat(false)
            },
            Some(m) if !m.rest => {
                let fact = format!(
                    "the row holds {} values, the rows before it {}",
                    m.found, census.columns
                );
                let error = ReadError::malformed(self.path, fact);
                let line = source::line_at(self.path, self.encoding, start as u64 + m.offset);
                return Err(match line {
                    Some(line) => error.at_line(line),
                    None => error,
                });
            }
            Some(_) => flat(true),
            None => flat(false),
        })
    }

    /// Counts the values; `rows`: also how they share lines.
    pub fn census(&self, rows: bool) -> Result<Census, ReadError> {
        let start = self.preamble.data_at as u64;
        let blocks = || -> Result<Blocks, ReadError> {
            let text: Box<dyn Read + Send> = match self.whole {
                true => Box::new(io::Cursor::new(self.text[start as usize..].to_vec())),
                false => source::reader(self.path, self.encoding, start)?,
            };
            Ok(Blocks::new(text, Keep::Words))
        };
        let io = |e| ReadError::io(self.path, e);
        if self.whole {
            return Census::exact(&mut blocks()?).map_err(io);
        }
        let mut census = Census::quick(&mut blocks()?).map_err(io)?;
        let first = lines(&self.text[start as usize..])
            .next()
            .map_or(&b""[..], |(_, line)| line);
        let cut = start as usize + first.len() >= self.text.len();
        census.columns = words(first).count() as u64;
        let even = census.rows.checked_mul(census.columns) == Some(census.values);
        if rows && (cut || first.contains(&b'#') || !even) {
            census = Census::exact(&mut blocks()?).map_err(io)?;
        }
        Ok(census)
    }

    /// The text at hand holds whole numbers only.
    fn whole_numbers(&self) -> bool {
        !self.text[self.preamble.data_at..]
            .iter()
            .any(|b| matches!(b, b'.' | b'e' | b'E' | b'n' | b'N'))
    }
}
