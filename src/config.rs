//! What the user asked for: plain data, made by `cli`, read by the pipeline.

use crate::compare::ElementTolerance;
use crate::dump::Hints;
use std::path::PathBuf;

/// Settings of one comparison.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub reference: PathBuf,
    /// `None`: both sides are in `reference`, told apart by a tag.
    pub candidate: Option<PathBuf>,
    pub tolerance: Tolerance,
    pub allow_missing: bool,
    pub ref_tag: Option<String>,
    pub cand_tag: Option<String>,
    /// `[ref:|cand:]FROM=TO`
    pub maps: Vec<String>,
    /// The pipeline order that a file states, one stage or name per line.
    pub order: Option<Vec<String>>,
    pub only: Vec<String>,
    pub skip: Vec<String>,
    pub hints: Hints,
}

/// What passes.
#[derive(Clone, Debug, Default)]
pub struct Tolerance {
    /// numpy's rule for every element; turns the automatic tolerance off.
    pub element: Option<ElementTolerance>,
    pub limits: Vec<Limit>,
}

/// `--max`/`--min [GLOB:]METRIC=VALUE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Tensors whose key, stage or name matches; `None` for all.
    pub glob: Option<String>,
    pub metric: String,
    pub bound: Bound,
    pub value: f64,
}

/// The side on which a limit stands; a value that equals the limit passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Max,
    Min,
}

impl Limit {
    /// Parses `[GLOB:]METRIC=VALUE`; the text after the last `:` is the metric, since globs may hold colons.
    pub fn parse(text: &str, bound: Bound) -> Result<Limit, String> {
        let (what, value) = text
            .rsplit_once('=')
            .ok_or_else(|| format!("`{text}`: expected METRIC=VALUE, for example cosine=0.999"))?;
        let (glob, metric) = match what.rsplit_once(':') {
            Some((glob, metric)) => (Some(glob.to_owned()), metric),
            None => (None, what),
        };
        let known = crate::compare::metric::METRICS;
        if !known.iter().any(|m| m.id == metric) {
            let ids: Vec<_> = known.iter().map(|m| m.id).collect();
            return Err(format!(
                "no metric `{metric}`; there are {}",
                ids.join(", ")
            ));
        }
        let number: f64 = value
            .parse()
            .map_err(|_| format!("`{value}` is not a number"))?;
        if number.is_nan() {
            return Err("a limit must be a number, not NaN".into());
        }
        if let Some(glob) = &glob {
            globset::Glob::new(glob).map_err(|e| format!("glob `{glob}`: {}", e.kind()))?;
        }
        Ok(Limit {
            glob,
            metric: metric.to_owned(),
            bound,
            value: number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_name_tensors_and_must_name_a_metric() {
        let l = Limit::parse("layers.*.q_proj:cosine=0.999", Bound::Min).unwrap();
        assert_eq!(
            (l.glob.as_deref(), l.metric.as_str(), l.value),
            (Some("layers.*.q_proj"), "cosine", 0.999)
        );
        assert!(
            Limit::parse("cosinus=1", Bound::Min)
                .unwrap_err()
                .contains("there are max_abs")
        );
        assert!(Limit::parse("rmse", Bound::Max).is_err());
        assert!(Limit::parse("rmse=nan", Bound::Max).is_err());
    }
}
