//! The whole comparison against plain two-pass sums, and the ways it must not depend on.

use super::*;
use crate::dump::{Crc, Partial, Payload, ReadErrorKind, Stream, TensorInfo, formats};
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

const TOLERANCE: ElementTolerance = ElementTolerance {
    rtol: 1e-3,
    atol: 1e-5,
};

pub fn tensor(info: TensorInfo, payload: Payload) -> Tensor {
    formats::tensor(Path::new("x.npy"), "npy", "x".into(), info, payload)
}

pub fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &x in values {
        dtype.encode(x, &mut bytes);
    }
    bytes
}

pub fn vector(dtype: DType, values: &[f64]) -> Tensor {
    let info = TensorInfo::new(dtype, vec![values.len()]).unwrap();
    tensor(info, Payload::Memory(encode(dtype, values).into()))
}

fn with(reference: &Tensor, candidate: &Tensor, resources: Resources) -> PairStats {
    try_with(reference, candidate, resources).unwrap()
}

fn try_with(
    reference: &Tensor,
    candidate: &Tensor,
    resources: Resources,
) -> Result<PairStats, ReadError> {
    let job = Job {
        reference,
        candidate,
        tolerance: TOLERANCE,
        masked: false,
    };
    compare_with(&[job], resources, &|_| {})
        .remove(0)
        .map(|stats| *stats)
}

fn one(reference: &Tensor, candidate: &Tensor) -> PairStats {
    with(reference, candidate, alone(Isa::detect()))
}

fn alone(isa: Isa) -> Resources {
    Resources { threads: 1, isa }
}

/// Numbers in (−1, 1), always the same.
pub fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

fn pair(count: usize) -> (Vec<f64>, Vec<f64>) {
    let r = noise(1, count);
    let c = r
        .iter()
        .zip(noise(2, count))
        .map(|(r, e)| r * (1.0 + 1e-3 * e) + 1e-4 * e)
        .collect();
    (r, c)
}

#[track_caller]
fn assert_near(found: f64, expected: f64, relative: f64) {
    let close = (found - expected).abs() <= relative * expected.abs();
    assert!(
        close || found == expected,
        "{found:e}, expected {expected:e}"
    );
}

/// Means, deviations, cosine and correlation from two plain passes.
struct Plain {
    mean: [f64; 2],
    m2: [f64; 2],
    l2: [f64; 2],
    cosine: f64,
    pearson: f64,
}

fn plain(r: &[f64], c: &[f64]) -> Plain {
    let n = r.len() as f64;
    let mean = [r, c].map(|x| x.iter().sum::<f64>() / n);
    let mut m2 = [0.0; 2];
    let (mut l2, mut dot, mut product) = ([0.0; 2], 0.0, 0.0);
    for (r, c) in r.iter().zip(c) {
        let (a, b) = (r - mean[0], c - mean[1]);
        m2[0] += a * a;
        m2[1] += b * b;
        product += a * b;
        l2[0] += r * r;
        l2[1] += c * c;
        dot += r * c;
    }
    let l2 = l2.map(f64::sqrt);
    Plain {
        mean,
        m2,
        l2,
        cosine: dot / (l2[0] * l2[1]),
        pearson: product / (m2[0] * m2[1]).sqrt(),
    }
}

