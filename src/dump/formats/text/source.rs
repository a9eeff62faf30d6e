//! The characters of a file: byte order marks, UTF-16, blocks that end between words.

use crate::dump::ReadError;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::Path;

/// How the characters are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8 or an extension of ASCII; the first `bom` bytes are a byte order mark.
    Bytes {
        bom: u64,
    },
    Utf16 {
        big_endian: bool,
        bom: u64,
    },
}

impl Encoding {
    /// From the first bytes of a file; `None` when they are no text.
    pub fn of(head: &[u8]) -> Option<Encoding> {
        if head.starts_with(b"\xef\xbb\xbf") {
            return plain(&head[3..]).then_some(Encoding::Bytes { bom: 3 });
        }
        for big_endian in [false, true] {
            let mark = if big_endian { b"\xfe\xff" } else { b"\xff\xfe" };
            let zero = usize::from(!big_endian);
            let bom = if head.starts_with(mark) { 2 } else { 0 };
            let rest = &head[bom..head.len().min(bom + 512)];
            // Printed numbers are ASCII: every other byte is 0.
            let units = rest.as_chunks::<2>().0;
            let ascii = |u: &&[u8; 2]| u[1 - zero] != 0 && plain(&u[1 - zero..2 - zero]);
            if units.len() >= 2
                && units.iter().take(2).all(|u| u[zero] == 0)
                && units.iter().filter(|u| u[zero] == 0).all(|u| ascii(&u))
            {
                return Some(Encoding::Utf16 {
                    big_endian,
                    bom: bom as u64,
                });
            }
        }
        (!head.is_empty() && plain(head)).then_some(Encoding::Bytes { bom: 0 })
    }
}

/// No control characters but those of text; a terminal's escape sequences are let through.
fn plain(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&b| b >= b' ' || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b | 0x08))
}

/// The file's characters as UTF-8 from byte `start` of the decoded text on.
pub fn reader(
    path: &Path,
    encoding: Encoding,
    start: u64,
) -> Result<Box<dyn Read + Send>, ReadError> {
    let io = |e| ReadError::io(path, e);
    let mut file = File::open(path).map_err(io)?;
    match encoding {
        Encoding::Bytes { bom } => {
            file.seek(SeekFrom::Start(bom + start)).map_err(io)?;
            Ok(Box::new(file))
        }
        Encoding::Utf16 { big_endian, bom } => {
            file.seek(SeekFrom::Start(bom)).map_err(io)?;
            let mut decoded = Utf16::new(file, big_endian);
            io::copy(&mut (&mut decoded).take(start), &mut io::sink()).map_err(io)?;
            Ok(Box::new(decoded))
        }
    }
}

/// The start of a text in memory as UTF-8.
pub fn decode(head: &[u8], encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Bytes { bom } => head[bom as usize..].to_vec(),
        Encoding::Utf16 { big_endian, bom } => {
            let mut text = Vec::new();
            let mut decoded = Utf16::new(&head[bom as usize..], big_endian);
            // Reading from memory does not fail; what was decoded until then would be kept.
            let _ = decoded.read_to_end(&mut text);
            text
        }
    }
}

/// The whole text, or its first `most` bytes.
pub fn read(path: &Path, encoding: Encoding, most: Option<u64>) -> Result<Vec<u8>, ReadError> {
    let mut text = Vec::new();
    reader(path, encoding, 0)?
        .take(most.unwrap_or(u64::MAX))
        .read_to_end(&mut text)
        .map_err(|e| ReadError::io(path, e))?;
    Ok(text)
}

/// UTF-16 to UTF-8; what is no character becomes U+FFFD.
struct Utf16<R> {
    inner: R,
    big_endian: bool,
    ready: Vec<u8>,
    taken: usize,
    odd: Option<u8>,
    high: Option<u16>,
}

