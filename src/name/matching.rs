//! The rules of pairing, one after the other: each takes what the ones before it left.

use super::context::Names;
use super::pairing::{FEW, How, Note, Paired, Pairing};
use super::read::is_leading_noise;
use super::words::{joined, split, split_humps};
use super::{Entry, Key, Stage};
use crate::threads::both;
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Stands among the words of a node inside a module, which is never the module.
const INNER_NODE: &str = "(node)";

/// The part of the model that all layers of a side belong to.
fn one_tower(keys: &[Key]) -> Option<&'static str> {
    let layers = keys.iter().filter(|k| k.layer.is_some());
    let towers: BTreeSet<&'static str> = layers.map(Key::tower).collect();
    towers.first().copied().filter(|_| towers.len() == 1)
}

/// One side while it is paired.
pub(super) struct Half<'a> {
    pub names: &'a Names<'a>,
    pub plain: Vec<String>,
    pub keys: Vec<Key>,
}

impl<'a> Half<'a> {
    fn entry(&self, i: usize) -> &Entry<'a> {
        &self.names.entries[i]
    }

    /// What a name is about: its words without those that say nothing.
    fn words(&self, i: usize) -> BTreeSet<&str> {
        let raw = &self.names.raws[i];
        let noise = raw.before.iter().take_while(|w| is_leading_noise(w));
        let words = raw.before[noise.count()..].iter().chain(&raw.after);
        words
            .filter(|w| !w.is_any(&["output", "outputs", "0"]))
            .map(|w| w.lower.as_str())
            .chain(Some(raw.clean.view.as_str()).filter(|v| !v.is_empty()))
            .chain(raw.parameter.as_deref())
            .chain((raw.clean.inner || raw.clean.function).then_some(INNER_NODE))
            .collect()
    }
}

pub(super) struct Matcher<'a> {
    r: Half<'a>,
    c: Half<'a>,
    of_r: Vec<Option<(usize, How)>>,
    of_c: Vec<Option<usize>>,
    notes: Vec<Note>,
}

impl<'a> Matcher<'a> {
    pub fn new(r: Half<'a>, c: Half<'a>) -> Self {
        Matcher {
            of_r: vec![None; r.keys.len()],
            of_c: vec![None; c.keys.len()],
            r,
            c,
            notes: Vec::new(),
        }
    }

    fn open_r(&self) -> Vec<usize> {
        (0..self.of_r.len())
            .filter(|&i| self.of_r[i].is_none())
            .collect()
    }

    fn open_c(&self) -> Vec<usize> {
        (0..self.of_c.len())
            .filter(|&i| self.of_c[i].is_none())
            .collect()
    }

    fn join(&mut self, r: usize, c: usize, how: How) {
        self.of_r[r] = Some((c, how));
        self.of_c[c] = Some(r);
    }

    /// Whether the number of elements could be the same; batch, padding and last-token dumps are left to the comparison.
    fn sizes_agree(&self, r: usize, c: usize) -> bool {
        match (self.r.entry(r).shape, self.c.entry(c).shape) {
            (Some(a), Some(b)) => a.iter().product::<usize>() == b.iter().product::<usize>(),
            _ => true,
        }
    }

