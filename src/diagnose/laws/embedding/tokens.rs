//! Which rows of the table were read: rows of other ids, rows of other places, some rows of a table in another order.

use super::super::trial::Trial;
use super::head::Head;
use super::table::{Rows, cosine};
use crate::causes::{self, Cause};
use crate::diagnose::{Site, Suspicion};
use crate::name::{Key, Stage};
use crate::text::rough;

/// Rows further apart than this are rows of different tokens.
const UNRELATED: f64 = 0.3;
/// Tokens that are looked at.
const MOST: usize = 256;

/// Both sides' rows at one stage.
pub struct Lookup<'a> {
    pub reference: &'a Rows,
    pub candidate: &'a Rows,
    pub noise: f64,
    pub key: Key,
}

impl Lookup<'_> {
    /// Rows that differ by no more than this are one row.
    fn tolerance(&self) -> f64 {
        (3.0 * self.noise).clamp(1e-5, 0.1)
    }

    fn suspicion(
        &self,
        cause: &'static Cause,
        title: String,
        trial: Trial,
        evidence: Vec<String>,
    ) -> Suspicion {
        Suspicion {
            cause,
            key: self.key.clone(),
            title,
            before: trial.before,
            after: trial.after,
            evidence,
        }
    }

    /// Candidate row t = reference row t + k.
    pub fn shift(&self, cause: &'static Cause) -> Option<Suspicion> {
        let (r, c) = (self.reference, self.candidate);
        let most = (r.tokens / 2).min(64) as i64;
        let trials = (-most..=most).filter(|k| *k != 0).filter_map(|k| {
            let pairs = c.shifted(k);
            let still: Vec<(usize, usize)> = pairs.iter().map(|(i, _)| (*i, *i)).collect();
            let trial = Trial {
                before: c.distance(r, &still),
                after: c.distance(r, &pairs),
            };
            (pairs.len() >= 2).then_some((k, pairs.len(), trial))
        });
        let (k, rows, trial) = trials.min_by(|a, b| {
            a.2.after
                .total_cmp(&b.2.after)
                .then(a.0.abs().cmp(&b.0.abs()))
        })?;
        trial.convinces(self.noise).then(|| {
            let what = if cause == causes::POSITION_OFFSET {
                "positions"
            } else {
                "tokens"
            };
            let title = format!(
                "the candidate's row t is the reference's row t {} {}: {what} are off by {}",
                sign(k),
                k.abs(),
                k.abs()
            );
            self.suspicion(
                cause,
                title,
                trial,
                vec![format!("{rows} rows, shifted by {k}: {}", trial.text())],
            )
        })
    }

    /// All rows are other rows of the same table: `ids` tell by how much, else rows of other tokens or a tied head.
    pub fn offset(&self, ids: Option<&Rows>, head: Option<&Head>) -> Option<Suspicion> {
        let (r, c) = (self.reference, self.candidate);
        let n = r.count().min(MOST);
        let all_wrong =
            (0..n).all(|i| c.apart(r, i) > UNRELATED && cosine(c.row(i), r.row(i)) < 0.95);
        if n == 0 || !all_wrong {
            return None;
        }
        let before = c.distance(r, &(0..n).map(|i| (i, i)).collect::<Vec<_>>());
        self.offset_by_rows(n, ids, before)
            .or_else(|| self.offset_by_head(n, head?, before))
            .or_else(|| self.offset_by_pattern(n, before))
    }

    fn offset_by_rows(&self, n: usize, ids: Option<&Rows>, before: f64) -> Option<Suspicion> {
        let (r, c) = (self.reference, self.candidate);
        let exact = |i: usize, j: usize| c.distance(r, &[(i, j)]) <= self.tolerance();
        let found: Vec<(usize, usize)> = (0..n)
            .filter_map(|i| Some((i, (0..n).find(|&j| exact(i, j))?)))
            .collect();
        let first = found.first()?;
        let trial = Trial {
            before,
            after: c.distance(r, &found),
        };
        let mut evidence = vec![format!(
            "{} of {n} rows are the reference's rows of other tokens: {}",
            found.len(),
            trial.text()
        )];
        let by = ids.map(|ids| {
            let id = |i: usize| ids.row(i)[0];
            let offsets: Vec<f64> = found.iter().map(|(i, j)| id(*j) - id(*i)).collect();
            let agree = offsets.iter().all(|o| *o == offsets[0]);
            agree.then_some(offsets[0])
        });
        let title = match by {
            // the matches contradict one offset
            Some(None) => return None,
            Some(Some(by)) => format!("the candidate looks up id {} {}", if by < 0.0 { "−" } else { "+" }, by.abs()),
            None => "the candidate looks up other ids: its rows are the reference's rows of other tokens".into(),
        };
        evidence.push(format!(
            "row {} of the candidate is row {} of the reference",
            first.0, first.1
        ));
        trial
            .convinces(self.noise)
            .then(|| self.suspicion(causes::TOKEN_ID_OFFSET, title, trial, evidence))
    }

    fn offset_by_head(&self, n: usize, head: &Head, before: f64) -> Option<Suspicion> {
        let (r, c) = (self.reference, self.candidate);
        let (mut offsets, mut worst) = (Vec::new(), 0.0f64);
        for i in 0..n.min(16) {
            let (own, error) = head.id(&head.column(r.row(i)))?;
            let (other, error_c) = head.id(&head.column(c.row(i)))?;
            worst = worst.max(error).max(error_c);
            offsets.push((own, other as i64 - own as i64));
        }
        let by = offsets.first()?.1;
        let trial = Trial {
            before,
            after: worst,
        };
        (offsets.iter().all(|o| o.1 == by) && by != 0 && trial.convinces(self.noise)).then(|| {
            let evidence = format!(
                "by the columns of the logits the rows belong to the ids {:?} of the reference, each {} {} in the candidate: {}",
                offsets.iter().map(|o| o.0).collect::<Vec<_>>(),
                sign(by),
                by.abs(),
                trial.text()
            );
            self.suspicion(causes::TOKEN_ID_OFFSET, format!("the candidate looks up id {} {}", sign(by), by.abs()), trial, vec![evidence])
        })
    }

    /// Nothing shows which rows were read, only that rows of a table were: equal tokens have equal rows on both sides. The
    /// rest stays open, so what is left is the share of the rows that no repetition speaks for (half, if there is none).
    fn offset_by_pattern(&self, n: usize, before: f64) -> Option<Suspicion> {
        let (r, c) = (self.reference, self.candidate);
        let rms = |rows: &Rows| {
            (0..n)
                .flat_map(|i| rows.row(i))
                .map(|x| x * x)
                .sum::<f64>()
                .sqrt()
        };
        let alike = (rms(c) / rms(r)).ln().abs() < 0.5;
        let (repeats_r, repeats_c) = (r.repeats(self.tolerance()), c.repeats(self.tolerance()));
        if !alike || repeats_r[..n] != repeats_c[..n] || n < 2 {
            return None;
        }
        let repeated = (0..n)
            .filter(|&i| (0..n).any(|j| j != i && repeats_r[j] == repeats_r[i]))
            .count();
        let after = before * (0.5 - 0.25 * repeated as f64 / n as f64);
        let evidence = vec![
            format!("all {n} rows differ, with the same magnitude (rms ratio {})", rough(rms(c) / rms(r))),
            match repeated {
                0 => "no token repeats, and no row is another token's: which ids were read cannot be shown".into(),
                _ => format!("the {repeated} rows of repeated tokens are equal among each other on both sides: rows of a table"),
            },
        ];
        let title = "the candidate looks up other rows of the table: shifted ids, or a table in another order".into();
        Some(self.suspicion(
            causes::TOKEN_ID_OFFSET,
            title,
            Trial { before, after },
            evidence,
        ))
    }

    /// Some tokens have rows of other tokens, all others are right.
    pub fn wrong_rows(&self, ids: Option<&Rows>) -> Option<Suspicion> {
        let (r, c) = (self.reference, self.candidate);
        let n = r.count();
        let wrong: Vec<bool> = (0..n)
            .map(|i| c.apart(r, i) > UNRELATED && cosine(c.row(i), r.row(i)) < 0.95)
            .collect();
        let apart: Vec<usize> = (0..n).filter(|&i| wrong[i]).collect();
        let fine: Vec<(usize, usize)> = (0..n).filter(|&i| !wrong[i]).map(|i| (i, i)).collect();
        let empty = |i: &usize| {
            c.row(*i)
                .iter()
                .all(|x| *x == c.row(*i)[0] || !x.is_finite())
        };
        if apart.is_empty() || fine.is_empty() || apart.iter().any(empty) {
            return None;
        }
        let trial = Trial {
            before: c.distance(r, &(0..n).map(|i| (i, i)).collect::<Vec<_>>()),
            after: c.distance(r, &fine),
        };
        // a table in another order is wrong for a token wherever it stands
        let repeats = r.repeats(self.tolerance());
        let consistent = (0..n).all(|i| {
            wrong[i] == wrong[repeats[i]]
                && (!wrong[i] || c.distance(c, &[(i, repeats[i])]) <= self.tolerance())
        });
        if !consistent || !trial.convinces(self.noise) {
            return None;
        }
        let mut evidence = vec![format!(
            "{} of {n} rows are wrong, the others agree: without them {}",
            apart.len(),
            trial.text()
        )];
        let repeated = apart.iter().filter(|&&i| repeats[i] != i).count();
        if repeated > 0 {
            evidence.push(format!(
                "{repeated} repetitions of wrong tokens are wrong in the same way"
            ));
        }
        if let Some(ids) = ids {
            let id = |i: usize| ids.row(i)[0];
            let least = apart.iter().map(|i| id(*i)).fold(f64::INFINITY, f64::min);
            let below = fine.iter().filter(|(i, _)| id(*i) >= least).count();
            if below == 0 {
                evidence.push(format!(
                    "every wrong token has an id of {least} or more, every right one a smaller id"
                ));
            }
        }
        let title = format!(
            "{} of {n} tokens read wrong rows of the table, all others are right",
            apart.len()
        );
        Some(self.suspicion(causes::EMBEDDING_WRONG_ROWS, title, trial, evidence))
    }
}

