//! Files, from opening to the facts: one large pair by format, and many small ones, page cache warm.

use super::data;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use std::path::Path;
use tdiff::compare::{ElementTolerance, Job, Resources, compare_with};
use tdiff::config::Config;
use tdiff::dtype::DType;
use tdiff::dump::{Hints, open};
use tdiff::simd::Isa;
use zip::CompressionMethod;

const ELEMENTS: usize = 1 << 20;
const SMALL: usize = 4096;
const PAIRS: usize = 200;

const FORMATS: &[&str] = &[
    "npy",
    "safetensors bf16",
    "npz stored",
    "npz deflated",
    "text",
];

/// Opens both files and compares them on one thread.
#[divan::bench(args = FORMATS)]
fn one_pair(bencher: Bencher, format: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |side: &str, values: &[f64]| {
        let (name, bytes) = match format {
            "npy" => ("x.npy", data::npy(values)),
            "safetensors bf16" => (
                "x.safetensors",
                data::safetensors(DType::BF16, "BF16", values),
            ),
            "npz stored" => ("x.npz", data::npz(values, CompressionMethod::Stored)),
            "npz deflated" => ("x.npz", data::npz(values, CompressionMethod::Deflated)),
            _ => ("x.txt", data::text(values)),
        };
        let path = folder.path().join(side).join(name);
        data::write(&path, &bytes);
        (path, bytes.len())
    };
    let [r, c] = data::pair(ELEMENTS);
    let ((r, r_bytes), (c, c_bytes)) = (write("ref", &r), write("cand", &c));
    bencher
        .counter(BytesCount::new(r_bytes + c_bytes))
        .bench(|| compare_files(&r, &c));
}

fn compare_files(reference: &Path, candidate: &Path) -> u64 {
    let hints = Hints::default();
    let [r, c] = [reference, candidate].map(|path| open(path, &hints).expect("it opens"));
    let jobs = [Job {
        reference: &r.tensors[0],
        candidate: &c.tensors[0],
        tolerance: ElementTolerance {
            rtol: 1e-3,
            atol: 1e-5,
        },
        masked: false,
    }];
    let resources = Resources {
        threads: 1,
        isa: Isa::detect(),
    };
    let stats = compare_with(&jobs, resources, &|_| {}).remove(0);
    stats.expect("it compares").diff.mismatched
}

/// The whole pipeline over a folder of small files.
#[divan::bench]
fn many_small_pairs(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [r, _] = data::pair(SMALL);
    for i in 0..PAIRS {
        for side in ["ref", "cand"] {
            let path = folder.path().join(side).join(format!("t{i:05}.npy"));
            data::write(&path, &data::npy(&r));
        }
    }
    let config = Config {
        reference: folder.path().join("ref"),
        candidate: Some(folder.path().join("cand")),
        ..Config::default()
    };
    bencher
        .counter(ItemsCount::new(PAIRS))
        .bench(|| tdiff::run::run(&config, &|_| {}).expect("it compares"));
}