    /// Equal names of one step and rank, the k-th with the k-th. Names that mean different stages and hold different
    /// numbers of elements are left to the stages.
    pub fn same_names(&mut self) {
        type Place<'p> = (&'p str, Option<u32>, Option<u32>);
        fn places<'p>(h: &'p Half<'_>, open: Vec<usize>) -> HashMap<Place<'p>, Vec<usize>> {
            let mut places: HashMap<_, Vec<usize>> = HashMap::with_capacity(open.len());
            for i in open {
                let place = (h.plain[i].as_str(), h.keys[i].step, h.keys[i].rank);
                places.entry(place).or_default().push(i);
            }
            places
        }
        let stages = |h: &'_ Half<'a>| -> HashSet<Key> {
            let keys = h.keys.iter().filter(|k| k.stage.is_some());
            keys.cloned().collect()
        };
        let known = LazyCell::new(|| [stages(&self.r), stages(&self.c)]);
        let (open_r, open_c) = (self.open_r(), self.open_c());
        let (here, there) = both(
            open_r.len() + open_c.len(),
            FEW,
            || places(&self.r, open_r),
            || places(&self.c, open_c),
        );
        let mut joins = Vec::with_capacity(here.len());
        for (name, rs) in &here {
            let Some(cs) = there.get(name) else { continue };
            if let ([r], [c]) = (&rs[..], &cs[..]) {
                let (kr, kc) = (&self.r.keys[*r], &self.c.keys[*c]);
                let elsewhere = || known[1].contains(kr) || known[0].contains(kc);
                if kr == kc || self.sizes_agree(*r, *c) || !elsewhere() {
                    joins.push((*r, *c));
                }
            } else {
                for &r in rs {
                    joins.extend(
                        cs.iter()
                            .find(|&&c| self.c.keys[c] == self.r.keys[r])
                            .map(|&c| (r, c)),
                    );
                }
            }
        }
        // the order of a hash map is no order
        joins.sort_unstable();
        for (r, c) in joins {
            self.join(r, c, How::Name);
        }
    }

    pub fn same_keys(&mut self) {
        // a part that only one side names, where neither has another to confuse it with
        let scopes = [one_tower(&self.r.keys), one_tower(&self.c.keys)];
        let scoped = matches!(scopes, [Some(r), Some(c)] if r != c);
        let mut there: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for i in self.open_c() {
            there
                .entry(self.comparable(&self.c, i, scoped))
                .or_default()
                .push(i);
        }
        for r in self.open_r() {
            let key = self.comparable(&self.r, r, scoped);
            let Some(cs) = there.get_mut(&key) else {
                continue;
            };
            // Exact spelling before a spelling in other case.
            let at = cs
                .iter()
                .position(|&c| self.c.keys[c].rest == self.r.keys[r].rest)
                .unwrap_or(0);
            let c = cs.remove(at);
            if cs.is_empty() {
                there.remove(&key);
            }
            self.join(r, c, How::Stage);
        }
    }

    /// The key with separators and case of the rest made one, without the part of the model where `scoped`.
    fn comparable(&self, half: &Half<'_>, i: usize, scoped: bool) -> Key {
        let mut key = half.keys[i].clone();
        if scoped {
            key.rest = key.rest[key.tower().len()..].trim_start().to_owned();
        }
        let mut words = split(&key.rest);
        if half.names.raws[i].clean.humps {
            words = split_humps(words);
        }
        key.rest = joined(&words);
        key
    }

    /// One side calls the embedding by its rows, the other by what enters layer 0: the same tensor where nothing is added
    /// and no name says that it was scaled.
    pub fn embeddings(&mut self) {
        let added = |k: &Key| {
            matches!(
                k.stage,
                Some(Stage::POS_EMBED | Stage::TYPE_EMBED | Stage::EMBED_SUM)
            )
        };
        if self.r.keys.iter().chain(&self.c.keys).any(added) {
            return;
        }
        let is_embedding =
            |k: &Key| matches!(k.stage, Some(Stage::TOK_EMBED | Stage::EMBED)) && k.rest.is_empty();
        for r in self.open_r() {
            let key = self.r.keys[r].clone();
            if !is_embedding(&key) {
                continue;
            }
            let same_place = |k: &Key| is_embedding(k) && (k.step, k.rank) == (key.step, key.rank);
            let alone = |keys: &[Key]| keys.iter().filter(|k| same_place(k)).count() == 1;
            let scaled = |name: &str| name.to_lowercase().contains("scale");
            let found = self
                .open_c()
                .into_iter()
                .find(|&c| same_place(&self.c.keys[c]));
            if let (Some(c), true, true) = (found, alone(&self.r.keys), alone(&self.c.keys))
                && !scaled(self.r.entry(r).name)
                && !scaled(self.c.entry(c).name)
            {
                self.join(r, c, How::Embedding);
            }
        }
    }

    /// Names of one step, rank and layer where the words of one contain the words of the other, in one way only.
    pub fn left_over_words(&mut self) {
        /// More combinations than this say that the names have nothing in common.
        const TOO_MANY: usize = 4_000_000;
        type Place = (Option<u32>, Option<u32>, u32);
        // A name without a layer may belong to the first one.
        let place = |k: &Key| -> Place { (k.step, k.rank, k.layer.unwrap_or(0)) };
        let mut groups: BTreeMap<Place, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        for r in self.open_r() {
            groups.entry(place(&self.r.keys[r])).or_default().0.push(r);
        }
        for c in self.open_c() {
            groups.entry(place(&self.c.keys[c])).or_default().1.push(c);
        }
        for (rs, cs) in groups.into_values() {
            if rs.len().saturating_mul(cs.len()) <= TOO_MANY {
                self.match_words(&rs, &cs);
            }
        }
    }

    /// Pairs where each is the only one that fits the other; several that fit are told by their shape, else reported.
    fn match_words(&mut self, rs: &[usize], cs: &[usize]) {
        let mut options: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut claims: BTreeMap<usize, usize> = BTreeMap::new();
        let words_c: Vec<BTreeSet<&str>> = cs.iter().map(|&c| self.c.words(c)).collect();
        for &r in rs {
            let words_r = self.r.words(r);
            let fits = |(c, words): &(&usize, &BTreeSet<&str>)| {
                stages_fit(&self.r.keys[r], &self.c.keys[**c]) && words_fit(&words_r, words)
            };
            let fitting = cs.iter().zip(&words_c).filter(fits);
            let mut fitting: Vec<usize> = fitting.map(|(c, _)| *c).collect();
            if fitting.len() > 1 {
                let shape = self.r.entry(r).shape;
                let alike: Vec<usize> = fitting
                    .iter()
                    .copied()
                    .filter(|&c| shape.is_some() && shape == self.c.entry(c).shape)
                    .collect();
                if alike.len() == 1 {
                    fitting = alike;
                }
            }
            for &c in &fitting {
                *claims.entry(c).or_default() += 1;
            }
            if !fitting.is_empty() {
                options.insert(r, fitting);
            }
        }
        for (r, fitting) in options {
            let mut names = vec![self.r.entry(r).name.to_string()];
            names.extend(fitting.iter().map(|&c| self.c.entry(c).name.to_string()));
            match fitting[..] {
                [c] if claims.get(&c) == Some(&1) => {
                    self.join(r, c, How::Words);
                    let message = format!(
                        "{} and {} were paired although a word of one is missing in the other",
                        names[0], names[1]
                    );
                    self.notes.push(Note {
                        id: "paired_by_words",
                        message,
                        names,
                    });
                }
                _ => {
                    let message = format!(
                        "{} could be each of {}; not paired, --map decides",
                        names[0],
                        names[1..].join(", ")
                    );
                    self.notes.push(Note {
                        id: "ambiguous_names",
                        message,
                        names,
                    });
                }
            }
        }
    }

    /// Two single tensors are meant to be compared, whatever they are called.
    pub fn only_ones(&mut self) {
        if self.of_r == [None] && self.of_c == [None] {
            self.join(0, 0, How::Only);
        }
    }

    /// A side that was dumped by one process meets the first rank of the other; what the others hold is told by values.
    pub fn first_ranks(&mut self) {
        let ranks = |keys: &[Key]| keys.iter().filter_map(|k| k.rank).collect::<BTreeSet<_>>();
        if ranks(&self.r.keys).len() == ranks(&self.c.keys).len() {
            return;
        }
        let single = |k: &Key| Key {
            rank: None,
            ..k.clone()
        };
        let mut there: BTreeMap<Key, usize> = BTreeMap::new();
        for c in self.open_c().into_iter().rev() {
            there.insert(single(&self.c.keys[c]), c);
        }
        for r in self.open_r() {
            if let Some(c) = there.remove(&single(&self.r.keys[r])) {
                self.join(r, c, How::Stage);
            }
        }
    }

    pub fn finish(self) -> Pairing {
        let mut pairs: Vec<Paired> = Vec::new();
        for (r, found) in self.of_r.iter().enumerate() {
            if let Some((c, how)) = *found {
                pairs.push(Paired {
                    reference: r,
                    candidate: c,
                    key: self.key_of(r, c),
                    how,
                });
            }
        }
        pairs.sort_by_key(|p| (p.reference, p.candidate));
        promote(&mut pairs);
        let only_reference = self
            .open_r()
            .into_iter()
            .map(|i| (i, self.r.keys[i].clone()))
            .collect();
        let only_candidate = self
            .open_c()
            .into_iter()
            .map(|i| (i, self.c.keys[i].clone()))
            .collect();
        Pairing {
            pairs,
            only_reference,
            only_candidate,
            notes: self.notes,
            reference_tag: None,
            candidate_tag: None,
            places: Default::default(),
            keys: [self.r.keys, self.c.keys],
        }
    }

    /// The reference's key; the candidate's where only that knows the stage, or only that knew a shape to tell it by.
    fn key_of(&self, r: usize, c: usize) -> Key {
        let (a, b) = (&self.r.keys[r], &self.c.keys[c]);
        let by_shape = self.r.entry(r).shape.is_none() && self.c.entry(c).shape.is_some();
        let key = match b.stage.is_some() && (a.stage.is_none() || a.stage != b.stage && by_shape) {
            true => b,
            false => a,
        };
        // One process stands for the first rank as it does for the others.
        let rank = a.rank.or(b.rank);
        Key {
            rank,
            ..key.clone()
        }
    }
}

