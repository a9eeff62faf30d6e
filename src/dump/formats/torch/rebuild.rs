//! What the names in a torch pickle mean: storages, tensors, containers.

use super::arrays;
use super::node::{Node, Nodes, PickleErrorKind, Ref, Storage, Tensor, add};
use crate::dtype::DType;

type Result<T> = std::result::Result<T, PickleErrorKind>;

/// Containers and types that hold nothing to compare; they are never built, only passed over.
const INERT: &[&str] = &[
    "argparse.Namespace",
    "builtins.complex",
    "builtins.slice",
    "builtins.range",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "torch.device",
    "torch.layout",
    "torch.memory_format",
    "torch.serialization._get_layout",
    "torch.Tensor",
    "torch._C._TensorBase",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
    "torch.nn.Parameter",
    "types.SimpleNamespace",
];

const LISTS: &[&str] = &[
    "builtins.set",
    "builtins.frozenset",
    "builtins.list",
    "builtins.tuple",
    "__builtin__.set",
    "__builtin__.frozenset",
    "collections.deque",
    "torch.Size",
];

const DICTS: &[&str] = &[
    "builtins.dict",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
];

/// Functions that hand on their first argument.
const HANDED_ON: &[&str] = &[
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.jit._pickle.build_boollist",
    "torch.jit._pickle.build_doublelist",
    "torch.jit._pickle.build_intlist",
    "torch.jit._pickle.build_tensorlist",
    "torch.jit._pickle.restore_type_tag",
];

const REBUILD_FROM_TYPE: &str = "torch._tensor._rebuild_from_type_v2";

/// Whether a pickle may refer to this class or function.
pub fn is_known(name: &str) -> bool {
    INERT.contains(&name)
        || arrays::is_known(name)
        || LISTS.contains(&name)
        || DICTS.contains(&name)
        || HANDED_ON.contains(&name)
        || name == REBUILD_FROM_TYPE
        || name.starts_with("torch._utils._rebuild_")
        // Classes of TorchScript and of the C++ API: only their state is looked at.
        || name.starts_with("__torch__.")
        || storage_type(name).is_some()
        || torch_dtype(name).is_some()
        || is_unread_dtype(name)
}

/// The element type of a storage class; `Some(None)` for untyped bytes.
fn storage_type(global: &str) -> Option<Option<DType>> {
    let class = match global.strip_prefix("torch.") {
        Some(rest) => rest.strip_prefix("storage.").unwrap_or(rest),
        None => return None,
    };
    let class = class.strip_prefix("cuda.").unwrap_or(class);
    Some(match class {
        "UntypedStorage" | "_UntypedStorage" => None,
        "DoubleStorage" => Some(DType::F64),
        "FloatStorage" => Some(DType::F32),
        "HalfStorage" => Some(DType::F16),
        "BFloat16Storage" => Some(DType::BF16),
        "LongStorage" => Some(DType::I64),
        "IntStorage" => Some(DType::I32),
        "ShortStorage" => Some(DType::I16),
        "CharStorage" => Some(DType::I8),
        "ByteStorage" => Some(DType::U8),
        "BoolStorage" => Some(DType::Bool),
        // Understood, so that the tensor can be refused by name.
        "ComplexFloatStorage"
        | "ComplexDoubleStorage"
        | "QInt8Storage"
        | "QUInt8Storage"
        | "QInt32Storage" => None,
        _ => return None,
    })
}

fn torch_dtype(global: &str) -> Option<DType> {
    let name = global.strip_prefix("torch.")?;
    (!name.contains('.')).then(|| DType::parse(name)).flatten()
}

fn is_unread_dtype(global: &str) -> bool {
    let name = global.strip_prefix("torch.").unwrap_or_default();
    [
        "complex",
        "qint",
        "quint",
        "float8_",
        "float4_",
        "bits",
        "int1",
        "int2",
        "int4",
        "uint",
        "strided",
        "sparse_",
        "contiguous_format",
        "preserve_format",
        "channels_last",
    ]
    .iter()
    .any(|p| name.starts_with(p))
        && !name.contains('.')
}

/// The storage that a persistent id names: `("storage", class, key, device, elements)`.
pub fn storage(nodes: &Nodes, id: Ref) -> Result<Storage> {
    let bad = || PickleErrorKind::Malformed("the id of a storage is not understood".into());
    let Node::Tuple(parts) = &nodes[id] else {
        return Err(bad());
    };
    let part = |i: usize| parts.get(i).map(|&r| &nodes[r]);
    match (part(0), part(1), part(2), part(4)) {
        (
            Some(Node::Text(kind)),
            Some(Node::Global(class)),
            Some(Node::Text(key)),
            Some(&Node::Int(len)),
        ) if kind == "storage" => {
            if matches!(part(5), Some(Node::Tuple(_))) {
                return Err(PickleErrorKind::Unsupported(
                    "a storage that is a view of another one (torch before 0.4); save it again"
                        .into(),
                ));
            }
            Ok(Storage {
                key: key.clone(),
                dtype: storage_type(class).ok_or_else(bad)?,
                len: u64::try_from(len).map_err(|_| bad())?,
            })
        }
        _ => Err(bad()),
    }
}

