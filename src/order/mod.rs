//! The order of execution, from evidence: what the user says, what the producer wrote, the order of capture, the graph, the tree
//! of modules. The alphabet is none.

mod capture;
mod siblings;
mod sides;
mod tree;
mod user;

pub use sides::{Sequence, Slot};
pub use user::unused;

use crate::graph::{Key, Path};
use std::collections::HashSet;
use tree::Tree;
use user::by_user;

/// What the place of a tensor of one side depends on; given in file order.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub key: &'a Key,
    pub name: &'a str,
    pub path: &'a Path,
    /// Position in a declared order of execution.
    pub sequence: Option<u64>,
    /// The file that keeps the order in which tensors were written, and the position there.
    pub captured: Option<(usize, usize)>,
}

/// Where the order came from; the better evidence first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// The user's list.
    Given,
    /// A manifest, dump indices, numbers before all names.
    Manifest,
    /// The order in an archive or log.
    Capture,
    /// The nodes of the graph.
    Pipeline,
    /// The tree of dotted names: a module behind what it holds, lists by their numbers.
    Tree,
    /// Nothing says it.
    Unknown,
}

impl Basis {
    pub fn name(self) -> &'static str {
        match self {
            Basis::Given => "given",
            Basis::Manifest => "manifest",
            Basis::Capture => "capture",
            Basis::Pipeline => "pipeline",
            Basis::Tree => "tree",
            Basis::Unknown => "unknown",
        }
    }
}

/// The order of the tensors of one side.
#[derive(Debug)]
pub struct Order {
    /// Indices of the items, in order.
    pub sequence: Vec<usize>,
    pub basis: Basis,
    /// Where only names tell the order: what they leave open.
    tree: Option<Tree>,
}

impl Order {
    /// Of these items those that nothing known runs before; one alone where the order is known.
    pub fn earliest(&self, of: &HashSet<usize>) -> Vec<usize> {
        match &self.tree {
            Some(tree) => tree.earliest(of),
            None => {
                let first = self.sequence.iter().find(|i| of.contains(i));
                first.copied().into_iter().collect()
            }
        }
    }
}

/// Orders the tensors of one side by the best evidence there is.
pub fn order(items: &[Item<'_>]) -> Order {
    if !items.is_empty() && items.iter().all(|i| i.sequence.is_some()) {
        let mut sequence: Vec<usize> = (0..items.len()).collect();
        sequence.sort_by_key(|&i| (items[i].key.step, items[i].sequence));
        return Order {
            sequence,
            basis: Basis::Manifest,
            tree: None,
        };
    }
    if let Some(sequence) = capture::order(items) {
        return Order {
            sequence,
            basis: Basis::Capture,
            tree: None,
        };
    }
    let tree = Tree::new(items);
    Order {
        sequence: tree.sequence(),
        basis: tree.basis(),
        tree: Some(tree),
    }
}
