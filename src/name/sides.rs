//! Both sides in one directory or one log, parted by their tags.

use super::tags::{Place, Tag, is_reference};
use super::words::{Word, joined, split};
use super::{Entry, Options, clean};
use std::collections::{BTreeMap, BTreeSet};

/// Both sides found in one set of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Indices into the entries.
    pub reference: Vec<usize>,
    pub candidate: Vec<usize>,
    /// Names that carry neither tag.
    pub untagged: Vec<usize>,
    pub ref_tag: String,
    pub cand_tag: String,
}

/// Parts one directory or log that holds both sides; `None` when the names show no two sides.
pub fn split_sides(entries: &[Entry<'_>], options: &Options) -> Option<Sides> {
    let names: Vec<Vec<Word>> = entries
        .iter()
        .map(|e| split(clean::strip_extension(e.name)))
        .collect();
    let given = |t: &Option<String>| t.as_deref().map(Tag::given);
    let (r, c) = match (given(&options.ref_tag), given(&options.cand_tag)) {
        (Some(r), Some(c)) => (r, c),
        (Some(r), None) => {
            let c = partner(&names, &r)?;
            (r, c)
        }
        (None, Some(c)) => {
            let r = partner(&names, &c)?;
            (r, c)
        }
        (None, None) => detect(&names)?,
    };
    let mut sides = Sides {
        reference: vec![],
        candidate: vec![],
        untagged: vec![],
        ref_tag: r.text(),
        cand_tag: c.text(),
    };
    for (i, words) in names.iter().enumerate() {
        // A longer tag may contain the shorter one: `torch` in `torch_cpp`.
        match (r.position(words), c.position(words)) {
            (Some(a), Some(b)) if r.words.len() == c.words.len() => {
                // The word nearer to an end of the name is the tag.
                let far = |i: usize| i.min(words.len() - 1 - i);
                if far(a) <= far(b) {
                    &mut sides.reference
                } else {
                    &mut sides.candidate
                }
                .push(i);
            }
            (Some(_), Some(_)) if r.words.len() < c.words.len() => sides.candidate.push(i),
            (Some(_), _) => sides.reference.push(i),
            (None, Some(_)) => sides.candidate.push(i),
            (None, None) => sides.untagged.push(i),
        }
    }
    (!sides.reference.is_empty() && !sides.candidate.is_empty()).then_some(sides)
}

/// What the names are without the tag, for those that carry it.
fn without(names: &[Vec<Word>], tag: &Tag) -> BTreeSet<String> {
    names
        .iter()
        .filter_map(|words| {
            let mut words = words.clone();
            tag.remove(&mut words).then(|| joined(&words))
        })
        .collect()
}

/// The tag that stands where `tag` stands in the other half of the names.
fn partner(names: &[Vec<Word>], tag: &Tag) -> Option<Tag> {
    let own = without(names, tag);
    let rest: Vec<&Vec<Word>> = names.iter().filter(|w| !tag.marks(w)).collect();
    let mut best: Option<(usize, Tag)> = None;
    for candidate in candidates(&rest) {
        let marked = rest.iter().filter(|w| candidate.marks(w)).count();
        let matches = rest
            .iter()
            .filter(|w| {
                let mut w = (**w).clone();
                candidate.remove(&mut w) && own.contains(&joined(&w))
            })
            .count();
        let known =
            usize::from(candidate.place == Place::Anywhere || candidate.place == Place::Ends);
        let score = 4 * matches + 2 * known * marked;
        if score > 0 && best.as_ref().is_none_or(|(s, _)| score > *s) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, t)| t)
}

