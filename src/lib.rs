//! tdiff: the diff of tensors.
//!
//! ```text
//!  path ─open─▶ Dump ─pair─▶ Pair ─order─▶ pairs in pipeline order
//!                │ Tensor (lazy: name, dtype, shape now; elements when asked)
//!                ▼
//!             compare ──▶ PairStats (the facts of one pass) ──judge──▶ Finding
//!                                 │                                      │
//!                                 └────────▶ localise: origins, first divergence
//!                                                      │
//!                           diagnose: relations (tensor ↔ tensor) and laws (operation ↔ its inputs)
//!                                                      │
//!                                 Report (plain data, serde) ──▶ table · json · …
//! ```
//!
//! [`run::run`] is the pipeline, read from top to bottom; every step is a module of its own. Whoever calls the library needs
//! three functions: [`compare()`], [`stats()`] and [`check()`]. Each gives plain data or one [`Error`]; none prints, ends the
//! process, or reads the environment.
//!
//! Modules use each other in one direction only: `commands → run → assemble → diagnose → localise → judge → pairs → compare →
//! dump, order → name → graph →` ground floor. What models look like is data: `models/*.toml`, read by `graph`. The ground floor knows nothing else of tdiff: `text` (numbers for people), `note`,
//! `math`, `causes`, `dtype`, `natural`, `threads` and `simd`.

pub mod align;
pub mod assemble;
pub mod causes;
pub mod check;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod config;
mod content;
pub mod diagnose;
pub mod dtype;
pub mod dump;
pub mod error;
pub mod graph;
pub mod join;
pub mod judge;
pub mod localise;
pub mod math;
pub mod name;
mod natural;
pub mod note;
pub mod order;
pub mod pairs;
pub mod report;
pub mod run;
pub mod sides;
pub mod simd;
pub mod stats;
pub mod suggest;
pub mod text;
pub mod threads;

pub use check::check;
pub use error::Error;
pub use stats::stats;

use config::Config;
use report::Report;

/// Compares two dumps (or the two sides of one) and says where and why they first diverge.
///
/// A tensor that is missing or cannot be read is no error: it stands in the report, and its verdict counts it.
///
/// ```
/// use std::path::PathBuf;
/// use tdiff::config::Config;
/// use tdiff::report::Outcome;
///
/// let report = tdiff::compare(&Config {
///     reference: "fixtures/cases/rope_theta/ref".into(),
///     candidate: Some("fixtures/cases/rope_theta/cand".into()),
///     ..Config::default()
/// })?;
/// assert_eq!(report.verdict, Outcome::Diverged);
/// assert_eq!(report.diagnosis[0].id, tdiff::causes::ROPE_THETA.id);
///
/// let figures = tdiff::stats(&[PathBuf::from("fixtures/cases/rope_theta/ref")], &Default::default())?;
/// assert_eq!(figures.tensors.len(), report.reference.tensors);
///
/// let health = tdiff::check("fixtures/cases/rope_theta/ref".as_ref(), &Default::default())?;
/// assert_eq!(health.verdict, "healthy");
///
/// let missing = tdiff::check("fixtures/no such dump".as_ref(), &Default::default());
/// assert!(matches!(missing, Err(tdiff::Error::Read(_))));
/// # Ok::<(), tdiff::Error>(())
/// ```
pub fn compare(config: &Config) -> Result<Report, Error> {
    run::run(config, &|_| {})
}