impl<R: Read> Utf16<R> {
    fn new(inner: R, big_endian: bool) -> Self {
        Utf16 {
            inner,
            big_endian,
            ready: Vec::new(),
            taken: 0,
            odd: None,
            high: None,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.taken = 0;
        let mut raw = vec![0; 16 * 1024];
        let kept = self.odd.take().map_or(0, |b| {
            raw[0] = b;
            1
        });
        let found = self.inner.read(&mut raw[kept..])?;
        let raw = &raw[..kept + found];
        let (units, rest) = raw.as_chunks::<2>();
        self.odd = if found > 0 {
            rest.first().copied()
        } else {
            None
        };
        let units = units.iter().map(|u| {
            if self.big_endian {
                u16::from_be_bytes(*u)
            } else {
                u16::from_le_bytes(*u)
            }
        });
        let high = self.high.take();
        let mut last = None;
        let whole: Vec<u16> = high.into_iter().chain(units).collect();
        let mut body = &whole[..];
        if let [start @ .., unit @ 0xd800..=0xdbff] = body
            && found > 0
        {
            last = Some(*unit);
            body = start;
        }
        self.high = last;
        for c in char::decode_utf16(body.iter().copied()) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.ready.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if self.ready.is_empty() && found > 0 {
            return self.refill();
        }
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() {
            self.refill()?;
        }
        let ready = &self.ready[self.taken..];
        let n = ready.len().min(out.len());
        out[..n].copy_from_slice(&ready[..n]);
        self.taken += n;
        Ok(n)
    }
}

/// The last `most` bytes of a file.
pub fn tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut tail = Vec::new();
    file.take(most).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Bytes of text read at a time.
const BLOCK: usize = 256 * 1024;
/// Bytes of a word (or line) that may straddle two blocks.
const LONGEST: usize = 4 * 1024;
/// Zeros behind the text of a block, so that eight bytes can be loaded at its end.
pub const PAD: usize = 16;

/// What a block must not cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Words,
    Lines,
}

/// Cuts a text into blocks between words or lines.
pub struct Blocks {
    inner: Box<dyn Read + Send>,
    keep: Keep,
    buffer: Vec<u8>,
    /// The block given last ends here; what follows up to `filled` starts the next one.
    end: usize,
    filled: usize,
    /// Bytes of text before the buffer's start.
    before: u64,
    done: bool,
}

impl Blocks {
    pub fn new(inner: Box<dyn Read + Send>, keep: Keep) -> Blocks {
        Blocks {
            inner,
            keep,
            buffer: vec![0; LONGEST + BLOCK + PAD],
            end: 0,
            filled: 0,
            before: 0,
            done: false,
        }
    }

    /// Reads the next block; `false` at the end of the text. A word or line longer than 4 KiB is cut.
    pub fn advance(&mut self) -> io::Result<bool> {
        let rest = self.filled - self.end;
        self.buffer.copy_within(self.end..self.filled, 0);
        self.before += self.end as u64;
        self.filled = rest;
        while !self.done && self.filled < BLOCK {
            let room = LONGEST + BLOCK;
            match self.inner.read(&mut self.buffer[self.filled..room]) {
                Ok(0) => self.done = true,
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.end = self.filled;
        if !self.done {
            let tail = &self.buffer[self.filled.saturating_sub(LONGEST)..self.filled];
            let cut = match self.keep {
                Keep::Lines => memchr::memrchr(b'\n', tail),
                Keep::Words => tail.iter().rposition(|&b| is_separator(b)),
            };
            if let Some(at) = cut {
                self.end = self.filled - tail.len() + at + 1;
            }
        }
        // What lies behind the block must not look like more digits.
        if self.end == self.filled {
            self.buffer[self.filled..self.filled + PAD].fill(0);
        }
        Ok(self.end > 0)
    }

    /// The text of the block, and the same with at least [`PAD`] more bytes of anything behind it.
    pub fn block(&self) -> (&[u8], &[u8]) {
        (&self.buffer[..self.end], &self.buffer[..self.end + PAD])
    }

    /// Bytes of text before this block.
    pub fn before(&self) -> u64 {
        self.before
    }
}

/// What stands between numbers.
#[inline(always)]
pub fn is_separator(b: u8) -> bool {
    b <= b' ' || b == b',' || b == b';'
}

/// What stands between separators.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| is_separator(*b)).filter(|w| !w.is_empty())
}

/// The lines of a text without their ends, each with its first byte's offset.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= text.len() {
            return None;
        }
        let start = at;
        let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n);
        at = end + 1;
        let line = &text[start..end];
        Some((start, line.strip_suffix(b"\r").unwrap_or(line)))
    })
}

/// Reads line after line; a line longer than 1 MiB comes in parts.
pub struct LineReader {
    inner: io::BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    number: u64,
}