#[test]
fn every_type_gives_the_facts_of_its_values() {
    for dtype in DType::ALL {
        let (mut r, mut c) = pair(5003);
        if dtype.is_exact() {
            for x in r.iter_mut().chain(&mut c) {
                *x = (x.abs() * 100.0).round();
            }
        }
        let (r, c) = (vector(dtype, &r), vector(dtype, &c));
        let values = |t: &Tensor| {
            let Payload::Memory(bytes) = &t.payload else {
                unreachable!()
            };
            let mut out = vec![0.0; t.info.len()];
            dtype.decode(bytes, &mut out);
            out
        };
        let stats = one(&r, &c);
        let (r, c) = (values(&r), values(&c));
        let expected = plain(&r, &c);
        for (side, x, i) in [(&stats.reference, &r, 0), (&stats.candidate, &c, 1)] {
            assert_eq!(side.count, 5003);
            assert_near(side.mean, expected.mean[i], 1e-9);
            assert_near(side.m2, expected.m2[i], 1e-12);
            assert_near(side.l2, expected.l2[i], 1e-13);
            assert_eq!(side.min, x.iter().copied().fold(f64::INFINITY, f64::min));
            assert_eq!(
                side.max,
                x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
            );
            assert_eq!(side.zeros, x.iter().filter(|x| **x == 0.0).count() as u64);
        }
        let d: Vec<f64> = r.iter().zip(&c).map(|(r, c)| c - r).collect();
        let diff = &stats.diff;
        let max = d.iter().fold(0.0f64, |m, d| m.max(d.abs()));
        assert_eq!(diff.max_abs, max);
        let worst = diff.worst.unwrap();
        assert_eq!(
            worst.position as usize,
            d.iter().position(|d| d.abs() == max).unwrap()
        );
        assert_eq!(worst.candidate, c[worst.position as usize]);
        assert_near(diff.sum_abs, d.iter().map(|d| d.abs()).sum(), 1e-12);
        assert_near(diff.l2, d.iter().map(|d| d * d).sum::<f64>().sqrt(), 1e-12);
        assert!((diff.sum - d.iter().sum::<f64>()).abs() <= 1e-12 * diff.sum_abs);
        if let Some(cosine) = diff.cosine {
            assert_near(cosine, expected.cosine, 1e-12);
            assert_near(diff.pearson.unwrap(), expected.pearson, 1e-12);
        }
        let nonzero = || r.iter().zip(&d).filter(|(r, _)| **r != 0.0);
        assert_eq!(diff.rel_count, nonzero().count() as u64);
        assert_near(
            diff.sum_rel,
            nonzero().map(|(r, d)| d.abs() / r.abs()).sum(),
            1e-12,
        );
        let mixed = r.iter().zip(&d).map(|(r, d)| d.abs() / (1.0 + r.abs()));
        assert_eq!(diff.max_mixed, mixed.fold(0.0, f64::max));
        let beyond = r
            .iter()
            .zip(&d)
            .filter(|(r, d)| d.abs() > 1e-5 + 1e-3 * r.abs());
        assert_eq!(diff.mismatched, beyond.count() as u64, "{dtype}");
        assert_eq!(diff.identical, max == 0.0);
    }
}

/// Values with NaN and infinities here and there; with `everywhere` in every block, in both sides alike.
fn odd_pair(count: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut r, mut c) = pair(count);
    for i in (5..count).step_by(1511) {
        (r[i], c[i]) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        (r[i + 1], c[i + 1]) = (f64::NAN, f64::NAN);
        r[i + 2] = 0.0;
    }
    c[7000] = f64::NAN;
    r[9000] = f64::INFINITY;
    (r, c)
}

