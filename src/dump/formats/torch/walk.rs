//! Collects the tensors inside nested lists and dicts, with their names.

use super::node::{Array, Node, Ref, Tensor};
use super::pickle::Machine;
use crate::note::Note;

/// Deeper nesting than any dump has.
const MAX_DEPTH: usize = 64;
/// A pickle may refer to one list many times; no more places than this are visited.
const MAX_VISITS: usize = 1 << 20;
const MAX_NAME: usize = 1 << 12;

/// What a tensor of a pickle is made of.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// Part of a storage outside the pickle.
    View(&'a Tensor),
    /// A numpy array, inside the pickle.
    Array(&'a Array),
}

/// The tensors of a pickle in its own order.
pub struct Found<'a> {
    /// A tensor of a kind that is not read gives the reason.
    pub tensors: Vec<(String, Result<Elements<'a>, String>)>,
    pub note: Option<Note>,
}

/// Names are keys joined by dots; a tensor without keys takes `stem`, the name of the file.
pub fn walk<'a>(machine: &'a Machine<'_>, root: Ref, stem: &str) -> Found<'a> {
    let mut walker = Walker {
        machine,
        found: Vec::new(),
        others: Vec::new(),
        visits: 0,
        cut: false,
    };
    let start = unwrap_value(machine, root);
    match machine.node(start) {
        Node::Tuple(items) | Node::List(items) if items.len() == 1 => {
            walker.visit(items[0], stem, 0);
        }
        Node::Dict(_) | Node::Object { .. } => walker.visit(start, "", 0),
        _ => walker.visit(start, stem, 0),
    }
    // `torch::save(tensor)` in C++ makes a module with the single attribute "0".
    if let ([(name, _)], Node::Object { .. }) = (&mut walker.found[..], machine.node(start))
        && name == "0"
    {
        *name = stem.to_string();
    }
    let mut facts = Vec::new();
    if !walker.others.is_empty() {
        facts.push(format!(
            "{} entries are no tensors: {}",
            walker.others.len(),
            shortened(&walker.others)
        ));
    }
    if walker.cut {
        facts.push(format!(
            "entries nested deeper than {MAX_DEPTH} or beyond the first {MAX_VISITS} are left out"
        ));
    }
    Found {
        tensors: walker.found,
        note: (!facts.is_empty())
            .then(|| Note::new("other_members", format!("{stem}: {}", facts.join("; ")))),
    }
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(", …");
    }
    text
}

/// SGLang's dumper wraps a tensor as `{"value": tensor, "meta": {…}}`.
fn unwrap_value(machine: &Machine<'_>, root: Ref) -> Ref {
    if let Node::Dict(items) = machine.node(root) {
        let get = |key: &str| {
            items
                .iter()
                .find(|(k, _)| matches!(machine.node(*k), Node::Text(t) if t == key))
                .map(|&(_, value)| value)
        };
        if let (Some(value), Some(meta)) = (get("value"), get("meta"))
            && matches!(machine.node(meta), Node::Dict(_) | Node::None)
        {
            return value;
        }
    }
    root
}

struct Walker<'a, 'b> {
    machine: &'a Machine<'b>,
    found: Vec<(String, Result<Elements<'a>, String>)>,
    others: Vec<String>,
    visits: usize,
    cut: bool,
}

impl Walker<'_, '_> {
    fn visit(&mut self, value: Ref, name: &str, depth: usize) {
        self.visits += 1;
        if depth > MAX_DEPTH || self.visits > MAX_VISITS || name.len() > MAX_NAME {
            self.cut = true;
            return;
        }
        let join = |key: &str| match name {
            "" => key.to_string(),
            _ => format!("{name}.{key}"),
        };
        match self.machine.node(value) {
            Node::Tensor(tensor) => self
                .found
                .push((name.to_string(), Ok(Elements::View(tensor)))),
            Node::Array(Some(array)) => {
                self.found
                    .push((name.to_string(), Ok(Elements::Array(array))));
            }
            Node::Refused(kind) => self.found.push((
                name.to_string(),
                Err(format!(
                    "{kind} is not read; save it as a dense float tensor"
                )),
            )),
            Node::Tuple(items) | Node::List(items) => {
                for (i, &item) in items.iter().enumerate() {
                    self.visit(item, &join(&i.to_string()), depth + 1);
                }
            }
            Node::Dict(items) => {
                for &(key, item) in items {
                    let key = match self.machine.node(key) {
                        Node::Text(text) => text.clone(),
                        Node::Int(number) => number.to_string(),
                        Node::Bool(flag) => flag.to_string(),
                        Node::Float(number) => number.to_string(),
                        Node::Tuple(parts) => parts
                            .iter()
                            .map(|&part| match self.machine.node(part) {
                                Node::Text(text) => text.clone(),
                                Node::Int(number) => number.to_string(),
                                _ => "_".into(),
                            })
                            .collect::<Vec<_>>()
                            .join("."),
                        _ => "_".into(),
                    };
                    self.visit(item, &join(&key), depth + 1);
                }
            }
            Node::Object {
                state: Some(state), ..
            } => self.visit(*state, name, depth + 1),
            Node::None | Node::Global(_) | Node::Array(None) | Node::ElementType { .. } => {}
            Node::Storage(_)
            | Node::Object { .. }
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::Bytes(_) => {
                self.others.push(name.to_string());
            }
        }
    }
}
