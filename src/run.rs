//! The pipeline, top to bottom: open, pair, align, compare, judge, localise, diagnose, report.

use crate::assemble::Results;
use crate::causes;
use crate::config::Config;
use crate::content::{Names, settle};
use crate::diagnose::investigate;
use crate::error::{Error, Result};
use crate::join::{blame, join};
use crate::judge::{Rules, judge_all};
use crate::localise::{self, Graph, doubtful};
use crate::name::{self, Key, pair};
use crate::note::Note;
use crate::order::{self, Sequence, unused};
use crate::pairs::{Outcome, Pair, align_all, compare_all};
use crate::report::Report;
use crate::sides::{Selection, Side, Sides, Slot, one_side};
use crate::suggest::{self, Suggestion, suggest};
use crate::text::count;
use crate::threads;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is worth a progress line.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Bytes of both sides that will be read.
    Total(u64),
    /// So many bytes more are done.
    Bytes(u64),
}

/// Compares two dumps (or the two sides of one) and says where and why they first diverge.
pub fn run(config: &Config, progress: &(dyn Fn(Progress) + Sync)) -> Result<Report> {
    let Plan {
        sides,
        mut pairs,
        order,
        mut notes,
        suggestions,
    } = plan(config)?;
    if let Some(alone) = one_side(&notes) {
        return Err(Error::OneSide(alone.message.clone()));
    }
    if !pairs
        .iter()
        .any(|p| matches!(p.outcome, Outcome::Pending | Outcome::Unreadable(_)))
    {
        let advice = suggest::advice(&suggestions);
        return Err(Error::NothingPairs(nothing_pairs(&sides) + &advice));
    }
    notes.extend(merged(align_all(&mut pairs)));
    progress(Progress::Total(pairs.iter().map(Pair::bytes).sum()));
    notes.extend(merged(compare_all(
        &mut pairs,
        config.tolerance.element,
        &|bytes| progress(Progress::Bytes(bytes)),
    )));
    let rules = Rules::new(&config.tolerance);
    for glob in rules.unused(&pairs) {
        notes.push(Note::new(
            "glob_unused",
            format!("a limit for `{glob}` matches no tensor"),
        ));
    }
    let mut findings = judge_all(&pairs, &rules);
    let graph = Graph::of(&pairs);
    let mut conclusion = investigate(&pairs, &findings, &graph);
    let doubtful = doubtful(&pairs, &conclusion.localisation, &graph);
    for &i in &doubtful {
        pairs[i].outcome = Outcome::Incomparable(localise::reason(&pairs[i]));
        findings[i] = None;
    }
    if !doubtful.is_empty() {
        conclusion = investigate(&pairs, &findings, &graph);
    }
    notes.extend(doubt_note(&pairs, &doubtful));
    notes.extend(conclusion.notes.iter().cloned());
    let first = conclusion.localisation.first();
    if let Some((i, (side, part, text))) = first.and_then(|i| Some((i, blame(&pairs[i])?))) {
        let pair = &mut pairs[i];
        notes.push(Note::new("part_differs", text).about(vec![pair.key.to_string()]));
        let whole = [&mut pair.reference, &mut pair.candidate][side].as_mut();
        if let Some(whole) = whole.map(Arc::make_mut) {
            whole.name.clone_from(&part.tensor.name);
            whole.origin = part.tensor.origin.clone();
        }
    }
    notes.extend(missing_notes(&pairs, config));
    notes.extend(suggest::note(&suggestions));
    notes.extend(lost_notes(&pairs));
    notes.extend(partial_note(&pairs));
    notes.extend(nothing_finite_note(&pairs));
    let report = Results {
        config,
        sides: &sides,
        pairs: &pairs,
        findings: &findings,
        graph: &graph,
        conclusion: &conclusion,
        order: &order,
        notes,
    }
    .report();
    threads::aside(pairs.len(), MANY, move || drop((sides, pairs)));
    Ok(report)
}

/// To close and free the tensors of so many pairs takes as long as to write their rows.
const MANY: usize = 1000;

/// How the names of both sides were understood: pairs in pipeline order, nothing compared yet.
#[derive(Debug)]
pub struct Plan {
    pub sides: Sides,
    pub pairs: Vec<Pair>,
    pub order: Sequence,
    pub notes: Vec<Note>,
    /// Partners for what one side alone has.
    pub suggestions: Vec<Suggestion>,
}

