//! Values out of text, in place, block by block.

use super::census::Census;
use super::layout::{Entry, Layout};
use super::number::number;
use super::run::{self, Run};
use super::source::{self, Blocks, Encoding, Keep, is_separator};
use crate::dtype::DType;
use crate::dump::{ReadError, ReadErrorKind, Stream};
use crate::simd::Isa;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// The values of a text file, and what they must amount to.
#[derive(Clone, Debug)]
pub struct Values {
    pub path: Arc<Path>,
    pub encoding: Encoding,
    /// Byte of the decoded text where they start.
    pub start: u64,
    pub layout: Layout,
    /// The elements are encoded as this type; text of a whole-number type must hold whole numbers.
    pub dtype: DType,
    /// How many there are.
    pub count: u64,
    /// The shape the count comes from, for messages.
    pub shape: Vec<usize>,
    /// Every row holds so many; 0 when rows may differ.
    pub columns: u64,
    /// The first index of [`Layout::Indexed`] lines.
    pub first: u64,
}

impl Stream for Values {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let text = source::reader(&self.path, self.encoding, self.start)?;
        Ok(Box::new(Decoder::new(self.clone(), text)))
    }
}

impl Values {
    /// Decodes `text`, which holds the values from [`Values::start`] on, at once.
    pub fn decode(self, text: Box<dyn Read + Send>) -> Result<Vec<u8>, ReadError> {
        let path = self.path.clone();
        let mut bytes = Vec::new();
        match Decoder::new(self, text).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(match e.downcast::<ReadError>() {
                Ok(inner) => inner,
                Err(e) => ReadError::io(path, e),
            }),
        }
    }
}

/// Values decoded at a time.
const BATCH: usize = 2048;

struct Decoder {
    values: Values,
    blocks: Blocks,
    /// Where in the block the next value is looked for.
    at: usize,
    ended: bool,
    comment: bool,
    /// Values so far, and in this row.
    seen: u64,
    in_row: u64,
    floats: Vec<f64>,
    integers: Vec<i64>,
    ready: Vec<u8>,
    taken: usize,
}

impl Decoder {
    fn new(values: Values, text: Box<dyn Read + Send>) -> Decoder {
        let keep = match values.layout {
            Layout::Rows => Keep::Words,
            Layout::Indexed => Keep::Lines,
        };
        Decoder {
            values,
            blocks: Blocks::new(text, keep),
            at: 0,
            ended: false,
            comment: false,
            seen: 0,
            in_row: 0,
            floats: Vec::new(),
            integers: Vec::new(),
            ready: Vec::new(),
            taken: 0,
        }
    }

    /// Decodes the next batch into `ready`; leaves it empty at the end.
    fn refill(&mut self) -> Result<(), ReadError> {
        self.ready.clear();
        self.taken = 0;
        if self.values.dtype.is_exact() {
            let mut batch = std::mem::take(&mut self.integers);
            batch.clear();
            self.pull::<Whole>(&mut batch)?;
            if self.values.dtype.size() == 8 {
                self.ready
                    .extend(batch.iter().flat_map(|v| v.to_le_bytes()));
            } else {
                for &v in &batch {
                    self.values.dtype.encode(v as f64, &mut self.ready);
                }
            }
            self.integers = batch;
        } else {
            let mut batch = std::mem::take(&mut self.floats);
            batch.clear();
            self.pull::<Float>(&mut batch)?;
            match self.values.dtype {
                DType::F64 => self
                    .ready
                    .extend(batch.iter().flat_map(|v| v.to_le_bytes())),
                DType::F32 => self
                    .ready
                    .extend(batch.iter().flat_map(|v| (*v as f32).to_le_bytes())),
                other => batch.iter().for_each(|v| other.encode(*v, &mut self.ready)),
            }
            self.floats = batch;
        }
        Ok(())
    }

    fn pull<P: Parse>(&mut self, out: &mut Vec<P::Value>) -> Result<(), ReadError> {
        while out.len() < BATCH && !self.ended {
            let result = match self.values.layout {
                Layout::Rows => self.rows::<P>(out),
                Layout::Indexed => self.indexed::<P>(out),
            };
            if let Err(misfit) = result {
                return Err(self.explain(misfit));
            }
            let (text, _) = self.blocks.block();
            if self.at == text.len() && out.len() < BATCH {
                let more = self.blocks.advance().map_err(|e| self.io(e))?;
                self.at = 0;
                if !more {
                    self.ended = true;
                    self.finish().map_err(|m| self.explain(m))?;
                }
            }
        }
        Ok(())
    }

