//! What a pickle is made of: plain values, and what describes tensors.

use crate::dtype::DType;

/// A value's place in [`Nodes`]; sharing and cycles of the pickle are kept, and dropping never recurses.
pub type Ref = usize;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    None,
    Bool(bool),
    /// Integers beyond 64 bits saturate.
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Ref>),
    List(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// A class or function by its full name.
    Global(String),
    /// The state of an object of a TorchScript class, or of a class that holds nothing to compare.
    Object {
        class: String,
        state: Option<Ref>,
    },
    Storage(Storage),
    Tensor(Tensor),
    /// A numpy array; `None` until its state was set.
    Array(Option<Array>),
    /// A numpy dtype; `None` for one that is not read.
    ElementType {
        dtype: Option<DType>,
        big_endian: bool,
    },
    /// A tensor of a kind that is not read; the function that rebuilds it.
    Refused(String),
}

/// A buffer that tensors are views of.
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    /// The name of its record in the archive.
    pub key: String,
    /// `None` for untyped bytes.
    pub dtype: Option<DType>,
    /// In elements; in bytes where it is untyped.
    pub len: u64,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub storage: Storage,
    pub dtype: DType,
    /// In elements, like the strides.
    pub offset: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// A numpy array; `None` before its state was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub dtype: Option<DType>,
    pub big_endian: bool,
    pub fortran: bool,
    pub shape: Vec<usize>,
    /// Where the bytes are.
    pub bytes: Ref,
}

/// Why a pickle was not read.
#[derive(Debug, PartialEq)]
pub enum PickleErrorKind {
    Truncated { needs: u64, found: u64 },
    Malformed(String),
    Unsupported(String),
}

/// Every value of a pickle, by its place.
pub type Nodes = Vec<Node>;

/// Adds a value and says its place.
pub fn add(nodes: &mut Nodes, node: Node) -> Ref {
    nodes.push(node);
    nodes.len() - 1
}
