//! What does not pair may belong together under other names: suggestions, each with the rule of `--map` that brings its tensors
//! together.

mod kind;

use crate::dump::Tensor;
use crate::name::{Entry, Key, Map, Options, Pairing, Side, pair, untagged};
use crate::note::Note;
use kind::{Kind, Member, add, likeness};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds of names of each side that are held against each other.
const MOST: usize = 200;
/// A sample that differs by less belongs to the same tensor.
const NEAR: f64 = 0.02;
/// Of two partners whose scores are closer together neither is the better one.
const MARGIN: f64 = 0.05;
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

/// One side: its entries, and the tensors of the first of them.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    pub entries: &'a [Entry<'a>],
    pub tensors: &'a [Arc<Tensor>],
}

/// Suggests partners for what `pairing` left alone, the surest first. Every rule was tried: with it the tensors pair, and all
/// that paired before still does.
pub fn suggest(
    reference: Names<'_>,
    candidate: Names<'_>,
    pairing: &Pairing,
    options: &Options,
) -> Vec<Suggestion> {
    let r = kinds(
        reference,
        &pairing.only_reference,
        pairing.reference_tag.as_deref(),
    );
    let c = kinds(
        candidate,
        &pairing.only_candidate,
        pairing.candidate_tag.as_deref(),
    );
    let links = choose(likely(&r, &c));
    if links.is_empty() {
        return Vec::new();
    }
    let trial = Trial {
        entries: [reference.entries, candidate.entries],
        pairs: pairs_of(pairing),
        options,
    };
    let shown = |(link, map): (&Link<'_>, Map)| {
        let names = |of: Names<'_>, at: fn(&(usize, usize)) -> usize| {
            let entries = link.entries().into_iter();
            entries
                .map(|e| of.entries[at(&e)].name.to_owned())
                .collect()
        };
        Suggestion {
            reference: names(reference, |e| e.0),
            candidate: names(candidate, |e| e.1),
            why: link.why.clone(),
            map: map.to_string(),
        }
    };
    trial.working(&links).into_iter().map(shown).collect()
}

fn kinds<'a>(side: Names<'a>, alone: &'a [(usize, Key)], tag: Option<&str>) -> Vec<Kind<'a>> {
    let mut kinds = Vec::new();
    for (entry, key) in alone {
        // what cannot be read has no tensor
        let Some(tensor) = side.tensors.get(*entry) else {
            continue;
        };
        let Entry { name, shape, .. } = side.entries[*entry];
        let member = Member::new(*entry, key, shape, tensor);
        add(&mut kinds, &untagged(name, tag), member, MOST);
    }
    kinds
}

fn pairs_of(pairing: &Pairing) -> BTreeSet<(usize, usize)> {
    let pairs = pairing.pairs.iter();
    pairs.map(|p| (p.reference, p.candidate)).collect()
}

/// A kind of the reference and one of the candidate, and what speaks for them.
struct Link<'a> {
    of: [usize; 2],
    kinds: [&'a Kind<'a>; 2],
    joined: Vec<(&'a Member<'a>, &'a Member<'a>)>,
    score: f64,
    /// It holds only where no other kind of the same shape is left.
    if_alone: bool,
    why: String,
}

