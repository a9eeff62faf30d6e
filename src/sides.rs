//! The two sides of a comparison: two dumps, or one dump that holds both.

use crate::config::Config;
use crate::dump::formats::keeps_order;
use crate::dump::{Dump, Guess, Payload, ReadError, Tensor, open, open_both};
use crate::error::{Error, Result};
use crate::name::{
    Entry, How, Key, Map, Options, Paired, Pairing, Places, Sides as Split, split_sides,
};
use crate::note::Note;
use crate::order::{self, Item};
use crate::pairs::{Lost, Made, Outcome, Pair};
use globset::{Glob, GlobSet, GlobSetBuilder};
use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The opened dumps.
#[derive(Debug)]
pub struct Sides {
    pub reference: Side,
    pub candidate: Side,
    pub options: Options,
}

/// One side: its tensors, and what could not be read.
#[derive(Debug, Default)]
pub struct Side {
    pub path: PathBuf,
    pub tag: Option<String>,
    pub tensors: Vec<Arc<Tensor>>,
    pub unreadable: Vec<ReadError>,
    /// Files that are no tensors.
    pub ignored: Vec<PathBuf>,
    pub notes: Vec<Note>,
}

impl Sides {
    /// Opens what the configuration names. A path without tensors is an error that says what was found; one dump whose names
    /// do not tell two sides apart is the reference alone, with a note.
    pub fn open(config: &Config) -> Result<Sides> {
        let options = name_options(config)?;
        let sides = match &config.candidate {
            Some(candidate) => {
                let (r, c) = open_both(&config.reference, candidate, &config.hints);
                Sides {
                    reference: r?.into(),
                    candidate: c?.into(),
                    options,
                }
            }
            None => {
                let dump = open(&config.reference, &config.hints)?;
                if dump.tensors.is_empty() && dump.unreadable.is_empty() {
                    return Err(nothing_found(&dump.root, &dump.ignored, &dump.notes));
                }
                return Ok(split(dump, options));
            }
        };
        for side in [&sides.reference, &sides.candidate] {
            if side.tensors.is_empty() && side.unreadable.is_empty() {
                return Err(nothing_found(&side.path, &side.ignored, &side.notes));
            }
        }
        Ok(sides)
    }

    /// What the readers noticed, and files that are no tensors.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for side in [&self.reference, &self.candidate] {
            notes.extend(side.notes.iter().cloned().chain(side.ignored()));
        }
        notes.dedup();
        notes
    }
}

impl Side {
    /// The note on files that are no tensors.
    pub fn ignored(&self) -> Option<Note> {
        ignored(&self.path, &self.ignored)
    }
}

/// The note on the files below `path` that are no tensors.
pub fn ignored(path: &Path, files: &[PathBuf]) -> Option<Note> {
    let are = match files.len() {
        0 => return None,
        1 => "file is no tensor",
        _ => "files are no tensors",
    };
    Some(Note::new(
        "ignored_files",
        format!(
            "{}: {} {are} ({})",
            path.display(),
            files.len(),
            first_names(path, files)
        ),
    ))
}

/// The first of these files, by their names below `path`.
fn first_names(path: &Path, files: &[PathBuf]) -> String {
    const FEW: usize = 3;
    let name = |p: &PathBuf| p.strip_prefix(path).unwrap_or(p).display().to_string();
    let mut names: Vec<String> = files.iter().take(FEW).map(name).collect();
    if files.len() > FEW {
        names.push("…".into());
    }
    names.join(", ")
}

impl From<Dump> for Side {
    fn from(dump: Dump) -> Self {
        // collected in place, they would keep the room of the tensors themselves
        let mut tensors = Vec::with_capacity(dump.tensors.len());
        tensors.extend(dump.tensors.into_iter().map(Arc::new));
        Side {
            path: dump.root,
            tag: None,
            tensors,
            unreadable: dump.unreadable,
            ignored: dump.ignored,
            notes: dump.notes,
        }
    }
}

