//! Names that differ in their numbers only are of one kind: one rule renames them all.

use crate::dump::{Payload, Tensor, unravel};
use crate::graph::word::{canonical, split};
use crate::name::Key;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Stands for a number in a pattern.
const HOLE: char = '\0';

/// Step, rank, and the numbers that stand for the holes.
type Place = (Option<u32>, Option<u32>, Vec<u64>);

/// The names of one pattern.
#[derive(Default)]
pub(super) struct Kind<'a> {
    pub pattern: String,
    /// What the pattern says without its layer, synonyms made one.
    pub words: Vec<String>,
    pub members: BTreeMap<Place, Member<'a>>,
}

/// A tensor without a partner.
pub(super) struct Member<'a> {
    /// Its entry in the list of its side.
    pub entry: usize,
    pub key: &'a Key,
    pub shape: Option<&'a [usize]>,
    pub tensor: &'a Tensor,
    sample: OnceCell<Option<Vec<f64>>>,
}

impl<'a> Member<'a> {
    pub fn new(
        entry: usize,
        key: &'a Key,
        shape: Option<&'a [usize]>,
        tensor: &'a Tensor,
    ) -> Member<'a> {
        Member {
            entry,
            key,
            shape,
            tensor,
            sample: OnceCell::new(),
        }
    }

    /// Some of its values, at places that depend on the number of elements alone.
    pub fn sample(&self) -> Option<&[f64]> {
        self.sample.get_or_init(|| sample(self.tensor)).as_deref()
    }
}

/// Values spread over a tensor that is small or stored plainly.
fn sample(tensor: &Tensor) -> Option<Vec<f64>> {
    const SMALL: usize = 4096;
    const SOME: usize = 64;
    let len = tensor.info.len();
    match tensor.payload {
        Payload::Partial(_) | Payload::Statistics => None,
        _ if len <= SMALL => {
            let values = tensor.values().ok()?;
            Some(
                values
                    .into_iter()
                    .step_by(len.div_ceil(SOME).max(1))
                    .collect(),
            )
        }
        Payload::Stream(_) => None,
        _ => {
            let stored = |i: usize| {
                let at = unravel((i * (len / SOME)) as u64, tensor.info.shape());
                let steps = at.iter().zip(tensor.info.strides());
                steps.map(|(i, stride)| i * stride).sum()
            };
            let places: Vec<usize> = (0..SOME).map(stored).collect();
            tensor.gather(&places).ok()
        }
    }
}

/// Adds a tensor to the kind of its name; kinds stand in the order of their first tensors, and further ones than `most` are left out.
pub(super) fn add<'a>(kinds: &mut Vec<Kind<'a>>, name: &str, member: Member<'a>, most: usize) {
    let (pattern, numbers) = pattern_of(name, member.key);
    let place = (member.key.step, member.key.rank, numbers);
    let known = kinds.iter().position(|k| k.pattern == pattern);
    if known.is_none() && kinds.len() == most {
        return;
    }
    let at = known.unwrap_or_else(|| {
        kinds.push(Kind {
            words: words_of(&pattern),
            pattern,
            members: BTreeMap::new(),
        });
        kinds.len() - 1
    });
    kinds[at].members.entry(place).or_insert(member);
}

impl Kind<'_> {
    /// How many numbers stand in its names.
    pub fn holes(&self) -> usize {
        self.pattern.matches(HOLE).count()
    }

    /// As `--map` writes it.
    pub fn template(&self) -> String {
        let hole = if self.holes() == 1 { "{layer}" } else { "*" };
        self.pattern.replace(HOLE, hole)
    }
}

