//! What a spelling means where that depends on what else the dump holds: conditions of `models/*.toml`.

use super::{Graph, Stage};

/// One meaning and when it holds; the first of a list that holds is the meaning.
#[derive(Clone, Debug)]
pub struct Condition {
    /// `None`: then the name is no node.
    pub stage: Option<Stage>,
    /// All must hold.
    pub when: Vec<Term>,
    /// What it adds to the cost of a reading: the cheapest of several carries the stage alone.
    pub cost: u8,
}

/// One term of a condition, as it is written in a model's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// `a|b`: some name says one of these nodes, or one of these facts holds (`@gated`).
    Any(Vec<Says>),
    /// `!a`: no name says this node.
    Not(Stage),
    /// `~words`: the name itself contains these words.
    Spelled(String),
}

/// A node that some name says, or a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Stage(Stage),
    Fact(Fact),
}

/// What the names of a dump say together about the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    Gated,
    Ungated,
    FusedGateUp,
    NormsBehind,
    PostNorm,
    Experts,
    LearnedPositions,
}

const FACTS: &[(&str, Fact)] = &[
    ("@gated", Fact::Gated),
    ("@ungated", Fact::Ungated),
    ("@fused_gate_up", Fact::FusedGateUp),
    ("@norms_behind", Fact::NormsBehind),
    ("@post_norm", Fact::PostNorm),
    ("@experts", Fact::Experts),
    ("@learned_positions", Fact::LearnedPositions),
];

impl Term {
    /// Reads a term; an error names what is not known.
    pub(super) fn read(text: &str, graph: &Graph) -> Result<Term, String> {
        if let Some(words) = text.strip_prefix('~') {
            return Ok(Term::Spelled(words.to_owned()));
        }
        let stage = |name: &str| {
            graph
                .find(name)
                .ok_or_else(|| format!("no node is called `{name}`"))
        };
        if let Some(name) = text.strip_prefix('!') {
            return Ok(Term::Not(stage(name)?));
        }
        let says = |part: &str| match FACTS.iter().find(|(name, _)| *name == part) {
            Some((_, fact)) => Ok(Says::Fact(*fact)),
            None if part.starts_with('@') => {
                let known: Vec<&str> = FACTS.iter().map(|(name, _)| *name).collect();
                Err(format!(
                    "no fact is called `{part}`; there are {}",
                    known.join(", ")
                ))
            }
            None => stage(part).map(Says::Stage),
        };
        Ok(Term::Any(
            text.split('|').map(says).collect::<Result<_, _>>()?,
        ))
    }
}
