//! Natural order of names.

use std::cmp::Ordering;

/// Orders names as people do: runs of digits by their value.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    let mut same = left.iter().zip(right).take_while(|(x, y)| x == y).count();
    // a number is compared whole
    while same > 0 && left[same - 1].is_ascii_digit() {
        same -= 1;
    }
    (left, right) = (&left[same..], &right[same..]);
    loop {
        match (left.first(), right.first()) {
            (None, None) => return a.cmp(b),
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (m, n) = (digits(left), digits(right));
                let strip = |d: &[u8]| d.iter().take_while(|&&c| c == b'0').count();
                let (v, w) = (&left[strip(&left[..m])..m], &right[strip(&right[..n])..n]);
                let order = v.len().cmp(&w.len()).then_with(|| v.cmp(w));
                if order.is_ne() {
                    return order;
                }
                (left, right) = (&left[m..], &right[n..]);
            }
            (Some(x), Some(y)) if x == y => (left, right) = (&left[1..], &right[1..]),
            (Some(x), Some(y)) => return x.cmp(y),
        }
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|c| c.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = vec!["l10", "l2", "l02a", "l1", "l1.b12", "l1.b9", "l1.b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["l1", "l1.b", "l1.b9", "l1.b12", "l2", "l02a", "l10"]
        );
    }
}
