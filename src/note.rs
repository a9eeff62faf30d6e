//! What is told beside the numbers: causes of a divergence, and what is worth knowing though nothing diverges.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Something worth knowing that is no divergence: of a wrong extension, a log cut off, another layout of the same values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Stable: `tdiff explain` knows it.
    pub id: Cow<'static, str>,
    pub message: String,
    /// Names or keys of the tensors that it is about; empty for the whole dump.
    pub tensors: Vec<String>,
}

impl Note {
    /// A note about the whole dump.
    pub fn new(id: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Note {
        Note {
            id: id.into(),
            message: message.into(),
            tensors: Vec::new(),
        }
    }

    /// The same note about these tensors.
    pub fn about(self, tensors: Vec<String>) -> Note {
        Note { tensors, ..self }
    }
}

/// A cause, with the evidence for it; the most likely first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagnosis {
    pub id: String,
    pub title: String,
    pub key: String,
    /// 0 to 1.
    pub confidence: f64,
    pub evidence: Vec<String>,
    pub advice: String,
}
