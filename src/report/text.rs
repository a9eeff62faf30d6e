//! What the written reports say alike: one figure, one side, one sentence, and text that markup does not misread.

use super::{Report, Row, RowSide, Status};
use crate::text::short;

/// A metric of a row for people; empty where it is undefined.
pub fn metric(row: &Row, id: &str) -> String {
    row.metrics.get(id).map_or(String::new(), short)
}

pub fn shape(side: &RowSide) -> String {
    let dims: Vec<String> = side.shape.iter().map(usize::to_string).collect();
    dims.join("×")
}

/// The shape of a row, that of the reference where there is one.
pub fn shape_of(row: &Row) -> String {
    row.reference
        .as_ref()
        .or(row.candidate.as_ref())
        .map_or(String::new(), shape)
}

pub fn status(status: Status) -> &'static str {
    match status {
        Status::Identical => "identical",
        Status::Agreed => "agreed",
        Status::Diverged => "diverged",
        Status::Incomparable => "not comparable",
        Status::MissingInCandidate => "missing in the candidate",
        Status::MissingInReference => "only in the candidate",
        Status::Unreadable => "unreadable",
    }
}

/// One line: the verdict, where it starts, how many agree.
pub fn verdict(report: &Report) -> String {
    let c = &report.counts;
    let place = match &report.first_divergence {
        Some(first) if first.certain => format!(" first at {}", first.key),
        Some(first) => format!(" at {}, order unknown", any_of(&first.earliest)),
        None => String::new(),
    };
    let agreed = c.compared - c.diverged.min(c.compared);
    let part = match report.tensors.iter().filter(|t| is_in_part(t)).count() {
        0 => String::new(),
        n => format!(", {n} only in part"),
    };
    format!(
        "{}{place}: {agreed} of {} compared tensors agree{part}",
        report.verdict.name(),
        c.compared
    )
}

/// `a or b`, `a, b or 3 others`.
fn any_of(keys: &[String]) -> String {
    const FEW: usize = 3;
    match keys {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] if keys.len() <= FEW => format!("{} or {last}", first.join(", ")),
        _ => format!(
            "{} or {} others",
            keys[..FEW - 1].join(", "),
            keys.len() + 1 - FEW
        ),
    }
}

pub fn agrees(row: &Row) -> bool {
    matches!(row.status, Status::Identical | Status::Agreed)
}

/// Whether elements that are not known, or that one side lacks, stand behind an agreement.
fn is_in_part(row: &Row) -> bool {
    agrees(row) && 0 < row.compared && row.compared < row.of
}

/// Why the first tensor diverges.
pub fn first_reason(report: &Report) -> Option<&str> {
    let first = report.first_divergence.as_ref()?;
    let row = report.tensors.iter().find(|t| t.key == first.key)?;
    Some(&row.reason)
}

/// Text as XML and HTML take it; control characters, which XML does not know, are replaced.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn markup_is_not_misread() {
        assert_eq!(
            escaped("a<b & \"c\">\u{1}"),
            "a&lt;b &amp; &quot;c&quot;&gt;\u{fffd}"
        );
    }
}
