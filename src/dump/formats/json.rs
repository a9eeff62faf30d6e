//! What the readers of JSON share: Python's `NaN`, places of errors, files that are no JSON to the end.

use crate::dump::ReadError;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A longer text is no description of tensors; it would be held in memory several times.
const LONGEST: u64 = 1 << 30;

/// Reads a whole file, with Python's `NaN`, `Infinity` and `-Infinity` as the texts `nan`, `inf`, `-inf`.
pub fn read(path: &Path) -> Result<Value, ReadError> {
    let io = |e| ReadError::io(path, e);
    let found = fs::metadata(path).map_err(io)?.len();
    if found > LONGEST {
        let fact = format!("{found} bytes of JSON; at most {LONGEST} are read");
        return Err(ReadError::unsupported(path, fact));
    }
    let bytes = fs::read(path).map_err(io)?;
    parse(&bytes).map_err(|e| {
        let fact = format!("not JSON to its end: {e}");
        ReadError::malformed(path, fact).at_line(e.line() as u64)
    })
}

fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| match quoted(bytes) {
        Some(text) => serde_json::from_slice(&text),
        None => Err(error),
    })
}

/// The text with words for what JSON has no number for in quotes; `None` when there is none.
fn quoted(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [(&[u8], &[u8]); 3] = [
        (b"-Infinity", b"\"-inf\""),
        (b"Infinity", b"\"inf\""),
        (b"NaN", b"\"nan\""),
    ];
    let mut text = Vec::with_capacity(bytes.len());
    let mut changed = false;
    let mut inside = false;
    let mut at = 0;
    while at < bytes.len() {
        let word = WORDS
            .iter()
            .find(|(word, _)| !inside && bytes[at..].starts_with(word));
        if let Some((word, instead)) = word {
            text.extend_from_slice(instead);
            changed = true;
            at += word.len();
            continue;
        }
        match bytes[at] {
            b'"' => inside = !inside,
            b'\\' if inside => {
                text.push(bytes[at]);
                at += 1;
            }
            _ => {}
        }
        text.extend(bytes.get(at));
        at += 1;
    }
    changed.then_some(text)
}

/// The keys of a JSON object, as far as the start of its file shows them; none for any other file.
pub fn keys(head: &[u8]) -> Vec<&str> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut keys = Vec::new();
    if !text.trim_ascii_start().starts_with(b"{") {
        return keys;
    }
    let (mut depth, mut at, mut awaited) = (0, 0, false);
    while at < text.len() {
        match text[at] {
            b'{' | b'[' => {
                depth += 1;
                awaited = depth == 1;
            }
            b'}' | b']' => depth -= 1,
            b',' => awaited = depth == 1,
            b'"' => {
                let start = at + 1;
                at = start;
                while at < text.len() && text[at] != b'"' {
                    at += 1 + usize::from(text[at] == b'\\');
                }
                let Some(word) = text.get(start..at) else {
                    break;
                };
                if std::mem::take(&mut awaited) && at < text.len() {
                    keys.extend(std::str::from_utf8(word));
                }
            }
            _ => {}
        }
        at += 1;
    }
    keys
}

/// A shape as a list of whole numbers.
pub fn shape(value: &Value) -> Option<Vec<usize>> {
    let numbers = value.as_array()?.iter();
    numbers.map(|n| usize::try_from(n.as_u64()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_becomes_text_outside_of_texts_only() {
        let value = parse(br#"{"a NaN \" NaN": [NaN, -Infinity, Infinity, 1.5]}"#).unwrap();
        let expected = r#"{"a NaN \" NaN":["nan","-inf","inf",1.5]}"#;
        assert_eq!(value.to_string(), expected);
        assert!(parse(b"{\"a\": NaN").is_err());
        assert!(parse(b"\"\\").is_err());
    }

    #[test]
    fn keys_are_those_of_the_outermost_object() {
        let text = br#" {"a": {"b": "x, \"c\": 1"}, "d": ["e", {"f": 1}], "g\"": "h", "i"#;
        assert_eq!(keys(text), ["a", "d", "g\\\""]);
        assert!(keys(br#"[{"a": 1}]"#).is_empty());
        assert!(keys(b"{\"\\").is_empty());
    }

    #[test]
    fn a_cut_file_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.json");
        fs::write(&path, "{\n \"data\": {\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("at line 3"), "{error}");
    }
}
