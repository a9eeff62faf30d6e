//! Reads `models/*.toml`: one file for each family of models, its nodes in the order in which they run.

use super::condition::{Condition, Term};
use super::stage::{KNOWN, Stage};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;

/// All families together.
#[derive(Debug, Default)]
pub struct Graph {
    pub families: Vec<Family>,
    nodes: Vec<Node>,
    /// All nodes as they run.
    order: Vec<Stage>,
    by_name: HashMap<String, Stage>,
    /// The nodes by what GGUF calls their weights, those of layers apart.
    by_weight: HashMap<(bool, String), Stage>,
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
    /// What is computed from it, in the same step or in a later one.
    pub readers: Vec<Stage>,
    /// What runs before it, although it is not computed from it.
    pub after: Vec<Stage>,
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
    pub dialect: Arc<str>,
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
struct FileRow<N> {
    family: String,
    about: String,
    #[serde(default)]
    interleaved: Vec<Vec<String>>,
    #[serde(default = "Vec::new")]
    node: Vec<NodeRow<N>>,
    #[serde(default = "Vec::new")]
    choice: Vec<ChoiceRow<N>>,
    #[serde(default)]
    nothing: Spellings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRow<N> {
    name: N,
    holds: String,
    #[serde(default)]
    operation: String,
    #[serde(default = "Vec::new")]
    inputs: Vec<N>,
    /// Nodes that run before it, although it is not computed from them.
    #[serde(default = "Vec::new")]
    after: Vec<N>,
    /// Nodes of other families that it is an input of.
    #[serde(default = "Vec::new")]
    feeds: Vec<N>,
    #[serde(default)]
    per: Per,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    hint: String,
    previous: Option<N>,
    last: Option<N>,
    cached: Option<N>,
    #[serde(default = "Vec::new")]
    reads: Vec<ConditionRow<N>>,
    #[serde(default = "Vec::new")]
    module_reads: Vec<ConditionRow<N>>,
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
struct ChoiceRow<N> {
    name: String,
    #[allow(dead_code)] // for readers of the file
    about: String,
    is: Vec<ConditionRow<N>>,
    rotated: Option<N>,
    names: Spellings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionRow<N> {
    node: Option<N>,
    #[serde(default = "Vec::new")]
    when: Vec<N>,
    #[serde(default)]
    cost: u8,
}

/// A name in a file, and where it stands there.
trait Name {
    fn text(&self) -> &str;
    fn place(&self) -> Option<Range<usize>>;
}

impl Name for Spanned<String> {
    fn text(&self) -> &str {
        self.get_ref()
    }

    fn place(&self) -> Option<Range<usize>> {
        Some(self.span())
    }
}

/// In the files of the program, which a test reads: what is wrong there needs no line.
impl Name for String {
    fn text(&self) -> &str {
        self
    }

    fn place(&self) -> Option<Range<usize>> {
        None
    }
}

fn spellings(rows: Spellings) -> Vec<Spelling> {
    let all = rows.into_iter().flat_map(|(dialect, texts)| {
        let dialect: Arc<str> = dialect.into();
        texts.into_iter().map(move |text| Spelling {
            dialect: Arc::clone(&dialect),
            text,
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

    fn read(&self) -> Result<FileRow<Spanned<String>>, ModelError> {
        toml::from_str(self.text).map_err(|e| self.error(e.span(), e.message().replace('\n', ", ")))
    }

    fn stage(&self, graph: &Graph, name: &impl Name) -> Result<Stage, ModelError> {
        graph.find(name.text()).ok_or_else(|| {
            let near = graph.nearest(name.text());
            let hint = near.map_or(String::new(), |n| format!("; `{n}` is near"));
            self.error(
                name.place(),
                format!("no node is called `{}`{hint}", name.text()),
            )
        })
    }

    fn stages(&self, graph: &Graph, names: &[impl Name]) -> Result<Vec<Stage>, ModelError> {
        names.iter().map(|name| self.stage(graph, name)).collect()
    }

    fn maybe(&self, graph: &Graph, name: &Option<impl Name>) -> Result<Option<Stage>, ModelError> {
        name.as_ref().map(|n| self.stage(graph, n)).transpose()
    }

    fn conditions<N: Name>(
        &self,
        graph: &Graph,
        rows: &[ConditionRow<N>],
    ) -> Result<Vec<Condition>, ModelError> {
        let term =
            |text: &N| Term::read(text.text(), graph).map_err(|e| self.error(text.place(), e));
        let condition = |row: &ConditionRow<N>| {
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
    /// Reads the families of the program, which the build has turned into JSON, then files given as (path, text); a node may name nodes of any family.
    pub(super) fn read(families: &[&str], files: &[(&str, &str)]) -> Result<Graph, ModelError> {
        let own = Source {
            path: "models",
            text: "",
        };
        let rows = families
            .iter()
            .map(|text| serde_json::from_str(text))
            .collect::<Result<Vec<FileRow<String>>, _>>()
            .map_err(|e| own.error(None, e.to_string()))?;
        let sources: Vec<Source<'_>> = files
            .iter()
            .map(|&(path, text)| Source { path, text })
            .collect();
        let more = sources
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
        for file in &rows {
            graph.place_all(&own, file, &mut written)?;
        }
        for (source, file) in sources.iter().zip(&more) {
            graph.place_all(source, file, &mut written)?;
        }
        for file in rows {
            graph.add(&own, file)?;
        }
        for (source, file) in sources.iter().zip(more) {
            graph.add(source, file)?;
        }
        graph.rank(&written).map_err(|name| {
            sources
                .last()
                .unwrap_or(&own)
                .error(None, format!("`{name}` is computed from itself"))
        })?;
        graph.index();
        graph.link();
        Ok(graph)
    }

    fn place_all<N: Name>(
        &mut self,
        source: &Source<'_>,
        file: &FileRow<N>,
        written: &mut Vec<Stage>,
    ) -> Result<(), ModelError> {
        for row in &file.node {
            written.push(self.place(source, &row.name)?);
        }
        Ok(())
    }

    /// Adds a family whose nodes have their numbers.
    fn add<N: Name>(&mut self, source: &Source<'_>, file: FileRow<N>) -> Result<(), ModelError> {
        let family = self.families.len();
        self.families.push(Family {
            name: file.family,
            about: file.about,
        });
        for row in file.node {
            self.add_node(source, family, row)?;
        }
        for row in file.choice {
            let choice = Choice {
                name: row.name,
                is: source.conditions(self, &row.is)?,
                rotated: source.maybe(self, &row.rotated)?,
                names: spellings(row.names),
            };
            self.choices.push(choice);
        }
        self.nothing.extend(spellings(file.nothing));
        self.interleaved.extend(file.interleaved);
        Ok(())
    }

    /// The number of a node that a file declares.
    fn place(&mut self, source: &Source<'_>, name: &impl Name) -> Result<Stage, ModelError> {
        let text = name.text();
        let refuse = |message| Err(source.error(name.place(), message));
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
        node.name = text.to_owned();
        self.by_name.insert(text.to_owned(), stage);
        Ok(stage)
    }

    fn add_node<N: Name>(
        &mut self,
        source: &Source<'_>,
        family: usize,
        row: NodeRow<N>,
    ) -> Result<(), ModelError> {
        let stage = source.stage(self, &row.name)?;
        let mut inputs = source.stages(self, &row.inputs)?;
        // what other families fed into it before it was read itself
        inputs.append(&mut self.nodes[stage.0 as usize].inputs);
        let node = Node {
            name: row.name.text().to_owned(),
            family,
            inputs,
            readers: Vec::new(),
            after: source.stages(self, &row.after)?,
            per_layer: row.per == Per::Layer,
            per_block: row.per == Per::Block,
            optional: row.optional,
            hint: match row.hint.is_empty() {
                true => row.holds.clone(),
                false => row.hint,
            },
            holds: row.holds,
            operation: row.operation,
            previous: source.maybe(self, &row.previous)?,
            last: source.maybe(self, &row.last)?,
            cached: source.maybe(self, &row.cached)?,
            reads: source.conditions(self, &row.reads)?,
            module_reads: source.conditions(self, &row.module_reads)?,
            weights: row.weights,
            names: spellings(row.names),
            modules: spellings(row.modules),
            rank: 0,
            linked: false,
        };
        self.nodes[stage.0 as usize] = node;
        for fed in source.stages(self, &row.feeds)? {
            self.nodes[fed.0 as usize].inputs.push(stage);
        }
        Ok(())
    }

    /// Says of every node what reads it, and which one a weight belongs to.
    fn index(&mut self) {
        for stage in self.order.clone() {
            let node = &self.nodes[stage.0 as usize];
            let read: BTreeSet<u16> = node
                .inputs
                .iter()
                .chain(&node.cached)
                .map(|s| s.0)
                .collect();
            for weight in node.weights.clone() {
                self.by_weight
                    .entry((node.per_layer, weight))
                    .or_insert(stage);
            }
            for input in read {
                self.nodes[input as usize].readers.push(stage);
            }
        }
    }

    /// Marks the nodes that are computed from those of the first family and feed into them.
    fn link(&mut self) {
        let order = self.order.clone();
        let core = |node: &Node| node.family == 0;
        let mut behind: Vec<bool> = self.nodes.iter().map(core).collect();
        let mut before = behind.clone();
        for stage in &order {
            behind[stage.0 as usize] |= self.before(*stage).any(|i| behind[i]);
        }
        for stage in order.iter().rev() {
            if before[stage.0 as usize] {
                self.before(*stage).for_each(|i| before[i] = true);
            }
        }
        for (at, node) in self.nodes.iter_mut().enumerate() {
            node.linked = behind[at] && before[at];
        }
    }

    /// Numbers the nodes as they run: a node behind its inputs, else as the files have them. `Err` names one of a circle.
    fn rank(&mut self, written: &[Stage]) -> Result<(), String> {
        let mut waits = vec![0usize; self.nodes.len()];
        let mut behind: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        let mut place = vec![0; self.nodes.len()];
        for (at, stage) in written.iter().enumerate() {
            place[stage.0 as usize] = at;
            for before in self.before(*stage).collect::<Vec<_>>() {
                waits[stage.0 as usize] += 1;
                behind[before].push(stage.0 as usize);
            }
        }
        let free = written.iter().filter(|s| waits[s.0 as usize] == 0);
        let mut open: BinaryHeap<Reverse<usize>> =
            free.map(|s| Reverse(place[s.0 as usize])).collect();
        while let Some(Reverse(at)) = open.pop() {
            let node = written[at].0 as usize;
            self.nodes[node].rank = self.order.len();
            self.order.push(written[at]);
            for &next in &behind[node] {
                waits[next] -= 1;
                if waits[next] == 0 {
                    open.push(Reverse(place[next]));
                }
            }
        }
        match waits.iter().position(|n| *n > 0) {
            Some(node) => Err(self.nodes[node].name.clone()),
            None => Ok(()),
        }
    }

    /// All that runs before a node, as far as its own row says.
    fn before(&self, stage: Stage) -> impl Iterator<Item = usize> {
        let node = &self.nodes[stage.0 as usize];
        node.inputs.iter().chain(&node.after).map(|s| s.0 as usize)
    }

    pub fn find(&self, name: &str) -> Option<Stage> {
        self.by_name.get(name).copied()
    }

    pub fn node(&self, stage: Stage) -> &Node {
        &self.nodes[stage.0 as usize]
    }

    /// All nodes in pipeline order.
    pub fn stages(&self) -> &[Stage] {
        &self.order
    }

    /// The nodes that names are read as: those of blocks tell the order alone.
    pub fn keyed(&self) -> impl Iterator<Item = Stage> {
        let keyed = |s: &Stage| !self.node(*s).per_block;
        self.order.iter().copied().filter(keyed)
    }

    /// The node whose weight GGUF calls so, in a layer or outside.
    pub fn of_weight(&self, in_layer: bool, name: &str) -> Option<Stage> {
        self.by_weight.get(&(in_layer, name.to_owned())).copied()
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
        Graph::read(MODELS, &[("mine.toml", text)])
    }

    #[test]
    fn a_family_is_one_file() {
        let graph = learned(
            "family = \"mine\"\nabout = \"a gate behind attention\"\n[[node]]\nname = \"attn_gate\"\nholds = \"the gate\"\n\
             inputs = [\"attn_norm\"]\nfeeds = [\"o_proj\"]\nnames.mine = [\"self_attn.g_proj\"]\n",
        )
        .unwrap();
        let (gate, o_proj) = (graph.find("attn_gate").unwrap(), Stage::O_PROJ);
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
