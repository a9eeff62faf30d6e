//! The command line: parsed by clap, resolved to plain data.

use crate::compare::ElementTolerance;
use crate::config::{Bound, Config, Limit, Tolerance};
use crate::dtype::DType;
use crate::dump::Hints;
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What the user wants.
#[derive(Debug)]
pub enum Request {
    Compare {
        config: Box<Config>,
        view: View,
        outputs: Vec<PathBuf>,
    },
    Stats {
        paths: Vec<PathBuf>,
        hints: Hints,
        json: bool,
        view: View,
    },
    Check {
        path: PathBuf,
        hints: Hints,
        json: bool,
        view: View,
    },
    Pairs {
        config: Box<Config>,
        view: View,
    },
    Explain {
        id: Option<String>,
        view: View,
    },
    Completions {
        shell: clap_complete::Shell,
    },
}

impl Request {
    /// How its results are shown.
    pub fn view(&self) -> Option<&View> {
        match self {
            Request::Compare { view, .. }
            | Request::Stats { view, .. }
            | Request::Check { view, .. }
            | Request::Pairs { view, .. }
            | Request::Explain { view, .. } => Some(view),
            Request::Completions { .. } => None,
        }
    }
}

/// How results are made and shown.
#[derive(Clone, Debug)]
pub struct View {
    pub format: String,
    /// Files with the nodes of further architectures.
    pub models: Vec<PathBuf>,
    pub all: bool,
    pub quiet: bool,
    pub color: Color,
    pub threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The diff of tensors: where two dumps of a neural network first diverge, and why.
///
/// REFERENCE and CANDIDATE are directories, archives, single files or logs, in any mix of formats (npy, npz, safetensors, pt,
/// gguf, onnx, max, JSON of msprobe and of Hugging Face's debugger, text, logs, headerless binary). With one directory or log that holds both sides, they are told apart by a tag in
/// the names (h0_torch.npy / h0_cpp.npy).
///
/// `order` in JSON says where the order of execution came from: given (--order), manifest (the producer's own list or numbers),
/// capture (the order in an archive or log), pipeline (stages that tdiff knows), tree (the tree of module names), unknown. Where
/// names leave open what runs first, the first divergence has `"certain": false` and `origins` names all that may be it.
///
/// Exit code: 0 everything compared agrees; 1 a divergence, or a reference tensor is missing; 2 trouble (bad usage, nothing to
/// compare, unreadable files).
#[derive(Debug, Parser)]
#[command(
    name = "tdiff",
    version,
    max_term_width = 80,
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = false
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: CompareArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One-off statistics of files or whole dumps
    Stats(StatsArgs),
    /// Health of one dump: red flags, and the laws its operations obey
    Check(CheckArgs),
    /// Dry run: how names were understood, paired and ordered; nothing is compared
    Pairs(Box<CompareArgs>),
    /// What a cause, metric, stage, family, grade or note means, and what to do about it
    Explain(ExplainArgs),
    /// Shell completions on standard output
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// The side that is right: a directory, archive, file or log
    reference: Option<PathBuf>,
    /// The side under test; leave it out when REFERENCE holds both sides
    candidate: Option<PathBuf>,
    /// Relative part of the element tolerance |c−r| ≤ atol + rtol·|r|; turns the automatic tolerance off
    #[arg(long, value_name = "X", value_parser = tolerance)]
    rtol: Option<f64>,
    /// Absolute part of the element tolerance; turns the automatic tolerance off
    #[arg(long, value_name = "X", value_parser = tolerance)]
    atol: Option<f64>,
    /// Upper limit on a metric, e.g. rmse=1e-3 or 'layers.*.q_proj:max_abs=0.1'; repeatable
    #[arg(long, value_name = "[GLOB:]METRIC=VALUE", value_parser = |s: &str| Limit::parse(s, Bound::Max))]
    max: Vec<Limit>,
    /// Lower limit on a metric, e.g. cosine=0.999; repeatable
    #[arg(long, value_name = "[GLOB:]METRIC=VALUE", value_parser = |s: &str| Limit::parse(s, Bound::Min))]
    min: Vec<Limit>,
    /// A reference tensor without a candidate is reported but does not fail
    #[arg(long)]
    allow_missing: bool,
    /// Marker of the reference's names (py, torch) when it is not found by itself
    #[arg(long, value_name = "TAG")]
    ref_tag: Option<String>,
    /// Marker of the candidate's names (cpp, rust)
    #[arg(long, value_name = "TAG")]
    cand_tag: Option<String>,
    /// Rename before pairing; FROM may hold {layer} and *; 'ref:' or 'cand:' before it limits the side; repeatable
    #[arg(long, value_name = "FROM=TO")]
    map: Vec<String>,
    /// The pipeline order of names that tdiff does not know: a file with one stage or name a line
    #[arg(long, value_name = "FILE")]
    order: Option<PathBuf>,
    /// Compare only tensors whose key, stage or name matches; repeatable
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Leave out tensors whose key, stage or name matches; repeatable
    #[arg(long, value_name = "GLOB")]
    skip: Vec<String>,
    #[command(flatten)]
    hints: HintArgs,
    /// Every tensor in the table, not only what matters
    #[arg(long)]
    all: bool,
    /// What goes to standard output: table, json, …
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Also write a report, format by extension; repeatable
    #[arg(short, long = "output", value_name = "FILE")]
    output: Vec<PathBuf>,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
struct HintArgs {
    /// Element type of headerless binary files (f32, bf16, i64, …)
    #[arg(long, value_name = "D", value_parser = |s: &str| DType::parse(s).ok_or_else(|| format!("no element type `{s}`; for example f32, f16, bf16, i64")))]
    dtype: Option<DType>,
    /// Shape of headerless binary files, e.g. 1,8,64
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    shape: Option<Vec<usize>>,
}

#[derive(Debug, Args)]
struct LookArgs {
    /// Nodes of an architecture that tdiff does not know, in the form of its own models/*.toml; repeatable
    #[arg(long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// Threads [default: all cores]
    #[arg(short = 'j', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
    /// No table and no progress, only the verdict line
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct StatsArgs {
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    hints: HintArgs,
    #[arg(long, value_parser = ["table", "json"], default_value = "table")]
    format: String,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    dump: PathBuf,
    #[command(flatten)]
    hints: HintArgs,
    #[arg(long, value_parser = ["table", "json"], default_value = "table")]
    format: String,
    #[command(flatten)]
    look: LookArgs,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// A cause, metric, stage, family of stages, grade or note; leave it out for a list
    id: Option<String>,
    #[command(flatten)]
    look: LookArgs,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x >= 0.0 => Ok(x),
        Ok(_) => Err("a tolerance is a number ≥ 0".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// Parses the arguments (the program's name first). The error is clap's own where it is about usage.
pub fn parse(args: Vec<std::ffi::OsString>) -> Result<Request> {
    let cli = Cli::try_parse_from(args)?;
    match cli.command {
        None => cli.compare.compare(),
        Some(Command::Pairs(a)) => {
            let view = a.view();
            Ok(Request::Pairs {
                config: Box::new(a.config()?),
                view,
            })
        }
        Some(Command::Stats(a)) => {
            let json = a.format == "json";
            Ok(Request::Stats {
                paths: a.paths,
                hints: a.hints.hints(),
                json,
                view: a.look.view(),
            })
        }
        Some(Command::Check(a)) => {
            let json = a.format == "json";
            Ok(Request::Check {
                path: a.dump,
                hints: a.hints.hints(),
                json,
                view: a.look.view(),
            })
        }
        Some(Command::Explain(a)) => Ok(Request::Explain {
            id: a.id,
            view: a.look.view(),
        }),
        Some(Command::Completions { shell }) => Ok(Request::Completions { shell }),
    }
}

/// The clap command, for completions.
pub fn command() -> clap::Command {
    Cli::command()
}

impl CompareArgs {
    fn view(&self) -> View {
        View {
            format: self.format.clone(),
            all: self.all,
            ..self.look.view()
        }
    }

    fn compare(self) -> Result<Request> {
        let view = self.view();
        let known = crate::report::REPORTERS;
        if !known.iter().any(|r| r.name() == self.format) {
            let names: Vec<_> = known.iter().map(|r| r.name()).collect();
            bail!("--format {}: there are {}", self.format, names.join(", "));
        }
        for path in &self.output {
            crate::report::reporter_for(path).map_err(|e| anyhow!("-o {}: {e}", path.display()))?;
        }
        let outputs = self.output.clone();
        Ok(Request::Compare {
            config: Box::new(self.config()?),
            view,
            outputs,
        })
    }

    fn config(self) -> Result<Config> {
        let Some(reference) = self.reference else {
            bail!(Cli::command().error(clap::error::ErrorKind::MissingRequiredArgument, "a REFERENCE is needed: tdiff REFERENCE CANDIDATE, or one directory that holds both sides"));
        };
        for glob in self.only.iter().chain(&self.skip) {
            globset::Glob::new(glob).with_context(|| format!("glob `{glob}`"))?;
        }
        let element = match (self.rtol, self.atol) {
            (None, None) => None,
            (rtol, atol) => Some(ElementTolerance {
                rtol: rtol.unwrap_or(0.0),
                atol: atol.unwrap_or(0.0),
            }),
        };
        let order = match &self.order {
            None => None,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
                Some(
                    text.lines()
                        .map(str::trim)
                        .filter(|l| !l.is_empty() && !l.starts_with('#'))
                        .map(str::to_owned)
                        .collect(),
                )
            }
        };
        Ok(Config {
            reference,
            candidate: self.candidate,
            tolerance: Tolerance {
                element,
                limits: self.max.into_iter().chain(self.min).collect(),
            },
            allow_missing: self.allow_missing,
            ref_tag: self.ref_tag,
            cand_tag: self.cand_tag,
            maps: self.map,
            order,
            only: self.only,
            skip: self.skip,
            hints: self.hints.hints(),
        })
    }
}

impl HintArgs {
    fn hints(&self) -> Hints {
        Hints {
            dtype: self.dtype,
            shape: self.shape.clone(),
        }
    }
}

impl LookArgs {
    fn view(&self) -> View {
        View {
            format: "table".into(),
            models: self.model.clone(),
            all: false,
            quiet: self.quiet,
            color: self.color,
            threads: self.threads.map(usize::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(args: &[&str]) -> Result<Request> {
        parse(
            std::iter::once("tdiff")
                .chain(args.iter().copied())
                .map(Into::into)
                .collect(),
        )
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn two_paths_are_a_comparison_and_one_tolerance_leaves_the_other_zero() {
        let Request::Compare { config, .. } = request(&["a", "b", "--rtol", "1e-3"]).unwrap()
        else {
            panic!()
        };
        assert_eq!(
            config.tolerance.element,
            Some(ElementTolerance {
                rtol: 1e-3,
                atol: 0.0
            })
        );
        assert_eq!(config.candidate, Some("b".into()));
    }

    #[test]
    fn wrong_usage_names_what_there_is() {
        assert!(
            request(&["a", "b", "--min", "cosin=1"])
                .unwrap_err()
                .to_string()
                .contains("there are")
        );
        assert!(
            request(&["a", "b", "--format", "yaml"])
                .unwrap_err()
                .to_string()
                .contains("table")
        );
        assert!(request(&["a", "b", "--atol", "-1"]).is_err());
        assert!(request(&[]).is_err());
    }

    #[test]
    fn subcommands_are_found() {
        assert!(matches!(
            request(&["stats", "x.npy"]).unwrap(),
            Request::Stats { .. }
        ));
        assert!(matches!(
            request(&["explain", "norm_eps"]).unwrap(),
            Request::Explain { .. }
        ));
    }
}
