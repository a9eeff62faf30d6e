//! What is left for a projection when its inputs agree: another weight, or a weight quantised too coarsely.
//!
//! Both hold by elimination and have an honest confidence of about one half. A wrong layer is corroborated, or proved, by
//! that layer's own inputs and outputs: with X′, Y′ = X′·W′ᵀ of another layer, this layer's input is written as X = A·X′ + rest,
//! and A·Y′ is what W′ makes of the first part.

use super::noise::{COARSEST, noise_up_to};
use super::{Case, Relation, gram, projection_input, undone};
use crate::causes;
use crate::diagnose::{Array, Side, Suspicion};
use crate::graph::known::*;
use crate::math;
use crate::name::Stage;
use crate::text::short;

pub struct Weights;

/// Unrelated values have a cosine below this.
const FEW: f64 = 0.35;
/// What is said to be left when another layer's data speak for it, without proving it.
const CORROBORATED: f64 = 0.1;
/// What is said to be left by the last resort.
const LAST: f64 = 0.34;
/// Noise this many times that of its siblings is no common arithmetic.
const ABOVE_SIBLINGS: f64 = 4.0;
/// The error that a coarse weight leaves has a cosine with the values below this.
const UNRELATED: f64 = 0.15;

impl Relation for Weights {
    fn id(&self) -> &'static str {
        "weights"
    }

    fn test(&self, case: &Case<'_>) -> Vec<Suspicion> {
        let mut found = Vec::new();
        found.extend(too_coarse(case));
        if let Some(facts) = unrelated(case) {
            found.extend(wrong_weight(case, &facts).or_else(|| last_resort(case, &facts)));
        }
        found
    }
}

/// Like statistics, no correlation.
struct Unrelated {
    before: f64,
    cosine: f64,
    rms: f64,
}

fn unrelated(case: &Case<'_>) -> Option<Unrelated> {
    if case.is(&[INPUT_IDS, POSITION_IDS, ATTENTION_MASK]) {
        return None;
    }
    let (r, c) = case.visible();
    let before = c.distance(&r);
    let rms = c.norm() / r.norm();
    // two large biases, or massive channels, correlate whatever the weights are
    let (r, c) = match case.by_token() {
        Some((r, c)) if r.rows().len() >= 4 => {
            // ‖c − r‖² ≥ (1 − cosine²)‖r‖², centred too: a smaller difference leaves a correlation
            let unrelated = (1.0 - FEW * FEW).sqrt() * gram::spread(&r);
            if before * r.norm() < unrelated {
                return None;
            }
            (gram::centred(&r), gram::centred(&c))
        }
        _ => (r, c),
    };
    let products = r.data.iter().zip(&*c.data).map(|(a, b)| a * b);
    let dot: f64 = products.filter(|x| x.is_finite()).sum();
    let cosine = dot / (r.norm() * c.norm());
    (cosine.abs() < FEW && (0.3..3.3).contains(&rms)).then_some(Unrelated {
        before,
        cosine,
        rms,
    })
}

impl Unrelated {
    fn evidence(&self) -> String {
        format!(
            "cosine {}, rms of the candidate {} times the reference's",
            short(self.cosine),
            short(self.rms)
        )
    }
}

fn wrong_weight(case: &Case<'_>, facts: &Unrelated) -> Option<Suspicion> {
    let stage = case.stage()?;
    let inputs = case.projection_inputs();
    let entered = match &inputs {
        Some((xr, xc)) if xr.data.len() == xc.data.len() => xc.distance(xr),
        Some(_) => return None,
        // another activation of the same gate and up would leave a correlation
        None if stage == DOWN_PROJ => [GATE_PROJ, UP_PROJ]
            .iter()
            .filter_map(|s| case.scene.find(&case.site(Side::Reference).key(*s)))
            .map(|i| case.scene.errors.get(i).copied().flatten())
            .try_fold(0.0, |largest: f64, e| Some(largest.max(e?)))
            .filter(|_| case.site(Side::Reference).dumped(UP_PROJ).is_some())?,
        None => return None,
    };
    if entered > 0.1 {
        return None;
    }
    let mut evidence = vec![
        facts.evidence(),
        format!("relative error of its input {}", short(entered)),
    ];
    let other = inputs.and_then(|(_, xc)| other_layer(case, stage, &xc));
    let (title, after) = match other {
        Some(found) => {
            evidence.push(format!(
                "layer {}'s weight, as far as its inputs tell: cosine {} with the candidate, {} with the reference",
                found.layer,
                short(found.candidate),
                short(found.reference)
            ));
            evidence.push(undone(
                "computing with that weight",
                facts.before,
                found.left,
            ));
            let after = found.left.min(CORROBORATED * facts.before + case.noise);
            (
                format!(
                    "the candidate uses layer {}'s weight at {}",
                    found.layer, case.key
                ),
                after,
            )
        }
        None => (
            format!(
                "the candidate uses another weight at {}: same input, unrelated output of like size",
                case.key
            ),
            case.unproved(facts.before),
        ),
    };
    case.suspect(
        causes::WRONG_LAYER_WEIGHT,
        title,
        facts.before,
        after,
        evidence,
    )
}