    /// Numbers between separators, until the batch is full or the block ends.
    #[inline(never)]
    fn rows<P: Parse>(&mut self, out: &mut Vec<P::Value>) -> Result<(), Misfit> {
        let (text, padded) = self.blocks.block();
        let mut at = self.at;
        if self.comment {
            match memchr::memchr(b'\n', &text[at..]) {
                Some(n) => {
                    at += n;
                    self.comment = false;
                }
                None => {
                    self.at = text.len();
                    return Ok(());
                }
            }
        }
        // One more than there should be, so that too many are seen.
        let left = (self.values.count - self.seen).saturating_add(1);
        let room = (BATCH - out.len()).min(usize::try_from(left).unwrap_or(BATCH));
        let columns = self.values.columns;
        let mut in_row = self.in_row;
        let (mut taken, mut next_run) = (0, 0);
        out.reserve(room);
        let misfit = loop {
            if at >= next_run && room - taken >= run::VALUES {
                let found = P::run(&padded[at..], columns, &mut in_row, room - taken, out);
                (at, taken) = (at + found.bytes, taken + found.values);
                // where numbers are spelled otherwise, the next ones probably are, too
                next_run = if found.values == 0 {
                    at + run::REST
                } else {
                    at
                };
            }
            let Some(&b) = text.get(at) else { break None };
            if is_separator(b) {
                if b == b'\n' {
                    if in_row != columns && columns != 0 && in_row != 0 {
                        break Some(Misfit::Row { found: in_row, at });
                    }
                    in_row = 0;
                }
                at += 1;
                continue;
            }
            if b == b'#' {
                match memchr::memchr(b'\n', &text[at..]) {
                    Some(n) => at += n,
                    None => {
                        self.comment = true;
                        at = text.len();
                    }
                }
                continue;
            }
            if taken == room {
                break None;
            }
            let Some((value, used)) = P::parse(&padded[at..]) else {
                break Some(Misfit::NoNumber { at });
            };
            let end = at + used;
            match text.get(end) {
                None if end == text.len() => {}
                Some(&b) if is_separator(b) || b == b'#' => {}
                _ => break Some(Misfit::NoNumber { at }),
            }
            out.push(value);
            taken += 1;
            in_row += 1;
            at = end;
            // One value a line, all of them of one column.
            if columns == 0 && text.get(end) == Some(&b'\n') {
                at += 1;
            }
        };
        self.at = at;
        self.in_row = in_row;
        self.seen += taken as u64;
        if self.seen > self.values.count {
            // The separators behind the value may have been passed.
            let last = text[..at].iter().rposition(|b| !is_separator(*b));
            return Err(Misfit::TooMany {
                at: last.unwrap_or(at),
            });
        }
        misfit.map_or(Ok(()), Err)
    }

