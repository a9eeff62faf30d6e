//! JUnit XML, which CI servers show: one test case per tensor
//! (<https://github.com/testmoapp/junitxml>).

use super::text::{self, escaped};
use super::{Report, Reporter, Row, Status, Style};
use std::io::{self, Write};

pub struct Junit;

impl Reporter for Junit {
    fn name(&self) -> &'static str {
        "junit"
    }

    fn extensions(&self) -> &'static [&'static str] {
        &["xml"]
    }

    fn write(&self, report: &Report, _: &Style, out: &mut dyn Write) -> io::Result<()> {
        let results: Vec<(&Row, Outcome)> = report
            .tensors
            .iter()
            .map(|row| (row, Outcome::of(row, report.exit_code)))
            .collect();
        let count = |wanted: Outcome| results.iter().filter(|(_, o)| *o == wanted).count();
        let counts = format!(
            r#"tests="{}" failures="{}" errors="{}" skipped="{}""#,
            results.len(),
            count(Outcome::Failure),
            count(Outcome::Error),
            count(Outcome::Skipped)
        );
        writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
        writeln!(out, r#"<testsuites name="tdiff" {counts}>"#)?;
        let suite = format!(
            "{} against {}",
            report.candidate.path, report.reference.path
        );
        writeln!(out, r#"  <testsuite name="{}" {counts}>"#, escaped(&suite))?;
        for (row, outcome) in &results {
            let class = row.stage.as_deref().unwrap_or("tensor");
            let case = format!(
                r#"classname="{}" name="{}""#,
                escaped(class),
                escaped(&row.key)
            );
            match outcome.element() {
                None => writeln!(out, "    <testcase {case}/>")?,
                Some(element) => writeln!(
                    out,
                    r#"    <testcase {case}><{element} message="{}"/></testcase>"#,
                    escaped(&row.reason)
                )?,
            }
        }
        writeln!(
            out,
            "    <system-out>{}</system-out>",
            escaped(&summary(report))
        )?;
        writeln!(out, "  </testsuite>\n</testsuites>")
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failure,
    Error,
    Skipped,
}

impl Outcome {
    fn of(row: &Row, exit_code: u8) -> Outcome {
        match row.status {
            Status::Identical | Status::Agreed => Outcome::Passed,
            Status::Diverged | Status::Incomparable => Outcome::Failure,
            Status::Unreadable => Outcome::Error,
            // allowed, when nothing failed
            Status::MissingInCandidate if exit_code != 0 => Outcome::Failure,
            Status::MissingInCandidate | Status::MissingInReference => Outcome::Skipped,
        }
    }

    fn element(self) -> Option<&'static str> {
        match self {
            Outcome::Passed => None,
            Outcome::Failure => Some("failure"),
            Outcome::Error => Some("error"),
            Outcome::Skipped => Some("skipped"),
        }
    }
}

fn summary(report: &Report) -> String {
    let mut lines = vec![text::verdict(report)];
    for d in &report.diagnosis {
        lines.push(format!("{} at {} [{}]", d.title, d.key, d.id));
        lines.extend(d.evidence.iter().map(|e| format!("  {e}")));
    }
    let notes = report.notes.iter();
    lines.extend(notes.map(|n| format!("note: {} [{}]", n.message, n.id)));
    lines.join("\n")
}