/// What stands under a path that holds no tensor, and what its readers noticed.
pub fn nothing_found(path: &Path, ignored: &[PathBuf], notes: &[Note]) -> Error {
    if let Some(note) = notes.first() {
        return Error::NothingFound(format!("no tensors found: {}", note.message));
    }
    let listed = match (ignored.len(), path.is_dir()) {
        (0, true) => String::from(": the folder is empty"),
        (0, false) => String::new(),
        _ => format!(" ({})", first_names(path, ignored)),
    };
    Error::NothingFound(format!(
        "{}: no tensors found, {} other files{listed}; expected .npy, .npz, .safetensors, .pt, .gguf, .pb, JSON of a tracer, a \
         log, text or binary dumps",
        path.display(),
        ignored.len()
    ))
}

/// The note on a dump that is one side only.
const ONE_SIDE: &str = "one_side";

/// What the notes say of a dump that is one side only.
pub fn one_side(notes: &[Note]) -> Option<&Note> {
    notes.iter().find(|n| n.id == ONE_SIDE)
}

fn split(dump: Dump, options: Options) -> Sides {
    let found = split_sides(&entries(&dump.tensors), &options);
    let Some(Split {
        reference,
        candidate,
        untagged,
        ref_tag,
        cand_tag,
    }) = found
    else {
        let examples: Vec<_> = dump
            .tensors
            .iter()
            .take(4)
            .map(|t| t.name.as_str())
            .collect();
        let missing = match (&options.ref_tag, &options.cand_tag) {
            (None, None) => "no tags that tell two sides apart".to_owned(),
            (r, c) => {
                let given = r.iter().chain(c).map(String::as_str).collect::<Vec<_>>();
                format!(
                    "the given tags ({}) do not tell two sides apart",
                    given.join(", ")
                )
            }
        };
        let message = format!(
            "{}: {} tensors, but {missing} (found names like {}); give two paths, or --ref-tag and --cand-tag",
            dump.root.display(),
            dump.tensors.len(),
            examples.join(", ")
        );
        let mut sides = Sides {
            candidate: Side {
                path: dump.root.clone(),
                ..Side::default()
            },
            reference: dump.into(),
            options,
        };
        sides.reference.notes.push(Note::new(ONE_SIDE, message));
        return sides;
    };
    let pick = |indices: &[usize]| {
        indices
            .iter()
            .map(|&i| Arc::new(dump.tensors[i].clone()))
            .collect::<Vec<_>>()
    };
    let (r, c) = (pick(&reference), pick(&candidate));
    let side = |tensors, tag: &str| Side {
        path: dump.root.clone(),
        tag: Some(tag.to_owned()),
        tensors,
        ..Side::default()
    };
    // what cannot be read names its own side by the tag
    let mut sides = Sides {
        reference: side(r, &ref_tag),
        candidate: side(c, &cand_tag),
        options,
    };
    for error in dump.unreadable {
        let is_candidate = error.path.to_string_lossy().contains(&cand_tag);
        if is_candidate {
            sides.candidate.unreadable.push(error)
        } else {
            sides.reference.unreadable.push(error)
        }
    }
    sides.reference.ignored = dump.ignored;
    sides.reference.notes = dump.notes;
    if !untagged.is_empty() {
        let tensors: Vec<String> = untagged
            .iter()
            .map(|&i| dump.tensors[i].name.clone())
            .collect();
        let message = format!(
            "{} tensors carry neither `{ref_tag}` nor `{cand_tag}` in their names: left out",
            tensors.len()
        );
        sides
            .reference
            .notes
            .push(Note::new("untagged", message).about(tensors));
    }
    sides
}

fn name_options(config: &Config) -> Result<Options> {
    let maps = config
        .maps
        .iter()
        .map(|m| Map::parse(m).map_err(|e| Error::Option(format!("--map {m}: {e}"))))
        .collect::<Result<_>>()?;
    Ok(Options {
        ref_tag: config.ref_tag.clone(),
        cand_tag: config.cand_tag.clone(),
        maps,
        order: config.order.clone(),
    })
}