/// A layer whose weight explains the candidate's output.
struct OtherLayer {
    layer: u32,
    candidate: f64,
    reference: f64,
    left: f64,
}

fn other_layer(case: &Case<'_>, stage: Stage, x: &Array) -> Option<OtherLayer> {
    let own = case.key.layer?;
    let (r, c) = case.by_token()?;
    let (x, r, c) = (
        gram::first_rows(x),
        gram::first_rows(&r),
        gram::first_rows(&c),
    );
    let site = case.site(Side::Reference);
    let mut layers: Vec<u32> = case
        .scene
        .tower(site.tower)
        .filter(|p| p.key.stage == Some(stage))
        .filter_map(|p| p.key.layer)
        .collect();
    layers.sort_unstable();
    layers.dedup();
    layers
        .into_iter()
        .filter(|l| *l != own)
        .filter_map(|layer| {
            let there = site.in_layer(layer);
            let flat = |a: Array| a.with_width(super::features(&a));
            let x2 = gram::first_rows(&flat(projection_input(&there, stage)?)?);
            let y2 = gram::first_rows(&flat(there.tap(stage)?)?);
            let made = carried_over(&x, &x2, &y2)?;
            let cosine = |y: &Array| {
                let dot: f64 = made.data.iter().zip(&*y.data).map(|(a, b)| a * b).sum();
                dot / (made.norm() * y.norm())
            };
            Some(OtherLayer {
                layer,
                candidate: cosine(&c),
                reference: cosine(&r),
                left: c.distance(&made),
            })
        })
        .filter(|o| o.candidate > 0.3 && o.candidate > 2.0 * o.reference.abs() + 0.1)
        .max_by(|a, b| a.candidate.total_cmp(&b.candidate))
}

/// A·Y′ with A the least squares of X = A·X′ (a constant beside the features stands for the bias).
fn carried_over(x: &Array, x2: &Array, y2: &Array) -> Option<Array> {
    if x.width() != x2.width() || x2.rows().len() != y2.rows().len() {
        return None;
    }
    let mut own = gram::own_products(x2);
    let constant = own.iter().enumerate().map(|(i, row)| row[i]).sum::<f64>()
        / own.len() as f64
        / x.width() as f64;
    let mut across = gram::products(x, x2);
    own.iter_mut()
        .chain(&mut across)
        .flatten()
        .for_each(|v| *v += constant);
    let weights = math::solve(gram::ridged(own, 1e-9), across)?;
    let data = weights
        .iter()
        .flat_map(|a| {
            let mut row = vec![0.0; y2.width()];
            for (a, y) in a.iter().zip(y2.rows()) {
                row.iter_mut().zip(y).for_each(|(s, y)| *s += a * y);
            }
            row
        })
        .collect();
    Some(Array::new(vec![weights.len(), y2.width()], data))
}

/// Noise at one projection, well above that of projections of the same input (or the same one in other layers).
fn too_coarse(case: &Case<'_>) -> Option<Suspicion> {
    let stage = case.stage()?;
    let noise = noise_up_to(case, COARSEST)?;
    let family: &[Stage] = match stage {
        Q_PROJ | K_PROJ | V_PROJ => &[Q_PROJ, K_PROJ, V_PROJ],
        GATE_PROJ | UP_PROJ => &[GATE_PROJ, UP_PROJ],
        QKV_PROJ | O_PROJ | DOWN_PROJ | LOGITS | TOK_EMBED => &[],
        _ => return None,
    };
    // what was not dumped between may be at fault as well: its error keeps some of the values, that of a weight keeps none
    let unseen = case.is(&[O_PROJ, DOWN_PROJ]) && case.projection_inputs().is_none();
    if unseen && noise.bias.abs() > UNRELATED {
        return None;
    }
    let site = case.site(Side::Reference);
    let error = |key: &crate::name::Key| {
        case.scene
            .find(key)
            .and_then(|i| case.scene.errors.get(i).copied()?)
    };
    let mut siblings: Vec<(String, f64)> = family
        .iter()
        .filter(|s| **s != stage)
        .filter_map(|s| Some((s.to_string(), error(&site.key(*s))?)))
        .collect();
    if siblings.is_empty() {
        // earlier layers: what comes later has inherited
        let earlier = case.scene.tower(site.tower).map(|p| &p.key).filter(|k| {
            k.stage == Some(stage) && k.step == case.key.step && k.layer < case.key.layer
        });
        siblings = earlier
            .filter_map(|k| Some((k.to_string(), error(k)?)))
            .collect();
    }
    if siblings.is_empty()
        && let Some((xr, xc)) = case.projection_inputs()
    {
        siblings.push(("its input".into(), xc.distance(&xr)));
    }
    if siblings.is_empty() {
        // the projections before it in the layer
        let block = [Q_PROJ, K_PROJ, V_PROJ, GATE_PROJ, UP_PROJ];
        let before = block.iter().filter(|s| **s < stage);
        siblings = before
            .filter_map(|s| Some((s.to_string(), error(&site.key(*s))?)))
            .collect();
    }
    let (name, largest) = siblings.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    if noise.error < (ABOVE_SIBLINGS * largest).max(case.noise) {
        return None;
    }
    let before = noise.error;
    let evidence = vec![
        noise.text.clone(),
        format!("relative error of {name}: {}", short(largest)),
    ];
    case.suspect(
        causes::WEIGHT_QUANTISATION_ERROR,
        format!(
            "the weight at {} is far coarser than its neighbours'",
            case.key
        ),
        before,
        case.unproved(before),
        evidence,
    )
}

