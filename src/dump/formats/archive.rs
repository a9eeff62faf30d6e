//! Members of zip archives: where they lie, and how deflated ones are streamed.

use crate::dump::payload::{Crc, Payload, Stream};
use crate::dump::read::{open_file, swap_bytes};
use crate::dump::{DiskFile, ReadError, ReadErrorKind, TensorInfo};
use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use zip::CompressionMethod;
use zip::read::Config;
use zip::unstable::read::ZipIterable;

/// The first four bytes of a zip archive.
pub const MAGIC: &[u8] = b"PK\x03\x04";

/// One member of a zip archive whose place in the file was checked.
#[derive(Clone, Debug)]
pub struct Member {
    pub file: DiskFile,
    pub name: String,
    /// First byte of the stored or deflated data.
    pub start: u64,
    pub compressed: u64,
    pub size: u64,
    /// `None` where the producer wrote none.
    pub crc32: Option<u32>,
    pub deflated: bool,
}

/// The members in the order of the directory at the end; those that cannot be read beside them.
pub fn members(path: &Path) -> Result<(Vec<Member>, Vec<ReadError>), ReadError> {
    let (file, len) = open_file(path)?;
    let bad = |e: zip::result::ZipError| match e {
        zip::result::ZipError::Io(e) => ReadError::io(path, e),
        e => ReadError::malformed(
            path,
            format!("zip archive of {len} bytes: {e}; is the file cut off?"),
        ),
    };
    let mut archive = ZipIterable::try_new(BufReader::new(file), Config::default()).map_err(bad)?;
    let (mut local, _) = open_file(path)?;
    let shared = DiskFile::from(path);
    let (mut good, mut unreadable) = (Vec::new(), Vec::new());
    for entry in archive.files().map_err(bad)? {
        let entry = entry.map_err(bad)?;
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(_) => String::from_utf8_lossy(entry.name_raw()).into_owned(),
        };
        if name.ends_with('/') {
            continue;
        }
        let refuse = |fact: &str| ReadError::unsupported(path, fact).member(&name);
        if entry.encrypted() {
            unreadable.push(refuse("the member is encrypted"));
            continue;
        }
        let deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            other => {
                unreadable.push(refuse(&format!(
                    "compression {other:?}; stored and deflated members are read"
                )));
                continue;
            }
        };
        if !deflated && entry.size() != entry.compressed_size() {
            unreadable.push(
                ReadError::malformed(
                    path,
                    format!(
                        "stored member of {} bytes that should hold {}",
                        entry.compressed_size(),
                        entry.size()
                    ),
                )
                .member(&name),
            );
            continue;
        }
        match data_start(
            &mut local,
            entry.header_start(),
            entry.compressed_size(),
            len,
        ) {
            Ok(start) => good.push(Member {
                file: shared.clone(),
                name,
                start,
                compressed: entry.compressed_size(),
                size: entry.size(),
                crc32: Some(entry.crc32()),
                deflated,
            }),
            Err(kind) => unreadable.push(
                ReadError::new(path, kind)
                    .member(&name)
                    .at_byte(entry.header_start()),
            ),
        }
    }
    Ok((good, unreadable))
}

/// Finds the data behind the local header and checks that the file holds all of it.
fn data_start(
    file: &mut File,
    header: u64,
    compressed: u64,
    len: u64,
) -> Result<u64, ReadErrorKind> {
    let mut local = [0; 30];
    file.seek(SeekFrom::Start(header))
        .and_then(|_| file.read_exact(&mut local))
        .map_err(|_| ReadErrorKind::Truncated {
            what: "local header of the member (bytes)".into(),
            needs: 30,
            found: len.saturating_sub(header),
        })?;
    if !local.starts_with(MAGIC) {
        return Err(ReadErrorKind::Malformed(
            "the archive's directory points to no member".into(),
        ));
    }
    let name = u64::from(u16::from_le_bytes([local[26], local[27]]));
    let extra = u64::from(u16::from_le_bytes([local[28], local[29]]));
    let start = header + 30 + name + extra;
    let found = len.saturating_sub(start);
    if found < compressed {
        return Err(ReadErrorKind::Truncated {
            what: "data of the member (bytes)".into(),
            needs: compressed,
            found,
        });
    }
    Ok(start)
}

impl Member {
    /// A reader of the uncompressed bytes, without any check.
    pub fn reader(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let io = |e| ReadError::io(self.file.path(), e).member(&self.name);
        let mut file = File::open(self.file.path()).map_err(io)?;
        file.seek(SeekFrom::Start(self.start)).map_err(io)?;
        let stored = file.take(self.compressed);
        Ok(if self.deflated {
            Box::new(DeflateDecoder::new(BufReader::with_capacity(
                1 << 16,
                stored,
            )))
        } else {
            Box::new(stored)
        })
    }

