//! Lines that give statistics of tensors: `FSDP_SUMMARY: embed[0.001,0.45] Q[…]`, `REF: embed[…] …`, `q_proj: mean=… std=…`.

use super::digits::rounded;
use super::header::{Header, read_stats};
use super::label::{Label, number_behind, rank};
use crate::dump::PrintedStats;

/// One summary line.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Which side wrote it, in lower case; empty where the line does not say it.
    pub tag: String,
    pub rank: Option<u64>,
    pub step: Option<u64>,
    /// Stages with their statistics, in the order of the line.
    pub items: Vec<(String, PrintedStats)>,
}

/// A line without the word `_SUMMARY` is one when it has so many items with fractions in them.
const TELLING: usize = 3;

/// Reads a line `TAG_SUMMARY: name[mean,std] …`, `TAG: name[mean,std] …`, or one without a tag.
pub fn summary(line: &str) -> Option<Summary> {
    let told = line.find("_SUMMARY");
    let (before, mut rest) = match told {
        Some(at) => (&line[..at], &line[at + "_SUMMARY".len()..]),
        None => line.split_at(unmarked(line)?),
    };
    let (prefix, tag) = before.split_at(last_word(before, |c| {
        !c.is_ascii_alphanumeric() && c != '_'
    }));
    if told.is_some() && tag.is_empty() {
        return None;
    }
    let mut items = Vec::new();
    rest = rest.trim_start_matches([':', ' ']);
    let mut other = String::from(prefix);
    while let Some((words, inner, behind)) = brackets(rest) {
        let start = last_word(words, |c| c.is_whitespace() || c == ',');
        other.push_str(&words[..start]);
        if let Some(stats) = figures(inner) {
            let name = words[start..].trim_end_matches([':', '=']);
            if !name.is_empty() {
                items.push((canonical(name), stats));
            }
        }
        rest = behind;
    }
    other.push(' ');
    other.push_str(rest);
    (!items.is_empty()).then(|| Summary {
        tag: tag.to_ascii_lowercase(),
        rank: rank(&other),
        step: number_behind(&other, "step").or_else(|| number_behind(&other, "iter")),
        items,
    })
}

/// Where the tag (or, without one, the first item) of a line `name[mean,std] name[mean,std] …` ends.
fn unmarked(line: &str) -> Option<usize> {
    let (mut rest, mut first, mut items) = (line, None, 0);
    while let Some((words, inner, behind)) = brackets(rest) {
        let start = last_word(words, char::is_whitespace);
        let named = words[start..].starts_with(|c: char| c.is_ascii_alphabetic());
        let fractions = inner.split(',').all(|n| n.contains('.'));
        if named && fractions && inner.contains(',') && figures(inner).is_some() {
            first.get_or_insert(line.len() - rest.len() + start);
            items += 1;
        }
        rest = behind;
    }
    let first = first.filter(|_| items >= TELLING)?;
    Some(match line[..first].trim_end().strip_suffix(':') {
        Some(tag) => tag.len(),
        None => first,
    })
}

/// What stands before, in and behind the first brackets.
fn brackets(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('[')?;
    let (inner, behind) = rest.split_once(']')?;
    Some((before, inner, behind))
}

/// Where the last word begins.
fn last_word(text: &str, ends: impl Fn(char) -> bool) -> usize {
    let end = text.rfind(ends);
    end.map_or(0, |n| {
        n + text[n..].chars().next().map_or(0, char::len_utf8)
    })
}

/// `0.001,0.45` (mean, std), then min and max where there are four; or `mean=…,std=…`.
fn figures(text: &str) -> Option<PrintedStats> {
    let mut stats = PrintedStats::default();
    if read_stats(text, &text.to_ascii_lowercase(), &mut stats) {
        return Some(stats);
    }
    let numbers = text
        .split([',', ' ', ';'])
        .filter(|t| !t.is_empty())
        .map(|t| rounded(t.as_bytes()))
        .collect::<Option<Vec<_>>>()?;
    match numbers[..] {
        [mean] => stats.mean = Some(mean),
        [mean, std] => (stats.mean, stats.std) = (Some(mean), Some(std)),
        [mean, std, min, max] => {
            (stats.mean, stats.std) = (Some(mean), Some(std));
            (stats.min, stats.max) = (Some(min), Some(max));
        }
        _ => return None,
    }
    Some(stats)
}

/// The stages of a summary line are those of the first layer.
fn canonical(name: &str) -> String {
    let stage = match name {
        "attn_norm" | "attention_norm" | "input_layernorm" => "attn_norm",
        "Q" | "q" | "q_proj" | "wq" => "q_proj",
        "K" | "k" | "k_proj" | "wk" => "k_proj",
        "V" | "v" | "v_proj" | "wv" => "v_proj",
        "Q_rope" | "q_rope" => "q_rope",
        "K_rope" | "k_rope" => "k_rope",
        "O" | "o" | "o_proj" | "wo" => "o_proj",
        "ffn_norm" | "mlp_norm" => "mlp_norm",
        other => return other.to_owned(),
    };
    format!("layers.0.{stage}")
}

