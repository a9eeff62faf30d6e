//! What a line of a log calls the tensor behind it.

use super::header::{Header, shape};

/// Words that a logger puts before its message.
const LEVELS: &[&str] = &[
    "debug", "info", "warning", "warn", "error", "trace", "dbg", "inf", "wrn", "err",
];

/// Words that say that values follow, not whose.
const GENERIC: &[&str] = &[
    "tensor", "tensors", "value", "values", "vals", "data", "element", "elements", "array",
];
/// Words that count what a tensor belongs to: `[layer 0] q_proj`.
const COUNTED: &[&str] = &["layer", "block", "blk", "decoder", "encoder", "expert"];

/// What the text before a tensor says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    pub name: Option<String>,
    pub shape: Option<Vec<usize>>,
    pub part: Part,
}

/// How much of the tensor follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    #[default]
    Whole,
    /// `q_proj first 5:`
    First,
    /// `q_proj last 5:`
    Last,
    /// `q_proj[0, 0, :5]`
    Slice,
}

impl Label {
    /// Takes apart what stands before a tensor, or in a line above it.
    pub fn of(text: &str) -> Label {
        let mut header = Header::default();
        header.read(text.trim_end_matches([':', '=', ' ']).as_bytes());
        let lower = text.to_ascii_lowercase();
        let mut cut = text.len();
        for word in ["torch.size", "shape", "size", "dims", "dtype"] {
            if let Some(at) = lower.find(word) {
                let starts = !lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if starts {
                    cut = cut.min(at);
                }
            }
        }
        // `q_proj (1, 24, 256)`, `q_proj [1, 24, 256]`
        let mut found = header.shape;
        for open in ['(', '['] {
            if let Some(at) = text[..cut].find(open)
                && found.is_none()
                && let Some((dims, _)) = shape(&text[at..])
                && !dims.is_empty()
                && text[..at].ends_with(' ')
            {
                (cut, found) = (at, Some(dims));
            }
        }
        let (whose, part) = part(&text[..cut]);
        let whose = whose.trim_end().trim_end_matches(['.', ' ', '-', ',']);
        Label {
            name: name(whose),
            shape: found,
            part,
        }
    }
}

/// The name in the text before a tensor (`2024-01-01 INFO [rank0]: layer 0 q_proj = ` says `rank0/layer_0_q_proj`);
/// `None` when there is none.
fn name(text: &str) -> Option<String> {
    let all = text;
    let text = text
        .trim()
        .trim_end_matches([':', '=', '>', '-', ' ', ',', '|', '(', '{', '[']);
    // `(tensor 'q_proj')`
    let text = match text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        Some(inner) => inner,
        None => text,
    };
    let name = match quoted(text) {
        Some(name) => name.split_whitespace().collect::<Vec<_>>().join("_"),
        None => words(text),
    };
    if !name.chars().any(char::is_alphabetic) {
        return None;
    }
    Some(match rank(all) {
        Some(rank) if !name.to_ascii_lowercase().contains("rank") => format!("rank{rank}/{name}"),
        _ => name,
    })
}

/// What stands in quotes at the end: a key of a dictionary.
fn quoted(text: &str) -> Option<&str> {
    let quote = text
        .chars()
        .next_back()
        .filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_suffix(quote)?;
    Some(&inner[inner.rfind(quote)? + 1..])
}

/// The last words that belong to a name.
fn words(text: &str) -> String {
    let mut words = Vec::new();
    let mut before = text;
    for word in text.split_whitespace().rev() {
        let bare = word.trim_matches(['\'', '"', '`']);
        let bare = bare.strip_prefix("**").unwrap_or(bare);
        let plain = !bare.is_empty()
            && bare.chars().all(|c| {
                c.is_alphanumeric()
                    || matches!(c, '_' | '.' | '-' | '/' | '#' | '(' | ')' | '[' | ']')
            });
        let closing = bare.ends_with([']', ')']) && !bare.contains(['[', '(']);
        if !plain
            || closing
            || bare.starts_with('[')
            || bare == "-"
            || LEVELS.contains(&bare.to_ascii_lowercase().as_str())
            || words.len() == 4
        {
            break;
        }
        before = &text[..word.as_ptr() as usize - text.as_ptr() as usize];
        words.push(bare);
    }
    let generic = |w: &&str| GENERIC.contains(&w.to_ascii_lowercase().as_str());
    let from = words.iter().take_while(|w| generic(w)).count();
    let mut words = words.split_off(from);
    // A number alone is a time stamp or a line number.
    while words.last().is_some_and(|w| w.parse::<f64>().is_ok()) {
        words.pop();
    }
    if !words.is_empty() {
        words.extend(counted(before).into_iter().flatten());
    }
    words.reverse();
    words.join("_")
}

