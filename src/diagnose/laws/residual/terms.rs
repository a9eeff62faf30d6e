//! What a residual sum is made of, by the taps that were dumped.

use crate::diagnose::{Array, Site};
use crate::name::Stage;

/// The stream that enters, the branch that is added, and the stream as the branch's norm left it.
#[derive(Clone, Debug)]
pub struct Terms {
    pub stream: Array,
    pub branch: Array,
    pub normed: Option<Array>,
    /// What is added in any case.
    pub rest: Option<Array>,
    pub names: [&'static str; 3],
    /// The output may be the norm of the sum: the sum itself was not dumped.
    pub may_be_normed: bool,
    /// The sum of a model as it should be, not one that is looked at through a later sum.
    pub plain: bool,
}

/// Possible sums at an output, the likeliest first. What a side did not dump is taken from the other.
pub fn terms(site: &Site<'_>, other: Option<&Site<'_>>, output: Stage) -> Vec<Terms> {
    let get = |stage| site.dumped(stage).or_else(|| other?.dumped(stage));
    let stream_in = || site.tap(Stage::INPUT).or_else(|| other?.tap(Stage::INPUT));
    let either = |a: Stage, b: Stage| get(a).or_else(|| get(b));
    let attention = || either(Stage::ATTN_POST_NORM, Stage::O_PROJ);
    let mlp = || either(Stage::MLP_POST_NORM, Stage::DOWN_PROJ);
    let of_attention = |may_be_normed| {
        Some(Terms {
            stream: stream_in()?,
            branch: attention()?,
            normed: get(Stage::ATTN_NORM),
            rest: None,
            names: ["input", "attention", "attn_norm"],
            may_be_normed,
            plain: true,
        })
    };
    let sum_dumped =
        |stage| site.dumped(stage).is_some() && other.is_none_or(|o| o.dumped(stage).is_some());
    match output {
        Stage::ATTN_RESIDUAL => of_attention(false).into_iter().collect(),
        Stage::ATTN_OUT_NORM | Stage::MLP_NORM if !sum_dumped(Stage::ATTN_RESIDUAL) => {
            of_attention(true).into_iter().collect()
        }
        Stage::MLP_RESIDUAL | Stage::OUTPUT => {
            let may_be_normed = output == Stage::OUTPUT && !sum_dumped(Stage::MLP_RESIDUAL);
            let mut found = Vec::new();
            let Some(mlp) = mlp() else {
                return found;
            };
            let after_attention = get(Stage::ATTN_OUT_NORM)
                .or_else(|| get(Stage::ATTN_RESIDUAL))
                .or_else(|| stream_in()?.plus(&attention()?));
            if let Some(stream) = after_attention {
                found.push(Terms {
                    stream,
                    branch: mlp.clone(),
                    normed: get(Stage::MLP_NORM),
                    rest: None,
                    names: ["stream", "mlp", "mlp_norm"],
                    may_be_normed,
                    plain: true,
                });
            }
            // parallel blocks: one stream, both branches
            if !sum_dumped(Stage::ATTN_RESIDUAL)
                && let (Some(stream), Some(attention)) = (stream_in(), attention())
            {
                found.extend(parallel(stream, attention, mlp, get(Stage::ATTN_NORM)));
            }
            found
        }
        _ => Vec::new(),
    }
}

/// The sums of a block whose stream after attention was not dumped: both branches as one, and the attention's sum with the
/// MLP's branch added to it.
fn parallel(stream: Array, attention: Array, mlp: Array, normed: Option<Array>) -> Vec<Terms> {
    let mut found = Vec::new();
    if let Some(branch) = attention.plus(&mlp) {
        found.push(Terms {
            stream: stream.clone(),
            branch,
            normed: normed.clone(),
            rest: None,
            names: ["input", "(attention + mlp)", "attn_norm"],
            may_be_normed: false,
            plain: false,
        });
    }
    let names = ["input", "attention", "attn_norm"];
    found.push(Terms {
        stream,
        branch: attention,
        normed,
        rest: Some(mlp),
        names,
        may_be_normed: false,
        plain: false,
    });
    found
}
