//! Sixty-four characters at a time.

use super::Baseline;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The characters of one instruction set.
pub trait Text: Copy {
    type Bytes: Copy;
    /// A look at 64 characters costs less than looking at one after the other.
    const IS_FAST: bool;
    fn bytes(text: &[u8; 64]) -> Self::Bytes;
    /// Where the bytes equal `byte`, and where they are not above it: bit `i` for byte `i`.
    fn equal(bytes: Self::Bytes, byte: u8) -> u64;
    fn at_most(bytes: Self::Bytes, byte: u8) -> u64;
    /// The number that twice eight decimal digits spell, the first in the lowest byte of `high`; the digits are 0 to 9, not
    /// their characters. False when one of them is something else.
    fn number(high: u64, low: u64) -> (u64, bool);
}

impl Text for Baseline {
    type Bytes = [u64; 8];
    const IS_FAST: bool = false;
    #[inline(always)]
    fn bytes(text: &[u8; 64]) -> [u64; 8] {
        let mut words = text.as_chunks().0.iter().map(|w| u64::from_le_bytes(*w));
        std::array::from_fn(|_| words.next().unwrap_or(0))
    }
    #[inline(always)]
    fn equal(bytes: [u64; 8], byte: u8) -> u64 {
        bits(bytes, |word| {
            let x = word ^ (u64::from(byte) * LOW);
            !(((x & !HIGH) + !HIGH) | x)
        })
    }
    #[inline(always)]
    fn at_most(bytes: [u64; 8], byte: u8) -> u64 {
        // for ASCII limits: whatever has its highest bit set is above
        let above = u64::from(0x7f - byte) * LOW;
        bits(bytes, |word| !(((word & !HIGH) + above) | word))
    }
    #[inline(always)]
    fn number(high: u64, low: u64) -> (u64, bool) {
        let limit = 0x76 * LOW;
        let wrong = ((high & !HIGH) + limit) | high | ((low & !HIGH) + limit) | low;
        (
            eight_digits(high) * 100_000_000 + eight_digits(low),
            wrong & HIGH == 0,
        )
    }
}

/// The highest bit of every byte, and the lowest.
const HIGH: u64 = 0x8080_8080_8080_8080;
const LOW: u64 = 0x0101_0101_0101_0101;

