//! What a tensor's name says: step, rank, layer, stage; which tensors of two dumps belong together, and in which order.
//!
//! ```text
//! name ─clean─▶ words, step, rank ─read─▶ layer, candidates (dialects) ─context─▶ Key ─pairing─▶ pairs ─order─▶ pipeline
//! ```

mod clean;
mod context;
mod dialects;
mod exporter;
pub mod flow;
mod graph;
mod layer;
mod matching;
mod order;
mod pairing;
mod read;
mod rename;
mod rules;
mod sides;
pub mod stage;
mod steps;
mod tags;
mod weights;
mod words;

pub use flow::Flow;
pub use order::{Item, OrderBasis, order, unused};
pub use pairing::{How, Note, Paired, Pairing, pair};
pub use rename::{Map, Side};
pub use sides::{Sides, split_sides};
pub use stage::Stage;

use std::fmt;

/// The canonical key of a tensor, `[stepN/][rankN/][layers.I.]STAGE`, or its cleaned name where no stage is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Key {
    pub step: Option<u32>,
    pub rank: Option<u32>,
    pub layer: Option<u32>,
    pub stage: Option<Stage>,
    /// What the stage does not say: the cleaned name when `stage` is `None`, else a qualifier that sets two tensors of
    /// one stage apart (empty for the canonical one).
    pub rest: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.step {
            write!(f, "step{step}/")?;
        }
        if let Some(rank) = self.rank {
            write!(f, "rank{rank}/")?;
        }
        if let Some(layer) = self.layer {
            write!(f, "layers.{layer}.")?;
        }
        match self.stage {
            Some(stage) => write!(f, "{stage}")?,
            None => return f.write_str(&self.rest),
        }
        if !self.rest.is_empty() {
            write!(f, "#{}", self.rest)?;
        }
        Ok(())
    }
}

impl Key {
    /// A weight or bias, named by what it computes; the data flow of a pass does not go through it.
    pub fn is_parameter(&self) -> bool {
        self.stage.is_none()
            && weights::KINDS.iter().any(|kind| {
                let name = self.rest.strip_suffix(kind);
                name.is_some_and(|name| name.ends_with('.'))
            })
    }

    /// The stage that a parameter computes, where its name says it.
    pub fn parameter_of(&self) -> Option<Stage> {
        let (name, _) = self.rest.rsplit_once('.').filter(|_| self.is_parameter())?;
        let name = name.rsplit(' ').next()?;
        let row = stage::STAGES.iter().find(|row| row.name == name)?;
        Some(row.stage)
    }
}

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

/// Reads all names of one side together: dialect, repetition and neighbours decide what a name means.
pub fn keys(entries: &[Entry<'_>]) -> Vec<Key> {
    let mut names: Vec<_> = entries.iter().map(|e| clean::clean(e.name)).collect();
    exporter::settle(&mut names);
    let tag = tags::common_tag(&tags::words_of(&names));
    let mut side = context::Names::read(entries, names, tag.as_slice());
    let facts = side.facts();
    steps::settle_steps(&mut [&mut side]);
    side.keys(&facts)
}

#[cfg(test)]
mod tests;
