//! The table of metrics: numbers derived from the facts of a pair.

use super::PairStats;

/// A number about a pair.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name in output and in `--max`, `--min`.
    pub id: &'static str,
    /// What it is, with its formula.
    pub help: &'static str,
    /// `None` where it is undefined.
    pub value: fn(&PairStats) -> Option<f64>,
    pub better: Better,
}

/// Which way is good, and so which kind of limit makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// 0 is best.
    Lower,
    Higher,
    /// 1 is best.
    One,
}

/// Every metric, in the order of the reports.
pub const METRICS: &[Metric] = &[
    Metric {
        id: "max_abs",
        help: "largest absolute difference: max |c − r|",
        value: |p| (p.diff.count > 0).then_some(p.diff.max_abs),
        better: Better::Lower,
    },
    Metric {
        id: "mean_abs",
        help: "mean absolute difference: mean |c − r|",
        value: |p| over(p.diff.sum_abs, p.diff.count),
        better: Better::Lower,
    },
    Metric {
        id: "max_rel",
        help: "largest relative difference: max |c − r| / |r| where r ≠ 0",
        value: |p| (p.diff.rel_count > 0).then_some(p.diff.max_rel),
        better: Better::Lower,
    },
    Metric {
        id: "mean_rel",
        help: "mean relative difference: mean |c − r| / |r| where r ≠ 0",
        value: |p| over(p.diff.sum_rel, p.diff.rel_count),
        better: Better::Lower,
    },
    Metric {
        id: "rmse",
        help: "root mean square error: √mean (c − r)²",
        value: |p| (p.diff.count > 0).then(|| p.diff.l2 / (p.diff.count as f64).sqrt()),
        better: Better::Lower,
    },
    Metric {
        id: "rel_l2",
        help: "relative error of the whole tensor: ‖c − r‖ / ‖r‖",
        value: rel_l2,
        better: Better::Lower,
    },
    Metric {
        id: "cosine",
        help: "cosine of the angle between c and r: Σcr / (‖c‖·‖r‖)",
        value: |p| p.diff.cosine,
        better: Better::Higher,
    },
    Metric {
        id: "pearson",
        help: "correlation: the cosine after each side's mean is subtracted",
        value: |p| p.diff.pearson,
        better: Better::Higher,
    },
    Metric {
        id: "snr_db",
        help: "signal to noise ratio in decibel: −20·log10(rel_l2); undefined when there is no noise",
        value: |p| rel_l2(p).filter(|x| *x > 0.0).map(|x| -20.0 * x.log10()),
        better: Better::Higher,
    },
    Metric {
        id: "scale",
        help: "best factor s in c ≈ s·r: Σcr / Σr²",
        value: |p| p.diff.scale,
        better: Better::One,
    },
    Metric {
        id: "mismatched",
        help: "elements beyond the tolerance, or NaN or infinite on one side only",
        value: |p| (p.reference.count > 0).then_some(p.diff.mismatched as f64),
        better: Better::Lower,
    },
];

/// The metric of that name.
pub fn find(id: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.id == id)
}

fn rel_l2(p: &PairStats) -> Option<f64> {
    (p.diff.reference_l2 > 0.0).then(|| p.diff.l2 / p.diff.reference_l2)
}

fn over(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}
