//! `tdiff check`: the health of one dump.

use crate::check::{Finding, Health, Severity, check};
use crate::dump::Hints;
use crate::report::Style;
use crate::report::table::wrap;
use anyhow::Result;
use std::io::{self, Write};
use std::path::Path;

/// Findings of one kind that are listed place by place before the rest is counted.
const PLACES: usize = 4;

/// The exit code is 1 on red flags.
pub fn execute(
    path: &Path,
    hints: &Hints,
    json: bool,
    style: &Style,
    out: &mut dyn Write,
) -> Result<u8> {
    let health = check(path, hints)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &health)?;
        writeln!(out)?;
    } else {
        write(&health, style, out)?;
    }
    Ok(health.exit_code)
}

fn write(health: &Health, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let red = health
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Red)
        .count();
    let word = if red > 0 { "SUSPICIOUS" } else { "HEALTHY" };
    let color = if red > 0 { "31" } else { "32" };
    let word = if style.color {
        format!("\x1b[1;{color}m{word}\x1b[0m")
    } else {
        word.to_owned()
    };
    let flags = if red == 1 { "red flag" } else { "red flags" };
    writeln!(out, "{word}: {} tensors, {red} {flags}", health.tensors)?;
    if style.quiet {
        return Ok(());
    }
    let width = usize::from(style.width).saturating_sub(4).max(40);
    let mut rest = &health.findings[..];
    while let Some(first) = rest.first() {
        let (same, others) = rest.split_at(rest.iter().take_while(|f| f.id == first.id).count());
        group(same, width, out)?;
        rest = others;
    }
    if !health.laws.is_empty() {
        writeln!(
            out,
            "\nlaws fitted (hold them against the model's configuration)"
        )?;
        for fit in folded(health) {
            for (i, line) in wrap(&fit, width).into_iter().enumerate() {
                writeln!(out, "{}{line}", if i == 0 { "  " } else { "      " })?;
            }
        }
    }
    Ok(())
}

fn group(same: &[Finding], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let mark = if same[0].severity == Severity::Red {
        "red"
    } else {
        "note"
    };
    for f in same.iter().take(PLACES) {
        let evidence = if f.evidence.is_empty() {
            String::new()
        } else {
            format!(" ({})", f.evidence.join("; "))
        };
        // what is about the dump as a whole names it already
        let place = match f.message.starts_with(&f.key) {
            true => String::new(),
            false => format!("{}: ", f.key),
        };
        for (i, line) in wrap(
            &format!("{mark:<5}{place}{} [{}]{evidence}", f.message, f.id),
            width,
        )
        .into_iter()
        .enumerate()
        {
            writeln!(out, "{}{line}", if i == 0 { "  " } else { "       " })?;
        }
    }
    match same.len().saturating_sub(PLACES) {
        0 => Ok(()),
        more => writeln!(out, "       and {more} more of {}", same[0].id),
    }
}

/// The same fit in many layers is one line.
fn folded(health: &Health) -> Vec<String> {
    let mut lines: Vec<(String, String, usize, f64)> = Vec::new();
    for fit in &health.laws {
        let place = fit.key.rsplit('.').next().unwrap_or(&fit.key);
        match lines
            .iter_mut()
            .find(|(at, text, ..)| at.rsplit('.').next() == Some(place) && *text == fit.text)
        {
            Some(known) => {
                known.2 += 1;
                known.3 = known.3.max(fit.residual);
            }
            None => lines.push((fit.key.clone(), fit.text.clone(), 1, fit.residual)),
        }
    }
    let times = |n: usize| {
        if n > 1 {
            format!(", and {} more places alike", n - 1)
        } else {
            String::new()
        }
    };
    lines
        .iter()
        .map(|(at, text, n, residual)| {
            format!(
                "{at}: {text} (relative residual {}{})",
                crate::text::short(*residual),
                times(*n)
            )
        })
        .collect()
}
