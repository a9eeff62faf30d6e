//! The tensors of both sides, brought together: what every step after pairing works on.

mod align;
mod compare;
mod masks;
mod pair;
mod sums;

pub use align::align_all;
pub use compare::compare_all;
pub use pair::{Lost, Made, Outcome, Pair, Part};