/// A line that gives at least two statistics of one tensor; the name is `None` when the line has none.
pub fn statistics(line: &str) -> Option<(Option<String>, Header)> {
    // Most lines of a log end here.
    if !line.contains(['=', ':']) {
        return None;
    }
    let lower = line.to_ascii_lowercase();
    let first = KEYS.iter().filter_map(|key| position(&lower, key)).min()?;
    let mut header = Header::default();
    header.read(line.as_bytes());
    let s = &header.stats;
    let figures = [s.mean, s.std, s.min, s.max, s.sum, s.l2];
    if figures.iter().flatten().count() < 2 || (s.mean.is_none() && s.min.is_none()) {
        return None;
    }
    let label = Label::of(&line[..first]);
    if header.shape.is_none() {
        header.shape = label.shape;
    }
    Some((label.name, header))
}

const KEYS: &[&str] = &[
    "mean", "avg", "average", "std", "stddev", "min", "minimum", "max", "maximum", "sum", "l2",
    "norm", "range",
];

/// Where `key` stands as a word with `=` or `:` behind it.
fn position(lower: &str, key: &str) -> Option<usize> {
    lower.match_indices(key).map(|(at, _)| at).find(|&at| {
        let alone = !lower[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        alone && lower[at + key.len()..].trim_start().starts_with([':', '='])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lines_are_read_wherever_they_stand() {
        let line = "[rank1]:[titan] 2025-01-01 12:00:00 - root - INFO - FSDP_SUMMARY: embed[0.001234,0.456789] attn_norm[-1.5e-3,1.0] Q[0,1] logits[2.5,3.5]";
        let s = summary(line).unwrap();
        assert_eq!((s.tag.as_str(), s.rank, s.step), ("fsdp", Some(1), None));
        let names: Vec<_> = s.items.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(
            names,
            ["embed", "layers.0.attn_norm", "layers.0.q_proj", "logits"]
        );
        let std = s.items[0].1.std.unwrap();
        assert_eq!(std.value, 0.456789);
        assert!((std.half_unit - 5e-7).abs() < 1e-15);
        let s = summary("step 12 TITAN_SUMMARY: embed[1.0,2.0,-3.0,4.0]").unwrap();
        assert_eq!((s.tag.as_str(), s.step), ("titan", Some(12)));
        assert_eq!(s.items[0].1.max.unwrap().value, 4.0);
        for (line, tag, rank) in [
            (
                "[rank2] REF: embed[0.1,0.2] Q[0.3,0.4] logits[-2.5,3.5]",
                "ref",
                Some(2),
            ),
            (
                "step 7 embed[0.1,0.2] Q[0.3,0.4] logits[-2.5,3.5]",
                "",
                None,
            ),
        ] {
            let s = summary(line).unwrap();
            assert_eq!((&*s.tag, s.rank, s.items.len()), (tag, rank, 3), "{line}");
            assert_eq!(s.step, tag.is_empty().then_some(7));
        }
        for line in [
            "embed[0.1,0.2] Q[0.3,0.4]",
            "x[0,1] y[2,3] z[4,5] w[6,7]",
            "tensor([[0.1,0.2],[0.3,0.4],[0.5,0.6]])",
        ] {
            assert_eq!(summary(line), None, "{line}");
        }
        assert_eq!(summary("see FSDP_SUMMARY in the log"), None);
        assert_eq!(summary("é_SUMMARY: x[1,2]").map(|s| s.tag), None);
    }

    #[test]
    fn statistics_of_one_tensor_are_read() {
        let (name, h) = statistics("q_proj: mean=0.0054 std=0.177 min=-0.517 max=1.191").unwrap();
        assert_eq!(name.as_deref(), Some("q_proj"));
        assert_eq!(h.stats.min.unwrap().value, -0.517);
        let (name, h) = statistics(
            "INFO layers.3.mlp shape=(1, 24, 256) Mean=0.0054, Std=0.177, Range=[-0.517, 1.191]",
        )
        .unwrap();
        assert_eq!(name.as_deref(), Some("layers.3.mlp"));
        assert_eq!(
            (h.shape, h.stats.max.unwrap().value),
            (Some(vec![1, 24, 256]), 1.191)
        );
        assert_eq!(statistics("Mean=0.5, Std=1.5").unwrap().0, None);
        for line in [
            "loss: 2.5",
            "mean=1.0",
            "the mean: see below",
            "grad_norm: 1.5 max: 2",
        ] {
            assert_eq!(statistics(line), None, "{line}");
        }
    }
}
