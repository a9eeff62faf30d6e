//! The table of spellings (`dialects.toml`) and its look-up.

use super::Stage;
use super::words::{Word, canonical, forms, joined};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// What a spelling means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// The tensor itself.
    Stage(Stage),
    /// The output of a module that equals the stage.
    Module(Stage),
    /// Depends on what else the dump holds.
    Depends(Rule),
    /// Known to be no canonical stage.
    Nothing,
}

/// A reading that needs its surroundings; resolved in `context.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    /// `post_attention_layernorm`: the MLP's norm, or a norm after attention where others stand around the MLP.
    PostAttention,
    /// `attn_out`: after the output projection, or before it when that has a name of its own.
    AttnOut,
    /// Activation: of the gate, or of up where there is no gate (then it is the middle of the MLP).
    Act,
    /// `ffn_act`: the middle of the MLP, unless nothing says so.
    MidAct,
    /// `scores`: final scores, or raw ones when masked ones have a name of their own.
    Scores,
    /// llama.cpp names projection, reshape and rotation alike.
    QCur,
    KCur,
    /// What a graph takes in: token rows when more is added later.
    InpEmbd,
    /// Gate projection, or the router of a mixture of experts.
    Gate,
    /// `attn_ln`: a norm before attention where an MLP norm stands beside it, else after.
    AttnLn,
    /// A norm of the attention sublayer: before it, behind it in BART.
    SublayerNorm,
    /// The layer's last norm: the MLP's own, behind everything in BART.
    LastNorm,
    /// TransformerLens: before the activation, of the gate where there is one.
    HookPre,
    HookPreLinear,
}

impl Rule {
    fn is_per_layer(self) -> bool {
        self != Rule::InpEmbd
    }
}

#[derive(Deserialize)]
struct File {
    dialect: Vec<Section>,
}

#[derive(Deserialize)]
struct Section {
    name: String,
    #[serde(default)]
    stages: BTreeMap<Stage, Vec<String>>,
    #[serde(default)]
    modules: BTreeMap<Stage, Vec<String>>,
    #[serde(default)]
    depends: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    nothing: BTreeMap<String, Vec<String>>,
}

/// All spellings of all dialects, by exact words and by words with synonyms made one.
struct Table {
    dialects: Vec<String>,
    layered: Spellings,
    top: Spellings,
}

/// What each dialect reads, by dialect.
type Readings = Vec<(usize, Reading)>;

/// What some words mean.
#[derive(Default)]
struct Meanings {
    /// They stand so in the table.
    exact: Readings,
    /// They are what synonyms make of a spelling in the table.
    canonical: Readings,
}

struct Spellings(HashMap<String, Meanings>);

impl Spellings {
    /// The first reading of a spelling stays.
    fn add(&mut self, dialect: usize, spelling: &str, reading: Reading) {
        let put = |readings: &mut Readings| {
            if readings.iter().all(|(d, _)| *d != dialect) {
                readings.reserve_exact(1);
                readings.push((dialect, reading));
            }
        };
        let (exact, canonical) = forms(spelling);
        let same = exact == canonical;
        let meanings = self.0.entry(exact).or_default();
        put(&mut meanings.exact);
        if same {
            put(&mut meanings.canonical);
        } else {
            put(&mut self.0.entry(canonical).or_default().canonical);
        }
    }

    fn exact(&self, words: &str) -> Option<&Readings> {
        self.0.get(words).map(|m| &m.exact)
    }

    fn canonical(&self, words: &str) -> Option<&Readings> {
        self.0.get(words).map(|m| &m.canonical)
    }
}

/// The dialects in file order; the canonical stage names themselves come last.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // The text is part of the program; `the_table_of_dialects_is_sound` parses it.
    let file: File = toml::from_str(include_str!("dialects.toml")).expect("dialects.toml parses");
    let mut table = Table {
        dialects: Vec::new(),
        layered: Spellings(HashMap::with_capacity(2048)),
        top: Spellings(HashMap::with_capacity(512)),
    };
    for section in &file.dialect {
        table.add(section);
    }
    table.dialects.push("tdiff".into());
    for row in super::stage::STAGES {
        table.add_stage(
            row.stage,
            &[row.name.to_string()],
            Reading::Stage(row.stage),
        );
    }
    table
});

