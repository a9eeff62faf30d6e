//! Values like those of a dump and its port: normal, with a relative error of 1e-4; the same at every run.

use std::fs;
use std::io::Write;
use std::path::Path;
use tdiff::dtype::DType;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Roughly normal numbers from a multiplicative generator (sums of four uniform ones).
pub fn values(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut normal = move || (0..4).map(|_| uniform()).sum::<f64>() - 2.0;
    (0..count).map(|_| normal() * 1.7).collect()
}

/// A reference and its candidate. The largest difference comes first: a long tensor sets its records at the start.
pub fn pair(count: usize) -> [Vec<f64>; 2] {
    let reference = values(1, count);
    let noise = values(2, count);
    let mut candidate: Vec<f64> = reference
        .iter()
        .zip(&noise)
        .map(|(r, n)| r * (1.0 + 1e-4 * n))
        .collect();
    candidate[0] = reference[0] + 2.0;
    [reference, candidate]
}

/// The elements as they are stored, little endian.
pub fn bytes(dtype: DType, values: &[f64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * dtype.size());
    values.iter().for_each(|v| dtype.encode(*v, &mut out));
    out
}

/// An npy file of one axis in f32, as numpy writes it.
pub fn npy(values: &[f64]) -> Vec<u8> {
    let said = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}",
        values.len()
    );
    let length = (10 + said.len() + 1).next_multiple_of(64) - 10;
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((length as u16).to_le_bytes());
    out.extend(format!("{said:<width$}\n", width = length - 1).bytes());
    out.extend(bytes(DType::F32, values));
    out
}

/// A safetensors file of one tensor.
pub fn safetensors(dtype: DType, name: &str, values: &[f64]) -> Vec<u8> {
    let data = bytes(dtype, values);
    let header = format!(
        r#"{{"x":{{"dtype":"{name}","shape":[{}],"data_offsets":[0,{}]}}}}"#,
        values.len(),
        data.len()
    );
    let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// An npz archive of one member.
pub fn npz(values: &[f64], method: CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    archive.start_file("x.npy", options).expect("a new member");
    archive.write_all(&npy(values)).expect("memory takes it");
    archive.finish().expect("memory takes it").into_inner()
}

/// One value a line, as `numpy.savetxt(fmt="%.8e")` writes it.
pub fn text(values: &[f64]) -> Vec<u8> {
    let mut out = Vec::new();
    for v in values {
        // Rust leaves out the sign and the zero of the exponent
        let plain = format!("{v:.8e}");
        let (mantissa, exponent) = plain.split_once('e').expect("an exponent");
        let exponent: i32 = exponent.parse().expect("a whole number");
        let sign = if exponent < 0 { '-' } else { '+' };
        writeln!(out, "{mantissa}e{sign}{:02}", exponent.abs()).expect("memory takes it");
    }
    out
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder is made");
    fs::write(path, bytes).expect("the file is written");
}
