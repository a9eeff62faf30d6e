//! Element types and how their bytes become numbers.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    /// 4 exponent bits, 3 mantissa bits, no infinity (OCP FP8, "E4M3FN").
    #[serde(rename = "f8_e4m3")]
    F8E4M3,
    /// 5 exponent bits, 2 mantissa bits, with infinity (OCP FP8).
    #[serde(rename = "f8_e5m2")]
    F8E5M2,
    /// A power of two, 8 exponent bits, no sign and no mantissa (OCP MX scale).
    #[serde(rename = "f8_e8m0")]
    F8E8M0,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl DType {
    /// Every type, widest float first.
    pub const ALL: [DType; 16] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F8E4M3,
        DType::F8E5M2,
        DType::F8E8M0,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        use DType::*;
        match self {
            F64 | I64 | U64 => 8,
            F32 | I32 | U32 => 4,
            F16 | BF16 | I16 | U16 => 2,
            F8E4M3 | F8E5M2 | F8E8M0 | I8 | U8 | Bool => 1,
        }
    }

    /// The name used in output and accepted by `--dtype`.
    pub const fn name(self) -> &'static str {
        use DType::*;
        match self {
            F64 => "f64",
            F32 => "f32",
            F16 => "f16",
            BF16 => "bf16",
            F8E4M3 => "f8_e4m3",
            F8E5M2 => "f8_e5m2",
            F8E8M0 => "f8_e8m0",
            I8 => "i8",
            I16 => "i16",
            I32 => "i32",
            I64 => "i64",
            U8 => "u8",
            U16 => "u16",
            U32 => "u32",
            U64 => "u64",
            Bool => "bool",
        }
    }

    /// Reads a type name as tools spell it: `f32`, `float32`, `torch.bfloat16`, `half`, `F8_E4M3`, `int64`, …
    pub fn parse(name: &str) -> Option<DType> {
        use DType::*;
        let lower = name.trim().to_ascii_lowercase();
        let bare = lower.rsplit('.').next().unwrap_or(&lower);
        Some(match bare {
            "f64" | "float64" | "double" | "fp64" => F64,
            "f32" | "float32" | "float" | "fp32" | "single" => F32,
            "f16" | "float16" | "half" | "fp16" => F16,
            "bf16" | "bfloat16" => BF16,
            "f8_e4m3" | "float8_e4m3fn" | "float8_e4m3" | "f8e4m3" | "e4m3" => F8E4M3,
            "f8_e5m2" | "float8_e5m2" | "f8e5m2" | "e5m2" => F8E5M2,
            "f8_e8m0" | "float8_e8m0fnu" | "f8e8m0" | "e8m0" => F8E8M0,
            "i8" | "int8" | "char" => I8,
            "i16" | "int16" | "short" => I16,
            "i32" | "int32" | "int" => I32,
            "i64" | "int64" | "long" => I64,
            "u8" | "uint8" | "byte" => U8,
            "u16" | "uint16" => U16,
            "u32" | "uint32" => U32,
            "u64" | "uint64" => U64,
            "bool" | "boolean" => Bool,
            _ => return None,
        })
    }

    /// Whether values are whole numbers that are compared exactly (token ids, masks).
    pub const fn is_exact(self) -> bool {
        use DType::*;
        matches!(self, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64 | Bool)
    }

    /// Unit roundoff: half the distance from 1 to the next value; 0 for exact types.
    pub const fn roundoff(self) -> f64 {
        use DType::*;
        match self {
            F64 => 1.1102230246251565e-16,
            F32 => 5.960464477539063e-8,
            F16 => 4.8828125e-4,
            BF16 => 3.90625e-3,
            F8E4M3 => 6.25e-2,
            F8E5M2 => 1.25e-1,
            F8E8M0 => 5e-1,
            _ => 0.0,
        }
    }

    /// The type with the larger unit of roundoff.
    pub fn coarser(self, other: DType) -> DType {
        if other.roundoff() > self.roundoff() {
            other
        } else {
            self
        }
    }

    /// Decodes little-endian `bytes` into `out`; `bytes` holds exactly `out.len()` elements.
    ///
    /// 64-bit integers beyond 2^53 are rounded here; [`DType::is_exact`] types are compared as integers elsewhere.
    pub fn decode(self, bytes: &[u8], out: &mut [f64]) {
        use DType::*;
        debug_assert_eq!(bytes.len(), out.len() * self.size());
        macro_rules! each {
            ($n:literal, $b:ident => $e:expr) => {
                for (o, $b) in out.iter_mut().zip(bytes.as_chunks::<$n>().0) {
                    *o = $e;
                }
            };
        }
        match self {
            F64 => each!(8, b => f64::from_le_bytes(*b)),
            F32 => each!(4, b => f64::from(f32::from_le_bytes(*b))),
            F16 => decode_f16(bytes, out),
            BF16 => {
                each!(2, b => f64::from(f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)))
            }
            F8E4M3 | F8E5M2 | F8E8M0 => {
                let table = f8_table(self);
                each!(1, b => table[usize::from(b[0])]);
            }
            I8 => each!(1, b => f64::from(b[0] as i8)),
            I16 => each!(2, b => f64::from(i16::from_le_bytes(*b))),
            I32 => each!(4, b => f64::from(i32::from_le_bytes(*b))),
            I64 => each!(8, b => i64::from_le_bytes(*b) as f64),
            U8 => each!(1, b => f64::from(b[0])),
            U16 => each!(2, b => f64::from(u16::from_le_bytes(*b))),
            U32 => each!(4, b => f64::from(u32::from_le_bytes(*b))),
            U64 => each!(8, b => u64::from_le_bytes(*b) as f64),
            Bool => each!(1, b => f64::from(u8::from(b[0] != 0))),
        }
    }

    /// Encodes one value as the nearest element of this type, little endian (integers saturate).
    pub fn encode(self, value: f64, out: &mut Vec<u8>) {
        use DType::*;
        match self {
            F64 => out.extend(value.to_le_bytes()),
            F32 => out.extend((value as f32).to_le_bytes()),
            F16 => out.extend(f16::from_f64(value).to_le_bytes()),
            BF16 => out.extend(bf16::from_f64(value).to_le_bytes()),
            F8E4M3 | F8E5M2 | F8E8M0 => out.push(nearest_f8(self, value)),
            I8 => out.push(value as i8 as u8),
            I16 => out.extend((value as i16).to_le_bytes()),
            I32 => out.extend((value as i32).to_le_bytes()),
            I64 => out.extend((value as i64).to_le_bytes()),
            U8 => out.push(value as u8),
            U16 => out.extend((value as u16).to_le_bytes()),
            U32 => out.extend((value as u32).to_le_bytes()),
            U64 => out.extend((value as u64).to_le_bytes()),
            Bool => out.push(u8::from(value != 0.0)),
        }
    }
}

