//! Red flags of single tensors: NaN, infinities, zeros, constants, values out of any sane range.

use super::{Check, Finding};
use crate::causes;
use crate::compare::summarise::{Summary, summarise};
use crate::diagnose::{Scene, Side};
use crate::dump::Payload;
use crate::name::Stage;
use crate::text::short;

pub struct Values;

/// Q, K and V beyond this are no activations of a working model.
const LARGE: f64 = 1000.0;

impl Check for Values {
    fn run(&self, scene: &Scene<'_>) -> Vec<Finding> {
        let tensors = scene
            .pairs
            .iter()
            .enumerate()
            .filter_map(|(i, p)| Some((i, p, p.reference.as_ref()?)));
        let mut out = Vec::new();
        for (i, pair, tensor) in tensors {
            if matches!(tensor.payload, Payload::Statistics)
                || tensor.info.is_empty()
                || tensor.info.dtype().is_exact()
            {
                continue;
            }
            let Ok(s) = summarise(tensor) else { continue };
            let masked = matches!(
                pair.key.stage,
                Some(Stage::ATTN_SCORES | Stage::ATTN_QK | Stage::ATTENTION_MASK)
            );
            let key = &pair.key;
            if s.nan > 0 {
                out.push(Finding::red(
                    causes::NAN.id,
                    key,
                    format!("{} of {} values are NaN", s.nan, s.count),
                ));
            }
            if s.inf > 0 && !masked {
                out.push(Finding::red(
                    causes::INF.id,
                    key,
                    format!("{} of {} values are infinite", s.inf, s.count),
                ));
            }
            out.extend(range(scene, i, &s));
        }
        out
    }
}

fn range(scene: &Scene<'_>, i: usize, s: &Summary) -> Option<Finding> {
    let key = &scene.pairs[i].key;
    let (min, max) = (s.min?, s.max?);
    let largest = max.abs().max(min.abs());
    if largest == 0.0 {
        let cache = key.step.is_some_and(|s| s > 0)
            && matches!(
                key.stage,
                Some(Stage::K_PROJ | Stage::V_PROJ | Stage::K_ROPE)
            );
        let id = if cache {
            causes::KV_CACHE_ZEROS.id
        } else {
            causes::ALL_ZEROS.id
        };
        return Some(Finding::red(
            id,
            key,
            format!("all {} values are zero", s.count),
        ));
    }
    if min == max && s.count > 1 {
        return Some(Finding::red(
            causes::CONSTANT.id,
            key,
            format!("all {} values are {}", s.count, short(min)),
        ));
    }
    if largest <= LARGE {
        return None;
    }
    use crate::graph::known::*;
    match key.stage? {
        Q_PROJ | K_PROJ | V_PROJ | Q_NORM | K_NORM | Q_ROPE | K_ROPE | QKV_PROJ => {
            Some(Finding::red(
                causes::LARGE_VALUES.id,
                key,
                format!(
                    "largest |value| is {}, sane projections stay below {LARGE}",
                    short(largest)
                ),
            ))
        }
        INPUT | ATTN_RESIDUAL | MLP_RESIDUAL | OUTPUT | EMBED => {
            let array = scene.load(Side::Reference, i)?;
            let width = array.width();
            let mut channels: Vec<usize> = array
                .data
                .iter()
                .enumerate()
                .filter(|(_, x)| x.abs() > LARGE)
                .map(|(at, _)| at % width)
                .collect();
            channels.sort_unstable();
            channels.dedup();
            let where_ = format!("{} of {width} channels beyond {LARGE}", channels.len());
            Some(if channels.len() * 100 <= width.max(100) {
                Finding::note(
                    causes::LARGE_VALUES.id,
                    key,
                    format!(
                        "largest |value| is {}: a massive channel, normal in trained models",
                        short(largest)
                    ),
                )
                .with(where_)
            } else {
                Finding::red(
                    causes::LARGE_VALUES.id,
                    key,
                    format!("largest |value| is {}", short(largest)),
                )
                .with(where_)
            })
        }
        _ => None,
    }
}