#[test]
fn every_instruction_set_gives_the_same_facts() {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64, DType::I32] {
        for (r, c) in [pair(10_001), odd_pair(10_001)] {
            if dtype.is_exact() && r.iter().any(|x| !x.is_finite()) {
                continue;
            }
            let (r, c) = (vector(dtype, &r), vector(dtype, &c));
            // As text, in which NaN equals itself.
            let facts = |isa| format!("{:?}", with(&r, &c, alone(isa)));
            let baseline = facts(Isa::Baseline);
            for isa in Isa::ALL {
                assert_eq!(facts(isa), baseline, "{dtype} {isa:?}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_facts() {
    let (r, c) = pair((1 << 22) + 4321);
    let (r, c) = (vector(DType::F32, &r), vector(DType::F32, &c));
    let isa = Isa::detect();
    let alone = one(&r, &c);
    for threads in [2, 3, 16] {
        assert_eq!(with(&r, &c, Resources { threads, isa }), alone);
    }
}

struct Bytes(Arc<[u8]>);

impl Stream for Bytes {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}

fn in_file(
    info: TensorInfo,
    head: &[u8],
    bytes: &[u8],
    crc: Option<u32>,
) -> (Tensor, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"local file header").unwrap();
    file.write_all(head).unwrap();
    file.write_all(bytes).unwrap();
    file.write_all(b"the next member").unwrap();
    let payload = Payload::File {
        file: file.path().into(),
        offset: 17 + head.len() as u64,
        big_endian: false,
        crc: crc.map(|crc32| Crc {
            crc32,
            start: 17,
            len: (head.len() + bytes.len()) as u64,
        }),
    };
    (tensor(info, payload), file)
}

#[test]
fn memory_file_and_stream_give_the_same_facts() {
    let (r, c) = pair((1 << 21) + 77);
    let (r, c) = (vector(DType::F32, &r), vector(DType::F32, &c));
    let expected = one(&r, &c);
    let bytes = |t: &Tensor| match &t.payload {
        Payload::Memory(bytes) => bytes.clone(),
        _ => unreachable!(),
    };
    let (file, _keep) = in_file(r.info.clone(), b"head", &bytes(&r), None);
    let stream = tensor(c.info.clone(), Payload::Stream(Arc::new(Bytes(bytes(&c)))));
    let two = Resources {
        threads: 2,
        isa: Isa::detect(),
    };
    assert_eq!(with(&file, &c, two), expected);
    assert_eq!(with(&file, &stream, two), expected);
    assert_eq!(with(&r, &stream, two), expected);
}

#[test]
fn big_endian_files_read_like_little_endian_ones() {
    let (r, c) = pair(3000);
    let (r, c) = (vector(DType::F32, &r), vector(DType::F32, &c));
    let Payload::Memory(bytes) = &r.payload else {
        unreachable!()
    };
    let mut turned = bytes.to_vec();
    storage::swap(DType::F32, &mut turned);
    let (mut file, _keep) = in_file(r.info.clone(), b"", &turned, None);
    if let Payload::File { big_endian, .. } = &mut file.payload {
        *big_endian = true;
    }
    assert_eq!(one(&file, &c), one(&r, &c));
}

#[test]
fn a_stored_member_with_a_wrong_checksum_is_an_error() {
    let (r, _) = pair((1 << 22) + 5);
    let r = vector(DType::F32, &r);
    let Payload::Memory(bytes) = &r.payload else {
        unreachable!()
    };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"npy header");
    hasher.update(bytes);
    let right = hasher.finalize();
    let two = Resources {
        threads: 2,
        isa: Isa::detect(),
    };
    let (file, _keep) = in_file(r.info.clone(), b"npy header", bytes, Some(right));
    assert!(try_with(&file, &r, two).unwrap().diff.identical);
    let (file, _keep) = in_file(r.info.clone(), b"npy header", bytes, Some(right ^ 1));
    let error = try_with(&r, &file, two).unwrap_err();
    assert!(matches!(
        error.kind,
        ReadErrorKind::Checksum { computed, .. } if computed == right
    ));
}

#[test]
fn a_file_that_ends_early_is_an_error_with_both_numbers() {
    let (r, _) = pair(3000);
    let r = vector(DType::F32, &r);
    let Payload::Memory(bytes) = &r.payload else {
        unreachable!()
    };
    let (file, _keep) = in_file(r.info.clone(), b"", &bytes[..8000], None);
    let error = try_with(&r, &file, alone(Isa::detect())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.npy: data of f32 [3000] needs 12000, found 8015"
    );
}

#[test]
fn nan_and_infinity_follow_the_rules() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let r = [1.0, nan, inf, -inf, nan, inf, 2.0, -inf, 4.0];
    let c = [1.0, nan, inf, inf, 3.0, 5.0, nan, -inf, 4.5];
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let stats = one(&vector(dtype, &r), &vector(dtype, &c));
        let diff = &stats.diff;
        assert_eq!((diff.nan_both, diff.inf_both), (1, 2));
        assert_eq!((diff.nan_one_side, diff.inf_mismatch), (2, 2));
        let first = diff.first_non_finite_mismatch.unwrap();
        assert_eq!((first.position, first.reference), (3, -inf));
        assert_eq!((diff.count, diff.max_abs), (2, 0.5));
        assert_eq!(diff.worst.unwrap().position, 8);
        // The four of them, and 4 against 4.5.
        assert_eq!(diff.mismatched, 5);
        assert!(!diff.identical);
        let (r, c) = (&stats.reference, &stats.candidate);
        assert_eq!((r.nan, r.pos_inf, r.neg_inf), (2, 2, 2));
        assert_eq!((c.nan, c.pos_inf, c.neg_inf), (2, 2, 1));
        assert_eq!((r.mean, r.min, r.max), ((1.0 + 2.0 + 4.0) / 3.0, 1.0, 4.0));
        assert_near(c.mean, (1.0 + 3.0 + 5.0 + 4.5) / 4.0, 1e-15);
    }
}