    /// All uncompressed bytes, checksum verified; at most `limit` of them.
    pub fn bytes(&self, limit: u64) -> Result<Vec<u8>, ReadError> {
        if self.size > limit {
            let fact = format!(
                "the member holds {} bytes, at most {limit} are read",
                self.size
            );
            return Err(ReadError::unsupported(self.file.path(), fact).member(&self.name));
        }
        let mut bytes = Vec::new();
        self.reader()?
            .take(self.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| ReadError::io(self.file.path(), e).member(&self.name))?;
        self.verify(bytes.len() as u64, crc32fast::hash(&bytes))?;
        Ok(bytes)
    }

    fn verify(&self, size: u64, computed: u32) -> Result<(), ReadError> {
        if size != self.size {
            return Err(ReadError::truncated(
                self.file.path(),
                "the member (bytes)",
                self.size,
                size,
            )
            .member(&self.name));
        }
        if let Some(stored) = self.crc32
            && stored != computed
        {
            let kind = ReadErrorKind::Checksum { stored, computed };
            return Err(ReadError::new(self.file.path(), kind).member(&self.name));
        }
        Ok(())
    }

    /// The elements that begin `skip` bytes into the uncompressed member; they are known to lie inside.
    pub fn payload(&self, skip: u64, info: &TensorInfo, big_endian: bool) -> Payload {
        if self.deflated {
            Payload::Stream(Arc::new(Deflated {
                member: self.clone(),
                skip,
                len: info.byte_extent(),
                swap: if big_endian { info.dtype().size() } else { 1 },
            }))
        } else {
            Payload::File {
                file: self.file.clone(),
                offset: self.start + skip,
                big_endian,
                crc: self.crc32.map(|crc32| Crc {
                    crc32,
                    start: self.start,
                    len: self.compressed,
                }),
            }
        }
    }
}

/// The elements of a deflated member.
struct Deflated {
    member: Member,
    skip: u64,
    len: u64,
    /// Bytes of an element that is stored big endian; 1 for little endian.
    swap: usize,
}

impl Stream for Deflated {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let mut reader = Verified {
            member: self.member.clone(),
            inner: self.member.reader()?,
            hasher: crc32fast::Hasher::new(),
            seen: 0,
            left: self.len,
            swap: self.swap,
            block: Vec::new(),
            at: 0,
        };
        let skipped = reader.pass(self.skip);
        skipped.map_err(|e| match e.downcast::<ReadError>() {
            Ok(error) => error,
            Err(e) => ReadError::io(self.member.file.path(), e).member(&self.member.name),
        })?;
        Ok(Box::new(reader))
    }
}

/// Yields `left` bytes, then checks length and checksum of the whole member before the last of them is handed out.
struct Verified {
    member: Member,
    inner: Box<dyn Read + Send>,
    hasher: crc32fast::Hasher,
    seen: u64,
    left: u64,
    swap: usize,
    block: Vec<u8>,
    at: usize,
}

const BLOCK: usize = 1 << 16;

impl Verified {
    /// Reads up to a block; 0 bytes only at the end.
    fn fill(&mut self, limit: u64) -> io::Result<()> {
        self.block
            .resize(BLOCK.min(usize::try_from(limit).unwrap_or(BLOCK)), 0);
        self.at = 0;
        let mut n = 0;
        while n < self.block.len() {
            match self.inner.read(&mut self.block[n..]) {
                Ok(0) => break,
                Ok(read) => n += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.corrupt(e)),
            }
        }
        self.block.truncate(n);
        self.hasher.update(&self.block);
        self.seen += n as u64;
        Ok(())
    }

    fn corrupt(&self, e: io::Error) -> io::Error {
        let fact = format!("deflated data is corrupt after {} bytes: {e}", self.seen);
        io::Error::other(
            ReadError::malformed(self.member.file.path(), fact).member(&self.member.name),
        )
    }

    /// Reads on without handing out.
    fn pass(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            self.fill(bytes)?;
            if self.block.is_empty() {
                break;
            }
            bytes -= self.block.len() as u64;
        }
        self.block.clear();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let last = std::mem::take(&mut self.block);
        // One byte more than stated is enough to know that the size is wrong.
        self.pass((self.member.size + 1).saturating_sub(self.seen))?;
        let computed = self.hasher.clone().finalize();
        self.member
            .verify(self.seen, computed)
            .map_err(io::Error::other)?;
        self.block = last;
        self.at = 0;
        Ok(())
    }
}

impl Read for Verified {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() && self.left > 0 {
            self.fill(self.left)?;
            self.left -= self.block.len() as u64;
            swap_bytes(&mut self.block, self.swap);
            if self.left == 0 || self.block.is_empty() {
                self.left = 0;
                self.finish()?;
            }
        }
        let n = buf.len().min(self.block.len() - self.at);
        buf[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// The name of the first member, as far as the head of the file shows it.
pub fn first_name(head: &[u8]) -> &[u8] {
    let Some(length) = head.get(26..28) else {
        return &[];
    };
    let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
    head.get(30..30 + length).unwrap_or(&[])
}
