//! A name as words: separators differ between producers, words hardly do.

/// One word of a name with the separator before it (`'\0'` for the first).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
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
pub(super) fn split(name: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut sep = '\0';
    let mut text = String::new();
    let flush = |text: &mut String, sep: &mut char, words: &mut Vec<Word>| {
        if !text.is_empty() {
            let sep = if words.is_empty() { '\0' } else { *sep };
            words.push(Word {
                lower: text.to_lowercase(),
                text: std::mem::take(text),
                sep,
            });
        }
    };
    for c in name.chars() {
        if c.is_alphanumeric() {
            if text.is_empty() && sep == '\0' && !words.is_empty() {
                sep = '_';
            }
            text.push(c);
            continue;
        }
        let had_text = !text.is_empty();
        flush(&mut text, &mut sep, &mut words);
        if had_text {
            sep = '\0';
        }
        let this = match c {
            '/' | '\\' | ':' => '/',
            '.' | '-' => c,
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
    }
    flush(&mut text, &mut sep, &mut words);
    words
}

/// Lower-case words joined by `_`.
pub(super) fn joined(words: &[Word]) -> String {
    let mut s = String::new();
    for (i, w) in words.iter().enumerate() {
        if i > 0 {
            s.push('_');
        }
        s.push_str(&w.lower);
    }
    s
}

/// The words as they were written, with their separators.
pub(super) fn written(words: &[Word]) -> String {
    let mut s = String::new();
    for (i, w) in words.iter().enumerate() {
        if i > 0 {
            s.push(w.sep);
        }
        s.push_str(&w.text);
    }
    s
}

/// Words joined by `_` with common synonyms made one: `attention.query` and `attn_q` are equal.
pub(super) fn canonical(words: &[Word]) -> String {
    let mut out: Vec<&str> = Vec::with_capacity(words.len());
    let mut s = String::new();
    for w in words {
        let word = match w.lower.as_str() {
            "attention" | "selfattention" | "selfattn" | "mha" => "attn",
            "feedforward" | "ffn" | "ff" => "mlp",
            "layernorm" | "rmsnorm" | "ln" | "rms" => "norm",
            "embd" | "embedding" | "embeddings" | "emb" | "embeds" => "embed",
            "query" => "q",
            "key" => "k",
            "value" => "v",
            "projection" => "proj",
            "resid" | "res" => "residual",
            "output" | "outputs" => "out",
            "input" | "inputs" => "in",
            "normalized" | "normalised" => "normed",
            "prob" | "probabilities" => "probs",
            other => other,
        };
        match (out.last().copied(), word) {
            (Some("feed"), "forward") => replace_last(&mut out, "mlp"),
            (Some("self"), "attn") => replace_last(&mut out, "attn"),
            (Some("attn"), "self") => {}
            (Some("layer" | "norm"), "norm") => replace_last(&mut out, "norm"),
            (Some("soft"), "max") => replace_last(&mut out, "softmax"),
            _ => out.push(word),
        }
    }
    for (i, w) in out.iter().enumerate() {
        if i > 0 && !w.bytes().all(|b| b.is_ascii_digit()) {
            s.push('_');
        }
        s.push_str(w);
    }
    s
}

fn replace_last<'a>(out: &mut [&'a str], with: &'a str) {
    if let Some(last) = out.last_mut() {
        *last = with;
    }
}

/// Natural order: runs of digits compare as numbers.
pub(super) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let digits = |s: &[u8]| s.iter().take_while(|c| c.is_ascii_digit()).count();
    while let (Some(&x), Some(&y)) = (a.first(), b.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (n, m) = (digits(a), digits(b));
            let strip = |s: &[u8]| {
                let zeros = s.iter().take_while(|&&c| c == b'0').count();
                s[zeros..].to_vec()
            };
            let (u, v) = (strip(&a[..n]), strip(&b[..m]));
            a = &a[n..];
            b = &b[m..];
            u.len().cmp(&v.len()).then_with(|| u.cmp(&v))
        } else {
            a = &a[1..];
            b = &b[1..];
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
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

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = vec!["l10", "l2", "l02a", "l1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["l1", "l2", "l02a", "l10"]);
    }
}