/// `layer` and `0` of `… [layer 0]`, the last word first.
fn counted(text: &str) -> Option<[&str; 2]> {
    let inner = text.trim_end().trim_end_matches(':').strip_suffix(']')?;
    let mut words = inner[inner.rfind('[')? + 1..].split([' ', '=', ':', '_']);
    let (word, number) = (words.next()?, words.next()?);
    let counts = COUNTED.contains(&word.to_ascii_lowercase().as_str())
        && number.bytes().all(|b| b.is_ascii_digit())
        && words.next().is_none();
    counts.then_some([number, word])
}

/// Without the words that say how much of the tensor follows.
fn part(text: &str) -> (&str, Part) {
    let lower = text.to_ascii_lowercase();
    for (word, part) in [("first ", Part::First), ("last ", Part::Last)] {
        for (at, _) in lower.match_indices(word) {
            let alone = !lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if alone && lower[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()) {
                // `first 5 values of q_proj`
                let behind = lower[at..].find(" of ").map(|n| &text[at + n + 4..]);
                let before = text[..at].trim_end_matches(['(', ' ', '-', ':']);
                return (behind.unwrap_or(before), part);
            }
        }
    }
    let end = text.trim_end_matches([':', '=', '>', ' ']);
    if let Some(inner) = end.strip_suffix(']')
        && let Some(open) = inner.rfind('[')
        && open > 0
    {
        let index = &inner[open + 1..];
        let slice = index.contains([':', ',']) || index.contains("..");
        let characters = |c: char| c.is_ascii_digit() || matches!(c, ':' | ',' | '.' | '-' | ' ');
        if slice && index.chars().all(characters) && !inner[..open].ends_with(' ') {
            return (&text[..open], Part::Slice);
        }
    }
    (text, Part::Whole)
}

/// `line` without what a logger puts before each line, which is known from the text before the tensor in its first line:
/// the same but for the digits.
pub fn behind_prefix<'a>(first: &str, line: &'a str) -> &'a str {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (mut first, mut rest) = (first, line);
    while let (Some(a), Some(b)) = (first.chars().next(), rest.chars().next()) {
        let (na, nb) = (digits(first), digits(rest));
        let (na, nb) = match (na, nb) {
            (0, 0) if a == b => (a.len_utf8(), b.len_utf8()),
            (1.., 1..) => (na, nb),
            _ => break,
        };
        (first, rest) = (&first[na..], &rest[nb..]);
    }
    let prefix = &line[..line.len() - rest.len()];
    let telling = prefix.contains(|c: char| c.is_alphabetic() || matches!(c, ':' | '|'));
    if telling { rest } else { line }
}

/// Words for the shape of a tensor.
const SHAPES: &[&str] = &["shape", "size", "sizes", "dims", "dim", "dimensions", "ne"];
/// Words for other whole numbers that say how something is built.
const SETTINGS: &[&str] = &[
    "axes", "axis", "heads", "kernel", "layers", "nb", "perm", "stride", "strides",
];
/// A longer list of whole numbers is data.
const LONGEST_LIST: usize = 16;

/// What a list of whole numbers in a line of its own says, where it is no tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `shape: [1, 3, 2048]`, `q_proj dims: [12, 64]`.
    Shape,
    /// `cfg heads: [4, 2]`.
    Setting,
}

