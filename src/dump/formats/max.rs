//! Modular's `.max`, written by `Value.print` with `BINARY_MAX_CHECKPOINT`: magic, version, one header per tensor, data.

use super::header::HeaderReader;
use super::{member, stem};
use crate::dtype::DType;
use crate::dump::{DiskFile, Format, Hints, Opened, ReadError, TensorInfo};
use std::path::Path;

const MAGIC: &[u8; 8] = b"\x93\xf0\x9f\x94\xa5++\x93";
const MAX_KEY: u64 = 1 << 16;

/// A checkpoint of Modular MAX.
pub struct Max;

impl Format for Max {
    fn name(&self) -> &'static str {
        "max"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        head.starts_with(MAGIC)
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let mut reader = HeaderReader::open(path, "max header")?;
        if &reader.array()? != MAGIC {
            return Err(reader.malformed("no magic of a MAX checkpoint at the start"));
        }
        let (major, minor) = (reader.u32()?, reader.u32()?);
        if major != 0 {
            let fact = format!("MAX checkpoint version {major}.{minor}; 0 is read");
            return Err(ReadError::unsupported(path, fact));
        }
        let metadata = reader.u64()?;
        let end = reader.position().saturating_add(metadata);
        let shared = DiskFile::from(path);
        let mut opened = Opened::default();
        while reader.position() < end {
            let length = u64::from(reader.u32()?);
            let key = reader.text(length, MAX_KEY)?;
            let code = reader.u8()?;
            let rank = reader.u8()?;
            let mut shape = Vec::new();
            for _ in 0..rank {
                shape.push(reader.u32()? as usize);
            }
            let offset = reader.u64()?;
            let read = || {
                let dtype = element_type(code).ok_or_else(|| {
                    ReadError::unsupported(path, format!("MAX dtype {code} is not read"))
                })?;
                let info = TensorInfo::new(dtype, shape)
                    .map_err(|e| ReadError::malformed(path, e.to_string()))?;
                let found = reader.file_len().saturating_sub(offset);
                member(&shared, self.name(), &key, info, offset, found)
            };
            match read() {
                Ok(tensor) => opened.tensors.push(tensor),
                Err(error) => opened.unreadable.push(error.member(&key)),
            }
        }
        // A printed value is alone in its file, whose name is better than its key.
        if let [only] = &mut opened.tensors[..] {
            only.name = stem(path);
        }
        Ok(opened)
    }
}

/// The numbers of `M::DType` (max/c/types.h).
fn element_type(code: u8) -> Option<DType> {
    Some(match code {
        1 => DType::Bool,
        73 => DType::F8E8M0,
        75 => DType::F8E4M3,
        77 => DType::F8E5M2,
        79 => DType::F16,
        80 => DType::BF16,
        81 => DType::F32,
        82 => DType::F64,
        134 => DType::U8,
        135 => DType::I8,
        136 => DType::U16,
        137 => DType::I16,
        138 => DType::U32,
        139 => DType::I32,
        140 => DType::U64,
        141 => DType::I64,
        _ => return None,
    })
}
