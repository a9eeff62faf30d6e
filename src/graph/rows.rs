//! A model's file as it is written: its rows, what its names mean, and where it is wrong.

use super::condition::{Condition, Term};
use super::model::{Graph, Spelling};
use super::stage::Stage;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml::Spanned;

/// Why a file is no description of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    pub path: String,
    /// Counted from 1; 0 where no line is to blame.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{} line {line}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for ModelError {}

impl ModelError {
    pub(super) fn late(path: &str) -> ModelError {
        ModelError {
            path: path.to_owned(),
            line: 0,
            message: "the nodes of this process are read already".into(),
        }
    }
}

/// What each dialect writes.
type Spellings<N> = BTreeMap<N, Vec<N>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "N: Deserialize<'de> + Ord"))]
pub(super) struct FileRow<N> {
    pub family: N,
    pub about: N,
    #[serde(default = "Vec::new")]
    pub interleaved: Vec<Vec<N>>,
    #[serde(default = "Vec::new")]
    pub node: Vec<NodeRow<N>>,
    #[serde(default = "Vec::new")]
    pub choice: Vec<ChoiceRow<N>>,
    #[serde(default = "BTreeMap::new")]
    pub nothing: Spellings<N>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "N: Deserialize<'de> + Ord"))]
pub(super) struct NodeRow<N> {
    pub name: N,
    pub holds: N,
    pub operation: Option<N>,
    #[serde(default = "Vec::new")]
    pub inputs: Vec<N>,
    /// Nodes that run before it, although it is not computed from them.
    #[serde(default = "Vec::new")]
    pub after: Vec<N>,
    /// Nodes of other families that it is an input of.
    #[serde(default = "Vec::new")]
    pub feeds: Vec<N>,
    #[serde(default)]
    pub per: Per,
    #[serde(default)]
    pub optional: bool,
    pub hint: Option<N>,
    pub previous: Option<N>,
    pub last: Option<N>,
    pub cached: Option<N>,
    #[serde(default = "Vec::new")]
    pub reads: Vec<ConditionRow<N>>,
    #[serde(default = "Vec::new")]
    pub module_reads: Vec<ConditionRow<N>>,
    #[serde(default = "Vec::new")]
    pub weights: Vec<N>,
    #[serde(default = "BTreeMap::new")]
    pub names: Spellings<N>,
    #[serde(default = "BTreeMap::new")]
    pub modules: Spellings<N>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Per {
    #[default]
    Layer,
    Model,
    Block,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "N: Deserialize<'de> + Ord"))]
pub(super) struct ChoiceRow<N> {
    pub name: N,
    #[allow(dead_code)] // for readers of the file
    pub about: N,
    pub is: Vec<ConditionRow<N>>,
    pub rotated: Option<N>,
    pub names: Spellings<N>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "N: Deserialize<'de> + Ord"))]
pub(super) struct ConditionRow<N> {
    pub node: Option<N>,
    #[serde(default = "Vec::new")]
    pub when: Vec<N>,
    #[serde(default)]
    pub cost: u8,
}

/// A name in a file, and where it stands there.
pub(super) trait Name {
    fn text(&self) -> &str;
    fn place(&self) -> Option<Range<usize>>;
    /// The text for as long as the process runs: so long the graph lives.
    fn lasting(&self) -> &'static str;
}

impl Name for Spanned<String> {
    fn text(&self) -> &str {
        self.get_ref()
    }

    fn place(&self) -> Option<Range<usize>> {
        Some(self.span())
    }

    fn lasting(&self) -> &'static str {
        self.get_ref().clone().leak()
    }
}

/// In the files of the program, which a test reads: what is wrong there needs no line.
impl Name for &'static str {
    fn text(&self) -> &str {
        self
    }

    fn place(&self) -> Option<Range<usize>> {
        None
    }

    fn lasting(&self) -> &'static str {
        self
    }
}

pub(super) fn lasting<N: Name>(names: &[N]) -> Vec<&'static str> {
    names.iter().map(Name::lasting).collect()
}

/// All spellings, dialect by dialect.
pub(super) fn spellings<N: Name>(rows: &Spellings<N>) -> Vec<Spelling> {
    let all = rows.iter().flat_map(|(dialect, texts)| {
        let dialect = dialect.lasting();
        texts.iter().map(move |text| Spelling {
            dialect,
            text: text.lasting(),
        })
    });
    all.collect()
}

/// One file while it is read.
pub(super) struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    pub fn error(&self, at: Option<Range<usize>>, message: String) -> ModelError {
        let line = at.map_or(0, |at| {
            let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
            before.iter().filter(|b| **b == b'\n').count() + 1
        });
        ModelError {
            path: self.path.to_owned(),
            line,
            message,
        }
    }

    pub fn read(&self) -> Result<FileRow<Spanned<String>>, ModelError> {
        toml::from_str(self.text).map_err(|e| self.error(e.span(), e.message().replace('\n', ", ")))
    }

    pub fn stage(&self, graph: &Graph, name: &impl Name) -> Result<Stage, ModelError> {
        graph.find(name.text()).ok_or_else(|| {
            let near = graph.nearest(name.text());
            let hint = near.map_or(String::new(), |n| format!("; `{n}` is near"));
            self.error(
                name.place(),
                format!("no node is called `{}`{hint}", name.text()),
            )
        })
    }

    pub fn stages(&self, graph: &Graph, names: &[impl Name]) -> Result<Vec<Stage>, ModelError> {
        names.iter().map(|name| self.stage(graph, name)).collect()
    }

    pub fn maybe(
        &self,
        graph: &Graph,
        name: &Option<impl Name>,
    ) -> Result<Option<Stage>, ModelError> {
        name.as_ref().map(|n| self.stage(graph, n)).transpose()
    }

    pub fn conditions<N: Name>(
        &self,
        graph: &Graph,
        rows: &[ConditionRow<N>],
    ) -> Result<Vec<Condition>, ModelError> {
        let term =
            |text: &N| Term::read(text.text(), graph).map_err(|e| self.error(text.place(), e));
        let condition = |row: &ConditionRow<N>| {
            Ok(Condition {
                stage: self.maybe(graph, &row.node)?,
                when: row.when.iter().map(term).collect::<Result<_, _>>()?,
                cost: row.cost,
            })
        };
        rows.iter().map(condition).collect()
    }
}
