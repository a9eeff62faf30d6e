//! One-off statistics of files or whole dumps.

use crate::compare::summarise::{Summary, summarise};
use crate::dump::{Hints, Payload, ReadError, Rounded, Tensor, open};
use crate::error::Error;
use crate::note::Note;
use crate::pairs::Lost;
use crate::sides::{ignored, nothing_found};
use crate::threads;
use std::path::PathBuf;

/// Every tensor under some paths with its figures.
#[derive(Debug)]
pub struct Stats {
    pub tensors: Vec<(Tensor, Summary)>,
    pub notes: Vec<Note>,
    /// What could not be read, in words.
    pub unreadable: Vec<String>,
}

/// The statistics of every tensor under `paths`; an error where one of them holds none.
pub fn stats(paths: &[PathBuf], hints: &Hints) -> Result<Stats, Error> {
    let (mut tensors, mut notes, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    for path in paths {
        let dump = open(path, hints)?;
        if dump.tensors.is_empty() && dump.unreadable.is_empty() {
            return Err(nothing_found(&dump.root, &dump.ignored, &dump.notes));
        }
        unreadable.extend(dump.unreadable.iter().map(ToString::to_string));
        notes.extend(ignored(&dump.root, &dump.ignored));
        notes.extend(dump.notes);
        tensors.extend(dump.tensors);
    }
    let summaries = threads::map(&tensors, 2, |t| summary(t).map_err(|e| Lost::from(&e)));
    let mut read = Vec::new();
    for (tensor, summary) in tensors.into_iter().zip(summaries) {
        match summary {
            Ok(summary) => read.push((tensor, summary)),
            Err(lost) => unreadable.push(lost.error),
        }
    }
    Ok(Stats {
        tensors: read,
        notes,
        unreadable,
    })
}

/// The figures of the values, or those that were printed where nothing else is known.
fn summary(t: &Tensor) -> Result<Summary, ReadError> {
    let (Payload::Statistics, Some(printed)) = (&t.payload, &t.printed.stats) else {
        return summarise(t);
    };
    let value = |r: Option<Rounded>| r.map(|r| r.value);
    Ok(Summary {
        count: printed.count.unwrap_or(0),
        mean: value(printed.mean),
        std: value(printed.std),
        min: value(printed.min),
        max: value(printed.max),
        l2: value(printed.l2),
        ..Summary::default()
    })
}
