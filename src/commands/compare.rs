//! `tdiff REFERENCE CANDIDATE`: the report, as it is shown and as it is written to files.

use crate::config::Config;
use crate::report::{REPORTERS, Report, Status, Style, reporter_for};
use crate::run::{Progress, run};
use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes the report in the format that `format` names, and to `outputs` in those that their extensions choose; the exit code
/// is that of the verdict.
pub fn execute(
    config: &Config,
    format: &str,
    style: &Style,
    outputs: &[PathBuf],
    bar: bool,
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
    let bar = progress_bar(bar);
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
        .filter(|t| t.status == Status::Unreadable)
    {
        writeln!(err, "tdiff: {}", row.reason)?;
    }
    let reporter = REPORTERS
        .iter()
        .find(|r| r.name() == format)
        .ok_or_else(|| anyhow!("no format `{format}`"))?;
    let shown = reporter
        .write(&report, style, out)
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
