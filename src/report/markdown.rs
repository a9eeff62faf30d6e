//! Markdown, for a comment on a change: the answer, the evidence, and every tensor in a folded table.

use super::{Report, Reporter, Style, text};
use std::io::{self, Write};

pub struct Markdown;

impl Reporter for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["md"]
    }

    fn write(&self, report: &Report, _: &Style, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "**{}**\n", plain(&text::verdict(report)))?;
        if let Some(reason) = text::first_reason(report) {
            writeln!(out, "{}\n", plain(reason))?;
        }
        for d in &report.diagnosis {
            writeln!(
                out,
                "- **{}** at `{}` (`{}`, confidence {:.2})",
                plain(&d.title),
                d.key,
                d.id,
                d.confidence
            )?;
            for line in d.evidence.iter().chain([&d.advice]) {
                writeln!(out, "  - {}", plain(line))?;
            }
        }
        for note in &report.notes {
            writeln!(out, "- note: {} (`{}`)", plain(&note.message), note.id)?;
        }
        writeln!(
            out,
            "\n<details><summary>{} tensors</summary>\n",
            report.tensors.len()
        )?;
        writeln!(
            out,
            "| stage | shape | rel_l2 | max_abs | cosine | grade | status |"
        )?;
        writeln!(out, "| --- | --- | ---: | ---: | ---: | --- | --- |")?;
        for row in &report.tensors {
            let [rel, max, cosine] = ["rel_l2", "max_abs", "cosine"].map(|m| text::metric(row, m));
            writeln!(
                out,
                "| `{}` | {} | {rel} | {max} | {cosine} | {} | {} |",
                row.key.replace('|', "\\|"),
                text::shape_of(row),
                row.grade.map_or("", |g| g.name()),
                text::status(row.status)
            )?;
        }
        writeln!(out, "\n</details>")
    }
}

/// Text in which Markdown sees no markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '_' | '`' | '|' | '<' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
