//! numpy's `.npy`: a header, then the elements (format versions 1 to 3, numpy.lib.format).

use crate::dtype::DType;
use crate::dump::formats::{stem, tensor};
use crate::dump::read::{data_of, open_file};
use crate::dump::{
    DiskFile, Format, Guess, Hints, Opened, Payload, ReadError, ReadErrorKind, Tensor, TensorInfo,
};
use crate::note::Note;
use ndarray_npy::npy::header::{Header as NpyHeader, Layout};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// numpy itself reads headers of up to 10 000 bytes.
const MAX_HEADER: u64 = 1 << 16;
/// A header is a dictionary with a tuple inside.
const MAX_NESTING: usize = 6;

/// One array, or several written into one file one after the other.
pub struct Npy;

impl Format for Npy {
    fn name(&self) -> &'static str {
        "npy"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        head.starts_with(MAGIC)
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let (file, len) = open_file(path)?;
        let mut reader = BufReader::new(file);
        let mut opened = Opened::default();
        let mut at = 0;
        while at < len {
            let header = match Header::read(&mut reader, len - at) {
                Ok(header) => header,
                Err(Refusal::NotNumeric(fact)) => {
                    opened.notes.push(not_numeric(&stem(path), &fact));
                    break;
                }
                Err(Refusal::Error(kind)) => {
                    let error = ReadError::new(path, kind);
                    return Err(if at > 0 { error.at_byte(at) } else { error });
                }
            };
            let offset = at + header.bytes;
            let end = offset + header.info.byte_extent();
            if end > len {
                let what = data_of(&header.info);
                let needs = header.info.byte_extent();
                return Err(ReadError::truncated(path, what, needs, len - offset).at_byte(offset));
            }
            opened.tensors.push(header.tensor(path.into(), at));
            let mut magic = [0; 6];
            reader
                .seek(SeekFrom::Start(end))
                .map_err(|e| ReadError::io(path, e))?;
            if end == len || reader.read_exact(&mut magic).is_err() || magic != MAGIC {
                if end < len {
                    opened.notes.push(
                        Note::new(
                            "trailing_bytes",
                            format!(
                                "{}: {} bytes follow the array and are not read",
                                path.display(),
                                len - end
                            ),
                        )
                        .about(vec![stem(path)]),
                    );
                }
                break;
            }
            reader
                .seek(SeekFrom::Start(end))
                .map_err(|e| ReadError::io(path, e))?;
            at = end;
        }
        if opened.tensors.len() > 1 {
            for (i, tensor) in opened.tensors.iter_mut().enumerate() {
                tensor.name = format!("{}.{i}", tensor.name);
                tensor.origin.member = Some(i.to_string());
            }
        }
        Ok(opened)
    }

    fn open_head(&self, file: &DiskFile, head: &[u8], len: u64) -> Option<Tensor> {
        let header = Header::read(&mut &*head, len).ok()?;
        let whole = header.bytes + header.info.byte_extent() == len;
        whole.then(|| header.tensor(file.clone(), 0))
    }
}

/// What the header says, checked.
#[derive(Debug)]
pub struct Header {
    pub info: TensorInfo,
    pub big_endian: bool,
    pub guess: Option<Guess>,
    /// Length of the header, magic included.
    pub bytes: u64,
}

/// Why a header gives no tensor.
#[derive(Debug)]
pub enum Refusal {
    /// Text, dates: nothing that could be compared.
    NotNumeric(String),
    Error(ReadErrorKind),
}

impl Header {
    /// Reads the header from the start of an array of which `available` bytes are there.
    pub fn read(reader: &mut impl Read, available: u64) -> Result<Header, Refusal> {
        let malformed = |fact: String| Refusal::Error(ReadErrorKind::Malformed(fact));
        let truncated = |needs, found| {
            Refusal::Error(ReadErrorKind::Truncated {
                what: "npy header (bytes)".into(),
                needs,
                found,
            })
        };
        let mut head = Vec::with_capacity(128);
        reader
            .take(12)
            .read_to_end(&mut head)
            .map_err(|e| Refusal::Error(ReadErrorKind::Io(e)))?;
        if head.len() < 12 {
            return Err(truncated(12, head.len() as u64));
        }
        if !head.starts_with(MAGIC) {
            return Err(malformed("no npy magic at the start".into()));
        }
        let total = match head[6] {
            1 => 10 + u64::from(u16::from_le_bytes([head[8], head[9]])),
            _ => 12 + u64::from(u32::from_le_bytes([head[8], head[9], head[10], head[11]])),
        };
        if head[6] > 3 || head[6] == 0 {
            return Err(malformed(format!(
                "npy format version {}.{}; 1.0 to 3.0 are read",
                head[6], head[7]
            )));
        }
        if total > available {
            return Err(truncated(total, available));
        }
        if !(12..=MAX_HEADER).contains(&total) {
            return Err(malformed(format!(
                "npy header of {total} bytes; 12 to {MAX_HEADER} are read"
            )));
        }
        reader
            .take(total - 12)
            .read_to_end(&mut head)
            .map_err(|e| Refusal::Error(ReadErrorKind::Io(e)))?;
        if (head.len() as u64) < total {
            return Err(truncated(total, head.len() as u64));
        }
        let text = std::str::from_utf8(&head[if head[6] == 1 { 10 } else { 12 }..]);
        let usual = text.ok().and_then(Said::usual);
        let said = match usual {
            Some(said) => said,
            None => Said::any(&head)?,
        };
        let (dtype, big_endian, guess) = descriptor_type(&said.descriptor)?;
        let info = match said.fortran {
            false => TensorInfo::new(dtype, said.shape),
            true => TensorInfo::fortran(dtype, said.shape),
        };
        Ok(Header {
            info: info.map_err(|e| malformed(e.to_string()))?,
            big_endian,
            guess,
            bytes: total,
        })
    }
}