fn stages_fit(a: &Key, b: &Key) -> bool {
    a.stage.is_none() || b.stage.is_none() || a.stage == b.stage
}

fn words_fit(u: &BTreeSet<&str>, v: &BTreeSet<&str>) -> bool {
    // What a module computes is none of its weights.
    let weight = |w: &BTreeSet<&str>| w.contains("weight") || w.contains("bias");
    let inner = |w: &BTreeSet<&str>| w.contains(INNER_NODE);
    let alike = weight(u) == weight(v) && inner(u) == inner(v);
    alike && !u.is_empty() && !v.is_empty() && (u.is_subset(v) || v.is_subset(u))
}

/// A further form of a stage (`mlp` beside `down_proj`) stands for the stage when the form that should was not paired.
fn promote(pairs: &mut [Paired]) {
    if pairs
        .iter()
        .all(|p| p.key.stage.is_none() || p.key.rest.is_empty())
    {
        return;
    }
    let mut taken: BTreeSet<Key> = pairs.iter().map(|p| p.key.clone()).collect();
    for pair in pairs {
        let tuple_index = pair.key.rest.bytes().all(|b| b.is_ascii_digit());
        if pair.key.stage.is_none() || tuple_index {
            continue;
        }
        let plain = Key {
            rest: pair.key.tower().to_string(),
            ..pair.key.clone()
        };
        if taken.insert(plain.clone()) {
            pair.key = plain;
        }
    }
}
