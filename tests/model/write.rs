//! Pairs on disk: npy files, and the truth beside them in `case.json`.

use super::cases::Case;
use super::config::Config;
use super::faults::Fault;
use super::healthy::Healthy;
use super::math::Arithmetic;
use super::run;
use super::style::{Profile, Style};
use super::tap::{Data, Run, Tap};
use super::truth::{self, Effect};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

/// Element type of the written files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    F16,
    F32,
    F64,
}

impl Stored {
    fn descr(self) -> &'static str {
        match self {
            Stored::F16 => "<f2",
            Stored::F32 => "<f4",
            Stored::F64 => "<f8",
        }
    }
}

/// The bytes of an npy file, version 1.0.
pub fn npy(descr: &str, shape: &[usize], body: &[u8]) -> Vec<u8> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = if shape.len() == 1 {
        dims.trim_end()
    } else {
        dims.trim_end_matches(", ")
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.into_bytes());
    out.extend(body);
    out
}

fn bytes(data: &[f64], stored: Stored) -> Vec<u8> {
    match stored {
        Stored::F16 => data
            .iter()
            .flat_map(|&x| half::f16::from_f64(x).to_le_bytes())
            .collect(),
        Stored::F32 => data
            .iter()
            .flat_map(|&x| (x as f32).to_le_bytes())
            .collect(),
        Stored::F64 => data.iter().flat_map(|&x| x.to_le_bytes()).collect(),
    }
}

/// Per key, the file and the shape written there.
pub type Files = BTreeMap<String, (String, Vec<usize>)>;

/// Writes the tensors of `run` that `profile` taps and `style` names; returns key → file and shape.
pub fn write(
    run: &Run,
    c: &Config,
    dir: &Path,
    style: Style,
    profile: Profile,
    stored: Stored,
) -> std::io::Result<Files> {
    let mut written = BTreeMap::new();
    for Tap { key, shape, data } in run.tensors.iter().filter(|t| profile.taps(c, &t.key)) {
        let Some(name) = style.spell(c, key) else {
            continue;
        };
        let file = format!("{name}.npy");
        let (shape, contents) = match data {
            Data::Float(data) => {
                let (shape, data) = style.lay_out(key, shape, data.clone());
                let contents = npy(stored.descr(), &shape, &bytes(&data, stored));
                (shape, contents)
            }
            Data::Ids(ids) => {
                let body: Vec<u8> = ids.iter().flat_map(|i| i.to_le_bytes()).collect();
                (shape.clone(), npy("<i8", shape, &body))
            }
        };
        let path = dir.join(&file);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, contents)?;
        written.insert(key.clone(), (file, shape));
    }
    Ok(written)
}

/// Damages a file as the fault says; nothing for faults that are no matter of files.
pub fn damage(fault: &Fault, dir: &Path, files: &Files) -> std::io::Result<()> {
    let (key, edit): (_, fn(&mut Vec<u8>)) = match fault {
        Fault::TruncatedFile(key) => (key, |b| b.truncate(b.len() * 2 / 3)),
        Fault::ByteOrder(key) => (key, |b| {
            let body = 10 + usize::from(u16::from_le_bytes([b[8], b[9]]));
            b[body..].chunks_exact_mut(4).for_each(|x| x.reverse());
        }),
        Fault::DtypeMislabelled(key) => (key, |b| {
            let at = b.windows(3).position(|w| w == b"<f4");
            if let Some(at) = at {
                b[at + 1] = b'i';
            }
        }),
        _ => return Ok(()),
    };
    if let Some((file, _)) = files.get(*key) {
        let path = dir.join(file);
        let mut contents = fs::read(&path)?;
        edit(&mut contents);
        fs::write(path, contents)?;
    }
    Ok(())
}

/// How a pair is put on disk.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub styles: [Style; 2],
    pub profile: Profile,
    pub arithmetic: Arithmetic,
    pub stored: Stored,
}

impl Form {
    /// Whether both sides hold this stage.
    fn taps(&self, c: &Config, key: &str) -> bool {
        self.profile.taps(c, key) && self.styles.iter().all(|s| s.spell(c, key).is_some())
    }
}

/// The three runs that a pair's truth follows from.
pub struct Runs {
    pub reference: Rc<Run>,
    /// In the candidate's arithmetic, without the fault.
    pub healthy: Rc<Run>,
    pub faulty: Rc<Run>,
}

/// Folder of a pair whose fault enters at a stage that is dumped, in arithmetic close to the reference's.
const SHARP: &str = "sharp";
/// The stage is not dumped: the place can be found, the cause perhaps not.
const BLURRED: &str = "blurred";
/// The candidate's arithmetic is coarse.
const NOISY: &str = "noisy";

