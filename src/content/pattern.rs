//! Names that differ in their numbers only are of one kind.

use crate::graph::word::{canonical, split};
use crate::name::Key;

/// Stands for a number in a pattern.
pub const HOLE: char = '\0';

/// The name behind its step and rank, with holes for the layer, or for every number between points where no layer is known.
pub fn pattern_of(name: &str, key: &Key) -> (String, Vec<i64>) {
    let mut body = name;
    while (key.step.is_some() || key.rank.is_some())
        && let Some((folder, rest)) = body.split_once('/')
        && folder.contains(|c: char| c.is_ascii_digit())
    {
        body = rest;
    }
    let apart = |c: Option<char>| c.is_none_or(|c| matches!(c, '.' | '/' | '-' | '_'));
    let mut found: Vec<(usize, usize, i64, bool)> = Vec::new();
    let mut at = 0;
    while let Some(start) = body[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + start;
        let digits = body[start..].bytes().take_while(u8::is_ascii_digit);
        at = start + digits.count();
        // `stage3/`: what holds more is counted, also right behind its word
        let holds = body[at..].starts_with(['.', '/']);
        let whole =
            apart(body[at..].chars().next()) && (holds || apart(body[..start].chars().next_back()));
        if let Ok(number) = body[start..at].parse() {
            found.push((start, at, number, whole));
        }
    }
    match key.layer {
        Some(layer) => {
            let is_layer = |f: &&(usize, usize, i64, bool)| f.2 == i64::from(layer);
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
pub fn words_of(pattern: &str) -> Vec<String> {
    let behind = pattern.split_once(HOLE).map(|(_, behind)| behind);
    let says = |text: &&str| text.contains(|c: char| c.is_alphabetic());
    let text = behind.filter(says).unwrap_or(pattern);
    let canonical = canonical(&split(text));
    let words = canonical.split('_').filter(|w| !w.is_empty());
    words.map(str::to_owned).collect()
}

/// How alike two names are, from 0 to 1: by their letters, and by their words.
pub fn likeness(a: &[String], b: &[String]) -> f64 {
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
        let tree = pattern("stage3/conv2", None, None);
        assert_eq!(tree, ("stage#/conv2".into(), vec![3]));
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
