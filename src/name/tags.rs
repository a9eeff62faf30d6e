//! Side tags: `py_`/`cpp_`, `_torch`/`_cpp`, `ref/`/`cand/`, found and taken off.

use super::Options;
use super::clean::Clean;
use super::words::{Word, joined, split};
use crate::graph;
use std::collections::{BTreeMap, BTreeSet};

/// A marker of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub words: Vec<String>,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Anywhere,
    /// First or last word, or a folder.
    Ends,
    First,
    Last,
}

impl Tag {
    pub fn given(tag: &str) -> Tag {
        Tag {
            words: split(tag).into_iter().map(|w| w.lower).collect(),
            place: Place::Anywhere,
        }
    }

    pub fn known(word: &str) -> Option<Tag> {
        let tags = &graph::words().tags;
        let place = if tags.reference.contains(word) || tags.candidate.contains(word) {
            Place::Anywhere
        } else if tags.reference_at_ends.contains(word) || tags.candidate_at_ends.contains(word) {
            Place::Ends
        } else {
            return None;
        };
        Some(Tag {
            words: vec![word.into()],
            place,
        })
    }

    pub fn text(&self) -> String {
        self.words.join("_")
    }

    pub fn position(&self, words: &[Word]) -> Option<usize> {
        let n = self.words.len();
        if n == 0 || words.len() <= n {
            return None;
        }
        let at = |i: usize| {
            self.words
                .iter()
                .zip(&words[i..])
                .all(|(t, w)| *t == w.lower)
        };
        let is_folder = |i: usize| {
            words.get(i + n).is_some_and(|w| w.sep == '/') && (i == 0 || words[i].sep == '/')
        };
        (0..=words.len() - n).find(|&i| {
            at(i)
                && match self.place {
                    Place::Anywhere => true,
                    Place::Ends => i == 0 || i + n == words.len() || is_folder(i),
                    Place::First => i == 0,
                    Place::Last => i + n == words.len(),
                }
        })
    }

    pub fn marks(&self, words: &[Word]) -> bool {
        self.position(words).is_some()
    }

    /// The name without the tag at the start or end of its last segment.
    pub fn strip_text(&self, name: &str) -> Option<String> {
        let (folder, last) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
        let tag = self.words.join("_");
        let is_separator = |c: char| !c.is_alphanumeric();
        let starts = last
            .get(..tag.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(&tag));
        if let Some(rest) = last
            .get(tag.len()..)
            .filter(|r| starts && r.starts_with(is_separator))
        {
            return Some(format!("{folder}{}", rest.trim_start_matches(is_separator)));
        }
        let cut = last.len().checked_sub(tag.len())?;
        let ends = last
            .get(cut..)
            .is_some_and(|s| s.eq_ignore_ascii_case(&tag));
        let head = last
            .get(..cut)
            .filter(|h| ends && h.ends_with(is_separator))?;
        Some(format!("{folder}{}", head.trim_end_matches(is_separator)))
    }

    /// Takes the tag out; whether it was there.
    pub fn remove(&self, words: &mut Vec<Word>) -> bool {
        let Some(i) = self.position(words) else {
            return false;
        };
        let n = self.words.len();
        let sep = words[i].sep;
        words.drain(i..i + n);
        if let Some(next) = words.get_mut(i) {
            if i == 0 {
                next.sep = '\0';
            } else if sep == '/' {
                next.sep = '/';
            }
        }
        true
    }
}

pub(super) fn is_reference(word: &str) -> bool {
    let tags = &graph::words().tags;
    tags.reference.contains(word) || tags.reference_at_ends.contains(word)
}

/// The known tag that most of one side's names carry, if more than half do.
pub(super) fn common_tag(names: &[&[Word]]) -> Option<Tag> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for words in names {
        for (i, word) in words.iter().enumerate() {
            let repeated = || words[..i].iter().any(|w| w.lower == word.lower);
            if Tag::known(&word.lower).is_some_and(|t| t.marks(words)) && !repeated() {
                *counts.entry(&word.lower).or_default() += 1;
            }
        }
    }
    let best = counts.iter().max_by_key(|(_, n)| **n)?;
    if *best.1 * 2 > names.len() {
        Tag::known(best.0)
    } else {
        None
    }
}

/// A first or last word that all names of a side share and that is no known tag.
pub(super) fn shared_end(names: &[&[Word]]) -> Vec<Tag> {
    let mut tags = Vec::new();
    if names.len() < 2 || names.iter().any(|w| w.len() < 2) {
        return tags;
    }
    let first = &names[0][0].lower;
    if names.iter().all(|w| w[0].lower == *first) {
        tags.push(Tag {
            words: vec![first.clone()],
            place: Place::First,
        });
    }
    if let Some(last) = names[0].last()
        && last.number().is_none()
        && names
            .iter()
            .all(|w| w.last().is_some_and(|l| l.lower == last.lower))
    {
        tags.push(Tag {
            words: vec![last.lower.clone()],
            place: Place::Last,
        });
    }
    tags
}

/// The given tags; else the known tags of each side; else first or last words that make names equal when taken off.
pub(super) fn side_tags(
    reference: &[Clean],
    candidate: &[Clean],
    options: &Options,
) -> (Vec<Tag>, Vec<Tag>) {
    let (r, c) = (words_of(reference), words_of(candidate));
    let own = |given: &Option<String>, names: &[&[Word]]| match given {
        Some(tag) => Some(Tag::given(tag)),
        None => common_tag(names),
    };
    let tags = (own(&options.ref_tag, &r), own(&options.cand_tag, &c));
    let listed =
        |(a, b): (Option<Tag>, Option<Tag>)| (a.into_iter().collect(), b.into_iter().collect());
    if tags != (None, None) {
        return listed(tags);
    }
    // Nothing, or one word that all names of the side share.
    let choices = |names: &[&[Word]]| -> Vec<(Option<Tag>, BTreeSet<String>)> {
        let ends = shared_end(names).into_iter().map(Some);
        std::iter::once(None)
            .chain(ends)
            .map(|tag| (tag.clone(), plain(names, tag.as_ref())))
            .collect()
    };
    let (of_r, of_c) = (choices(&r), choices(&c));
    if of_r.len() + of_c.len() == 2 {
        return listed(tags);
    }
    let mut best = (0, tags);
    for (a, left) in &of_r {
        for (b, right) in &of_c {
            let common = left.intersection(right).count();
            if common > best.0 || best.0 == 0 && a.is_none() && b.is_none() {
                best = (common, (a.clone(), b.clone()));
            }
        }
    }
    listed(best.1)
}

/// The name without the tag at the start or end of its last segment.
pub fn untagged(name: &str, tag: Option<&str>) -> String {
    let stripped = tag.and_then(|tag| Tag::given(tag).strip_text(name));
    stripped.unwrap_or_else(|| name.to_owned())
}

pub(super) fn words_of(names: &[Clean]) -> Vec<&[Word]> {
    names.iter().map(|c| c.words.as_slice()).collect()
}

/// The names without a tag.
fn plain(names: &[&[Word]], tag: Option<&Tag>) -> BTreeSet<String> {
    let plain = |words: &&[Word]| {
        let mut words = words.to_vec();
        if let Some(tag) = tag {
            tag.remove(&mut words);
        }
        joined(&words)
    };
    names.iter().map(plain).collect()
}
