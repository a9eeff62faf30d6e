//! What names and values do not settle: the rule of `--map` that does.

use crate::content::{HOLE, Likely, Names};
use crate::name::{Entry, Key, Map, Options, Side, pair};
use crate::note::Note;
use serde::Serialize;
use std::collections::BTreeSet;

/// Suggestions that a report shows.
const SHOWN: usize = 3;

/// Tensors that may be the same under other names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Names of the reference; the candidate's stand in the same order.
    pub reference: Vec<String>,
    pub candidate: Vec<String>,
    /// What speaks for it.
    pub why: String,
    /// The rule of `--map` that pairs them.
    pub map: String,
}

impl Suggestion {
    /// As it is typed in a shell.
    pub fn option(&self) -> String {
        format!("--map '{}'", self.map)
    }
}

/// The surest suggestions, as a note of the report.
pub fn note(suggestions: &[Suggestion]) -> Option<Note> {
    if suggestions.is_empty() {
        return None;
    }
    let mut lines = vec!["names that may mean the same; to pair them:".to_owned()];
    lines.extend(suggestions.iter().take(SHOWN).map(Suggestion::option));
    lines.push(match suggestions.len().saturating_sub(SHOWN) {
        0 => "tdiff pairs says why".to_owned(),
        more => format!("and {more} more: tdiff pairs"),
    });
    let names = suggestions
        .iter()
        .flat_map(|s| s.reference.iter().chain(&s.candidate));
    Some(Note::new("suggested_pairs", lines.join("\n")).about(names.cloned().collect()))
}

/// What to try when nothing pairs at all; empty without suggestions.
pub fn advice(suggestions: &[Suggestion]) -> String {
    match suggestions {
        [] => String::new(),
        all => {
            let options: Vec<String> = all.iter().take(SHOWN).map(Suggestion::option).collect();
            format!("; try {}", options.join(" "))
        }
    }
}

/// The rules that pair what values and words alone do not settle, the surest first. Every rule was tried: with it the names pair.
pub fn suggest(
    sides: [Names<'_>; 2],
    likely: &[Likely],
    keys: &[Vec<Key>; 2],
    options: &Options,
) -> Vec<Suggestion> {
    let links: Vec<Link<'_>> = likely.iter().map(|kind| Link { kind, keys }).collect();
    let trial = Trial {
        entries: sides.map(|side| side.entries),
        options,
    };
    let shown = |(link, map): (&Link<'_>, Map)| {
        let names = |side: usize| {
            let entries = link.kind.entries.iter();
            let entry = entries.map(|e| sides[side].entries[[e.0, e.1][side]].name.to_owned());
            entry.collect()
        };
        Suggestion {
            reference: names(0),
            candidate: names(1),
            why: link.why(sides),
            map: map.to_string(),
        }
    };
    trial.working(&links).into_iter().map(shown).collect()
}

/// Two kinds of names that may be the same.
struct Link<'a> {
    kind: &'a Likely,
    keys: &'a [Vec<Key>; 2],
}

impl Link<'_> {
    /// What may be typed; the name that tdiff knows stays.
    fn rules(&self) -> Vec<Map> {
        let [r, c] = [0, 1].map(|side| template(&self.kind.patterns[side]));
        let (first_r, first_c) = self.kind.entries[0];
        let cand = (Side::Candidate, &c, &r);
        let refe = (Side::Reference, &r, &c);
        let order = match (self.keys[0][first_r].stage, self.keys[1][first_c].stage) {
            (None, Some(_)) => [refe, cand],
            _ => [cand, refe],
        };
        let rule = |(side, from, to): (Side, &String, &String)| {
            let plain = !from.contains('=') && !from.contains('\'') && !to.contains('\'');
            plain.then(|| Map {
                side: Some(side),
                from: from.clone(),
                to: to.clone(),
            })
        };
        order.into_iter().filter_map(rule).collect()
    }

    fn why(&self, sides: [Names<'_>; 2]) -> String {
        let (r, c) = self.kind.entries[0];
        let [r, c] = [
            sides[0].tensors[r].info.shape(),
            sides[1].tensors[c].info.shape(),
        ];
        let size = match r == c {
            true => "same shape",
            false => "as many elements as",
        };
        let places = match self.kind.entries.len() {
            1 => String::new(),
            n => format!(", at {n} places"),
        };
        format!("{size} {r:?}{places}, nothing fits better")
    }
}

/// A pattern as `--map` writes it.
fn template(pattern: &str) -> String {
    let hole = match pattern.matches(HOLE).count() {
        1 => "{layer}",
        _ => "*",
    };
    pattern.replace(HOLE, hole)
}

/// The names, to try rules on.
struct Trial<'a> {
    entries: [&'a [Entry<'a>]; 2],
    options: &'a Options,
}

impl Trial<'_> {
    /// The links that a rule brings together, with that rule: all of them tried at once, else one by one.
    fn working<'l, 'k>(&self, links: &'l [Link<'k>]) -> Vec<(&'l Link<'k>, Map)> {
        /// Where they do not work together some are tried by themselves: so many, and of a large dump so many names in all.
        const TRIALS: usize = 20;
        const NAMES: usize = 40_000;
        let first = |link: &'l Link<'k>| Some((link, link.rules().into_iter().next()?));
        let all: Vec<(&Link<'_>, Map)> = links.iter().filter_map(first).collect();
        if all.is_empty() || self.works(&all) {
            return all;
        }
        let alone = |link: &'l Link<'k>| {
            let mut rules = link.rules().into_iter().map(|rule| (link, rule));
            rules.find(|rule| self.works(std::slice::from_ref(rule)))
        };
        let names: usize = self.entries.iter().map(|side| side.len()).sum();
        let trials = TRIALS.min(NAMES / names);
        links.iter().take(trials).filter_map(alone).collect()
    }

    /// Whether all that these rules are for pairs.
    fn works(&self, rules: &[(&Link<'_>, Map)]) -> bool {
        let mut options = self.options.clone();
        options.maps.extend(rules.iter().map(|r| r.1.clone()));
        let found = pair(self.entries[0], self.entries[1], &options).pairs;
        let found: BTreeSet<_> = found.iter().map(|p| (p.reference, p.candidate)).collect();
        let mut wanted = rules.iter().flat_map(|(link, _)| &link.kind.entries);
        wanted.all(|w| found.contains(w))
    }
}
