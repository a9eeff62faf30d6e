//! The hot loop alone: pairs in memory that fit the second-level cache, by type and instruction set.

use super::data;
use divan::Bencher;
use divan::counter::BytesCount;
use tdiff::compare::{ElementTolerance, Job, Resources, compare_with};
use tdiff::dtype::DType;
use tdiff::dump::{Origin, Payload, Printed, Tensor, TensorInfo};
use tdiff::simd::Isa;

const ELEMENTS: usize = 1 << 16;

const CASES: &[(DType, Isa)] = &[
    (DType::F32, Isa::Avx512),
    (DType::F32, Isa::Avx2),
    (DType::F32, Isa::Baseline),
    (DType::F16, Isa::Avx512),
    (DType::F16, Isa::Avx2),
    (DType::F16, Isa::Baseline),
    (DType::BF16, Isa::Avx512),
    (DType::BF16, Isa::Avx2),
    (DType::BF16, Isa::Baseline),
    (DType::F64, Isa::Avx512),
    (DType::F64, Isa::Avx2),
    (DType::F64, Isa::Baseline),
    (DType::F8E4M3, Isa::Avx512),
    (DType::I64, Isa::Avx512),
];

#[divan::bench(args = CASES)]
fn finite(bencher: Bencher, case: &(DType, Isa)) {
    run(bencher, *case, data::pair(ELEMENTS));
}

/// A causal mask puts −inf into every block.
#[divan::bench(args = &CASES[..2])]
fn masked(bencher: Bencher, case: &(DType, Isa)) {
    let mut pair = data::pair(ELEMENTS);
    for side in &mut pair {
        side.iter_mut()
            .skip(1)
            .step_by(3)
            .for_each(|x| *x = f64::NEG_INFINITY);
    }
    run(bencher, *case, pair);
}

fn run(bencher: Bencher, (dtype, isa): (DType, Isa), pair: [Vec<f64>; 2]) {
    let [reference, candidate] = pair.map(|values| tensor(dtype, &values));
    let jobs = [Job {
        reference: &reference,
        candidate: &candidate,
        tolerance: ElementTolerance {
            rtol: 1e-3,
            atol: 1e-5,
        },
        masked: false,
    }];
    let resources = Resources { threads: 1, isa };
    bencher
        .counter(BytesCount::new(2 * reference.info.byte_extent()))
        .bench(|| compare_with(&jobs, resources, &|_| {}));
}

fn tensor(dtype: DType, values: &[f64]) -> Tensor {
    Tensor {
        name: "x".into(),
        info: TensorInfo::new(dtype, vec![values.len()]).expect("the shape fits"),
        origin: Origin {
            path: "x".into(),
            member: None,
            format: "npy",
        },
        payload: Payload::Memory(data::bytes(dtype, values).into()),
        printed: Printed::default(),
        guess: None,
        sequence: None,
    }
}
