//! The facts of a single tensor.

use super::ElementTolerance;
use super::block::Guess;
use super::checksum;
use super::convert::Converter;
use super::facts::Facts;
use super::kernel::BLOCK;
use super::order::Positions;
use super::piece::RANGE;
use super::setting::Setting;
use super::source::{Buffer, CHUNK_BYTES, Source, file_of};
use super::storage::located;
use crate::dtype::DType;
use crate::dump::{Payload, ReadError, Tensor};
use crate::simd::Isa;
use crate::threads;

/// What is known of one tensor's values; figures are over the finite ones and `None` where there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Elements looked at, finite or not.
    pub count: u64,
    pub nan: u64,
    pub inf: u64,
    pub zeros: u64,
    pub mean: Option<f64>,
    /// Population standard deviation.
    pub std: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub rms: Option<f64>,
    pub l1: Option<f64>,
    pub l2: Option<f64>,
    /// The type whose precision the values really have.
    pub precision: Option<DType>,
    /// [`QUANTILES`] of the values, with linear interpolation.
    pub quantiles: Vec<Quantile>,
    /// Counts of values in bins of equal width from `min` to `max`.
    pub histogram: Vec<u64>,
    /// Finite values that quantiles and histogram were made from, when not from all: one of every few, spread evenly.
    pub sampled: Option<u64>,
    /// The first and the last few elements.
    pub first: Vec<f64>,
    pub last: Vec<f64>,
}

/// The value below which a share of all values lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    pub share: f64,
    pub value: f64,
}

/// The shares that are told.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// Bins of the histogram.
const BINS: usize = 16;

/// Elements told from either end.
const ENDS: usize = 4;

/// Up to this many elements quantiles are exact; of more, this many at most are looked at.
const SAMPLE: u64 = 1 << 20;

/// Summarises the known elements of a tensor in one pass.
///
/// `Err` when it cannot be read, or when only statistics of it are known.
pub fn summarise(tensor: &Tensor) -> Result<Summary, ReadError> {
    let parts = match &tensor.payload {
        Payload::Statistics => {
            let error = ReadError::unsupported(
                &tensor.origin.path,
                format!("only statistics of {} are known, no values", tensor.name),
            );
            return Err(located(tensor, error));
        }
        Payload::Partial(known) => vec![Part::of_values(tensor, &known.values)],
        Payload::Stream(_) => {
            let mut source = open(tensor)?;
            let parts = ranges(tensor)
                .map(|range| Part::read(tensor, &mut source, range))
                .collect::<Result<Vec<_>, _>>()?;
            source.finish(tensor)?;
            parts
        }
        Payload::File { .. } | Payload::Memory(_) => {
            checksum::verify_member(tensor)?;
            let ranges: Vec<u64> = ranges(tensor).collect();
            let part = |range: &u64| Part::read(tensor, &mut open(tensor)?, *range);
            threads::map(&ranges, 2, part)
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?
        }
    };
    Ok(join(tensor, parts))
}

fn ranges(tensor: &Tensor) -> std::ops::Range<u64> {
    0..(tensor.info.len() as u64).div_ceil(RANGE)
}

fn open(tensor: &Tensor) -> Result<Source<'_>, ReadError> {
    Source::open(tensor, file_of(tensor)?, tensor.info.is_contiguous())
}

/// What one range gives.
struct Part {
    facts: Facts,
    /// Σ |x| over finite elements.
    l1: f64,
    sample: Vec<f64>,
    first: Vec<f64>,
    last: Vec<f64>,
}

impl Part {
    fn new() -> Self {
        Part {
            facts: Facts::default(),
            l1: 0.0,
            sample: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
        }
    }

    fn of_values(tensor: &Tensor, values: &[f64]) -> Part {
        let mut part = Part::new();
        let dtype = tensor.info.dtype();
        Converter::default().add_values(&mut part.facts, &SETTING, [dtype; 2], values, values);
        part.look(0, sample_step(values.len() as u64), values);
        part
    }

