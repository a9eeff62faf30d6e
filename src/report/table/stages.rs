//! The stages in pipeline order: rows around the first divergence in full, runs of others in one line each.

use super::{Page, wrap};
use crate::report::Real;
use crate::report::text::{self, agrees, shape_of};
use crate::report::{Row, RowSide, SideStats, Status};
use crate::text::short;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ContentArrangement, Table as Grid, presets,
};
use std::io::{self, Write};

/// Rows shown in full on either side of the first divergence.
const BEFORE: usize = 4;
const AFTER: usize = 5;

impl Page<'_> {
    pub fn stages(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = &self.report.tensors;
        if rows.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let mut kind = Columns::Metrics;
        let mut grid = self.grid(kind);
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
                    let columns = Columns::of(row);
                    if columns != kind {
                        self.flush(&mut grid, kind, out)?;
                        kind = columns;
                        grid = self.grid(kind);
                    }
                    grid.add_row(self.cells(row));
                }
                Ok(text) => {
                    self.flush(&mut grid, kind, out)?;
                    for line in wrap(&text, usize::from(self.style.width).max(40)) {
                        writeln!(out, "{line}")?;
                    }
                }
            }
        }
        self.flush(&mut grid, kind, out)
    }

    fn flush(&self, grid: &mut Grid, columns: Columns, out: &mut dyn Write) -> io::Result<()> {
        if grid.row_count() > 0 {
            writeln!(out, "{}", grid.trim_fmt())?;
            *grid = self.grid(columns);
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

    fn grid(&self, columns: Columns) -> Grid {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if self.style.color {
            grid.enforce_styling();
        } else {
            grid.force_no_tty();
        }
        let titles: &[&str] = match (columns, self.style.all) {
            (Columns::Statistics, _) => &["stage", "mean", "candidate", "std", "candidate", "", ""],
            (Columns::Metrics, true) => &[
                "stage", "shape", "max_abs", "max_rel", "rmse", "cosine", "pearson", "grade",
            ],
            (Columns::Metrics, false) => {
                &["stage", "shape", "rel_l2", "max_abs", "cosine", "grade", ""]
            }
        };
        grid.set_header(
            titles
                .iter()
                .map(|t| Cell::new(t).add_attribute(Attribute::Bold)),
        );
        for column in grid.column_iter_mut() {
            column.set_padding((0, 1));
        }
        let numbers = match (columns, self.style.all) {
            (Columns::Statistics, _) => 1..5,
            (Columns::Metrics, true) => 2..7,
            (Columns::Metrics, false) => 2..5,
        };
        for i in numbers {
            if let Some(column) = grid.column_mut(i) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        grid
    }

    fn cells(&self, row: &Row) -> Vec<Cell> {
        if Columns::of(row) == Columns::Statistics {
            return self.statistics(row);
        }
        let shape = shape_of(row);
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
            cells.push(Cell::new(self.mark(row)).fg(color));
        }
        cells
    }

    /// What is known where only statistics were printed.
    fn statistics(&self, row: &Row) -> Vec<Cell> {
        let sides = [&row.reference, &row.candidate];
        let both = |of: fn(&SideStats) -> Option<Real>| {
            sides.map(|side| {
                let value = side.as_ref().and_then(|s| of(s.stats.as_ref()?));
                Cell::new(value.map_or("–".into(), |x| x.to_string()))
            })
        };
        let mut cells = vec![Cell::new(&row.key)];
        cells.extend(both(|s| s.mean));
        cells.extend(both(|s| s.std));
        let color = if agrees(row) {
            Color::Green
        } else {
            Color::Red
        };
        cells.push(Cell::new(self.mark(row)).fg(color));
        cells
    }

    fn mark(&self, row: &Row) -> &'static str {
        match &self.report.first_divergence {
            Some(first) if first.key == row.key => "◀ first",
            _ => status(row.status),
        }
    }
}

/// What the columns of a row hold.
#[derive(Clone, Copy, PartialEq)]
enum Columns {
    Metrics,
    /// Of both sides, where no elements are known.
    Statistics,
}

impl Columns {
    fn of(row: &Row) -> Columns {
        let mean = |side: &Option<RowSide>| {
            let stats = side.as_ref().and_then(|s| s.stats.as_ref());
            stats.is_some_and(|s| s.mean.is_some())
        };
        if row.compared == 0 && mean(&row.reference) && mean(&row.candidate) {
            Columns::Statistics
        } else {
            Columns::Metrics
        }
    }
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
        .filter_map(|r| r.metrics.get("rel_l2"))
        .filter(|e| e.is_finite());
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
    Some(text::metric(row, id))
        .filter(|figure| !figure.is_empty())
        .unwrap_or_else(|| "–".into())
}
