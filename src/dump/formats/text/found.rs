//! The tensors of a log, named and in order.

use super::super::tensor;
use super::digits::Precision;
use super::nest::Fault;
use crate::dtype::DType;
use crate::dump::{Opened, Partial, Payload, Printed, PrintedStats, ReadError, TensorInfo};
use crate::note::Note;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// One tensor of a log.
#[derive(Debug)]
pub struct Entry {
    /// Which evaluation of the graph it belongs to, where the log tells them apart.
    pub evaluation: Option<usize>,
    pub name: String,
    /// What the log says about it beside the name.
    pub member: Option<String>,
    pub info: TensorInfo,
    pub payload: Payload,
    pub printed: Printed,
}

impl Entry {
    pub fn of(name: String, info: TensorInfo, partial: Partial, printed: Printed) -> Entry {
        Entry {
            evaluation: None,
            name,
            member: None,
            payload: payload(&info, partial),
            info,
            printed,
        }
    }
}

/// What a log held, in its order.
#[derive(Debug, Default)]
pub struct Found {
    pub entries: Vec<Entry>,
    pub unreadable: Vec<ReadError>,
    pub notes: Vec<Note>,
}

impl Found {
    /// A tensor of which some or all elements are known.
    pub fn push(&mut self, name: String, info: TensorInfo, partial: Partial, printed: Printed) {
        self.entries.push(Entry::of(name, info, partial, printed));
    }

    pub fn refuse(&mut self, path: &Path, line: u64, name: &str, fault: &Fault) {
        let error = ReadError::malformed(path, fault.to_string());
        self.unreadable.push(error.member(name).at_line(line));
    }

    /// Gives names that no other tensor of the log has: the second `Qcur-0` is `Qcur-0#2`; with several evaluations of
    /// the graph the first is `step0/Qcur-0`, the next `step1/Qcur-0`.
    pub fn finish(self, path: &Path, format: &'static str) -> Opened {
        let steps = self
            .entries
            .iter()
            .filter_map(|e| e.evaluation)
            .max()
            .unwrap_or(0);
        let mut times: HashMap<String, u32> = HashMap::new();
        let mut tensors = Vec::with_capacity(self.entries.len());
        for (i, e) in self.entries.into_iter().enumerate() {
            let mut name = match e.evaluation {
                Some(step) if steps > 0 => format!("step{step}/{}", e.name),
                _ => e.name,
            };
            let count = times.entry(name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                name = format!("{name}#{count}");
            }
            let mut t = tensor(path, format, name, e.info, e.payload);
            t.origin.member = e.member.or_else(|| Some(t.name.clone()));
            t.printed = e.printed;
            t.sequence = Some(i as u64);
            tensors.push(t);
        }
        Opened {
            tensors,
            unreadable: self.unreadable,
            notes: self.notes,
            ..Opened::default()
        }
    }
}

/// The payload of elements at known places: in memory when they are all there.
pub fn payload(info: &TensorInfo, partial: Partial) -> Payload {
    let all = partial.positions.len() == info.len()
        && partial.positions.iter().zip(0..).all(|(&p, i)| p == i);
    if !all {
        return Payload::Partial(Arc::new(partial));
    }
    let mut bytes = Vec::with_capacity(info.len() * info.dtype().size());
    for value in partial.values {
        info.dtype().encode(value, &mut bytes);
    }
    Payload::Memory(bytes.into())
}

/// Element type and shape of a printed tensor, or why they cannot be.
pub fn info(dtype: DType, shape: Vec<usize>) -> Result<TensorInfo, Fault> {
    TensorInfo::new(dtype, shape).map_err(|e| Fault::Shape {
        shape: e.shape,
        found: vec![],
    })
}

/// Precision and statistics of a print with aligned columns.
pub fn printed(precision: &Precision, stats: PrintedStats) -> Printed {
    let (half_unit_abs, half_unit_rel) = precision.half_units_aligned();
    Printed {
        half_unit_abs,
        half_unit_rel,
        stats: Some(Box::new(stats)).filter(|s| **s != PrintedStats::default()),
    }
}

/// Statistics of a tensor whose shape may be unknown: then the shape is `[]` and [`PrintedStats::count`] tells nothing.
pub fn statistics(
    name: String,
    shape: Option<Vec<usize>>,
    dtype: Option<DType>,
    mut stats: PrintedStats,
) -> Option<Entry> {
    let known = shape.is_some();
    let info = TensorInfo::new(dtype.unwrap_or(DType::F64), shape.unwrap_or_default()).ok()?;
    if known {
        stats.count.get_or_insert(info.len() as u64);
    }
    Some(Entry {
        evaluation: None,
        name,
        member: None,
        info,
        payload: Payload::Statistics,
        printed: Printed {
            stats: Some(Box::new(stats)),
            ..Printed::default()
        },
    })
}
