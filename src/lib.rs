//! tdiff: the diff of tensors.
pub mod compare;
pub mod dtype;
pub mod dump;
pub mod name;
