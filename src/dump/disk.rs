//! Files that hold elements: opened when they are read, or kept open from the first look on.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// A file that holds elements. Clones share it.
#[derive(Clone, Debug)]
pub struct DiskFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    kept: Option<Kept>,
}

impl DiskFile {
    /// A file that was just opened: of many small files, opening takes longer than reading, so it stays open as far as the
    /// process may have so many.
    pub(super) fn opened(path: &Path, file: File) -> DiskFile {
        DiskFile(Arc::new(Inner {
            path: path.to_path_buf(),
            kept: Kept::new(file),
        }))
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub fn open(&self) -> io::Result<Arc<File>> {
        match &self.0.kept {
            Some(kept) => Ok(Arc::clone(&kept.0)),
            None => File::open(&self.0.path).map(Arc::new),
        }
    }
}

impl<P: Into<PathBuf>> From<P> for DiskFile {
    fn from(path: P) -> DiskFile {
        DiskFile(Arc::new(Inner {
            path: path.into(),
            kept: None,
        }))
    }
}

/// An open file, counted.
#[derive(Debug)]
struct Kept(Arc<File>);

static KEPT: AtomicUsize = AtomicUsize::new(0);

impl Kept {
    fn new(file: File) -> Option<Kept> {
        let held = KEPT.fetch_add(1, Ordering::Relaxed);
        // counted from here on: dropping it counts back
        let kept = Kept(Arc::new(file));
        (held < *MOST).then_some(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes the table of open files long enough for `files` more. Linux makes a process with threads wait for every growth.
pub(super) fn make_room(files: usize) {
    if let (Ok(some), true) = (File::open("/"), files > FEW) {
        let last = (KEPT.load(Ordering::Relaxed) + 2 * files).min(*MOST);
        let _ = fcntl_dupfd_cloexec(&some, last as i32);
    }
}

/// So many files fit into any table.
const FEW: usize = 200;

/// How many files may stay open: what the system lets the process raise its limit to, less what everything else needs.
static MOST: LazyLock<usize> = LazyLock::new(|| {
    const ELSE: u64 = 256;
    const ENOUGH: u64 = 1 << 15;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        // refused where the system's own limit is lower; then the old one stays
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(ELSE);
    now.saturating_sub(ELSE).min(ENOUGH) as usize
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_kept_file_is_read_after_its_name_is_gone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"data").unwrap();
        let kept = DiskFile::opened(file.path(), File::open(file.path()).unwrap());
        let named = DiskFile::from(file.path());
        drop(file);
        let mut text = String::new();
        (&*kept.open().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "data");
        assert!(named.open().is_err());
    }
}
