//! Why something could not be read: where first, what second.

use std::fmt;
use std::path::{Path, PathBuf};

/// A failure to read one file, member or tensor; displayed as `path[::member] [at byte N]: fact; hint`.
#[derive(Debug)]
pub struct ReadError {
    pub path: PathBuf,
    /// The tensor or archive member inside the file.
    pub member: Option<String>,
    pub place: Option<Place>,
    pub kind: ReadErrorKind,
}

/// Where inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Byte(u64),
    /// Counted from 1.
    Line(u64),
}

#[derive(Debug)]
pub enum ReadErrorKind {
    Io(std::io::Error),
    /// `what` needs `needs` bytes (or elements, as `what` says), `found` are there.
    Truncated {
        what: String,
        needs: u64,
        found: u64,
    },
    /// The content contradicts its own format.
    Malformed(String),
    /// Well-formed, but tdiff does not read it; the text says what would help.
    Unsupported(String),
    /// The stored CRC-32 and the one of the data.
    Checksum {
        stored: u32,
        computed: u32,
    },
}

impl ReadError {
    pub fn new(path: impl AsRef<Path>, kind: ReadErrorKind) -> Self {
        ReadError {
            path: path.as_ref().to_path_buf(),
            member: None,
            place: None,
            kind,
        }
    }

    pub fn io(path: impl AsRef<Path>, error: std::io::Error) -> Self {
        Self::new(path, ReadErrorKind::Io(error))
    }

    pub fn truncated(
        path: impl AsRef<Path>,
        what: impl Into<String>,
        needs: u64,
        found: u64,
    ) -> Self {
        Self::new(
            path,
            ReadErrorKind::Truncated {
                what: what.into(),
                needs,
                found,
            },
        )
    }

    pub fn malformed(path: impl AsRef<Path>, fact: impl Into<String>) -> Self {
        Self::new(path, ReadErrorKind::Malformed(fact.into()))
    }

    pub fn unsupported(path: impl AsRef<Path>, fact: impl Into<String>) -> Self {
        Self::new(path, ReadErrorKind::Unsupported(fact.into()))
    }

    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = Some(member.into());
        self
    }

    pub fn at_byte(mut self, offset: u64) -> Self {
        self.place = Some(Place::Byte(offset));
        self
    }

    pub fn at_line(mut self, line: u64) -> Self {
        self.place = Some(Place::Line(line));
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(member) = &self.member {
            write!(f, "::{member}")?;
        }
        match self.place {
            Some(Place::Byte(at)) => write!(f, " at byte {at}")?,
            Some(Place::Line(at)) => write!(f, " at line {at}")?,
            None => {}
        }
        match &self.kind {
            ReadErrorKind::Io(e) => write!(f, ": {e}"),
            ReadErrorKind::Truncated { what, needs, found } => {
                write!(f, ": {what} needs {needs}, found {found}")
            }
            ReadErrorKind::Malformed(fact) | ReadErrorKind::Unsupported(fact) => {
                write!(f, ": {fact}")
            }
            ReadErrorKind::Checksum { stored, computed } => {
                write!(
                    f,
                    ": checksum of the data is {computed:08x}, the archive says {stored:08x}"
                )
            }
        }
    }
}

/// The message holds what the system said; it is no source, so that nobody prints it twice.
impl std::error::Error for ReadError {}
