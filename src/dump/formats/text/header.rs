//! What the lines above the values say: shape, element type, statistics.

use super::digits::rounded;
use crate::dtype::DType;
use crate::dump::{PrintedStats, Rounded};

/// Facts found in header lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    pub shape: Option<Vec<usize>>,
    pub dtype: Option<DType>,
    pub stats: PrintedStats,
}

impl Header {
    /// Takes what one line says; `false` when it says nothing that is known.
    pub fn read(&mut self, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line);
        let (body, comment) = uncomment(&line);
        let lower = body.to_ascii_lowercase();
        let mut known = false;
        // Other sizes are counted in bytes or elements.
        let sized = lower.starts_with("size") || lower.starts_with("tensor size");
        let words = ["shape", "dimensions", "dims", "ne", "size"];
        let words = &words[..words.len() - usize::from(!sized)];
        if let Some((shape, _)) = words.iter().find_map(|w| shape(value_of(body, &lower, w)?)) {
            self.shape.get_or_insert(shape);
            known = true;
        } else if let Some((shape, _)) = body.find("torch.Size(").and_then(|at| shape(&body[at..]))
        {
            self.shape.get_or_insert(shape);
            known = true;
        } else if let Some((shape, used)) = alone(body, comment)
            && body[used..].trim().is_empty()
        {
            self.shape.get_or_insert(shape);
            known = true;
        }
        for w in ["dtype", "data type", "type"] {
            if let Some(v) = value_of(body, &lower, w)
                && let Some(dtype) = leading_dtype(v)
            {
                self.dtype.get_or_insert(dtype);
                known = true;
            }
        }
        if read_stats(body, &lower, &mut self.stats) {
            known = true;
        }
        known || (!comment && is_label(&lower))
    }

    /// The type of the elements: what the header says, else what the text shows.
    pub fn dtype_for(&self, integers: bool) -> DType {
        match self.dtype {
            Some(d) if !d.is_exact() || integers => d,
            None if integers => DType::I64,
            _ => DType::F64,
        }
    }

    pub fn has_stats(&self) -> bool {
        let s = &self.stats;
        [s.mean, s.std, s.min, s.max, s.sum, s.l2]
            .iter()
            .any(Option::is_some)
    }
}

/// Takes every statistic that the line names; `false` when there is none.
pub fn read_stats(body: &str, lower: &str, stats: &mut PrintedStats) -> bool {
    let mut known = false;
    let mut take = |names: &[&str], slot: &mut Option<Rounded>| {
        let found = names
            .iter()
            .find_map(|n| leading_number(value_of(body, lower, n)?));
        if let Some(r) = found {
            slot.get_or_insert(r);
            known = true;
        }
    };
    take(&["mean", "avg", "average"], &mut stats.mean);
    take(&["std", "stddev", "std_dev", "stdev"], &mut stats.std);
    take(&["min", "minimum"], &mut stats.min);
    take(&["max", "maximum"], &mut stats.max);
    take(&["sum"], &mut stats.sum);
    take(
        &["l2 norm", "l2_norm", "l2norm", "l2", "norm"],
        &mut stats.l2,
    );
    if let Some(v) = value_of(body, lower, "range").and_then(|v| v.strip_prefix(['[', '('])) {
        let mut ends = v.split([',', ']', ')']).map(|t| leading_number(t.trim()));
        if let (Some(Some(low)), Some(Some(high))) = (ends.next(), ends.next()) {
            stats.min.get_or_insert(low);
            stats.max.get_or_insert(high);
            known = true;
        }
    }
    for name in [
        "total elements",
        "num elements",
        "numel",
        "elements",
        "count",
    ] {
        if let Some(n) = value_of(body, lower, name).and_then(leading_integer) {
            stats.count.get_or_insert(n);
            known = true;
        }
    }
    known
}

/// What begins a comment.
const COMMENT: [&str; 4] = ["#", "//", "%", "--"];

