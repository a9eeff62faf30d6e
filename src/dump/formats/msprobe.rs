//! `dump.json` of msprobe (MindStudio): per module and API the statistics of what went in and came out, in order of execution.
//!
//! Beside tensor files it is their manifest; a run with the task `statistics` writes nothing else. The names are those
//! of the files: `Module.model.norm.LlamaRMSNorm.forward.0.output.0`.

use super::{any_dtype, json, tensor};
use crate::dump::{
    Format, Hints, Opened, Payload, PrintedStats, ReadError, Rounded, Tensor, TensorInfo,
};
use crate::note::Note;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// The statistics that msprobe writes.
pub struct Msprobe;

impl Format for Msprobe {
    fn name(&self) -> &'static str {
        "msprobe"
    }

    fn sniff(&self, head: &[u8], _path: &Path) -> bool {
        let keys = json::keys(head);
        keys.contains(&"dump_data_dir") && (keys.contains(&"data") || keys.contains(&"task"))
    }

    fn open(&self, path: &Path, _hints: &Hints) -> Result<Opened, ReadError> {
        let json = json::read(path)?;
        let Some(data) = json.get("data").and_then(Value::as_object) else {
            return Err(ReadError::malformed(
                path,
                "no object `data` in msprobe's dump",
            ));
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut found = Found {
            path,
            files: files(folder),
            opened: Opened::default(),
            checksums: Vec::new(),
        };
        for (call, sides) in data {
            // The arguments go in before the results come out.
            for (side, name) in [
                ("input_args", "input"),
                ("input", "input"),
                ("input_kwargs", "input"),
                ("parameters", "parameters"),
                ("output", "output"),
                ("parameters_grad", "parameters_grad"),
            ] {
                if let Some(value) = sides.get(side) {
                    found.value(&format!("{call}.{name}"), value);
                }
            }
        }
        Ok(found.finish())
    }
}

/// What is found on the way through the calls.
struct Found<'a> {
    path: &'a Path,
    /// Stems of the tensor files beside the statistics.
    files: BTreeSet<String>,
    opened: Opened,
    /// Entries with a checksum instead of statistics.
    checksums: Vec<String>,
}

impl Found<'_> {
    /// A tensor, or a list or dict of them.
    fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.value(&format!("{name}.{i}"), item);
                }
            }
            Value::Object(fields) if fields.get("shape").is_some_and(Value::is_array) => {
                self.tensor(name, fields);
            }
            Value::Object(fields) if !fields.contains_key("type") => {
                for (key, item) in fields {
                    self.value(&format!("{name}.{key}"), item);
                }
            }
            _ => {}
        }
    }

    fn tensor(&mut self, name: &str, fields: &Map<String, Value>) {
        let file = fields.get("data_name").and_then(Value::as_str);
        let name = file.map_or_else(|| name.to_owned(), |file| super::stem(Path::new(file)));
        // A file says more than its statistics.
        if self.files.contains(&name) {
            return;
        }
        match self.statistics(&name, fields) {
            Ok(Some(tensor)) => self.opened.tensors.push(tensor),
            Ok(None) => self.checksums.push(name),
            Err(fact) => self
                .opened
                .unreadable
                .push(ReadError::malformed(self.path, fact).member(name)),
        }
    }

    /// `None` where there is no statistic at all.
    fn statistics(
        &self,
        name: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Tensor>, String> {
        let shape = fields.get("shape").and_then(json::shape);
        let shape = shape.ok_or("a shape that is no list of whole numbers")?;
        let dtype = fields.get("dtype").and_then(Value::as_str).unwrap_or("");
        let (dtype, _) = any_dtype(dtype)
            .ok_or_else(|| format!("an element type `{dtype}`, which is not known"))?;
        let info = TensorInfo::new(dtype, shape).map_err(|e| e.to_string())?;
        let of = |key: &str| fields.get(key).and_then(figure);
        let stats = PrintedStats {
            count: Some(info.len() as u64),
            mean: of("Mean"),
            min: of("Min"),
            max: of("Max"),
            l2: of("Norm"),
            ..PrintedStats::default()
        };
        if stats.mean.is_none() && stats.max.is_none() && stats.l2.is_none() && !info.is_empty() {
            return Ok(None);
        }
        let mut t = tensor(
            self.path,
            Msprobe.name(),
            name.to_owned(),
            info,
            Payload::Statistics,
        );
        t.origin.member = Some(t.name.clone());
        t.printed.stats = Some(Box::new(stats));
        t.sequence = Some(self.opened.tensors.len() as u64);
        Ok(Some(t))
    }

    fn finish(mut self) -> Opened {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        // The call stacks and the tree of modules are msprobe's own.
        for own in ["stack.json", "construct.json"] {
            self.opened.consumed.push(folder.join(own));
        }
        let nothing = self.opened.tensors.is_empty() && self.opened.unreadable.is_empty();
        if nothing && self.checksums.is_empty() {
            self.opened.consumed.push(self.path.to_path_buf());
        }
        if !self.checksums.is_empty() {
            self.opened.notes.push(Note::new("no_statistics", format!(
                    "{}: {} tensors have a checksum and no statistics, which tells nothing of a difference; dump them \
                     with summary_mode `statistics` or the task `tensor`",
                    self.path.display(),
                    self.checksums.len()
                )).about(self.checksums));
        }
        self.opened
    }
}