#[test]
fn the_same_nan_and_infinities_on_both_sides_are_identical() {
    let mut x = noise(3, 5000);
    x[2047] = f64::NAN;
    x[4000] = f64::NEG_INFINITY;
    let stats = one(&vector(DType::F32, &x), &vector(DType::F32, &x));
    assert!(stats.diff.identical);
    assert_eq!(stats.diff.mismatched, 0);
    assert_eq!(stats.diff.cosine, Some(1.0));
    let mut payload = f32::NAN.to_bits() | 1;
    let r = vector(DType::F32, &[f64::NAN]);
    payload |= 1 << 31;
    let info = r.info.clone();
    let c = tensor(info, Payload::Memory(payload.to_le_bytes().to_vec().into()));
    assert!(one(&r, &c).diff.identical);
}

#[test]
fn a_small_spread_beside_a_large_mean_keeps_nine_digits() {
    for (dtype, spread, digits) in [(DType::F64, 1e-3, 1e-9), (DType::F32, 100.0, 1e-12)] {
        let around = |seed| -> Vec<f64> {
            noise(seed, 40_000)
                .iter()
                .map(|x| 1e6 + spread * x)
                .collect()
        };
        let (r, c) = (around(1), around(2));
        let (r, c) = if dtype == DType::F32 {
            let round = |x: Vec<f64>| x.iter().map(|x| f64::from(*x as f32)).collect();
            (round(r), round(c))
        } else {
            (r, c)
        };
        let stats = one(&vector(dtype, &r), &vector(dtype, &c));
        let shift = |x: &[f64]| x.iter().map(|x| x - 1e6).collect::<Vec<f64>>();
        let expected = plain(&shift(&r), &shift(&c));
        assert_near(stats.reference.m2, expected.m2[0], digits);
        assert_near(stats.candidate.m2, expected.m2[1], digits);
        let pearson = stats.diff.pearson.unwrap();
        assert!((pearson - expected.pearson).abs() < digits);
    }
}

#[test]
fn squares_beyond_the_range_of_f64_are_scaled() {
    let (r, c) = pair(4000);
    let expected = one(&vector(DType::F64, &r), &vector(DType::F64, &c));
    for exponent in [1000, -1000] {
        let factor = f64::exp2(f64::from(exponent));
        let scale = |x: &[f64]| x.iter().map(|x| x * factor).collect::<Vec<f64>>();
        let stats = one(
            &vector(DType::F64, &scale(&r)),
            &vector(DType::F64, &scale(&c)),
        );
        assert_near(stats.reference.l2 / factor, expected.reference.l2, 1e-12);
        assert_near(stats.reference.std / factor, expected.reference.std, 1e-12);
        assert_near(stats.diff.l2 / factor, expected.diff.l2, 1e-12);
        assert_near(
            stats.diff.cosine.unwrap(),
            expected.diff.cosine.unwrap(),
            1e-12,
        );
        assert_near(
            stats.diff.pearson.unwrap(),
            expected.diff.pearson.unwrap(),
            1e-12,
        );
        assert_near(
            stats.diff.scale.unwrap(),
            expected.diff.scale.unwrap(),
            1e-12,
        );
        assert_near(stats.diff.sum_rel, expected.diff.sum_rel, 1e-12);
    }
    let stats = one(
        &vector(DType::F64, &[1e308, 1.0]),
        &vector(DType::F64, &[-1e308, 1.0]),
    );
    assert_eq!(stats.diff.max_abs, f64::INFINITY);
    assert_eq!(stats.diff.max_rel, 2.0);
    assert_eq!(stats.diff.cosine, Some(-1.0));
}

