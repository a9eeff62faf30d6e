//! The words of names that are no nodes: `models/words.toml`.

use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// Words to be found among others.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<String>")]
pub struct Set(Vec<String>);

impl From<Vec<String>> for Set {
    fn from(mut words: Vec<String>) -> Set {
        words.sort_unstable();
        Set(words)
    }
}

impl Set {
    pub fn contains(&self, word: &str) -> bool {
        self.0.binary_search_by(|w| w.as_str().cmp(word)).is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// What stands around names, and what producers write in place of words; the file says what each list is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub dialects: Vec<String>,
    pub leading: Set,
    pub trailing: Set,
    pub layer: Set,
    pub fused_layer: Vec<String>,
    /// The words of each label, by the first of them without the place of its number.
    #[serde(deserialize_with = "by_head")]
    pub containers: HashMap<String, Vec<Vec<String>>>,
    pub weak: Set,
    pub foreign: Set,
    pub parameters: Vec<String>,
    pub steps: Vec<String>,
    pub calls: Set,
    pub folder_steps: Set,
    pub devices: Vec<String>,
    pub extensions: Vec<String>,
    pub views: Set,
    pub stream_arguments: Set,
    pub call_kinds: Set,
    pub tags: Tags,
    pub exporter: Exporter,
    #[serde(deserialize_with = "turned")]
    pub synonyms: HashMap<String, String>,
    pub sections: Vec<Vec<String>>,
    pub early: Set,
    pub late: Set,
    pub tower: Vec<Tower>,
}

/// Words that mark a side.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    pub reference: Set,
    pub reference_at_ends: Set,
    pub candidate: Set,
    pub candidate_at_ends: Set,
}

/// Operations of exported graphs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exporter {
    pub results: Vec<String>,
    pub inner: Set,
    pub containers: Set,
    pub layers: Set,
}

/// A part of a model with layers of its own, and the words that name it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tower {
    /// Empty for the model itself.
    pub name: String,
    pub words: Vec<String>,
    /// Whether it is named even where no other part has layers.
    #[serde(default)]
    pub always: bool,
    /// Pictures and sound have no ids.
    #[serde(default = "yes")]
    pub reads_tokens: bool,
}

fn yes() -> bool {
    true
}

impl Words {
    /// Whether a label says nothing but the model, or what is around it.
    pub fn is_leading(&self, label: &str) -> bool {
        label.split('_').all(|w| self.leading.contains(w))
    }

    /// The place in the pipeline of the part with that name; that of the model itself where there is none.
    pub fn tower(&self, name: &str) -> usize {
        let at = |name: &str| self.tower.iter().position(|t| t.name == name);
        at(name).or_else(|| at("")).unwrap_or_default()
    }
}

/// `"down_blocks"` becomes `down` → `down`, `blocks`.
fn by_head<'de, D: serde::Deserializer<'de>>(
    d: D,
) -> Result<HashMap<String, Vec<Vec<String>>>, D::Error> {
    let mut all: HashMap<String, Vec<Vec<String>>> = HashMap::new();
    for label in Vec::<String>::deserialize(d)? {
        let parts: Vec<String> = label.split('_').map(str::to_owned).collect();
        let head = parts[0].trim_end_matches('#').to_owned();
        all.entry(head).or_default().push(parts);
    }
    Ok(all)
}

/// `q = ["query"]` becomes `query` → `q`.
fn turned<'de, D: serde::Deserializer<'de>>(d: D) -> Result<HashMap<String, String>, D::Error> {
    let rows = BTreeMap::<String, Vec<String>>::deserialize(d)?;
    let all = rows
        .into_iter()
        .flat_map(|(one, others)| others.into_iter().map(move |other| (other, one.clone())));
    Ok(all.collect())
}

static WORDS: LazyLock<Words> =
    LazyLock::new(|| match serde_json::from_str(super::model_text!("words")) {
        Ok(words) => words,
        // the file is part of the program, and every test of names reads it
        Err(error) => unreachable!("models/words.toml: {error}"),
    });

/// The words that tdiff knows.
pub fn words() -> &'static Words {
    &WORDS
}
