//! Where the input of each norm is found.

use crate::diagnose::{Array, Site};
use crate::name::Stage;

/// What a norm's input may be, the likeliest first: models differ, and not every tap is dumped.
pub fn inputs(site: &Site<'_>, output: Stage) -> Vec<Array> {
    let sum = |a: Option<Array>, b: Option<Array>| a?.plus(&b?);
    let found = match output {
        Stage::EMBED => vec![site.dumped(Stage::EMBED_SUM), embedding_sum(site)],
        Stage::ATTN_NORM => vec![site.tap(Stage::INPUT)],
        Stage::Q_NORM => vec![site.tap(Stage::Q_PROJ)],
        Stage::K_NORM => vec![site.tap(Stage::K_PROJ)],
        Stage::ATTN_POST_NORM => vec![site.dumped(Stage::O_PROJ)],
        Stage::ATTN_OUT_NORM => vec![site.tap(Stage::ATTN_RESIDUAL)],
        // in parallel blocks both norms read the stream that enters the layer
        Stage::MLP_NORM => vec![site.tap(Stage::ATTN_RESIDUAL), site.tap(Stage::INPUT)],
        Stage::MLP_POST_NORM => vec![site.dumped(Stage::DOWN_PROJ)],
        Stage::OUTPUT => vec![
            site.dumped(Stage::MLP_RESIDUAL),
            sum(
                site.dumped(Stage::ATTN_OUT_NORM),
                site.dumped(Stage::DOWN_PROJ),
            ),
        ],
        Stage::FINAL_NORM => vec![last_output(site)],
        _ => vec![],
    };
    found.into_iter().flatten().collect()
}

fn embedding_sum(site: &Site<'_>) -> Option<Array> {
    let mut sum = site.dumped(Stage::TOK_EMBED)?;
    for stage in [Stage::POS_EMBED, Stage::TYPE_EMBED] {
        if let Some(part) = site.dumped(stage) {
            sum = broadcast_sum(&sum, &part)?;
        }
    }
    Some(sum)
}

/// a + b, where b may lack the batch (or be a single row).
pub fn broadcast_sum(a: &Array, b: &Array) -> Option<Array> {
    let (n, m) = (a.data.len(), b.data.len());
    if m == 0 || n % m != 0 {
        return None;
    }
    let data = a
        .data
        .iter()
        .zip(b.data.iter().cycle())
        .map(|(x, y)| x + y)
        .collect();
    Some(Array {
        shape: a.shape.clone(),
        data,
    })
}

/// What leaves the last layer that either side dumped.
fn last_output(site: &Site<'_>) -> Option<Array> {
    let here = |k: &&crate::name::Key| k.step == site.step && k.rank == site.rank;
    let last = site
        .scene
        .tower(site.tower)
        .map(|p| &p.key)
        .filter(here)
        .filter_map(|k| k.layer)
        .max()?;
    let last = site.in_layer(last);
    last.dumped(Stage::OUTPUT)
        .or_else(|| last.dumped(Stage::MLP_RESIDUAL))
        .or_else(|| {
            last.tap(Stage::ATTN_RESIDUAL)?.plus(
                &last
                    .dumped(Stage::MLP_POST_NORM)
                    .or_else(|| last.dumped(Stage::DOWN_PROJ))?,
            )
        })
}
