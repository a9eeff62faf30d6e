//! The block-quantised types of ggml, dequantised with the arithmetic of its reference (ggml-quants.c), in f32.

use half::f16;

/// A block: so many elements in so many bytes.
#[derive(Clone, Copy)]
pub struct Block {
    pub name: &'static str,
    pub elements: usize,
    pub bytes: usize,
    /// The relative error (‖x − q‖ / ‖x‖) that quantising leaves at most, for blocks with few large values: the step is the
    /// largest value by the number of levels, and an error spread evenly over a step has its √12th part.
    pub loss: f64,
    /// Fills `elements` values from `bytes` bytes.
    pub dequantise: fn(&[u8], &mut [f32]),
}

/// ggml's number of a type, and its block.
const BLOCKS: &[(u32, Block)] = &[
    (2, block("Q4_0", 32, 18, 0.21, q4_0)),
    (3, block("Q4_1", 32, 20, 0.15, q4_1)),
    (6, block("Q5_0", 32, 22, 0.11, q5_0)),
    (7, block("Q5_1", 32, 24, 0.08, q5_1)),
    (8, block("Q8_0", 32, 34, 0.013, q8_0)),
    (10, block("Q2_K", 256, 84, 0.6, q2_k)),
    (11, block("Q3_K", 256, 110, 0.35, q3_k)),
    (12, block("Q4_K", 256, 144, 0.2, q4_k)),
    (13, block("Q5_K", 256, 176, 0.1, q5_k)),
    (14, block("Q6_K", 256, 210, 0.05, q6_k)),
    (20, block("IQ4_NL", 32, 18, 0.21, iq4_nl)),
    (23, block("IQ4_XS", 256, 136, 0.21, iq4_xs)),
    (39, block("MXFP4", 32, 17, 0.3, mxfp4)),
];

const fn block(
    name: &'static str,
    elements: usize,
    bytes: usize,
    loss: f64,
    dequantise: fn(&[u8], &mut [f32]),
) -> Block {
    Block {
        name,
        elements,
        bytes,
        loss,
        dequantise,
    }
}

impl Block {
    /// The block of a ggml type; `None` for one that is not quantised or not known.
    pub fn of_type(kind: u32) -> Option<Block> {
        let (_, block) = BLOCKS.iter().find(|(k, _)| *k == kind)?;
        Some(*block)
    }
}

fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// Low nibbles are the first half of the block, high nibbles the second one.
fn nibbles(q: &[u8], out: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    let n = q.len();
    for (j, &byte) in q.iter().enumerate() {
        out[j] = value(j, byte & 15);
        out[j + n] = value(j + n, byte >> 4);
    }
}

fn q4_0(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    nibbles(&b[2..18], out, |_, q| f32::from(i16::from(q) - 8) * d);
}

fn q4_1(b: &[u8], out: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    nibbles(&b[4..20], out, |_, q| f32::from(q) * d + m);
}

/// The fifth bit of element `j`.
fn fifth(b: &[u8], j: usize) -> u8 {
    (b[j / 8] >> (j % 8) & 1) << 4
}

fn q5_0(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    nibbles(&b[6..22], out, |j, q| {
        f32::from(i16::from(q | fifth(&b[2..6], j)) - 16) * d
    });
}

fn q5_1(b: &[u8], out: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    nibbles(&b[8..24], out, |j, q| {
        f32::from(q | fifth(&b[4..8], j)) * d + m
    });
}

fn q8_0(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    for (value, &q) in out.iter_mut().zip(&b[2..34]) {
        *value = f32::from(q as i8) * d;
    }
}

fn q2_k(b: &[u8], out: &mut [f32]) {
    let (scales, q) = (&b[..16], &b[16..80]);
    let (d, min) = (half(b, 80), half(b, 82));
    for (group, values) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group] & 15);
        let offset = min * f32::from(scales[group] >> 4);
        // 128 elements share 32 bytes, two bits of each at a time.
        let (part, within) = (group / 8, group % 8);
        let first = part * 32 + within % 2 * 16;
        for (value, &byte) in values.iter_mut().zip(&q[first..first + 16]) {
            *value = scale * f32::from(byte >> (within / 2 * 2) & 3) - offset;
        }
    }
}