    fn read(tensor: &Tensor, source: &mut Source<'_>, range: u64) -> Result<Part, ReadError> {
        let dtype = tensor.info.dtype();
        let len = tensor.info.len() as u64;
        let step = sample_step(len);
        let chunk = CHUNK_BYTES / dtype.size() / BLOCK * BLOCK;
        let (mut buffer, mut converter) = (Buffer::default(), Converter::default());
        let mut guess = Guess::default();
        let mut part = Part::new();
        let end = ((range + 1) * RANGE).min(len);
        let mut at = range * RANGE;
        let mut values = Vec::new();
        let setting = Setting {
            isa: Isa::detect(),
            ..SETTING
        };
        while at < end {
            let count = chunk.min((end - at) as usize);
            let bytes = source.read(tensor, &mut buffer, at, count)?;
            let dtypes = [dtype; 2];
            converter.add(
                &mut part.facts,
                &setting,
                &mut guess,
                at,
                dtypes,
                [bytes; 2],
            );
            values.resize(count, 0.0);
            dtype.decode(bytes, &mut values);
            part.look(at, step, &values);
            at += count as u64;
        }
        Ok(part)
    }

    /// Takes the sum, the sample and the ends from consecutive values, the first of which is the `at`-th.
    fn look(&mut self, at: u64, step: u64, values: &[f64]) {
        let finite = values.iter().filter(|x| x.is_finite());
        self.l1 += finite.map(|x| x.abs()).sum::<f64>();
        let missing = ENDS - self.first.len();
        self.first.extend(values.iter().take(missing));
        let keep = values.len().min(ENDS);
        self.last.extend(&values[values.len() - keep..]);
        self.last.drain(..self.last.len().saturating_sub(ENDS));
        let end = at + values.len() as u64;
        for group in at / step..end.div_ceil(step) {
            let place = group * step + scatter(group) % step;
            if place >= at && place < end {
                let value = values[(place - at) as usize];
                self.sample.extend(value.is_finite().then_some(value));
            }
        }
    }
}

/// No tolerance, rows in order: a tensor beside itself.
const SETTING: Setting<'static> = Setting {
    isa: Isa::Baseline,
    tolerance: ElementTolerance {
        rtol: 0.0,
        atol: 0.0,
    },
    positions: &Positions::RowMajor,
    masked: false,
};

/// One element of this many is sampled.
fn sample_step(len: u64) -> u64 {
    len.div_ceil(SAMPLE).max(1)
}

