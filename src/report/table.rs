//! The report for people, in a terminal: the answer first, then the stages in pipeline order.

use super::real::short;
use super::{Diagnosis, Outcome, Report, Reporter, Row, RowSide, Status, Style};
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, Table as Grid, presets,
};
use serde_json::Value;
use std::io::{self, Write};

pub struct Table;

/// Rows shown in full on either side of the first divergence.
const BEFORE: usize = 4;
const AFTER: usize = 5;
/// Causes shown without `--all`.
const CAUSES: usize = 3;

impl Reporter for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["txt"]
    }

    fn write(&self, report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        let page = Page { report, style };
        page.verdict(out)?;
        if style.quiet {
            return Ok(());
        }
        page.first_divergence(out)?;
        page.diagnosis(out)?;
        page.stages(out)?;
        page.notes(out)
    }
}

struct Page<'a> {
    report: &'a Report,
    style: &'a Style,
}

impl Page<'_> {
    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = self.report;
        let c = &r.counts;
        let agreed = c.compared - c.diverged.min(c.compared);
        let (word, color) = match r.verdict {
            Outcome::Agreed => ("AGREED", "32"),
            Outcome::Diverged => ("DIVERGED", "31"),
            Outcome::Incomplete => ("INCOMPLETE", "33"),
            Outcome::Unreadable => ("UNREADABLE", "33"),
        };
        let word = if self.style.color {
            format!("\x1b[1;{color}m{word}\x1b[0m")
        } else {
            word.to_owned()
        };
        let place = match (&r.first_divergence, r.verdict) {
            (Some(f), _) => format!(" first at {}", f.key),
            _ => String::new(),
        };
        let mut facts = vec![format!("{agreed} of {} compared tensors agree", c.compared)];
        let counted = [
            (c.incomparable, "not comparable"),
            (c.unreadable, "unreadable"),
            (c.missing_in_candidate, "missing in the candidate"),
            (c.missing_in_reference, "only in the candidate"),
        ];
        facts.extend(
            counted
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{n} {what}")),
        );
        let line = format!("{word}{place}: {}", facts.join(", "));
        for (i, line) in wrap(&line, usize::from(self.style.width).max(40))
            .into_iter()
            .enumerate()
        {
            writeln!(out, "{}{line}", if i == 0 { "" } else { "  " })?;
        }
        Ok(())
    }

    fn first_divergence(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(first) = &self.report.first_divergence else {
            return Ok(());
        };
        let row = self.report.tensors.iter().find(|t| t.key == first.key);
        let mut lines: Vec<(&str, String)> = Vec::new();
        if let Some(row) = row {
            lines.push(("differs", row.reason.clone()));
        }
        if let Some(w) = &first.worst {
            lines.push((
                "worst at",
                format!(
                    "{:?}: reference {}, candidate {}",
                    w.index, w.reference, w.candidate
                ),
            ));
        }
        if !first.agreeing_before.is_empty() {
            lines.push(("agree before", first.agreeing_before.join(", ")));
        }
        if !first.not_dumped_between.is_empty() {
            lines.push((
                "not dumped",
                format!(
                    "{} (the fault may lie there)",
                    first.not_dumped_between.join(", ")
                ),
            ));
        }
        if !first.propagates {
            lines.push((
                "heals",
                "what is computed from it agrees: a fault of the dump".into(),
            ));
        }
        let names = [
            (
                "reference",
                &first.reference,
                row.and_then(|r| r.reference.as_ref()),
            ),
            (
                "candidate",
                &first.candidate,
                row.and_then(|r| r.candidate.as_ref()),
            ),
        ];
        for (label, name, side) in names {
            if let Some(name) = name {
                lines.push((
                    label,
                    match side {
                        Some(s) => format!("{name}  {} {:?}", s.dtype, s.shape),
                        None => name.clone(),
                    },
                ));
            }
        }
        self.labelled(&lines, out)
    }

    fn diagnosis(&self, out: &mut dyn Write) -> io::Result<()> {
        let shown = if self.style.all { usize::MAX } else { CAUSES };
        for (i, d) in self.report.diagnosis.iter().take(shown).enumerate() {
            writeln!(out)?;
            self.cause(d, i, out)?;
        }
        let more = self.report.diagnosis.len().saturating_sub(shown);
        if more > 0 {
            writeln!(out, "  {more} further hypotheses with --all")?;
        }
        Ok(())
    }

    fn cause(&self, d: &Diagnosis, i: usize, out: &mut dyn Write) -> io::Result<()> {
        let label = if i == 0 { "cause" } else { "or" };
        let elsewhere = self
            .report
            .first_divergence
            .as_ref()
            .is_some_and(|f| f.key != d.key);
        let label = if elsewhere && i > 0 { "also" } else { label };
        let place = if elsewhere {
            format!(" at {}", d.key)
        } else {
            String::new()
        };
        let mut lines = vec![(
            label,
            format!(
                "{}{place} [{}, confidence {:.2}]",
                d.title, d.id, d.confidence
            ),
        )];
        lines.extend(d.evidence.iter().map(|e| ("evidence", e.clone())));
        if i == 0 && !d.advice.is_empty() {
            lines.push(("look at", d.advice.clone()));
        }
        self.labelled(&lines, out)
    }

    fn labelled(&self, lines: &[(&str, String)], out: &mut dyn Write) -> io::Result<()> {
        const INDENT: usize = 15;
        let width = usize::from(self.style.width).saturating_sub(INDENT).max(30);
        let mut last = "";
        for (label, text) in lines {
            let shown = if *label == last { "" } else { label };
            last = label;
            for (i, line) in wrap(text, width).into_iter().enumerate() {
                writeln!(out, "  {:<13}{line}", if i == 0 { shown } else { "" })?;
            }
        }
        Ok(())
    }

    fn stages(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = &self.report.tensors;
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let mut grid = self.grid();
        let mut folded: Vec<&Row> = Vec::new();
        let mut pieces: Vec<Result<String, &Row>> = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            if self.shown(i) {
                pieces.extend(fold(&mut folded).map(Ok));
                pieces.push(Err(row));
            } else {
                let turns = folded
                    .iter()
                    .rev()
                    .find(|r| is_compared(r))
                    .is_some_and(|last| is_compared(row) && agrees(last) != agrees(row));
                if turns {
                    pieces.extend(fold(&mut folded).map(Ok));
                }
                folded.push(row);
            }
        }
        pieces.extend(fold(&mut folded).map(Ok));
        for piece in pieces {
            match piece {
                Err(row) => {
                    grid.add_row(self.cells(row));
                }
                Ok(text) => {
                    self.flush(&mut grid, out)?;
                    for line in wrap(&text, usize::from(self.style.width).max(40)) {
                        writeln!(out, "{line}")?;
                    }
                }
            }
        }
        self.flush(&mut grid, out)
    }

    fn flush(&self, grid: &mut Grid, out: &mut dyn Write) -> io::Result<()> {
        if grid.row_count() > 0 {
            writeln!(out, "{}", grid.trim_fmt())?;
            *grid = self.grid();
        }
        Ok(())
    }

    /// Whether a row stands in the table by itself.
    fn shown(&self, i: usize) -> bool {
        if self.style.all {
            return true;
        }
        let rows = &self.report.tensors;
        let first = self.report.first_divergence.as_ref();
        let near = first.is_some_and(|f| {
            let at = rows.iter().position(|r| r.key == f.key).unwrap_or(0);
            i + BEFORE >= at && i <= at + AFTER || f.agreeing_before.contains(&rows[i].key)
        });
        near || self.report.origins.contains(&rows[i].key)
            || matches!(rows[i].status, Status::Incomparable | Status::Unreadable)
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if self.style.color {
            grid.enforce_styling();
        } else {
            grid.force_no_tty();
        }
        let titles: &[&str] = if self.style.all {
            &[
                "stage", "shape", "max_abs", "max_rel", "rmse", "cosine", "pearson", "grade",
            ]
        } else {
            &["stage", "shape", "rel_l2", "max_abs", "cosine", "grade", ""]
        };
        grid.set_header(
            titles
                .iter()
                .map(|t| Cell::new(t).add_attribute(Attribute::Bold)),
        );
        for column in grid.column_iter_mut() {
            column.set_padding((0, 1));
        }
        let numbers = 2..titles.len() - if self.style.all { 1 } else { 2 };
        for i in numbers {
            if let Some(column) = grid.column_mut(i) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        grid
    }

    fn cells(&self, row: &Row) -> Vec<Cell> {
        let side = row.reference.as_ref().or(row.candidate.as_ref());
        let shape = side.map_or(String::new(), shape);
        let number = |id: &str| Cell::new(metric(row, id));
        let color = match row.status {
            Status::Identical | Status::Agreed => Color::Green,
            Status::Diverged | Status::Incomparable => Color::Red,
            _ => Color::Yellow,
        };
        let grade = Cell::new(row.grade.map_or("", |g| g.name())).fg(color);
        let mut cells = vec![Cell::new(&row.key), Cell::new(shape)];
        if self.style.all {
            cells.extend(["max_abs", "max_rel", "rmse", "cosine", "pearson"].map(number));
            cells.push(if row.grade.is_some() {
                grade
            } else {
                Cell::new(status(row.status)).fg(color)
            });
        } else {
            cells.extend(["rel_l2", "max_abs", "cosine"].map(number));
            cells.push(grade);
            let first = self
                .report
                .first_divergence
                .as_ref()
                .is_some_and(|f| f.key == row.key);
            cells.push(
                Cell::new(if first {
                    "◀ first"
                } else {
                    status(row.status)
                })
                .fg(color),
            );
        }
        cells
    }

    fn notes(&self, out: &mut dyn Write) -> io::Result<()> {
        const MOST: usize = 6;
        let notes = &self.report.notes;
        if notes.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let shown = if self.style.all {
            notes.len()
        } else {
            notes.len().min(MOST)
        };
        let lines: Vec<(&str, String)> = notes[..shown]
            .iter()
            .map(|n| ("note", format!("{} [{}]", n.message, n.id)))
            .collect();
        self.labelled(&lines, out)?;
        if notes.len() > shown {
            writeln!(out, "  {} further notes with --all", notes.len() - shown)?;
        }
        Ok(())
    }
}

