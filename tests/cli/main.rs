//! The one integration test binary.

mod allocation;
mod check;
mod commands;
mod coverage;
mod formats;
mod invariants;
mod joins;
mod logs;
mod mistakes;
#[path = "../model/mod.rs"]
mod model;
mod models;
mod producers;
mod readme;
mod reports;
mod rooms;
mod suggest;
mod weights;
