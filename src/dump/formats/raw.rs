//! Headerless binary files: what they hold is said beside them, in their name, by the user, or by their size alone.

use super::{any_dtype, stem, tensor};
use crate::dtype::DType;
use crate::dump::{Format, Guess, Hints, Opened, Payload, ReadError, TensorInfo};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file that is nothing but elements: `tofile`, `fwrite`.
pub struct Raw;

/// What something says about a headerless file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    pub dtype: Option<DType>,
    pub shape: Option<Vec<usize>>,
    pub big_endian: bool,
    pub fortran: bool,
    /// Bytes before the first element.
    pub offset: u64,
}

/// A sidecar is small; a larger JSON file is something else.
const MAX_SIDECAR: u64 = 1 << 20;

impl Format for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn sniff(&self, _head: &[u8], path: &Path) -> bool {
        let extension = path.extension().and_then(|e| e.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        matches!(&*extension, "npy" | "bin" | "raw" | "dat" | "data")
            || dtype_of_extension(&extension).is_some()
            || sidecar(path).is_some()
    }

    fn open(&self, path: &Path, hints: &Hints) -> Result<Opened, ReadError> {
        self.open_described(path, hints, None)
    }
}

impl Raw {
    /// Opens a file that a manifest of its folder may describe.
    pub fn open_described(
        &self,
        path: &Path,
        hints: &Hints,
        manifest: Option<&Description>,
    ) -> Result<Opened, ReadError> {
        let len = std::fs::metadata(path)
            .map_err(|e| ReadError::io(path, e))?
            .len();
        let (consumed, mut said) = match sidecar(path) {
            Some((file, description)) => (vec![file], description),
            None => (Vec::new(), Description::default()),
        };
        let infix = infix(path);
        let manifest = manifest.cloned().unwrap_or_default();
        if consumed.is_empty() {
            said = manifest.clone();
        }
        said.dtype = hints
            .dtype
            .or(said.dtype)
            .or(manifest.dtype)
            .or(infix.dtype);
        said.shape = hints
            .shape
            .clone()
            .or(said.shape)
            .or(manifest.shape)
            .or(infix.shape);
        let (info, guess) = understand(path, len, &said)?;
        let payload = Payload::in_file(
            path,
            said.offset,
            said.big_endian && info.dtype().size() > 1,
        );
        let mut tensor = tensor(path, self.name(), stem(path), info, payload);
        tensor.guess = guess;
        Ok(Opened {
            tensors: vec![tensor],
            consumed,
            ..Opened::default()
        })
    }
}

/// Fits what is said to the size of the file.
fn understand(
    path: &Path,
    len: u64,
    said: &Description,
) -> Result<(TensorInfo, Option<Guess>), ReadError> {
    let overflow = |e: crate::dump::ShapeOverflow| ReadError::malformed(path, e.to_string());
    let Some(bytes) = len.checked_sub(said.offset) else {
        return Err(ReadError::truncated(
            path,
            "offset of the data (bytes)",
            said.offset,
            len,
        ));
    };
    if len == 0 && said.shape.as_ref().is_none_or(|s| !s.contains(&0)) {
        return Err(ReadError::malformed(path, "the file is empty (0 bytes)"));
    }
    let Some(shape) = &said.shape else {
        let by_size = [DType::F32, DType::F16, DType::U8];
        let dtype = match said.dtype {
            Some(dtype) => dtype,
            None => by_size
                .into_iter()
                .find(|d| bytes.is_multiple_of(d.size() as u64))
                .unwrap_or(DType::U8),
        };
        let size = dtype.size() as u64;
        if !bytes.is_multiple_of(size) {
            let fact =
                format!("{bytes} bytes are no whole number of {dtype} elements of {size} bytes");
            return Err(ReadError::malformed(path, fact));
        }
        let info = TensorInfo::new(dtype, vec![(bytes / size) as usize]).map_err(overflow)?;
        let guess = match said.dtype {
            Some(_) => Guess::Shape,
            None => Guess::Size,
        };
        return Ok((info, Some(guess)));
    };
    let count = TensorInfo::new(DType::U8, shape.clone())
        .map_err(overflow)?
        .len() as u64;
    let dtype = match said.dtype {
        Some(dtype) => dtype,
        None => {
            let width = bytes.checked_div(count).unwrap_or(4);
            let by_width = [DType::F32, DType::F16, DType::F64, DType::U8];
            match by_width
                .into_iter()
                .find(|d| d.size() as u64 == width && count * width == bytes)
            {
                Some(dtype) => dtype,
                None => {
                    let fact = format!(
                        "{bytes} bytes are no tensor of shape {shape:?} ({count} elements) in any type; check --shape"
                    );
                    return Err(ReadError::malformed(path, fact));
                }
            }
        }
    };
    let info = match said.fortran {
        false => TensorInfo::new(dtype, shape.clone()),
        true => TensorInfo::fortran(dtype, shape.clone()),
    }
    .map_err(overflow)?;
    let needs = info.byte_extent();
    if bytes < needs {
        return Err(ReadError::truncated(
            path,
            crate::dump::read::data_of(&info),
            needs,
            bytes,
        ));
    }
    if bytes > needs {
        let fact = format!(
            "{bytes} bytes for {dtype} {shape:?}, which needs {needs}; check dtype and shape"
        );
        return Err(ReadError::malformed(path, fact));
    }
    // A type that only the width told may be another one of that width.
    Ok((info, said.dtype.is_none().then_some(Guess::Size)))
}

