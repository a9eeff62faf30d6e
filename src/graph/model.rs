//! The families of `models/*.toml` together: one file for each, its nodes in the order in which they run.

use super::condition::Condition;
use super::rows::{FileRow, ModelError, Name, NodeRow, Per, Source, lasting, spellings};
use super::stage::{KNOWN, Stage};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// All families together.
#[derive(Debug, Default)]
pub struct Graph {
    pub families: Vec<Family>,
    nodes: Vec<Node>,
    /// All nodes as they run.
    order: Vec<Stage>,
    by_name: HashMap<&'static str, Stage>,
    /// The nodes by what GGUF calls their weights, those of layers apart.
    by_weight: HashMap<(bool, &'static str), Stage>,
    pub choices: Vec<Choice>,
    /// (dialect, spelling) of what is known to be no node.
    pub nothing: Vec<Spelling>,
    /// Lists whose members of one number run one after the other.
    pub interleaved: Vec<Vec<&'static str>>,
}

/// A kind of model, or of a part of models.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub about: &'static str,
}

/// A place in a model where a tensor can be tapped.
#[derive(Debug, Default)]
pub struct Node {
    pub name: &'static str,
    pub family: usize,
    pub holds: &'static str,
    pub operation: &'static str,
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
    pub hint: &'static str,
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
    pub weights: Vec<&'static str>,
    pub names: Vec<Spelling>,
    pub modules: Vec<Spelling>,
    /// Its place among all nodes, as they run.
    pub rank: usize,
    /// Whether it stands in one data flow with the nodes of the first family: only then its rank says something beside theirs.
    pub linked: bool,
}

/// How one producer writes a node, without the layer and the model's own prefix.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    pub dialect: &'static str,
    pub text: &'static str,
}

/// A spelling whose meaning depends on what else the dump holds.
#[derive(Debug)]
pub struct Choice {
    pub name: &'static str,
    pub is: Vec<Condition>,
    /// The node that a later occurrence of the same name is, where one name stands for an operation and its rotation.
    pub rotated: Option<Stage>,
    pub names: Vec<Spelling>,
}

impl Graph {
    /// Reads the families of the program, which the build has turned into JSON, then files given as (path, text); a node may
    /// name nodes of any family.
    pub(super) fn read(
        families: &[&'static str],
        files: &[(&str, &str)],
    ) -> Result<Graph, ModelError> {
        let own = Source {
            path: "models",
            text: "",
        };
        let rows = families
            .iter()
            .map(|text| serde_json::from_str(text))
            .collect::<Result<Vec<FileRow<&'static str>>, _>>()
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
            graph.by_name.insert(name, Stage(number as u16));
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
        for file in &rows {
            graph.add(&own, file)?;
        }
        for (source, file) in sources.iter().zip(&more) {
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
    fn add<N: Name>(&mut self, source: &Source<'_>, file: &FileRow<N>) -> Result<(), ModelError> {
        let family = self.families.len();
        self.families.push(Family {
            name: file.family.lasting(),
            about: file.about.lasting(),
        });
        for row in &file.node {
            self.add_node(source, family, row)?;
        }
        for row in &file.choice {
            let choice = Choice {
                name: row.name.lasting(),
                is: source.conditions(self, &row.is)?,
                rotated: source.maybe(self, &row.rotated)?,
                names: spellings(&row.names),
            };
            self.choices.push(choice);
        }
        self.nothing.extend(spellings(&file.nothing));
        let lists = file.interleaved.iter();
        self.interleaved.extend(lists.map(|list| lasting(list)));
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
        node.name = name.lasting();
        self.by_name.insert(node.name, stage);
        Ok(stage)
    }

    fn add_node<N: Name>(
        &mut self,
        source: &Source<'_>,
        family: usize,
        row: &NodeRow<N>,
    ) -> Result<(), ModelError> {
        let stage = source.stage(self, &row.name)?;
        let mut inputs = source.stages(self, &row.inputs)?;
        // what other families fed into it before it was read itself
        inputs.append(&mut self.nodes[stage.0 as usize].inputs);
        let node = Node {
            name: row.name.lasting(),
            family,
            inputs,
            readers: Vec::new(),
            after: source.stages(self, &row.after)?,
            per_layer: row.per == Per::Layer,
            per_block: row.per == Per::Block,
            optional: row.optional,
            hint: row.hint.as_ref().unwrap_or(&row.holds).lasting(),
            holds: row.holds.lasting(),
            operation: row.operation.as_ref().map_or("", Name::lasting),
            previous: source.maybe(self, &row.previous)?,
            last: source.maybe(self, &row.last)?,
            cached: source.maybe(self, &row.cached)?,
            reads: source.conditions(self, &row.reads)?,
            module_reads: source.conditions(self, &row.module_reads)?,
            weights: lasting(&row.weights),
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
            for weight in &node.weights {
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
    fn rank(&mut self, written: &[Stage]) -> Result<(), &'static str> {
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
            Some(node) => Err(self.nodes[node].name),
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
        self.by_weight.get(&(in_layer, name)).copied()
    }

    pub(super) fn nearest(&self, name: &str) -> Option<&'static str> {
        let names = self.by_name.keys();
        let near = names.map(|n| (strsim::jaro_winkler(n, name), *n));
        let best = near.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))?;
        (best.0 > 0.8).then_some(best.1)
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
