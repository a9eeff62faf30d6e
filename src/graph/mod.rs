//! The graph of a model as data: which nodes there are, what each is computed from, and how producers spell it.
//!
//! ```text
//! models/*.toml ─read─▶ Graph: nodes in pipeline order ─▶ Key (a node with its coordinates) ─▶ Flow (what was dumped around it)
//! ```

mod condition;
mod flow;
mod key;
mod model;
mod path;
mod places;
mod rows;
mod stage;
pub(crate) mod word;
mod words;

pub use condition::{Condition, Fact, Says, Term};
pub use flow::{Above, Flow};
pub use key::Key;
pub use model::{Choice, Family, Graph, Node, Spelling};
pub use path::{Path, Segment, path, push};
pub use places::{Containers, Places, Siblings, Votes, places};
pub use rows::ModelError;
pub use stage::{Stage, known};
pub use words::{Set, Words, words};

use std::sync::OnceLock;

/// A file of `models/`, as the build has written it.
macro_rules! model_text {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name, ".json"))
    };
}
use model_text;

/// The families that tdiff knows, in the order in which their nodes are read.
const MODELS: &[&str] = &[
    model_text!("decoder"),
    model_text!("moe"),
    model_text!("mla"),
    model_text!("ssm"),
    model_text!("linear"),
    model_text!("parts"),
    model_text!("cross"),
    model_text!("vision"),
    model_text!("conv"),
    model_text!("diffusion"),
    model_text!("audio"),
];

static GRAPH: OnceLock<Graph> = OnceLock::new();

/// The graph that names are read by: the families that tdiff knows, and the user's own where [`learn`] was called first.
pub fn graph() -> &'static Graph {
    GRAPH.get_or_init(|| match Graph::read(MODELS, &[]) {
        Ok(graph) => graph,
        // the files are part of the program, and a test reads them
        Err(error) => unreachable!("{error}"),
    })
}

/// Adds a user's own nodes, given as (path, text), to those that tdiff knows. The first file that is read decides for the whole
/// process: a node's place must not change under the keys that hold it.
///
/// # Errors
/// A file that is no description of nodes, with its line; a second call.
pub fn learn(files: &[(&str, &str)]) -> Result<(), ModelError> {
    let graph = Graph::read(MODELS, files)?;
    let path = files.first().map_or("", |(path, _)| path);
    GRAPH.set(graph).map_err(|_| ModelError::late(path))
}