/// A number that looks random, always the same for a group: an even step could fall into the period of the rows.
fn scatter(group: u64) -> u64 {
    let mut x = group.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn join(tensor: &Tensor, parts: Vec<Part>) -> Summary {
    let dtype = tensor.info.dtype();
    let mut all = Part::new();
    for part in parts {
        all.facts.append(part.facts);
        all.l1 += part.l1;
        all.sample.extend(part.sample);
        let missing = ENDS - all.first.len();
        all.first.extend(part.first.into_iter().take(missing));
        all.last.extend(part.last);
        all.last.drain(..all.last.len().saturating_sub(ENDS));
    }
    let side = all.facts.finish([dtype; 2]).reference;
    let finite = side.count - side.nan - side.pos_inf - side.neg_inf;
    let some = |x: f64| (finite > 0).then_some(x);
    all.sample.sort_by(f64::total_cmp);
    let sampled = sample_step(side.count) > 1;
    Summary {
        count: side.count,
        nan: side.nan,
        inf: side.pos_inf + side.neg_inf,
        zeros: side.zeros,
        mean: some(side.mean),
        std: some(side.std),
        min: some(side.min),
        max: some(side.max),
        rms: some(side.l2 / (finite as f64).sqrt()),
        l1: some(all.l1),
        l2: some(side.l2),
        precision: (side.count > 0).then_some(side.precision),
        quantiles: quantiles(&all.sample),
        histogram: histogram(&all.sample, side.min, side.max),
        sampled: sampled.then_some(all.sample.len() as u64),
        first: all.first,
        last: all.last,
    }
}

fn quantiles(sorted: &[f64]) -> Vec<Quantile> {
    let Some(last) = sorted.len().checked_sub(1) else {
        return Vec::new();
    };
    let at = |share: f64| {
        let place = share * last as f64;
        let below = place.floor() as usize;
        let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
        let part = place - below as f64;
        low * (1.0 - part) + high * part
    };
    QUANTILES
        .map(|share| Quantile {
            share,
            value: at(share),
        })
        .to_vec()
}

fn histogram(sorted: &[f64], min: f64, max: f64) -> Vec<u64> {
    if sorted.is_empty() {
        return Vec::new();
    }
    let mut bins = vec![0; BINS];
    for x in sorted {
        // Halved, so that the width of the whole range stays finite.
        let share = (x / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0);
        let bin = if max > min {
            (share * BINS as f64) as usize
        } else {
            0
        };
        bins[bin.min(BINS - 1)] += 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::super::tests::{encode, noise, tensor, vector};
    use super::*;
    use crate::dump::{Partial, TensorInfo};
    use std::sync::Arc;

    #[test]
    fn a_small_tensor_is_summarised_exactly() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        let s = summarise(&vector(DType::I32, &values)).unwrap();
        assert_eq!((s.count, s.zeros, s.nan, s.inf), (101, 1, 0, 0));
        assert_eq!((s.mean, s.min, s.max), (Some(50.0), Some(0.0), Some(100.0)));
        assert_eq!(s.l1, Some(5050.0));
        assert!((s.std.unwrap() - 850f64.sqrt()).abs() < 1e-12);
        let shares: Vec<f64> = s.quantiles.iter().map(|q| q.value).collect();
        assert_eq!(shares, [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0]);
        assert_eq!(s.histogram.iter().sum::<u64>(), 101);
        assert_eq!(s.sampled, None);
        assert_eq!(
            (s.first, s.last),
            (vec![0.0, 1.0, 2.0, 3.0], vec![97.0, 98.0, 99.0, 100.0])
        );
    }

    #[test]
    fn nan_and_infinities_are_counted_and_left_out() {
        let values = [f64::NAN, 1.0, f64::INFINITY, 3.0];
        let s = summarise(&vector(DType::F32, &values)).unwrap();
        assert_eq!((s.count, s.nan, s.inf, s.mean), (4, 1, 1, Some(2.0)));
        let s = summarise(&vector(DType::F32, &[f64::NAN])).unwrap();
        assert_eq!((s.mean, s.min, s.quantiles.len()), (None, None, 0));
        let s = summarise(&vector(DType::F32, &[])).unwrap();
        assert_eq!((s.count, s.l2, s.precision), (0, None, None));
    }

    #[test]
    fn a_large_tensor_is_sampled_evenly_and_says_so() {
        let info = TensorInfo::new(DType::F32, vec![1536, 2048]).unwrap();
        let bytes = encode(DType::F32, &noise(5, info.len()));
        let s = summarise(&tensor(info, Payload::Memory(bytes.into()))).unwrap();
        assert!(s.sampled.is_some_and(|n| n > 1_000_000 && n <= SAMPLE));
        for q in s.quantiles {
            assert!((q.value - (2.0 * q.share - 1.0)).abs() < 0.005);
        }
    }

    #[test]
    fn known_elements_of_a_partial_tensor_are_summarised() {
        let info = TensorInfo::new(DType::F32, vec![100]).unwrap();
        let known = Partial {
            positions: vec![0, 1, 99],
            values: vec![1.0, 2.0, 6.0],
        };
        let s = summarise(&tensor(info.clone(), Payload::Partial(Arc::new(known)))).unwrap();
        assert_eq!((s.count, s.mean), (3, Some(3.0)));
        assert!(summarise(&tensor(info, Payload::Statistics)).is_err());
    }
}