/// Opens both sides, pairs and orders their tensors. What cannot be read takes part by its name.
pub fn plan(config: &Config) -> Result<Plan> {
    let mut sides = Sides::open(config)?;
    let mut notes = sides.notes();
    let lost = [sides.reference.lost_names(), sides.candidate.lost_names()];
    let r = sides.reference.entries(&lost[0]);
    let c = sides.candidate.entries(&lost[1]);
    let mut pairing = pair(&r, &c, &sides.options);
    let (slots, told) = join(&sides, Slot::all(&pairing), &pairing.keys);
    let joined = Slot::apart(slots, &mut pairing);
    let names = [
        Names {
            entries: &r,
            tensors: &sides.reference.tensors,
        },
        Names {
            entries: &c,
            tensors: &sides.candidate.tensors,
        },
    ];
    let likely = settle(names, &mut pairing);
    let slots = Slot::together(joined, &pairing);
    // what could have been each of several was one of them, or a part
    let open: BTreeSet<&str> = pairing.only_reference.iter().map(|o| r[o.0].name).collect();
    let is_told = |n: &&name::Note| {
        n.id != "ambiguous_names" || n.names.iter().any(|n| open.contains(n.as_str()))
    };
    let names_say = pairing.notes.iter().filter(is_told);
    notes.extend(names_say.map(|n| Note::new(n.id, n.message.clone()).about(n.names.clone())));
    notes.extend(told);
    let mut suggestions = suggest(names, &likely, &pairing.keys, &sides.options);
    let keys = [keys_of(&slots, 0, r.len()), keys_of(&slots, 1, c.len())];
    let items = [
        sides.reference.items(&r, &pairing.places[0], &keys[0]),
        sides.candidate.items(&c, &pairing.places[1], &keys[1]),
    ];
    let places: Vec<order::Slot<'_>> = slots.iter().map(|s| s.place(&r, &c)).collect();
    let lines = sides.options.order.as_deref();
    let mut order = Sequence::new(&places, [&items[0], &items[1]], lines);
    notes.extend(order_note(&unused(&places, lines.unwrap_or_default())));
    let mut pairs: Vec<Pair> = order.slots.iter().map(|&i| sides.pair(&slots[i])).collect();
    let tags = (pairing.reference_tag, pairing.candidate_tag);
    sides.reference.tag = sides.reference.tag.take().or(tags.0);
    sides.candidate.tag = sides.candidate.tag.take().or(tags.1);
    let selection = Selection::new(config)?;
    let before = pairs.len();
    if !selection.is_everything() {
        order.retain(|at| selection.takes(&pairs[at].names()));
        pairs.retain(|p| selection.takes(&p.names()));
        suggestions.retain(|s| selection.takes(&s.reference) && selection.takes(&s.candidate));
    }
    if pairs.is_empty() && before > 0 && one_side(&notes).is_none() {
        return Err(Error::NothingPairs(format!(
            "--only and --skip leave none of {before} tensors"
        )));
    }
    Ok(Plan {
        sides,
        pairs,
        order,
        notes,
        suggestions,
    })
}

/// The key of every entry of a side.
fn keys_of(slots: &[Slot], side: usize, len: usize) -> Vec<Key> {
    let mut keys = vec![Key::default(); len];
    for slot in slots.iter().rev() {
        if let Some(i) = [slot.reference, slot.candidate][side] {
            keys[i] = slot.key.clone();
        }
    }
    keys
}

fn nothing_pairs(sides: &Sides) -> String {
    let names = |side: &Side| {
        let names: Vec<&str> = side
            .tensors
            .iter()
            .take(3)
            .map(|t| t.name.as_str())
            .collect();
        let more = if side.tensors.len() > 3 { ", …" } else { "" };
        format!(
            "{} ({}: {}{more})",
            side.path.display(),
            count(side.tensors.len(), "tensor"),
            names.join(", ")
        )
    };
    format!(
        "no tensor of {} pairs with one of {}; see `tdiff pairs`, and use --map FROM=TO where names differ",
        names(&sides.reference),
        names(&sides.candidate)
    )
}

/// One note of each kind, with the tensors that it is about.
fn merged(keyed: Vec<(String, Note)>) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    for (key, note) in keyed {
        match notes.iter_mut().find(|n| n.id == note.id) {
            Some(known) => known.tensors.push(key),
            None => notes.push(note.about(vec![key])),
        }
    }
    for n in notes.iter_mut().filter(|n| n.tensors.len() > 1) {
        n.message = format!("{} (and {} more like it)", n.message, n.tensors.len() - 1);
    }
    notes
}

