//! The path of a tensor through the modules of a model: `down_blocks.0.resnets.1.conv2` has the segments `down_blocks` 0,
//! `resnets` 1 and `conv` 2.

use super::word::{canonical, split};

/// One module on the way: its label, the number behind it, and which of its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment {
    /// Lower-case words with synonyms made one, without a number at the end.
    pub label: String,
    pub number: Option<u32>,
    /// 0 for the first call of the module.
    pub call: u32,
}

pub type Path = Vec<Segment>;

impl Segment {
    /// Reads one label: `conv1`, `linear_2`, `self_attn`, `dropout#1`.
    pub fn read(text: &str) -> Segment {
        let (text, call) = match text.rsplit_once('#') {
            Some((head, k)) if !head.is_empty() => match k.parse() {
                Ok(call) => (head, call),
                Err(_) => (text, 0),
            },
            _ => (text, 0),
        };
        let (words, number) = without_number(text);
        Segment {
            label: canonical(&split(words)),
            number,
            call,
        }
    }

    /// Whether only a number stands here: the member of a list.
    fn is_index(&self) -> bool {
        self.label.is_empty() && self.number.is_some()
    }
}

/// The text before the number at its end, and that number; a text that begins with a digit (`4h`) has none.
fn without_number(text: &str) -> (&str, Option<u32>) {
    let words = text.trim_end_matches(|c: char| c.is_ascii_digit());
    match text[words.len()..].parse() {
        Ok(number) => (words.trim_end_matches(['_', '-']), Some(number)),
        Err(_) => (text, None),
    }
}

/// Joins labels to a path: a bare number belongs to the list before it.
pub fn path<'a>(labels: impl IntoIterator<Item = &'a str>) -> Path {
    let mut path = Path::new();
    for label in labels {
        push(&mut path, Segment::read(label));
    }
    path
}

/// Appends a segment; a bare number belongs to the list before it.
pub fn push(path: &mut Path, segment: Segment) {
    match path.last_mut() {
        Some(list) if segment.is_index() && list.number.is_none() => {
            list.number = segment.number;
            list.call = segment.call;
        }
        _ => path.push(segment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_belong_to_the_words_before_them() {
        let shown = |name: &str| -> String {
            let part = |s: &Segment| match (s.number, s.call) {
                (Some(n), 0) => format!("{}[{n}]", s.label),
                (None, 0) => s.label.clone(),
                (_, call) => format!("{}#{call}", s.label),
            };
            let parts: Vec<String> = path(name.split('.')).iter().map(part).collect();
            parts.join(" ")
        };
        assert_eq!(
            shown("down_blocks.0.resnets.1.conv2"),
            "down_blocks[0] resnets[1] conv[2]"
        );
        assert_eq!(shown("ff.net.0.proj"), "mlp net[0] proj");
        assert_eq!(shown("0.1"), "[0] [1]");
        assert_eq!(
            shown("layers.3.mlp.dense_4h_to_h"),
            "layers[3] mlp dense_4h_to_h"
        );
        assert_eq!(shown("block.dropout#1"), "block dropout#1");
    }
}