impl Header {
    /// The tensor of an array whose header stands at byte `at` of a file.
    fn tensor(self, file: DiskFile, at: u64) -> Tensor {
        let path = file.path();
        let name = stem(path);
        let payload = Payload::in_file(file.clone(), at + self.bytes, self.big_endian);
        Tensor {
            guess: self.guess,
            ..tensor(path, Npy.name(), name, self.info, payload)
        }
    }
}

/// The dictionary of the header.
struct Said {
    descriptor: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Said {
    /// Reads what numpy itself writes, letter by letter: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. Many
    /// small files take longer to describe than to compare, and a parser of Python literals takes longest.
    fn usual(text: &str) -> Option<Said> {
        let text = &text[text.find('{')?..];
        let (descriptor, text) = text.strip_prefix("{'descr': '")?.split_once('\'')?;
        let (fortran, text) = text.strip_prefix(", 'fortran_order': ")?.split_once(',')?;
        let (shape, text) = text.strip_prefix(" 'shape': (")?.split_once(')')?;
        let whole = text.trim_end() == ", }" || text.trim_end() == "}";
        let dims = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
        Some(Said {
            descriptor: whole.then(|| descriptor.to_string())?,
            fortran: match fortran {
                "True" => true,
                "False" => false,
                _ => return None,
            },
            shape: dims.map(|d| d.parse().ok()).collect::<Option<_>>()?,
        })
    }

    /// Reads any Python dictionary with the three keys.
    fn any(head: &[u8]) -> Result<Said, Refusal> {
        // the parser calls itself
        if nesting(head) > MAX_NESTING {
            let fact = "npy header is nested too deeply for an array of numbers";
            return Err(Refusal::Error(ReadErrorKind::Malformed(fact.into())));
        }
        let header = NpyHeader::from_reader(&mut { head }).map_err(|e| {
            let text = e.to_string();
            let fact = text.lines().next().unwrap_or_default().to_string();
            Refusal::Error(ReadErrorKind::Malformed(fact))
        })?;
        let Some(descriptor) = header.type_descriptor.as_string() else {
            return Err(Refusal::Error(ReadErrorKind::Unsupported(
                "structured dtype; save every field as an array of its own".into(),
            )));
        };
        Ok(Said {
            descriptor: descriptor.clone(),
            fortran: header.layout == Layout::Fortran,
            shape: header.shape,
        })
    }
}

/// The deepest nesting of brackets, quoted ones included.
fn nesting(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Reads a numpy type descriptor: `<f4`, `>i8`, `|b1`, `<V2` (bf16 of ml_dtypes), `bfloat16`.
pub fn descriptor_type(text: &str) -> Result<(DType, bool, Option<Guess>), Refusal> {
    use DType::*;
    let refuse = |fact: String| Err(Refusal::Error(ReadErrorKind::Unsupported(fact)));
    let (order, code) = match text.as_bytes().first() {
        Some(b'<' | b'>' | b'=' | b'|') => text.split_at(1),
        _ => ("", text),
    };
    let (dtype, guess) = match code {
        "f8" => (F64, None),
        "f4" => (F32, None),
        "f2" => (F16, None),
        // ml_dtypes writes its types as void, and E5M2 alone as a float of one byte.
        "V2" => (BF16, None),
        "V1" => (F8E4M3, Some(Guess::Bits)),
        "f1" => (F8E5M2, None),
        "i1" => (I8, None),
        "i2" => (I16, Some(Guess::Bits)),
        "i4" => (I32, None),
        "i8" => (I64, None),
        "u1" => (U8, Some(Guess::Bits)),
        "u2" => (U16, Some(Guess::Bits)),
        "u4" => (U32, None),
        "u8" => (U64, None),
        "b1" | "?" => (Bool, None),
        "f16" | "f12" => {
            return refuse(format!("dtype {text} (long double); save as float64"));
        }
        _ if code.starts_with('c') => {
            return refuse(format!(
                "complex dtype {text}; save real and imaginary part as arrays of their own"
            ));
        }
        _ if code.starts_with('O') => {
            return refuse(format!(
                "dtype {text} (pickled Python objects) is never unpickled; save arrays of numbers"
            ));
        }
        _ if code.starts_with(['U', 'S', 'a', 'M', 'm']) => {
            return Err(Refusal::NotNumeric(format!("dtype {text}")));
        }
        _ => match DType::parse(code) {
            Some(dtype) => (dtype, None),
            None => return refuse(format!("dtype {text} is not known")),
        },
    };
    Ok((dtype, order == ">" && dtype.size() > 1, guess))
}

/// The note about an array that holds no numbers.
pub fn not_numeric(name: &str, fact: &str) -> Note {
    Note::new(
        "not_numeric",
        format!("{name} holds no numbers ({fact}) and is left out"),
    )
    .about(vec![name.to_string()])
}
