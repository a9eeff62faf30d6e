//! All names of one side together: what single names leave open is settled here.

use super::clean::Clean;
use super::dialects::Reading;
use super::layer::{container, strong_marker, word_of_tower};
use super::read::{self, Hit, Raw};
use super::rules::{Meaning, meaning};
use super::steps::{ranks, take_counters};
use super::tags::Tag;
use super::words::joined;
use super::{Entry, Key, Stage};
use crate::graph::{self, Fact};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The names of one side, each read alone.
pub(super) struct Names<'a> {
    pub entries: &'a [Entry<'a>],
    pub raws: Vec<Raw>,
    /// Entries in order of execution as far as it is known.
    pub sequence: Vec<usize>,
    /// Position of an entry in `sequence`.
    place: Vec<usize>,
    pub steps: Vec<Option<u32>>,
    pub ranks: Vec<Option<u32>>,
    /// The number before a name, where such numbers count dumps.
    pub counters: Vec<Option<u32>>,
}

/// What the names of a dump say together.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Stages that some name says without doubt.
    said: BTreeSet<Stage>,
    pub gated: bool,
    pub fused_gate_up: bool,
    /// BART norms behind each sum under the names that others use for norms before.
    pub norms_behind: bool,
    pub experts: bool,
    pub last_layer: Option<u32>,
    /// More than one part has layers of its own, but for those that are always named.
    several_stacks: bool,
    pub learned_positions: bool,
}

impl Facts {
    /// What both sides say together: they dumped the same model.
    pub fn and(&self, other: &Facts) -> Facts {
        Facts {
            said: self.said.clone(),
            gated: self.gated || other.gated,
            fused_gate_up: self.fused_gate_up || other.fused_gate_up,
            norms_behind: self.norms_behind || other.norms_behind,
            experts: self.experts || other.experts,
            last_layer: self.last_layer.max(other.last_layer),
            several_stacks: self.several_stacks || other.several_stacks,
            learned_positions: self.learned_positions || other.learned_positions,
        }
    }

    pub fn says(&self, stage: Stage) -> bool {
        self.said.contains(&stage)
    }

    pub fn holds(&self, fact: Fact) -> bool {
        match fact {
            Fact::Gated => self.gated,
            Fact::Ungated => self.ungated(),
            Fact::FusedGateUp => self.fused_gate_up,
            Fact::NormsBehind => self.norms_behind,
            Fact::PostNorm => self.post_norm(),
            Fact::Experts => self.experts,
            Fact::LearnedPositions => self.learned_positions,
        }
    }

    /// No norm before attention, one after it (BERT).
    pub fn post_norm(&self) -> bool {
        self.says(Stage::ATTN_OUT_NORM) && !self.says(Stage::ATTN_NORM)
    }

    pub fn ungated(&self) -> bool {
        !self.gated && !self.fused_gate_up && self.says(Stage::UP_PROJ)
    }
}