pub fn is_comment(line: &[u8]) -> bool {
    COMMENT.iter().any(|mark| line.starts_with(mark.as_bytes()))
}

/// Without the sign of a comment, and whether there was one.
pub fn uncomment(line: &str) -> (&str, bool) {
    let line = line.trim();
    for mark in COMMENT {
        if let Some(rest) = line.strip_prefix(mark) {
            return (rest.trim_start_matches('#').trim(), true);
        }
    }
    (line, false)
}

/// `# (1, 3, 4)`, `# 1x3x4`, `torch.Size([1, 3, 4])`: a line that is a shape and nothing else. Without the sign of a
/// comment only spellings that no row of numbers has.
fn alone(body: &str, comment: bool) -> Option<(Vec<usize>, usize)> {
    let telling = body.starts_with('(')
        || (body.contains(['x', '×']) && body.starts_with(|c: char| c.is_ascii_digit()))
        || (comment && body.starts_with(['[', '{']));
    telling.then(|| shape(body)).flatten()
}

/// Words of a header that stand before the data and carry nothing.
fn is_label(lower: &str) -> bool {
    if lower.starts_with("index") || lower.starts_with("idx") {
        return lower.contains("val");
    }
    let key = lower.split([':', '=']).next().unwrap_or("").trim();
    (lower.contains([':', '=']) || lower == "data")
        && matches!(
            key,
            "tensor"
                | "name"
                | "data"
                | "values"
                | "layer"
                | "device"
                | "format"
                | "statistics"
                | "order"
                | "step"
        )
}

/// What follows `key` and `:` or `=` in `body`; `key` must stand alone as a word. Before a bracket the sign may miss.
pub fn value_of<'a>(body: &'a str, lower: &str, key: &str) -> Option<&'a str> {
    debug_assert_eq!(body.len(), lower.len());
    let mut from = 0;
    while let Some(at) = lower[from..].find(key).map(|n| from + n) {
        let end = at + key.len();
        from = end;
        let before = lower[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = body[end..].trim_start();
        if let Some(value) = rest.strip_prefix([':', '=']) {
            return Some(value.trim_start());
        }
        if rest.starts_with(['(', '[', '{']) && matches!(key, "shape" | "dims" | "ne" | "size") {
            return Some(rest);
        }
    }
    None
}

/// A shape at the start of `text` and how many bytes it takes: `(1, 3, 4)`, `[1,3,4]`, `torch.Size([1, 3, 4])`,
/// `1x3x4`, `1 3 4`, and `{4, 3, 1, 1}` as ggml writes it, the innermost first.
pub fn shape(text: &str) -> Option<(Vec<usize>, usize)> {
    let wrapped = text
        .strip_prefix("torch.Size(")
        .or_else(|| text.strip_prefix("Size("));
    if let Some(inner) = wrapped {
        let (shape, used) = shape(inner)?;
        let close = usize::from(inner[used..].starts_with(')'));
        return Some((shape, text.len() - inner.len() + used + close));
    }
    let close = match text.chars().next()? {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '0'..='9' => {
            let end = text
                .find(|c: char| {
                    !c.is_ascii_digit() && !matches!(c, 'x' | 'X' | '×' | ',' | ' ' | '*')
                })
                .unwrap_or(text.len());
            let run = text[..end].trim_end_matches([',', ' ', 'x', 'X', '*']);
            // The last "word" may be a number with a point: not a dimension.
            if text[run.len()..].starts_with(['.', 'e', 'E']) {
                return None;
            }
            return Some((dimensions(run)?, run.len()));
        }
        _ => return None,
    };
    let end = text.find(close)?;
    let mut dims = dimensions(&text[1..end])?;
    if close == '}' {
        dims = from_ggml(dims);
    }
    Some((dims, end + 1))
}

/// ggml's dimensions, innermost first and padded with 1 to four, in row-major order.
pub fn from_ggml(mut dims: Vec<usize>) -> Vec<usize> {
    while dims.len() > 1 && dims.last() == Some(&1) {
        dims.pop();
    }
    dims.reverse();
    dims
}