/// The JSON file that describes `path`: `x.bin.json`, or `x.json`.
fn sidecar(path: &Path) -> Option<(PathBuf, Description)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".json");
    let names = [PathBuf::from(beside), path.with_extension("json")];
    names.into_iter().find_map(|file| {
        let meta = std::fs::metadata(&file).ok()?;
        if !meta.is_file() || meta.len() > MAX_SIDECAR || file == path {
            return None;
        }
        let json: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
        Some((file, Description::from_json(&json)?))
    })
}

impl Description {
    /// Reads an object with a dtype or a shape under their usual names; `None` where it has neither.
    pub fn from_json(json: &Value) -> Option<Description> {
        let object = json.as_object()?;
        let field = |names: &[&str]| {
            object
                .iter()
                .find(|(key, _)| names.contains(&&*key.to_ascii_lowercase()))
                .map(|(_, value)| value)
        };
        let dtype = field(&["dtype", "data_type", "datatype", "element_type", "type"])
            .and_then(Value::as_str)
            .and_then(any_dtype);
        let shape = match field(&["shape", "dims", "dimensions", "sizes"]) {
            Some(value) => shape_of(value),
            // ggml counts its axes from the innermost one and fills up with ones.
            None => field(&["ne"]).and_then(shape_of).map(|mut ne| {
                while ne.len() > 1 && ne.last() == Some(&1) {
                    ne.pop();
                }
                ne.reverse();
                ne
            }),
        };
        if dtype.is_none() && shape.is_none() {
            return None;
        }
        let order = field(&["byteorder", "byte_order", "endian", "endianness"]);
        let order = order.and_then(Value::as_str).unwrap_or_default();
        let memory = field(&["order", "memory_order", "layout"]);
        let memory = memory.and_then(Value::as_str).unwrap_or_default();
        Some(Description {
            dtype: dtype.map(|(dtype, _)| dtype),
            shape,
            big_endian: dtype.is_some_and(|(_, big)| big)
                || order.starts_with('>')
                || order.to_ascii_lowercase().starts_with("big"),
            fortran: matches!(
                &*memory.to_ascii_lowercase(),
                "f" | "fortran" | "column_major" | "column-major" | "col_major"
            ) || field(&["fortran_order"]).and_then(Value::as_bool) == Some(true),
            offset: field(&["offset", "byte_offset", "data_offset"])
                .and_then(Value::as_u64)
                .unwrap_or(0),
        })
    }
}

/// A list of whole numbers, or text like `1x8x64`, `(1, 8, 64)`.
fn shape_of(value: &Value) -> Option<Vec<usize>> {
    match value {
        Value::Array(axes) => axes
            .iter()
            .map(|n| usize::try_from(n.as_u64()?).ok())
            .collect(),
        Value::String(text) => {
            let inner = text.trim_matches(|c: char| "()[]{} ".contains(c));
            inner
                .split([',', 'x', '×'])
                .map(|n| n.trim())
                .filter(|n| !n.is_empty())
                .map(|n| n.parse().ok())
                .collect()
        }
        _ => None,
    }
}

/// The type that an extension names (`x.f16`).
pub fn dtype_of_extension(extension: &str) -> Option<DType> {
    // Words like `char` or `long` are no extensions of dumps.
    if extension.bytes().any(|b| b.is_ascii_digit()) {
        DType::parse(extension)
    } else {
        None
    }
}

/// What the parts between dots before the extension say: `x.f16.bin`, `x.1x8x64.f32`.
fn infix(path: &Path) -> Description {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = name.split('.').rev().peekable();
    let mut found = Description::default();
    // The extension itself may name the type.
    if let Some(extension) = parts.next() {
        found.dtype = dtype_of_extension(&extension.to_ascii_lowercase());
    }
    for part in parts {
        match (
            dtype_of_extension(&part.to_ascii_lowercase()),
            shape_token(part),
        ) {
            (Some(dtype), _) => found.dtype = found.dtype.or(Some(dtype)),
            (None, Some(shape)) => found.shape = found.shape.or(Some(shape)),
            (None, None) => break,
        }
    }
    found
}

/// `1x8x64`.
fn shape_token(part: &str) -> Option<Vec<usize>> {
    let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let axes: Vec<&str> = part.split('x').collect();
    (axes.len() > 1 && axes.iter().all(|a| digits(a)))
        .then(|| axes.iter().map(|a| a.parse().ok()).collect())
        .flatten()
}

/// Takes the type and shape of a headerless file off its name.
pub fn without_infix<'a>(stem: &'a str, path: &Path) -> &'a str {
    let extension = path.extension().and_then(|e| e.to_str());
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    let headerless = matches!(&*extension, "bin" | "raw" | "dat" | "data")
        || dtype_of_extension(&extension).is_some();
    let mut name = stem;
    while headerless
        && let Some((rest, part)) = name.rsplit_once('.')
        && !rest.is_empty()
        && (dtype_of_extension(&part.to_ascii_lowercase()).is_some() || shape_token(part).is_some())
    {
        name = rest;
    }
    name
}
