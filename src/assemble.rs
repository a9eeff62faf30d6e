//! Facts, verdicts and causes become the report.

use crate::compare::metric::{METRICS, Metric};
use crate::compare::{self, Grade, PairStats};
use crate::config::Config;
use crate::diagnose::Conclusion;
use crate::dump::{PrintedStats, Tensor, unravel};
use crate::judge::Finding;
use crate::localise::Graph;
use crate::note::Note;
use crate::order::{Basis, Sequence};
use crate::pairs::{Outcome, Pair};
use crate::report::{
    self, Counts, Coverage, Element, FirstDivergence, Metrics, NotCompared, Real, Report, Row,
    RowSide, SideInfo, SideStats, Status,
};
use crate::sides::Sides;
use crate::text::{self, short};
use crate::threads;
use std::sync::Arc;

/// Fewer rows than this are not worth a second thread.
const FEW: usize = 256;

/// What the pipeline knows when it is done.
pub struct Results<'a> {
    pub config: &'a Config,
    pub sides: &'a Sides,
    pub pairs: &'a [Pair],
    pub findings: &'a [Option<Finding>],
    pub graph: &'a Graph,
    pub conclusion: &'a Conclusion,
    pub order: &'a Sequence,
    pub notes: Vec<Note>,
}

impl Results<'_> {
    /// Puts the report together.
    pub fn report(self) -> Report {
        let places: Vec<usize> = (0..self.pairs.len()).collect();
        let tensors: Vec<Row> = threads::map(&places, FEW, |&i| self.row(i));
        let counts = count(&tensors);
        let first = self.conclusion.localisation.first();
        let found = &self.conclusion.localisation;
        let earliest = self.earliest();
        let certain = earliest.len() < 2;
        let origins = (0..self.pairs.len()).filter(|i| found.origin[*i] && !earliest.contains(i));
        let origins: Vec<usize> = match certain {
            true => (0..self.pairs.len()).filter(|i| found.origin[*i]).collect(),
            false => earliest.iter().copied().chain(origins).collect(),
        };
        let coverage = self.coverage(&tensors);
        let verdict = self.verdict(&counts, &coverage);
        Report {
            schema: 1,
            tool: concat!("tdiff ", env!("CARGO_PKG_VERSION")).into(),
            reference: side_info(&self.sides.reference),
            candidate: side_info(&self.sides.candidate),
            verdict,
            exit_code: match verdict {
                report::Outcome::Agreed => 0,
                report::Outcome::Diverged | report::Outcome::Incomplete => 1,
                report::Outcome::Unreadable => 2,
            },
            coverage,
            counts,
            first_divergence: first.map(|i| self.first_divergence(i, &earliest)),
            origins: origins
                .iter()
                .map(|&i| self.pairs[i].key.to_string())
                .collect(),
            diagnosis: self.conclusion.diagnosis.clone(),
            notes: self.notes,
            order: match certain {
                true => self.order.basis.name().into(),
                false => Basis::Unknown.name().into(),
            },
            tensors,
        }
    }

    /// The places where it may have begun: one, or several where nothing tells which of them runs first.
    fn earliest(&self) -> Vec<usize> {
        let found = &self.conclusion.localisation;
        let begins = |i: &usize| {
            // one that only stands behind another may have been computed before it
            found.diverged[*i] && !found.healed[*i] && (found.origin[*i] || self.graph.assumed[*i])
        };
        let of: Vec<usize> = (0..self.pairs.len()).filter(begins).collect();
        self.order.earliest(&of)
    }

    /// Diverged before unreadable before incomplete before agreed.
    fn verdict(&self, counts: &Counts, coverage: &Coverage) -> report::Outcome {
        let lacks = counts.missing_in_candidate > 0 || !coverage.not_compared.is_empty();
        if self.conclusion.localisation.diverged.contains(&true) {
            report::Outcome::Diverged
        } else if counts.unreadable > 0 {
            report::Outcome::Unreadable
        } else if lacks && !self.config.allow_missing {
            report::Outcome::Incomplete
        } else {
            report::Outcome::Agreed
        }
    }

    fn coverage(&self, rows: &[Row]) -> Coverage {
        let of = |row: &Row| match (&row.reference, row.of) {
            (Some(side), 0) => side.shape.iter().product::<usize>() as u64,
            (_, of) => of,
        };
        let mut not_compared = Vec::new();
        let mut lacks = |what: String, tensors: usize| {
            not_compared.push(NotCompared { what, tensors });
        };
        let found = &self.conclusion.localisation;
        let apart = self.pairs.iter().zip(&found.diverged);
        let apart = apart.filter(|(p, d)| matches!(p.outcome, Outcome::Incomparable(_)) && !**d);
        match apart.count() {
            0 => {}
            n => lacks(
                format!(
                    "{} without a sure partner of its shape",
                    text::count(n, "tensor")
                ),
                n,
            ),
        }
        let parts: Vec<u64> = self
            .pairs
            .iter()
            .map(|p| p.not_compared()[0])
            .filter(|n| *n > 0)
            .collect();
        if !parts.is_empty() {
            let elements: u64 = parts.iter().sum();
            let what = format!(
                "{elements} elements of {} of the reference",
                text::count(parts.len(), "tensor")
            );
            lacks(what, parts.len());
        }
        if self.notes.iter().any(|n| n.id == "lines_not_read") {
            lacks("lines with values that no tensor was read from".into(), 0);
        }
        Coverage {
            compared: rows.iter().map(|r| r.compared).sum(),
            of: rows.iter().map(of).sum(),
            not_compared,
        }
    }

    fn first_divergence(&self, i: usize, earliest: &[usize]) -> FirstDivergence {
        let pair = &self.pairs[i];
        let name = |t: &Option<Arc<Tensor>>| t.as_ref().map(|t| t.name.clone());
        let found = &self.conclusion.localisation;
        let agreeing = self.graph.parents[i]
            .iter()
            .filter(|&&p| !found.diverged[p]);
        FirstDivergence {
            key: pair.key.to_string(),
            step: pair.key.step,
            layer: pair.key.layer,
            stage: pair.key.stage.map(|s| s.to_string()),
            reference: name(&pair.reference),
            candidate: name(&pair.candidate),
            agreeing_before: agreeing.map(|&p| self.pairs[p].key.to_string()).collect(),
            not_dumped_between: self.graph.skipped[i].clone(),
            propagates: !found.healed[i],
            certain: earliest.len() < 2,
            earliest: earliest
                .iter()
                .map(|&i| self.pairs[i].key.to_string())
                .collect(),
            worst: worst(pair),
        }
    }

    fn row(&self, i: usize) -> Row {
        let pair = &self.pairs[i];
        let (status, reason) = self.status(i);
        let stats = pair.stats();
        let (compared, of) = pair.known();
        let sides = pair.aligned.as_ref();
        let side = |side: usize,
                    aligned: Option<&Tensor>,
                    facts: Option<&compare::Side>,
                    printed: Option<&PrintedStats>| {
            let tensor = [&pair.reference, &pair.candidate][side].as_deref()?;
            let row = row_side(tensor, aligned.unwrap_or(tensor), facts, printed);
            Some(RowSide {
                made_of: pair.made[side].as_ref().map(|m| m.how.clone()),
                ..row
            })
        };
        let (printed_r, printed_c) = match &pair.outcome {
            Outcome::Statistics(sides) => (Some(&sides[0]), Some(&sides[1])),
            _ => (None, None),
        };
        Row {
            key: pair.key.to_string(),
            step: pair.key.step,
            layer: pair.key.layer,
            stage: pair.key.stage.map(|s| s.to_string()),
            reference: side(
                0,
                sides.map(|s| &*s.0),
                stats.map(|s| &s.reference),
                printed_r,
            ),
            candidate: side(
                1,
                sides.map(|s| &*s.1),
                stats.map(|s| &s.candidate),
                printed_c,
            ),
            status,
            grade: stats.map(Grade::of),
            reason,
            metrics: metrics(stats),
            compared,
            of,
            layout: pair.layout.clone(),
            worst: worst(pair),
            logits: pair.logits.clone(),
        }
    }

    fn status(&self, i: usize) -> (Status, String) {
        let found = &self.conclusion.localisation;
        match (&self.pairs[i].outcome, &self.findings[i]) {
            (Outcome::MissingInCandidate, _) => (
                Status::MissingInCandidate,
                "the candidate has no such tensor".into(),
            ),
            (Outcome::MissingInReference, _) => (
                Status::MissingInReference,
                "the reference has no such tensor".into(),
            ),
            (Outcome::Unreadable(lost), _) => (Status::Unreadable, lost.error.clone()),
            (Outcome::Incomparable(why), _) => (Status::Incomparable, why.clone()),
            (Outcome::Pending, _) | (_, None) => (Status::Unreadable, "not compared".into()),
            (outcome, Some(finding)) => {
                let same = matches!(outcome, Outcome::Compared(s) if s.diff.identical && s.diff.nan_one_side + s.diff.inf_mismatch == 0);
                let (compared, of) = self.pairs[i].known();
                let status = match (found.diverged[i], same && compared == of) {
                    (true, _) => Status::Diverged,
                    (false, true) => Status::Identical,
                    (false, false) => Status::Agreed,
                };
                let reason = match (&self.conclusion.excuses[i], finding) {
                    (Some(layout), _) => format!("another layout: {layout}"),
                    (None, Finding::Settled { reason, .. }) => reason.clone(),
                    (None, Finding::Error { .. }) if same => {
                        let part = match compared < of {
                            true => format!(" in {compared} of {of} elements"),
                            false => String::new(),
                        };
                        format!("the same values bit for bit{part}")
                    }
                    (None, Finding::Error { error, of, .. }) => {
                        let relation = if found.diverged[i] {
                            "exceeds"
                        } else {
                            "is within"
                        };
                        format!(
                            "{of} {} {relation} {}, what rounding and the inputs explain",
                            short(*error),
                            short(found.bound[i])
                        )
                    }
                };
                (status, reason)
            }
        }
    }
}

