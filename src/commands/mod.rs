//! Carries out a request: one file per subcommand, which writes to the streams that it is given.

mod check;
mod compare;
mod completions;
mod explain;
mod pairs;
mod stats;

use crate::cli::{Color, Request, View};
use crate::report::Style;
use anyhow::Result;
use std::io::Write;

/// What is known of the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
    pub no_color: bool,
    pub columns: u16,
}

impl Terminal {
    fn style(&self, view: &View) -> Style {
        let color = match view.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => self.stdout_is_terminal && !self.no_color,
        };
        Style {
            all: view.all,
            quiet: view.quiet,
            color,
            width: self.columns,
        }
    }
}

/// Runs a request; the number is the exit code.
pub fn execute(
    request: Request,
    terminal: &Terminal,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8> {
    if let Some(threads) = request.view().and_then(|view| view.threads) {
        crate::threads::limit(threads);
    }
    let style = |view: &View| terminal.style(view);
    match request {
        Request::Compare {
            config,
            view,
            outputs,
        } => {
            let bar = terminal.stderr_is_terminal && !view.quiet;
            compare::execute(
                &config,
                &view.format,
                &style(&view),
                &outputs,
                bar,
                out,
                err,
            )
        }
        Request::Pairs { config, view } => pairs::execute(&config, &view.format, out),
        Request::Stats {
            paths,
            hints,
            json,
            view,
        } => stats::execute(&paths, &hints, json, &style(&view), out, err),
        Request::Check {
            path,
            hints,
            json,
            view,
        } => check::execute(&path, &hints, json, &style(&view), out),
        Request::Explain { id, view } => explain::execute(id.as_deref(), &style(&view), out),
        Request::Completions { shell } => completions::execute(shell, out),
    }
}
