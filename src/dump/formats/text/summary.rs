//! Lines that give statistics of tensors: `FSDP_SUMMARY: embed[0.001,0.45] Q[…]`, `q_proj: mean=… std=…`.

use super::digits::rounded;
use super::header::{Header, read_stats};
use super::label::{Label, number_behind, rank};
use crate::dump::PrintedStats;

/// One `…_SUMMARY:` line.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Which side wrote it, in lower case.
    pub tag: String,
    pub rank: Option<u64>,
    pub step: Option<u64>,
    /// Stages with their statistics, in the order of the line.
    pub items: Vec<(String, PrintedStats)>,
}

/// Reads a line `TAG_SUMMARY: name[mean,std] …`.
pub fn summary(line: &str) -> Option<Summary> {
    let at = line.find("_SUMMARY")?;
    let (before, rest) = (&line[..at], &line[at + "_SUMMARY".len()..]);
    let word = before
        .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map_or(0, |n| {
            n + before[n..].chars().next().map_or(0, char::len_utf8)
        });
    let (prefix, tag) = before.split_at(word);
    if tag.is_empty() {
        return None;
    }
    let mut items = Vec::new();
    let mut rest = rest.trim_start_matches([':', ' ']);
    let mut other = String::from(prefix);
    while let Some(open) = rest.find('[') {
        let Some(close) = rest[open..].find(']').map(|n| open + n) else {
            break;
        };
        let words = &rest[..open];
        let start = words
            .rfind(|c: char| c.is_whitespace() || c == ',')
            .map_or(0, |n| {
                n + words[n..].chars().next().map_or(0, char::len_utf8)
            });
        other.push_str(&words[..start]);
        if let Some(stats) = figures(&rest[open + 1..close]) {
            let name = words[start..].trim_end_matches([':', '=']);
            if !name.is_empty() {
                items.push((canonical(name), stats));
            }
        }
        rest = &rest[close + 1..];
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
