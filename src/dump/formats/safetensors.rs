//! Hugging Face's `.safetensors`: length of the header, JSON header, elements.

use super::{member, stem};
use crate::dtype::DType;
use crate::dump::read::open_file;
use crate::dump::{DiskFile, Format, Hints, Opened, ReadError, TensorInfo};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::io::Read;
use std::path::Path;

/// The format's own limit for the header.
const MAX_HEADER: u64 = 100_000_000;

/// A file of named tensors; a single tensor called `data` (the debugger of transformers) takes the file's name.
pub struct Safetensors;

impl Format for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        let Some((length, rest)) = head.split_first_chunk::<8>() else {
            return false;
        };
        let length = u64::from_le_bytes(*length);
        (2..=MAX_HEADER).contains(&length)
            && rest.first() == Some(&b'{')
            && matches!(
                rest.get(1..)
                    .and_then(|r| r.iter().find(|b| !b.is_ascii_whitespace())),
                Some(b'"' | b'}')
            )
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let (mut file, len) = open_file(path)?;
        let io = |e| ReadError::io(path, e);
        let mut length = [0; 8];
        if len < 8 {
            let what = "length of the safetensors header (bytes)";
            return Err(ReadError::truncated(path, what, 8, len));
        }
        file.read_exact(&mut length).map_err(io)?;
        let header = u64::from_le_bytes(length);
        if header > MAX_HEADER {
            let fact =
                format!("safetensors header of {header} bytes; at most {MAX_HEADER} are allowed");
            return Err(ReadError::malformed(path, fact));
        }
        if header > len - 8 {
            let what = "safetensors header (bytes)";
            return Err(ReadError::truncated(path, what, header, len - 8).at_byte(8));
        }
        let mut json = vec![0; header as usize];
        file.read_exact(&mut json).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| {
            ReadError::malformed(path, format!("safetensors header: {e}")).at_byte(8)
        })?;

        let mut opened = Opened::default();
        let shared = DiskFile::from(path);
        let start = 8 + header;
        for name in written_order(&metadata) {
            let Some(stored) = metadata.info(&name) else {
                continue;
            };
            let read = || {
                let dtype = element_type(stored.dtype).ok_or_else(|| {
                    let fact = format!("dtype {} is not read; convert it to f32", stored.dtype);
                    ReadError::unsupported(path, fact)
                })?;
                let info = TensorInfo::new(dtype, stored.shape.clone())
                    .map_err(|e| ReadError::malformed(path, e.to_string()))?;
                let offset = start + stored.data_offsets.0 as u64;
                let found = len.saturating_sub(offset);
                member(&shared, self.name(), &name, info, offset, found)
            };
            match read() {
                Ok(tensor) => opened.tensors.push(tensor),
                Err(error) => opened.unreadable.push(error.member(&name)),
            }
        }
        if let [only] = &mut opened.tensors[..]
            && only.name == "data"
        {
            only.name = stem(path);
        }
        Ok(opened)
    }
}

/// Names in the order of the data. The reference implementation sorts by alignment and name, which says nothing: then
/// natural order is friendlier.
fn written_order(metadata: &Metadata) -> Vec<String> {
    let mut names = metadata.offset_keys();
    let key = |name: &String| metadata.info(name).map(|i| std::cmp::Reverse(i.dtype));
    if names.is_sorted_by(|a, b| (key(a), a) <= (key(b), b)) {
        names.sort_by(|a, b| crate::natural::natural(a, b));
    }
    names
}

fn element_type(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::F8_E5M2 => DType::F8E5M2,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E8M0 => DType::F8E8M0,
        Dtype::I16 => DType::I16,
        Dtype::U16 => DType::U16,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::U64 => DType::U64,
        _ => return None,
    })
}
