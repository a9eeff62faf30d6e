//! `tdiff explain`: what a cause, metric, stage or grade means, and what to do about it.

mod notes;

use crate::causes::CAUSES;
use crate::compare::metric::METRICS;
use crate::graph::{Node, Spelling, graph};
use crate::name::Stage;
use crate::report::Style;
use crate::report::table::wrap;
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
        explain_stage(stage, width, out)?;
    } else if let Some(at) = graph().families.iter().position(|f| f.name == id) {
        explain_family(at, width, out)?;
    } else if let Some((note, meaning)) = NOTES.iter().find(|n| n.0 == id) {
        writeln!(out, "{note} — a note")?;
        entry("", meaning, width, out)?;
    } else {
        bail!(
            "`{id}` is no cause, metric, stage, family, grade or note{}",
            nearest(id)
        );
    }
    Ok(0)
}

fn explain_stage(stage: Stage, width: usize, out: &mut dyn Write) -> Result<()> {
    let node = graph().node(stage);
    let family = &graph().families[node.family].name;
    writeln!(out, "{stage} — a stage of {family}")?;
    entry("what it holds", node.holds, width, out)?;
    if !node.operation.is_empty() {
        entry("operation", node.operation, width, out)?;
    }
    let parents: Vec<&str> = stage.parents().iter().map(|p| p.name()).collect();
    let from = match parents.is_empty() {
        true => "nothing: an input".to_owned(),
        false => parents.join(", "),
    };
    entry("computed from", &from, width, out)?;
    entry("when it diverges", stage.hint(), width, out)?;
    let mut by_dialect: Vec<(&str, Vec<&str>)> = Vec::new();
    let spellings = node.names.iter().chain(&node.modules);
    for Spelling { dialect, text } in spellings {
        match by_dialect.iter_mut().find(|(known, _)| known == dialect) {
            Some((_, texts)) => texts.push(text),
            None => by_dialect.push((dialect, vec![text])),
        }
    }
    for (dialect, texts) in by_dialect {
        entry(
            &format!("written by {dialect}"),
            &texts.join(", "),
            width,
            out,
        )?;
    }
    Ok(())
}

/// The nodes of a family that have a meaning of their own, in pipeline order, and how many others there are.
fn nodes_of(family: usize) -> (Vec<&'static Node>, usize) {
    let nodes = graph()
        .stages()
        .iter()
        .map(|s| graph().node(*s))
        .filter(|n| n.family == family);
    let (blocks, named): (Vec<&Node>, Vec<&Node>) = nodes.partition(|n| n.per_block);
    (named, blocks.len())
}

/// How many nodes only tell in which order the modules of a block run.
fn in_blocks(count: usize) -> String {
    format!("and {count} more that tell in which order the modules of a block run")
}

fn explain_family(at: usize, width: usize, out: &mut dyn Write) -> Result<()> {
    let family = &graph().families[at];
    writeln!(out, "{} — a family of stages", family.name)?;
    entry("", family.about, width, out)?;
    let (nodes, blocks) = nodes_of(at);
    writeln!(out)?;
    for node in nodes {
        let lines = wrap(node.holds, width.saturating_sub(INDENT).max(30));
        for (i, line) in lines.iter().enumerate() {
            let name = if i == 0 { node.name } else { "" };
            writeln!(out, "  {name:<20} {line}")?;
        }
    }
    if blocks > 0 {
        writeln!(out, "  {}", in_blocks(blocks))?;
    }
    Ok(())
}

/// Families, each with the names of its stages.
fn families(width: usize, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "stages, by family")?;
    for (at, family) in graph().families.iter().enumerate() {
        entry(
            "",
            &format!("{}: {}", family.name, family.about),
            width,
            out,
        )?;
        let (nodes, blocks) = nodes_of(at);
        let mut names: Vec<String> = nodes.iter().map(|n| n.name.to_owned()).collect();
        if blocks > 0 {
            names.push(in_blocks(blocks));
        }
        for line in wrap(&names.join(", "), width.saturating_sub(4).max(30)) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// Columns before what a stage holds.
const INDENT: usize = 23;

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
    families(width, out)?;
    writeln!(out, "grades")?;
    entry("", &words(GRADES.iter().map(|g| g.0).collect()), width, out)?;
    writeln!(out, "notes")?;
    entry("", &words(NOTES.iter().map(|n| n.0).collect()), width, out)
}

fn entry(label: &str, text: &str, width: usize, out: &mut dyn Write) -> Result<()> {
    if !label.is_empty() {
        writeln!(out, "\n{label}:")?;
    }
    for line in wrap(text, width.saturating_sub(2).max(30)) {
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
        .chain(graph().stages().iter().map(|s| s.name()))
        .chain(graph().families.iter().map(|f| f.name))
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
            .chain(graph().stages().iter().map(|s| s.name()))
            .chain(GRADES.iter().map(|g| g.0))
            .chain(graph().families.iter().map(|f| f.name))
        {
            assert!(text(Some(id)).unwrap().starts_with(id), "{id}");
        }
        assert!(text(None).unwrap().contains("norm_eps"));
    }

    #[test]
    fn a_stage_says_what_it_holds_and_how_producers_write_it() {
        let said = text(Some("q_proj")).unwrap();
        for part in [
            "a stage of decoder",
            "what it holds:",
            "operation:\n  linear",
            "computed from:\n  attn_norm",
            "written by huggingface:\n  self_attn.q_proj",
            "written by llama.cpp:",
        ] {
            assert!(said.contains(part), "no `{part}` in {said}");
        }
    }

    #[test]
    fn families_name_their_stages_and_count_what_orders_blocks() {
        let all = text(None).unwrap();
        let decoder = text(Some("decoder")).unwrap();
        for family in &graph().families {
            assert!(all.contains(&format!("  {}: ", family.name)), "{all}");
        }
        assert!(decoder.contains("\n  tok_embed            rows of the token table\n"));
        let diffusion = text(Some("diffusion")).unwrap();
        assert!(
            diffusion.contains(" more that tell in which order"),
            "{diffusion}"
        );
        let all_but_causes = all.split("metrics\n").nth(1).unwrap();
        for said in [all_but_causes, &decoder, &text(Some("output")).unwrap()] {
            let widest = said.lines().map(|l| l.chars().count()).max();
            assert!(widest <= Some(80), "{said}");
        }
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
