//! `tdiff pairs`: how names were understood, paired and ordered.

use crate::config::Config;
use crate::dump::{Guess, Tensor};
use crate::name::How;
use crate::pairs::{Made, Outcome, Pair, align_all};
use crate::run::{Plan, plan};
use crate::sides::{Side, one_side};
use anyhow::Result;
use comfy_table::{ContentArrangement, Table as Grid, presets};
use serde_json::{Value, json};
use std::io::Write;

pub fn execute(config: &Config, format: &str, out: &mut dyn Write) -> Result<u8> {
    let mut plan = plan(config)?;
    let paired = plan.pairs.iter();
    let paired = paired.filter(|p| matches!(p.outcome, Outcome::Pending));
    let paired = paired.count();
    // how the shapes fit is shown for each pair; what cannot be read stays without
    align_all(&mut plan.pairs);
    write(&plan, paired, format, out)?;
    Ok(0)
}

fn write(plan: &Plan, paired: usize, format: &str, out: &mut dyn Write) -> Result<()> {
    if format == "json" {
        serde_json::to_writer_pretty(&mut *out, &as_json(plan))?;
        return Ok(writeln!(out)?);
    }
    let tag = |t: &Option<String>| t.as_ref().map_or(String::new(), |t| format!(" (tag {t})"));
    let (r, c) = (&plan.sides.reference, &plan.sides.candidate);
    let side = |name: &str, side: &Side| {
        let (path, tag, n) = (side.path.display(), tag(&side.tag), side.tensors.len());
        format!("{name} {path}{tag}: {n} tensors")
    };
    let sides = match one_side(&plan.notes).is_some() {
        true => side("one side,", r),
        false => format!("{}; {}", side("reference", r), side("candidate", c)),
    };
    writeln!(
        out,
        "{paired} pairs; {sides}; order: {}",
        plan.order.basis.name()
    )?;
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty();
    grid.set_header(["key", "reference", "candidate", "layout"]);
    for column in grid.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for pair in &plan.pairs {
        grid.add_row([
            pair.key.to_string(),
            describe(pair.reference.as_deref(), pair, 0),
            describe(pair.candidate.as_deref(), pair, 1),
            layout(pair),
        ]);
    }
    writeln!(out, "{}", grid.trim_fmt())?;
    for note in &plan.notes {
        writeln!(out, "note: {} [{}]", note.message, note.id)?;
    }
    if !plan.suggestions.is_empty() {
        writeln!(out, "names that may mean the same; to pair them:")?;
    }
    for suggestion in &plan.suggestions {
        let [r, c] = [&suggestion.reference, &suggestion.candidate].map(|names| &names[0]);
        writeln!(out, "{}", suggestion.option())?;
        writeln!(out, "    {r} and {c}: {}", suggestion.why)?;
    }
    Ok(())
}

fn describe(tensor: Option<&Tensor>, pair: &Pair, side: usize) -> String {
    match tensor {
        Some(t) => format!(
            "{} {}{} {:?}{}",
            t.name,
            t.info.dtype(),
            guess(t),
            t.info.shape(),
            pair.made[side]
                .as_ref()
                .map_or(String::new(), |made| format!(" ← {}", made.how))
        ),
        None if matches!(pair.outcome, Outcome::Unreadable(_)) => "(unreadable)".into(),
        None => "–".into(),
    }
}

/// How the sides are brought together, where their shapes are not one.
fn layout(pair: &Pair) -> String {
    match (&pair.outcome, &pair.layout) {
        (Outcome::Incomparable(_), _) => "shapes do not fit".into(),
        (_, layout) => layout.clone().unwrap_or_default(),
    }
}

fn guess(t: &Tensor) -> &'static str {
    match t.guess {
        Some(Guess::Size) => "? (headerless)",
        Some(Guess::Bits) => "? (bits may be bf16 or f8)",
        Some(Guess::Shape) => " (no shape given)",
        Some(Guess::Partner) | None => "",
    }
}

fn as_json(plan: &Plan) -> Value {
    let side = |t: Option<&Tensor>, made: &Option<Made>| match t {
        Some(t) => {
            let made = made.as_ref().map(|m| m.how.as_str());
            json!({"name": t.name, "path": t.origin.path.display().to_string(), "dtype": t.info.dtype().name(), "shape": t.info.shape(), "made_of": made})
        }
        None => Value::Null,
    };
    let pairs: Vec<Value> = plan
        .pairs
        .iter()
        .map(|p| json!({"key": p.key.to_string(), "how": p.how.map(How::name), "reference": side(p.reference.as_deref(), &p.made[0]), "candidate": side(p.candidate.as_deref(), &p.made[1]), "layout": p.layout}))
        .collect();
    let dump = |side: &Side| json!({"path": side.path.display().to_string(), "tag": side.tag});
    let one_side = one_side(&plan.notes).is_some();
    json!({
        "schema": 1,
        "reference": dump(&plan.sides.reference),
        "candidate": if one_side { Value::Null } else { dump(&plan.sides.candidate) },
        "order": plan.order.basis.name(),
        "pairs": pairs,
        "notes": plan.notes,
        "suggestions": plan.suggestions,
    })
}
