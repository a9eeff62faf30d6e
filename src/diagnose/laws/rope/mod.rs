//! q_rope and k_rope against the Q and K they were made from: y = R(p·ω)·x.
//!
//! The rotation is fitted on each side from its own input, so neither inherited error nor the weights matter; what differs
//! between the two fits is the diagnosis. A GGUF of a Llama holds Q and K with the channels of each head re-ordered from halves
//! to adjacent pairs; with adjacent rotation that is the same computation in another layout.

mod difference;
pub mod fit;
pub mod order;
pub mod permutation;
pub mod rotation;

use super::{Fit, Law};
use crate::diagnose::laws::Both;
use crate::diagnose::{Array, Site, Suspicion};
use crate::name::Stage;
use fit::Fitted;
use permutation::Permutation;
use rotation::Rotation;

/// RoPE: q_rope from q_norm or q_proj, k_rope from k_norm or k_proj.
pub struct Rope;

/// What one side does, and with which tensors it was found.
pub(super) struct Found {
    pub x: Array,
    pub y: Array,
    pub fitted: Fitted,
    /// Set when this side's input was not dumped and the other side's stood in for it.
    pub borrowed: Option<Permutation>,
}

impl Law for Rope {
    fn id(&self) -> &'static str {
        "rope"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::Q_ROPE, Stage::K_ROPE]
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        let found = own(site, output, None)?;
        let r = &found.fitted.rotation;
        Some(Fit {
            text: r.text(found.x.width()),
            parameters: parameters(r),
            residual: found.fitted.residual,
        })
    }

    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        let Some(r) = found(reference, candidate, output, None) else {
            return Vec::new();
        };
        let Some(c) = found(candidate, reference, output, Some(&r.fitted.rotation)) else {
            return Vec::new();
        };
        difference::suspicions(reference, candidate, output, &r, &c, noise)
    }
}

/// The error of the candidate's Q or K after RoPE from any input, under the reference's rotation.
pub(super) fn replay(
    reference: &Site<'_>,
    candidate: &Site<'_>,
    output: Stage,
) -> Option<super::Replay> {
    let rotation = own(reference, output, None)?.fitted.rotation;
    let y = fit::first_tokens(&rotated(candidate, output)?);
    Some(Box::new(move |x| {
        let x = fit::first_tokens(x);
        (x.shape == y.shape)
            .then(|| rotation.residual(&x, &y))
            .flatten()
    }))
}

fn parameters(r: &Rotation) -> Vec<(&'static str, serde_json::Value)> {
    let mut all = vec![("rotated_channels", r.rotated.into())];
    if !r.is_identity() {
        all.push(("pairs", r.pairing.name().into()));
        if let Some(s) = r.series {
            all.push(("theta", s.theta.into()));
            all.push(("factor", s.factor.into()));
        }
        all.push(("first_position", r.positions.first().copied().into()));
    }
    all
}

/// Tokens of the steps before this one.
pub fn start(site: &Site<'_>) -> usize {
    let Some(step) = site.step else { return 0 };
    let steps = site.geometry().steps.iter();
    steps
        .filter(|(s, _)| s.is_some_and(|s| s < step))
        .map(|(_, (_, tokens))| tokens)
        .sum()
}

fn input(output: Stage) -> Stage {
    match output {
        Stage::Q_ROPE => Stage::Q_NORM,
        _ => Stage::K_NORM,
    }
}

/// Q or K after RoPE. With as many tokens as heads the shape does not tell which axis is which; a rotation keeps the norm of
/// every token and head, which does.
pub fn rotated(site: &Site<'_>, output: Stage) -> Option<Array> {
    let y = site.dumped(output)?;
    let &[_, tokens, heads, d] = y.shape.as_slice() else {
        return None;
    };
    let before = site.tap(input(output)).filter(|x| x.shape == y.shape);
    let Some(x) = before.filter(|_| tokens == heads && tokens > 1) else {
        return Some(y);
    };
    let norms = |a: &Array| -> Vec<f64> {
        let rows = a.data.chunks_exact(d);
        rows.map(|r| r.iter().map(|v| v * v).sum::<f64>().sqrt())
            .collect()
    };
    let (nx, other) = (norms(&x), y.swap_middle());
    let apart = |a: &Array| -> f64 {
        let pairs = norms(a).into_iter().zip(&nx);
        pairs.map(|(u, v)| (u - v) * (u - v)).sum()
    };
    Some(if apart(&other) < apart(&y) { other } else { y })
}

/// The rotation of a side, from its own input where that was dumped, else from the other side's.
fn found(
    site: &Site<'_>,
    other: &Site<'_>,
    output: Stage,
    hint: Option<&Rotation>,
) -> Option<Found> {
    own(site, output, hint).or_else(|| {
        if site.tap(input(output)).is_some() {
            return None;
        }
        let x = other.tap(input(output))?;
        let y = site.dumped(output)?;
        let mut best: Option<Found> = None;
        for permutation in Permutation::ALL {
            let Some(f) = permutation
                .apply(&x)
                .and_then(|x| of(&x, &y, hint, start(site)))
            else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|b| f.fitted.residual < 0.5 * b.fitted.residual)
            {
                best = Some(Found {
                    borrowed: Some(permutation),
                    ..f
                });
            }
        }
        best
    })
}

fn own(site: &Site<'_>, output: Stage, hint: Option<&Rotation>) -> Option<Found> {
    let x = site.tap(input(output))?;
    let y = site.dumped(output)?;
    let single = x.shape.get(1) == Some(&1);
    let earlier = if single { earlier(site, output) } else { None };
    of(&x, &y, earlier.as_ref().or(hint), start(site))
}

/// The rotation of the first step of this layer and side, for the frequencies: one token alone does not tell them.
pub(super) fn earlier(site: &Site<'_>, output: Stage) -> Option<Rotation> {
    let step = site.step?;
    let steps = site.geometry().steps.keys().filter_map(|s| *s);
    let first = site.at_step(Some(steps.filter(|s| *s < step).min()?));
    let (x, y) = (first.tap(input(output))?, first.dumped(output)?);
    if x.shape.get(1)? < &2 {
        return None;
    }
    Some(of(&x, &y, None, start(&first))?.fitted.rotation)
}

/// Fits y = R·x; heads and tokens of `y` are exchanged first where only that fits.
pub(super) fn of(x: &Array, y: &Array, hint: Option<&Rotation>, start: usize) -> Option<Found> {
    let (x, y) = (fit::first_tokens(x), fit::first_tokens(y));
    let found = |y: &Array| {
        let fitted = fit::fit(&x, y, hint, start)?;
        Some(Found {
            x: x.clone(),
            y: y.clone(),
            fitted,
            borrowed: None,
        })
    };
    found(&y).or_else(|| {
        let &[_, s, h, _] = y.shape.as_slice() else {
            return None;
        };
        if x.shape == y.shape && s != h {
            return None;
        }
        found(&y.swap_middle())
    })
}

#[cfg(test)]
mod tests;
