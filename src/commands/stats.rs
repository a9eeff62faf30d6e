//! `tdiff stats`: one-off statistics of files or whole dumps.

use crate::compare::summarise::Summary;
use crate::dump::{Guess, Hints, Payload, Tensor};
use crate::report::{Real, Style};
use crate::stats::stats;
use crate::text::short;
use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Writes the statistics of every tensor under `paths`; exit code 2 when something cannot be read.
pub fn execute(
    paths: &[PathBuf],
    hints: &Hints,
    as_json: bool,
    style: &Style,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8> {
    let stats = stats(paths, hints)?;
    for error in &stats.unreadable {
        writeln!(err, "tdiff: {error}")?;
    }
    let code = if stats.unreadable.is_empty() { 0 } else { 2 };
    let read = &stats.tensors;
    if as_json {
        let all: Vec<Value> = read.iter().map(|(t, s)| object(t, s)).collect();
        let stats = json!({"schema": 1, "tensors": all, "notes": stats.notes});
        serde_json::to_writer_pretty(&mut *out, &stats)?;
        writeln!(out)?;
        return Ok(code);
    }
    if let [(tensor, summary)] = &read[..] {
        one(tensor, summary, out)?;
    } else {
        many(read, style, out)?;
    }
    for note in &stats.notes {
        writeln!(out, "note: {} [{}]", note.message, note.id)?;
    }
    Ok(code)
}

/// Counts are known where values are.
fn counted(t: &Tensor, n: u64) -> Option<u64> {
    (!matches!(t.payload, Payload::Statistics)).then_some(n)
}

fn object(t: &Tensor, s: &Summary) -> Value {
    let real = |x: Option<f64>| json!(x.map(Real));
    let quantiles: Map<String, Value> = s
        .quantiles
        .iter()
        .map(|q| (q.share.to_string(), json!(Real(q.value))))
        .collect();
    let ends = |x: &[f64]| json!(x.iter().map(|v| Real(*v)).collect::<Vec<_>>());
    json!({
        "name": t.name,
        "path": t.origin.path.display().to_string(),
        "format": t.origin.format,
        "shape": t.info.shape(),
        "dtype": t.info.dtype().name(),
        "precision": s.precision.map(|d| d.name()),
        "stats": {
            "count": s.count, "mean": real(s.mean), "std": real(s.std), "min": real(s.min), "max": real(s.max), "rms": real(s.rms),
            "l1": real(s.l1), "l2": real(s.l2), "nan": counted(t, s.nan), "inf": counted(t, s.inf),
            "zeros": counted(t, s.zeros), "quantiles": quantiles,
        },
        "histogram": s.histogram,
        "sampled": s.sampled,
        "first": ends(&s.first),
        "last": ends(&s.last),
        "notes": remarks(t, s),
    })
}

/// What the reader should know about these figures.
fn remarks(t: &Tensor, s: &Summary) -> Vec<String> {
    let mut notes = Vec::new();
    match t.guess {
        Some(Guess::Size) => notes.push(format!(
            "headerless: read as {}; --dtype and --shape say otherwise",
            t.info.dtype()
        )),
        Some(Guess::Bits) => notes.push(format!(
            "stored as {}, perhaps the bits of bf16 or f8",
            t.info.dtype()
        )),
        Some(Guess::Shape) => notes.push("the file states no shape".into()),
        Some(Guess::Partner) | None => {}
    }
    match &t.payload {
        Payload::Partial(p) => notes.push(format!(
            "{} of {} elements are known",
            p.positions.len(),
            t.info.len()
        )),
        Payload::Statistics => notes.push("only printed statistics are known".into()),
        _ => {}
    }
    if s.nan + s.inf > 0 {
        notes.push("the figures are over the finite values".into());
    }
    if let Some(n) = s.sampled {
        notes.push(format!(
            "quantiles and histogram are of {n} values spread evenly"
        ));
    }
    notes
}

fn number(x: Option<f64>) -> String {
    x.map_or("–".into(), short)
}

/// Everything about one tensor.
fn one(t: &Tensor, s: &Summary, out: &mut dyn Write) -> Result<()> {
    let count = |n: u64| counted(t, n).map_or("–".into(), |n| n.to_string());
    let precision = s
        .precision
        .filter(|p| *p != t.info.dtype())
        .map_or(String::new(), |p| format!(", values fit {p}"));
    writeln!(
        out,
        "{}  {} {:?}{precision}  ({})",
        t.name,
        t.info.dtype(),
        t.info.shape(),
        t.origin.path.display()
    )?;
    let lines = [
        [
            ("count", s.count.to_string()),
            ("mean", number(s.mean)),
            ("std", number(s.std)),
        ],
        [
            ("min", number(s.min)),
            ("max", number(s.max)),
            ("rms", number(s.rms)),
        ],
        [
            ("L1", number(s.l1)),
            ("L2", number(s.l2)),
            ("zeros", count(s.zeros)),
        ],
    ];
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .map(|(label, value)| format!("{label:<6}{value:<14}"))
            .collect();
        writeln!(out, "  {}", cells.concat().trim_end())?;
    }
    let (nan, inf) = (count(s.nan), count(s.inf));
    writeln!(out, "  {:<6}{nan:<14}{:<6}{inf}", "NaN", "Inf")?;
    if !s.quantiles.is_empty() {
        let cells: Vec<String> = s
            .quantiles
            .iter()
            .map(|q| format!("{}%: {}", q.share * 100.0, short(q.value)))
            .collect();
        writeln!(out, "  quantiles  {}", cells.join("  "))?;
    }
    let values = |x: &[f64]| x.iter().map(|v| short(*v)).collect::<Vec<_>>().join(" ");
    if s.last.is_empty() && !s.first.is_empty() {
        writeln!(out, "  values     {}", values(&s.first))?;
    } else if !s.first.is_empty() {
        writeln!(
            out,
            "  values     {} … {}",
            values(&s.first),
            values(&s.last)
        )?;
    }
    histogram(s, out)?;
    for note in remarks(t, s) {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

fn histogram(s: &Summary, out: &mut dyn Write) -> Result<()> {
    const WIDTH: u64 = 40;
    let (Some(min), Some(max)) = (s.min, s.max) else {
        return Ok(());
    };
    let most = s.histogram.iter().copied().max().unwrap_or(0);
    if most == 0 || min == max {
        return Ok(());
    }
    let step = (max - min) / s.histogram.len() as f64;
    for (i, &n) in s.histogram.iter().enumerate() {
        let bar = "█".repeat((n * WIDTH).div_ceil(most) as usize);
        writeln!(out, "  {:>9} {bar} {n}", short(min + step * i as f64))?;
    }
    Ok(())
}

/// A table of many tensors.
fn many(read: &[(Tensor, Summary)], style: &Style, out: &mut dyn Write) -> Result<()> {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if !style.color {
        grid.force_no_tty();
    }
    grid.set_header([
        "name", "type", "shape", "mean", "std", "min", "max", "NaN", "Inf",
    ]);
    for (t, s) in read {
        let shape = t
            .info
            .shape()
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join("×");
        grid.add_row([
            t.name.clone(),
            t.info.dtype().name().into(),
            shape,
            number(s.mean),
            number(s.std),
            number(s.min),
            number(s.max),
            counted(t, s.nan).map_or("–".into(), |n| n.to_string()),
            counted(t, s.inf).map_or("–".into(), |n| n.to_string()),
        ]);
    }
    for (i, column) in grid.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if i > 2 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{}", grid.trim_fmt())?;
    // What holds for many tensors is said once.
    const FEW: usize = 3;
    let mut notes: Vec<(String, Vec<&str>)> = Vec::new();
    for (t, s) in read {
        for note in remarks(t, s) {
            match notes.iter_mut().find(|(n, _)| *n == note) {
                Some((_, names)) => names.push(&t.name),
                None => notes.push((note, vec![&t.name])),
            }
        }
    }
    for (note, names) in notes {
        let who = match names.len() {
            n if n > FEW => format!("{n} tensors"),
            _ => names.join(", "),
        };
        writeln!(out, "note: {who}: {note}")?;
    }
    Ok(())
}