impl Link<'_> {
    /// The entries of both sides.
    fn entries(&self) -> Vec<(usize, usize)> {
        self.joined
            .iter()
            .map(|(r, c)| (r.entry, c.entry))
            .collect()
    }

    /// What may be typed; the name that tdiff knows stays.
    fn rules(&self) -> Vec<Map> {
        let [r, c] = self.kinds.map(Kind::template);
        let (first_r, first_c) = self.joined[0];
        let cand = (Side::Candidate, &c, &r);
        let refe = (Side::Reference, &r, &c);
        let order = match (first_r.key.stage, first_c.key.stage) {
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
}

/// Every two kinds that may be the same.
fn likely<'a>(r: &'a [Kind<'a>], c: &'a [Kind<'a>]) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    for (i, kind_r) in r.iter().enumerate() {
        for (j, kind_c) in c.iter().enumerate() {
            links.extend(link([i, j], [kind_r, kind_c]));
        }
    }
    // a shape alone says something where it is left once on either side
    let mut shared: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for link in &links {
        for side in [0, 1] {
            *shared.entry((side, link.of[side])).or_default() += 1;
        }
    }
    links.retain(|l| !l.if_alone || [0, 1].iter().all(|&side| shared[&(side, l.of[side])] == 1));
    links
}

/// What speaks for two kinds; `None` where shapes, stages or places speak against them.
fn link<'a>(of: [usize; 2], [r, c]: [&'a Kind<'a>; 2]) -> Option<Link<'a>> {
    if r.holes() != c.holes() {
        return None;
    }
    let mut joined = (r.members.iter()).filter_map(|(at, r)| Some((r, c.members.get(at)?)));
    let (first_r, first_c) = joined.next()?;
    let len = |shape: &[usize]| shape.iter().product::<usize>();
    let sizes = |(r, c): &(&Member<'_>, &Member<'_>)| r.shape.map(len).zip(c.shape.map(len));
    let fit = |pair: &(&Member<'_>, &Member<'_>)| sizes(pair).is_none_or(|(a, b)| a == b);
    let alike = likeness(&r.words, &c.words);
    let sized = sizes(&(first_r, first_c)).is_some_and(|(a, b)| a == b);
    let off = if sized {
        difference(first_r, first_c)
    } else {
        None
    };
    let near = off.is_some_and(|off| off < NEAR);
    // most kinds have nothing in common: this is seen at their first tensors
    if !near && alike < 0.15 || !fit(&(first_r, first_c)) {
        return None;
    }
    let joined: Vec<_> = std::iter::once((first_r, first_c)).chain(joined).collect();
    if !joined.iter().all(fit) {
        return None;
    }
    let known = joined.iter().all(|pair| sizes(pair).is_some());
    let equal = joined.iter().all(|(r, c)| r.shape == c.shape);
    let stages = (first_r.key.stage, first_c.key.stage);
    let contrary = matches!(stages, (Some(a), Some(b)) if a != b);
    let (by_name, by_shape) = match known {
        true => (alike >= 0.35, equal && alike >= 0.15),
        false => (alike >= 0.6, false),
    };
    if !near && (contrary || !(by_name || by_shape)) {
        return None;
    }
    let mut why = Vec::new();
    match off {
        Some(0.0) => why.push("equal values".to_owned()),
        Some(off) if near => why.push(format!("values agree to {off:.0e}")),
        _ => {}
    }
    let shape = first_r.shape.unwrap_or_default();
    match (known, equal) {
        (true, true) => why.push(format!("same shape {shape:?}")),
        (true, false) => why.push(format!("as many elements as {shape:?}")),
        _ => {}
    }
    if alike >= 0.35 {
        why.push("names alike".to_owned());
    }
    if joined.len() > 1 {
        why.push(format!("at {} places", joined.len()));
    }
    let covered = joined.len() as f64 / r.members.len().max(c.members.len()) as f64;
    let same_type = first_r.tensor.info.dtype() == first_c.tensor.info.dtype();
    let score = alike
        + 0.3 * covered
        + if near { 2.0 } else { 0.0 }
        + if known && equal { 0.3 } else { 0.0 }
        + if same_type { 0.1 } else { 0.0 };
    Some(Link {
        of,
        kinds: [r, c],
        score,
        if_alone: !near && !by_name,
        why: why.join(", "),
        joined,
    })
}

/// ‖c−r‖/‖r‖ over samples of both; `None` where a sample is too short or too even to tell tensors apart.
fn difference(r: &Member<'_>, c: &Member<'_>) -> Option<f64> {
    const FEWEST: usize = 4;
    let (r, c) = (r.sample()?, c.sample()?);
    let finite = || {
        r.iter()
            .zip(c)
            .filter(|(r, c)| r.is_finite() && c.is_finite())
    };
    let even = finite().all(|(r, _)| *r == 0.0 || *r == finite().next().map_or(0.0, |f| *f.0));
    if r.len() != c.len() || finite().count() < FEWEST || even {
        return None;
    }
    let norm: f64 = finite().map(|(r, _)| r * r).sum();
    let off: f64 = finite().map(|(r, c)| (c - r) * (c - r)).sum();
    Some((off / norm).sqrt())
}

/// The links that are the best of both their kinds, the surest first.
fn choose(mut links: Vec<Link<'_>>) -> Vec<Link<'_>> {
    links.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.of.cmp(&b.of)));
    let mut chosen: Vec<usize> = Vec::new();
    let mut taken = [BTreeSet::new(), BTreeSet::new()];
    // what was not clear at first may be when others are gone
    for _ in 0..3 {
        for (at, link) in links.iter().enumerate() {
            let is_open = |l: &Link<'_>| (0..2).all(|side| !taken[side].contains(&l.of[side]));
            if !is_open(link) {
                continue;
            }
            let shares = |l: &Link<'_>| l.of[0] == link.of[0] || l.of[1] == link.of[1];
            let near = |l: &&Link<'_>| (l.score - link.score).abs() < MARGIN;
            let behind = links[at + 1..].iter().take_while(near);
            let before = links[..at].iter();
            if !before.chain(behind).any(|l| shares(l) && is_open(l)) {
                chosen.push(at);
                taken[0].insert(link.of[0]);
                taken[1].insert(link.of[1]);
            }
        }
    }
    chosen.sort_unstable();
    let mut at = 0..;
    links.retain(|_| {
        at.next()
            .is_some_and(|at| chosen.binary_search(&at).is_ok())
    });
    links
}