const LONGEST_LINE: u64 = 1 << 20;

impl LineReader {
    pub fn new(inner: Box<dyn Read + Send>) -> LineReader {
        LineReader {
            inner: io::BufReader::with_capacity(64 * 1024, inner),
            line: Vec::new(),
            number: 0,
        }
    }

    /// The next line without its end and without colours, its number from 1, and whether it is there to its end.
    pub fn next(&mut self) -> io::Result<Option<(u64, Cow<'_, str>, bool)>> {
        self.line.clear();
        let limit = LONGEST_LINE;
        if (&mut self.inner)
            .take(limit)
            .read_until(b'\n', &mut self.line)?
            == 0
        {
            return Ok(None);
        }
        self.number += 1;
        let ended = self.line.pop_if(|b| *b == b'\n').is_some();
        self.line.pop_if(|b| *b == b'\r');
        if self.line.contains(&0x1b) {
            without_colours(&mut self.line);
        }
        Ok(Some((
            self.number,
            String::from_utf8_lossy(&self.line),
            ended,
        )))
    }
}

/// Drops a terminal's `ESC [ … letter`.
fn without_colours(line: &mut Vec<u8>) {
    let mut inside = false;
    let mut last = 0;
    line.retain(|&b| {
        let before = std::mem::replace(&mut last, b);
        if b == 0x1b {
            inside = true;
        } else if inside && b.is_ascii_alphabetic() && before != 0x1b {
            inside = false;
            return false;
        }
        !inside
    });
}

/// The number, from 1, of the line that holds byte `offset` of the text.
pub fn line_at(path: &Path, encoding: Encoding, offset: u64) -> Option<u64> {
    let mut text = reader(path, encoding, 0).ok()?.take(offset);
    let mut buffer = vec![0; 64 * 1024];
    let mut line = 1;
    loop {
        match text.read(&mut buffer) {
            Ok(0) => return Some(line),
            Ok(n) => line += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_bytes() {
        assert_eq!(
            Encoding::of(b"1.0\n2.0\n"),
            Some(Encoding::Bytes { bom: 0 })
        );
        assert_eq!(
            Encoding::of(b"\xef\xbb\xbf1.0"),
            Some(Encoding::Bytes { bom: 3 })
        );
        assert_eq!(
            Encoding::of(b"\xff\xfe1\0.\0"),
            Some(Encoding::Utf16 {
                big_endian: false,
                bom: 2
            })
        );
        assert_eq!(
            Encoding::of(b"\x001\0.\x005"),
            Some(Encoding::Utf16 {
                big_endian: true,
                bom: 0
            })
        );
        assert_eq!(Encoding::of(b"\x93NUMPY\x01\0"), None);
        assert_eq!(Encoding::of(b"\0\0\x80\x3f\0\0\0\x40"), None);
        assert_eq!(Encoding::of(b""), None);
    }

    #[test]
    fn utf16_is_read_as_utf8_from_any_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.txt");
        let text = "shape: 2 𝄞\r\n1.5 é\n".repeat(3000);
        for big_endian in [false, true] {
            let mut raw: Vec<u8> = if big_endian {
                vec![0xfe, 0xff]
            } else {
                vec![0xff, 0xfe]
            };
            for unit in text.encode_utf16() {
                raw.extend(if big_endian {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                });
            }
            std::fs::write(&path, &raw).unwrap();
            let encoding = Encoding::of(&raw[..600]).unwrap();
            let mut found = String::new();
            reader(&path, encoding, 7)
                .unwrap()
                .read_to_string(&mut found)
                .unwrap();
            assert_eq!(found, text[7..]);
        }
    }

    #[test]
    fn blocks_end_between_words_and_hold_everything() {
        let text: Vec<u8> = (0..90_000)
            .flat_map(|i| format!("{i}\n").into_bytes())
            .collect();
        let mut blocks = Blocks::new(Box::new(io::Cursor::new(text.clone())), Keep::Words);
        let mut found = Vec::new();
        while blocks.advance().unwrap() {
            assert_eq!(blocks.before(), found.len() as u64);
            let (block, padded) = blocks.block();
            assert!(block.ends_with(b"\n") && padded.len() == block.len() + PAD);
            found.extend_from_slice(block);
        }
        assert_eq!(found, text);
    }
}
