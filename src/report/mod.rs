//! The result as plain data, and the ways to write it.

mod csv;
mod html;
pub mod json;
mod junit;
mod markdown;
mod metrics;
pub mod real;
pub mod table;
mod text;

pub use metrics::Metrics;
pub use real::Real;

use crate::compare::Grade;
use crate::compare::logits::Logits;
use crate::note::{Diagnosis, Note};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{self, Write};

/// Writes a report in one format. A reporter shows; it computes nothing.
pub trait Reporter: Sync {
    fn name(&self) -> &'static str;
    /// File extensions that choose this format in `-o FILE`.
    fn extensions(&self) -> &'static [&'static str];
    fn write(&self, report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()>;
}

/// Every output format.
pub const REPORTERS: &[&dyn Reporter] = &[
    &table::Table,
    &json::Json,
    &html::Html,
    &junit::Junit,
    &markdown::Markdown,
    &csv::Csv,
];

/// The reporter that a file's extension chooses.
pub fn reporter_for(path: &std::path::Path) -> Result<&'static dyn Reporter, String> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let extension = extension.to_ascii_lowercase();
    let known = || {
        REPORTERS
            .iter()
            .flat_map(|r| r.extensions())
            .map(|e| format!(".{e}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let found = REPORTERS
        .iter()
        .find(|r| r.extensions().contains(&&*extension));
    found
        .copied()
        .ok_or_else(|| format!("the extension chooses the format; there are {}", known()))
}

/// How much to show, and how.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub all: bool,
    pub quiet: bool,
    pub color: bool,
    /// Columns.
    pub width: u16,
}

/// The result of a comparison (schema 1 of the JSON output).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub schema: u32,
    pub tool: String,
    pub reference: SideInfo,
    pub candidate: SideInfo,
    pub verdict: Outcome,
    #[serde(default)]
    pub coverage: Coverage,
    pub counts: Counts,
    pub first_divergence: Option<FirstDivergence>,
    /// Keys of the stages that diverge while everything they were computed from agrees.
    pub origins: Vec<String>,
    pub diagnosis: Vec<Diagnosis>,
    pub notes: Vec<Note>,
    pub order: String,
    pub exit_code: u8,
    /// The last entry: it is as long as the dump.
    pub tensors: Vec<Row>,
}

impl Report {
    /// Everything but the rows.
    fn without_rows(&self) -> Report {
        Report {
            schema: self.schema,
            tool: self.tool.clone(),
            reference: self.reference.clone(),
            candidate: self.candidate.clone(),
            verdict: self.verdict,
            coverage: self.coverage.clone(),
            counts: self.counts.clone(),
            first_divergence: self.first_divergence.clone(),
            origins: self.origins.clone(),
            diagnosis: self.diagnosis.clone(),
            notes: self.notes.clone(),
            order: self.order.clone(),
            exit_code: self.exit_code,
            tensors: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideInfo {
    pub path: String,
    pub tensors: usize,
    pub tag: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Agreed,
    Diverged,
    Incomplete,
    Unreadable,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub compared: usize,
    pub identical: usize,
    pub excellent: usize,
    pub good: usize,
    pub acceptable: usize,
    pub significant: usize,
    pub diverged: usize,
    pub missing_in_candidate: usize,
    pub missing_in_reference: usize,
    pub incomparable: usize,
    pub unreadable: usize,
}

/// How much of the reference was compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Elements known on both sides, and elements of the reference's tensors.
    pub compared: u64,
    pub of: u64,
    /// What had a counterpart, beside whole tensors that are missing.
    pub not_compared: Vec<NotCompared>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotCompared {
    pub what: String,
    /// How many tensors it is a part of.
    pub tensors: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstDivergence {
    pub key: String,
    pub step: Option<u32>,
    pub layer: Option<u32>,
    pub stage: Option<String>,
    pub reference: Option<String>,
    pub candidate: Option<String>,
    pub agreeing_before: Vec<String>,
    pub not_dumped_between: Vec<String>,
    pub propagates: bool,
    /// Whether the order of the pipeline is known well enough to call it the first.
    pub certain: bool,
    /// Where it may have begun as well, itself included: all that nothing known runs before.
    pub earliest: Vec<String>,
    pub worst: Option<Element>,
}

/// One element: its index in the logical shape and both values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Element {
    pub index: Vec<usize>,
    pub reference: Real,
    pub candidate: Real,
}

/// One tensor, or pair of tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub key: String,
    pub step: Option<u32>,
    pub layer: Option<u32>,
    pub stage: Option<String>,
    pub reference: Option<RowSide>,
    pub candidate: Option<RowSide>,
    pub status: Status,
    pub grade: Option<Grade>,
    pub reason: String,
    pub metrics: Metrics,
    pub compared: u64,
    pub of: u64,
    /// How tensors of unlike shapes were brought together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    pub worst: Option<Element>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<Logits>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowSide {
    pub name: String,
    pub path: String,
    pub dtype: Cow<'static, str>,
    pub shape: Vec<usize>,
    /// Of what it was made (`2 ranks, last axis`), where it was not dumped so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<String>,
    /// The coarsest type that holds the values.
    pub precision: Option<Cow<'static, str>>,
    pub stats: Option<SideStats>,
}

/// Statistics of one side over its finite values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideStats {
    pub count: u64,
    pub mean: Option<Real>,
    pub std: Option<Real>,
    pub min: Option<Real>,
    pub max: Option<Real>,
    pub rms: Option<Real>,
    pub nan: u64,
    pub inf: u64,
    pub zeros: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Identical,
    Agreed,
    Diverged,
    Incomparable,
    MissingInCandidate,
    MissingInReference,
    Unreadable,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Agreed => "AGREED",
            Outcome::Diverged => "DIVERGED",
            Outcome::Incomplete => "INCOMPLETE",
            Outcome::Unreadable => "UNREADABLE",
        }
    }
}
