//! The table of spellings (`dialects.toml`) and its look-up.

use super::Stage;
use super::words::{Word, canonical, joined, split};
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
    #[cfg(test)]
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

/// One dialect, by exact words and by words with synonyms made one.
pub(super) struct Dialect {
    #[cfg(test)]
    name: String,
    layered: Spellings,
    top: Spellings,
}

#[derive(Default)]
struct Spellings {
    exact: HashMap<String, Reading>,
    canonical: HashMap<String, Reading>,
}

impl Spellings {
    fn add(&mut self, spelling: &str, reading: Reading) {
        let words = split(spelling);
        self.exact.entry(joined(&words)).or_insert(reading);
        self.canonical.entry(canonical(&words)).or_insert(reading);
    }
}

/// All dialects, in file order; the canonical stage names themselves come last.
pub(super) static DIALECTS: LazyLock<Vec<Dialect>> = LazyLock::new(|| {
    // The text is part of the program; `the_table_of_dialects_is_sound` parses it.
    let file: File = toml::from_str(include_str!("dialects.toml")).expect("dialects.toml parses");
    let mut all: Vec<Dialect> = file.dialect.iter().map(Dialect::new).collect();
    all.push(Dialect::canonical());
    all
});

impl Dialect {
    fn new(section: &Section) -> Dialect {
        let mut d = Dialect {
            #[cfg(test)]
            name: section.name.clone(),
            layered: Spellings::default(),
            top: Spellings::default(),
        };
        for (&stage, spellings) in &section.stages {
            d.add_stage(stage, spellings, Reading::Stage(stage));
        }
        for (rule, spellings) in &section.depends {
            let rule = rule_by_name(rule).expect("dialects.toml names rules that exist");
            for s in spellings {
                let table = if rule.is_per_layer() {
                    &mut d.layered
                } else {
                    &mut d.top
                };
                table.add(s, Reading::Depends(rule));
            }
        }
        for (&stage, spellings) in &section.modules {
            d.add_stage(stage, spellings, Reading::Module(stage));
        }
        for spelling in section.nothing.values().flatten() {
            d.layered.add(spelling, Reading::Nothing);
            d.top.add(spelling, Reading::Nothing);
        }
        d
    }

    fn canonical() -> Dialect {
        let mut d = Dialect {
            #[cfg(test)]
            name: "tdiff".into(),
            layered: Spellings::default(),
            top: Spellings::default(),
        };
        for row in super::stage::STAGES {
            d.add_stage(
                row.stage,
                &[row.name.to_string()],
                Reading::Stage(row.stage),
            );
        }
        d
    }

    fn add_stage(&mut self, stage: Stage, spellings: &[String], reading: Reading) {
        for s in spellings {
            let table = if stage.is_per_layer() {
                &mut self.layered
            } else {
                &mut self.top
            };
            table.add(s, reading);
        }
    }

    fn table(&self, layered: bool) -> &Spellings {
        if layered { &self.layered } else { &self.top }
    }

    /// Whether the words are exactly a spelling of this dialect.
    pub fn knows(&self, words: &str, layered: bool) -> bool {
        self.table(layered).exact.contains_key(words)
    }
}

fn rule_by_name(name: &str) -> Option<Rule> {
    let text = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
    Rule::deserialize(text).ok()
}

/// Looks the words up, exact words before synonyms, dialects in the order given.
pub(super) fn look_up(words: &[Word], layered: bool, order: &[usize]) -> Option<Reading> {
    let exact = joined(words);
    let by = |i: &usize| DIALECTS.get(*i).map(|d| d.table(layered));
    order
        .iter()
        .filter_map(by)
        .find_map(|t| t.exact.get(&exact))
        .or_else(|| {
            let canonical = canonical(words);
            order
                .iter()
                .filter_map(by)
                .find_map(|t| t.canonical.get(&canonical))
        })
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_dialects_is_sound() {
        assert!(DIALECTS.len() > 5);
        let names: std::collections::BTreeSet<_> = DIALECTS.iter().map(|d| &d.name).collect();
        assert_eq!(names.len(), DIALECTS.len(), "a dialect is named twice");
    }

    #[test]
    fn every_canonical_name_reads_as_itself() {
        let last = DIALECTS.len() - 1;
        for row in super::super::stage::STAGES {
            assert_eq!(
                look_up(&split(row.name), row.stage.is_per_layer(), &[last]),
                Some(Reading::Stage(row.stage))
            );
        }
    }

    #[test]
    fn the_dialect_asked_first_decides() {
        let at = |name| DIALECTS.iter().position(|d| d.name == name).unwrap();
        let (bert, titan) = (at("bert"), at("torchtitan"));
        let words = split("attention");
        assert_eq!(
            look_up(&words, true, &[bert, titan]),
            Some(Reading::Module(Stage::AttnOutNorm))
        );
        assert_eq!(
            look_up(&words, true, &[titan, bert]),
            Some(Reading::Module(Stage::OProj))
        );
    }
}
