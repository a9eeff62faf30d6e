//! A name as words: separators differ between producers, words hardly do.

use std::ops::Range;

/// One word of a name with the separator before it (`'\0'` for the first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub text: String,
    pub lower: String,
    pub sep: char,
}

impl Word {
    pub fn number(&self) -> Option<u32> {
        if self.text.bytes().all(|b| b.is_ascii_digit()) {
            self.text.parse().ok()
        } else {
            None
        }
    }

    /// `layer12` with prefix `layer` is 12.
    pub fn fused(&self, prefix: &str) -> Option<u32> {
        let digits = self.lower.strip_prefix(prefix)?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }

    pub fn is_any(&self, of: &[&str]) -> bool {
        of.contains(&self.lower.as_str())
    }
}

/// Splits at everything that is no letter and no digit. Of several separators in a row the strongest stays: `/`, `.`, `-`, else `_`.
pub(crate) fn split(name: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut sep = '\0';
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if first.is_alphanumeric() {
            let end = rest.find(|c: char| !c.is_alphanumeric());
            let (text, behind) = rest.split_at(end.unwrap_or(rest.len()));
            words.push(Word {
                text: text.to_string(),
                lower: lower(text),
                sep: if words.is_empty() { '\0' } else { sep },
            });
            sep = '\0';
            rest = behind;
            continue;
        }
        let this = match first {
            '/' | '\\' | ':' => '/',
            '.' | '-' => first,
            _ => '_',
        };
        let strength = |c| match c {
            '/' => 4,
            '.' => 3,
            '-' => 2,
            '_' => 1,
            _ => 0,
        };
        if strength(this) > strength(sep) {
            sep = this;
        }
        rest = &rest[first.len_utf8()..];
    }
    words
}

/// Parts words at their humps, `layer0AttnNorm` into `layer0`, `Attn` and `Norm`; what was one word is written without a separator.
pub(crate) fn split_humps(words: Vec<Word>) -> Vec<Word> {
    let mut parts = Vec::with_capacity(words.len());
    for word in words {
        let mut sep = word.sep;
        let mut rest = word.text.as_str();
        while let Some(at) = hump(rest) {
            parts.push(Word {
                text: rest[..at].to_owned(),
                lower: lower(&rest[..at]),
                sep,
            });
            (sep, rest) = ('\0', &rest[at..]);
        }
        parts.push(Word {
            text: rest.to_owned(),
            lower: lower(rest),
            sep,
        });
    }
    parts
}

/// Where the first hump of a word begins: a capital behind a small letter or a digit, or the last capital before a small letter.
pub(crate) fn hump(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (1..bytes.len()).find(|&i| {
        let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let next = bytes.get(i + 1).is_some_and(u8::is_ascii_lowercase);
        bytes[i].is_ascii_uppercase()
            && (small(bytes[i - 1]) || bytes[i - 1].is_ascii_uppercase() && next)
    })
}

fn lower(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.to_lowercase()
    }
}

/// Lower-case words joined by `_`.
pub(crate) fn joined<'a, W>(words: W) -> String
where
    W: IntoIterator<Item = &'a Word, IntoIter: Clone>,
{
    let words = words.into_iter();
    let mut s = String::with_capacity(words.clone().map(|w| w.lower.len() + 1).sum());
    for (i, w) in words.enumerate() {
        if i > 0 {
            s.push('_');
        }
        s.push_str(&w.lower);
    }
    s
}

/// Writes a spelling (ASCII) as [`joined`] words behind one text, as [`canonical`] words behind another; returns where.
pub(crate) fn forms(
    spelling: &str,
    exact: &mut String,
    canonical: &mut String,
) -> (Range<usize>, Range<usize>) {
    let starts = (exact.len(), canonical.len());
    for byte in spelling.bytes() {
        if byte.is_ascii_alphanumeric() {
            exact.push(byte.to_ascii_lowercase().into());
        } else if exact.len() > starts.0 && !exact.ends_with('_') {
            exact.push('_');
        }
    }
    if exact.ends_with('_') {
        exact.pop();
    }
    with_synonyms(exact[starts.0..].split('_'), canonical);
    (starts.0..exact.len(), starts.1..canonical.len())
}

/// The words as they were written, with their separators.
pub(crate) fn written(words: &[Word]) -> String {
    let mut s = String::new();
    for (i, w) in words.iter().enumerate() {
        if i > 0 && w.sep != '\0' {
            s.push(w.sep);
        }
        s.push_str(&w.text);
    }
    s
}

/// Words joined by `_` with common synonyms made one: `attention.query` and `attn_q` are equal.
pub(crate) fn canonical(words: &[Word]) -> String {
    let mut s = String::with_capacity(words.iter().map(|w| w.lower.len() + 1).sum());
    with_synonyms(words.iter().map(|w| w.lower.as_str()), &mut s);
    s
}

/// Writes the words behind `s`.
fn with_synonyms<'a>(words: impl Iterator<Item = &'a str>, s: &mut String) {
    let synonyms = &super::words().synonyms;
    // pairs of words become one, so the last word waits for the next
    let mut last: Option<&str> = None;
    let mut first = true;
    let mut write = |w: &str| {
        if !first && !w.bytes().all(|b| b.is_ascii_digit()) {
            s.push('_');
        }
        first = false;
        s.push_str(w);
    };
    for w in words {
        let word = synonyms.get(w).map_or(w, String::as_str);
        last = match (last, word) {
            (Some("feed"), "forward") => Some("mlp"),
            (Some("self"), "attn") | (Some("attn"), "self") => Some("attn"),
            (Some("layer" | "norm"), "norm") => Some("norm"),
            (Some("soft"), "max") => Some("softmax"),
            (last, word) => {
                last.map(&mut write);
                Some(word)
            }
        };
    }
    last.map(&mut write);
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_do_not_matter_and_the_strongest_stays() {
        let w = split("step0/model.layers.0.self_attn  (view)");
        assert_eq!(joined(&w), "step0_model_layers_0_self_attn_view");
        assert_eq!(w[1].sep, '/');
        assert_eq!(split("a::b")[1].sep, '/');
        assert_eq!(split("name=layer_start__hidden")[2].text, "start");
        assert!(split("  ").is_empty());
    }

    #[test]
    fn synonyms_become_one() {
        assert_eq!(
            canonical(&split("attention.self.query")),
            canonical(&split("self_attn_q"))
        );
        assert_eq!(
            canonical(&split("layer_norm_1")),
            canonical(&split("ln1")).replace("ln", "norm")
        );
        assert_eq!(canonical(&split("kq_soft_max")), "kq_softmax");
    }
}
