//! Files of plain numbers, with or without header lines.

use super::super::{stem, tensor};
use super::census::Census;
use super::decode::{Values, no_number};
use super::digits::Precision;
use super::excerpt::{self, Excerpt, Fault};
use super::header::Header;
use super::layout::{Entry, Layout, bits, layout};
use super::libtorch;
use super::source::{self, Blocks, Encoding, Keep, is_separator, lines};
use crate::dtype::DType;
use crate::dump::{
    Format, Guess, Hints, Opened, Payload, Printed, ReadError, Remark, Tensor, TensorInfo,
};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

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

/// The lines above the values.
struct Preamble {
    header: Header,
    /// Where the first line with values starts.
    data_at: usize,
    no_data: bool,
    /// A line says that only the first or last elements follow.
    excerpt: bool,
    /// The first and the last ones stand in that line itself.
    in_lines: [bool; 2],
    /// So they do more than once: several tensors.
    several: bool,
    /// And the line is no comment.
    bare: bool,
}

impl Preamble {
    fn read(text: &[u8]) -> Preamble {
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

fn is_comment(line: &[u8]) -> bool {
    matches!(line, [b'#', ..] | [b'/', b'/', ..] | [b'%', ..])
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

    fn rows(self) -> Result<Opened, ReadError> {
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
        let notes = Vec::from_iter(rows.wrapped.then(|| Remark {
            id: "wrapped_rows",
            message: format!(
                "{}: the last row is shorter than the others: read as {} values without shape",
                self.path.display(),
                rows.shape[0]
            ),
            tensors: vec![stem(self.path)],
        }));
        let precision = self.precision(|sample, see| {
            for (_, line) in lines(sample) {
                let line = line.split(|b| *b == b'#').next().unwrap_or(line);
                line.split(|b| is_separator(*b)).for_each(&mut *see);
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
    fn census(&self, rows: bool) -> Result<Census, ReadError> {
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
        census.columns = first
            .split(|b| is_separator(*b))
            .filter(|w| !w.is_empty())
            .count() as u64;
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
        notes: Vec<Remark>,
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
    let words = |line: &[u8]| {
        line.split(|b| is_separator(*b))
            .filter(|w| !w.is_empty())
            .count()
    };
    let shape = first
        .split(|b| is_separator(*b))
        .filter(|w| !w.is_empty())
        .map(|w| std::str::from_utf8(w).ok()?.parse().ok().filter(|n| *n > 0))
        .collect::<Option<Vec<usize>>>()?;
    let product = shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d as u64))?;
    let differs = shape.len() != words(second) || shape.len() == 1;
    let rest = &text[start + next..];
    let fractions = rest.contains(&b'.');
    (differs && fractions && product == values.checked_sub(shape.len() as u64)?).then_some(Rows {
        shape,
        columns: 0,
        start: start + next,
        wrapped: false,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::{ReadErrorKind, Tensor};
    use std::path::PathBuf;

    #[test]
    fn excerpts_in_their_lines_are_one_tensor_of_known_shape() {
        let sniff = |text: &str| Numbers.sniff(text.as_bytes(), Path::new("x.txt"));
        let one = "Shape: [1, 8]\nMean: 0.5\nFirst 2 values: 1.0 2.0\nLast 2 values: 3.0 4.0\n";
        assert!(sniff(one) && sniff("First 2: [1.0, 2.0]\n"));
        assert!(!sniff(&one.repeat(2)), "a log of two tensors");
        assert!(!sniff("# first 2: 1.0 2.0\n# nothing else\n"), "notes");
        let t = tensor(one);
        let Payload::Partial(known) = &t.payload else {
            panic!("{:?}", t.payload)
        };
        assert_eq!(known.positions, [0, 1, 6, 7]);
        assert_eq!(known.values, [1.0, 2.0, 3.0, 4.0]);
    }

    fn open(name: &str, text: impl AsRef<[u8]>) -> Result<Opened, ReadError> {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Numbers.open(&path, &Hints::default())
    }

    fn tensor(text: impl AsRef<[u8]>) -> Tensor {
        open("x.txt", text).unwrap().tensors.remove(0)
    }

    fn values(t: &Tensor) -> Vec<f64> {
        match &t.payload {
            Payload::Memory(bytes) => {
                let mut out = vec![0.0; t.info.len()];
                t.info.dtype().decode(bytes, &mut out);
                out
            }
            Payload::Partial(p) => p.values.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn sniffs(text: &str) -> bool {
        Numbers.sniff(text.as_bytes(), Path::new("x.txt"))
    }

    #[test]
    fn rows_keep_their_shape() {
        let t = tensor("1.0 2.0\n3.0 4.5\n");
        assert_eq!((t.name.as_str(), t.info.shape()), ("x", &[2, 2][..]));
        assert_eq!(values(&t), [1.0, 2.0, 3.0, 4.5]);
        for text in [
            "1.5,2\r\n3,4\r\n",
            "1.5;2\n3;4",
            "1.5\t2\n\n3\t4\n\n",
            "# a b\n1.5, 2\n# c\n3, 4\n",
        ] {
            let t = tensor(text);
            assert_eq!(t.info.shape(), [2, 2], "{text:?}");
            assert_eq!(values(&t), [1.5, 2.0, 3.0, 4.0], "{text:?}");
        }
        assert_eq!(tensor("1.5 2.5 3.5\n").info.shape(), [3]);
        assert_eq!(tensor("1.5\n2.5\n").info.shape(), [2]);
    }

    #[test]
    fn a_header_gives_shape_type_and_statistics() {
        let t = tensor(
            "# Tensor: q\n# Shape: (1, 2, 2)\n# Dtype: float32\n# Mean: 2.5\n# Data:\n1.000000e+00\n2.000000e+00\n3.000000e+00\n4.000000e+00\n",
        );
        assert_eq!(t.info.shape(), [1, 2, 2]);
        assert_eq!(t.info.dtype(), DType::F32);
        assert_eq!(t.guess, None);
        assert_eq!(t.printed.stats.unwrap().mean.unwrap().value, 2.5);
        assert!((t.printed.half_unit_rel - 5e-7).abs() < 1e-15);
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let t = tensor("1 9007199254740993\n-3 4\n");
        assert_eq!(t.info.dtype(), DType::I64);
        let Payload::Memory(bytes) = &t.payload else {
            panic!()
        };
        assert_eq!(bytes[8..16], 9007199254740993i64.to_le_bytes());
        assert_eq!(tensor("1\n2.5\n").info.dtype(), DType::F64);
    }

    #[test]
    fn odd_values_and_encodings_are_read() {
        let t = tensor("nan\n-inf\n1.#INF\n-nan(ind)\n0x1.8p+1\n0.5f\n");
        let v = values(&t);
        assert!(v[0].is_nan() && v[3].is_nan());
        assert_eq!(
            (v[1], v[2], v[4], v[5]),
            (f64::NEG_INFINITY, f64::INFINITY, 3.0, 0.5)
        );
        let utf16: Vec<u8> = "\u{feff}shape: 1 2\r\n1.5\r\n-2\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let t = tensor(utf16);
        assert_eq!((t.info.shape(), values(&t)), (&[1, 2][..], vec![1.5, -2.0]));
        assert_eq!(values(&tensor("\u{feff}1.5\n2\n")), [1.5, 2.0]);
    }

    #[test]
    fn indexed_values_are_read() {
        for text in [
            "[0] = 1.5\n[1] = 2\n",
            "x[0]=1.5\nx[1]=2\n",
            "0: 1.5\n1: 2\n",
            "0 1.5\n1 2\n",
            "1: 1.5\n2: 2\n",
        ] {
            let t = tensor(text);
            assert_eq!(
                (t.info.shape(), values(&t)),
                (&[2][..], vec![1.5, 2.0]),
                "{text:?}"
            );
        }
        let t = tensor("q[0][0] = 1.5\nq[0][1] = 2\nq[1][0] = 3\nq[1][1] = 4\n");
        assert_eq!(
            (t.info.shape(), values(&t)),
            (&[2, 2][..], vec![1.5, 2.0, 3.0, 4.0])
        );
    }

    #[test]
    fn dimensions_may_stand_above_the_values() {
        let t = tensor("1 3 2\n0.1\n0.2\n0.3\n0.4\n0.5\n0.6\n");
        assert_eq!((t.info.shape(), values(&t).len()), (&[1, 3, 2][..], 6));
        let t = tensor("3\n0.1\n0.2\n0.3\n");
        assert_eq!((t.info.shape(), values(&t).len()), (&[3][..], 3));
    }

    #[test]
    fn excerpts_are_partial_and_keep_the_printed_statistics() {
        let mut text = String::from(
            "# Tensor: q\n# Shape: 1x3x2048\n# Total elements: 6144\n# Mean: 1.0e-01\n# Data:\n# First 50 elements:\n",
        );
        (0..50).for_each(|i| text += &format!("{i}.000000e+00\n"));
        text += "# Last 50 elements:\n";
        (0..50).for_each(|i| text += &format!("-{i}.000000e+00\n"));
        let t = tensor(&text);
        let Payload::Partial(p) = &t.payload else {
            panic!()
        };
        assert_eq!(
            (p.positions[49], p.positions[50], p.positions[99]),
            (49, 6094, 6143)
        );
        assert_eq!(p.values[99], -49.0);
        let stats = t.printed.stats.unwrap();
        assert_eq!((stats.count, stats.mean.unwrap().value), (Some(6144), 0.1));
        let cut = &text[..text.len() - 30];
        assert!(matches!(
            open("x.txt", cut).unwrap_err().kind,
            ReadErrorKind::Truncated { needs: 50, .. }
        ));
    }

    #[test]
    fn statistics_alone_are_kept() {
        let t = tensor("# Shape: 1x3x2048\n# Mean: 0.5\n# Std: 1.5\n");
        assert!(matches!(t.payload, Payload::Statistics));
        assert_eq!(t.info.shape(), [1, 3, 2048]);
    }

    #[test]
    fn a_number_of_values_that_does_not_fit_is_an_error() {
        for (text, message) in [
            (
                "shape: 2 2\n1.0\n2.0\n3.0\n",
                "x.txt: shape [2, 2]: number of values needs 4, found 3",
            ),
            (
                "shape: 2 2\n1.0\n2.0\n3.0\n4.0\n5.0\n",
                "x.txt at line 6: shape [2, 2] takes 4 values, found 5",
            ),
            (
                "1.0 2.0\n3.0\n4.0 5.0\n",
                "x.txt at line 2: the row holds 1 values, the rows before it 2",
            ),
            (
                "1.0\n2.0\nthree\n4.0\n",
                "x.txt at line 3: \"three\" is no number",
            ),
            (
                "[0] = 1.5\n[1] = 2.5\n[3] = 3.5\n",
                "x.txt at line 3: index [3] where number 2 was due; with a shape in the header gaps can be placed",
            ),
        ] {
            let error = open("x.txt", text).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
        }
    }

    #[test]
    fn a_shorter_last_row_is_noted() {
        let opened = open("x.txt", "1.5 2 3\n4 5 6\n7 8\n").unwrap();
        assert_eq!(opened.tensors[0].info.shape(), [8]);
        assert_eq!(opened.notes[0].id, "wrapped_rows");
    }

    #[test]
    fn prose_and_code_are_left_alone() {
        for text in [
            "dumped by hook script, prompt: hello\n",
            "loaded model in 0.3 s\n",
            "# Title\n\nSome text\n",
            "{\"a\": [1, 2]}",
            "import numpy as np\n",
            "2024-01-01 12:00:00 start\n",
            "epoch,loss\n1,2.5\n",
            "\0\0\u{1}",
            "",
            "\n\n",
        ] {
            assert!(!sniffs(text), "{text:?}");
        }
        assert!(!Numbers.sniff(b"1.0\n", Path::new("x.py")));
        assert!(sniffs("shape: 1 2\n1.0\n2.0\n"));
        assert!(sniffs("# Mean: 1\n# Shape: 1x2\n"));
    }

    #[test]
    fn long_files_stay_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long.txt");
        let n = 200_000;
        let body: String = (0..n)
            .map(|i| format!("{:.8e}\n", f64::from(i) * 0.37 - 9000.0))
            .collect();
        for (head, shape) in [
            ("", vec![n as usize]),
            ("shape: 2 100000\n", vec![2, 100_000]),
        ] {
            std::fs::write(&path, format!("{head}{body}")).unwrap();
            let t = Numbers
                .open(&path, &Hints::default())
                .unwrap()
                .tensors
                .remove(0);
            assert_eq!(t.info.shape(), shape);
            let Payload::Stream(s) = &t.payload else {
                panic!()
            };
            let mut bytes = Vec::new();
            s.open().unwrap().read_to_end(&mut bytes).unwrap();
            let found = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b));
            assert!(found.eq(body.lines().map(|l| l.parse::<f64>().unwrap())));
        }
        std::fs::write(&path, format!("shape: 2 100001\n{body}")).unwrap();
        let t = Numbers
            .open(&path, &Hints::default())
            .unwrap()
            .tensors
            .remove(0);
        let Payload::Stream(s) = &t.payload else {
            panic!()
        };
        let error = s.open().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        let inner: ReadError = error.downcast().unwrap();
        assert!(
            inner.to_string().ends_with("needs 200002, found 200000"),
            "{inner}"
        );
    }
}
