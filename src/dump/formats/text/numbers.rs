//! Files of plain numbers, with or without header lines.

use super::super::{stem, tensor};
use super::decode::{Values, no_number};
use super::digits::Precision;
use super::excerpt::{self, Excerpt, Fault};
use super::layout::{Entry, Layout, bits, layout};
use super::libtorch;
use super::preamble::{Preamble, names_several};
use super::source::{self, Encoding, is_separator, lines};
use crate::dtype::DType;
use crate::dump::{Format, Guess, Hints, Opened, Payload, Printed, ReadError, Tensor, TensorInfo};
use crate::note::Note;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

mod rows;
#[cfg(test)]
mod tests;

/// `numpy.savetxt`, one value a line, `[i] = value`, header lines with shape and statistics, excerpts.
pub struct Numbers;

/// Up to this many bytes a file is read at once.
const SMALL: u64 = 1 << 20;
/// What is read of a longer one to understand it.
const HEAD: u64 = 64 << 10;

impl Format for Numbers {
    fn name(&self) -> &'static str {
        "text"
    }

    fn sniff(&self, head: &[u8], path: &Path) -> bool {
        if super::is_source(path) || is_cpp_print(head, path) {
            return false;
        }
        let Some(encoding) = Encoding::of(head) else {
            return false;
        };
        let text = source::decode(head, encoding);
        if names_several(&text) {
            return false;
        }
        let preamble = Preamble::read(&text);
        let data = &text[preamble.data_at..];
        if preamble.no_data {
            let header = &preamble.header;
            let excerpt = preamble.in_lines != [false; 2]
                && (preamble.bare || header.shape.is_some() || header.stats.count.is_some());
            return !preamble.several && (excerpt || header.has_stats() && header.shape.is_some());
        }
        let cut = head.len() as u64 >= HEAD;
        bits_first(data) || layout(data, cut).is_some() && !is_log(data, cut)
    }

    fn open(&self, path: &Path, hints: &Hints) -> Result<Opened, ReadError> {
        let io = |e| ReadError::io(path, e);
        let mut head = Vec::new();
        let file = std::fs::File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        file.take(HEAD).read_to_end(&mut head).map_err(io)?;
        let encoding =
            Encoding::of(&head).ok_or_else(|| ReadError::malformed(path, "this is no text"))?;
        let whole = size <= SMALL;
        let text = source::read(path, encoding, (!whole).then_some(HEAD))?;
        let preamble = Preamble::read(&text);
        if let Some(word) = decimal_comma(&text[preamble.data_at..]) {
            let fact = format!("`{word}` has a decimal comma: write the numbers with points");
            return Err(ReadError::malformed(path, fact));
        }
        let file = File {
            path,
            encoding,
            whole,
            text,
            preamble,
            hints,
        };
        file.open()
    }
}

/// Lines `name[i] = value` of several tensors, or with other lines between them.
fn is_log(data: &[u8], cut: bool) -> bool {
    let mut rows = lines(data)
        .filter(|(at, line)| !cut || at + line.len() < data.len())
        .map(|(_, line)| line.trim_ascii())
        .filter(|line| !line.is_empty() && line[0] != b'#' && !excerpt::is_gap(line));
    let Some(first) = rows.next().and_then(Entry::of) else {
        return false;
    };
    let own = |line: &[u8]| {
        let rest = line.strip_prefix(first.name);
        rest.is_some_and(|r| r.starts_with(b"[") || r.starts_with(b"("))
    };
    !first.name.is_empty() && !rows.all(own)
}

/// The first of numbers that are all written `0,5`, in rows of more than one.
fn decimal_comma(data: &[u8]) -> Option<String> {
    let comma = |word: &[u8]| {
        let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        let word = word.strip_prefix(b"-").unwrap_or(word);
        let at = word.iter().position(|b| *b == b',');
        at.is_some_and(|at| digits(&word[..at]) && digits(&word[at + 1..]))
    };
    let mut first = None;
    for (_, line) in lines(data).take(8) {
        let words = line.split(|b| matches!(b, b' ' | b'\t' | b';'));
        let mut count = 0;
        for word in words.filter(|w| !w.is_empty()) {
            if !comma(word) {
                return None;
            }
            first.get_or_insert(word);
            count += 1;
        }
        if count < 2 {
            return None;
        }
    }
    first.map(|word| String::from_utf8_lossy(word).into_owned())
}

/// Vectors and matrices as C++ PyTorch prints them look like plain numbers but for the last line.
fn is_cpp_print(head: &[u8], path: &Path) -> bool {
    let tail = match (head.len() as u64) < HEAD {
        true => Some(head.to_vec()),
        false => source::tail(path, 256).ok(),
    };
    tail.is_some_and(|tail| {
        let last = tail.trim_ascii_end().rsplit(|b| *b == b'\n').next();
        last.and_then(|line| libtorch::trailer(std::str::from_utf8(line).ok()?.trim()))
            .is_some()
    })
}

