//! One file per format; the table decides who reads what.

use super::Format;

/// Every format, in the order in which they are asked. The first one whose `sniff` agrees reads the file.
pub const FORMATS: &[&dyn Format] = &[];
