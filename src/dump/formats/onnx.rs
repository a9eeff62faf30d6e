//! ONNX `TensorProto` (onnx.proto): one tensor as a protocol buffer, as the node dump of ONNX Runtime and the test data
//! sets of ONNX write it.

use super::{stem, tensor};
use crate::dtype::DType;
use crate::dump::read::{data_of, open_file};
use crate::dump::{Format, Hints, Opened, Payload, ReadError, TensorInfo};
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// A serialised tensor; the true name is inside.
pub struct Onnx;

impl Format for Onnx {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn sniff(&self, head: &[u8], path: &Path) -> bool {
        // A protocol buffer has no magic: the extension, and a first field of the right number and type; under another
        // extension sizes that fit each other.
        let extension = path.extension().and_then(|e| e.to_str());
        let named = matches!(
            extension.map(str::to_ascii_lowercase).as_deref(),
            Some("pb" | "tensorproto")
        );
        match head.first() {
            Some(0x08 | 0x0a | 0x10 | 0x42 | 0x4a | 0x22 | 0x2a | 0x3a) if named => true,
            Some(0x08 | 0x0a | 0x10) => {
                fs::metadata(path).is_ok_and(|m| sizes_fit(head, m.len()) == Some(true))
            }
            _ => false,
        }
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let (mut file, len) = open_file(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|e| ReadError::io(path, e))?;
        let proto = Proto::parse(&bytes, path)?;
        let dtype = element_type(proto.kind).ok_or_else(|| {
            let fact = format!(
                "ONNX element type {} is not read; cast it to float",
                proto.kind
            );
            ReadError::unsupported(path, fact)
        })?;
        let info = TensorInfo::new(dtype, proto.shape.clone())
            .map_err(|e| ReadError::malformed(path, e.to_string()))?;
        let payload = proto.payload(path, &bytes, len, &info)?;
        let name = match proto.name.as_str() {
            "" => stem(path),
            name => name.to_string(),
        };
        let consumed = match &payload {
            Payload::File { file, .. } if file.path() != path => vec![file.path().to_path_buf()],
            _ => Vec::new(),
        };
        let mut tensor = tensor(path, self.name(), name, info, payload);
        tensor.origin.member = (!proto.name.is_empty()).then_some(proto.name);
        Ok(Opened {
            tensors: vec![tensor],
            consumed,
            ..Opened::default()
        })
    }
}

/// Whether the fields are those of a TensorProto whose elements fill exactly its shape, and nothing else is in the file.
/// `None` where the bytes are no message, or one that does not say so.
fn sizes_fit(head: &[u8], len: u64) -> Option<bool> {
    let mut fields = Fields {
        bytes: head,
        at: 0,
        end: head.len(),
    };
    let (mut elements, mut size, mut data) = (1u64, None, None);
    while fields.at < head.len() {
        let at = fields.at;
        match fields.next()? {
            Some((1, Field::Number(n))) => elements = elements.checked_mul(n)?,
            Some((1, Field::Bytes { start, end })) => {
                for n in varints(head, start, end)? {
                    elements = elements.checked_mul(n)?;
                }
            }
            Some((2, Field::Number(kind))) => size = Some(element_type(kind)?.size() as u64),
            Some((4 | 9 | 10, Field::Bytes { start, end })) => data = Some((end - start) as u64),
            Some((8, Field::Bytes { .. })) => {}
            Some(_) => return None,
            // Elements that go on behind what is at hand, then at most a name.
            None => {
                const NAME: u64 = 4096;
                fields.at = at;
                let tag = fields.varint()?;
                let found = fields.varint()?;
                let end = (fields.at as u64).checked_add(found)?;
                let elements = matches!(tag, 0x22 | 0x4a | 0x52);
                if !elements || end > len || len - end > NAME {
                    return None;
                }
                data = Some(found);
                break;
            }
        }
    }
    Some(data? > 0 && data? == elements.checked_mul(size?)?)
}

/// A field's content: a number, or a stretch of the file.
enum Field {
    Number(u64),
    Bytes { start: usize, end: usize },
}

/// The fields of a message in their order.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes[..self.end].get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn stretch(&mut self, len: u64) -> Option<Field> {
        let start = self.at;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.at = end;
        (end <= self.end).then_some(Field::Bytes { start, end })
    }

    /// Number and content of the next field; `None` at the end, `Some(None)` where the bytes are no field.
    fn next(&mut self) -> Option<Option<(u64, Field)>> {
        if self.at >= self.end {
            return None;
        }
        let mut read = || {
            let tag = self.varint()?;
            let field = match tag & 7 {
                0 => Field::Number(self.varint()?),
                1 => self.stretch(8)?,
                2 => {
                    let len = self.varint()?;
                    self.stretch(len)?
                }
                5 => self.stretch(4)?,
                _ => return None,
            };
            Some((tag >> 3, field))
        };
        Some(read())
    }
}

/// Where the elements are.
#[derive(Default)]
struct Proto {
    name: String,
    shape: Vec<usize>,
    kind: u64,
    /// `raw_data`, or typed values whose bytes are those of the elements.
    plain: Vec<(usize, usize)>,
    /// Values of `int32_data`, `int64_data`, `uint64_data`.
    varints: Vec<u64>,
    external: Vec<(String, String)>,
    is_external: bool,
}