#[test]
fn integers_beyond_2_to_the_53_are_compared_exactly() {
    let r: Vec<i64> = (0..3000).map(|i| (1 << 60) + i).collect();
    let mut c = r.clone();
    c[1234] += 1;
    let of = |x: &[i64]| {
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        let info = TensorInfo::new(DType::I64, vec![x.len()]).unwrap();
        tensor(info, Payload::Memory(bytes.into()))
    };
    let stats = one(&of(&r), &of(&c));
    assert_eq!(stats.diff.max_abs, 1.0);
    assert_eq!(stats.diff.worst.unwrap().position, 1234);
    assert!(!stats.diff.identical);
    assert_eq!(stats.diff.sum_abs, 1.0);
    assert!(one(&of(&r), &of(&r)).diff.identical);
}

#[test]
fn identical_means_bits_after_conversion_to_the_wider_type() {
    let values: Vec<f64> = noise(1, 300).iter().map(|x| f64::from(*x as f32)).collect();
    let (f32, f64) = (vector(DType::F32, &values), vector(DType::F64, &values));
    assert!(one(&f32, &f64).diff.identical);
    let stats = one(&vector(DType::F32, &[0.0]), &vector(DType::F32, &[-0.0]));
    assert!(!stats.diff.identical);
    assert_eq!((stats.diff.max_abs, stats.diff.mismatched), (0.0, 0));
}

#[test]
fn degenerate_tensors_have_undefined_metrics_not_wrong_ones() {
    let value = |stats: &PairStats, id: &str| (metric::find(id).unwrap().value)(stats);
    let zeros = one(
        &vector(DType::F32, &[0.0; 9]),
        &vector(DType::F32, &[0.0; 9]),
    );
    assert!(zeros.diff.identical);
    for id in [
        "max_rel", "mean_rel", "rel_l2", "cosine", "pearson", "snr_db", "scale",
    ] {
        assert_eq!(value(&zeros, id), None, "{id}");
    }
    assert_eq!(value(&zeros, "max_abs"), Some(0.0));
    let empty = one(&vector(DType::F32, &[]), &vector(DType::F32, &[]));
    for metric in metric::METRICS {
        assert_eq!((metric.value)(&empty), None, "{}", metric.id);
    }
    let single = one(&vector(DType::F32, &[0.1]), &vector(DType::F32, &[0.2]));
    assert_eq!(value(&single, "pearson"), None);
    assert_near(value(&single, "cosine").unwrap(), 1.0, 1e-15);
    assert_near(value(&single, "scale").unwrap(), 2.0, 1e-7);
    let constant = one(
        &vector(DType::F64, &[0.1; 5000]),
        &vector(DType::F64, &[0.3; 5000]),
    );
    assert_eq!(
        (constant.reference.mean, constant.reference.std),
        (0.1, 0.0)
    );
    assert_eq!(value(&constant, "pearson"), None);
}

#[test]
fn unlike_magnitudes_keep_cosine_and_scale() {
    let (r, c) = pair(20_000);
    for factor in [1e-9, -1e-3, 1e7] {
        let far: Vec<f64> = c.iter().map(|x| x * factor).collect();
        let expected = plain(&r, &far);
        let stats = one(&vector(DType::F64, &r), &vector(DType::F64, &far));
        assert_near(stats.diff.cosine.unwrap(), expected.cosine, 1e-13);
        assert_near(stats.diff.pearson.unwrap(), expected.pearson, 1e-13);
        let scale = expected.cosine * expected.l2[1] / expected.l2[0];
        assert_near(stats.diff.scale.unwrap(), scale, 1e-12);
    }
}

/// The same values stored in another order.
fn stored(
    shape: &[usize],
    strides: &[usize],
    values: &[f64],
    dtype: DType,
) -> (TensorInfo, Vec<u8>) {
    let info = TensorInfo::strided(dtype, shape.to_vec(), strides.to_vec()).unwrap();
    let mut storage = vec![7.0; info.extent()];
    for (i, x) in values.iter().enumerate() {
        let (mut rest, mut place) = (i, 0);
        for (n, s) in shape.iter().zip(strides).rev() {
            place += rest % n * s;
            rest /= n;
        }
        storage[place] = *x;
    }
    (info, encode(dtype, &storage))
}

