//! Carries out a request: each subcommand in a few lines, written to the streams it is given.

use crate::cli::{Color, Request, View};
use crate::config::Config;
use crate::report::{REPORTERS, Report, Style, reporter_for};
use crate::run::{Progress, plan, run};
use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is known of the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
    pub no_color: bool,
    pub columns: u16,
}

/// Columns of the terminal, 80 where there is none.
pub fn columns() -> u16 {
    use std::io::IsTerminal;
    let size = if std::io::stdout().is_terminal() {
        comfy_table::Table::new().width()
    } else {
        None
    };
    size.filter(|w| *w >= 40).unwrap_or(80)
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
    match request {
        Request::Compare {
            config,
            view,
            outputs,
        } => {
            threads(&view);
            compare(&config, &view, &outputs, terminal, out, err)
        }
        Request::Pairs { config, view } => {
            threads(&view);
            crate::report::pairs::write(&plan(&config)?, &view.format, out)?;
            Ok(0)
        }
        Request::Stats {
            paths,
            hints,
            json,
            view,
        } => {
            threads(&view);
            crate::stats::execute(&paths, &hints, json, &terminal.style(&view), out, err)
        }
        Request::Check {
            path,
            hints,
            json,
            view,
        } => {
            threads(&view);
            crate::check::execute(&path, &hints, json, &terminal.style(&view), out)
        }
        Request::Explain { id, view } => {
            crate::explain::execute(id.as_deref(), &terminal.style(&view), out)
        }
        Request::Completions { shell } => {
            clap_complete::generate(shell, &mut crate::cli::command(), "tdiff", out);
            Ok(0)
        }
    }
}

fn threads(view: &View) {
    if let Some(threads) = view.threads {
        crate::threads::limit(threads);
    }
}

fn compare(
    config: &Config,
    view: &View,
    outputs: &[PathBuf],
    terminal: &Terminal,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<u8> {
    // files that cannot be written are found before the long run
    let mut files = Vec::new();
    for path in outputs {
        let reporter = reporter_for(path).map_err(|e| anyhow!(e))?;
        let is_new = !path.exists();
        // what is there stays until there is something to write
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        files.push((reporter, file, path, is_new));
    }
    let bar = progress_bar(terminal.stderr_is_terminal && !view.quiet);
    let hidden = bar.is_hidden();
    let report = run(config, &|progress| match progress {
        // of many small files each would ask the clock
        _ if hidden => {}
        Progress::Total(bytes) => bar.set_length(bytes),
        Progress::Bytes(bytes) => bar.inc(bytes),
    });
    bar.finish_and_clear();
    if report.is_err() {
        for (_, _, path, _) in files.iter().filter(|(_, _, _, is_new)| *is_new) {
            let _ = std::fs::remove_file(path);
        }
    }
    let report = report?;
    for row in report
        .tensors
        .iter()
        .filter(|t| t.status == crate::report::Status::Unreadable)
    {
        writeln!(err, "tdiff: {}", row.reason)?;
    }
    let style = terminal.style(view);
    let reporter = REPORTERS
        .iter()
        .find(|r| r.name() == view.format)
        .ok_or_else(|| anyhow!("no format `{}`", view.format))?;
    let shown = reporter
        .write(&report, &style, out)
        .and_then(|()| out.flush());
    // who closed the pipe has seen enough; the verdict stands
    shown.or_else(|e| {
        if e.kind() == io::ErrorKind::BrokenPipe {
            Ok(())
        } else {
            Err(e)
        }
    })?;
    for (reporter, file, path, _) in files {
        if is_input(path, &report) {
            bail!(
                "-o {}: it is one of the files that were compared",
                path.display()
            );
        }
        file.set_len(0)?;
        let mut file = BufWriter::new(file);
        reporter.write(
            &report,
            &Style {
                all: true,
                quiet: false,
                color: false,
                width: 120,
            },
            &mut file,
        )?;
        file.flush()?;
    }
    Ok(report.exit_code)
}

/// Whether a tensor of the report was read from this file.
fn is_input(path: &Path, report: &Report) -> bool {
    let Ok(file) = path.canonicalize() else {
        return false;
    };
    let sides = report
        .tensors
        .iter()
        .flat_map(|row| [&row.reference, &row.candidate]);
    sides.flatten().any(|side| {
        Path::new(&side.path)
            .canonicalize()
            .is_ok_and(|p| p == file)
    })
}

/// Shown only when the work lasts.
fn progress_bar(visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}