/// What the names module needs to know of each tensor.
fn entries<T: Borrow<Tensor>>(tensors: &[T]) -> Vec<Entry<'_>> {
    tensors
        .iter()
        .map(|t| {
            let t = t.borrow();
            let stated = !matches!(t.guess, Some(Guess::Size | Guess::Shape))
                && !matches!(t.payload, Payload::Statistics);
            Entry {
                name: &t.name,
                shape: stated.then_some(t.info.shape()),
                sequence: t.sequence,
                is_integer: t.info.dtype().is_exact() && t.guess != Some(Guess::Size),
                op: None,
            }
        })
        .collect()
}

impl Side {
    /// Names that the unreadable tensors would have had.
    pub fn lost_names(&self) -> Vec<String> {
        self.unreadable
            .iter()
            .map(|e| e.tensor_name(&self.path))
            .collect()
    }

    /// All tensors, then those that cannot be read.
    pub fn entries<'a>(&'a self, lost: &'a [String]) -> Vec<Entry<'a>> {
        let mut all = entries(&self.tensors);
        all.extend(lost.iter().map(|name| Entry {
            name,
            ..Entry::default()
        }));
        all
    }
}

/// One place in the pipeline: indices of the entries of both sides.
#[derive(Clone, Debug)]
pub struct Slot {
    pub key: Key,
    pub how: Option<How>,
    pub reference: Option<usize>,
    pub candidate: Option<usize>,
    /// What stands for the entry of each side, where that is a part of it or it is a part.
    pub made: [Option<Made>; 2],
}

impl Slot {
    /// The entries of both sides.
    pub fn entries(&self) -> [Option<usize>; 2] {
        [self.reference, self.candidate]
    }

    /// Pairs and single tensors, in the order of the reference's files, then of the candidate's.
    pub fn all(pairing: &Pairing) -> Vec<Slot> {
        let mut slots: Vec<Slot> = pairing
            .pairs
            .iter()
            .map(|p| Slot {
                key: p.key.clone(),
                how: Some(p.how),
                reference: Some(p.reference),
                candidate: Some(p.candidate),
                made: [None, None],
            })
            .collect();
        slots.extend(pairing.only_reference.iter().map(|(i, key)| Slot {
            key: key.clone(),
            how: None,
            reference: Some(*i),
            candidate: None,
            made: [None, None],
        }));
        slots.sort_by_key(|s| s.reference);
        slots.extend(pairing.only_candidate.iter().map(|(i, key)| Slot {
            key: key.clone(),
            how: None,
            reference: None,
            candidate: Some(*i),
            made: [None, None],
        }));
        slots
    }
}

impl Slot {
    /// The slots of whole tensors as pairing, apart from those of several tensors or of parts.
    pub fn apart(slots: Vec<Slot>, pairing: &mut Pairing) -> Vec<Slot> {
        let (joined, plain): (Vec<Slot>, Vec<Slot>) = slots
            .into_iter()
            .partition(|s| s.made.iter().any(Option::is_some));
        pairing.pairs.clear();
        pairing.only_reference.clear();
        pairing.only_candidate.clear();
        for Slot {
            key,
            how,
            reference,
            candidate,
            ..
        } in plain
        {
            match (reference, candidate) {
                (Some(reference), Some(candidate)) => pairing.pairs.push(Paired {
                    reference,
                    candidate,
                    key,
                    how: how.unwrap_or(How::Stage),
                }),
                (Some(r), None) => {
                    // a step may have told what it is
                    pairing.keys[0][r].clone_from(&key);
                    pairing.only_reference.push((r, key));
                }
                (None, Some(c)) => {
                    pairing.keys[1][c].clone_from(&key);
                    pairing.only_candidate.push((c, key));
                }
                (None, None) => {}
            }
        }
        joined
    }

    /// All slots, in the order of the reference's files, then of the candidate's.
    pub fn together(joined: Vec<Slot>, pairing: &Pairing) -> Vec<Slot> {
        let mut slots = Slot::all(pairing);
        slots.extend(joined);
        slots.sort_by_key(|s| {
            (
                s.reference.is_none(),
                s.reference,
                s.candidate.filter(|_| s.reference.is_none()),
            )
        });
        slots
    }
}

