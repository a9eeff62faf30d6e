//! The one integration test binary.

mod allocation;
mod formats;
#[path = "../model/mod.rs"]
mod model;
