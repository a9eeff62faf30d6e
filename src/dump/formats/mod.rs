//! One file per format; the table decides who reads what.

pub mod archive;
pub mod gguf;
pub mod hdf5;
pub mod header;
pub mod hf_debugger;
pub(super) mod json;
pub mod max;
pub mod msprobe;
pub mod npy;
pub mod npz;
pub mod onnx;
pub mod raw;
pub mod safetensors;
pub mod text;
pub mod torch;

use super::read::data_of;
use super::{DiskFile, Format, Origin, Payload, Printed, ReadError, Tensor, TensorInfo};
use crate::dtype::DType;
use std::path::Path;

/// Every format, in the order in which they are asked. The first one whose `sniff` agrees reads the file.
pub const FORMATS: &[&dyn Format] = &[
    &npy::Npy,
    &torch::Torch,
    &npz::Npz,
    &safetensors::Safetensors,
    &gguf::Gguf,
    &max::Max,
    &hdf5::Hdf5,
    &onnx::Onnx,
    &msprobe::Msprobe,
    &hf_debugger::HfDebugger,
    &text::Numbers,
    &text::Log,
    // Asked last: it knows files by their extension only.
    &raw::Raw,
];

/// Formats whose writers leave tensors in the order in which they were given: the order of capture.
const CAPTURED: &[&str] = &[
    "npz",
    "torch",
    "gguf",
    "max",
    "msprobe",
    "hf_debugger",
    "log",
    "text",
];

/// Whether the order of the tensors in a file of this format may be that of capture.
pub fn keeps_order(format: &str) -> bool {
    CAPTURED.contains(&format)
}

/// Extensions of tensor files, with the formats that rightly stand behind them.
const EXTENSIONS: &[(&str, &[&str])] = &[
    ("npy", &["npy", "raw"]),
    ("npz", &["npz"]),
    ("safetensors", &["safetensors"]),
    ("pt", &["torch"]),
    ("pth", &["torch"]),
    ("ckpt", &["torch"]),
    ("pkl", &["torch"]),
    ("pickle", &["torch"]),
    ("bin", &["raw", "torch"]),
    ("raw", &["raw"]),
    ("dat", &["raw", "text", "log"]),
    ("data", &["raw", "text", "log"]),
    ("gguf", &["gguf"]),
    ("pb", &["onnx"]),
    ("tensorproto", &["onnx"]),
    ("max", &["max"]),
    ("h5", &["hdf5"]),
    ("hdf5", &["hdf5"]),
    ("txt", &["text", "log"]),
    ("log", &["text", "log"]),
    ("csv", &["text", "log"]),
    ("tsv", &["text", "log"]),
    ("out", &["text", "log", "raw"]),
];

/// The lower-case extension of a tensor file; `None` for any other file.
pub fn extension(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let known = EXTENSIONS.iter().any(|(e, _)| *e == extension);
    (known || raw::dtype_of_extension(&extension).is_some()).then_some(extension)
}

/// The formats that rightly stand behind an extension; empty where any may.
pub fn formats_of(extension: &str) -> &'static [&'static str] {
    match EXTENSIONS.iter().find(|(e, _)| *e == extension) {
        Some((_, formats)) => formats,
        None if raw::dtype_of_extension(extension).is_some() => &["raw"],
        None => &[],
    }
}

/// The file's name without the extension of a tensor file (`model.layers.0` of `model.layers.0.npy`).
pub fn stem(path: &Path) -> String {
    let name = match extension(path) {
        Some(_) => path.file_stem(),
        None => path.file_name(),
    };
    let name = name.unwrap_or(path.as_os_str()).to_string_lossy();
    raw::without_infix(&name, path).to_string()
}

/// A tensor of a file that describes itself.
pub fn tensor(
    path: &Path,
    format: &'static str,
    name: String,
    info: TensorInfo,
    payload: Payload,
) -> Tensor {
    Tensor {
        name,
        info,
        origin: Origin {
            path: path.to_path_buf(),
            member: None,
            format,
        },
        payload,
        printed: Printed::default(),
        guess: None,
        sequence: None,
    }
}

/// A named part of a file that describes itself: `found` bytes stand from `offset` on.
pub fn member(
    file: &DiskFile,
    format: &'static str,
    name: &str,
    info: TensorInfo,
    offset: u64,
    found: u64,
) -> Result<Tensor, ReadError> {
    let (path, needs) = (file.path(), info.byte_extent());
    if found < needs {
        let error = ReadError::truncated(path, data_of(&info), needs, found);
        return Err(error.at_byte(offset));
    }
    let payload = Payload::in_file(file.clone(), offset, false);
    let mut tensor = tensor(path, format, name.into(), info, payload);
    tensor.origin.member = Some(name.into());
    Ok(tensor)
}

/// Reads a type name of any tool, numpy's descriptors included; `true` for big endian.
pub fn any_dtype(text: &str) -> Option<(DType, bool)> {
    let bare = text
        .trim()
        .trim_start_matches("<class '")
        .trim_end_matches("'>");
    if let Some(dtype) = DType::parse(bare) {
        return Some((dtype, false));
    }
    let (dtype, big_endian, _) = npy::descriptor_type(bare).ok()?;
    Some((dtype, big_endian))
}
