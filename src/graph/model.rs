//! Reads `models/*.toml`: one file for each family of models, its nodes in the order in which they run.

use super::condition::{Condition, Term};
use super::stage::{KNOWN, Stage};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use toml::Spanned;

/// All families together.
#[derive(Debug, Default)]
pub struct Graph {
    pub families: Vec<Family>,
    nodes: Vec<Node>,
    by_name: HashMap<String, Stage>,
    pub choices: Vec<Choice>,
    /// (dialect, spelling) of what is known to be no node.
    pub nothing: Vec<Spelling>,
    /// Lists whose members of one number run one after the other.
    pub interleaved: Vec<Vec<String>>,
}

/// A kind of model, or of a part of models.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub about: String,
}

/// A place in a model where a tensor can be tapped.
#[derive(Debug, Default)]
pub struct Node {
    pub name: String,
    pub family: usize,
    pub holds: String,
    pub operation: String,
    pub inputs: Vec<Stage>,
    /// Whether every layer has one.
    pub per_layer: bool,
    /// Whether it stands in blocks that are no plain stack of layers: its tensors keep their paths.
    pub per_block: bool,
    /// Many models do not have it: its absence is no gap in a dump.
    pub optional: bool,
    pub hint: String,
    /// In every layer but the first, the node of the layer before that it is computed from.
    pub previous: Option<Stage>,
    /// The node of the last layer that it is computed from, where there are layers.
    pub last: Option<Stage>,
    /// The node of earlier steps that it is computed from, too.
    pub cached: Option<Stage>,
    /// What enters the operation, where a hook wrote its input.
    pub reads: Vec<Condition>,
    /// The same for a module that ends with the operation.
    pub module_reads: Vec<Condition>,
    /// What GGUF calls its weight.
    pub weights: Vec<String>,
    pub names: Vec<Spelling>,
    pub modules: Vec<Spelling>,
    /// Its place among all nodes, as they run.
    pub rank: usize,
    /// Whether it stands in one data flow with the nodes of the first family: only then its rank says something beside theirs.
    pub linked: bool,
}

/// How one producer writes a node, without the layer and the model's own prefix.
#[derive(Clone, Debug)]
pub struct Spelling {
    pub dialect: String,
    pub text: String,
}

/// A spelling whose meaning depends on what else the dump holds.
#[derive(Debug)]
pub struct Choice {
    pub name: String,
    pub is: Vec<Condition>,
    /// The node that a later occurrence of the same name is, where one name stands for an operation and its rotation.
    pub rotated: Option<Stage>,
    pub names: Vec<Spelling>,
}

/// Why a file is no description of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    pub path: String,
    /// Counted from 1; 0 where no line is to blame.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{} line {line}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for ModelError {}

impl ModelError {
    pub(super) fn late(path: &str) -> ModelError {
        ModelError {
            path: path.to_owned(),
            line: 0,
            message: "the nodes of this process are read already".into(),
        }
    }
}

