//! Text: numbers in lines, prints, logs.
//!
//! A tensor read from text is complete, partial (some elements at known places) or known by its statistics alone.

mod census;
mod decode;
mod digits;
mod elements;
mod excerpt;
mod found;
mod ggml;
mod header;
mod label;
mod layout;
mod libtorch;
mod log;
mod nest;
mod number;
mod numbers;
mod preamble;
mod print;
pub mod quoted;
mod run;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod unread;

pub use log::Log;
pub use numbers::Numbers;

use std::path::Path;

/// The first line with something in it; `None` for the start of a file that is no text.
pub fn first_line(head: &[u8]) -> Option<String> {
    let encoding = source::Encoding::of(head)?;
    let text = source::decode(head, encoding);
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|l| !l.is_empty())?;
    Some(unread::shown(line))
}

/// Whether the file is written for people or compilers: numbers in it are examples.
fn is_source(path: &Path) -> bool {
    const SOURCES: &[&str] = &[
        "md", "rst", "html", "htm", "xml", "yaml", "yml", "toml", "ini", "cfg", "py", "ipynb",
        "rs", "c", "h", "cc", "cpp", "cxx", "hpp", "cu", "cuh", "js", "ts", "go", "java", "sh",
        "bat", "tex", "svg", "patch", "diff",
    ];
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| SOURCES.contains(&e.to_ascii_lowercase().as_str()))
}
