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
//! [`run::run`] is the pipeline, read from top to bottom; every step is a module of its own.

#![allow(non_upper_case_globals)] // stages are written like the variants that they stand for

pub mod assemble;
pub mod causes;
pub mod check;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod config;
pub mod diagnose;
pub mod dtype;
pub mod dump;
pub mod graph;
pub mod judge;
pub mod localise;
pub mod math;
pub mod name;
mod natural;
pub mod note;
pub mod pairs;
pub mod report;
pub mod run;
pub mod sides;
pub mod simd;
pub mod stats;
pub mod text;
pub mod threads;