type Spellings = BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    family: String,
    about: String,
    #[serde(default)]
    interleaved: Vec<Vec<String>>,
    #[serde(default)]
    node: Vec<NodeRow>,
    #[serde(default)]
    choice: Vec<ChoiceRow>,
    #[serde(default)]
    nothing: Spellings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRow {
    name: Spanned<String>,
    holds: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    inputs: Vec<Spanned<String>>,
    /// Nodes of other families that it is an input of.
    #[serde(default)]
    feeds: Vec<Spanned<String>>,
    #[serde(default)]
    per: Per,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    hint: String,
    previous: Option<Spanned<String>>,
    last: Option<Spanned<String>>,
    cached: Option<Spanned<String>>,
    #[serde(default)]
    reads: Vec<ConditionRow>,
    #[serde(default)]
    module_reads: Vec<ConditionRow>,
    #[serde(default)]
    weights: Vec<String>,
    #[serde(default)]
    names: Spellings,
    #[serde(default)]
    modules: Spellings,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Per {
    #[default]
    Layer,
    Model,
    Block,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceRow {
    name: String,
    #[allow(dead_code)] // for readers of the file
    about: String,
    is: Vec<ConditionRow>,
    rotated: Option<Spanned<String>>,
    names: Spellings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionRow {
    node: Option<Spanned<String>>,
    #[serde(default)]
    when: Vec<Spanned<String>>,
    #[serde(default)]
    cost: u8,
}

fn spellings(rows: &Spellings) -> Vec<Spelling> {
    let all = rows.iter().flat_map(|(dialect, texts)| {
        texts.iter().map(|text| Spelling {
            dialect: dialect.clone(),
            text: text.clone(),
        })
    });
    all.collect()
}

/// One file while it is read.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: Option<Range<usize>>, message: String) -> ModelError {
        let line = at.map_or(0, |at| {
            let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
            before.iter().filter(|b| **b == b'\n').count() + 1
        });
        ModelError {
            path: self.path.to_owned(),
            line,
            message,
        }
    }

    fn read(&self) -> Result<FileRow, ModelError> {
        toml::from_str(self.text).map_err(|e| self.error(e.span(), e.message().replace('\n', ", ")))
    }

    fn stage(&self, graph: &Graph, name: &Spanned<String>) -> Result<Stage, ModelError> {
        graph.find(name.get_ref()).ok_or_else(|| {
            let near = graph.nearest(name.get_ref());
            let hint = near.map_or(String::new(), |n| format!("; `{n}` is near"));
            self.error(
                Some(name.span()),
                format!("no node is called `{}`{hint}", name.get_ref()),
            )
        })
    }

    fn stages(&self, graph: &Graph, names: &[Spanned<String>]) -> Result<Vec<Stage>, ModelError> {
        names.iter().map(|name| self.stage(graph, name)).collect()
    }

    fn maybe(
        &self,
        graph: &Graph,
        name: &Option<Spanned<String>>,
    ) -> Result<Option<Stage>, ModelError> {
        name.as_ref().map(|n| self.stage(graph, n)).transpose()
    }

    fn conditions(
        &self,
        graph: &Graph,
        rows: &[ConditionRow],
    ) -> Result<Vec<Condition>, ModelError> {
        let term = |text: &Spanned<String>| {
            Term::read(text.get_ref(), graph).map_err(|e| self.error(Some(text.span()), e))
        };
        let condition = |row: &ConditionRow| {
            Ok(Condition {
                stage: self.maybe(graph, &row.node)?,
                when: row.when.iter().map(term).collect::<Result<_, _>>()?,
                cost: row.cost,
            })
        };
        rows.iter().map(condition).collect()
    }
}

impl Graph {
    /// Reads files, given as (path, text), one after the other; a node may name nodes of any file.
    pub(super) fn read(files: &[(&str, &str)]) -> Result<Graph, ModelError> {
        let sources: Vec<Source<'_>> = files
            .iter()
            .map(|&(path, text)| Source { path, text })
            .collect();
        let rows = sources
            .iter()
            .map(Source::read)
            .collect::<Result<Vec<_>, _>>()?;
        let mut graph = Graph::default();
        for (number, name) in KNOWN.iter().enumerate() {
            graph
                .by_name
                .insert((*name).to_owned(), Stage(number as u16));
            graph.nodes.push(Node::default());
        }
        // the order of the files, as far as inputs leave it open
        let mut written = Vec::new();
        for (source, file) in sources.iter().zip(&rows) {
            for row in &file.node {
                let stage = graph.place(source, &row.name)?;
                written.push(stage);
            }
        }
        for (family, (source, file)) in sources.iter().zip(&rows).enumerate() {
            graph.families.push(Family {
                name: file.family.clone(),
                about: file.about.clone(),
            });
            for row in &file.node {
                graph.add_node(source, family, row)?;
            }
            for row in &file.choice {
                let choice = Choice {
                    name: row.name.clone(),
                    is: source.conditions(&graph, &row.is)?,
                    rotated: source.maybe(&graph, &row.rotated)?,
                    names: spellings(&row.names),
                };
                graph.choices.push(choice);
            }
            graph.nothing.extend(spellings(&file.nothing));
            graph.interleaved.extend(file.interleaved.iter().cloned());
        }
        graph.rank(&written).map_err(|name| ModelError {
            path: sources.last().map_or("", |s| s.path).to_owned(),
            line: 0,
            message: format!("`{name}` is computed from itself"),
        })?;
        graph.link();
        Ok(graph)
    }

    /// The number of a node that a file declares.
    fn place(&mut self, source: &Source<'_>, name: &Spanned<String>) -> Result<Stage, ModelError> {
        let text = name.get_ref();
        let refuse = |message| Err(source.error(Some(name.span()), message));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if text.is_empty() || !text.chars().all(plain) {
            return refuse(format!(
                "a node's name is of a-z, 0-9 and _; found `{text}`"
            ));
        }
        let stage = match self.find(text) {
            Some(stage) => stage,
            None => {
                self.nodes.push(Node::default());
                Stage(self.nodes.len() as u16 - 1)
            }
        };
        let node = &mut self.nodes[stage.0 as usize];
        if !node.name.is_empty() {
            return refuse(format!("the node `{text}` is declared twice"));
        }
        node.name = text.clone();
        self.by_name.insert(text.clone(), stage);
        Ok(stage)
    }

    fn add_node(
        &mut self,
        source: &Source<'_>,
        family: usize,
        row: &NodeRow,
    ) -> Result<(), ModelError> {
        let stage = source.stage(self, &row.name)?;
        let mut inputs = source.stages(self, &row.inputs)?;
        // what other families fed into it before it was read itself
        inputs.append(&mut self.nodes[stage.0 as usize].inputs);
        let node = Node {
            name: row.name.get_ref().clone(),
            family,
            holds: row.holds.clone(),
            operation: row.operation.clone(),
            inputs,
            per_layer: row.per == Per::Layer,
            per_block: row.per == Per::Block,
            optional: row.optional,
            hint: if row.hint.is_empty() {
                row.holds.clone()
            } else {
                row.hint.clone()
            },
            previous: source.maybe(self, &row.previous)?,
            last: source.maybe(self, &row.last)?,
            cached: source.maybe(self, &row.cached)?,
            reads: source.conditions(self, &row.reads)?,
            module_reads: source.conditions(self, &row.module_reads)?,
            weights: row.weights.clone(),
            names: spellings(&row.names),
            modules: spellings(&row.modules),
            rank: 0,
            linked: false,
        };
        self.nodes[stage.0 as usize] = node;
        for fed in source.stages(self, &row.feeds)? {
            self.nodes[fed.0 as usize].inputs.push(stage);
        }
        Ok(())
    }

    /// Marks the nodes that are computed from those of the first family and feed into them.
    fn link(&mut self) {
        let order = self.stages();
        let core = |node: &Node| node.family == 0;
        let mut behind: Vec<bool> = self.nodes.iter().map(core).collect();
        let mut before = behind.clone();
        for stage in &order {
            let inputs = &self.nodes[stage.0 as usize].inputs;
            behind[stage.0 as usize] |= inputs.iter().any(|i| behind[i.0 as usize]);
        }
        for stage in order
            .iter()
            .rev()
            .filter(|s| before[s.0 as usize])
            .copied()
            .collect::<Vec<_>>()
        {
            let mut open = vec![stage];
            while let Some(stage) = open.pop() {
                for input in &self.nodes[stage.0 as usize].inputs {
                    if !std::mem::replace(&mut before[input.0 as usize], true) {
                        open.push(*input);
                    }
                }
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            node.linked = behind[at] && before[at];
        }
    }

    /// Numbers the nodes as they run: a node behind its inputs, else as the files have them. `Err` names one of a circle.
    fn rank(&mut self, written: &[Stage]) -> Result<(), String> {
        let mut ranked = vec![false; self.nodes.len()];
        let mut open: Vec<Stage> = written.to_vec();
        let mut next = 0;
        while !open.is_empty() {
            let ready = |s: &Stage| {
                self.nodes[s.0 as usize]
                    .inputs
                    .iter()
                    .all(|i| ranked[i.0 as usize])
            };
            let Some(at) = open.iter().position(ready) else {
                return Err(self.nodes[open[0].0 as usize].name.clone());
            };
            let stage = open.remove(at);
            ranked[stage.0 as usize] = true;
            self.nodes[stage.0 as usize].rank = next;
            next += 1;
        }
        Ok(())
    }

    pub fn find(&self, name: &str) -> Option<Stage> {
        self.by_name.get(name).copied()
    }

    pub fn node(&self, stage: Stage) -> &Node {
        &self.nodes[stage.0 as usize]
    }

    /// All nodes in pipeline order.
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.sort_by_key(|n| n.rank);
        nodes
    }

    /// All nodes as stages, in pipeline order.
    pub fn stages(&self) -> Vec<Stage> {
        let mut stages: Vec<Stage> = (0..self.nodes.len() as u16).map(Stage).collect();
        stages.sort_by_key(|s| self.node(*s).rank);
        stages
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let near = self
            .by_name
            .keys()
            .map(|n| (strsim::jaro_winkler(n, name), n));
        let best = near.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))?;
        (best.0 > 0.8).then_some(best.1.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MODELS;
    use super::*;

    fn learned(text: &str) -> Result<Graph, ModelError> {
        Graph::read(&[MODELS, &[("mine.toml", text)]].concat())
    }

    #[test]
    fn a_family_is_one_file() {
        let graph = learned(
            "family = \"mine\"\nabout = \"a gate behind attention\"\n[[node]]\nname = \"attn_gate\"\nholds = \"the gate\"\n\
             inputs = [\"attn_norm\"]\nfeeds = [\"o_proj\"]\nnames.mine = [\"self_attn.g_proj\"]\n",
        )
        .unwrap();
        let (gate, o_proj) = (graph.find("attn_gate").unwrap(), Stage::OProj);
        assert!(graph.node(o_proj).inputs.contains(&gate));
        assert!(graph.node(gate).rank < graph.node(o_proj).rank);
    }

    #[test]
    fn a_wrong_file_is_an_error_with_its_line() {
        let error = |text: &str| learned(text).unwrap_err().to_string();
        let head = "family = \"mine\"\nabout = \"x\"\n[[node]]\nholds = \"y\"\n";
        assert_eq!(
            error(&format!("{head}name = \"g\"\ninputs = [\"atn_norm\"]\n")),
            "mine.toml line 6: no node is called `atn_norm`; `attn_norm` is near"
        );
        assert_eq!(
            error(&format!("{head}name = \"q_proj\"\n")),
            "mine.toml line 5: the node `q_proj` is declared twice"
        );
        let unknown = error(&format!("{head}name = \"g\"\nimputs = []\n"));
        assert!(
            unknown.starts_with("mine.toml line 6: unknown field `imputs`"),
            "{unknown}"
        );
        let circle =
            format!("{head}name = \"g\"\ninputs = [\"q_proj\"]\nfeeds = [\"attn_norm\"]\n");
        assert!(error(&circle).contains("is computed from itself"));
        assert!(error("family = 3").starts_with("mine.toml line 1:"));
    }
}
