//! Why there is no result.

use crate::dump::ReadError;
use std::fmt;

/// What keeps a comparison, statistics or a check from a result. A tensor that cannot be read is no such error: it stands in
/// the result.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A path that cannot be opened.
    Read(ReadError),
    /// A glob or a rule of names that cannot be followed.
    Option(String),
    /// A path with no tensor; the message says what was found instead.
    NothingFound(String),
    /// One dump in whose names nothing tells two sides apart.
    OneSide(String),
    /// Two sides of which nothing can be compared.
    NothingPairs(String),
}

/// A result, or why there is none.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read(error) => error.fmt(f),
            Error::Option(text)
            | Error::NothingFound(text)
            | Error::OneSide(text)
            | Error::NothingPairs(text) => f.write_str(text),
        }
    }
}

/// The message holds all that is known; there is no source, so that nobody prints it twice.
impl std::error::Error for Error {}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        Error::Read(error)
    }
}
