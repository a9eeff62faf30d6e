//! Logs with tensors in them, between lines that mean nothing to us.

use super::super::stem;
use super::elements::Elements;
use super::found::{self, Entry, Found, info, payload, printed};
use super::ggml::{self, Block};
use super::header::Header;
use super::label::{self, Label};
use super::libtorch::Rows;
use super::print::{self, Style};
use super::source::{Encoding, LineReader, reader};
use super::summary::{statistics, summary};
use super::unread::Unread;
use crate::dtype::DType;
use crate::dump::{Format, Hints, Opened, Printed, PrintedStats, ReadError};
use crate::note::Note;
use prints::Pending;
use std::collections::HashMap;
use std::path::Path;

mod prints;
mod rows;
#[cfg(test)]
mod tests;

/// Any text: what llama.cpp, Python and C++ print, summary lines, `name[i] = value`. Text without tensors gives none.
pub struct Log;

const NAME: &str = "log";

impl Format for Log {
    fn name(&self) -> &'static str {
        NAME
    }

    fn sniff(&self, head: &[u8], path: &Path) -> bool {
        // A list of lists of numbers is a print too; other JSON has readers of its own.
        let json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let list = head.trim_ascii_start().starts_with(b"[");
        !super::is_source(path) && (!json || list) && Encoding::of(head).is_some()
    }

    fn open(&self, path: &Path, _: &Hints) -> Result<Opened, ReadError> {
        let head = crate::dump::read::head(path, 4096)?;
        let encoding =
            Encoding::of(&head).ok_or_else(|| ReadError::malformed(path, "this is no text"))?;
        let mut lines = LineReader::new(reader(path, encoding, 0)?);
        let mut log = Reader::new(path);
        while let Some((number, line, ended)) = lines.next().map_err(|e| ReadError::io(path, e))? {
            log.line(number, &line, ended);
        }
        Ok(log.finish().finish(path, NAME))
    }
}

/// Reads a log line by line.
struct Reader<'a> {
    path: &'a Path,
    found: Found,
    number: u64,
    block: Option<(u64, Block)>,
    /// What a line says of the values below the next one.
    shaped: Option<ggml::Header>,
    evaluations: Evaluations,
    print: Option<Pending>,
    rows: Rows,
    elements: Elements,
    /// Steps of summary lines so far, per tag and rank.
    steps: HashMap<(String, Option<u64>), u64>,
    context: Context,
    /// Tensors of which some values are printed, at places that nothing tells.
    parts: Vec<String>,
    unread: Unread,
    /// Sums of prints with gaps that are the sums of what was printed, and of those that are not.
    partial_sums: (u64, u64),
}

/// What the lines above say about the next tensor.
#[derive(Debug, Default)]
struct Context {
    name: Option<String>,
    shape: Option<Vec<usize>>,
    /// No line with words came before.
    clean: bool,
}

/// Tells apart the evaluations of one graph: each starts with the same tensor.
#[derive(Default)]
struct Evaluations {
    first: Option<(String, String)>,
    now: usize,
}

