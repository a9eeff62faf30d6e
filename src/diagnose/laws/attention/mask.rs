//! Which keys a query sees: read off scores or weights, and put into words.

use crate::causes::{self, Cause};
use crate::diagnose::Array;

/// Scores below this are fillings of masked positions (−10⁴, −10⁹, the smallest number of the type, −∞).
pub const HIDDEN: f64 = -5e3;

/// A mask as models state it; queries count from the first key on.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Mask {
    /// Key ≤ query + this; `None` when later keys are visible.
    pub causal: Option<i64>,
    /// Query − key < this.
    pub window: Option<usize>,
    /// For each batch row, the keys that no query sees (padding, unused slots of a cache).
    pub padded: Vec<Vec<bool>>,
}

impl Mask {
    pub fn causal(batch: usize, keys: usize) -> Mask {
        Mask {
            causal: Some(0),
            window: None,
            padded: vec![vec![false; keys]; batch],
        }
    }

    pub fn sees(&self, batch: usize, query: usize, key: usize) -> bool {
        self.causal.is_none_or(|c| key as i64 <= query as i64 + c)
            && self.window.is_none_or(|w| query < key + w)
            && !self.is_padded(batch, key)
    }

    pub fn is_padded(&self, batch: usize, key: usize) -> bool {
        let row = self.padded.get(batch);
        row.and_then(|r| r.get(key)).copied().unwrap_or(false)
    }

    pub fn text(&self) -> String {
        let mut words = vec![match self.causal {
            None => "every key visible".to_owned(),
            Some(0) => "causal".to_owned(),
            Some(d) => format!("causal with the diagonal moved by {d}"),
        }];
        words.extend(self.window.map(|w| format!("window {w}")));
        let hidden: Vec<usize> = self
            .padded
            .iter()
            .map(|r| r.iter().filter(|p| **p).count())
            .collect();
        if hidden.iter().any(|n| *n > 0) {
            words.push(format!("{hidden:?} keys hidden per batch row"));
        }
        words.join(", ")
    }
}

/// What can be seen in `[batch, head, query, key]`: for each batch row, query and key, whether any head sees the key.
#[derive(Clone, Debug)]
pub struct Sight {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    /// Position of the first query among the keys.
    pub first: usize,
    seen: Vec<bool>,
    /// Rows that see nothing, or everything alike: fully masked ones.
    blank: Vec<bool>,
}

impl Sight {
    /// Of scores: a key is hidden by a huge negative number.
    pub fn of_scores(scores: &Array, first: usize) -> Option<Sight> {
        Sight::new(
            scores,
            first,
            |x| x > HIDDEN,
            |row| row.iter().all(|x| *x <= HIDDEN || x.is_nan()),
        )
    }

    /// Of attention weights: a hidden key has no weight. A row of equal weights is one where everything was hidden alike.
    pub fn of_weights(weights: &Array, first: usize) -> Option<Sight> {
        Sight::new(
            weights,
            first,
            |x| x > 0.0,
            |row| {
                let top = row.iter().copied().fold(0.0, f64::max);
                row.iter().any(|x| x.is_nan())
                    || top == 0.0
                    || row.len() > 1 && row.iter().all(|x| (x - top).abs() < 1e-3 * top)
            },
        )
    }

    fn new(
        a: &Array,
        first: usize,
        visible: impl Fn(f64) -> bool,
        blank: impl Fn(&[f64]) -> bool,
    ) -> Option<Sight> {
        let &[batch, heads, queries, keys] = a.shape.as_slice() else {
            return None;
        };
        let mut sight = Sight {
            batch,
            queries,
            keys,
            first,
            seen: vec![false; batch * queries * keys],
            blank: vec![true; batch * queries],
        };
        for (at, row) in a.rows().enumerate() {
            let line = at / (heads * queries) * queries + at % queries;
            if blank(row) {
                continue;
            }
            sight.blank[line] = false;
            let seen = &mut sight.seen[line * keys..(line + 1) * keys];
            for (s, x) in seen.iter_mut().zip(row) {
                *s |= visible(*x);
            }
        }
        Some(sight)
    }

    pub fn sees(&self, batch: usize, query: usize, key: usize) -> bool {
        self.seen[(batch * self.queries + query) * self.keys + key]
    }

    pub fn is_blank(&self, batch: usize, query: usize) -> bool {
        self.blank[batch * self.queries + query]
    }

