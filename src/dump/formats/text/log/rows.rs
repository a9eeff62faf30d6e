//! Numbers without brackets: C++ PyTorch's prints, rows under a heading, values behind a name, the first or last few.

use super::super::digits::Precision;
use super::super::found::{info, payload, printed};
use super::super::label::{Label, Part};
use super::super::libtorch::{Plain, Rows, Taken};
use super::super::nest::Fault;
use super::super::number::whole;
use super::super::source::words;
use super::{Context, Reader, stem};
use crate::dtype::DType;
use crate::dump::{Partial, Payload, Printed, PrintedStats};

/// Fewer values behind a name are a setting, a time or a loss.
const FEWEST: usize = 4;

impl Reader<'_> {
    /// A line of numbers; `false` for any other, which ends the rows above it.
    pub fn row(&mut self, line: &str) -> bool {
        match self.rows.line(line) {
            Taken::No(plain) => {
                if let Some(plain) = plain {
                    self.plain(plain);
                }
                return false;
            }
            Taken::Yes => return true,
            Taken::Done(p) => {
                let name = self.context.name.take().unwrap_or_else(|| stem(self.path));
                if let Ok(info) = info(p.dtype, p.shape) {
                    let (half_unit_abs, half_unit_rel) = p.half_units;
                    let printed = Printed {
                        half_unit_abs,
                        half_unit_rel,
                        stats: None,
                    };
                    self.found.push(name, info, whole_tensor(p.values), printed);
                }
            }
            Taken::Misfit { shape, found } => {
                let name = self.context.name.take().unwrap_or_else(|| stem(self.path));
                let fault = Fault::Shape {
                    shape,
                    found: vec![found],
                };
                self.found.refuse(self.path, self.number, &name, &fault);
            }
        }
        self.context = Context::default();
        true
    }

    pub fn end_rows(&mut self) {
        if let Some(plain) = std::mem::take(&mut self.rows).plain() {
            self.plain(plain);
        }
    }

    /// Rows that nothing but the line above them names.
    fn plain(&mut self, rows: Plain) {
        let Plain {
            values,
            columns,
            precision,
        } = rows;
        let Some(name) = self.context.name.take().filter(|_| values.len() >= FEWEST) else {
            return;
        };
        let context = std::mem::take(&mut self.context);
        let shown = match columns {
            1 => vec![values.len()],
            _ if columns == values.len() => vec![columns],
            _ => vec![values.len() / columns, columns],
        };
        let found = vec![values.len()];
        let fits = |shape: &Vec<usize>| shape.iter().product::<usize>() == values.len();
        match context.shape {
            Some(shape) if !fits(&shape) => {
                let fault = Fault::Shape { shape, found };
                self.found.refuse(self.path, self.number, &name, &fault);
            }
            shape => {
                let printed = printed(&precision, PrintedStats::default());
                if let Ok(info) = info(DType::F64, shape.unwrap_or(shown)) {
                    self.found.push(name, info, whole_tensor(values), printed);
                }
            }
        }
    }

    /// `q_proj: 0.5 0.25 …`, and the first row of what C++ prints behind a name: `q_proj = 0.01 *`.
    pub fn labelled_row(&mut self, line: &str) -> bool {
        let block = line.rfind("(").filter(|at| line[*at..].contains(".,."));
        let Some(sign) = line[..block.unwrap_or(line.len())].rfind([':', '=', '>']) else {
            return false;
        };
        let (before, rest) = (&line[..sign], line[sign + 1..].trim());
        let label = Label::of(before);
        let Some(name) = label.name.or_else(|| self.context.name.clone()) else {
            return false;
        };
        if label.part != Part::Whole {
            let numbers: Option<Vec<f64>> = words(rest.as_bytes()).map(whole).collect();
            let Some(values) = numbers.filter(|v| !v.is_empty()) else {
                return false;
            };
            let mut precision = Precision::default();
            words(rest.as_bytes()).for_each(|word| precision.see(word));
            let stats = printed(&precision, PrintedStats::default());
            let shape = label.shape.or_else(|| self.context.shape.clone());
            self.part(
                self.number,
                name,
                (label.part, shape),
                DType::F64,
                values,
                stats,
            );
            return true;
        }
        // Whole numbers are shapes and counts.
        let telling = rest.contains('.') || rest.ends_with(" *");
        if !telling || Rows::default().line(rest) != Taken::Yes {
            return false;
        }
        self.context = Context {
            name: Some(name),
            shape: label.shape,
            clean: false,
        };
        self.row(rest)
    }

    /// The first or last values of a tensor, or a slice of it. They have their places where the shape is known; else they are
    /// a tensor of their own.
    pub fn part(
        &mut self,
        line: u64,
        name: String,
        (part, shape): (Part, Option<Vec<usize>>),
        dtype: DType,
        values: Vec<f64>,
        printed: Printed,
    ) {
        let n = values.len() as u64;
        let Some(shape) = shape.filter(|_| part != Part::Slice) else {
            if let Ok(info) = info(dtype, vec![values.len()]) {
                self.parts.push(name.clone());
                self.found.push(name, info, whole_tensor(values), printed);
            }
            return;
        };
        let info = match info(dtype, shape) {
            Ok(info) if info.len() as u64 >= n => info,
            Ok(info) => {
                let fault = Fault::Shape {
                    shape: info.shape().to_vec(),
                    found: vec![values.len()],
                };
                return self.found.refuse(self.path, line, &name, &fault);
            }
            Err(fault) => return self.found.refuse(self.path, line, &name, &fault),
        };
        let from = match part {
            Part::Last => info.len() as u64 - n,
            _ => 0,
        };
        let mut partial = Partial {
            positions: (from..from + n).collect(),
            values,
        };
        if let Some(last) = self.found.entries.last_mut()
            && last.name == name
            && last.info == info
            && let Payload::Partial(first) = &last.payload
            && first.positions.last() < partial.positions.first()
        {
            partial
                .positions
                .splice(..0, first.positions.iter().copied());
            partial.values.splice(..0, first.values.iter().copied());
            last.payload = payload(&info, partial);
            last.printed.half_unit_abs = last.printed.half_unit_abs.max(printed.half_unit_abs);
            last.printed.half_unit_rel = last.printed.half_unit_rel.max(printed.half_unit_rel);
            return;
        }
        self.found.push(name, info, partial, printed);
    }
}

fn whole_tensor(values: Vec<f64>) -> Partial {
    Partial {
        positions: (0..values.len() as u64).collect(),
        values,
    }
}
