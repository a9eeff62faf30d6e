//! `.gguf`, the weights of llama.cpp (GGUF versions 2 and 3, ggml/docs/gguf.md): metadata, tensor table, data.
//!
//! Quantised tensors are dequantised while they are read, as ggml does (`blocks`).

mod blocks;

use super::header::HeaderReader;
use super::tensor;
use crate::dtype::DType;
use crate::dump::read::data_of;
use crate::dump::{
    DiskFile, Format, Hints, Opened, Payload, Printed, ReadError, Stream, Tensor, TensorInfo,
};
use crate::note::Note;
use blocks::Block;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"GGUF";
/// ggml's own names have at most 64 bytes, keys 65 535.
const MAX_NAME: u64 = 1 << 16;
/// Arrays of arrays occur in no known file.
const MAX_NESTING: usize = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// Weights of llama.cpp.
pub struct Gguf;

impl Format for Gguf {
    fn name(&self) -> &'static str {
        "gguf"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        head.starts_with(MAGIC)
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let mut reader = HeaderReader::open(path, "gguf header")?;
        if &reader.array()? != MAGIC {
            return Err(reader.malformed("no GGUF magic at the start"));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            let fact = format!("gguf version {version}; little-endian versions 2 and 3 are read");
            return Err(ReadError::unsupported(path, fact));
        }
        let tensors = reader.u64()?;
        let pairs = reader.u64()?;
        let mut alignment = DEFAULT_ALIGNMENT;
        for _ in 0..pairs {
            let length = reader.u64()?;
            let key = reader.text(length, MAX_NAME)?;
            let kind = reader.u32()?;
            if key == "general.alignment" && kind == 4 {
                alignment = u64::from(reader.u32()?);
            } else {
                skip_value(&mut reader, kind, 0)?;
            }
        }
        if !alignment.is_power_of_two() {
            return Err(reader.malformed(format!("an alignment of {alignment} bytes")));
        }
        let mut table = Vec::new();
        for _ in 0..tensors {
            table.push(Entry::read(&mut reader)?);
        }
        let start = reader.position().next_multiple_of(alignment);
        let len = reader.file_len();
        let shared = DiskFile::from(path);
        let mut opened = Opened::default();
        let mut quantised: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for entry in table {
            match entry.place(&shared, start, len) {
                Ok((tensor, block)) => {
                    if let Some(block) = block {
                        quantised
                            .entry(block)
                            .or_default()
                            .push(tensor.name.clone());
                    }
                    opened.tensors.push(tensor);
                }
                Err(error) => opened.unreadable.push(error.member(entry.name)),
            }
        }
        for (block, names) in quantised {
            opened.notes.push(
                Note::new(
                    "dequantised",
                    format!(
                        "{}: {} tensors are stored as {block} and compared dequantised",
                        path.display(),
                        names.len()
                    ),
                )
                .about(names),
            );
        }
        Ok(opened)
    }
}

/// Passes over a metadata value.
fn skip_value(reader: &mut HeaderReader, kind: u32, depth: usize) -> Result<(), ReadError> {
    match kind {
        8 => {
            let length = reader.u64()?;
            reader.skip(length)
        }
        9 => {
            let item = reader.u32()?;
            let count = reader.u64()?;
            if depth == MAX_NESTING {
                return Err(reader.malformed("arrays are nested too deeply"));
            }
            match width(item) {
                Some(width) => reader.skip(count.saturating_mul(width)),
                None => (0..count).try_for_each(|_| skip_value(reader, item, depth + 1)),
            }
        }
        _ => match width(kind) {
            Some(width) => reader.skip(width),
            None => Err(reader.malformed(format!("metadata of type {kind}, which is not known"))),
        },
    }
}

/// Bytes of a metadata value of fixed size.
fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// A row of the tensor table.
struct Entry {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    /// From the start of the data.
    offset: u64,
}

