//! `tdiff explain`: what a cause, metric, stage or grade means, and what to do about it.

mod notes;

use crate::causes::CAUSES;
use crate::compare::metric::METRICS;
use crate::graph::graph;
use crate::name::Stage;
use crate::report::Style;
use anyhow::{Result, bail};
use notes::NOTES;
use std::io::Write;

/// The grades, with their rules.
const GRADES: &[(&str, &str)] = &[
    (
        "identical",
        "the same values, bit for bit after conversion to the wider type",
    ),
    ("excellent", "every element within 1e-4 + 1e-4·|reference|"),
    ("good", "every element within 1e-3 + 1e-3·|reference|"),
    (
        "acceptable",
        "largest absolute difference below 1e-2 and cosine above 0.99",
    ),
    ("significant", "anything else"),
];

/// Prints the explanation of `id`, or the list of everything that can be explained.
pub fn execute(id: Option<&str>, style: &Style, out: &mut dyn Write) -> Result<u8> {
    let Some(id) = id else {
        list(style, out)?;
        return Ok(0);
    };
    let width = usize::from(style.width);
    if let Some(c) = CAUSES.iter().find(|c| c.id == id) {
        writeln!(out, "{} — {}", c.id, c.title)?;
        for (label, text) in [
            ("what it is", c.what),
            ("how it looks", c.looks),
            ("why it happens", c.why),
            ("what to change", c.change),
        ] {
            entry(label, text, width, out)?;
        }
    } else if let Some(m) = METRICS.iter().find(|m| m.id == id) {
        writeln!(out, "{} — a metric", m.id)?;
        entry("", m.help, width, out)?;
    } else if let Some((grade, rule)) = GRADES.iter().find(|g| g.0 == id) {
        writeln!(out, "{grade} — a grade")?;
        entry("", rule, width, out)?;
        entry(
            "",
            "Grades are for people; what counts as a divergence is decided by the tolerance in force.",
            width,
            out,
        )?;
    } else if let Some(stage) = Stage::parse(id) {
        writeln!(out, "{stage} — a stage")?;
        let parents: Vec<&str> = stage.parents().iter().map(|p| p.name()).collect();
        let from = if parents.is_empty() {
            "nothing: an input".to_owned()
        } else {
            parents.join(", ")
        };
        entry("computed from", &from, width, out)?;
        entry("when it diverges", stage.hint(), width, out)?;
    } else if let Some((note, meaning)) = NOTES.iter().find(|n| n.0 == id) {
        writeln!(out, "{note} — a note")?;
        entry("", meaning, width, out)?;
    } else {
        bail!(
            "`{id}` is no cause, metric, stage, grade or note{}",
            nearest(id)
        );
    }
    Ok(0)
}

fn list(style: &Style, out: &mut dyn Write) -> Result<()> {
    let width = usize::from(style.width);
    writeln!(out, "causes")?;
    for c in CAUSES.iter() {
        writeln!(out, "  {:<34} {}", c.id, c.title)?;
    }
    let words = |names: Vec<&str>| names.join(", ");
    writeln!(out, "metrics")?;
    entry(
        "",
        &words(METRICS.iter().map(|m| m.id).collect()),
        width,
        out,
    )?;
    writeln!(out, "stages")?;
    entry(
        "",
        &words(graph().stages().into_iter().map(Stage::name).collect()),
        width,
        out,
    )?;
    writeln!(out, "grades")?;
    entry("", &words(GRADES.iter().map(|g| g.0).collect()), width, out)?;
    writeln!(out, "notes")?;
    entry("", &words(NOTES.iter().map(|n| n.0).collect()), width, out)
}

fn entry(label: &str, text: &str, width: usize, out: &mut dyn Write) -> Result<()> {
    if !label.is_empty() {
        writeln!(out, "\n{label}:")?;
    }
    for line in crate::report::table::wrap(text, width.saturating_sub(2).max(30)) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// The id that shares the longest beginning.
fn nearest(id: &str) -> String {
    let common = |other: &str| {
        id.bytes()
            .zip(other.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let ids = CAUSES
        .iter()
        .map(|c| c.id)
        .chain(METRICS.iter().map(|m| m.id))
        .chain(graph().stages().into_iter().map(Stage::name))
        .chain(NOTES.iter().map(|n| n.0));
    match ids
        .max_by_key(|other| common(other))
        .filter(|other| common(other) >= 3)
    {
        Some(other) => format!("; did you mean `{other}`?"),
        None => "; `tdiff explain` lists them".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: Option<&str>) -> Result<String> {
        let mut out = Vec::new();
        execute(
            id,
            &Style {
                all: false,
                quiet: false,
                color: false,
                width: 80,
            },
            &mut out,
        )?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn everything_listed_is_explained() {
        for c in CAUSES.iter() {
            assert!(
                text(Some(c.id)).unwrap().contains("what to change"),
                "{}",
                c.id
            );
        }
        for id in METRICS
            .iter()
            .map(|m| m.id)
            .chain(graph().stages().into_iter().map(Stage::name))
            .chain(GRADES.iter().map(|g| g.0))
        {
            assert!(text(Some(id)).unwrap().starts_with(id), "{id}");
        }
        assert!(text(None).unwrap().contains("norm_eps"));
    }

    #[test]
    fn a_near_miss_is_answered_with_the_right_id() {
        assert!(
            text(Some("norm_epsilon"))
                .unwrap_err()
                .to_string()
                .contains("`norm_eps`")
        );
    }
}
