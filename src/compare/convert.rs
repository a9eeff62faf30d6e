//! Hands blocks of stored bytes to the hot loop as the type it reads.

use super::block::{Guess, Setting};
use super::facts::Facts;
use super::isa::Isa;
use super::kernel::BLOCK;
use super::wide;
use crate::dtype::DType;
use half::f16;

/// One block in every this many is looked at for the precision its values really have.
const SAMPLE_EVERY: u64 = 32;

/// Room for the decoded elements of one block.
pub struct Converter {
    narrow: [Box<[f32; BLOCK]>; 2],
    decoded: [Box<[f64; BLOCK]>; 2],
}

impl Default for Converter {
    fn default() -> Self {
        Converter {
            narrow: [Box::new([0.0; BLOCK]), Box::new([0.0; BLOCK])],
            decoded: [Box::new([0.0; BLOCK]), Box::new([0.0; BLOCK])],
        }
    }
}

impl Converter {
    /// Adds consecutive elements, the first of which is the `at`-th (a multiple of [`BLOCK`]); both sides hold equally many.
    pub fn add(
        &mut self,
        facts: &mut Facts,
        setting: &Setting<'_>,
        guess: &mut Guess,
        at: u64,
        dtypes: [DType; 2],
        bytes: [&[u8]; 2],
    ) {
        let blocks = bytes[0]
            .chunks(BLOCK * dtypes[0].size())
            .zip(bytes[1].chunks(BLOCK * dtypes[1].size()));
        for (i, (r, c)) in blocks.enumerate() {
            let at = at + (i * BLOCK) as u64;
            if (at / BLOCK as u64).is_multiple_of(SAMPLE_EVERY) {
                sample(facts, dtypes, [r, c]);
            }
            self.add_block(facts, setting, guess, at, dtypes, [r, c]);
        }
    }

    fn add_block(
        &mut self,
        facts: &mut Facts,
        setting: &Setting<'_>,
        guess: &mut Guess,
        at: u64,
        dtypes: [DType; 2],
        bytes: [&[u8]; 2],
    ) {
        let [r, c] = bytes;
        let same = || dtypes[0] == dtypes[1] && r == c;
        macro_rules! direct {
            ($size:literal) => {{
                let (r, c) = (r.as_chunks::<$size>().0, c.as_chunks::<$size>().0);
                facts.add_block(setting, guess, at, r, c, same);
            }};
        }
        match dtypes {
            [DType::F32, DType::F32] => direct!(4),
            [DType::BF16, DType::BF16] => direct!(2),
            [DType::F64, DType::F64] => direct!(8),
            [DType::F16, DType::F16] => {
                let count = r.len() / 2;
                let [narrow_r, narrow_c] = &mut self.narrow;
                let (narrow_r, narrow_c) = (&mut narrow_r[..count], &mut narrow_c[..count]);
                from_f16(setting.isa, r.as_chunks::<2>().0, narrow_r);
                from_f16(setting.isa, c.as_chunks::<2>().0, narrow_c);
                facts.add_block(setting, guess, at, narrow_r, narrow_c, same);
            }
            _ => {
                let count = r.len() / dtypes[0].size();
                let [decoded_r, decoded_c] = &mut self.decoded;
                let (decoded_r, decoded_c) = (&mut decoded_r[..count], &mut decoded_c[..count]);
                dtypes[0].decode(r, decoded_r);
                dtypes[1].decode(c, decoded_c);
                if wide::needs_integers(dtypes[0], r) || wide::needs_integers(dtypes[1], c) {
                    let values = [&*decoded_r, &*decoded_c];
                    wide::add_integers(facts, setting, at, dtypes, bytes, values);
                } else {
                    facts.add_block(setting, guess, at, decoded_r, decoded_c, same);
                }
            }
        }
    }

    /// Adds values that are already f64 (known elements of a partial tensor).
    pub fn add_values(
        &mut self,
        facts: &mut Facts,
        setting: &Setting<'_>,
        dtypes: [DType; 2],
        r: &[f64],
        c: &[f64],
    ) {
        let mut guess = Guess::default();
        for (i, (r, c)) in r.chunks(BLOCK).zip(c.chunks(BLOCK)).enumerate() {
            facts.samples[0].look(dtypes[0], r.iter().copied());
            facts.samples[1].look(dtypes[1], c.iter().copied());
            facts.add_block(setting, &mut guess, (i * BLOCK) as u64, r, c, || false);
        }
    }
}

fn sample(facts: &mut Facts, dtypes: [DType; 2], bytes: [&[u8]; 2]) {
    const PIECE: usize = 64;
    let mut piece = [0.0; PIECE];
    for side in 0..2 {
        let dtype = dtypes[side];
        for bytes in bytes[side].chunks(PIECE * dtype.size()) {
            if !facts.samples[side].is_open() {
                break;
            }
            let values = &mut piece[..bytes.len() / dtype.size()];
            dtype.decode(bytes, values);
            facts.samples[side].look(dtype, values.iter().copied());
        }
    }
}

/// Converts f16 to f32, exactly.
pub fn from_f16(isa: Isa, bits: &[[u8; 2]], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if isa.available() >= Isa::Avx2 {
        // SAFETY: from Avx2 on, the machine has F16C.
        unsafe { from_f16_f16c(bits, out) };
        return;
    }
    let _ = isa;
    for (out, bits) in out.iter_mut().zip(bits) {
        *out = f16::from_le_bytes(*bits).to_f32();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn from_f16_f16c(bits: &[[u8; 2]], out: &mut [f32]) {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
    let (groups, tail) = bits.as_chunks::<8>();
    let (out_groups, out_tail) = out.as_chunks_mut::<8>();
    for (bits, out) in groups.iter().zip(out_groups) {
        // SAFETY: `bits` is 16 bytes and `out` eight f32; neither access needs alignment.
        unsafe {
            let halves = _mm_loadu_si128(bits.as_ptr().cast());
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(halves));
        }
    }
    for (out, bits) in out_tail.iter_mut().zip(tail) {
        *out = f16::from_le_bytes(*bits).to_f32();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_becomes_the_same_f32_on_every_instruction_set() {
        let bits: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
        for isa in Isa::ALL {
            let mut out = vec![0.0; bits.len()];
            from_f16(isa, &bits, &mut out);
            for (bits, out) in bits.iter().zip(&out) {
                let expected = f16::from_le_bytes(*bits).to_f32();
                assert!(expected.to_bits() == out.to_bits() || (expected.is_nan() && out.is_nan()));
            }
        }
    }
}
