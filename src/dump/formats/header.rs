//! Reads binary headers field by field; every length is checked against the file before anything is allocated.

use crate::dump::ReadError;
use crate::dump::read::open_file;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A little-endian header that is read from the start of a file.
pub struct HeaderReader {
    path: PathBuf,
    file: BufReader<File>,
    at: u64,
    len: u64,
    /// What the header is called in messages.
    what: &'static str,
}

impl HeaderReader {
    pub fn open(path: &Path, what: &'static str) -> Result<Self, ReadError> {
        let (file, len) = open_file(path)?;
        Ok(HeaderReader {
            path: path.to_path_buf(),
            file: BufReader::with_capacity(1 << 16, file),
            at: 0,
            len,
            what,
        })
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Length of the file.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    fn needs(&self, n: u64) -> Result<(), ReadError> {
        let found = self.len - self.at;
        if found < n {
            let what = format!("{} (bytes)", self.what);
            return Err(ReadError::truncated(&self.path, what, n, found).at_byte(self.at));
        }
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        self.needs(N as u64)?;
        let mut out = [0; N];
        self.file
            .read_exact(&mut out)
            .map_err(|e| ReadError::io(&self.path, e))?;
        self.at += N as u64;
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text of `n` bytes, at most `limit`.
    pub fn text(&mut self, n: u64, limit: u64) -> Result<String, ReadError> {
        self.needs(n)?;
        if n > limit {
            return Err(self.malformed(format!("a name of {n} bytes; at most {limit} are read")));
        }
        let mut bytes = vec![0; n as usize];
        self.file
            .read_exact(&mut bytes)
            .map_err(|e| ReadError::io(&self.path, e))?;
        self.at += n;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub fn skip(&mut self, n: u64) -> Result<(), ReadError> {
        self.needs(n)?;
        let io = |e| ReadError::io(&self.path, e);
        match i64::try_from(n) {
            Ok(n) => self.file.seek_relative(n).map_err(io)?,
            Err(_) => {
                self.file.seek(SeekFrom::Start(self.at + n)).map_err(io)?;
            }
        }
        self.at += n;
        Ok(())
    }

    /// An error at the present place.
    pub fn malformed(&self, fact: impl Into<String>) -> ReadError {
        ReadError::malformed(&self.path, format!("{}: {}", self.what, fact.into())).at_byte(self.at)
    }
}