fn sign(k: i64) -> &'static str {
    if k < 0 { "−" } else { "+" }
}

/// Token ids that differ by a constant, or by their place.
pub fn ids(reference: &Site<'_>, candidate: &Site<'_>) -> Vec<Suspicion> {
    let rows = |site: &Site<'_>| Rows::new(&site.dumped(Stage::INPUT_IDS)?, true);
    let (Some(r), Some(c)) = (rows(reference), rows(candidate)) else {
        return Vec::new();
    };
    if !r.same_size(&c) {
        return Vec::new();
    }
    let key = candidate.key(Stage::INPUT_IDS);
    let wrong = |pairs: &[(usize, usize)], by: f64| {
        let unequal = pairs
            .iter()
            .filter(|(i, j)| c.row(*i)[0] - by != r.row(*j)[0])
            .count();
        unequal as f64 / pairs.len().max(1) as f64
    };
    let still: Vec<(usize, usize)> = (0..r.count()).map(|i| (i, i)).collect();
    let before = wrong(&still, 0.0);
    // ids at the ends of the vocabulary wrap around or are clamped: the commonest difference is the offset
    let differences: Vec<f64> = (0..r.count()).map(|i| c.row(i)[0] - r.row(i)[0]).collect();
    let count = |x: f64| differences.iter().filter(|d| **d == x).count();
    let by = differences
        .iter()
        .copied()
        .max_by_key(|d| count(*d))
        .unwrap_or(0.0);
    let mut out = Vec::new();
    let constant = Trial {
        before,
        after: wrong(&still, by),
    };
    if by != 0.0 && constant.convinces(0.0) {
        let title = format!(
            "the candidate's token ids are the reference's {} {}",
            if by < 0.0 { "−" } else { "+" },
            by.abs()
        );
        out.push((causes::TOKEN_ID_OFFSET, title, constant));
    }
    let most = (r.tokens / 2).min(64) as i64;
    let shifts = (-most..=most).filter(|k| *k != 0).map(|k| {
        (
            k,
            Trial {
                before,
                after: wrong(&c.shifted(k), 0.0),
            },
        )
    });
    if let Some((k, trial)) = shifts.min_by(|a, b| {
        a.1.after
            .total_cmp(&b.1.after)
            .then(a.0.abs().cmp(&b.0.abs()))
    }) && trial.convinces(0.0)
    {
        let title = format!(
            "the candidate's token t is the reference's token t {} {}",
            sign(k),
            k.abs()
        );
        out.push((causes::SEQUENCE_SHIFT, title, trial));
    }
    let suspicion = |(cause, title, trial): (&'static Cause, String, Trial)| Suspicion {
        cause,
        key: key.clone(),
        title,
        before: trial.before,
        after: trial.after,
        evidence: vec![format!(
            "share of ids that differ: {} → {}",
            rough(trial.before),
            rough(trial.after)
        )],
    };
    out.into_iter().map(suspicion).collect()
}
