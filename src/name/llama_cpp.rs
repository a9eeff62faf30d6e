//! llama.cpp's graph gives one name to several operations: projection, reshape and rotation are told apart here.

use super::context::{Facts, Names};
use super::dialects::Reading;
use super::read::Hit;
use super::rules::Meaning;
use crate::graph;
use std::collections::BTreeMap;

impl Names<'_> {
    /// llama.cpp calls projection, reshape and rotation `Qcur-N`: operation, width and order tell them apart.
    pub(super) fn llama_cpp_projections(&self, meanings: &mut [Option<Meaning>], facts: &Facts) {
        for choice in &graph::graph().choices {
            let (Some(rope), Some(proj)) =
                (choice.rotated, choice.is.first().and_then(|c| c.stage))
            else {
                continue;
            };
            let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
            for &i in &self.sequence {
                let r = &self.raws[i];
                if r.clean.view.is_empty()
                    && matches!(r.hit, Some(Hit { reading: Reading::Depends(rule), input: false, .. }) if std::ptr::eq(rule.choice(), choice))
                {
                    groups
                        .entry((self.steps[i], self.ranks[i], r.layer))
                        .or_default()
                        .push(i);
                }
            }
            let rotates = !facts.says(rope) && !facts.learned_positions;
            for members in groups.into_values() {
                let forms = self.forms(&members, rotates);
                for (i, form) in members.into_iter().zip(forms) {
                    let stage = if form == Form::Rotated { rope } else { proj };
                    let quality = match form {
                        Form::Rotated | Form::Flat => 0,
                        Form::Biased => 0,
                        Form::Reshaped => 7,
                    };
                    let form = if form == Form::Reshaped {
                        "reshaped".to_string()
                    } else {
                        String::new()
                    };
                    meanings[i] = Some(Meaning {
                        stage,
                        layer: self.raws[i].layer,
                        quality,
                        form,
                    });
                }
            }
        }
    }

    fn forms(&self, members: &[usize], rotates: bool) -> Vec<Form> {
        let shape = |i: usize| self.entries[i].shape.map(significant);
        let widths: Vec<usize> = members
            .iter()
            .filter_map(|&i| shape(i))
            .filter_map(|s| s.last().copied())
            .collect();
        let widest = widths.iter().max().copied().unwrap_or(0);
        let headed = |i: usize| match shape(i) {
            Some(s) if s.len() >= 3 => Some(true),
            Some(s) => Some(s.last().is_some_and(|&w| w < widest)),
            None => None,
        };
        let last = members.len() - 1;
        let last_headed = members.iter().rposition(|&i| headed(i) == Some(true));
        members
            .iter()
            .enumerate()
            .map(|(k, &i)| match self.entries[i].op {
                Some("ROPE" | "ROPE_BACK") => Form::Rotated,
                Some("RESHAPE" | "VIEW" | "PERMUTE" | "TRANSPOSE" | "CONT" | "CPY") => {
                    Form::Reshaped
                }
                Some("ADD") => Form::Biased,
                Some("MUL_MAT") => Form::Flat,
                _ => match headed(i) {
                    Some(false) => Form::Flat,
                    Some(true) if rotates && last_headed == Some(k) => Form::Rotated,
                    Some(true) if members.len() == 1 => Form::Flat,
                    Some(true) => Form::Reshaped,
                    None if k == 0 => Form::Flat,
                    None if k == last && rotates => Form::Rotated,
                    None => Form::Reshaped,
                },
            })
            .collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Flat,
    Biased,
    Reshaped,
    Rotated,
}

/// Dimensions from the first that is not 1.
fn significant(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&n| n == 1).count();
    &shape[ones.min(shape.len().saturating_sub(1))..]
}