/// Known tags, and first and last words and folders that stand in more than one name.
fn candidates(names: &[&Vec<Word>]) -> Vec<Tag> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut ends: BTreeMap<(&str, Place), usize> = BTreeMap::new();
    for words in names {
        for w in words.iter() {
            if Tag::known(&w.lower).is_some_and(|t| t.marks(words)) {
                known.insert(&w.lower);
            }
        }
        if let (Some(first), Some(last), true) = (words.first(), words.last(), words.len() > 1) {
            *ends.entry((&first.lower, Place::First)).or_default() += 1;
            *ends.entry((&last.lower, Place::Last)).or_default() += 1;
        }
    }
    let mut pairs: BTreeSet<Vec<String>> = BTreeSet::new();
    for words in names.iter().filter(|w| w.len() > 2) {
        pairs.insert(words[..2].iter().map(|w| w.lower.clone()).collect());
    }
    let mut tags: Vec<Tag> = known.into_iter().filter_map(Tag::known).collect();
    let wordy = |w: &str| !w.bytes().any(|b| b.is_ascii_digit());
    tags.extend(
        ends.into_iter()
            .filter(|((w, _), n)| {
                (*n > 1 || names.len() == 1)
                    && *n * 5 >= names.len()
                    && wordy(w)
                    && Tag::known(w).is_none()
            })
            .map(|((w, place), _)| Tag {
                words: vec![w.into()],
                place,
            }),
    );
    if pairs.len() <= 8 {
        tags.extend(pairs.into_iter().map(|words| Tag {
            words,
            place: Place::First,
        }));
    }
    tags
}

/// Finds the two tags: known words first, else two words at one place that part all names into equal halves.
fn detect(names: &[Vec<Word>]) -> Option<(Tag, Tag)> {
    let all: Vec<&Vec<Word>> = names.iter().collect();
    let tags = candidates(&all);
    let known = |t: &Tag| matches!(t.place, Place::Anywhere | Place::Ends);
    let found: Vec<(&Tag, BTreeSet<String>, usize)> = tags
        .iter()
        .map(|t| {
            (
                t,
                without(names, t),
                names.iter().filter(|w| t.marks(w)).count(),
            )
        })
        .filter(|(t, _, n)| known(t) || *n * 5 >= names.len())
        .collect();
    let mut best: Option<((bool, usize), &Tag, &Tag)> = None;
    for (i, (a, left, marked_a)) in found.iter().enumerate() {
        for (b, right, marked_b) in &found[i + 1..] {
            let matches = left.intersection(right).count();
            let both = names.iter().filter(|w| a.marks(w) && b.marks(w)).count();
            let covered = marked_a + marked_b - both;
            let opposed = is_reference(&a.words[0]) != is_reference(&b.words[0]);
            let good = match (known(a), known(b)) {
                (true, true) => {
                    both * 4 <= covered
                        && (matches > 0 || opposed && covered * 5 >= names.len() * 4)
                }
                (true, false) | (false, true) => {
                    matches * 2 >= left.len().min(right.len()) && matches > 1 && both == 0
                }
                (false, false) => {
                    a.place == b.place
                        && both == 0
                        && covered == names.len()
                        && matches * 2 > left.len().max(right.len())
                        && plain_word(a)
                        && plain_word(b)
                }
            };
            // words that are nothing but tags, before letters that may be a part of the name
            let sure = a.place == Place::Anywhere && b.place == Place::Anywhere;
            let sure = sure && covered * 5 >= names.len() * 4;
            let score = 8 * matches + 2 * covered + usize::from(known(a)) + usize::from(known(b));
            let score = (sure, score);
            if good && best.is_none_or(|(s, _, _)| score > s) {
                best = Some((score, a, b));
            }
        }
    }
    let (_, a, b) = best?;
    let first_seen = |t: &Tag| names.iter().position(|w| t.marks(w)).unwrap_or(usize::MAX);
    let a_first = match (is_reference(&a.words[0]), is_reference(&b.words[0])) {
        (true, false) => true,
        (false, true) => false,
        _ => first_seen(a) <= first_seen(b),
    };
    Some(if a_first {
        (a.clone(), b.clone())
    } else {
        (b.clone(), a.clone())
    })
}

