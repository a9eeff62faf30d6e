//! Who belongs to whom: first what the values prove, then what values, words and places say together.

use super::pattern::{likeness, words_of};
use super::proof::Distances;
use super::{Doubt, Item, Sure};
use crate::name::{How, Key, Stage};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What speaks for two kinds of names to be the same.
///
/// Measured on pairs of independent implementations with known partners; in units of the margin, e-fold nearer than the next best.
mod weight {
    /// So many layers say as much as all.
    pub const LAYERS: usize = 3;
    /// Equal words.
    pub const WORDS: f64 = 4.0;
    /// Names of different nodes.
    pub const OPPOSED: f64 = 3.0;
    pub const SAME_SHAPE: f64 = 0.3;
    /// The same two kinds of names are proven, or known to mean the same, in another layer.
    pub const CARRIED: f64 = 2.5;
    /// Less is not enough to be paired, or to be told as likely.
    pub const PAIRED: f64 = 2.0;
    pub const LIKELY: f64 = 1.0;
    /// What the best must be ahead of the second best, in each round.
    pub const LEADS: [f64; 3] = [1.0, 0.5, 0.25];
}

/// Values this near are as good as proven where nothing else speaks against them.
const CLOSE: f64 = 0.1;

/// More combinations of names than this are not held against each other.
const MANY: usize = 1 << 20;
/// Layers are numbered alike on both sides, or shifted, when so much of what is proven says so.
const AGREED: f64 = 0.8;

/// Entries of both sides that belong together.
pub struct Met {
    pub entries: [usize; 2],
    pub how: How,
}

/// What belongs together among the tensors in question; what is in none of these stays alone.
pub fn all(
    items: &[Vec<Item<'_>>; 2],
    doubt: &Doubt,
    rare: &[BTreeSet<usize>; 2],
) -> (Vec<Met>, Vec<Likely>) {
    let mut work = Work::new(items, doubt);
    work.twins();
    work.prove();
    work.by_template();
    work.alone_in_size(rare);
    (work.met(), work.likely)
}

/// Tensors whose names differ in their numbers only, and that may be the same on both sides.
#[derive(Debug)]
pub struct Likely {
    /// The names of either side without their numbers.
    pub patterns: [String; 2],
    /// Entries of both sides.
    pub entries: Vec<(usize, usize)>,
}

struct Work<'a> {
    items: &'a [Vec<Item<'a>>; 2],
    /// Pairs that the names propose, by position among the items.
    named: BTreeMap<(usize, usize), How>,
    /// What is paired by two names that both mean the same node.
    certain: [BTreeSet<usize>; 2],
    /// Of each tensor: the sure pair whose values it repeats.
    twin: [Vec<Option<Sure>>; 2],
    distances: Distances,
    partner: [Vec<Option<(usize, How)>>; 2],
    /// Tensors that repeat what is paired already.
    spent: [Vec<bool>; 2],
    /// How much larger the candidate's layer numbers are.
    shift: i64,
    /// Guesses.
    likely: Vec<Likely>,
}

