//! Where the input of each norm is found.

use crate::diagnose::{Array, Site};
use crate::name::Stage;

/// What a norm's input may be, the likeliest first: models differ, and not every tap is dumped.
pub fn inputs(site: &Site<'_>, output: Stage) -> Vec<Array> {
    let sum = |a: Option<Array>, b: Option<Array>| a?.plus(&b?);
    let found = match output {
        Stage::Embed => vec![site.dumped(Stage::EmbedSum), embedding_sum(site)],
        Stage::AttnNorm => vec![site.tap(Stage::Input)],
        Stage::QNorm => vec![site.tap(Stage::QProj)],
        Stage::KNorm => vec![site.tap(Stage::KProj)],
        Stage::AttnPostNorm => vec![site.dumped(Stage::OProj)],
        Stage::AttnOutNorm => vec![site.tap(Stage::AttnResidual)],
        // in parallel blocks both norms read the stream that enters the layer
        Stage::MlpNorm => vec![site.tap(Stage::AttnResidual), site.tap(Stage::Input)],
        Stage::MlpPostNorm => vec![site.dumped(Stage::DownProj)],
        Stage::Output => vec![
            site.dumped(Stage::MlpResidual),
            sum(
                site.dumped(Stage::AttnOutNorm),
                site.dumped(Stage::DownProj),
            ),
        ],
        Stage::FinalNorm => vec![last_output(site)],
        _ => vec![],
    };
    found.into_iter().flatten().collect()
}

fn embedding_sum(site: &Site<'_>) -> Option<Array> {
    let mut sum = site.dumped(Stage::TokEmbed)?;
    for stage in [Stage::PosEmbed, Stage::TypeEmbed] {
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
    last.dumped(Stage::Output)
        .or_else(|| last.dumped(Stage::MlpResidual))
        .or_else(|| {
            last.tap(Stage::AttnResidual)?.plus(
                &last
                    .dumped(Stage::MlpPostNorm)
                    .or_else(|| last.dumped(Stage::DownProj))?,
            )
        })
}
