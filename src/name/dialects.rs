//! What words mean: the spellings of the graph's nodes, and their look-up.

use super::words::{Word, canonical, forms, joined};
use crate::graph::{self, Choice, Spelling, Stage};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::LazyLock;

/// What a spelling means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The tensor itself.
    Stage(Stage),
    /// The output of a module that equals the stage.
    Module(Stage),
    /// Depends on what else the dump holds; resolved in `rules.rs`.
    Depends(Rule),
    /// Known to be no canonical stage.
    Nothing,
}

/// A choice of the graph by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule(u16);

impl Rule {
    pub fn choice(self) -> &'static Choice {
        &graph::graph().choices[self.0 as usize]
    }

    /// All that it may mean.
    pub fn stages(self) -> impl Iterator<Item = Stage> {
        self.choice().is.iter().filter_map(|c| c.stage)
    }

    /// What it means where nothing else is said.
    pub fn usual(self) -> Option<Stage> {
        self.choice().is.last().and_then(|c| c.stage)
    }

    fn is_per_layer(self) -> bool {
        self.stages().all(Stage::is_per_layer)
    }
}

/// All spellings of all dialects, by exact words and by words with synonyms made one.
struct Table {
    dialects: Vec<&'static str>,
    layered: Spellings,
    top: Spellings,
}

/// What words mean. Built at every start, so each text and each list is a piece of one that all share.
struct Spellings {
    meanings: HashMap<&'static str, Meanings, BuildHasherDefault<Fnv>>,
    readings: Vec<Link>,
}

/// The hash of Fowler, Noll and Vo (FNV-1a): short words, all of them our own.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Heads of two lists of readings.
#[derive(Clone, Copy, Default)]
struct Meanings {
    /// The words stand so in the table.
    exact: Option<u32>,
    /// The words are what synonyms make of a spelling in the table.
    canonical: Option<u32>,
}

/// What one dialect reads, and the dialects that follow.
struct Link {
    dialect: usize,
    reading: Reading,
    next: Option<u32>,
}

impl Spellings {
    fn with_capacity(n: usize) -> Spellings {
        Spellings {
            meanings: HashMap::with_capacity_and_hasher(n, BuildHasherDefault::default()),
            readings: Vec::with_capacity(2 * n),
        }
    }

    fn add(&mut self, entry: &Entry, exact: &'static str, canonical: &'static str) {
        let meanings = self.meanings.entry(exact).or_default();
        meanings.exact = prepended(&mut self.readings, meanings.exact, entry);
        let meanings = self.meanings.entry(canonical).or_default();
        meanings.canonical = prepended(&mut self.readings, meanings.canonical, entry);
    }

    fn exact(&self, words: &str) -> impl Iterator<Item = &Link> {
        self.list(self.meanings.get(words).and_then(|m| m.exact))
    }

    fn canonical(&self, words: &str) -> impl Iterator<Item = &Link> {
        self.list(self.meanings.get(words).and_then(|m| m.canonical))
    }

    fn list(&self, head: Option<u32>) -> impl Iterator<Item = &Link> {
        let link = |i: u32| &self.readings[i as usize];
        std::iter::successors(head.map(link), move |l| l.next.map(link))
    }
}

/// The head of a list with one reading more in front; the first reading of a dialect stays.
fn prepended(readings: &mut Vec<Link>, head: Option<u32>, entry: &Entry) -> Option<u32> {
    // entries come dialect by dialect
    if head.is_some_and(|i| readings[i as usize].dialect == entry.dialect) {
        return head;
    }
    readings.push(Link {
        dialect: entry.dialect,
        reading: entry.reading,
        next: head,
    });
    Some(readings.len() as u32 - 1)
}

/// One spelling of the table: where its words stand in the texts of all [`forms`].
struct Entry {
    dialect: usize,
    reading: Reading,
    layered: bool,
    exact: Range<usize>,
    canonical: Range<usize>,
}

/// The dialects in the order of `models/words.toml`; the canonical names themselves come last.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let (mut exacts, mut canonicals) = (
        String::with_capacity(1 << 15),
        String::with_capacity(1 << 15),
    );
    let mut dialects: Vec<&'static str> = Vec::new();
    dialects.extend(graph::words().dialects.iter().map(String::as_str));
    let spellings = spellings();
    let mut number: HashMap<&str, usize> = dialects.iter().copied().zip(0..).collect();
    for (spelling, ..) in &spellings {
        number.entry(spelling.dialect).or_insert_with(|| {
            dialects.push(spelling.dialect);
            dialects.len() - 1
        });
    }
    let mut entries = Vec::with_capacity(2048);
    let mut add = |dialect, text: &str, layered, reading| {
        let (exact, canonical) = forms(text, &mut exacts, &mut canonicals);
        entries.push(Entry {
            dialect,
            reading,
            layered,
            exact,
            canonical,
        });
    };
    for (spelling, layered, reading) in spellings {
        add(number[spelling.dialect], spelling.text, layered, reading);
    }
    for stage in graph::graph().keyed() {
        let (layered, reading) = (stage.is_per_layer(), Reading::Stage(stage));
        add(dialects.len(), stage.name(), layered, reading);
    }
    dialects.push("tdiff");
    // entries of one dialect stand together
    entries.sort_by_key(|e: &Entry| e.dialect);
    // they live as long as the table, which is static
    let (exacts, canonicals): (&'static str, &'static str) = (exacts.leak(), canonicals.leak());
    let mut table = Table {
        dialects,
        layered: Spellings::with_capacity(1536),
        top: Spellings::with_capacity(256),
    };
    for entry in &entries {
        table.table_mut(entry.layered).add(
            entry,
            &exacts[entry.exact.clone()],
            &canonicals[entry.canonical.clone()],
        );
    }
    table
});