/// The name behind its step and rank, with holes for the layer, or for every number between points where no layer is known.
fn pattern_of(name: &str, key: &Key) -> (String, Vec<u64>) {
    let mut body = name;
    while (key.step.is_some() || key.rank.is_some())
        && let Some((folder, rest)) = body.split_once('/')
        && folder.contains(|c: char| c.is_ascii_digit())
    {
        body = rest;
    }
    let apart = |c: Option<char>| c.is_none_or(|c| matches!(c, '.' | '/' | '-'));
    let mut found: Vec<(usize, usize, u64, bool)> = Vec::new();
    let mut at = 0;
    while let Some(start) = body[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + start;
        let digits = body[start..].bytes().take_while(u8::is_ascii_digit);
        at = start + digits.count();
        let whole = apart(body[..start].chars().next_back()) && apart(body[at..].chars().next());
        if let Ok(number) = body[start..at].parse() {
            found.push((start, at, number, whole));
        }
    }
    match key.layer {
        Some(layer) => {
            let is_layer = |f: &&(usize, usize, u64, bool)| f.2 == u64::from(layer);
            let sure = found.iter().find(|f| f.3 && is_layer(f));
            found = sure
                .or(found.iter().find(is_layer))
                .copied()
                .into_iter()
                .collect();
        }
        None => found.retain(|f| f.3),
    }
    let mut pattern = String::with_capacity(body.len());
    let mut last = 0;
    for &(start, end, ..) in &found {
        pattern.push_str(&body[last..start]);
        pattern.push(HOLE);
        last = end;
    }
    pattern.push_str(&body[last..]);
    (pattern, found.into_iter().map(|f| f.2).collect())
}

/// What stands behind the layer, or before it where nothing does.
fn words_of(pattern: &str) -> Vec<String> {
    let behind = pattern.split_once(HOLE).map(|(_, behind)| behind);
    let says = |text: &&str| text.contains(|c: char| c.is_alphabetic());
    let text = behind.filter(says).unwrap_or(pattern);
    let canonical = canonical(&split(text));
    let words = canonical.split('_').filter(|w| !w.is_empty());
    words.map(str::to_owned).collect()
}

/// How alike two names are, from 0 to 1: by their letters, and by their words.
pub(super) fn likeness(a: &[String], b: &[String]) -> f64 {
    const SAME: f64 = 0.88;
    let fewer = a.len().min(b.len());
    if fewer == 0 {
        return 0.0;
    }
    let near = |w: &&String| b.iter().any(|v| strsim::jaro_winkler(w, v) >= SAME);
    let shared = a.iter().filter(near).count().min(fewer);
    let letters = strsim::sorensen_dice(&a.concat(), &b.concat());
    (letters + shared as f64 / fewer as f64) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_is_a_hole_and_other_numbers_stay() {
        let pattern = |name: &str, layer, step| {
            let key = Key {
                layer,
                step,
                ..Key::default()
            };
            let (pattern, numbers) = pattern_of(name, &key);
            (pattern.replace(HOLE, "#"), numbers)
        };
        let layer = |name| pattern(name, Some(1), None);
        assert_eq!(
            layer("layers.1.mlp.fc1"),
            ("layers.#.mlp.fc1".into(), vec![1])
        );
        assert_eq!(
            layer("conv1d.layers.1.x"),
            ("conv1d.layers.#.x".into(), vec![1])
        );
        assert_eq!(layer("ffn1_l1"), ("ffn#_l1".into(), vec![1]));
        assert_eq!(layer("wo-1"), ("wo-#".into(), vec![1]));
        let tree = pattern("down.0.block.12.conv2", None, None);
        assert_eq!(tree, ("down.#.block.#.conv2".into(), vec![0, 12]));
        let step = pattern("step3/rank0/norm", None, Some(3));
        assert_eq!(step, ("norm".into(), vec![]));
    }

    #[test]
    fn synonyms_and_shared_words_make_names_alike() {
        let like = |a: &str, b: &str| likeness(&words_of(a), &words_of(b));
        assert_eq!(like("attention_norm", "attn.norm"), 1.0);
        assert!(like("layers.\0.mlp.wo", "layers.\0.mlp.down_proj") > 0.35);
        assert!(like("layers.\0.wo", "layers.\0.mlp.down_proj") < 0.2);
        assert_eq!(like("alpha", "gamma"), 0.0);
    }
}