/// What pairs without further rules, to try rules on.
struct Trial<'a> {
    entries: [&'a [Entry<'a>]; 2],
    pairs: BTreeSet<(usize, usize)>,
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

    /// Whether all that these rules are for pairs, and what paired without them still does.
    fn works(&self, rules: &[(&Link<'_>, Map)]) -> bool {
        let mut options = self.options.clone();
        options.maps.extend(rules.iter().map(|r| r.1.clone()));
        let found = pairs_of(&pair(self.entries[0], self.entries[1], &options));
        let wanted = rules.iter().flat_map(|(link, _)| link.entries());
        self.pairs.is_subset(&found) && wanted.into_iter().all(|w| found.contains(&w))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::dump::{Payload, TensorInfo, formats};
    use std::path::Path;

    /// Tensors by name, shape, and what their values begin with.
    fn dump(rows: &[(&str, &[usize], f32)]) -> Vec<Arc<Tensor>> {
        let tensor = |&(name, shape, first): &(&str, &[usize], f32)| {
            let info = TensorInfo::new(DType::F32, shape.to_vec()).unwrap();
            let values = (0..info.len()).flat_map(|i| (first + i as f32).to_le_bytes());
            let payload = Payload::Memory(values.collect::<Vec<u8>>().into());
            Arc::new(formats::tensor(
                Path::new("x.npz"),
                "npz",
                name.into(),
                info,
                payload,
            ))
        };
        rows.iter().map(tensor).collect()
    }

    fn suggested(r: &[(&str, &[usize], f32)], c: &[(&str, &[usize], f32)]) -> Vec<Suggestion> {
        let (r, c) = (dump(r), dump(c));
        let entry = |t: &'static Arc<Tensor>| Entry {
            name: &t.name,
            shape: Some(t.info.shape()),
            ..Entry::default()
        };
        let [r, c]: [&'static [Arc<Tensor>]; 2] = [r.leak(), c.leak()];
        let entries: [Vec<Entry<'_>>; 2] =
            [r.iter().map(entry).collect(), c.iter().map(entry).collect()];
        let options = Options::default();
        let pairing = pair(&entries[0], &entries[1], &options);
        let names = |entries, tensors| Names { entries, tensors };
        suggest(
            names(&entries[0], r),
            names(&entries[1], c),
            &pairing,
            &options,
        )
    }

    fn maps(r: &[(&str, &[usize], f32)], c: &[(&str, &[usize], f32)]) -> Vec<String> {
        suggested(r, c).into_iter().map(|s| s.map).collect()
    }

    #[test]
    fn one_rule_covers_all_layers() {
        let r: &[(&str, &[usize], f32)] = &[
            ("layers.0.mlp.zig_gate", &[2, 8], 1.0),
            ("layers.1.mlp.zig_gate", &[2, 8], 2.0),
        ];
        let c: &[(&str, &[usize], f32)] = &[
            ("layers.0.mlp.zag_gate", &[2, 8], 1.0),
            ("layers.1.mlp.zag_gate", &[2, 8], 2.0),
        ];
        let found = suggested(r, c);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].map,
            "cand:layers.{layer}.mlp.zag_gate=layers.{layer}.mlp.zig_gate"
        );
        assert_eq!(
            found[0].why,
            "equal values, same shape [2, 8], names alike, at 2 places"
        );
        assert_eq!(found[0].candidate[1], "layers.1.mlp.zag_gate");
    }

    #[test]
    fn equal_values_outweigh_names_and_an_unclear_choice_is_none() {
        let r: &[(&str, &[usize], f32)] = &[("alpha", &[8], 5.0), ("beta", &[8], 90.0)];
        let c: &[(&str, &[usize], f32)] = &[("gamma", &[8], 90.0), ("delta", &[8], 5.0)];
        assert_eq!(maps(r, c), ["cand:delta=alpha", "cand:gamma=beta"]);
        let c: &[(&str, &[usize], f32)] = &[("gamma", &[8], 700.0), ("delta", &[8], 400.0)];
        assert_eq!(maps(r, c), [""; 0]);
    }

    #[test]
    fn other_sizes_and_other_stages_are_not_the_same() {
        let one = |name, n: &'static [usize]| -> Vec<String> {
            maps(
                &[
                    ("layers.0.mlp.zig", &[8], 1.0),
                    ("layers.0.q_proj", &[8], 3.0),
                ],
                &[(name, n, 50.0), ("z", &[2], 0.0)],
            )
        };
        assert_eq!(one("layers.0.mlp.zag", &[9]), [""; 0]);
        assert_eq!(one("layers.0.k_proj", &[8]), [""; 0]);
        assert_eq!(one("layers.0.mlp.zag", &[8]).len(), 1);
    }
}
