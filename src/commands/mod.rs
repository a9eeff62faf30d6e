//! Carries out a request: one file per subcommand, which writes to the streams that it is given.

mod check;
mod compare;
mod completions;
mod explain;
mod pairs;
mod stats;

use crate::cli::{Color, Request, View};
use crate::graph;
use crate::report::Style;
use anyhow::{Context, Result};
use std::io::Write;
use std::path::PathBuf;

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

/// Reads the nodes of the user's own architectures.
fn learn(paths: &[PathBuf]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("--model {name}"))?;
        Ok((name, text))
    };
    let files = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    Ok(graph::learn(&files)?)
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
    if let Some(view) = request.view() {
        learn(&view.models)?;
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
