//! The table of cases: a model, a fault, and where it must show first when every stage is dumped.

mod attention;
mod double;
mod dumps;
mod embedding;
mod norms;
mod residual;
mod rope;
mod weights;

use super::config::Config;
use super::faults::Fault;

/// One pair with known truth.
pub struct Case {
    pub config: fn() -> Config,
    pub fault: Fault,
    /// An independent fault behind the first.
    pub further: Option<Fault>,
    /// Keys where the fault enters, the first in pipeline order first; empty where nothing may be called divergent.
    pub first: &'static [&'static str],
}

/// A row of a table.
const fn row(config: fn() -> Config, fault: Fault, first: &'static [&'static str]) -> Case {
    Case {
        config,
        fault,
        further: None,
        first,
    }
}

/// A row with a second fault behind the first.
const fn both(
    config: fn() -> Config,
    fault: Fault,
    further: Fault,
    first: &'static [&'static str],
) -> Case {
    Case {
        config,
        fault,
        further: Some(further),
        first,
    }
}

impl Case {
    /// The faults of this case, the first to show first.
    pub fn faults(&self) -> Vec<&Fault> {
        std::iter::once(&self.fault).chain(&self.further).collect()
    }
}

/// Every case, by chapter of the catalogue of causes.
pub const CASES: &[&[Case]] = &[
    embedding::CASES,
    norms::CASES,
    weights::CASES,
    rope::CASES,
    attention::CASES,
    residual::CASES,
    dumps::CASES,
    double::CASES,
];

/// Every case under a name of its own: cause, family, and a number.
pub fn named() -> Vec<(String, &'static Case)> {
    let mut seen = std::collections::BTreeMap::new();
    CASES
        .iter()
        .flat_map(|chapter| chapter.iter())
        .map(|case| {
            let and = case
                .further
                .map_or(String::new(), |f| format!("+{}", f.cause()));
            let stem = format!("{}{and}-{}", case.fault.cause(), (case.config)().family);
            let n = seen
                .entry(stem.clone())
                .and_modify(|n| *n += 1)
                .or_insert(0);
            (format!("{stem}-{n}"), case)
        })
        .collect()
}
