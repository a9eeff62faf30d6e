//! numpy arrays inside a pickle: their elements stand in the pickle itself.

use super::node::{Array, Node, Nodes, PickleErrorKind, Ref};
use crate::dtype::DType;
use crate::dump::formats::npy;

type Result<T> = std::result::Result<T, PickleErrorKind>;

const RECONSTRUCT: [&str; 2] = [
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
];
const FROM_BUFFER: [&str; 2] = [
    "numpy.core.numeric._frombuffer",
    "numpy._core.numeric._frombuffer",
];
const OTHERS: [&str; 3] = ["numpy.ndarray", "numpy.dtype", "_codecs.encode"];

/// Whether a pickle may refer to this name.
pub fn is_known(name: &str) -> bool {
    RECONSTRUCT.contains(&name)
        || FROM_BUFFER.contains(&name)
        || OTHERS.contains(&name)
        || element_type(name).is_some()
}

fn element_type(name: &str) -> Option<DType> {
    DType::parse(name.strip_prefix("ml_dtypes.")?)
}

/// What calling one of the functions of numpy makes; `None` for any other function.
pub fn call(nodes: &Nodes, name: &str, given: &[Ref]) -> Result<Option<Node>> {
    let argument = |i: usize| given.get(i).map(|&r| &nodes[r]);
    let made = if RECONSTRUCT.contains(&name) {
        Node::Array(None)
    } else if FROM_BUFFER.contains(&name) {
        // (bytes, dtype, shape, "C" or "F")
        let bytes = given.first().copied().ok_or_else(bad)?;
        let fortran = matches!(argument(3), Some(Node::Text(order)) if order == "F");
        Node::Array(Some(array(
            nodes,
            bytes,
            argument(1),
            argument(2),
            fortran,
        )?))
    } else if name == "numpy.dtype" {
        let (dtype, big_endian) = match argument(0) {
            Some(Node::Text(code)) => match npy::descriptor_type(code) {
                Ok((dtype, big_endian, _)) => (Some(dtype), big_endian),
                Err(_) => (None, false),
            },
            Some(Node::Global(class)) => (element_type(class), false),
            _ => (None, false),
        };
        Node::ElementType { dtype, big_endian }
    } else if name == "_codecs.encode" {
        // Protocol 2 has no bytes: they are written as text and encoded as latin-1.
        match argument(0) {
            Some(Node::Text(text)) => {
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
                Node::Bytes(bytes.ok_or_else(bad)?)
            }
            _ => return Err(bad()),
        }
    } else {
        return Ok(None);
    };
    Ok(Some(made))
}

/// Sets the state of an array, `(1, shape, dtype, fortran, bytes)`, or of an element type, `(3, "<", …)`.
pub fn set_state(nodes: &mut Nodes, object: Ref, state: Ref) -> Result<()> {
    let Node::Tuple(parts) = &nodes[state] else {
        return Ok(());
    };
    let part = |i: usize| parts.get(i).map(|&r| &nodes[r]);
    match &nodes[object] {
        Node::Array(None) => {
            let fortran = part(3) == Some(&Node::Bool(true));
            let bytes = parts.get(4).copied().ok_or_else(bad)?;
            let made = array(nodes, bytes, part(2), part(1), fortran)?;
            nodes[object] = Node::Array(Some(made));
        }
        Node::ElementType { dtype, .. } => {
            let big_endian = matches!(part(1), Some(Node::Text(order)) if order == ">");
            nodes[object] = Node::ElementType {
                dtype: *dtype,
                big_endian,
            };
        }
        _ => {}
    }
    Ok(())
}

fn array(
    nodes: &Nodes,
    bytes: Ref,
    dtype: Option<&Node>,
    shape: Option<&Node>,
    fortran: bool,
) -> Result<Array> {
    let Some(&Node::ElementType { dtype, big_endian }) = dtype else {
        return Err(bad());
    };
    let Some(Node::Tuple(axes)) = shape else {
        return Err(bad());
    };
    let shape = axes.iter().map(|&axis| match &nodes[axis] {
        Node::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    });
    Ok(Array {
        dtype,
        big_endian,
        fortran,
        shape: shape.collect::<Option<_>>().ok_or_else(bad)?,
        bytes,
    })
}

fn bad() -> PickleErrorKind {
    PickleErrorKind::Malformed("a numpy array of the pickle is not understood".into())
}