impl Evaluations {
    fn of(&mut self, header: &ggml::Header) -> usize {
        let key = (header.name.clone(), header.op().to_owned());
        match &self.first {
            None => self.first = Some(key),
            Some(first) if *first == key => self.now += 1,
            Some(_) => {}
        }
        self.now
    }
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path) -> Self {
        Reader {
            path,
            found: Found::default(),
            number: 0,
            block: None,
            shaped: None,
            evaluations: Evaluations::default(),
            print: None,
            rows: Rows::default(),
            elements: Elements::default(),
            steps: HashMap::new(),
            context: Context {
                clean: true,
                ..Context::default()
            },
            parts: Vec::new(),
            unread: Unread::default(),
            partial_sums: (0, 0),
        }
    }

    fn line(&mut self, number: u64, line: &str, ended: bool) {
        self.number = number;
        if let Some((_, block)) = &mut self.block {
            match block.line(line, ended) {
                ggml::Taken::Yes => return,
                ggml::Taken::Last => {
                    self.end_block();
                    return;
                }
                ggml::Taken::No => {}
            }
        }
        if let Some(header) = ggml::Header::of(line) {
            self.end_block();
            self.end_print();
            self.block = Some((number, Block::new(header)));
            return;
        }
        if self.block.is_some() {
            return;
        }
        if let Some(header) = ggml::Header::of_shape(line) {
            // other prints read the shape too
            self.shaped = Some(header);
        }
        if let Some(header) = self.shaped.take_if(|h| h.is_data(line)) {
            self.end_print();
            self.block = Some((number, Block::bare(header)));
            return;
        }
        if self.print.is_some() && self.continue_print(line, ended) {
            return;
        }
        if self.row(line) {
            return;
        }
        if let Some(s) = summary(line) {
            self.summary(s);
            return;
        }
        if let Some((Style::Bare, before, at)) = print::start(line) {
            let list = &line[at..];
            match label::list(before, list) {
                Some(label::List::Shape) => return self.remember(line),
                None if !self.is_of_another(before, list) => {}
                Some(label::List::Setting) | None => {
                    self.context = Context::default();
                    return;
                }
            }
        }
        let entries = self.found.entries.len() as u64;
        if self.start_print(line, ended) || self.elements.line(line, entries, &self.context.shape) {
            return;
        }
        if let Some((name, header)) = statistics(line) {
            self.statistics(name, header);
        } else if !self.labelled_row(line) {
            self.unread.see(number, line);
            self.remember(line);
        }
    }

    fn finish(mut self) -> Found {
        let cut = self.block.as_ref().map(|(_, b)| b.header.name.clone());
        self.end_block();
        self.end_print();
        self.end_rows();
        if let Some(name) = cut
            && self.found.notes.is_empty()
        {
            self.note_cut(&name);
        }
        self.found.notes.extend(self.unread.note(self.path));
        self.note_parts();
        // llama.cpp summed only what it printed before it summed the whole tensor.
        if self.partial_sums.0 > 0 && self.partial_sums.1 == 0 {
            for e in &mut self.found.entries {
                if let Some(stats) = &mut e.printed.stats {
                    stats.sum = None;
                }
            }
        }
        for group in std::mem::take(&mut self.elements.groups).into_iter().rev() {
            let dtype = if group.integers {
                DType::I64
            } else {
                DType::F64
            };
            let placed = group
                .place()
                .and_then(|(shape, partial)| Ok((info(dtype, shape)?, partial)));
            match placed {
                Ok((info, partial)) => {
                    let (half_unit_abs, half_unit_rel) = group.precision.half_units();
                    let printed = Printed {
                        half_unit_abs,
                        half_unit_rel,
                        stats: None,
                    };
                    let at = (group.sequence as usize).min(self.found.entries.len());
                    let entry = Entry::of(group.name, info, partial, printed);
                    self.found.entries.insert(at, entry);
                }
                Err(fault) => self
                    .found
                    .refuse(self.path, self.number, &group.name, &fault),
            }
        }
        self.found
    }

    fn end_block(&mut self) {
        let Some((line, block)) = self.block.take() else {
            return;
        };
        let header = block.header.clone();
        let evaluation = self.evaluations.of(&header);
        let Some(dtype) = header.dtype.filter(|_| !block.is_empty()) else {
            return;
        };
        if let (true, Some(sum)) = (block.has_gaps(), block.sum) {
            let (printed, slack) = block.printed_sum();
            match (printed - sum.value).abs() <= slack + sum.half_unit {
                true => self.partial_sums.0 += u64::from(printed != 0.0),
                false => self.partial_sums.1 += 1,
            }
        }
        let stats = PrintedStats {
            sum: block.sum,
            ..PrintedStats::default()
        };
        let printed = printed(&block.precision, stats);
        let placed = block
            .finish()
            .and_then(|(shape, partial, cut)| Ok((info(dtype, shape)?, partial, cut)));
        let (info, partial, cut) = match placed {
            Ok(placed) => placed,
            Err(fault) => return self.found.refuse(self.path, line, &header.name, &fault),
        };
        if cut {
            self.note_cut(&header.name);
        }
        self.found.entries.push(Entry {
            evaluation: Some(evaluation),
            name: header.name,
            member: Some(header.operation).filter(|op| !op.is_empty()),
            payload: payload(&info, partial),
            info,
            printed,
        });
    }

    fn note_cut(&mut self, name: &str) {
        self.found.notes.push(Note::new("log_cut_off", format!(
                "{} at line {}: the print of {name} is cut off; what stands before the cut is compared",
                self.path.display(),
                self.number
            )).about(vec![name.to_owned()]));
    }

    fn note_parts(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        self.found.notes.push(Note::new("part_without_place", format!(
                "{}: only some values of {} are printed, and no shape to place them; they are compared as a tensor of their own",
                self.path.display(),
                self.parts[0]
            )).about(std::mem::take(&mut self.parts)));
    }

    fn summary(&mut self, s: super::summary::Summary) {
        let occurrence = self.steps.entry((s.tag.clone(), s.rank)).or_default();
        let step = s.step.unwrap_or(*occurrence);
        *occurrence += 1;
        let rank = s.rank.map_or(String::new(), |r| format!("rank{r}/"));
        let tag = match &*s.tag {
            "" => String::new(),
            tag => format!("{tag}/"),
        };
        for (stage, stats) in s.items {
            let name = format!("{tag}step{step}/{rank}{stage}");
            self.found
                .entries
                .extend(found::statistics(name, None, None, stats));
        }
        self.context.clean = false;
    }

    fn statistics(&mut self, name: Option<String>, header: Header) {
        let shape = header.shape.or_else(|| self.context.shape.take());
        if let Some(name) = name.or_else(|| self.context.name.clone()) {
            let entry = found::statistics(name, shape, header.dtype, header.stats);
            self.found.entries.extend(entry);
        }
        self.context.clean = false;
    }

    /// Keeps what a line says about the tensor in the next one.
    fn remember(&mut self, line: &str) {
        let text = line.trim();
        if text.is_empty() {
            return;
        }
        let Label { name, shape, .. } =
            Label::of(text.trim_start_matches(['#', '=', '-', '*', ' ']));
        let heading = text.ends_with(':') || text.split_whitespace().count() <= 3;
        if shape.is_some() {
            self.context.shape = shape;
            if name.is_some() {
                self.context.name = name;
            }
            return;
        }
        self.context.shape = None;
        self.context.name = name.filter(|_| heading);
        self.context.clean = false;
    }
}
