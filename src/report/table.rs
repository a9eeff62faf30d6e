//! The report for people, in a terminal: the answer first, then the stages in pipeline order.

mod stages;

use super::{Diagnosis, Outcome, Report, Reporter, Style, text};
use std::io::{self, Write};

pub struct Table;

/// Stages that were not dumped are named up to so many.
const NAMED: usize = 6;
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
        let name = r.verdict.name();
        let color = match r.verdict {
            Outcome::Agreed => "32",
            Outcome::Diverged => "31",
            Outcome::Incomplete | Outcome::Unreadable => "33",
        };
        let word = if self.style.color {
            format!("\x1b[1;{color}m{name}\x1b[0m")
        } else {
            name.to_owned()
        };
        let mut facts = vec![text::verdict(r).replacen(name, &word, 1)];
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
        let lacks = r.coverage.not_compared.iter();
        facts.extend(lacks.map(|n| format!("not compared: {}", n.what)));
        let line = facts.join(", ");
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
        if !first.certain {
            let n = first.earliest.len();
            let these = if n > NAMED {
                format!("{n} tensors")
            } else {
                first.earliest.join(", ")
            };
            lines.push((
                "order",
                format!(
                    "nothing tells which of {these} runs first; --order FILE says it, or an archive in order of capture (npz, pt)"
                ),
            ));
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
        let earlier = self.report.origins.iter().take_while(|k| **k != first.key);
        let earlier: Vec<&str> = earlier.map(String::as_str).collect();
        if let Some(healed) = earlier.first() {
            let differ = match earlier.len() {
                1 => "differs".to_owned(),
                n => format!("and {} more differ", n - 1),
            };
            lines.push((
                "earlier",
                format!(
                    "{healed} {differ}, what is computed from there agrees: a fault of the dump"
                ),
            ));
        }
        if !first.not_dumped_between.is_empty() {
            let between = &first.not_dumped_between;
            let named = match &between[..] {
                [from, .., to] if between.len() > NAMED => {
                    format!("{from} … {to}, {} stages", between.len())
                }
                _ => between.join(", "),
            };
            lines.push(("not dumped", format!("{named} (the fault may lie there)")));
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
        // a hint that the title gives already is not given again
        if i == 0 && !d.advice.is_empty() && !d.title.contains(&d.advice) {
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

/// Breaks at spaces so that lines stay within `width` where words allow; what is to be pasted into a shell stays whole.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let lines = text
        .split('\n')
        .flat_map(|line| match line.starts_with("--map '") {
            true => vec![line.to_owned()],
            false => wrap_line(line, width),
        });
    lines.collect()
}

fn wrap_line(text: &str, width: usize) -> Vec<String> {
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