impl<'a> Names<'a> {
    pub fn read(entries: &'a [Entry<'a>], mut cleans: Vec<Clean>, tags: &[Tag]) -> Names<'a> {
        for c in &mut cleans {
            for tag in tags {
                if tag.remove(&mut c.words)
                    && let Some((at, _)) = &mut c.counter
                {
                    *at = at.saturating_sub(1);
                }
            }
        }
        let counters = take_counters(&mut cleans);
        let contained = contained(&cleans);
        let raws = cleans.into_iter().zip(contained);
        let mut raws: Vec<Raw> = raws
            .map(|(c, contained)| read::read_raw(c, contained))
            .collect();
        let dialects = read::rank_dialects(&raws);
        // hooks count the calls of a module from `name#1` on; logs count tensors of one name from `name#2` on
        let calls = raws.iter().any(|r| r.clean.occurrence == Some(1));
        for raw in &mut raws {
            // a later call of a module computes something else
            raw.call = raw.clean.occurrence.filter(|_| calls);
            read::settle(raw, &dialects);
        }
        let mut sequence: Vec<usize> = (0..entries.len()).collect();
        if entries.iter().all(|e| e.sequence.is_some()) {
            sequence.sort_by_key(|&i| entries[i].sequence);
        } else if counters.iter().all(Option::is_some) {
            sequence.sort_by_key(|&i| counters[i]);
        }
        let mut place = vec![0; sequence.len()];
        for (k, &i) in sequence.iter().enumerate() {
            place[i] = k;
        }
        let ranks = ranks(&raws);
        let mut names = Names {
            entries,
            raws,
            sequence,
            place,
            steps: Vec::new(),
            ranks,
            counters,
        };
        names.steps = names.find_steps();
        names.settle_layers();
        names
    }

    /// A per-layer stage without a layer belongs to layer 0 when the dump knows no other layer.
    fn settle_layers(&mut self) {
        let several = self.raws.iter().any(|r| r.layer.is_some_and(|l| l > 0));
        let transformer = self.raws.iter().any(|r| {
            let attention =
                |s: Stage| s.is_core() && (Stage::ATTN_NORM..=Stage::ATTN_RESIDUAL).contains(&s);
            r.layer.is_some()
                || r.hit.is_some_and(|h| match h.reading {
                    Reading::Stage(s) => attention(s),
                    Reading::Depends(rule) => rule.stages().all(attention),
                    _ => false,
                })
        });
        for raw in &mut self.raws {
            let Some(hit) = raw.hit.filter(|h| h.layered && raw.layer.is_none()) else {
                continue;
            };
            match hit.index {
                _ if raw.parameter.is_some() => raw.hit = None,
                Some(n) if transformer && !hit.input => {
                    raw.layer = Some(n);
                    raw.hit = Some(Hit { index: None, ..hit });
                }
                _ if transformer && !several && !vague(raw, hit) => raw.layer = Some(0),
                _ => raw.hit = None,
            }
        }
    }

    /// What the names of the activations say.
    pub fn facts(&self) -> Facts {
        self.facts_of(false)
    }

    /// Activations and parameters tell apart: a dump may have the weight of a stage and not its output.
    fn facts_of(&self, parameters: bool) -> Facts {
        let mut f = Facts::default();
        let towers = &graph::words().tower;
        let mut stacks = BTreeSet::new();
        let raws = self.raws.iter();
        for raw in raws.filter(|r| r.parameter.is_some() == parameters) {
            f.last_layer = f.last_layer.max(raw.layer);
            let words = || raw.before.iter().chain(&raw.after);
            f.experts |= words().any(|w| w.is_any(&["experts", "expert", "moe"]));
            let spelled = joined(words());
            f.fused_gate_up |= spelled.contains("gate_up_proj");
            f.norms_behind |= spelled.contains("layernorm_embedding");
            f.gated |= ["swiglu", "geglu", "reglu", "gate_par", "hook_pre_linear"]
                .iter()
                .any(|s| spelled.contains(s));
            let said = raw.before.iter().any(|w| word_of_tower(w).is_some());
            if said && (raw.layer.is_some() || raw.contained) && !towers[raw.tower].always {
                stacks.insert(raw.tower);
            }
            match raw.hit {
                Some(Hit {
                    reading: Reading::Stage(s) | Reading::Module(s),
                    input: false,
                    ..
                }) => {
                    let module = matches!(
                        raw.hit,
                        Some(Hit {
                            reading: Reading::Module(_),
                            ..
                        })
                    );
                    if !module || !matches!(s, Stage::O_PROJ | Stage::DOWN_PROJ) {
                        f.said.insert(s);
                    }
                }
                Some(Hit {
                    reading: Reading::Depends(rule),
                    ..
                }) if !raw.foreign && rule.usual() == Some(Stage::GATE_PROJ) => f.gated = true,
                _ => {}
            }
            if raw.hidden.is_some() && raw.hit.is_none() {
                f.said.insert(Stage::EMBED);
            }
        }
        f.gated |= f.says(Stage::GATE_PROJ);
        f.gated &= !f.experts || f.says(Stage::GATE_PROJ);
        f.several_stacks = stacks.len() > 1;
        f.learned_positions = f.says(Stage::POS_EMBED);
        f
    }

    /// The keys of this side; `facts` may know the other side too.
    pub fn keys(&self, facts: &Facts) -> Vec<Key> {
        let own = self.facts_of(true);
        let of = |r: &Raw| match r.parameter {
            Some(_) => meaning(r, &own),
            None => meaning(r, facts),
        };
        let mut meanings: Vec<Option<Meaning>> = self.raws.iter().map(of).collect();
        for (m, e) in meanings.iter_mut().zip(self.entries) {
            if let (Some(m), Some("RESHAPE" | "VIEW" | "PERMUTE" | "TRANSPOSE" | "CONT" | "CPY")) =
                (m, e.op)
            {
                // The same values in another arrangement; it carries the stage only when nothing better does.
                m.quality += 3;
            }
        }
        self.llama_cpp_projections(&mut meanings, facts);
        // Step, rank, stack, layer and stage: one tensor of each group carries the stage alone.
        type Place = (Option<u32>, Option<u32>, &'static str, Option<u32>, Stage);
        let mut groups: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for &i in &self.sequence {
            if self.raws[i].parameter.is_none()
                && let Some(m) = &meanings[i]
            {
                let tower = self.tower(i, facts);
                groups
                    .entry((self.steps[i], self.ranks[i], tower, m.layer, m.stage))
                    .or_default()
                    .push(i);
            }
        }
        let mut keys: Vec<Key> = (0..self.raws.len())
            .map(|i| match &self.raws[i].parameter {
                Some(kind) => self.parameter(i, kind, meanings[i].as_ref(), &own),
                None => self.unnamed(i, facts),
            })
            .collect();
        for ((step, rank, tower, layer, stage), members) in groups {
            let merit =
                |i: usize, m: &Meaning| (m.quality, !m.form.is_empty(), Reverse(self.place[i]));
            let best = members
                .iter()
                .filter_map(|&i| meanings[i].as_ref().map(|m| merit(i, m)))
                .min();
            for i in members {
                let Some(m) = &meanings[i] else { continue };
                let canonical = best == Some(merit(i, m));
                let form = match (canonical && m.form.is_empty(), m.form.is_empty()) {
                    (true, _) => String::new(),
                    (false, false) => m.form.clone(),
                    (false, true) => read::cleaned_name(&self.raws[i]),
                };
                let rest = [tower, form.as_str()]
                    .iter()
                    .filter(|s| !s.is_empty())
                    .copied()
                    .collect::<Vec<_>>()
                    .join(" ");
                keys[i] = Key {
                    step,
                    rank,
                    layer,
                    stage: Some(stage),
                    rest,
                };
            }
        }
        self.tell_apart(&mut keys);
        keys
    }

    /// The part of the model that a name belongs to; one alone is the model itself.
    fn tower(&self, i: usize, facts: &Facts) -> &'static str {
        let tower = &graph::words().tower[self.raws[i].tower];
        match tower.always || facts.several_stacks {
            true if !self.raws[i].contained => &tower.name,
            _ => "",
        }
    }

    /// A parameter is named by the stage that it computes.
    fn parameter(&self, i: usize, kind: &str, meaning: Option<&Meaning>, facts: &Facts) -> Key {
        let mut key = self.unnamed(i, facts);
        if let Some(m) = meaning.filter(|m| m.form.is_empty()) {
            let stack = self.tower(i, facts);
            let name = format!("{stack} {}.{kind}", m.stage);
            key.rest = name.trim_start().to_owned();
            key.layer = m.layer;
        }
        key
    }

    fn unnamed(&self, i: usize, facts: &Facts) -> Key {
        let raw = &self.raws[i];
        let mut rest = read::cleaned_name(raw);
        let stack = self.tower(i, facts);
        if !stack.is_empty() {
            rest = format!("{stack} {rest}");
        }
        Key {
            step: self.steps[i],
            rank: self.ranks[i],
            layer: raw.layer,
            stage: None,
            rest,
        }
    }

    /// Tensors that still share a key get the words that set them apart, else the number of their occurrence.
    fn tell_apart(&self, keys: &mut [Key]) {
        let distinct: HashSet<&Key> = keys.iter().collect();
        if distinct.len() == keys.len() {
            return;
        }
        let mut seen: BTreeMap<Key, u32> = BTreeMap::new();
        for &i in &self.sequence {
            let clash = seen.contains_key(&keys[i]);
            if clash && !self.raws[i].clean.extra.is_empty() {
                keys[i].rest = format!("{} {}", keys[i].rest, self.raws[i].clean.extra)
                    .trim()
                    .to_string();
            }
            let base = keys[i].clone();
            let count = seen.entry(base).or_insert(0);
            *count += 1;
            if *count > 1 {
                let k = *count;
                keys[i].rest = if keys[i].rest.is_empty() {
                    k.to_string()
                } else {
                    format!("{} #{k}", keys[i].rest)
                };
                seen.entry(keys[i].clone()).or_insert(1);
            }
        }
    }
}