/// What calling `function` with `arguments` makes.
pub fn call(nodes: &mut Nodes, function: Ref, arguments: Ref) -> Result<Ref> {
    let Node::Global(name) = &nodes[function] else {
        return Err(PickleErrorKind::Malformed(
            "the pickle calls what is no function".into(),
        ));
    };
    let Node::Tuple(given) = &nodes[arguments] else {
        return Err(PickleErrorKind::Malformed(format!(
            "`{name}` is called without a list of arguments"
        )));
    };
    let name = name.clone();
    let first = given.first().copied();
    if let Some(made) = arrays::call(nodes, &name, given)? {
        return Ok(add(nodes, made));
    }
    let made = match &*name {
        REBUILD_FROM_TYPE => {
            let (Some(&inner), Some(&arguments)) = (given.first(), given.get(2)) else {
                return Err(arity(&name));
            };
            if matches!(&nodes[inner], Node::Global(n) if n == REBUILD_FROM_TYPE) {
                return Err(arity(&name));
            }
            return call(nodes, inner, arguments);
        }
        _ if HANDED_ON.contains(&&*name) => return first.ok_or_else(|| arity(&name)),
        _ if name.starts_with("torch._utils._rebuild_tensor") => {
            tensor(nodes, &name, &given.clone())?
        }
        _ if name.starts_with("torch._utils._rebuild_") => Node::Refused(name),
        _ if LISTS.contains(&&*name) => match first.map(|r| &nodes[r]) {
            Some(Node::List(items) | Node::Tuple(items)) => Node::List(items.clone()),
            _ => Node::List(Vec::new()),
        },
        _ if DICTS.contains(&&*name) => Node::Dict(match first.map(|r| &nodes[r]) {
            Some(Node::Dict(items)) => items.clone(),
            Some(Node::List(items)) => items
                .iter()
                .filter_map(|&pair| match &nodes[pair] {
                    Node::Tuple(kv) | Node::List(kv) if kv.len() == 2 => Some((kv[0], kv[1])),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }),
        _ => Node::Object {
            class: name,
            state: None,
        },
    };
    Ok(add(nodes, made))
}

/// Gives an object its state, as `BUILD` asks; only TorchScript objects keep it.
pub fn set_state(nodes: &mut Nodes, object: Ref, new: Ref) -> Result<()> {
    if let Node::Object { class, state } = &mut nodes[object]
        && class.starts_with("__torch__.")
    {
        *state = Some(new);
        return Ok(());
    }
    arrays::set_state(nodes, object, new)
}

fn arity(name: &str) -> PickleErrorKind {
    PickleErrorKind::Malformed(format!("`{name}` is called with too few arguments"))
}

/// `_rebuild_tensor(storage, offset, shape, strides)`, `_v2(…, requires_grad, hooks, metadata)`,
/// `_v3(…, requires_grad, hooks, dtype, metadata)`.
fn tensor(nodes: &Nodes, name: &str, given: &[Ref]) -> Result<Node> {
    let bad =
        |what: &str| PickleErrorKind::Malformed(format!("{what} of a tensor is not understood"));
    let argument = |i: usize| given.get(i).map(|&r| &nodes[r]);
    let Some(Node::Storage(storage)) = argument(0) else {
        return Err(bad("the storage"));
    };
    let dtype = match argument(6) {
        Some(Node::Global(dtype)) if name.ends_with("_v3") => match torch_dtype(dtype) {
            Some(dtype) => Some(dtype),
            None => return Ok(Node::Refused(dtype.clone())),
        },
        _ => storage.dtype,
    };
    let Some(dtype) = dtype else {
        return Ok(Node::Refused(
            "a storage of complex or quantised numbers".into(),
        ));
    };
    let metadata = argument(if name.ends_with("_v3") { 7 } else { 6 });
    if let Some(Node::Dict(flags)) = metadata
        && flags
            .iter()
            .any(|&(_, flag)| nodes[flag] == Node::Bool(true))
    {
        return Ok(Node::Refused("a lazily negated or conjugated view".into()));
    }
    let whole = |node: &Node| match node {
        Node::Int(v) => usize::try_from(*v).ok(),
        _ => None,
    };
    let list = |node: Option<&Node>| -> Option<Vec<usize>> {
        match node? {
            Node::Tuple(items) | Node::List(items) => {
                items.iter().map(|&r| whole(&nodes[r])).collect()
            }
            _ => None,
        }
    };
    let offset = argument(1)
        .and_then(whole)
        .ok_or_else(|| bad("the offset"))? as u64;
    let shape = list(argument(2)).ok_or_else(|| bad("the shape"))?;
    let strides = list(argument(3)).ok_or_else(|| bad("the strides"))?;
    if strides.len() != shape.len() {
        return Err(bad("the number of strides"));
    }
    Ok(Node::Tensor(Tensor {
        storage: storage.clone(),
        dtype,
        offset,
        shape,
        strides,
    }))
}