fn dimensions(run: &str) -> Option<Vec<usize>> {
    let dims: Option<Vec<usize>> = run
        .split([',', ' ', 'x', 'X', '×', '*'])
        .filter(|t| !t.is_empty())
        .map(|t| t.trim_end_matches('L').parse().ok())
        .collect();
    dims.filter(|d| d.len() <= 32)
}

fn leading_dtype(text: &str) -> Option<DType> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.'))
        .unwrap_or(text.len());
    DType::parse(&text[..end])
}

/// The number at the start, with its printed precision.
pub fn leading_number(text: &str) -> Option<Rounded> {
    let text = text.trim_start_matches(['"', '\'', '+']);
    let (_, used) = super::number::number(text.as_bytes())?;
    rounded(&text.as_bytes()[..used])
}

fn leading_integer(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(line: &str) -> Option<Vec<usize>> {
        let mut h = Header::default();
        h.read(line.as_bytes());
        h.shape
    }

    #[test]
    fn every_spelling_of_a_shape_is_read() {
        for line in [
            "shape: 1 3 2048",
            "# Shape: (1, 3, 2048)",
            "# Shape: 1x3x2048",
            "SHAPE = [1,3,2048]",
            "// shape=torch.Size([1, 3, 2048]) dtype=torch.float32",
            "# torch.Size([1, 3, 2048])",
            "(1, 3, 2048)",
            "1x3x2048",
            "# hidden dims [1, 3, 2048]",
        ] {
            assert_eq!(shape_of(line), Some(vec![1, 3, 2048]), "{line}");
        }
        assert_eq!(shape_of("# ne = {2048, 3, 1, 1}"), Some(vec![3, 2048]));
        assert_eq!(shape_of("# Shape: ()"), Some(vec![]));
        assert_eq!(shape_of("# shape: (5,)"), Some(vec![5]));
        assert_eq!(shape_of("# reshape: 3 4"), None);
        assert_eq!(shape_of("1 3 2048"), None);
        assert_eq!(shape_of("# Data type size: 4 bytes"), None);
    }

    #[test]
    fn statistics_keep_their_precision() {
        let mut h = Header::default();
        for line in [
            "# Tensor: attn_norm (FP16 format)",
            "# Shape: 1x3x2048",
            "# Total elements: 6144",
            "# Mean: 1.234560e-03 (converted)",
            "# Std: 0.5",
            "# Min: -2.5",
            "# Max: 3.25",
            "# L1 norm (avg abs): 7.0e-01",
            "# Special values - NaN: 0, Inf: 0, Zero: 0",
        ] {
            h.read(line.as_bytes());
        }
        assert_eq!(h.stats.count, Some(6144));
        let mean = h.stats.mean.unwrap();
        assert_eq!(mean.value, 1.23456e-3);
        assert!((mean.half_unit - 5e-10).abs() < 1e-15);
        assert_eq!(h.stats.max.unwrap().value, 3.25);
        assert_eq!(h.stats.l2, None);
        assert!(h.has_stats());
    }

    #[test]
    fn several_facts_on_one_line_are_read() {
        let mut h = Header::default();
        assert!(h.read(b"Mean=0.0054, Std=0.177, Range=[-0.517, 1.191]"));
        assert_eq!(h.stats.min.unwrap().value, -0.517);
        assert_eq!(h.stats.max.unwrap().value, 1.191);
        assert!(h.read(b"# shape: 4 5, dtype: bfloat16"));
        assert_eq!((h.shape, h.dtype), (Some(vec![4, 5]), Some(DType::BF16)));
    }

    #[test]
    fn prose_says_nothing() {
        let mut h = Header::default();
        for line in [
            "dumped by hook script, prompt: hello",
            "loaded model in 0.3 s",
            "# the meaning of this",
            "int main() { return 0; }",
        ] {
            assert!(!h.read(line.as_bytes()), "{line}");
        }
        assert_eq!(h, Header::default());
    }
}