impl Slot {
    /// Its place among all.
    pub fn place<'a>(
        &'a self,
        reference: &[Entry<'a>],
        candidate: &[Entry<'a>],
    ) -> order::Slot<'a> {
        let r = self.reference.map(|i| reference[i].name);
        let name = r.or(self.candidate.map(|i| candidate[i].name));
        order::Slot {
            key: &self.key,
            name: name.unwrap_or_default(),
            items: self.entries(),
        }
    }
}

impl Side {
    /// What the place of each entry in the order depends on.
    pub fn items<'a>(
        &self,
        entries: &[Entry<'a>],
        places: &'a Places,
        keys: &'a [Key],
    ) -> Vec<Item<'a>> {
        let mut files: Vec<&Path> = Vec::new();
        let mut captured = |i: usize| {
            // what cannot be read stands behind all else
            let Some(tensor) = self.tensors.get(i) else {
                return Some((files.len(), i));
            };
            let origin = &tensor.origin;
            if !keeps_order(origin.format) {
                return None;
            }
            let known = files.last().is_some_and(|f| *f == origin.path);
            if !known {
                files.push(&origin.path);
            }
            Some((files.len(), i))
        };
        let item = |(i, entry): (usize, &Entry<'a>)| Item {
            key: &keys[i],
            name: entry.name,
            path: &places.paths[i],
            sequence: entry.sequence.or(places.counters[i].map(u64::from)),
            captured: captured(i),
        };
        entries.iter().enumerate().map(item).collect()
    }
}

impl Sides {
    /// What a side (0: the reference) has in a slot; `None` where it has nothing that can be read.
    pub fn tensor(&self, slot: &Slot, side: usize) -> Option<Made> {
        let of = [&self.reference, &self.candidate][side];
        slot.made[side].clone().or_else(|| {
            let tensor = Arc::clone(of.tensors.get(slot.entries()[side]?)?);
            Some(Made::dumped(tensor))
        })
    }

    /// The tensors of one slot of the pipeline.
    pub fn pair(&self, slot: &Slot) -> Pair {
        let lost = |side: &Side, i: Option<usize>| {
            i?.checked_sub(side.tensors.len())
                .and_then(|i| side.unreadable.get(i))
                .map(Lost::from)
        };
        let [r, c] = [0, 1].map(|side| self.tensor(slot, side));
        let tensor = |made: &Option<Made>| made.as_ref().map(|m| Arc::clone(&m.tensor));
        let mut pair = Pair::new(slot.key.clone(), tensor(&r), tensor(&c));
        pair.made = [r, c].map(|made| made.filter(|m| !m.how.is_empty()));
        let lost =
            lost(&self.reference, slot.reference).or_else(|| lost(&self.candidate, slot.candidate));
        pair.how = slot.how;
        if let Some(error) = lost {
            pair.outcome = Outcome::Unreadable(error);
        }
        pair
    }
}

/// `--only` and `--skip`.
pub struct Selection {
    only: Option<GlobSet>,
    skip: GlobSet,
}

impl Selection {
    pub fn new(config: &Config) -> Result<Selection> {
        let only = if config.only.is_empty() {
            None
        } else {
            Some(globs(&config.only)?)
        };
        Ok(Selection {
            only,
            skip: globs(&config.skip)?,
        })
    }

    /// Whether any glob was given.
    pub fn is_everything(&self) -> bool {
        self.only.is_none() && self.skip.is_empty()
    }

    /// Whether a tensor is to be compared; any of its key, stage and names may match.
    pub fn takes(&self, names: &[String]) -> bool {
        let hit = |set: &GlobSet| names.iter().any(|n| set.is_match(n));
        self.only.as_ref().is_none_or(hit) && !hit(&self.skip)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for p in patterns {
        set.add(Glob::new(p).map_err(|e| Error::Option(format!("glob `{p}`: {e}")))?);
    }
    set.build().map_err(|e| Error::Option(e.to_string()))
}
