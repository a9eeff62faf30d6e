//! Tensors printed in brackets, over several lines, several in one line, or a part of one.

use super::super::found::{info, printed};
use super::super::header::Header;
use super::super::label::{self, Label, Part};
use super::super::libtorch;
use super::super::nest::Fault;
use super::super::print::{self, Print, Style, Taken};
use super::{Context, Reader, stem};
use crate::dump::PrintedStats;

/// A printed tensor whose lines are arriving, or whose shape may stand in the next line.
pub struct Pending {
    line: u64,
    label: Label,
    print: Print,
    /// The tensor may be all that the file holds.
    alone: bool,
    /// What stands before the print in its first line: a logger may write it before each.
    before: String,
}

impl Reader<'_> {
    pub fn start_print(&mut self, line: &str, ended: bool) -> bool {
        let Some((style, before, at)) = print::start(line) else {
            return false;
        };
        // The end of a C++ print has brackets too.
        if libtorch::trailer(line.trim()).is_some() {
            return false;
        }
        let mut label = Label::of(before);
        let mut print = Print::new(style);
        let alone = label.name.is_none() && self.context.clean;
        // The shape above is that of the tensor named with it.
        if label.name.is_none() || self.context.name.is_none() || label.name == self.context.name {
            label.shape = label.shape.or_else(|| self.context.shape.clone());
            label.name = label.name.or_else(|| self.context.name.clone());
        }
        if label.name.is_none() && !alone && style == Style::Bare {
            return false;
        }
        if label.part == Part::Whole {
            print.shape = label.shape.clone();
        }
        match print.line(&line[at..], ended) {
            Taken::Never => return false,
            Taken::Fault(fault) if label.name.is_some() || alone => {
                let name = label.name.unwrap_or_else(|| stem(self.path));
                self.found.refuse(self.path, self.number, &name, &fault);
                self.context = Context::default();
            }
            Taken::Fault(_) => return false,
            Taken::More | Taken::Done => {
                self.end_print();
                // The last values of the same tensor may follow.
                if label.part == Part::Whole {
                    self.context = Context::default();
                }
                self.context.clean = false;
                let behind = print.behind;
                self.print = Some(Pending {
                    line: self.number,
                    label,
                    print,
                    alone,
                    before: before.to_owned(),
                });
                self.behind_print(&line[line.len() - behind..], ended);
            }
        }
        true
    }

    /// What stands behind a print in its last line: its shape, or the next print.
    fn behind_print(&mut self, rest: &str, ended: bool) {
        let Some(pending) = &mut self.print else {
            return;
        };
        let mut header = Header::default();
        if print::start(rest).is_some() {
            self.start_print(rest, ended);
        } else if pending.print.shape.is_none() && header.read(rest.as_bytes()) {
            pending.print.shape = header.shape;
            pending.print.dtype = pending.print.dtype.or(header.dtype);
        }
    }

    /// A few whole numbers under another name than the shape above, which they do not fill: `[4, 2]` after
    /// `k_proj shape: [1, 12, 32]`.
    pub fn is_of_another(&self, before: &str, list: &str) -> bool {
        let (Some(shape), Some(above), Some(count)) = (
            &self.context.shape,
            &self.context.name,
            label::whole_numbers(list),
        ) else {
            return false;
        };
        let fills = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) == Some(count);
        let own = Label::of(before);
        own.shape.is_none() && !fills && own.name.is_some_and(|name| name != *above)
    }

    /// Gives a line to the open print; `false` when it does not belong there.
    pub fn continue_print(&mut self, line: &str, ended: bool) -> bool {
        let Some(mut pending) = self.print.take() else {
            return false;
        };
        if pending.print.is_done() {
            let mut taken = pending.print.trailer(line);
            if !taken && line.trim().is_empty() {
                self.print = Some(pending);
                return true;
            }
            let mut header = Header::default();
            if !taken
                && pending.print.lacks_shape()
                && print::start(line).is_none()
                && header.read(line.as_bytes())
                && header.shape.is_some()
                && Label::of(line)
                    .name
                    .is_none_or(|n| Some(n) == pending.label.name)
            {
                pending.print.shape = header.shape;
                taken = true;
            }
            self.print = Some(pending);
            self.end_print();
            return taken;
        }
        let line = label::behind_prefix(&pending.before, line);
        match pending.print.line(line, ended) {
            Taken::More => self.print = Some(pending),
            Taken::Done => {
                let behind = pending.print.behind;
                self.print = Some(pending);
                self.behind_print(&line[line.len() - behind..], ended);
            }
            // A list in a sentence breaks off as well.
            Taken::Never if !pending.print.is_telling() => return false,
            Taken::Never => {
                let fault = Fault::Broken { line: self.number };
                let name = pending.label.name.unwrap_or_else(|| stem(self.path));
                self.found.refuse(self.path, pending.line, &name, &fault);
                return false;
            }
            Taken::Fault(fault) => {
                let name = pending.label.name.unwrap_or_else(|| stem(self.path));
                self.found.refuse(self.path, pending.line, &name, &fault);
            }
        }
        true
    }

    pub fn end_print(&mut self) {
        let Some(pending) = self.print.take() else {
            return;
        };
        let (print, label) = (pending.print, pending.label);
        let name = label.name.unwrap_or_else(|| stem(self.path));
        let part = label.part != Part::Whole && print.is_done() && !print.nest().has_gaps();
        if part {
            let values = print.nest().values().to_vec();
            let stats = printed(&print.precision, PrintedStats::default());
            let place = (label.part, label.shape);
            return self.part(pending.line, name, place, print.dtype(), values, stats);
        }
        if !print.is_telling() && !pending.alone {
            return;
        }
        let dtype = print.dtype();
        let placed = print.nest().place(print.shape.as_deref());
        let placed = placed.and_then(|(shape, partial)| Ok((info(dtype, shape)?, partial)));
        match placed {
            Ok((info, partial)) => {
                if !print.is_done() {
                    self.note_cut(&name);
                }
                let printed = printed(&print.precision, PrintedStats::default());
                self.found.push(name, info, partial, printed);
            }
            Err(fault) => self.found.refuse(self.path, pending.line, &name, &fault),
        }
    }
}