/// Every spelling: whether it stands in a layer, and what it means. Of two readings in a dialect the first stays.
fn spellings() -> Vec<(&'static Spelling, bool, Reading)> {
    let graph = graph::graph();
    let mut all = Vec::new();
    for stage in graph.keyed() {
        let names = &graph.node(stage).names;
        all.extend(
            names
                .iter()
                .map(|s| (s, stage.is_per_layer(), Reading::Stage(stage))),
        );
    }
    for (number, choice) in graph.choices.iter().enumerate() {
        let rule = Rule(number as u16);
        let reading = Reading::Depends(rule);
        all.extend(
            choice
                .names
                .iter()
                .map(|s| (s, rule.is_per_layer(), reading)),
        );
    }
    for stage in graph.keyed() {
        let modules = &graph.node(stage).modules;
        all.extend(
            modules
                .iter()
                .map(|s| (s, stage.is_per_layer(), Reading::Module(stage))),
        );
    }
    for layered in [true, false] {
        all.extend(graph.nothing.iter().map(|s| (s, layered, Reading::Nothing)));
    }
    all
}

impl Table {
    fn table_mut(&mut self, layered: bool) -> &mut Spellings {
        if layered {
            &mut self.layered
        } else {
            &mut self.top
        }
    }

    fn table(&self, layered: bool) -> &Spellings {
        if layered { &self.layered } else { &self.top }
    }
}

/// The rank of each dialect: the lowest is asked first.
#[derive(Clone, Debug)]
pub(super) struct Ranking(Vec<usize>);

impl Ranking {
    /// The dialect that reads most of the names (words, and whether they stand in a layer) comes first.
    pub fn of_names(names: impl Iterator<Item = (String, bool)>) -> Ranking {
        let mut votes = vec![0usize; TABLE.dialects.len()];
        for (words, layered) in names {
            for link in TABLE.table(layered).exact(&words) {
                votes[link.dialect] += 1;
            }
        }
        let mut order: Vec<usize> = (0..votes.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(votes[i]));
        let mut ranks = vec![0; order.len()];
        for (rank, dialect) in order.into_iter().enumerate() {
            ranks[dialect] = rank;
        }
        Ranking(ranks)
    }

    fn best<'a>(&self, readings: impl Iterator<Item = &'a Link>) -> Option<Reading> {
        let best = readings.min_by_key(|link| self.0[link.dialect]);
        best.map(|link| link.reading)
    }
}

/// Looks the words up: exact words before synonyms, dialects by their rank.
pub(super) fn look_up(words: &[Word], layered: bool, ranking: &Ranking) -> Option<Reading> {
    let table = TABLE.table(layered);
    ranking
        .best(table.exact(&joined(words)))
        .or_else(|| ranking.best(table.canonical(&canonical(words))))
}

#[cfg(test)]
mod tests {
    use super::super::words::split;
    use super::*;

    /// The dialects of that name first.
    fn ranking(first: &[&str]) -> Ranking {
        let rank = |name: &&str| first.iter().position(|f| f == name).unwrap_or(first.len());
        Ranking(TABLE.dialects.iter().map(rank).collect())
    }

    #[test]
    fn the_table_of_dialects_is_sound() {
        assert!(TABLE.dialects.len() > 5);
        let names: std::collections::BTreeSet<_> = TABLE.dialects.iter().collect();
        assert_eq!(
            names.len(),
            TABLE.dialects.len(),
            "a dialect is named twice"
        );
    }

    #[test]
    fn every_canonical_name_reads_as_itself() {
        for stage in graph::graph().keyed() {
            let read = look_up(
                &split(stage.name()),
                stage.is_per_layer(),
                &ranking(&["tdiff"]),
            );
            assert_eq!(read, Some(Reading::Stage(stage)));
        }
    }

    #[test]
    fn the_dialect_asked_first_decides() {
        let read = |order: &[&str]| look_up(&split("attention"), true, &ranking(order));
        assert_eq!(
            read(&["bert", "torchtitan"]),
            Some(Reading::Module(Stage::ATTN_OUT_NORM))
        );
        assert_eq!(
            read(&["torchtitan", "bert"]),
            Some(Reading::Module(Stage::O_PROJ))
        );
    }

    #[test]
    fn the_names_vote_for_their_dialect() {
        let names = ["attention_norm", "attention_wq", "attention"].map(|n| (n.to_string(), true));
        let ranking = Ranking::of_names(names.into_iter());
        assert_eq!(
            look_up(&split("attention"), true, &ranking),
            Some(Reading::Module(Stage::O_PROJ))
        );
        let names = ["attention_self_query", "output_LayerNorm", "output_dense"]
            .map(|n| (n.to_lowercase(), true));
        let ranking = Ranking::of_names(names.into_iter());
        assert_eq!(
            look_up(&split("attention"), true, &ranking),
            Some(Reading::Module(Stage::ATTN_OUT_NORM))
        );
    }
}
