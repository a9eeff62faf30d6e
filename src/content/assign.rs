//! Who belongs to whom: first what the values prove, then what values, words and places say together.

use super::pattern::{likeness, pattern_of, words_of};
use super::proof::Distances;
use super::{Doubt, Item, Sure};
use crate::name::How;
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
    /// To stay alone.
    pub const ALONE: f64 = 1.0;
    /// What the best must be ahead of the second best, in each round.
    pub const LEADS: [f64; 3] = [1.0, 0.5, 0.25];
}

/// Values this near are as good as proven where nothing else speaks against them.
const CLOSE: f64 = 0.1;

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
    work.unclear();
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
    /// The pattern of each name, and the numbers in it.
    patterns: [Vec<(String, Vec<i64>)>; 2],
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
        Work {
            items,
            named: named
                .map(|(&(r, c), &how)| ((at[0][&r], at[1][&c]), how))
                .collect(),
            twin: [0, 1].map(|side| {
                let sure = |i: &Item<'_>| {
                    let glance = &i.signature.as_ref()?.glance;
                    doubt.sure[side].get(&glance.bits()).copied()
                };
                items[side].iter().map(sure).collect()
            }),
            patterns: [0, 1].map(|side| {
                let of = |i: &Item<'_>| pattern_of(&i.name, i.key);
                items[side].iter().map(of).collect()
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

    /// Both names mean the same node, and no other reading of them is known.
    fn is_certain(&self, r: usize, c: usize) -> bool {
        let [a, b] = [&self.items[0][r], &self.items[1][c]];
        let known = a.key.is_canonical() && b.key.is_canonical() && a.key.stage == b.key.stage;
        known && a.class() == b.class() && self.named.contains_key(&(r, c))
    }

    /// Whether the names pair it for certain, and it is no further form of a node that is paired.
    fn has_certain(&self, side: usize, at: usize) -> bool {
        let key = self.items[side][at].key;
        if self.twin[side][at]
            .is_some_and(|sure| (sure.layer, sure.stage) == (key.layer, key.stage))
        {
            return false;
        }
        let mut named = self.named.keys().filter(|p| [p.0, p.1][side] == at);
        named.any(|&(r, c)| self.is_certain(r, c))
    }

    /// Two nodes that both sides name are not exchanged: that is a fault to be told. Two forms of one node may be.
    fn may_exchange(&self, r: usize, c: usize) -> bool {
        let certain = [self.has_certain(0, r), self.has_certain(1, c)];
        let [a, b] = [self.items[0][r].key, self.items[1][c].key];
        match certain {
            [false, false] => true,
            [true, true] => false,
            _ => (a.layer, a.stage) == (b.layer, b.stage),
        }
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
        let words = |side: usize, at: usize| words_of(&self.items[side][at].name);
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
            let [a, b] = [&self.patterns[0][r].1, &self.patterns[1][c].1];
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
        let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
        for (at, item) in self.items[side].iter().enumerate() {
            let (pattern, mut numbers) = self.patterns[side][at].clone();
            if let (1, Some(layer)) = (side, numbers.first_mut()) {
                *layer -= self.shift;
            }
            let kind = kinds.entry(pattern).or_insert_with_key(|pattern| Kind {
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
        for lead in weight::LEADS {
            loop {
                let links = self.links(&kinds);
                let clear: Vec<&Link> = links.iter().filter(|l| l.leads(&links, lead)).collect();
                if clear.is_empty() {
                    break;
                }
                let clear: Vec<Vec<(usize, usize)>> =
                    clear.into_iter().map(|l| l.pairs.clone()).collect();
                for pairs in &clear {
                    self.join_all(pairs);
                }
                let clear: Vec<(usize, usize)> = clear.into_iter().flatten().collect();
                self.echoes(&clear);
            }
        }
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
            patterns: [self.patterns[0][r].0.clone(), self.patterns[1][c].0.clone()],
            entries: pairs.iter().map(entry).collect(),
        }
    }

    /// Kinds that may be the same, though others may be as well.
    fn unclear(&mut self) {
        let mut links = self.links(&[self.kinds(0), self.kinds(1)]);
        links.retain(|l| l.score >= weight::ALONE);
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

    fn links(&self, kinds: &[Vec<Kind>; 2]) -> Vec<Link> {
        let is_open = |side: usize, at: usize| self.is_open(side, at);
        let mut links = Vec::new();
        for (i, kind_r) in kinds[0].iter().enumerate() {
            for (j, kind_c) in kinds[1].iter().enumerate() {
                let shared = kind_r.members.iter();
                let shared: Vec<(usize, usize)> = shared
                    .filter_map(|(at, r)| Some((*r, *kind_c.members.get(at)?)))
                    .collect();
                let carried = shared
                    .iter()
                    .any(|&(r, c)| self.partner[0][r].is_some_and(|p| p.0 == c));
                let open = |&(r, c): &(usize, usize)| self.is_open(0, r) && self.is_open(1, c);
                let pairs: Vec<(usize, usize)> = shared.into_iter().filter(open).collect();
                let fits =
                    |&(r, c): &(usize, usize)| self.items[0][r].class() == self.items[1][c].class();
                if pairs.is_empty() || !pairs.iter().all(fits) {
                    continue;
                }
                let margins = pairs
                    .iter()
                    .filter_map(|&(r, c)| self.distances.margin(r, c, &is_open));
                let margin = margins.sum::<f64>() / pairs.len() as f64;
                let (r, c) = pairs[0];
                let shape = |at: usize, side: usize| self.items[side][at].tensor.info.shape();
                let known = pairs.iter().any(|p| self.named.get(p) == Some(&How::Stage));
                let score = margin * pairs.len().min(weight::LAYERS) as f64
                    + weight::WORDS * likeness(&kind_r.words, &kind_c.words)
                    + if shape(r, 0) == shape(c, 1) {
                        weight::SAME_SHAPE
                    } else {
                        0.0
                    }
                    + if carried || known {
                        weight::CARRIED
                    } else {
                        0.0
                    }
                    - if self.opposed(r, c) {
                        weight::OPPOSED
                    } else {
                        0.0
                    };
                links.push(Link {
                    of: [i, j],
                    pairs,
                    score,
                });
            }
        }
        links
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

impl Link {
    /// Whether it is so much better than all that shares a kind with it, and than to stay alone.
    fn leads(&self, all: &[Link], by: f64) -> bool {
        let shares =
            |l: &&Link| l.of != self.of && (l.of[0] == self.of[0] || l.of[1] == self.of[1]);
        let second = all
            .iter()
            .filter(shares)
            .map(|l| l.score)
            .fold(2.0 * weight::ALONE - by, f64::max);
        self.score >= second + by
    }
}
