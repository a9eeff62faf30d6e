//! Hands blocks of stored bytes to the hot loop as the type it reads.

use super::FILLING;
use super::block::Guess;
use super::facts::Facts;
use super::kernel::{self, BLOCK, Decoded};
use super::setting::Setting;
use super::wide;
use crate::dtype::DType;
use std::borrow::Cow;

/// One block in every this many is looked at for the precision its values really have.
const SAMPLE_EVERY: u64 = 32;

/// Room for the decoded elements of one block.
pub struct Converter {
    decoded: [Box<[f64; BLOCK]>; 2],
}

impl Default for Converter {
    fn default() -> Self {
        Converter {
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
            ($element:ident, $size:literal) => {{
                let (r, c) = (r.as_chunks::<$size>().0, c.as_chunks::<$size>().0);
                facts.add_block::<kernel::$element>(setting, guess, at, r, c, same);
            }};
        }
        match dtypes {
            _ if setting.masked => {
                let [r, c] = self.decode(dtypes, bytes);
                fill(r, &mut facts.filled[0]);
                fill(c, &mut facts.filled[1]);
                facts.add_block::<Decoded>(setting, guess, at, r, c, same);
            }
            [DType::F32, DType::F32] => direct!(F32, 4),
            [DType::F16, DType::F16] => direct!(F16, 2),
            [DType::BF16, DType::BF16] => direct!(Bf16, 2),
            [DType::F64, DType::F64] => direct!(F64, 8),
            _ => {
                let [values_r, values_c] = self.decode(dtypes, bytes);
                if wide::needs_integers(dtypes[0], r) || wide::needs_integers(dtypes[1], c) {
                    let values = [&*values_r, &*values_c];
                    wide::add_integers(facts, setting, at, dtypes, bytes, values);
                } else {
                    facts.add_block::<Decoded>(setting, guess, at, values_r, values_c, same);
                }
            }
        }
    }

    /// The values of one block of either side.
    fn decode(&mut self, dtypes: [DType; 2], bytes: [&[u8]; 2]) -> [&mut [f64]; 2] {
        let mut side = 0;
        self.decoded.each_mut().map(|room| {
            let (dtype, bytes) = (dtypes[side], bytes[side]);
            side += 1;
            let values = &mut room[..bytes.len() / dtype.size()];
            dtype.decode(bytes, values);
            values
        })
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
            let (mut r, mut c) = (Cow::Borrowed(r), Cow::Borrowed(c));
            if setting.masked {
                fill(r.to_mut(), &mut facts.filled[0]);
                fill(c.to_mut(), &mut facts.filled[1]);
            }
            let (r, c) = (&*r, &*c);
            facts.add_block::<Decoded>(setting, &mut guess, (i * BLOCK) as u64, r, c, || false);
        }
    }
}

/// What stands for masked scores as what it means; `largest` learns the largest of it.
fn fill(values: &mut [f64], largest: &mut f64) {
    for x in values.iter_mut().filter(|x| **x <= FILLING) {
        *largest = largest.max(*x);
        *x = f64::NEG_INFINITY;
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
