//! The key of a tensor: a node with its coordinates.

use super::{Stage, words};
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
            && words().parameters.iter().any(|kind| {
                let name = self.rest.strip_suffix(kind.as_str());
                name.is_some_and(|name| name.ends_with('.'))
            })
    }

    /// The stage that a parameter computes, where its name says it.
    pub fn parameter_of(&self) -> Option<Stage> {
        let (name, _) = self.rest.rsplit_once('.').filter(|_| self.is_parameter())?;
        Stage::parse(name.rsplit(' ').next()?)
    }
}
