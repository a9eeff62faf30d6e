//! What a tensor's name says: step, rank, layer, stage; which tensors of two dumps belong together, and in which order.
//!
//! ```text
//! name ─clean─▶ words, step, rank ─read─▶ layer, candidates (dialects) ─context─▶ Key ─pairing─▶ pairs ─order─▶ pipeline
//! ```

mod clean;
mod context;
mod dialects;
mod exporter;
mod layer;
mod llama_cpp;
mod matching;
mod pairing;
mod paths;
mod read;
mod rename;
mod rules;
mod sides;
mod steps;
mod tags;
mod weights;

use crate::graph::Path;
use crate::graph::word as words;
pub use crate::graph::{Flow, Key, Stage};
pub use pairing::{How, Note, Paired, Pairing, pair};
pub use rename::{Map, Side};
pub use sides::{Sides, split_sides};
pub use tags::untagged;

/// What is known of a tensor when its name is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    pub name: &'a str,
    /// `None` when unknown (headerless, statistics).
    pub shape: Option<&'a [usize]>,
    /// Position in a declared order of execution.
    pub sequence: Option<u64>,
    pub is_integer: bool,
    /// The operation that made it, where a graph log says so (`MUL_MAT`, `ROPE`, …).
    pub op: Option<&'a str>,
}

/// What the user says about names.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub ref_tag: Option<String>,
    pub cand_tag: Option<String>,
    pub maps: Vec<Map>,
    /// One stage or name per line: the pipeline order for what it names.
    pub order: Option<Vec<String>>,
}

/// What names say of the order in which their tensors were made, one entry per tensor.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The paths through the modules.
    pub paths: Vec<Path>,
    /// The number before a name, where such numbers count dumps.
    pub counters: Vec<Option<u32>>,
}

/// Reads all names of one side together: dialect, repetition and neighbours decide what a name means.
pub fn keys(entries: &[Entry<'_>]) -> (Vec<Key>, Places) {
    let names = clean::clean_all(entries.iter().map(|e| e.name));
    let tag = tags::common_tag(&tags::words_of(&names));
    let mut side = context::Names::read(entries, names, tag.as_slice());
    let facts = side.facts();
    steps::settle_steps(&mut [&mut side]);
    let keys = side.keys(&facts);
    let places = side.places(&keys);
    (keys, places)
}

#[cfg(test)]
mod tests;