/// Whether the words before a list of whole numbers call it a shape or a setting; `list` starts with its bracket.
pub fn list(before: &str, list: &str) -> Option<List> {
    whole_numbers(list)?;
    let lower = before.to_ascii_lowercase();
    let words = || {
        lower
            .split(|c: char| !c.is_alphanumeric())
            .filter(|w| !w.is_empty())
    };
    let last = words().next_back()?;
    if SHAPES.contains(&last) {
        return Some(List::Shape);
    }
    let setting = SETTINGS.contains(&last) || words().any(|w| w == "cfg" || w == "config");
    setting.then_some(List::Setting)
}

/// How many numbers a line `[4, 2]` holds; `None` for anything but a short flat list of whole numbers.
pub fn whole_numbers(list: &str) -> Option<usize> {
    let list = list.trim().trim_end_matches([',', ';']);
    let inner = list.strip_prefix('[')?.strip_suffix(']')?;
    let words = || inner.split([',', ' ']).filter(|w| !w.is_empty());
    let count = words().count();
    let whole = words().all(|w| w.bytes().all(|b| b.is_ascii_digit()));
    (whole && count <= LONGEST_LIST).then_some(count)
}

/// The number behind the word `rank`.
pub fn rank(text: &str) -> Option<u64> {
    number_behind(text, "rank")
}

/// The number behind `word`: `[rank0]`, `Rank 3:`, `step=17`.
pub fn number_behind(text: &str, word: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = lower[from..].find(word).map(|n| from + n) {
        from = at + word.len();
        if lower[..at].ends_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        let rest = lower[from..].trim_start_matches([' ', '=', ':', '_', '[', '#']);
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        if let Ok(n) = rest[..end].parse() {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_behind_what_loggers_write() {
        for (text, name) in [
            ("q_proj: ", Some("q_proj")),
            ("layer 0 q_proj = ", Some("layer_0_q_proj")),
            (
                "2024-01-01 12:00:00,123 INFO model.py:12 q_proj",
                Some("q_proj"),
            ),
            (
                "[rank0]: model.layers.0.mlp:",
                Some("rank0/model.layers.0.mlp"),
            ),
            ("DEBUG - hidden ->", Some("hidden")),
            ("12:00:01 3", None),
            ("", None),
        ] {
            assert_eq!(Label::of(text).name.as_deref(), name, "{text}");
        }
    }

    #[test]
    fn shapes_stand_beside_names() {
        let shaped = |text| {
            let label = Label::of(text);
            (label.name, label.shape)
        };
        let q = Some("q_proj".to_owned());
        assert_eq!(
            shaped("q_proj torch.Size([1, 2]): "),
            (q.clone(), Some(vec![1, 2]))
        );
        assert_eq!(shaped("q_proj shape=(1, 2)"), (q.clone(), Some(vec![1, 2])));
        assert_eq!(
            shaped("q_proj.shape: [1, 2]"),
            (q.clone(), Some(vec![1, 2]))
        );
        assert_eq!(shaped("q_proj (1, 2) = "), (q.clone(), Some(vec![1, 2])));
        assert_eq!(shaped("q_proj = "), (q, None));
    }

    #[test]
    fn a_list_of_whole_numbers_may_be_a_shape_or_a_setting() {
        for (before, numbers, said) in [
            ("# shape:", "[1, 2, 3]", Some(List::Shape)),
            ("q_proj.shape: ", "[1, 2]", Some(List::Shape)),
            ("hidden size =", "[64],", Some(List::Shape)),
            ("cfg heads: ", "[4, 2]", Some(List::Setting)),
            ("cfg rope: ", "[1, 0]", Some(List::Setting)),
            ("input_ids: ", "[1, 2, 3]", None),
            ("model.layers.0.ids: ", "[1, 2, 3]", None),
            ("", "[1, 2, 3]", None),
            ("heads: ", "[0.5, 2]", None),
            ("shape: ", "[[1, 2], [3, 4]]", None),
            ("q_reshaped: ", "[1, 2]", None),
        ] {
            assert_eq!(list(before, numbers), said, "{before}{numbers}");
        }
    }

    #[test]
    fn ranks_and_steps_are_numbers_behind_words() {
        assert_eq!(rank("[rank3]: x"), Some(3));
        assert_eq!(rank("Rank 12: x"), Some(12));
        assert_eq!(rank("frank 1"), None);
        assert_eq!(number_behind("at step=17, x", "step"), Some(17));
    }
}
