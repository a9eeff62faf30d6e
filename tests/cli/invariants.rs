//! What must not change the answer: threads, instruction sets, formats, the order of a folder's entries.

use super::commands::{json, npy, tdiff, tdiff_with, text};
use std::fs;
use std::io::Write;
use std::path::Path;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// Numbers of all sizes, the same at every run.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn noisy(values: &[f32]) -> Vec<f32> {
    let noise = numbers(99, values.len());
    let pairs = values.iter().zip(&noise);
    pairs.map(|(x, n)| x * (1.0 + 1e-3 * n)).collect()
}

#[test]
fn threads_and_instruction_sets_do_not_change_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (r, c) = (dir.path().join("ref"), dir.path().join("cand"));
    // several ranges, blocks with NaN and infinities, and a tail
    let mut reference = numbers(1, (1 << 22) + 777);
    let mut candidate = noisy(&reference);
    for x in [&mut reference, &mut candidate] {
        x[1_000_000..1_000_100].fill(f32::NEG_INFINITY);
        x[3_000_000] = f32::NAN;
    }
    candidate[2_000_001] = f32::INFINITY;
    for (side, values) in [(&r, &reference), (&c, &candidate)] {
        npy(&side.join("large.npy"), &[values.len()], values);
        for i in 0..40 {
            let part = &values[i * 1000..i * 1013 + 1];
            npy(&side.join(format!("t{i}.npy")), &[part.len()], part);
        }
    }
    let path = |p: &Path| p.to_str().unwrap().to_owned();
    let (r, c) = (path(&r), path(&c));
    let first = tdiff(&[&r, &c, "--format", "json", "-j", "1"]);
    assert_eq!(first.status.code(), Some(1));
    for threads in ["2", "3", "16"] {
        let again = tdiff(&[&r, &c, "--format", "json", "-j", threads]);
        assert_eq!(
            text(&again.stdout),
            text(&first.stdout),
            "{threads} threads"
        );
    }
    for isa in ["avx512", "avx2", "baseline"] {
        let again = tdiff_with(&[("TDIFF_ISA", isa)], &[&r, &c, "--format", "json"]);
        assert_eq!(text(&again.stdout), text(&first.stdout), "{isa}");
    }
    let unknown = tdiff_with(&[("TDIFF_ISA", "mmx")], &[&r, &c]);
    assert_eq!(unknown.status.code(), Some(2));
}

fn npz(path: &Path, member: &[u8], method: CompressionMethod) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    archive.start_file("x.npy", options).unwrap();
    archive.write_all(member).unwrap();
    archive.finish().unwrap();
}

#[test]
fn one_array_gives_the_same_facts_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (rows, columns) = (123, 457);
    let reference = numbers(1, rows * columns);
    let candidate = noisy(&reference);
    let bytes: Vec<u8> = candidate.iter().flat_map(|x| x.to_le_bytes()).collect();
    npy(&at("ref/x.npy"), &[rows, columns], &reference);
    npy(&at("x.npy"), &[rows, columns], &candidate);
    let member = fs::read(at("x.npy")).unwrap();
    npz(&at("stored.npz"), &member, CompressionMethod::Stored);
    npz(&at("deflated.npz"), &member, CompressionMethod::Deflated);
    let header = format!(
        r#"{{"x":{{"dtype":"F32","shape":[{rows},{columns}],"data_offsets":[0,{}]}}}}"#,
        bytes.len()
    );
    let length = (header.len() as u64).to_le_bytes();
    let file = [&length[..], header.as_bytes(), &bytes].concat();
    fs::write(at("x.safetensors"), file).unwrap();
    fs::write(at("x.bin"), &bytes).unwrap();
    let sidecar = format!(r#"{{"dtype": "float32", "shape": [{rows}, {columns}]}}"#);
    fs::write(at("x.bin.json"), sidecar).unwrap();
    // text is read as f64: digits enough for it
    let lines: Vec<String> = candidate
        .chunks(columns)
        .map(|row| {
            row.iter()
                .map(|x| f64::from(*x).to_string())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    fs::write(at("x.txt"), lines.join("\n")).unwrap();

    let facts = |name: &str| {
        let (r, c) = (at("ref/x.npy"), at(name));
        let output = tdiff(&[r.to_str().unwrap(), c.to_str().unwrap(), "--format", "json"]);
        let row = json(&output)["tensors"][0].clone();
        let pick = |key: &str| row[key].clone();
        let stats = row["candidate"]["stats"].clone();
        (pick("metrics"), pick("worst"), pick("grade"), stats)
    };
    let expected = facts("x.npy");
    assert!(expected.0["rmse"].as_f64().unwrap() > 1e-5);
    for name in ["stored.npz", "deflated.npz", "x.safetensors", "x.bin"] {
        assert_eq!(facts(name), expected, "{name}");
    }
    // printed values are read as f64: the same numbers, counted against a tighter tolerance
    let (mut metrics, worst, grade, stats) = facts("x.txt");
    metrics["mismatched"] = expected.0["mismatched"].clone();
    assert_eq!((metrics, worst, grade, stats), expected, "x.txt");
}

#[test]
fn the_order_in_which_files_were_written_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "embed",
        "layers.0.q_proj",
        "layers.0.k_proj",
        "other",
        "a10",
        "a2",
        "logits",
    ];
    let report = |folder: &str, order: &mut dyn Iterator<Item = usize>| {
        for i in order {
            let values = numbers(i as u32, 60);
            let file = format!("{}.npy", names[i]);
            npy(
                &dir.path().join(folder).join("ref").join(&file),
                &[6, 10],
                &values,
            );
            npy(
                &dir.path().join(folder).join("cand").join(&file),
                &[6, 10],
                &noisy(&values),
            );
        }
        let side = |side: &str| dir.path().join(folder).join(side).display().to_string();
        let output = tdiff(&[&side("ref"), &side("cand"), "--format", "json"]);
        text(&output.stdout).replace(&format!("/{folder}/"), "/")
    };
    let forwards = report("forwards", &mut (0..names.len()));
    assert_eq!(forwards, report("backwards", &mut (0..names.len()).rev()));
}