    /// The mask that shows the same.
    pub fn mask(&self) -> Mask {
        let (mut farthest, mut oldest) = (None::<i64>, 0usize);
        let mut used = vec![vec![false; self.keys]; self.batch];
        let mut last_query = 0;
        for (b, used) in used.iter_mut().enumerate() {
            for q in (0..self.queries).filter(|&q| !self.is_blank(b, q)) {
                let at = self.first + q;
                last_query = last_query.max(at);
                for k in (0..self.keys).filter(|&k| self.sees(b, q, k)) {
                    used[k] = true;
                    farthest = farthest.max(Some(k as i64 - at as i64));
                    oldest = oldest.max(at.saturating_sub(k));
                }
            }
        }
        let full = last_query as i64 + 1;
        // a mask with a diagonal leaves a later key hidden from some query that could see it
        let diagonal = farthest.unwrap_or(0);
        let cut = (0..self.batch).any(|b| {
            (0..self.queries)
                .filter(|&q| !self.is_blank(b, q))
                .any(|q| {
                    (0..self.keys)
                        .any(|k| k as i64 > (self.first + q) as i64 + diagonal.max(0) && used[b][k])
                })
        });
        let causal = (cut || diagonal < 0 || (diagonal == 0 && self.keys as i64 >= full))
            .then_some(diagonal);
        let narrow = (0..self.batch).any(|b| {
            (0..self.queries)
                .filter(|&q| !self.is_blank(b, q))
                .any(|q| {
                    (0..self.keys)
                        .any(|k| self.first + q > k + oldest && used[b][k] && !self.sees(b, q, k))
                })
        });
        let reach = match causal {
            Some(d) => full + d.min(0),
            None => self.keys as i64,
        };
        let padded = used
            .iter()
            .map(|row| {
                let in_reach = row.iter().enumerate();
                in_reach.map(|(k, u)| !u && (k as i64) < reach).collect()
            })
            .collect();
        Mask {
            causal,
            window: narrow.then_some(oldest + 1),
            padded,
        }
    }
}

/// The cause that two different masks point to, and the fact in words.
pub fn difference(r: &Mask, c: &Mask) -> Option<(&'static Cause, String)> {
    let fact = || format!("reference: {}; candidate: {}", r.text(), c.text());
    if r.causal != c.causal {
        let cause = match (r.causal, c.causal) {
            (Some(a), Some(b)) if (a - b).abs() == 1 => causes::CAUSAL_MASK_OFF_BY_ONE,
            _ => causes::CAUSAL_MASK_MISSING,
        };
        return Some((cause, fact()));
    }
    if r.window != c.window {
        let cause = if c.window.is_none() {
            causes::SLIDING_WINDOW_IGNORED
        } else {
            causes::SLIDING_WINDOW_WRONG
        };
        return Some((cause, fact()));
    }
    let differ = r.padded.iter().zip(&c.padded).any(|(a, b)| {
        let keys = a.len().min(b.len());
        a[..keys] != b[..keys]
    });
    differ.then(|| (causes::PADDING_MASK_IGNORED, fact()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::laws::toy::Toy;
    use crate::name::Stage;

    fn read(toy: &Toy) -> [Mask; 2] {
        let taps = toy.run();
        let of = |stage| &taps.iter().find(|(s, _)| *s == stage).unwrap().1;
        [
            Sight::of_scores(of(Stage::ATTN_SCORES), 0).unwrap().mask(),
            Sight::of_weights(of(Stage::ATTN_WEIGHTS), 0)
                .unwrap()
                .mask(),
        ]
    }

    #[test]
    fn a_mask_is_read_off_scores_and_weights() {
        for fill in [f64::NEG_INFINITY, -1e9, -3.4e38] {
            let good = Toy {
                fill,
                ..Toy::default()
            };
            for toy in [
                good.clone(),
                Toy {
                    causal: None,
                    ..good.clone()
                },
                Toy {
                    causal: Some(1),
                    ..good.clone()
                },
                Toy {
                    window: Some(4),
                    ..good.clone()
                },
                Toy {
                    causal: None,
                    pads: vec![0, 3],
                    ..good.clone()
                },
                Toy {
                    pads: vec![0, 3],
                    ..good.clone()
                },
            ] {
                for mask in read(&toy) {
                    assert_eq!(
                        (mask.causal, mask.window),
                        (toy.causal, toy.window),
                        "{toy:?}"
                    );
                    let count = |b: usize| mask.padded[b].iter().filter(|p| **p).count();
                    assert_eq!(vec![count(0), count(1)], toy.pads, "{toy:?}");
                }
            }
        }
    }

    #[test]
    fn a_diagonal_moved_down_hides_the_query_itself() {
        let toy = Toy {
            causal: Some(-1),
            ..Toy::default()
        };
        assert_eq!(read(&toy)[0].causal, Some(-1));
    }

    #[test]
    fn each_difference_has_its_cause() {
        let causal = Mask::causal(1, 4);
        let with = |f: &dyn Fn(&mut Mask)| {
            let mut m = causal.clone();
            f(&mut m);
            difference(&causal, &m).map(|d| d.0.id)
        };
        assert_eq!(with(&|_| {}), None);
        assert_eq!(with(&|m| m.causal = None), Some("causal_mask_missing"));
        assert_eq!(
            with(&|m| m.causal = Some(1)),
            Some("causal_mask_off_by_one")
        );
        assert_eq!(with(&|m| m.window = Some(2)), Some("sliding_window_wrong"));
        assert_eq!(
            with(&|m| m.padded[0][0] = true),
            Some("padding_mask_ignored")
        );
    }
}
