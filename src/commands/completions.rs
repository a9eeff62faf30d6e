//! `tdiff completions`: what a shell completes, from the command line's own definition.

use anyhow::Result;
use clap_complete::Shell;
use std::io::Write;

pub fn execute(shell: Shell, mut out: &mut dyn Write) -> Result<u8> {
    clap_complete::generate(shell, &mut crate::cli::command(), "tdiff", &mut out);
    Ok(0)
}