/// Six tensors of a coarser arithmetic, made of numbers within ±1 and changed by `spoil` in the candidate.
fn layers(dir: &Path, made: fn(f32) -> f32, spoil: fn(&mut [f32])) -> [String; 2] {
    let sides = ["ref", "cand"].map(|side| dir.join(side));
    for layer in 0..6 {
        let name = format!("layer{layer:02}.npy");
        let r: Vec<f32> = numbers(layer + 1, 1 << 16).into_iter().map(made).collect();
        let mut c = noisy(&noisy(&r));
        spoil(&mut c);
        npy(&sides[0].join(&name), &[512, 128], &r);
        npy(&sides[1].join(&name), &[512, 128], &c);
    }
    sides.map(|side| side.to_str().unwrap().to_owned())
}

#[test]
fn one_wrong_element_in_every_layer_is_no_noise() {
    let dir = tempfile::tempdir().unwrap();
    let verdict = |made: fn(f32) -> f32, spoil: fn(&mut [f32])| {
        let [r, c] = layers(dir.path(), made, spoil);
        json(&tdiff(&[&r, &c, "--format", "json"]))
    };
    assert_eq!(verdict(|x| x, |_| {})["verdict"], "agreed");
    // a quarter of the largest values, among differences of a thousandth
    let found = verdict(|x| x, |c| c[40_000] = 0.9f32.copysign(c[40_000]));
    assert_eq!(found["first_divergence"]["key"], "layers.0.output");
    // as after a softmax, where few values are large and so are their errors
    let softmax: fn(f32) -> f32 = |x| x.powi(32);
    let amplified: fn(&mut [f32]) = |c| {
        let noise = numbers(7, c.len());
        c.iter_mut()
            .zip(noise)
            .for_each(|(x, n)| *x *= 1.0 + 0.02 * n);
        let largest = c.iter_mut().max_by(|a, b| a.total_cmp(b)).unwrap();
        *largest *= 1.13;
    };
    assert_eq!(verdict(softmax, amplified)["verdict"], "agreed");
}

#[test]
fn a_massive_activation_of_the_first_token_hides_nothing_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (tokens, width) = (16, 64);
    let shape = [1, tokens, width];
    let input = numbers(1, tokens * width);
    let right = numbers(3, tokens * width);
    let wrong = numbers(5, tokens * width);
    for massive in [0.0, 4000.0] {
        for (side, branch) in [("ref", &right), ("cand", &wrong)] {
            let file = |name: &str, values: &[f32]| {
                let name = format!("{side}/layers.0.{name}.npy");
                // as bf16 holds them
                let stored: Vec<f32> = values
                    .iter()
                    .map(|x| f32::from_bits(x.to_bits() & 0xffff_0000))
                    .collect();
                npy(&dir.path().join(name), &shape, &stored);
            };
            let mut stream: Vec<f32> = input.iter().zip(branch).map(|(s, b)| s + b).collect();
            stream[7] += massive;
            let normed: Vec<f32> = stream
                .chunks(width)
                .flat_map(|row| {
                    let rms = (row.iter().map(|x| x * x).sum::<f32>() / width as f32).sqrt();
                    row.iter().map(move |x| x / rms)
                })
                .collect();
            file("input", &input);
            file("o_proj", branch);
            file("attn_residual", &stream);
            file("mlp_norm", &normed);
        }
        let (r, c) = (dir.path().join("ref"), dir.path().join("cand"));
        let report = json(&tdiff(&[
            r.to_str().unwrap(),
            c.to_str().unwrap(),
            "--format",
            "json",
        ]));
        let first = &report["first_divergence"];
        assert_eq!(
            (&first["key"], &first["propagates"]),
            (&"layers.0.o_proj".into(), &true.into()),
            "{massive}: {report:#}"
        );
    }
}