#[test]
fn any_memory_order_gives_the_facts_of_the_values() {
    let shape = [5, 300, 1, 700];
    let (r, c) = pair(5 * 300 * 700);
    let straight = |x: &[f64]| {
        let info = TensorInfo::new(DType::F32, shape.to_vec()).unwrap();
        tensor(info, Payload::Memory(encode(DType::F32, x).into()))
    };
    let expected = one(&straight(&r), &straight(&c));
    let layouts: [[usize; 4]; 3] = [
        [1, 5, 9, 1500],        // Fortran
        [300 * 700, 1, 0, 300], // the last two exchanged
        [300 * 800, 800, 3, 1], // rows with gaps
    ];
    for strides in layouts {
        let (info, bytes) = stored(&shape, &strides, &c, DType::F32);
        let memory = tensor(info.clone(), Payload::Memory(bytes.clone().into()));
        let (file, _keep) = in_file(info.clone(), b"head", &bytes, None);
        let stream = tensor(info, Payload::Stream(Arc::new(Bytes(bytes.into()))));
        for candidate in [&memory, &file, &stream] {
            assert_eq!(one(&straight(&r), candidate), expected, "{strides:?}");
        }
        // Both sides in the same order: summed in storage order, told in logical positions.
        let (info, bytes) = stored(&shape, &strides, &r, DType::F32);
        let reference = tensor(info, Payload::Memory(bytes.into()));
        let both = one(&reference, &memory);
        assert_eq!(both.diff.worst, expected.diff.worst);
        assert_eq!(both.diff.max_mixed, expected.diff.max_mixed);
        assert_near(both.reference.m2, expected.reference.m2, 1e-13);
    }
}

#[test]
fn partial_tensors_are_compared_where_both_are_known() {
    let (r, c) = pair(1000);
    let known = |positions: Vec<u64>, x: &[f64]| {
        let info = TensorInfo::new(DType::F32, vec![1000]).unwrap();
        let values = positions.iter().map(|p| x[*p as usize]).collect();
        tensor(
            info,
            Payload::Partial(Arc::new(Partial { positions, values })),
        )
    };
    let ends = || (0..50).chain(950..1000).collect::<Vec<u64>>();
    let full = vector(DType::F64, &c);
    let Payload::Memory(bytes) = &full.payload else {
        unreachable!()
    };
    let (file, _keep) = in_file(full.info.clone(), b"h", bytes, None);
    let stream = tensor(
        full.info.clone(),
        Payload::Stream(Arc::new(Bytes(bytes.clone()))),
    );
    for candidate in [&full, &file, &stream] {
        let stats = one(&known(ends(), &r), candidate);
        assert_eq!(stats.diff.count, 100);
        let worst = stats.diff.worst.unwrap();
        assert!(worst.position < 50 || worst.position >= 950);
        assert_eq!(worst.reference, r[worst.position as usize]);
        assert_eq!(worst.candidate, c[worst.position as usize]);
    }
    let stats = one(&known(ends(), &r), &known((40..960).collect(), &c));
    assert_eq!(stats.diff.count, 20);
    let nothing = tensor(full.info.clone(), Payload::Statistics);
    assert_eq!(one(&nothing, &full).diff.count, 0);
}

#[test]
fn one_unreadable_pair_leaves_the_others_alone() {
    let (r, c) = pair(100);
    let (r, c) = (vector(DType::F32, &r), vector(DType::F32, &c));
    let payload = Payload::in_file(std::path::Path::new("/nowhere/x.npy"), 0, false);
    let missing = tensor(r.info.clone(), payload);
    let short = vector(DType::F32, &[1.0]);
    let jobs = [&c, &missing, &short, &c].map(|candidate| Job {
        reference: &r,
        candidate,
        tolerance: TOLERANCE,
        masked: false,
    });
    let results = compare(&jobs, &|_| {});
    let readable: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(readable, [true, false, false, true]);
}