fn side_info(side: &crate::sides::Side) -> SideInfo {
    SideInfo {
        path: side.path.display().to_string(),
        tensors: side.tensors.len(),
        tag: side.tag.clone(),
    }
}

fn count(rows: &[Row]) -> Counts {
    let mut c = Counts::default();
    for row in rows {
        match row.status {
            Status::Identical | Status::Agreed | Status::Diverged => c.compared += 1,
            Status::Incomparable => c.incomparable += 1,
            Status::MissingInCandidate => c.missing_in_candidate += 1,
            Status::MissingInReference => c.missing_in_reference += 1,
            Status::Unreadable => c.unreadable += 1,
        }
        c.diverged += usize::from(row.status == Status::Diverged);
        match row.grade {
            Some(Grade::Identical) => c.identical += 1,
            Some(Grade::Excellent) => c.excellent += 1,
            Some(Grade::Good) => c.good += 1,
            Some(Grade::Acceptable) => c.acceptable += 1,
            Some(Grade::Significant) => c.significant += 1,
            None => {}
        }
    }
    c
}

fn worst(pair: &Pair) -> Option<Element> {
    let stats = pair.stats()?;
    let (r, _) = pair.aligned.as_ref()?;
    let at = stats.diff.first_non_finite_mismatch.or(stats.diff.worst)?;
    // in the axes that are shown: those of the reference's dump, or those it was read with
    let dumped = pair.reference.as_ref();
    let dumped = dumped.filter(|t| t.guess.is_none() && !Arc::ptr_eq(t, r));
    let index = dumped.and_then(|dumped| match &pair.views {
        Some(views) => Some(views.reference.index(at.position)),
        None => r.index_in(dumped, at.position),
    });
    Some(Element {
        index: index.unwrap_or_else(|| unravel(at.position, r.info.shape())),
        reference: Real(at.reference),
        candidate: Real(at.candidate),
    })
}

