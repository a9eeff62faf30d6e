//! HDF5 is named and refused: reading it would bring a C library.

use crate::dump::{Format, Hints, Opened, ReadError};
use std::path::Path;

/// `.h5`, `.hdf5`, and MATLAB files since 7.3.
pub struct Hdf5;

impl Format for Hdf5 {
    fn name(&self) -> &'static str {
        "hdf5"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        head.starts_with(b"\x89HDF\r\n\x1a\n")
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        Err(ReadError::unsupported(
            path,
            "HDF5 is not read; convert it with h5py: np.savez(\"x.npz\", **{k: f[k][...] for k in f})",
        ))
    }
}