fn q3_k(b: &[u8], out: &mut [f32]) {
    let (high, q, packed, d) = (&b[..32], &b[32..96], &b[96..108], half(b, 108));
    for (group, values) in out.chunks_exact_mut(16).enumerate() {
        // Sixteen scales of six bits: four low ones in a nibble, two high ones in the last four bytes.
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let top = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = d * f32::from(i16::from(low | top << 4) - 32);
        let (part, within) = (group / 8, group % 8);
        let first = within % 2 * 16;
        for (l, value) in values.iter_mut().enumerate() {
            let low = q[part * 32 + first + l] >> (within / 2 * 2) & 3;
            let set = high[first + l] >> (part * 4 + within / 2) & 1 == 1;
            *value = scale * f32::from(i16::from(low) - if set { 0 } else { 4 });
        }
    }
}

/// Scale and minimum of group `j` of eight, six bits each in twelve bytes.
fn scale_and_min(s: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (
            s[j + 4] & 15 | s[j - 4] >> 6 << 4,
            s[j + 4] >> 4 | s[j] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(b: &[u8], out: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    let (scales, q) = (&b[4..16], &b[16..144]);
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(scales, group);
        let (scale, min) = (d * scale, m * min);
        let first = group / 2 * 32;
        for (value, &byte) in values.iter_mut().zip(&q[first..first + 32]) {
            *value = scale * f32::from(byte >> (group % 2 * 4) & 15) - min;
        }
    }
}

fn q5_k(b: &[u8], out: &mut [f32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    let (scales, high, q) = (&b[4..16], &b[16..48], &b[48..176]);
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(scales, group);
        let (scale, min) = (d * scale, m * min);
        let first = group / 2 * 32;
        for (l, value) in values.iter_mut().enumerate() {
            let low = q[first + l] >> (group % 2 * 4) & 15;
            let fifth = (high[l] >> group & 1) << 4;
            *value = scale * f32::from(low | fifth) - min;
        }
    }
}

fn q6_k(b: &[u8], out: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(b, 208));
    for (i, value) in out.iter_mut().enumerate() {
        // Two halves of 128, each of four rows of 32: rows 0 and 1 in low nibbles, 2 and 3 in high ones.
        let (part, row, l) = (i / 128, i % 128 / 32, i % 32);
        let nibble = low[part * 64 + row % 2 * 32 + l] >> (row / 2 * 4) & 15;
        let top = high[part * 32 + l] >> (row * 2) & 3;
        let q = i16::from(nibble | top << 4) - 32;
        *value = d * f32::from(scales[i / 16] as i8) * f32::from(q);
    }
}

/// The sixteen values of the non-linear four-bit types.
const NON_LINEAR: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

fn iq4_nl(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    nibbles(&b[2..18], out, |_, q| {
        d * f32::from(NON_LINEAR[usize::from(q)])
    });
}

fn iq4_xs(b: &[u8], out: &mut [f32]) {
    let d = half(b, 0);
    let high = u16::from_le_bytes([b[2], b[3]]);
    let (low, q) = (&b[4..8], &b[8..136]);
    for (group, values) in out.chunks_exact_mut(32).enumerate() {
        let scale = low[group / 2] >> (group % 2 * 4) & 15;
        let scale = i16::from(scale) | ((high >> (group * 2) & 3) << 4) as i16;
        let scale = d * f32::from(scale - 32);
        nibbles(&q[group * 16..group * 16 + 16], values, |_, q| {
            scale * f32::from(NON_LINEAR[usize::from(q)])
        });
    }
}

/// E2M1 values, doubled.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

fn mxfp4(b: &[u8], out: &mut [f32]) {
    // The scale is halved, since the values are doubled; 2^-128 and 2^-127 are subnormal in f32.
    let d = f64::exp2(f64::from(b[0]) - 128.0) as f32;
    nibbles(&b[1..17], out, |_, q| d * f32::from(E2M1[usize::from(q)]));
}