/// The highest bits of the bytes that `test` gives for the words, side by side.
#[inline(always)]
fn bits(words: [u64; 8], test: impl Fn(u64) -> u64) -> u64 {
    let mut all = 0;
    for (i, word) in words.into_iter().enumerate() {
        let marks = (test(word) & HIGH) >> 7;
        // the product moves bit 8·i to bit 56 + i, and nothing else there
        all |= (marks.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    all
}

/// The number that eight digits (0 to 9, not their characters) spell, the first in the lowest byte.
#[inline(always)]
pub fn eight_digits(x: u64) -> u64 {
    let x = x.wrapping_mul(10).wrapping_add(x >> 8) & 0x00ff_00ff_00ff_00ff;
    let x = x.wrapping_mul(100).wrapping_add(x >> 16) & 0x0000_ffff_0000_ffff;
    x.wrapping_mul(10_000).wrapping_add(x >> 32) & 0xffff_ffff
}

/// Safety: as in [`super::x86`].
#[cfg(target_arch = "x86_64")]
macro_rules! number {
    () => {
        #[inline(always)]
        fn number(high: u64, low: u64) -> (u64, bool) {
            unsafe {
                let x = _mm_set_epi64x(low as i64, high as i64);
                let nine = _mm_set1_epi8(9);
                let wrong = _mm_xor_si128(_mm_max_epu8(x, nine), nine);
                let pairs = _mm_maddubs_epi16(x, _mm_set1_epi16(0x010a));
                let fours = _mm_madd_epi16(pairs, _mm_set1_epi32(0x0001_0064));
                let narrow = _mm_packus_epi32(fours, fours);
                let eights = _mm_madd_epi16(narrow, _mm_set1_epi32(0x0001_2710));
                let both = _mm_cvtsi128_si64(eights) as u64;
                let value = (both & 0xffff_ffff) * 100_000_000 + (both >> 32);
                (value, _mm_testz_si128(wrong, wrong) == 1)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
impl Text for Avx2 {
    type Bytes = [__m256i; 2];
    const IS_FAST: bool = true;
    #[inline(always)]
    fn bytes(text: &[u8; 64]) -> [__m256i; 2] {
        let at = text.as_ptr();
        unsafe {
            [
                _mm256_loadu_si256(at.cast()),
                _mm256_loadu_si256(at.add(32).cast()),
            ]
        }
    }
    #[inline(always)]
    fn equal(bytes: [__m256i; 2], byte: u8) -> u64 {
        let mask = |x| unsafe {
            let same = _mm256_cmpeq_epi8(x, _mm256_set1_epi8(byte as i8));
            u64::from(_mm256_movemask_epi8(same) as u32)
        };
        mask(bytes[0]) | mask(bytes[1]) << 32
    }
    #[inline(always)]
    fn at_most(bytes: [__m256i; 2], byte: u8) -> u64 {
        let mask = |x| unsafe {
            let least = _mm256_min_epu8(x, _mm256_set1_epi8(byte as i8));
            u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, least)) as u32)
        };
        mask(bytes[0]) | mask(bytes[1]) << 32
    }
    number!();
}

#[cfg(target_arch = "x86_64")]
impl Text for Avx512 {
    type Bytes = __m512i;
    const IS_FAST: bool = true;
    #[inline(always)]
    fn bytes(text: &[u8; 64]) -> __m512i {
        unsafe { _mm512_loadu_si512(text.as_ptr().cast()) }
    }
    #[inline(always)]
    fn equal(bytes: __m512i, byte: u8) -> u64 {
        unsafe { _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8)) }
    }
    #[inline(always)]
    fn at_most(bytes: __m512i, byte: u8) -> u64 {
        unsafe { _mm512_cmple_epu8_mask(bytes, _mm512_set1_epi8(byte as i8)) }
    }
    number!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, per_isa};
    use proptest::prelude::*;

    fn masks_body<S: Text>(text: &[u8; 64], byte: u8) -> [u64; 2] {
        let bytes = S::bytes(text);
        [S::equal(bytes, byte), S::at_most(bytes, byte)]
    }

    fn number_body<S: Text>(high: u64, low: u64) -> (u64, bool) {
        S::number(high, low)
    }

    per_isa! {
        fn masks[][](text: &[u8; 64], byte: u8) -> [u64; 2] = masks_body;
    }
    per_isa! {
        fn number[][](high: u64, low: u64) -> (u64, bool) = number_body;
    }

    proptest! {
        #[test]
        fn masks_say_where_bytes_are(text in prop::array::uniform32(any::<[u8; 2]>()), byte in 0u8..128) {
            let text: [u8; 64] = std::array::from_fn(|i| text[i / 2][i % 2]);
            let bits = |test: &dyn Fn(u8) -> bool| {
                (0..64).filter(|&i| test(text[i])).fold(0u64, |mask, i| mask | 1 << i)
            };
            for isa in Isa::ALL {
                for byte in [byte, text[0] & 0x7f] {
                    let expected = [bits(&|b| b == byte), bits(&|b| b <= byte)];
                    prop_assert_eq!(masks(isa, &text, byte), expected);
                }
            }
        }

        #[test]
        fn digits_are_a_number(text in "[0-9]{16}", at in 0usize..16, other: u8) {
            let words = |digits: &[u8]| {
                let (a, b) = digits.split_at(8);
                let word = |d: &[u8]| u64::from_le_bytes(std::array::from_fn(|i| d[i]));
                (word(a), word(b))
            };
            let mut digits: Vec<u8> = text.bytes().map(|b| b - b'0').collect();
            let (high, low) = words(&digits);
            for isa in Isa::ALL {
                prop_assert_eq!(number(isa, high, low), (text.parse().unwrap(), true));
            }
            digits[at] = other;
            let (high, low) = words(&digits);
            for isa in Isa::ALL {
                prop_assert_eq!(number(isa, high, low).1, other < 10);
            }
        }
    }
}