    /// Lines `[i] = value`, until the batch is full or the block ends.
    fn indexed<P: Parse>(&mut self, out: &mut Vec<P::Value>) -> Result<(), Misfit> {
        let (text, _) = self.blocks.block();
        while self.at < text.len() && out.len() < BATCH {
            let at = self.at;
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n);
            let line = text[at..end].trim_ascii_end();
            if !line.is_empty() && line[0] != b'#' {
                let entry = Entry::of(line).ok_or(Misfit::NoNumber { at })?;
                entry.value(line).ok_or(Misfit::NoNumber { at })?;
                let expected = self.values.first + self.seen;
                let found = flat(entry.index(), &self.values.shape, self.values.first);
                if self.seen == self.values.count {
                    return Err(Misfit::TooMany { at });
                }
                if found != Some(expected) {
                    let index = entry.index().to_vec();
                    return Err(Misfit::Index { index, at });
                }
                let (value, _) =
                    P::parse(&line[entry.value_at..]).ok_or(Misfit::NoNumber { at })?;
                out.push(value);
                self.seen += 1;
            }
            self.at = (end + 1).min(text.len());
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Misfit> {
        let columns = self.values.columns;
        if columns != 0 && self.in_row != 0 && self.in_row != columns {
            let at = self.at;
            return Err(Misfit::Row {
                found: self.in_row,
                at,
            });
        }
        if self.seen < self.values.count {
            return Err(Misfit::TooFew);
        }
        Ok(())
    }

    /// How many values there are in all, when there are too many.
    fn found(&self) -> Option<u64> {
        let v = &self.values;
        let text = source::reader(&v.path, v.encoding, v.start).ok()?;
        let census = Census::exact(&mut Blocks::new(text, Keep::Words)).ok()?;
        Some(match v.layout {
            Layout::Rows => census.values,
            Layout::Indexed => census.rows,
        })
    }

    fn io(&self, error: io::Error) -> ReadError {
        ReadError::io(&self.values.path, error)
    }

    fn explain(&self, misfit: Misfit) -> ReadError {
        let v = &self.values;
        let (count, shape) = (v.count, &v.shape);
        let path = &v.path;
        let (error, at) = match misfit {
            Misfit::TooFew => {
                let what = format!("shape {shape:?}: number of values");
                return ReadError::truncated(path, what, count, self.seen);
            }
            Misfit::TooMany { at } => {
                let found = self.found().unwrap_or(count + 1);
                let fact = format!("shape {shape:?} takes {count} values, found {found}");
                (ReadError::malformed(path, fact), at)
            }
            Misfit::Row { found, at } => (
                ReadError::malformed(
                    path,
                    format!(
                        "the row holds {found} values, the rows before it {}",
                        v.columns
                    ),
                ),
                at,
            ),
            Misfit::Index { index, at } => (
                ReadError::malformed(
                    path,
                    format!(
                        "index {index:?} where number {} was due; with a shape in the header gaps can be placed",
                        v.first + self.seen
                    ),
                ),
                at,
            ),
            Misfit::NoNumber { at } => {
                let (text, _) = self.blocks.block();
                (
                    ReadError::malformed(path, no_number(&text[at..], v.dtype)),
                    at,
                )
            }
        };
        let offset = v.start + self.blocks.before() + at as u64;
        match source::line_at(path, v.encoding, offset) {
            Some(line) => error.at_line(line),
            None => error,
        }
    }
}

/// Why decoding stopped, and where in the block.
enum Misfit {
    TooFew,
    TooMany { at: usize },
    Row { found: u64, at: usize },
    Index { index: Vec<u64>, at: usize },
    NoNumber { at: usize },
}

/// The message for what should be a number, quoted.
pub fn no_number(text: &[u8], dtype: DType) -> String {
    let word: Vec<u8> = text
        .iter()
        .copied()
        .take_while(|b| !is_separator(*b))
        .take(40)
        .collect();
    let kind = if dtype.is_exact() {
        "whole number"
    } else {
        "number"
    };
    format!("{:?} is no {kind}", String::from_utf8_lossy(&word))
}

/// The row-major position that an index of one or several axes means; `first` is what a single axis counts from.
fn flat(index: &[u64], shape: &[usize], first: u64) -> Option<u64> {
    match index {
        [i] => Some(*i),
        _ if index.len() == shape.len() => index
            .iter()
            .zip(shape)
            .try_fold(0u64, |at, (&i, &n)| {
                (i < n as u64).then(|| at.checked_mul(n as u64)?.checked_add(i))?
            })?
            .checked_add(first),
        _ => None,
    }
}

/// How one value is read. A trait, for a function passed as a value is not inlined into the loop.
trait Parse {
    type Value;
    fn parse(text: &[u8]) -> Option<(Self::Value, usize)>;
    /// Many at once, where their spelling is the usual one.
    fn run(
        _text: &[u8],
        _columns: u64,
        _in_row: &mut u64,
        _room: usize,
        _out: &mut Vec<Self::Value>,
    ) -> Run {
        Run::default()
    }
}

struct Float;

impl Parse for Float {
    type Value = f64;
    #[inline(always)]
    fn parse(text: &[u8]) -> Option<(f64, usize)> {
        number(text)
    }

    fn run(text: &[u8], columns: u64, in_row: &mut u64, room: usize, out: &mut Vec<f64>) -> Run {
        run::run(Isa::detect(), text, columns, in_row, room, out)
    }
}

/// A whole number that fits an i64.
struct Whole;

impl Parse for Whole {
    type Value = i64;
    fn parse(text: &[u8]) -> Option<(i64, usize)> {
        let negative = text.first()? == &b'-';
        let start = usize::from(negative || text[0] == b'+');
        let mut value = 0i64;
        let mut at = start;
        while let Some(d) = text
            .get(at)
            .map(|b| b.wrapping_sub(b'0'))
            .filter(|d| *d < 10)
        {
            let d = i64::from(d);
            value = value
                .checked_mul(10)?
                .checked_add(if negative { -d } else { d })?;
            at += 1;
        }
        (at > start).then_some((value, at))
    }
}

impl Read for Decoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() && !self.ended {
            self.refill().map_err(into_io)?;
        }
        let ready = &self.ready[self.taken..];
        let n = ready.len().min(out.len());
        out[..n].copy_from_slice(&ready[..n]);
        self.taken += n;
        Ok(n)
    }
}

fn into_io(error: ReadError) -> io::Error {
    let kind = match &error.kind {
        ReadErrorKind::Io(e) => e.kind(),
        ReadErrorKind::Truncated { .. } => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