/// A word that is no part of the vocabulary of stages: `q` and `k` part names into halves too, but are no sides.
fn plain_word(tag: &Tag) -> bool {
    const STAGE_WORDS: &[&str] = &[
        "q",
        "k",
        "v",
        "query",
        "key",
        "value",
        "attn",
        "attention",
        "mlp",
        "ffn",
        "gate",
        "up",
        "down",
        "input",
        "output",
        "in",
        "out",
        "pre",
        "post",
        "norm",
        "residual",
        "proj",
        "rope",
        "weight",
        "bias",
        "mean",
        "std",
        "min",
        "max",
        "encoder",
        "decoder",
        "forward",
        "backward",
        "before",
        "after",
        "inputs",
        "outputs",
        "wq",
        "wk",
        "wv",
        "xq",
        "xk",
        "xv",
        "prefill",
        "decode",
    ];
    tag.words.iter().all(|w| !STAGE_WORDS.contains(&w.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(
        names: &[&str],
        options: &Options,
    ) -> Option<(Vec<usize>, Vec<usize>, String, String)> {
        let entries: Vec<Entry<'_>> = names
            .iter()
            .map(|&name| Entry {
                name,
                ..Entry::default()
            })
            .collect();
        split_sides(&entries, options).map(|s| (s.reference, s.candidate, s.ref_tag, s.cand_tag))
    }

    #[test]
    fn one_folder_is_parted_by_prefix_suffix_folder_and_infix() {
        let auto = Options::default();
        let found =
            |names: &[&str]| sides(names, &auto).map(|(r, c, a, b)| (r, c, format!("{a}/{b}")));
        assert_eq!(
            found(&["cpp_logits", "py_logits", "cpp_q", "py_q"]),
            Some((vec![1, 3], vec![0, 2], "py/cpp".into()))
        );
        assert_eq!(
            found(&["h0_cpp", "h0_torch", "q_l0_cpp", "q_l0_torch"]),
            Some((vec![1, 3], vec![0, 2], "torch/cpp".into()))
        );
        assert_eq!(
            found(&["cand/model.norm", "ref/model.norm"]),
            Some((vec![1], vec![0], "ref/cand".into()))
        );
        assert_eq!(
            found(&[
                "scores_l0_torch_manual",
                "scores_l0_cpp",
                "q_l0_torch",
                "q_l0_cpp"
            ]),
            Some((vec![0, 2], vec![1, 3], "torch/cpp".into()))
        );
        assert_eq!(
            found(&[
                "TITAN_SUMMARY/embed",
                "FSDP_SUMMARY/embed",
                "TITAN_SUMMARY/Q",
                "FSDP_SUMMARY/Q"
            ]),
            Some((vec![1, 3], vec![0, 2], "fsdp/titan".into()))
        );
        assert_eq!(
            found(&["hf_layers/layer_00", "max_layers/layer_00"]),
            Some((vec![0], vec![1], "hf/max".into()))
        );
        assert_eq!(
            found(&["blue_conv1", "blue_conv2", "red_conv1", "red_conv2"]),
            Some((vec![0, 1], vec![2, 3], "blue/red".into()))
        );
        assert_eq!(
            found(&[
                "hf/model.norm",
                "hf/lm_head",
                "ggml/result_norm",
                "ggml/result_output"
            ]),
            Some((vec![0, 1], vec![2, 3], "hf/ggml".into()))
        );
    }

    #[test]
    fn one_side_alone_is_not_parted() {
        let auto = Options::default();
        assert_eq!(sides(&["q_l0", "k_l0", "q_l1", "k_l1"], &auto), None);
        assert_eq!(
            sides(&["kq_soft_max-0", "kq-0", "Qcur-0", "Kcur-0"], &auto),
            None
        );
        assert_eq!(
            sides(&["model.layers.0.mlp", "model.layers.1.mlp"], &auto),
            None
        );
        assert_eq!(sides(&["py_q", "py_k"], &auto), None);
    }

    #[test]
    fn a_given_tag_decides_which_side_is_the_reference() {
        let options = Options {
            ref_tag: Some("cpp".into()),
            ..Options::default()
        };
        assert_eq!(
            sides(&["cpp_q", "py_q"], &options),
            Some((vec![0], vec![1], "cpp".into(), "py".into()))
        );
        let options = Options {
            ref_tag: Some("run-x".into()),
            ..Options::default()
        };
        let found = sides(&["run-x_q", "run-y_q", "run-x_k", "run-y_k"], &options);
        assert_eq!(
            found,
            Some((vec![0, 2], vec![1, 3], "run_x".into(), "run_y".into()))
        );
    }
}