fn last_resort(case: &Case<'_>, facts: &Unrelated) -> Option<Suspicion> {
    (facts.cosine.abs() < 0.2 && (0.5..2.0).contains(&facts.rms)).then(|| Suspicion {
        cause: causes::SAME_MAGNITUDE_UNRELATED,
        key: case.key.clone(),
        title: "values of the same size without correlation: not a matter of scale".into(),
        before: facts.before,
        after: LAST * facts.before + case.noise,
        evidence: vec![facts.evidence()],
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, project, stream};
    use super::*;

    #[test]
    fn a_wrong_weight_is_found_by_elimination() {
        let x = stream(10, 64, 1);
        let y = |seed| project(&x, &normal(64 * 64, seed), 64);
        let dumps = Dumps::default()
            .same(0, ATTN_NORM, &x)
            .with(0, V_PROJ, y(2), y(3));
        let found = dumps.test(&Weights, 0, V_PROJ);
        assert_eq!(found[0].cause.id, "wrong_layer_weight");
        assert!((found[0].after - 0.25 * found[0].before).abs() < 1e-5);
    }

    #[test]
    fn another_layers_weight_is_proved_with_enough_tokens() {
        let (x, x2) = (stream(80, 24, 1), stream(80, 24, 2));
        let (w, w2) = (normal(24 * 24, 3), normal(24 * 24, 4));
        let dumps = Dumps::default()
            .same(0, ATTN_NORM, &x2)
            .same(0, V_PROJ, &project(&x2, &w2, 24))
            .same(1, ATTN_NORM, &x)
            .with(1, V_PROJ, project(&x, &w, 24), project(&x, &w2, 24));
        let found = dumps.test(&Weights, 1, V_PROJ);
        assert!(found[0].title.contains("layer 0"), "{found:?}");
        assert!(found[0].after < 1e-4, "{found:?}");
    }

    #[test]
    fn noise_above_the_siblings_is_a_coarse_weight() {
        let x = stream(10, 64, 1);
        let w = normal(64 * 64, 2);
        let coarse: Vec<f64> = w.iter().map(|v| (v * 4.0).round() / 4.0).collect();
        let (y, k) = (project(&x, &w, 64), project(&x, &normal(64 * 64, 5), 64));
        let dumps = |level| {
            Dumps::default()
                .same(0, ATTN_NORM, &x)
                .with(0, V_PROJ, y.clone(), project(&x, &coarse, 64))
                .with(0, K_PROJ, k.clone(), noisy(&k, level, 8))
        };
        assert_eq!(
            dumps(1e-6).causes(&Weights, 0, V_PROJ),
            ["weight_quantisation_error"]
        );
        assert!(dumps(5e-2).causes(&Weights, 0, V_PROJ).is_empty());
    }

    #[test]
    fn noise_that_keeps_some_of_the_values_may_come_from_what_was_not_dumped() {
        let gate = stream(30, 64, 1);
        let up = stream(30, 64, 2);
        let w = normal(64 * 64, 3);
        let down =
            |act: fn(f64) -> f64| project(&gate.zip(&up, |g, u| act(g) * u).unwrap(), &w, 64);
        let gelu = |g: f64| 0.5 * g * (1.0 + (0.7978846 * (g + 0.044715 * g.powi(3))).tanh());
        let right = down(gelu);
        let coarse: Vec<f64> = w.iter().map(|v| (v * 2.0).round() / 2.0).collect();
        let mid = gate.zip(&up, |g, u| gelu(g) * u).unwrap();
        let causes = |candidate: Array| {
            let dumps = Dumps::default()
                .same(0, GATE_PROJ, &gate)
                .same(0, UP_PROJ, &up)
                .with(0, DOWN_PROJ, right.clone(), candidate);
            dumps.causes(&Weights, 0, DOWN_PROJ)
        };
        let relu = down(|g| g.max(0.0));
        assert!(causes(relu).is_empty());
        assert_eq!(
            causes(project(&mid, &coarse, 64)),
            ["weight_quantisation_error"]
        );
    }

    #[test]
    fn unrelated_values_elsewhere_are_the_last_resort() {
        let dumps = Dumps::default().with(0, ATTN_CTX, stream(10, 64, 1), stream(10, 64, 2));
        assert_eq!(
            dumps.causes(&Weights, 0, ATTN_CTX),
            ["same_magnitude_unrelated"]
        );
    }
}