impl Table {
    fn add(&mut self, section: &Section) {
        self.dialects.push(section.name.clone());
        for (&stage, spellings) in &section.stages {
            self.add_stage(stage, spellings, Reading::Stage(stage));
        }
        let dialect = self.dialects.len() - 1;
        for (rule, spellings) in &section.depends {
            let rule = rule_by_name(rule).expect("dialects.toml names rules that exist");
            for s in spellings {
                let table = self.table_mut(rule.is_per_layer());
                table.add(dialect, s, Reading::Depends(rule));
            }
        }
        for (&stage, spellings) in &section.modules {
            self.add_stage(stage, spellings, Reading::Module(stage));
        }
        for spelling in section.nothing.values().flatten() {
            self.layered.add(dialect, spelling, Reading::Nothing);
            self.top.add(dialect, spelling, Reading::Nothing);
        }
    }

    fn add_stage(&mut self, stage: Stage, spellings: &[String], reading: Reading) {
        let dialect = self.dialects.len() - 1;
        for s in spellings {
            self.table_mut(stage.is_per_layer())
                .add(dialect, s, reading);
        }
    }

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

fn rule_by_name(name: &str) -> Option<Rule> {
    let text = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
    Rule::deserialize(text).ok()
}

/// The rank of each dialect: the lowest is asked first.
#[derive(Clone, Debug)]
pub(super) struct Ranking(Vec<usize>);

impl Ranking {
    /// The dialect that reads most of the names (words, and whether they stand in a layer) comes first.
    pub fn of_names(names: impl Iterator<Item = (String, bool)>) -> Ranking {
        let mut votes = vec![0usize; TABLE.dialects.len()];
        for (words, layered) in names {
            for (dialect, _) in TABLE.table(layered).exact(&words).into_iter().flatten() {
                votes[*dialect] += 1;
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

    fn best(&self, readings: &Readings) -> Option<Reading> {
        let best = readings.iter().min_by_key(|(dialect, _)| self.0[*dialect]);
        best.map(|(_, reading)| *reading)
    }
}

/// Looks the words up: exact words before synonyms, dialects by their rank.
pub(super) fn look_up(words: &[Word], layered: bool, ranking: &Ranking) -> Option<Reading> {
    let table = TABLE.table(layered);
    let readings = table
        .exact(&joined(words))
        .filter(|r| !r.is_empty())
        .or_else(|| table.canonical(&canonical(words)))?;
    ranking.best(readings)
}

#[cfg(test)]
mod tests {
    use super::super::words::split;
    use super::*;

    /// The dialects of that name first.
    fn ranking(first: &[&str]) -> Ranking {
        let rank = |name: &String| first.iter().position(|f| f == name).unwrap_or(first.len());
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
        for row in super::super::stage::STAGES {
            assert_eq!(
                look_up(
                    &split(row.name),
                    row.stage.is_per_layer(),
                    &ranking(&["tdiff"])
                ),
                Some(Reading::Stage(row.stage))
            );
        }
    }

    #[test]
    fn the_dialect_asked_first_decides() {
        let read = |order: &[&str]| look_up(&split("attention"), true, &ranking(order));
        assert_eq!(
            read(&["bert", "torchtitan"]),
            Some(Reading::Module(Stage::AttnOutNorm))
        );
        assert_eq!(
            read(&["torchtitan", "bert"]),
            Some(Reading::Module(Stage::OProj))
        );
    }

    #[test]
    fn the_names_vote_for_their_dialect() {
        let names = ["attention_norm", "attention_wq", "attention"].map(|n| (n.to_string(), true));
        let ranking = Ranking::of_names(names.into_iter());
        assert_eq!(
            look_up(&split("attention"), true, &ranking),
            Some(Reading::Module(Stage::OProj))
        );
        let names = ["attention_self_query", "output_LayerNorm", "output_dense"]
            .map(|n| (n.to_lowercase(), true));
        let ranking = Ranking::of_names(names.into_iter());
        assert_eq!(
            look_up(&split("attention"), true, &ranking),
            Some(Reading::Module(Stage::AttnOutNorm))
        );
    }
}