impl Proto {
    fn parse(bytes: &[u8], path: &Path) -> Result<Proto, ReadError> {
        let mut proto = Proto::default();
        let mut fields = Fields {
            bytes,
            at: 0,
            end: bytes.len(),
        };
        let bad = |at: usize, what: &str| {
            ReadError::malformed(
                path,
                format!("ONNX TensorProto: {what}; is the file cut off?"),
            )
            .at_byte(at as u64)
        };
        let text =
            |start: usize, end: usize| String::from_utf8_lossy(&bytes[start..end]).into_owned();
        let axis = |n: u64, at| usize::try_from(n).map_err(|_| bad(at, "a negative dimension"));
        loop {
            let at = fields.at;
            let (number, field) = match fields.next() {
                None => break,
                Some(Some(field)) => field,
                Some(None) => return Err(bad(at, "no field of a protocol buffer")),
            };
            match (number, field) {
                (1, Field::Number(n)) => proto.shape.push(axis(n, at)?),
                (1, Field::Bytes { start, end }) => {
                    for n in varints(bytes, start, end).ok_or_else(|| bad(at, "dimensions"))? {
                        proto.shape.push(axis(n, at)?);
                    }
                }
                (2, Field::Number(kind)) => proto.kind = kind,
                (4 | 9 | 10, Field::Bytes { start, end }) => proto.plain.push((start, end)),
                (5 | 7 | 11, Field::Number(n)) => proto.varints.push(n),
                (5 | 7 | 11, Field::Bytes { start, end }) => {
                    let values = varints(bytes, start, end).ok_or_else(|| bad(at, "elements"))?;
                    proto.varints.extend(values);
                }
                (8, Field::Bytes { start, end }) => proto.name = text(start, end),
                (13, Field::Bytes { start, end }) => {
                    let mut inner = Fields {
                        bytes,
                        at: start,
                        end,
                    };
                    let (mut key, mut value) = (String::new(), String::new());
                    while let Some(field) = inner.next() {
                        match field {
                            Some((1, Field::Bytes { start, end })) => key = text(start, end),
                            Some((2, Field::Bytes { start, end })) => value = text(start, end),
                            Some(_) => {}
                            None => return Err(bad(at, "external data")),
                        }
                    }
                    proto.external.push((key, value));
                }
                (14, Field::Number(place)) => proto.is_external = place == 1,
                // Segments, text, and what later versions add.
                (3, _) => return Err(bad(at, "a tensor in segments, which is not read")),
                (6 | 12 | 16.., _) => {}
                _ => return Err(bad(at, "a field of another message")),
            }
        }
        Ok(proto)
    }

    fn payload(
        &self,
        path: &Path,
        bytes: &[u8],
        len: u64,
        info: &TensorInfo,
    ) -> Result<Payload, ReadError> {
        let needs = info.byte_extent();
        let short = |found: u64| ReadError::truncated(path, data_of(info), needs, found);
        if self.is_external {
            return self.external(path, info);
        }
        if let [(start, end)] = self.plain[..] {
            let found = (end - start) as u64;
            if found < needs || end as u64 > len {
                return Err(short(found).at_byte(start as u64));
            }
            return Ok(Payload::in_file(path, start as u64, false));
        }
        // Values in pieces, or numbers of varying length.
        let mut elements = Vec::new();
        for &(start, end) in &self.plain {
            elements.extend_from_slice(&bytes[start..end]);
        }
        let size = info.dtype().size();
        for value in &self.varints {
            elements.extend_from_slice(&value.to_le_bytes()[..size]);
        }
        if (elements.len() as u64) < needs {
            return Err(short(elements.len() as u64));
        }
        elements.truncate(needs as usize);
        Ok(Payload::Memory(elements.into()))
    }

    /// Elements in a file beside this one.
    fn external(&self, path: &Path, info: &TensorInfo) -> Result<Payload, ReadError> {
        let get = |key: &str| {
            let pair = self.external.iter().find(|(k, _)| k == key);
            pair.map(|(_, value)| value.as_str())
        };
        let location = PathBuf::from(get("location").unwrap_or_default());
        let inside = location.components().next().is_some()
            && location
                .components()
                .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            let fact = format!(
                "external data in `{}`, which is not below the file's folder",
                location.display()
            );
            return Err(ReadError::unsupported(path, fact));
        }
        let file = path.parent().unwrap_or(Path::new("")).join(location);
        let offset = get("offset").and_then(|o| o.parse().ok()).unwrap_or(0u64);
        let (_, len) = open_file(&file)?;
        let found = len.saturating_sub(offset);
        if found < info.byte_extent() {
            let what = data_of(info);
            return Err(ReadError::truncated(&file, what, info.byte_extent(), found));
        }
        Ok(Payload::in_file(file, offset, false))
    }
}

fn varints(bytes: &[u8], start: usize, end: usize) -> Option<Vec<u64>> {
    let mut fields = Fields {
        bytes,
        at: start,
        end,
    };
    let mut values = Vec::new();
    while fields.at < fields.end {
        values.push(fields.varint()?);
    }
    Some(values)
}

/// `TensorProto.DataType`.
fn element_type(kind: u64) -> Option<DType> {
    Some(match kind {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        17 => DType::F8E4M3,
        19 => DType::F8E5M2,
        24 => DType::F8E8M0,
        _ => return None,
    })
}
