//! Every case on disk: `TDIFF_MODEL_OUT=dir cargo test --test cli write_all -- --ignored`, then
//! `score.py --tdiff … dir/sharp dir/healthy …`. `TDIFF_MODEL_ONLY` keeps the names that contain it;
//! `TDIFF_MODEL_SEED` draws other weights, tokens, sizes, depths and lengths.

use super::cases;
use super::config::Config;
use super::healthy;
use super::math::Arithmetic;
use super::style::{Profile, Style};
use super::write::{Form, Runs, Stored, write_case, write_healthy};
use super::{Fault, Run, run_with};
use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::rc::Rc;

/// The seed of the standing corpus.
pub const SEED: u64 = 11;

/// Counted where rounding or the choice of taps leaves the truth open.
const UNCLEAR: &str = "left out as unclear";

/// The forms one case is written in; they rotate with its number.
fn forms(i: usize, c: &Config) -> [(&'static str, Form); 5] {
    let second = [Style::Titan, Style::Ggml, Style::Port, Style::Hf][i % 4];
    let second = if second.fits(c) { second } else { Style::Hf };
    let noisy = [
        Arithmetic::Bf16,
        Arithmetic::F16,
        Arithmetic::Tf32,
        Arithmetic::Int8,
    ][i % 4];
    let half = noisy == Arithmetic::F16 && i % 8 < 4;
    let exact = if i.is_multiple_of(3) {
        Arithmetic::F64
    } else {
        Arithmetic::F32Chunked
    };
    let wide = i.is_multiple_of(6);
    let part = [
        Profile::NoAttention,
        Profile::Modules,
        Profile::Blocks,
        Profile::Zoomed(1),
    ][i % 4];
    let form = |styles, profile, arithmetic, stored| Form {
        styles,
        profile,
        arithmetic,
        stored,
    };
    let chunked = Arithmetic::F32Chunked;
    [
        (
            "full",
            form([Style::Canonical; 2], Profile::Full, chunked, Stored::F32),
        ),
        (
            "named",
            form(
                [second; 2],
                Profile::Full,
                exact,
                if wide { Stored::F64 } else { Stored::F32 },
            ),
        ),
        (
            "mixed",
            form([Style::Hf, second], Profile::Full, chunked, Stored::F32),
        ),
        (
            "part",
            form([Style::Hf, second], part, chunked, Stored::F32),
        ),
        (
            "noisy",
            form(
                [Style::Hf; 2],
                Profile::Full,
                noisy,
                if half { Stored::F16 } else { Stored::F32 },
            ),
        ),
    ]
}

/// Runs of one case that several forms share.
struct Memo<'a> {
    c: &'a Config,
    seed: u64,
    faults: Vec<&'a Fault>,
    held: Vec<(Arithmetic, bool, Rc<Run>)>,
}

impl Memo<'_> {
    fn run(&mut self, arithmetic: Arithmetic, faulty: bool) -> Rc<Run> {
        let held = self
            .held
            .iter()
            .find(|h| (h.0, h.1) == (arithmetic, faulty));
        if let Some((_, _, run)) = held {
            return run.clone();
        }
        let faults = if faulty { self.faults.as_slice() } else { &[] };
        let run = Rc::new(run_with(self.c, self.seed, arithmetic, faults));
        self.held.push((arithmetic, faulty, run.clone()));
        run
    }
}

/// Writes every case whose name contains `only` below `out`; says how many went into each folder.
/// Another seed than [`SEED`] draws other weights, tokens, sizes, depths and lengths.
pub fn write_corpus(
    out: &Path,
    only: &str,
    seed: u64,
) -> std::io::Result<BTreeMap<&'static str, usize>> {
    let vary = |c: Config, i: usize| {
        if seed == SEED {
            c
        } else {
            c.varied(seed + i as u64)
        }
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, (name, case)) in cases::named().into_iter().enumerate() {
        let c = vary((case.config)(), i);
        let spoilt = case.fault.dump_verdict().is_some();
        let mut memo = Memo {
            c: &c,
            seed: seed + i as u64 % 5,
            faults: case.faults(),
            held: Vec::new(),
        };
        for (suffix, form) in forms(i, &c) {
            let name = format!("{name}-{suffix}");
            if !name.contains(only) || (suffix == "noisy" && spoilt) {
                continue;
            }
            if form.styles.iter().any(|s| s.hides(&case.fault)) {
                continue;
            }
            let arithmetic = case.fault.arithmetic().unwrap_or(form.arithmetic);
            // Damage to files is damage to f32 files.
            let stored = if spoilt { Stored::F32 } else { form.stored };
            let form = Form {
                arithmetic,
                stored,
                ..form
            };
            let runs = Runs {
                reference: memo.run(Arithmetic::F32, false),
                healthy: memo.run(arithmetic, false),
                faulty: memo.run(arithmetic, true),
            };
            let folder = write_case(&name, case, &c, &runs, form, out)?;
            *counts.entry(folder.unwrap_or(UNCLEAR)).or_default() += 1;
        }
    }
    for (i, mut pair) in healthy::pairs().into_iter().enumerate() {
        let name = format!("healthy-{}", pair.name);
        if !name.contains(only) {
            continue;
        }
        (pair.reference, pair.candidate) = (vary(pair.reference, i), vary(pair.candidate, i));
        let second = [Style::Hf, Style::Titan, Style::Ggml, Style::Port][i % 4];
        let second = if second.fits(&pair.reference) {
            second
        } else {
            Style::Hf
        };
        let stored = match pair.arithmetic {
            Arithmetic::F64 => Stored::F64,
            Arithmetic::F16 if i.is_multiple_of(2) => Stored::F16,
            _ => Stored::F32,
        };
        let profile = match i % 4 {
            _ if pair.name.starts_with("trap") => Profile::Full,
            0 => Profile::NoAttention,
            1 => Profile::Modules,
            _ => Profile::Full,
        };
        let form = Form {
            styles: [Style::Hf, second],
            profile,
            arithmetic: pair.arithmetic,
            stored,
        };
        write_healthy(&name, &pair, seed + i as u64 % 5, form, out)?;
        *counts.entry("healthy").or_default() += 1;
    }
    Ok(counts)
}

#[test]
#[ignore = "writes about a gigabyte to TDIFF_MODEL_OUT"]
fn write_all() {
    let out = env::var_os("TDIFF_MODEL_OUT").expect("TDIFF_MODEL_OUT names a directory");
    let only = env::var("TDIFF_MODEL_ONLY").unwrap_or_default();
    let seed = env::var("TDIFF_MODEL_SEED")
        .map_or(SEED, |s| s.parse().expect("TDIFF_MODEL_SEED is a number"));
    let counts = write_corpus(Path::new(&out), &only, seed).expect("written");
    println!("{counts:?}");
    assert!(!counts.is_empty(), "nothing is called {only}");
}