/// Lines of --order that name nothing.
fn order_note(lines: &[&str]) -> Option<Note> {
    let first = lines.first()?;
    let message = match lines.len() {
        1 => format!("the line `{first}` of --order names no tensor"),
        n => format!("{n} lines of --order name no tensor, the first is `{first}`"),
    };
    Some(Note::new("order_unused", message))
}

/// Tensors that one side has and the other has not.
fn missing_notes(pairs: &[Pair], config: &Config) -> Vec<Note> {
    let keys = |wanted: fn(&Outcome) -> bool| -> Vec<String> {
        pairs
            .iter()
            .filter(|p| wanted(&p.outcome))
            .map(|p| p.key.to_string())
            .collect()
    };
    let lacking = keys(|o| matches!(o, Outcome::MissingInCandidate));
    let extra = keys(|o| matches!(o, Outcome::MissingInReference));
    let mut notes = Vec::new();
    if !lacking.is_empty() {
        let allowed = if config.allow_missing {
            " (allowed)"
        } else {
            "; --allow-missing lets that pass"
        };
        notes.push(
            Note::new(
                causes::MISSING_FILES.id,
                format!("the candidate lacks {}{allowed}", some(&lacking)),
            )
            .about(lacking),
        );
    }
    if !extra.is_empty() {
        notes.push(
            Note::new(
                "extra_files",
                format!("only the candidate has {}", some(&extra)),
            )
            .about(extra),
        );
    }
    notes
}

/// Pairs that were taken apart again, or that no layout reconciles, while all around agrees.
fn doubt_note(pairs: &[Pair], doubtful: &[usize]) -> Option<Note> {
    let first = localise::reason(&pairs[*doubtful.first()?]);
    let keys: Vec<String> = doubtful.iter().map(|&i| pairs[i].key.to_string()).collect();
    let more = match keys.len() {
        1 => String::new(),
        n => format!(" (and {} more like it)", n - 1),
    };
    Some(Note::new("not_compared", format!("{first}{more}")).about(keys))
}

/// How many tensors, and the first of them.
fn some(keys: &[String]) -> String {
    const FEW: usize = 3;
    let first = keys[..keys.len().min(FEW)].join(", ");
    match keys.len() {
        1 => first,
        n if n <= FEW => format!("{n} tensors: {first}"),
        n => format!("{n} tensors: {first}, …"),
    }
}

fn lost_notes(pairs: &[Pair]) -> Vec<Note> {
    let lost = pairs.iter().filter_map(|p| match &p.outcome {
        Outcome::Unreadable(lost) => {
            Some(Note::new(lost.id, lost.error.clone()).about(vec![p.key.to_string()]))
        }
        _ => None,
    });
    lost.collect()
}

fn partial_note(pairs: &[Pair]) -> Option<Note> {
    let partial: Vec<&Pair> = pairs.iter().filter(|p| p.is_partial()).collect();
    let known: u64 = partial
        .iter()
        .filter_map(|p| p.stats())
        .map(|s| s.reference.count)
        .sum();
    let all: usize = partial
        .iter()
        .filter_map(|p| p.aligned.as_ref())
        .map(|(r, _)| r.info.len())
        .sum();
    (!partial.is_empty()).then(|| {
        let keys = partial.iter().map(|p| p.key.to_string()).collect();
        Note::new(
            "partial_tensors",
            format!(
                "{known} of {all} elements of {} are known and were compared",
                count(partial.len(), "tensor")
            ),
        )
        .about(keys)
    })
}

/// Tensors that agree because neither side has a value that could differ.
fn nothing_finite_note(pairs: &[Pair]) -> Option<Note> {
    let empty = pairs.iter().filter(|p| {
        let stats = p.stats();
        stats.is_some_and(|s| s.diff.count == 0 && s.reference.count > 0)
    });
    let keys: Vec<String> = empty.map(|p| p.key.to_string()).collect();
    (!keys.is_empty()).then(|| {
        Note::new(
            "nothing_finite",
            format!(
                "{}: no value is finite on both sides, so nothing was compared",
                some(&keys)
            ),
        )
        .about(keys)
    })
}
