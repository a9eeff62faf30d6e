//! What one name means, given what the whole dump says.

use super::context::Facts;
use super::dialects::Reading;
use super::read::Raw;
use super::words::joined;
use crate::graph::{self, Condition, Says, Stage, Term};

/// A stage with what decides who may carry it alone.
pub(super) struct Meaning {
    pub stage: Stage,
    pub layer: Option<u32>,
    pub quality: u8,
    /// A further output of the module, or another form of the same tensor.
    pub form: String,
}

/// What one name means, given the facts of the dump.
pub(super) fn meaning(raw: &Raw, facts: &Facts) -> Option<Meaning> {
    if !raw.clean.view.is_empty() {
        return None;
    }
    let Some(hit) = raw.hit else {
        return hidden_state(raw);
    };
    let (stage, module, more) = match hit.reading {
        Reading::Nothing => return None,
        Reading::Stage(s) => (s, false, 0),
        // A module of that name in a model that norms before attention (ViT) ends with the projection.
        Reading::Module(Stage::ATTN_OUT_NORM) if facts.says(Stage::ATTN_NORM) => {
            (Stage::O_PROJ, true, 2)
        }
        Reading::Module(s) => (s, true, 2),
        Reading::Depends(rule) => {
            let (stage, more) = settle(&rule.choice().is, raw, facts)?;
            (stage, false, more)
        }
    };
    let mut m = Meaning {
        stage,
        layer: raw.layer,
        quality: hit.quality + more,
        form: String::new(),
    };
    if hit.input {
        if hit.index.is_some_and(|i| i > 0) {
            return None;
        }
        // what enters the operation that the stage is the result of
        let node = graph::graph().node(stage);
        let of_module = module && !node.module_reads.is_empty();
        let reads = if of_module {
            &node.module_reads
        } else {
            &node.reads
        };
        m.stage = settle(reads, raw, facts)?.0;
        m.quality += 10;
        if stage == Stage::FINAL_NORM {
            m.layer = facts.last_layer;
        }
    } else if let Some(i) = hit.index.filter(|&i| i > 0) {
        m.form = i.to_string();
    }
    if raw.foreign && m.stage.is_core() && !hit.input {
        return None;
    }
    if let Some(member) = raw.member {
        m.form = format!("{member} {}", m.form).trim_end().to_owned();
    }
    if !m.stage.is_per_layer() {
        m.layer = None;
    }
    Some(m)
}

/// Hidden state 0 enters layer 0, hidden state i leaves layer i − 1.
fn hidden_state(raw: &Raw) -> Option<Meaning> {
    let i = raw.hidden?;
    let (stage, layer) = match i.checked_sub(1) {
        None => (Stage::EMBED, None),
        Some(layer) => (Stage::OUTPUT, Some(layer)),
    };
    Some(Meaning {
        stage,
        layer,
        quality: 2,
        form: String::new(),
    })
}

/// The stage that the first condition gives which holds, with what it adds to the quality.
fn settle(conditions: &[Condition], raw: &Raw, facts: &Facts) -> Option<(Stage, u8)> {
    let holds = |term: &Term| match term {
        Term::Any(says) => says.iter().any(|s| match s {
            Says::Stage(stage) => facts.says(*stage),
            Says::Fact(fact) => facts.holds(*fact),
        }),
        Term::Not(stage) => !facts.says(*stage),
        Term::Spelled(words) => joined(raw.before.iter().chain(&raw.after)).contains(words),
    };
    let found = conditions.iter().find(|c| c.when.iter().all(holds))?;
    Some((found.stage?, found.cost))
}