fn agrees(row: &Row) -> bool {
    matches!(row.status, Status::Identical | Status::Agreed)
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Identical | Status::Agreed => "",
        Status::Diverged => "diverged",
        Status::Incomparable => "not comparable",
        Status::MissingInCandidate => "missing",
        Status::MissingInReference => "candidate only",
        Status::Unreadable => "unreadable",
    }
}

/// One line for a run of rows that are not shown.
fn fold(rows: &mut Vec<&Row>) -> Option<String> {
    let run = std::mem::take(rows);
    let compared: Vec<&Row> = run.iter().copied().filter(|r| is_compared(r)).collect();
    let named = if compared.is_empty() { &run } else { &compared };
    let (first, last) = (named.first()?, named.last()?);
    let place = match (first.layer, last.layer) {
        (Some(a), Some(b)) if named.iter().all(|r| r.layer.is_some()) && a < b => {
            format!("layers.{a}–{b}")
        }
        _ if named.len() == 1 => first.key.clone(),
        _ => format!("{} … {}", first.key, last.key),
    };
    let errors = compared
        .iter()
        .filter_map(|r| r.metrics.get("rel_l2").and_then(Value::as_f64));
    let worst = errors.fold(None, |w: Option<f64>, x| Some(w.map_or(x, |w| w.max(x))));
    let mut parts = match (compared.len(), compared.first().is_some_and(|r| agrees(r))) {
        (0, _) => Vec::new(),
        (1, true) => vec!["agrees".to_owned()],
        (n, true) => vec![format!("all {n} stages agree")],
        (1, false) => vec!["carried on".to_owned()],
        (n, false) => vec![format!("carried on through {n} stages")],
    };
    parts.extend(worst.map(|w| format!("worst rel_l2 {}", short(w))));
    for (status, what) in [
        (Status::MissingInCandidate, "missing in the candidate"),
        (Status::MissingInReference, "only in the candidate"),
    ] {
        let n = run.iter().filter(|r| r.status == status).count();
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    Some(format!("{place}  {}", parts.join(", ")))
}

fn is_compared(row: &Row) -> bool {
    matches!(
        row.status,
        Status::Identical | Status::Agreed | Status::Diverged
    )
}

fn metric(row: &Row, id: &str) -> String {
    match row.metrics.get(id) {
        Some(Value::Number(n)) => n.as_f64().map_or("–".into(), short),
        Some(Value::String(s)) => s.clone(),
        _ => "–".into(),
    }
}

fn shape(side: &RowSide) -> String {
    side.shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("×")
}

/// Breaks at spaces so that lines stay within `width` where words allow.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().map(|l| l.chars().count()).unwrap_or(0);
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrap;

    #[test]
    fn long_lines_break_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("unbreakable", 4), ["unbreakable"]);
    }
}
