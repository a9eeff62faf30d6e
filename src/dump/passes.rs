//! SGLang's forward hook (`tensor_dump_forward_hook.py`) writes one dict per pass, `TP0_PP0_Rank0_pid4711/Pass00002.pt`.
//!
//! It writes a pass when the model's module ends and only then remembers what that module returned; so this, and what is
//! computed after it (the logits), stand at the start of the next pass's file.

use super::Dump;
use crate::note::Note;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Puts the pass into the names, and tensors of the pass before into it.
pub(super) fn settle(dump: &mut Dump) {
    let mut files: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for (i, t) in dump.tensors.iter().enumerate() {
        if pass(&t.origin.path).is_some() {
            files.entry(t.origin.path.clone()).or_default().push(i);
        }
    }
    let mut late = Vec::new();
    for (path, members) in &files {
        let Some(number) = pass(path) else { continue };
        let name = |i: usize| {
            let name = &*dump.tensors[i].name;
            name.rsplit_once('/').map_or(name, |(_, own)| own)
        };
        let before = late_ones(members.iter().map(|&i| name(i)));
        let before = if number == 0 { 0 } else { before };
        let renamed: Vec<String> = members
            .iter()
            .enumerate()
            .map(|(k, &i)| {
                let full = &*dump.tensors[i].name;
                let folder = full.strip_suffix(name(i)).unwrap_or_default();
                let pass = number - u64::from(k < before);
                format!("{folder}Pass{pass:05}/{}", name(i))
            })
            .collect();
        for (k, (&i, new)) in members.iter().zip(renamed).enumerate() {
            if k < before {
                late.push(new.clone());
            }
            dump.tensors[i].name = new;
        }
    }
    if !late.is_empty() {
        dump.notes.push(Note::new("late_outputs", format!(
                "SGLang's hook writes what the model returns into the file of the next pass: {} tensors are counted to \
                 the pass before",
                late.len()
            )).about(late));
    }
}

/// The number in `TP0_PP0_Rank0_pid4711/Pass00002.pt`.
fn pass(path: &std::path::Path) -> Option<u64> {
    let folder = path.parent()?.file_name()?.to_str()?;
    if !(folder.starts_with("TP") && folder.contains("_pid")) {
        return None;
    }
    let digits = path.file_stem()?.to_str()?.strip_prefix("Pass")?;
    digits.parse().ok()
}

/// How many names at the start belong to the pass before: a module returns after the modules inside it, so a file that
/// starts with the outermost one starts with what was left over.
fn late_ones<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    let names: Vec<&str> = names.collect();
    let Some(first) = names.first() else { return 0 };
    // A module that returns several tensors: `model.0`.
    let top = match first.rsplit_once('.') {
        Some((top, index)) if index.bytes().all(|b| b.is_ascii_digit()) => top,
        _ => first,
    };
    if top.contains('.') {
        return 0;
    }
    let inside = |name: &&str| {
        let rest = name.strip_prefix(top).and_then(|r| r.strip_prefix('.'));
        rest.is_some_and(|r| !r.bytes().all(|b| b.is_ascii_digit()))
    };
    names.iter().position(inside).unwrap_or(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_returned_belongs_to_the_pass_before() {
        let late = |names: &[&str]| late_ones(names.iter().copied());
        assert_eq!(late(&["model.embed_tokens", "model.norm"]), 0);
        assert_eq!(
            late(&["model", "logits_processor", "model.embed_tokens"]),
            2
        );
        assert_eq!(late(&["model.0", "model.1", "lm_head", "model.norm"]), 3);
        assert_eq!(late(&["model", "lm_head"]), 2);
        assert_eq!(late(&[]), 0);
    }

    #[test]
    fn only_the_hooks_folders_are_meant() {
        assert_eq!(
            pass("d/TP0_PP1_Rank1_pid4711/Pass00002.pt".as_ref()),
            Some(2)
        );
        assert_eq!(pass("d/Pass00002.pt".as_ref()), None);
        assert_eq!(pass("d/TP0_PP1_Rank1_pid4711/x.pt".as_ref()), None);
    }
}