/// The stems of the tensor files that msprobe writes beside `dump.json`.
fn files(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("dump_tensor_data")) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|e| Some(super::stem(&e.ok()?.path())))
        .collect()
}

/// A number of full precision; true and false count as 1 and 0.
fn figure(value: &Value) -> Option<Rounded> {
    let value = match value {
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::String(text) => text.parse().ok()?,
        other => other.as_f64()?,
    };
    Some(Rounded {
        value,
        half_unit: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn opened(data: &str) -> Opened {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.json");
        let text = format!(r#"{{"task": "statistics", "dump_data_dir": null, "data": {data}}}"#);
        fs::write(&path, &text).unwrap();
        assert!(Msprobe.sniff(text.as_bytes(), &path));
        Msprobe.open(&path, &Hints::default()).unwrap()
    }

    #[test]
    fn arguments_come_before_results_and_not_a_number_is_kept() {
        let tensor = |more: &str| {
            format!(
                r#"{{"type": "torch.Tensor", "dtype": "torch.bfloat16", "shape": [1, 2], {more}}}"#
            )
        };
        let found = opened(&format!(
            r#"{{"Module.a.B.forward.0": {{"input_args": [{}], "input_kwargs": {{"mask": {}, "n": {{"type": "int", "value": 3}}}},
                 "output": [[{}]]}}}}"#,
            tensor(r#""Max": 2, "Min": -1, "Mean": 0.5, "Norm": 2.2"#),
            tensor(r#""Max": true, "Min": false, "Mean": null, "Norm": null"#),
            tensor(r#""Max": NaN, "Min": NaN, "Mean": NaN, "Norm": NaN"#),
        ));
        let names: Vec<&str> = found.tensors.iter().map(|t| &*t.name).collect();
        assert_eq!(
            names,
            [
                "Module.a.B.forward.0.input.0",
                "Module.a.B.forward.0.input.mask",
                "Module.a.B.forward.0.output.0.0"
            ]
        );
        let max = |i: usize| {
            found.tensors[i]
                .printed
                .stats
                .as_ref()
                .unwrap()
                .max
                .unwrap()
                .value
        };
        assert_eq!((max(0), max(1)), (2.0, 1.0));
        assert!(max(2).is_nan());
    }

    #[test]
    fn a_mention_of_the_folder_is_no_dump() {
        for text in [
            r#"{"dump_data_dir": "/tmp/dump", "model": "llama"}"#,
            r#"{"config": {"dump_data_dir": null, "data": {}}, "task": "tensor"}"#,
        ] {
            assert!(
                !Msprobe.sniff(text.as_bytes(), Path::new("dump.json")),
                "{text}"
            );
        }
    }

    #[test]
    fn checksums_alone_are_said() {
        let found = opened(
            r#"{"Functional.relu.0.forward": {"output": [{"type": "torch.Tensor", "dtype": "torch.float32",
                "shape": [2], "md5": "1c2d"}]}}"#,
        );
        assert!(found.tensors.is_empty());
        assert_eq!(found.notes[0].id, "no_statistics");
    }

    #[test]
    fn a_shape_that_cannot_be_is_refused() {
        let found = opened(
            r#"{"Module.a.B.forward.0": {"output": [{"type": "torch.Tensor", "dtype": "torch.float32",
                "shape": [-2], "Max": 1}]}}"#,
        );
        assert!(found.unreadable[0].to_string().contains("shape"));
    }
}
