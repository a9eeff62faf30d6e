//! One HTML page that needs nothing else: the answer, the evidence, and every stage with a bar for its error.

use super::text::{self, escaped};
use super::{Report, Reporter, Row, Status, Style};
use std::io::{self, Write};

pub struct Html;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --good: #2a8a3e; --bad: #c4302b; --odd: #b07d00; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
code, td, th { font-family: ui-monospace, monospace; font-size: 13px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.n, th.n { text-align: right; }
td.bar { width: 12rem; } td.bar div { height: .6rem; border-radius: .3rem; background: currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); } .odd { color: var(--odd); }
.first { outline: 2px solid var(--bad); }
section { border-left: 4px solid var(--line); padding-left: 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; }";

impl Reporter for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["html", "htm"]
    }

    fn write(&self, report: &Report, _: &Style, out: &mut dyn Write) -> io::Result<()> {
        let verdict = escaped(&text::verdict(report));
        let class = if report.exit_code == 0 { "good" } else { "bad" };
        writeln!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{verdict}</title><style>{STYLE}\n</style></head><body>"
        )?;
        writeln!(out, "<h1 class=\"{class}\">{verdict}</h1>")?;
        writeln!(
            out,
            "<p>reference <code>{}</code>, candidate <code>{}</code></p>",
            escaped(&report.reference.path),
            escaped(&report.candidate.path)
        )?;
        if let Some(reason) = text::first_reason(report) {
            writeln!(out, "<p>{}</p>", escaped(reason))?;
        }
        causes(report, out)?;
        stages(report, out)?;
        if !report.notes.is_empty() {
            writeln!(out, "<h2>Notes</h2><ul>")?;
            for note in &report.notes {
                let message = escaped(&note.message);
                writeln!(out, "<li>{message} <code>{}</code></li>", escaped(&note.id))?;
            }
            writeln!(out, "</ul>")?;
        }
        writeln!(
            out,
            "<p><small>{}</small></p></body></html>",
            escaped(&report.tool)
        )
    }
}

fn causes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for d in &report.diagnosis {
        writeln!(
            out,
            "<section><strong>{}</strong><br>at <code>{}</code>, <code>{}</code>, confidence {:.2}<ul>",
            escaped(&d.title),
            escaped(&d.key),
            escaped(&d.id),
            d.confidence
        )?;
        for line in &d.evidence {
            writeln!(out, "<li>{}</li>", escaped(line))?;
        }
        writeln!(out, "</ul>{}</section>", escaped(&d.advice))?;
    }
    Ok(())
}

fn stages(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "<h2>{} tensors in {} order</h2><div class=\"scroll\"><table><tr><th>stage</th><th>shape</th><th class=\"n\">rel_l2</th><th>error, 1e-8 to 1</th><th class=\"n\">max_abs</th><th class=\"n\">cosine</th><th>grade</th><th>status</th></tr>",
        report.tensors.len(),
        escaped(&report.order)
    )?;
    let first = report.first_divergence.as_ref().map(|f| f.key.as_str());
    for row in &report.tensors {
        let class = match row.status {
            Status::Identical | Status::Agreed => "good",
            Status::Diverged | Status::Incomparable => "bad",
            _ => "odd",
        };
        let mark = if first == Some(&row.key) {
            " class=\"first\""
        } else {
            ""
        };
        let [rel, max, cosine] = ["rel_l2", "max_abs", "cosine"].map(|m| text::metric(row, m));
        writeln!(
            out,
            "<tr{mark} title=\"{}\"><td>{}</td><td>{}</td><td class=\"n\">{rel}</td><td class=\"bar {class}\"><div style=\"width:{:.0}%\"></div></td><td class=\"n\">{max}</td><td class=\"n\">{cosine}</td><td>{}</td><td class=\"{class}\">{}</td></tr>",
            escaped(&row.reason),
            escaped(&row.key),
            text::shape_of(row),
            length(row),
            row.grade.map_or("", |g| g.name()),
            text::status(row.status)
        )?;
    }
    writeln!(out, "</table></div>")
}

/// The error as a share of the way from 1e-8 to 1, on a logarithmic scale.
fn length(row: &Row) -> f64 {
    match row.metrics.get("rel_l2") {
        Some(error) if error > 0.0 => (100.0 * (1.0 + error.log10() / 8.0)).clamp(1.0, 100.0),
        _ => 0.0,
    }
}