/// Writes a pair with an injected fault below `out`, if its truth is clear in this form; says in which folder.
pub fn write_case(
    name: &str,
    case: &Case,
    c: &Config,
    runs: &Runs,
    form: Form,
    out: &Path,
) -> std::io::Result<Option<&'static str>> {
    let Runs {
        reference,
        healthy,
        faulty,
    } = runs;
    let effects = truth::effects(reference, healthy, faulty);
    let tapped = |key: &str| form.taps(c, key);
    let verdict = case.fault.dump_verdict();
    let Some(first) = (if verdict.is_some() {
        case.fault
            .shows(&tapped)
            .then(|| case.first.iter().map(|k| k.to_string()).collect())
    } else {
        let keys = reference.tensors.iter().map(|t| t.key.clone());
        entry(c, &keys.filter(|k| tapped(k)).collect::<Vec<_>>(), &effects)
    }) else {
        return Ok(None);
    };
    if verdict.is_some() && first.iter().any(|k| !tapped(k)) {
        return Ok(None);
    }
    let fine = [Arithmetic::F32, Arithmetic::F32Chunked, Arithmetic::F64];
    let coarse = !fine.contains(&form.arithmetic);
    let folder = match form.arithmetic {
        _ if verdict.is_some() => "dump",
        _ if case.further.is_some() => "double",
        Arithmetic::F32 | Arithmetic::F32Chunked | Arithmetic::F64
            if case.first.contains(&first[0].as_str()) =>
        {
            SHARP
        }
        Arithmetic::F32 | Arithmetic::F32Chunked | Arithmetic::F64 => BLURRED,
        _ => NOISY,
    };
    let mut acceptable = first.get(1..).unwrap_or_default().to_vec();
    acceptable.extend(first.first().into_iter().flat_map(|k| case.fault.places(k)));
    // in a coarse arithmetic the first of two faults may be too small to see
    let hidden = folder == "double" && coarse && !case.first.contains(&first[0].as_str());
    let seen = case
        .further
        .as_ref()
        .filter(|_| hidden)
        .unwrap_or(&case.fault);
    // one side may call the embedding what the other calls its token rows
    if case
        .first
        .iter()
        .any(|k| matches!(*k, "tok_embed" | "embed"))
    {
        acceptable.extend(["tok_embed", "embed"].map(String::from));
    }
    let truth = json!({
        "id": name, "kind": if verdict.is_some() { "fault" } else { "bug" }, "verdict": verdict.unwrap_or("diverge"),
        "family": c.family, "cause": seen.cause(), "cause_also": seen.also(),
        "fault": format!("{:?}", case.fault),
        "further_bugs": case.further.iter().map(|f| json!({"cause": f.cause(), "fault": format!("{f:?}")})).collect::<Vec<_>>(),
        "first_key": first.first(), "acceptable": acceptable,
    });
    let dir = out.join(folder).join(name);
    let files = write_pair(&dir, c, [reference, faulty], form, truth, &effects)?;
    damage(&case.fault, &dir.join("cand"), &files)?;
    Ok(Some(folder))
}

/// Where the fault enters among the tapped keys; none where rounding leaves it open.
fn entry(c: &Config, order: &[String], effects: &BTreeMap<String, Effect>) -> Option<Vec<String>> {
    let found = truth::origins(c, order, effects);
    let first = found.first()?;
    let mut before = order
        .iter()
        .take_while(|k| *k != first)
        .filter_map(|k| effects.get(k));
    (!before.any(|e| e.faint())).then_some(found)
}

/// Writes a healthy pair below `out`.
pub fn write_healthy(
    name: &str,
    pair: &Healthy,
    seed: u64,
    form: Form,
    out: &Path,
) -> std::io::Result<()> {
    let c = &pair.reference;
    let reference = run(c, seed, Arithmetic::F32, None);
    let candidate = run(&pair.candidate, seed, pair.arithmetic, None);
    let effects = truth::effects(&reference, &candidate, &candidate);
    let truth = json!({
        "id": name, "kind": "healthy", "verdict": "ok", "family": c.family, "cause": null, "cause_also": [],
        "first_key": null, "acceptable": [],
    });
    let dir = out.join("healthy").join(name);
    write_pair(&dir, c, [&reference, &candidate], form, truth, &effects).map(drop)
}

/// Both sides, and the truth completed by the files. Returns the candidate's files.
fn write_pair(
    dir: &Path,
    c: &Config,
    runs: [&Run; 2],
    form: Form,
    mut truth: Value,
    effects: &BTreeMap<String, Effect>,
) -> std::io::Result<Files> {
    let _ = fs::remove_dir_all(dir);
    let [reference, candidate] = [
        write(
            runs[0],
            c,
            &dir.join("ref"),
            form.styles[0],
            form.profile,
            Stored::F32,
        )?,
        write(
            runs[1],
            c,
            &dir.join("cand"),
            form.styles[1],
            form.profile,
            form.stored,
        )?,
    ];
    let side = |files: &Files, key: &String| {
        files.get(key).map_or(
            Value::Null,
            |(file, shape)| json!({"file": file, "shape": shape}),
        )
    };
    let figure = |x: f64| {
        if x.is_finite() {
            json!(x)
        } else {
            json!("inf")
        }
    };
    let mut tensors = serde_json::Map::new();
    for key in reference.keys().chain(candidate.keys()) {
        let effect = effects
            .get(key)
            .map(|e| [figure(e.signal), figure(e.noise)]);
        let sides = json!({"ref": side(&reference, key), "cand": side(&candidate, key), "signal_and_noise": effect});
        tensors.insert(key.clone(), sides);
    }
    truth["style"] = json!(form.styles.map(Style::name));
    truth["tap_profile"] = json!(format!("{:?}", form.profile));
    truth["cand_backend"] = json!(form.arithmetic.name());
    truth["tensors"] = Value::Object(tensors);
    fs::write(dir.join("case.json"), serde_json::to_string_pretty(&truth)?)?;
    Ok(candidate)
}
