//! Parses, runs, writes, and ends with the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use tdiff::cli;
use tdiff::commands;
use tdiff::simd::Isa;

fn main() -> ExitCode {
    if let Some(name) = std::env::var_os("TDIFF_ISA") {
        match name.to_str().and_then(Isa::parse) {
            Some(isa) => isa.limit(),
            None => {
                eprintln!("tdiff: TDIFF_ISA={name:?}: avx512, avx2 or baseline");
                return ExitCode::from(2);
            }
        }
    }
    let request = match cli::parse(std::env::args_os().collect()) {
        Ok(request) => request,
        Err(error) => return usage(&error),
    };
    let terminal = commands::Terminal {
        stdout_is_terminal: io::stdout().is_terminal(),
        stderr_is_terminal: io::stderr().is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()),
        columns: columns(),
    };
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let result =
        commands::execute(request, &terminal, &mut out, &mut io::stderr()).and_then(|code| {
            match out.flush() {
                // who closed the pipe has seen enough; the verdict stands
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code),
                flushed => Ok(flushed.map(|()| code)?),
            }
        });
    match result {
        Ok(code) => ExitCode::from(code),
        // a closed pipe ends quietly
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tdiff: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn usage(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<clap::Error>() {
        Some(clap) => {
            let _ = clap.print();
            ExitCode::from(if clap.use_stderr() { 2 } else { 0 })
        }
        None => {
            eprintln!("tdiff: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Columns of the terminal, 80 where there is none.
fn columns() -> u16 {
    let size = if io::stdout().is_terminal() {
        comfy_table::Table::new().width()
    } else {
        None
    };
    size.filter(|w| *w >= 40).unwrap_or(80)
}
