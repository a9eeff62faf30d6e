//! What a tensor's name says: step, rank, layer, stage.

pub mod stage;

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