impl<'a> Work<'a> {
    fn new(items: &'a [Vec<Item<'a>>; 2], doubt: &Doubt) -> Work<'a> {
        let at = [0, 1].map(|side| -> HashMap<usize, usize> {
            let entries = items[side].iter().enumerate();
            entries.map(|(at, item)| (item.entry, at)).collect()
        });
        let named = doubt.named.iter();
        let named: BTreeMap<(usize, usize), How> = named
            .map(|(&(r, c), &how)| ((at[0][&r], at[1][&c]), how))
            .collect();
        let is_certain = |&&(r, c): &&(usize, usize)| {
            let [a, b] = [&items[0][r], &items[1][c]];
            let known = a.key.is_canonical() && b.key.is_canonical();
            known && a.key.stage == b.key.stage && a.class() == b.class()
        };
        let certain: Vec<&(usize, usize)> = named.keys().filter(is_certain).collect();
        Work {
            items,
            certain: [
                certain.iter().map(|p| p.0).collect(),
                certain.iter().map(|p| p.1).collect(),
            ],
            named,
            twin: [0, 1].map(|side| {
                let sure = |i: &Item<'_>| {
                    let glance = &i.signature.as_ref()?.glance;
                    doubt.sure[side].get(&glance.bits()).copied()
                };
                items[side].iter().map(sure).collect()
            }),
            distances: Distances::of(items),
            partner: [0, 1].map(|side| vec![None; items[side].len()]),
            spent: [0, 1].map(|side| vec![false; items[side].len()]),
            shift: 0,
            likely: Vec::new(),
        }
    }

    fn is_open(&self, side: usize, at: usize) -> bool {
        self.partner[side][at].is_none() && !self.spent[side][at]
    }

    fn join(&mut self, r: usize, c: usize, how: How) {
        // what the names say already stays said so
        let how = self.named.get(&(r, c)).copied().unwrap_or(how);
        self.partner[0][r] = Some((c, how));
        self.partner[1][c] = Some((r, how));
    }

    /// Whether the names pair it for certain, and it is no further form of a node that is paired.
    fn has_certain(&self, side: usize, at: usize) -> bool {
        let key = self.items[side][at].key;
        let node = (key.layer, key.stage);
        let repeats = self.twin[side][at].is_some_and(|sure| (sure.layer, sure.stage) == node);
        self.certain[side].contains(&at) && !repeats
    }

    /// Two nodes that both sides name are not exchanged: that is a fault to be told. Two forms of one node may be, and the last
    /// layer's output with the final norm: transformers returns the normed state as the last of its hidden states.
    fn may_exchange(&self, r: usize, c: usize) -> bool {
        let certain = [self.has_certain(0, r), self.has_certain(1, c)];
        let [a, b] = [self.items[0][r].key, self.items[1][c].key];
        match certain {
            [false, false] => true,
            [true, true] => false,
            _ => {
                (a.layer, a.stage) == (b.layer, b.stage) || self.is_last(a, b) || self.is_last(b, a)
            }
        }
    }

    /// The last layer's output and the final norm.
    fn is_last(&self, output: &Key, norm: &Key) -> bool {
        let layers = self.items.iter().flatten().filter_map(|i| i.key.layer);
        let stages = (output.stage, norm.stage) == (Some(Stage::OUTPUT), Some(Stage::FINAL_NORM));
        stages && output.layer == layers.max()
    }

    /// Names that mean different nodes.
    fn opposed(&self, r: usize, c: usize) -> bool {
        let [a, b] = [self.items[0][r].key, self.items[1][c].key];
        matches!((a.stage, b.stage), (Some(a), Some(b)) if a != b)
            || (a.step, a.rank, a.tower()) != (b.step, b.rank, b.tower())
    }

    /// Tensors that repeat the values of a sure pair meet; one alone repeats what is compared already.
    fn twins(&mut self) {
        let twins = |side: usize| -> BTreeMap<usize, Vec<usize>> {
            let mut all: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            let pairs = self.twin[side].iter().enumerate();
            for (at, sure) in pairs.filter_map(|(at, sure)| Some((at, (*sure)?))) {
                all.entry(sure.pair).or_default().push(at);
            }
            all
        };
        let [rs, cs] = [twins(0), twins(1)];
        for pair in rs.keys().chain(cs.keys()).collect::<BTreeSet<_>>() {
            let none = Vec::new();
            let [rs, cs] = [&rs, &cs].map(|all| all.get(pair).unwrap_or(&none));
            self.meet(rs, cs);
        }
    }

    /// Tensors that hold the same values meet by their names; what is left repeats what is paired already, unless its name
    /// says which node it is: two tensors may be alike by the fault.
    fn meet(&mut self, rs: &[usize], cs: &[usize]) {
        let pairs = rs.iter().flat_map(|&r| cs.iter().map(move |&c| (r, c)));
        self.join_best(pairs.collect());
        for (side, all) in [(0, rs), (1, cs)] {
            for &at in all {
                self.spent[side][at] =
                    self.partner[side][at].is_none() && !self.has_certain(side, at);
            }
        }
    }

    /// What repeats the values of tensors that are paired now.
    fn echoes(&mut self, joined: &[(usize, usize)]) {
        for &(r, c) in joined {
            let [rs, cs] = [(0, r), (1, c)].map(|(side, at)| {
                let same = self.distances.all_same(side, at).iter().copied();
                same.filter(|&other| self.is_open(side, other))
                    .collect::<Vec<_>>()
            });
            self.meet(&rs, &cs);
        }
    }

    /// Of pairs that are equally good by their values those that the names prefer, one partner each.
    fn join_best(&mut self, mut pairs: Vec<(usize, usize)>) {
        let words = |side: usize, at: usize| words_of(&self.items[side][at].pattern);
        let score = |&(r, c): &(usize, usize)| {
            let [a, b] = [&self.items[0][r], &self.items[1][c]];
            let shape = a.tensor.info.shape() == b.tensor.info.shape();
            f64::from(u8::from(self.named.contains_key(&(r, c)))) * 10.0
                + weight::WORDS * likeness(&words(0, r), &words(1, c))
                + weight::SAME_SHAPE * f64::from(u8::from(shape))
                - weight::OPPOSED * f64::from(u8::from(self.opposed(r, c)))
        };
        pairs.sort_by_cached_key(|p| ((-score(p) * 1e6) as i64, *p));
        for (r, c) in pairs {
            if self.is_open(0, r) && self.is_open(1, c) {
                self.join(r, c, How::Content);
            }
        }
    }

    /// What is far nearer to each other than to anything else.
    fn prove(&mut self) {
        let mut proven = self.distances.proven();
        let place = |side: usize, at: usize| {
            let key = self.items[side][at].key;
            (key.step, key.rank)
        };
        proven.retain(|&(r, c)| {
            self.is_open(0, r) && self.is_open(1, c) && place(0, r) == place(1, c)
        });
        let apart = |&(r, c): &(usize, usize)| {
            let [a, b] = [&self.items[0][r].numbers, &self.items[1][c].numbers];
            (a.len() == b.len()).then_some(())?;
            Some(b.first()? - a.first()?)
        };
        let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
        for shift in proven.iter().filter_map(apart) {
            *votes.entry(shift).or_default() += 1;
        }
        let most = votes.iter().max_by_key(|(shift, n)| (**n, -shift.abs()));
        if let Some((shift, n)) = most
            && *n as f64 > AGREED * votes.values().sum::<usize>() as f64
        {
            self.shift = *shift;
            proven.retain(|p| apart(p).is_none_or(|apart| apart == *shift));
        }
        proven.retain(|&(r, c)| self.named.contains_key(&(r, c)) || self.may_exchange(r, c));
        self.join_best(proven.clone());
        self.echoes(&proven);
    }

    /// The open tensors of a side, by the pattern of their names and their places in it.
    fn kinds(&self, side: usize) -> Vec<Kind> {
        let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
        for (at, item) in self.items[side].iter().enumerate() {
            let mut numbers = item.numbers.clone();
            if let (1, Some(layer)) = (side, numbers.first_mut()) {
                *layer -= self.shift;
            }
            let kind = kinds
                .entry(&item.pattern)
                .or_insert_with_key(|pattern| Kind {
                    words: words_of(pattern),
                    members: BTreeMap::new(),
                });
            let place = (item.key.step, item.key.rank, numbers);
            kind.members.entry(place).or_insert(at);
        }
        kinds.into_values().collect()
    }

    /// What belongs together by template, all layers at once: in rounds, the clearest first.
    fn by_template(&mut self) {
        let kinds = [self.kinds(0), self.kinds(1)];
        let shared = self.shared(&kinds);
        for lead in weight::LEADS {
            loop {
                let clear = clear(self.links(&kinds, &shared), lead);
                if clear.is_empty() {
                    break;
                }
                for link in &clear {
                    self.join_all(&link.pairs);
                }
                let joined: Vec<(usize, usize)> = clear.into_iter().flat_map(|l| l.pairs).collect();
                self.echoes(&joined);
            }
        }
        self.unclear(self.links(&kinds, &shared));
    }

    /// Joins the tensors of two kinds; what is not near is a guess.
    fn join_all(&mut self, pairs: &[(usize, usize)]) {
        let near =
            |&(r, c): &(usize, usize)| self.distances.between(r, c).is_some_and(|d| d < CLOSE);
        let near: Vec<bool> = pairs.iter().map(near).collect();
        if near.contains(&false) && !pairs.iter().all(|p| self.named.contains_key(p)) {
            self.likely.push(self.kind(pairs));
        }
        for (&(r, c), near) in pairs.iter().zip(near) {
            self.join(r, c, if near { How::Content } else { How::Guess });
        }
    }

    fn kind(&self, pairs: &[(usize, usize)]) -> Likely {
        let (r, c) = pairs[0];
        let entry = |&(r, c): &(usize, usize)| (self.items[0][r].entry, self.items[1][c].entry);
        Likely {
            patterns: [
                self.items[0][r].pattern.clone(),
                self.items[1][c].pattern.clone(),
            ],
            entries: pairs.iter().map(entry).collect(),
        }
    }

    /// Kinds that may be the same, though others may be as well.
    fn unclear(&mut self, mut links: Vec<Link>) {
        links.retain(|l| l.score >= weight::LIKELY);
        links.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.of.cmp(&b.of)));
        let mut taken = [BTreeSet::new(), BTreeSet::new()];
        for link in links {
            let free = (0..2).all(|side| !taken[side].contains(&link.of[side]));
            if free {
                self.likely.push(self.kind(&link.pairs));
            }
            (0..2).for_each(|side| {
                taken[side].insert(link.of[side]);
            });
        }
    }

    /// What the kinds of both sides share: tensors at the same places.
    fn shared(&self, kinds: &[Vec<Kind>; 2]) -> BTreeMap<[usize; 2], Vec<(usize, usize)>> {
        let mut there: BTreeMap<&Place, Vec<(usize, usize)>> = BTreeMap::new();
        for (j, kind) in kinds[1].iter().enumerate() {
            for (place, &c) in &kind.members {
                there.entry(place).or_default().push((j, c));
            }
        }
        let mut shared: BTreeMap<[usize; 2], Vec<(usize, usize)>> = BTreeMap::new();
        let mut count = 0;
        for (i, kind) in kinds[0].iter().enumerate() {
            for (place, &r) in &kind.members {
                let others = there.get(place).map_or(&[][..], Vec::as_slice);
                count += others.len();
                if count > MANY {
                    return BTreeMap::new();
                }
                for &(j, c) in others {
                    shared.entry([i, j]).or_default().push((r, c));
                }
            }
        }
        shared
    }

    fn links(
        &self,
        kinds: &[Vec<Kind>; 2],
        shared: &BTreeMap<[usize; 2], Vec<(usize, usize)>>,
    ) -> Vec<Link> {
        let link = |(&of, shared): (&[usize; 2], &Vec<(usize, usize)>)| {
            let open = |&(r, c): &(usize, usize)| self.is_open(0, r) && self.is_open(1, c);
            let pairs: Vec<(usize, usize)> = shared.iter().copied().filter(open).collect();
            let fits =
                |&(r, c): &(usize, usize)| self.items[0][r].class() == self.items[1][c].class();
            if pairs.is_empty() || !pairs.iter().all(fits) {
                return None;
            }
            let words = likeness(&kinds[0][of[0]].words, &kinds[1][of[1]].words);
            let score = self.score(&pairs, shared, words);
            Some(Link { of, pairs, score })
        };
        shared.iter().filter_map(link).collect()
    }

    /// What speaks for the open pairs of two kinds: values, words, shapes, and what is known of the kinds in other layers.
    fn score(&self, pairs: &[(usize, usize)], shared: &[(usize, usize)], words: f64) -> f64 {
        let is_open = |side: usize, at: usize| self.is_open(side, at);
        let margin = |&(r, c): &(usize, usize)| self.distances.margin(r, c, &is_open);
        let margin = pairs.iter().filter_map(margin).sum::<f64>() / pairs.len() as f64;
        let (r, c) = pairs[0];
        let same_shape =
            self.items[0][r].tensor.info.shape() == self.items[1][c].tensor.info.shape();
        let mut joined = shared
            .iter()
            .map(|&(r, c)| self.partner[0][r].is_some_and(|p| p.0 == c));
        let carried = joined.any(|joined| joined)
            || pairs.iter().any(|p| self.named.get(p) == Some(&How::Stage));
        let when = |holds: bool, weight: f64| if holds { weight } else { 0.0 };
        margin * pairs.len().min(weight::LAYERS) as f64
            + weight::WORDS * words
            + when(same_shape, weight::SAME_SHAPE)
            + when(carried, weight::CARRIED)
            - when(self.opposed(r, c), weight::OPPOSED)
    }

    /// What is alone with its size in its layer on both sides: else a fault there is never seen.
    fn alone_in_size(&mut self, rare: &[BTreeSet<usize>; 2]) {
        let mut sizes: BTreeMap<_, [Vec<usize>; 2]> = BTreeMap::new();
        for side in [0, 1] {
            for (at, item) in self.items[side].iter().enumerate() {
                if self.is_open(side, at) && rare[side].contains(&item.entry) {
                    let shift = if side == 1 { self.shift } else { 0 };
                    let layer = item.key.layer.map(|l| i64::from(l) - shift);
                    sizes.entry((item.class(), layer)).or_default()[side].push(at);
                }
            }
        }
        for [rs, cs] in sizes.into_values() {
            if let ([r], [c]) = (&rs[..], &cs[..])
                && !self.opposed(*r, *c)
            {
                self.join_all(&[(*r, *c)]);
            }
        }
    }

    /// The pairs; a pair of names stays where nothing was found for either, unless its sizes cannot be the same.
    fn met(&mut self) -> Vec<Met> {
        let named: Vec<((usize, usize), How)> =
            self.named.iter().map(|(p, how)| (*p, *how)).collect();
        for ((r, c), how) in named {
            let alone = [(0, r), (1, c)]
                .iter()
                .all(|&(side, at)| self.partner[side][at].is_none());
            let sized = self.items[0][r].class() == self.items[1][c].class();
            let canonical = [(0, r), (1, c)]
                .iter()
                .all(|&(side, at)| self.items[side][at].key.is_canonical());
            let refuted = self.spent[0][r] || self.spent[1][c];
            if alone && (how == How::Name || !refuted && (sized || canonical)) {
                self.join(r, c, how);
            }
        }
        let pairs = self.partner[0].iter().enumerate();
        pairs
            .filter_map(|(r, partner)| {
                let (c, how) = (*partner)?;
                let entries = [self.items[0][r].entry, self.items[1][c].entry];
                Some(Met { entries, how })
            })
            .collect()
    }
}