impl Entry {
    fn read(reader: &mut HeaderReader) -> Result<Entry, ReadError> {
        let length = reader.u64()?;
        let name = reader.text(length, MAX_NAME)?;
        let rank = reader.u32()?;
        if rank > 8 {
            return Err(reader.malformed(format!("a tensor of {rank} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let n = reader.u64()?;
            shape.push(
                usize::try_from(n).map_err(|_| reader.malformed(format!("a dimension of {n}")))?,
            );
        }
        // ggml counts dimensions from the innermost one.
        shape.reverse();
        Ok(Entry {
            name,
            shape,
            kind: reader.u32()?,
            offset: reader.u64()?,
        })
    }

    /// The tensor, and the name of its blocks where it is quantised.
    fn place(
        &self,
        file: &DiskFile,
        start: u64,
        len: u64,
    ) -> Result<(Tensor, Option<&'static str>), ReadError> {
        let path = file.path();
        let block = Block::of_type(self.kind);
        let dtype = match plain_type(self.kind) {
            Some(dtype) => dtype,
            None if block.is_some() => DType::F32,
            None => {
                let fact = format!(
                    "ggml type {} is not read; convert it with llama-quantize --allow-requantize to F16 or Q8_0",
                    self.kind
                );
                return Err(ReadError::unsupported(path, fact));
            }
        };
        let info = TensorInfo::new(dtype, self.shape.clone())
            .map_err(|e| ReadError::malformed(path, e.to_string()))?;
        let offset = start.saturating_add(self.offset);
        let needs = match &block {
            None => info.byte_extent(),
            Some(block) => {
                let row = self.shape.last().copied().unwrap_or(1);
                if !row.is_multiple_of(block.elements) {
                    let fact = format!(
                        "rows of {row} elements in {} blocks of {}",
                        block.name, block.elements
                    );
                    return Err(ReadError::malformed(path, fact));
                }
                (info.len() / block.elements * block.bytes) as u64
            }
        };
        let found = len.saturating_sub(offset);
        if found < needs {
            let error = ReadError::truncated(path, data_of(&info), needs, found);
            return Err(error.at_byte(offset));
        }
        let printed = Printed {
            half_unit_rel: block.map_or(0.0, |b| b.loss),
            ..Printed::default()
        };
        let payload = match block {
            None => Payload::in_file(file.clone(), offset, false),
            Some(block) => Payload::Stream(Arc::new(Dequantised {
                file: file.clone(),
                member: self.name.clone(),
                offset,
                blocks: (info.len() / block.elements) as u64,
                block,
            })),
        };
        let mut tensor = tensor(path, Gguf.name(), self.name.clone(), info, payload);
        tensor.origin.member = Some(self.name.clone());
        tensor.printed = printed;
        Ok((tensor, block.map(|b| b.name)))
    }
}

/// Types whose elements lie in the file as they are.
fn plain_type(kind: u32) -> Option<DType> {
    Some(match kind {
        0 => DType::F32,
        1 => DType::F16,
        24 => DType::I8,
        25 => DType::I16,
        26 => DType::I32,
        27 => DType::I64,
        28 => DType::F64,
        30 => DType::BF16,
        _ => return None,
    })
}

/// A quantised tensor as a stream of f32.
struct Dequantised {
    file: DiskFile,
    member: String,
    offset: u64,
    blocks: u64,
    block: Block,
}

impl Stream for Dequantised {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let io = |e| ReadError::io(self.file.path(), e).member(&self.member);
        let mut file = File::open(self.file.path()).map_err(io)?;
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        Ok(Box::new(DequantisedReader {
            file: BufReader::with_capacity(1 << 16, file),
            block: self.block,
            left: self.blocks,
            stored: vec![0; self.block.bytes],
            values: vec![0.0; self.block.elements],
            bytes: Vec::new(),
            at: 0,
        }))
    }
}

struct DequantisedReader {
    file: BufReader<File>,
    block: Block,
    left: u64,
    stored: Vec<u8>,
    values: Vec<f32>,
    bytes: Vec<u8>,
    at: usize,
}

impl Read for DequantisedReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.at == self.bytes.len() {
            // Several blocks at once, so that a call is worth its while.
            self.bytes.clear();
            self.at = 0;
            while self.left > 0 && self.bytes.len() < 1 << 14 {
                self.file.read_exact(&mut self.stored)?;
                (self.block.dequantise)(&self.stored, &mut self.values);
                self.bytes
                    .extend(self.values.iter().flat_map(|v| v.to_le_bytes()));
                self.left -= 1;
            }
        }
        let n = buf.len().min(self.bytes.len() - self.at);
        buf[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