/// Which names stand in a block that is no layer of a plain stack: those with such a block in their path, and what else stands in
/// the lists around those.
fn contained(cleans: &[Clean]) -> Vec<bool> {
    let found: Vec<Option<usize>> = cleans.iter().map(|c| container(&c.words)).collect();
    let mut lists: HashSet<String> = HashSet::new();
    for (c, at) in cleans.iter().zip(&found) {
        let Some(at) = *at else { continue };
        for (i, word) in c.words[..at].iter().enumerate() {
            if i > 0 && word.number().is_some() {
                lists.insert(joined(&c.words[..i]));
            }
        }
        lists.extend(list(c));
    }
    let inside = |c: &Clean| list(c).is_some_and(|list| lists.contains(&list));
    let both = cleans.iter().zip(found);
    both.map(|(c, at)| at.is_some() || !lists.is_empty() && inside(c))
        .collect()
}

/// The words up to the number of the first layer, without it.
fn list(c: &Clean) -> Option<String> {
    let (_, start, _) = strong_marker(&c.words)?;
    let marker = c.words[start]
        .lower
        .trim_end_matches(|c: char| c.is_ascii_digit());
    let before = joined(&c.words[..start]);
    Some(
        format!("{before}_{marker}")
            .trim_start_matches('_')
            .to_owned(),
    )
}

/// One word such as `out` says too little to put a tensor without a layer at the end of layer 0.
fn vague(raw: &Raw, hit: Hit) -> bool {
    let ends = matches!(hit.reading, Reading::Stage(Stage::INPUT | Stage::OUTPUT));
    ends && raw.before.len() == 1
}