/// Step, rank, and the numbers in the name.
type Place = (Option<u32>, Option<u32>, Vec<i64>);

/// Tensors whose names differ in their numbers only.
struct Kind {
    words: Vec<String>,
    members: BTreeMap<Place, usize>,
}

/// Two kinds that may be the same.
struct Link {
    of: [usize; 2],
    pairs: Vec<(usize, usize)>,
    score: f64,
}

/// Links that are so much better than all that share a kind with them, and than to stay alone.
fn clear(links: Vec<Link>, lead: f64) -> Vec<Link> {
    let mut best: [BTreeMap<usize, [f64; 2]>; 2] = Default::default();
    for link in &links {
        for (side, best) in best.iter_mut().enumerate() {
            let [first, second] = best.entry(link.of[side]).or_insert([f64::NEG_INFINITY; 2]);
            *second = second.max(link.score.min(*first));
            *first = first.max(link.score);
        }
    }
    let rival = |link: &Link, side: usize| {
        let [first, second] = best[side][&link.of[side]];
        if link.score < first { first } else { second }
    };
    let leads = |link: &Link| {
        let rival = rival(link, 0)
            .max(rival(link, 1))
            .max(weight::PAIRED - lead);
        link.score >= rival + lead
    };
    links.into_iter().filter(|l| leads(l)).collect()
}
