//! The call tree of Hugging Face's `model_addition_debugger_context`: `<Class>_debug_tree_FULL_TENSORS.json` with a print of every
//! input and output, `…_SUMMARY.json` with their statistics alone.
//!
//! With `use_repr=False` the values stand in files beside the tree, which is then their order. The names are those of
//! these files: `LlamaForCausalLM.model.norm_inputs_args_0`, `LlamaForCausalLM.model.norm_outputs`.

use super::text::quoted;
use super::{any_dtype, json, tensor};
use crate::dtype::DType;
use crate::dump::{Format, Hints, Opened, Payload, Printed, PrintedStats, ReadError, TensorInfo};
use serde_json::{Map, Value};
use std::path::Path;

/// Call trees deeper than any model; each call opens two of the 128 brackets that the reader of JSON allows.
const MAX_DEPTH: usize = 60;
const FULL: &str = "_debug_tree_FULL_TENSORS.json";
const SUMMARY: &str = "_debug_tree_SUMMARY.json";

/// The debugger for people who add models to transformers.
pub struct HfDebugger;

impl Format for HfDebugger {
    fn name(&self) -> &'static str {
        "hf_debugger"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        json::keys(head).first() == Some(&"module_path")
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let json = json::read(path)?;
        let mut tree = Tree {
            path,
            opened: Opened::default(),
        };
        tree.node(&json, 0)?;
        let mut opened = tree.opened;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(class) = file.strip_suffix(FULL) {
            // The summary says nothing that is not here.
            opened
                .consumed
                .push(path.with_file_name(format!("{class}{SUMMARY}")));
            if opened.tensors.is_empty() && opened.unreadable.is_empty() {
                opened.consumed.push(path.to_path_buf());
            }
        }
        Ok(opened)
    }
}

struct Tree<'a> {
    path: &'a Path,
    opened: Opened,
}

impl Tree<'_> {
    /// A call: what went in, the calls inside it, what came out.
    fn node(&mut self, node: &Value, depth: usize) -> Result<(), ReadError> {
        let Some(module) = node.get("module_path").and_then(Value::as_str) else {
            return Err(ReadError::malformed(
                self.path,
                "a node of the call tree without `module_path`",
            ));
        };
        if depth == MAX_DEPTH {
            let fact = format!("more than {MAX_DEPTH} calls inside each other");
            return Err(ReadError::unsupported(self.path, fact));
        }
        let module = module.trim_end_matches(" (top-level)");
        if let Some(inputs) = node.get("inputs") {
            self.value(&format!("{module}_inputs"), inputs);
        }
        for child in node
            .get("children")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.node(child, depth + 1)?;
        }
        if let Some(outputs) = node.get("outputs") {
            self.value(&format!("{module}_outputs"), outputs);
        }
        Ok(())
    }

    /// A tensor, or a list or dict of them; the names are built as those of the debugger's files.
    fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.value(&format!("{name}_{i}"), item);
                }
            }
            Value::Object(fields) => match shape(fields) {
                Some(shape) => self.tensor(name, shape, fields),
                None => {
                    for (key, item) in fields {
                        self.value(&format!("{name}_{key}"), item);
                    }
                }
            },
            _ => {}
        }
    }

    fn tensor(&mut self, name: &str, shape: Vec<usize>, fields: &Map<String, Value>) {
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let dtype = text("dtype").and_then(any_dtype).map(|(dtype, _)| dtype);
        let figure = |key: &str| quoted::figure(text(key)?);
        let stats = PrintedStats {
            mean: figure("mean"),
            std: figure("std"),
            min: figure("min"),
            max: figure("max"),
            ..PrintedStats::default()
        };
        let read = match fields.get("value") {
            Some(Value::Array(lines)) => {
                let lines = lines.iter().filter_map(Value::as_str);
                quoted::tensor(lines, shape, dtype, stats)
            }
            Some(Value::String(file)) if self.beside(file) => return,
            // Integers have no statistics: such a summary says only that there was a tensor.
            None | Some(Value::String(_)) if stats == PrintedStats::default() => return,
            _ => summary(shape, dtype, stats),
        };
        match read {
            Ok((info, payload, printed)) => {
                let mut t = tensor(self.path, HfDebugger.name(), name.to_owned(), info, payload);
                t.origin.member = Some(t.name.clone());
                t.printed = printed;
                t.sequence = Some(self.opened.tensors.len() as u64);
                self.opened.tensors.push(t);
            }
            Err(fact) => self
                .opened
                .unreadable
                .push(ReadError::malformed(self.path, fact).member(name)),
        }
    }

    /// Whether the file of a value lies beside the tree.
    fn beside(&self, file: &str) -> bool {
        let inside = Path::new(file).file_name();
        inside.is_some_and(|name| self.path.with_file_name(name).is_file())
    }
}

