//! Between a projection and what uses its heads: which channels belong to which head, and which to Q, K and V.
//!
//! A row of H·D channels read as [D, H] where [H, D] is meant leaves the projection as it is and spoils everything behind it; so
//! does a fused projection cut in another order. What follows (the norm of the heads, the rotation, the scores, the context) is
//! computed once more by the reference's own law from the candidate's projection, split in every other way.

use super::trial::Trial;
use super::{Law, attention, norm, rope};
use crate::causes::{self, Cause};
use crate::diagnose::fused::Cut;
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Site, Suspicion};
use crate::name::Stage;

pub struct Split;

/// Another way to take Q, K and V from the candidate's projections; `None` where they stay as they are.
struct Way {
    cause: &'static Cause,
    text: String,
    parts: [Option<Array>; 3],
}

impl Law for Split {
    fn id(&self) -> &'static str {
        "head_split"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[
            Stage::Q_NORM,
            Stage::K_NORM,
            Stage::Q_ROPE,
            Stage::K_ROPE,
            Stage::ATTN_QK,
            Stage::ATTN_SCORES,
            Stage::ATTN_WEIGHTS,
            Stage::ATTN_CTX,
        ]
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (_, candidate, output, noise) = both.parts();
        if rope::start(candidate) > 0 {
            return None;
        }
        let left = replay(both)?;
        let before = left(&[None, None, None])?;
        if before <= noise {
            return None;
        }
        let tried = ways(candidate)
            .into_iter()
            .filter_map(|way| Some((left(&way.parts)?, way)));
        let (after, way) = tried.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let trial = Trial { before, after };
        trial.convinces(noise).then(|| Suspicion {
            cause: way.cause,
            key: candidate.key(output),
            title: format!("the candidate {}", way.text),
            before,
            after,
            evidence: vec![format!(
                "candidate's {output} computed by the reference's law from its own projection, split so: {}",
                trial.text()
            )],
        })
    }
}

type Left<'a> = Box<dyn Fn(&[Option<Array>; 3]) -> Option<f64> + 'a>;

/// The error of the candidate's output under the reference's law, from given Q, K, V.
fn replay<'a>(both: &Both<'a>) -> Option<Left<'a>> {
    let (reference, candidate, output, _) = both.parts();
    let (part, raw) = match output {
        Stage::Q_NORM | Stage::Q_ROPE => (0, Stage::Q_PROJ),
        Stage::K_NORM | Stage::K_ROPE => (1, Stage::K_PROJ),
        _ => {
            return attention::replay_of(both)
                .map(|r| -> Left<'a> { Box::new(move |parts| r.left(parts)) });
        }
    };
    let x = candidate.tap(raw)?;
    let law: super::Replay = match output {
        Stage::Q_NORM | Stage::K_NORM => norm::replay(reference, candidate, output)?,
        _ => rope::replay(reference, candidate, output)?,
    };
    Some(Box::new(move |parts| {
        law(parts[part].as_ref().unwrap_or(&x))
    }))
}

fn ways(candidate: &Site<'_>) -> Vec<Way> {
    let mut all = Vec::new();
    let stages = [Stage::Q_PROJ, Stage::K_PROJ, Stage::V_PROJ];
    let own = stages.map(|s| candidate.tap(s));
    let swapped = own.each_ref().map(|x| x.as_ref().and_then(regrouped));
    // of two that explain as much, the smaller one
    for which in [&[0][..], &[1], &[2], &[0, 1], &[0, 1, 2]] {
        let parts = std::array::from_fn(|i| swapped[i].clone().filter(|_| which.contains(&i)));
        let names: Vec<&str> = which.iter().map(|&i| ["Q", "K", "V"][i]).collect();
        all.push(Way {
            cause: causes::HEAD_SPLIT_ORDER,
            text: format!(
                "splits the channels of {} into heads as [channel, head], not [head, channel]",
                names.join(", ")
            ),
            parts,
        });
    }
    let separate = stages.iter().any(|s| candidate.dumped(*s).is_some());
    if let Some(whole) = candidate.dumped(Stage::QKV_PROJ).filter(|_| !separate) {
        let usual = candidate.scene.cut(candidate.tower);
        for cut in Cut::all().filter(|c| *c != usual) {
            all.push(Way {
                cause: causes::FUSED_QKV_ORDER,
                text: format!(
                    "cuts its fused projection as {}, where {} is meant",
                    cut.text(),
                    usual.text()
                ),
                parts: std::array::from_fn(|i| cut.part(&whole, candidate.geometry(), i)),
            });
        }
    }
    all
}

/// `[batch, token, head, channel]` whose rows were meant as [channel, head].
fn regrouped(x: &Array) -> Option<Array> {
    let &[_, _, h, d] = x.shape.as_slice() else {
        return None;
    };
    if h < 2 || d < 2 {
        return None;
    }
    let rows = x.data.chunks_exact(h * d);
    let data = rows.flat_map(|row| (0..h * d).map(|i| row[i % d * h + i / d]));
    Some(Array::new(x.shape.clone(), data.collect()))
}

#[cfg(test)]
mod tests {
    use super::super::toy::{Toy, key, pairs, scene};
    use super::*;
    use crate::diagnose::Side;

    fn diagnose(
        candidate: &Toy,
        spoilt: impl Fn(&mut Vec<(Stage, Array)>),
        output: Stage,
    ) -> Vec<Suspicion> {
        let reference = Toy::default().run();
        let mut taps = candidate.run();
        spoilt(&mut taps);
        scene(&pairs(None, &reference, &taps), |scene| {
            let site = |side| scene.site(side, &key(None, output));
            Split.diagnose(&Both::new(
                site(Side::Reference),
                site(Side::Candidate),
                output,
                2e-6,
            ))
        })
    }

    #[test]
    fn a_projection_read_as_channels_first_is_found_where_its_heads_are_used() {
        // the candidate's dump of the projection is what its reading was regrouped from
        let undo = |taps: &mut Vec<(Stage, Array)>| {
            for (stage, x) in taps.iter_mut().filter(|(s, _)| *s == Stage::Q_PROJ) {
                let &[_, _, h, d] = x.shape.as_slice() else {
                    panic!("{stage}: {:?}", x.shape)
                };
                let data = x
                    .data
                    .chunks_exact(h * d)
                    .flat_map(|row| (0..h * d).map(|j| row[j % h * d + j / h]));
                *x = Array::new(x.shape.clone(), data.collect());
            }
        };
        let found = diagnose(&Toy::default(), undo, Stage::Q_ROPE);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cause.id, "head_split_order");
        assert!(
            found[0].title.contains("Q into heads"),
            "{}",
            found[0].title
        );
    }

    #[test]
    fn a_right_split_and_other_faults_are_silent() {
        for toy in [
            Toy::default(),
            Toy {
                scale: 1.0,
                ..Toy::default()
            },
        ] {
            for output in [Stage::Q_ROPE, Stage::ATTN_SCORES, Stage::ATTN_CTX] {
                assert_eq!(diagnose(&toy, |_| {}, output), []);
            }
        }
    }
}