/// In pieces, for which `half` has the machine's own instructions.
fn decode_f16(bytes: &[u8], out: &mut [f64]) {
    const PIECE: usize = 64;
    let (mut halves, mut singles) = ([f16::ZERO; PIECE], [0.0; PIECE]);
    for (bytes, out) in bytes.chunks(2 * PIECE).zip(out.chunks_mut(PIECE)) {
        for (half, b) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = f16::from_le_bytes(*b);
        }
        halves.convert_to_f32_slice(&mut singles);
        for (out, x) in out.iter_mut().zip(singles) {
            *out = f64::from(x);
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// All 256 values of an 8-bit float.
fn f8_table(dtype: DType) -> &'static [f64; 256] {
    static TABLES: LazyLock<[[f64; 256]; 3]> = LazyLock::new(|| {
        let all = |value: fn(u8) -> f64| std::array::from_fn(|b| value(b as u8));
        [
            all(f8_e4m3),
            all(|b| f16::from_bits(u16::from(b) << 8).to_f64()),
            all(|b| {
                if b == 255 {
                    f64::NAN
                } else {
                    f64::exp2(f64::from(b) - 127.0)
                }
            }),
        ]
    });
    match dtype {
        DType::F8E4M3 => &TABLES[0],
        DType::F8E5M2 => &TABLES[1],
        _ => &TABLES[2],
    }
}

/// OCP FP8 E4M3FN: bias 7, no infinity, `S.1111.111` is NaN.
fn f8_e4m3(b: u8) -> f64 {
    let sign = if b & 0x80 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(b >> 3 & 0xf);
    let mantissa = f64::from(b & 7);
    match (exponent, b & 7) {
        (15, 7) => f64::NAN,
        (0, _) => sign * mantissa * f64::exp2(-9.0),
        _ => sign * (1.0 + mantissa / 8.0) * f64::exp2(f64::from(exponent - 7)),
    }
}

fn nearest_f8(dtype: DType, value: f64) -> u8 {
    let decoded = |b: u8| {
        let mut out = [0.0];
        dtype.decode(&[b], &mut out);
        out[0]
    };
    (0..=255u8)
        .filter(|&b| {
            if value.is_nan() {
                decoded(b).is_nan()
            } else {
                !decoded(b).is_nan() && decoded(b).is_sign_negative() == value.is_sign_negative()
            }
        })
        .min_by(|&a, &b| {
            (decoded(a) - value)
                .abs()
                .total_cmp(&(decoded(b) - value).abs())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_name_reads_back() {
        for d in DType::ALL {
            assert_eq!(DType::parse(d.name()), Some(d));
        }
        assert_eq!(DType::parse("torch.bfloat16"), Some(DType::BF16));
        assert_eq!(DType::parse("complex64"), None);
    }

    #[test]
    fn small_values_survive_encoding_and_decoding() {
        for d in DType::ALL {
            let mut bytes = Vec::new();
            d.encode(1.0, &mut bytes);
            assert_eq!(bytes.len(), d.size());
            let mut out = [0.0];
            d.decode(&bytes, &mut out);
            assert_eq!(out[0], 1.0, "{d}");
        }
    }

    #[test]
    fn f8_extremes_follow_the_ocp_tables() {
        let mut out = [0.0; 4];
        DType::F8E4M3.decode(&[0x7e, 0x01, 0x7f, 0x08], &mut out);
        assert_eq!((out[0], out[1], out[3]), (448.0, 0.001953125, 0.015625));
        assert!(out[2].is_nan());
        DType::F8E5M2.decode(&[0x7b, 0x01, 0x7c, 0xfc], &mut out);
        assert_eq!(
            out,
            [57344.0, 1.52587890625e-5, f64::INFINITY, f64::NEG_INFINITY]
        );
    }
}