fn summary(
    shape: Vec<usize>,
    dtype: Option<DType>,
    mut stats: PrintedStats,
) -> Result<(TensorInfo, Payload, Printed), String> {
    let info = TensorInfo::new(dtype.unwrap_or(DType::F32), shape).map_err(|e| e.to_string())?;
    stats.count = Some(info.len() as u64);
    let printed = Printed {
        stats: Some(Box::new(stats)),
        ..Printed::default()
    };
    Ok((info, Payload::Statistics, printed))
}

/// The shape of an object that describes a tensor: `"torch.Size([1, 4])"` beside a `dtype`.
fn shape(fields: &Map<String, Value>) -> Option<Vec<usize>> {
    fields.get("dtype")?.as_str()?;
    let list = fields.get("shape")?.as_str()?.strip_prefix("torch.Size(")?;
    json::shape(&serde_json::from_str(list.strip_suffix(')')?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const TREE: &str = r#"{"module_path": "M", "inputs": {"args": [{"shape": "torch.Size([2])", "dtype": "torch.int64",
        "value": ["tensor([3, 1])"]}], "kwargs": {}},
        "children": [{"module_path": "M.norm", "inputs": {"kwargs": {"hidden_states": {"shape": "torch.Size([2])",
        "dtype": "torch.float32", "value": ["tensor([1.0000e+00, 2.0000e+00])"], "mean": "tensor(1.5000e+00)",
        "std": "tensor(7.0711e-01)", "min": "tensor(1.0000e+00)", "max": "tensor(2.0000e+00)"}}},
        "outputs": [{"shape": "torch.Size([2])", "dtype": "torch.float32", "value": "./M.norm_outputs_0.safetensors",
        "mean": "tensor(1.5000e+00)", "max": "tensor(nan)"}, "None"]}], "outputs": "None"}"#;

    #[test]
    fn a_tree_is_read_in_the_order_of_the_calls() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("M_debug_tree_FULL_TENSORS.json");
        fs::write(&path, TREE).unwrap();
        assert!(HfDebugger.sniff(TREE.as_bytes(), &path));
        let found = HfDebugger.open(&path, &Hints::default()).unwrap();
        let names: Vec<&str> = found.tensors.iter().map(|t| &*t.name).collect();
        assert_eq!(
            names,
            [
                "M_inputs_args_0",
                "M.norm_inputs_kwargs_hidden_states",
                "M.norm_outputs_0"
            ]
        );
        assert_eq!(found.tensors[1].values().unwrap(), [1.0, 2.0]);
        // The file that should hold it is not there: the statistics are.
        assert!(matches!(found.tensors[2].payload, Payload::Statistics));
        fs::write(dir.path().join("M.norm_outputs_0.safetensors"), "").unwrap();
        let found = HfDebugger.open(&path, &Hints::default()).unwrap();
        assert_eq!(found.tensors.len(), 2);
    }

    #[test]
    fn a_mention_of_modules_is_no_call_tree() {
        for text in [
            r#"{"layers": [{"module_path": "model.norm"}]}"#,
            r#"{"note": "x", "module_path": "M"}"#,
        ] {
            assert!(
                !HfDebugger.sniff(text.as_bytes(), Path::new("notes.json")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tree_too_deep_is_refused_by_name() {
        let tree = |depth: usize| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("M_debug_tree_SUMMARY.json");
            let open = r#"{"module_path": "M", "children": ["#.repeat(depth);
            let inner = r#"{"module_path": "M", "outputs": {"a": [{"dtype": "torch.float32"}]}}"#;
            fs::write(&path, format!("{open}{inner}{}", "]}".repeat(depth))).unwrap();
            HfDebugger.open(&path, &Hints::default())
        };
        assert!(tree(MAX_DEPTH - 1).is_ok());
        let error = tree(MAX_DEPTH).unwrap_err().to_string();
        assert!(error.contains("more than 60 calls"), "{error}");
    }
}