fn metrics(stats: Option<&PairStats>) -> Metrics {
    let value = |m: &Metric| stats.and_then(|s| (m.value)(s)).map(Real);
    Metrics(METRICS.iter().map(value).collect())
}

fn row_side(
    tensor: &Tensor,
    read_as: &Tensor,
    facts: Option<&compare::Side>,
    printed: Option<&PrintedStats>,
) -> RowSide {
    let shape = if tensor.guess.is_some() {
        read_as.info.shape()
    } else {
        tensor.info.shape()
    };
    RowSide {
        name: tensor.name.clone(),
        path: tensor.origin.path.display().to_string(),
        dtype: read_as.info.dtype().name().into(),
        shape: shape.to_vec(),
        made_of: None,
        precision: facts.map(|f| f.precision.name().into()),
        stats: facts.map(side_stats).or_else(|| printed.map(printed_stats)),
    }
}

fn side_stats(s: &compare::Side) -> SideStats {
    let finite = s.count - s.nan - s.pos_inf - s.neg_inf;
    let n = finite as f64;
    let some = |x: f64| (finite > 0).then_some(Real(x));
    SideStats {
        count: s.count,
        mean: some(s.mean),
        std: some(s.std),
        min: some(s.min),
        max: some(s.max),
        rms: some(s.l2 / n.sqrt()),
        nan: s.nan,
        inf: s.pos_inf + s.neg_inf,
        zeros: s.zeros,
    }
}

fn printed_stats(s: &PrintedStats) -> SideStats {
    let value = |r: Option<crate::dump::Rounded>| r.map(|r| Real(r.value));
    SideStats {
        count: s.count.unwrap_or(0),
        mean: value(s.mean),
        std: value(s.std),
        min: value(s.min),
        max: value(s.max),
        rms: None,
        nan: 0,
        inf: 0,
        zeros: 0,
    }
}
