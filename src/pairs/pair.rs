//! One place in the pipeline with both sides' tensors, and what the comparison gave.

use crate::align::{Composition, LeftOut, Why};
use crate::causes;
use crate::compare::PairStats;
use crate::compare::logits::Logits;
use crate::dump::{Payload, PrintedStats, ReadError, ReadErrorKind, Tensor};
use crate::name::{How, Key};
use std::ops::Range;
use std::sync::Arc;

/// One place in the pipeline, with what each side has there.
#[derive(Debug)]
pub struct Pair {
    pub key: Key,
    /// What made it a pair.
    pub how: Option<How>,
    /// As dumped.
    pub reference: Option<Arc<Tensor>>,
    pub candidate: Option<Arc<Tensor>>,
    /// Of what each side's tensor was made, where it was not dumped so.
    pub made: [Option<Made>; 2],
    /// Both sides as views of one logical shape, where that is possible.
    pub aligned: Option<(Arc<Tensor>, Arc<Tensor>)>,
    /// Where these views lie in the tensors, unless they are one.
    pub views: Option<Composition>,
    /// How the sides were brought together, in words.
    pub layout: Option<String>,
    /// What the views leave out of the reference and of the candidate, and why.
    pub left_out: [LeftOut; 2],
    pub outcome: Outcome,
    /// For logits: what the distributions say.
    pub logits: Option<Logits>,
}

/// A tensor made of others.
#[derive(Clone, Debug)]
pub struct Made {
    pub tensor: Arc<Tensor>,
    /// Of what, for people (`2 ranks, last axis`); empty for a tensor as it was dumped.
    pub how: String,
    /// What lies side by side in it, each with its bounds along every axis.
    pub parts: Vec<Part>,
}

/// A part of a tensor that was made of several.
#[derive(Clone, Debug)]
pub struct Part {
    pub rank: Option<u32>,
    pub tensor: Arc<Tensor>,
    pub bounds: Vec<Range<usize>>,
}

impl Made {
    pub fn new(tensor: Tensor, how: String) -> Made {
        Made {
            tensor: Arc::new(tensor),
            how,
            parts: Vec::new(),
        }
    }

    /// A tensor as it was dumped.
    pub fn dumped(tensor: Arc<Tensor>) -> Made {
        Made {
            tensor,
            how: String::new(),
            parts: Vec::new(),
        }
    }
}

/// What the comparison gave.
#[derive(Debug)]
pub enum Outcome {
    Compared(Box<PairStats>),
    /// At least one side is known by printed statistics only.
    Statistics(Box<[PrintedStats; 2]>),
    Incomparable(String),
    Unreadable(Lost),
    MissingInCandidate,
    MissingInReference,
    /// Not compared yet.
    Pending,
}

/// A tensor that cannot be read: the id of the cause, and the error in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub id: &'static str,
    pub error: String,
}

impl From<&ReadError> for Lost {
    fn from(error: &ReadError) -> Self {
        let truncated = matches!(error.kind, ReadErrorKind::Truncated { .. });
        Lost {
            id: if truncated {
                causes::TRUNCATED_FILE.id
            } else {
                causes::UNREADABLE_FILE.id
            },
            error: error.to_string(),
        }
    }
}

impl Pair {
    /// What stands at one place of the dumps, not compared yet.
    pub fn new(key: Key, reference: Option<Arc<Tensor>>, candidate: Option<Arc<Tensor>>) -> Pair {
        let outcome = match (&reference, &candidate) {
            (_, None) => Outcome::MissingInCandidate,
            (None, _) => Outcome::MissingInReference,
            _ => Outcome::Pending,
        };
        Pair {
            key,
            how: None,
            reference,
            candidate,
            made: Default::default(),
            aligned: None,
            views: None,
            layout: None,
            left_out: Default::default(),
            outcome,
            logits: None,
        }
    }

    pub fn stats(&self) -> Option<&PairStats> {
        match &self.outcome {
            Outcome::Compared(stats) => Some(stats),
            _ => None,
        }
    }

    /// Elements that were compared, and those of the reference's tensor: it may have been cut to what both sides hold.
    pub fn known(&self) -> (u64, u64) {
        let compared = self.stats().map_or(0, |s| s.reference.count);
        let of = self.aligned.as_ref().map_or(0, |(r, _)| {
            let dumped = self.reference.as_ref();
            dumped.map_or(0, |t| t.info.len()).max(r.info.len())
        });
        (compared, of as u64)
    }

    /// Elements of the reference and of the candidate that were not compared although nothing says that they have no
    /// counterpart: no proved padding, not the other prompts of a batch, not all but the last token.
    pub fn not_compared(&self) -> [u64; 2] {
        let cut = |l: LeftOut| if l.why == Why::Cut { l.elements } else { 0 };
        self.left_out.map(cut)
    }

    /// Key, stage and names: what globs may match.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.key.to_string()];
        names.extend(self.key.stage.map(|s| s.to_string()));
        names.extend(
            [&self.reference, &self.candidate]
                .into_iter()
                .flatten()
                .map(|t| t.name.clone()),
        );
        names
    }

    /// Whether only some elements of a side are known.
    pub fn is_partial(&self) -> bool {
        let partial = |t: &Tensor| matches!(t.payload, Payload::Partial(_));
        let sides = self.aligned.as_ref();
        sides.is_some_and(|(r, c)| partial(r) || partial(c))
    }

    /// Bytes to read.
    pub fn bytes(&self) -> u64 {
        self.aligned
            .as_ref()
            .map_or(0, |(r, c)| r.info.byte_extent() + c.info.byte_extent())
    }
}