fn bits_first(data: &[u8]) -> bool {
    lines(data)
        .next()
        .is_some_and(|(_, line)| bits(line).is_some())
}

/// One file while it is opened.
struct File<'a> {
    path: &'a Path,
    encoding: Encoding,
    /// `text` is all of it.
    whole: bool,
    text: Vec<u8>,
    preamble: Preamble,
    hints: &'a Hints,
}

impl File<'_> {
    fn open(self) -> Result<Opened, ReadError> {
        let header = &self.preamble.header;
        if self.preamble.no_data
            && self.whole
            && self.preamble.in_lines == [false; 2]
            && header.has_stats()
            && header.shape.as_ref().is_none_or(|s| !s.contains(&0))
        {
            return self.statistics();
        }
        let data = &self.text[self.preamble.data_at..];
        let gap = self.whole && lines(data).any(|(_, line)| excerpt::is_gap(line));
        if self.preamble.excerpt || gap || bits_first(data) {
            return self.excerpt();
        }
        match layout(data, !self.whole) {
            Some(Layout::Rows) => self.rows(),
            Some(Layout::Indexed) => self.indexed(),
            None if self.preamble.no_data => self.rows(),
            None => Err(self.no_number()),
        }
    }

    fn statistics(self) -> Result<Opened, ReadError> {
        let header = self.preamble.header;
        let shape = header.shape.unwrap_or_default();
        let info = info(self.path, header.dtype.unwrap_or(DType::F64), shape)?;
        let printed = Printed {
            stats: Some(Box::new(header.stats)),
            ..Printed::default()
        };
        Ok(one(only(self.path, info, Payload::Statistics, printed)))
    }

    fn excerpt(mut self) -> Result<Opened, ReadError> {
        if !self.whole {
            self.text = source::read(self.path, self.encoding, None)?;
        }
        let explain = |fault| match fault {
            Fault::NoNumber { line, word } => {
                ReadError::malformed(self.path, no_number(word.as_bytes(), DType::F64))
                    .at_line(line)
            }
            Fault::Short { announced, found } => {
                ReadError::truncated(self.path, "number of values in a stretch", announced, found)
            }
            Fault::TooMany { found } => ReadError::malformed(
                self.path,
                format!(
                    "a stretch holds {found} values, more than announced or than the shape has"
                ),
            ),
            Fault::Outside { index } => {
                ReadError::malformed(self.path, format!("index {index:?} is outside the shape"))
            }
        };
        let e = Excerpt::read(&self.text, self.preamble.data_at).map_err(explain)?;
        let header = self.preamble.header;
        let shape = match (header.shape, header.stats.count, &self.hints.shape) {
            (Some(shape), _, _) => shape,
            (None, Some(n), _) => vec![n as usize],
            (None, None, Some(shape)) => shape.clone(),
            (None, None, None) => {
                return Err(ReadError::unsupported(
                    self.path,
                    "only some of the values are here and no line gives the shape; give it with --shape",
                ));
            }
        };
        let dtype = match header.dtype {
            Some(d) => d,
            None if e.is_f16 => DType::F16,
            None => DType::F64,
        };
        let info = info(self.path, dtype, shape)?;
        let partial = e.place(info.shape()).map_err(explain)?;
        let (half_unit_abs, half_unit_rel) = e.precision.half_units();
        let printed = Printed {
            half_unit_abs,
            half_unit_rel,
            stats: Some(Box::new(header.stats)).filter(|s| **s != Default::default()),
        };
        let payload = if partial.positions.len() == info.len() {
            let mut bytes = Vec::with_capacity(info.len() * dtype.size());
            partial
                .values
                .iter()
                .for_each(|v| dtype.encode(*v, &mut bytes));
            Payload::Memory(bytes.into())
        } else {
            Payload::Partial(Arc::new(partial))
        };
        Ok(one(only(self.path, info, payload, printed)))
    }

    fn indexed(self) -> Result<Opened, ReadError> {
        let census = self.census(false)?;
        let data = &self.text[self.preamble.data_at..];
        let mut indices =
            lines(data).filter_map(|(_, line)| Some(Entry::of(line)?.index().to_vec()));
        let ends = indices
            .next()
            .map(|first| (first.clone(), indices.last().unwrap_or(first)));
        let Some((first, last)) = ends else {
            return Err(self.no_number());
        };
        let axes = first.len();
        let from = u64::from(first == [1]);
        let header = &self.preamble.header;
        let guessed = header.shape.is_none();
        let shape = match &header.shape {
            Some(shape) => shape.clone(),
            None if axes == 1 => vec![census.rows as usize],
            None if self.whole => last.iter().map(|&i| i as usize + 1).collect(),
            None => {
                return Err(ReadError::unsupported(
                    self.path,
                    format!("indices of {axes} axes and no shape; a header line `shape: …` helps"),
                ));
            }
        };
        let fraction = |line: &[u8]| {
            let word = Entry::of(line).and_then(|e| Some(e.value(line)?.0));
            word.is_some_and(|w| !w.iter().all(|b| b.is_ascii_digit() || *b == b'-'))
        };
        let integers = self.whole && !lines(data).any(|(_, line)| fraction(line));
        let dtype = header.dtype_for(integers);
        let precision = self.precision(|sample, see| {
            for (_, line) in lines(sample) {
                if let Some((word, _)) = Entry::of(line).and_then(|e| e.value(line)) {
                    see(word);
                }
            }
        })?;
        let values = Values {
            path: self.path.into(),
            encoding: self.encoding,
            start: self.preamble.data_at as u64,
            layout: Layout::Indexed,
            dtype,
            count: 0,
            shape,
            columns: 0,
            first: from,
        };
        self.finish(values, guessed, precision, Vec::new())
    }

    /// Long texts stay on disk, short ones are decoded now.
    fn finish(
        self,
        mut values: Values,
        guessed: bool,
        precision: Precision,
        notes: Vec<Note>,
    ) -> Result<Opened, ReadError> {
        let info = info(self.path, values.dtype, values.shape.clone())?;
        let stats = &self.preamble.header.stats;
        if let Some(count) = stats.count.filter(|n| *n != info.len() as u64) {
            return Err(ReadError::malformed(
                self.path,
                format!(
                    "the header says {count} elements, its shape {:?} has {}",
                    info.shape(),
                    info.len()
                ),
            ));
        }
        values.count = info.len() as u64;
        let (half_unit_abs, half_unit_rel) = precision.half_units();
        let printed = Printed {
            half_unit_abs,
            half_unit_rel,
            stats: Some(Box::new(stats.clone())).filter(|s| **s != Default::default()),
        };
        let payload = if self.whole {
            let mut text = self.text;
            text.drain(..values.start as usize);
            Payload::Memory(values.decode(Box::new(io::Cursor::new(text)))?.into())
        } else {
            Payload::Stream(Arc::new(values))
        };
        let mut tensor = only(self.path, info, payload, printed);
        tensor.guess = guessed.then_some(Guess::Shape);
        Ok(Opened {
            tensors: vec![tensor],
            notes,
            ..Opened::default()
        })
    }

    /// The digits of the values: of all in a short file, of three stretches in a long one.
    fn precision(
        &self,
        words: impl Fn(&[u8], &mut dyn FnMut(&[u8])),
    ) -> Result<Precision, ReadError> {
        let mut precision = Precision::default();
        let mut see = |word: &[u8]| precision.see(word);
        words(&self.text[self.preamble.data_at..], &mut see);
        if let (false, Encoding::Bytes { bom }) = (self.whole, self.encoding) {
            let io = |e| ReadError::io(self.path, e);
            let size = std::fs::metadata(self.path).map_err(io)?.len() - bom;
            for from in [size / 2, size - HEAD] {
                let mut sample = Vec::new();
                source::reader(self.path, self.encoding, from)?
                    .take(HEAD)
                    .read_to_end(&mut sample)
                    .map_err(io)?;
                // The first and the last word are cut, or the lines of indexed values.
                let cut = |b: &u8| *b == b'\n';
                let start = sample
                    .iter()
                    .position(cut)
                    .or_else(|| sample.iter().position(|b| is_separator(*b)));
                let end = sample
                    .iter()
                    .rposition(cut)
                    .or_else(|| sample.iter().rposition(|b| is_separator(*b)));
                if let (Some(start), Some(end)) = (start, end)
                    && start < end
                {
                    words(&sample[start..end], &mut see);
                }
            }
        }
        Ok(precision)
    }

    fn no_number(&self) -> ReadError {
        let at = self.preamble.data_at;
        let fact = no_number(&self.text[at..], DType::F64);
        let line = 1 + memchr::memchr_iter(b'\n', &self.text[..at]).count() as u64;
        ReadError::malformed(self.path, fact).at_line(line)
    }
}

fn info(path: &Path, dtype: DType, shape: Vec<usize>) -> Result<TensorInfo, ReadError> {
    TensorInfo::new(dtype, shape).map_err(|e| ReadError::malformed(path, e.to_string()))
}

/// The only tensor of a file.
fn only(path: &Path, info: TensorInfo, payload: Payload, printed: Printed) -> Tensor {
    let mut tensor = tensor(path, "text", stem(path), info, payload);
    tensor.printed = printed;
    tensor
}

fn one(tensor: Tensor) -> Opened {
    Opened {
        tensors: vec![tensor],
        ..Opened::default()
    }
}
