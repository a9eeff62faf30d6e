//! Whether a difference looks like the rounding of a coarser arithmetic: small, unbiased, spread evenly over tokens, of no
//! simple form, and no function of the values.
//!
//! Rounding of weights gives d = X·δW, whose column means are as far from zero as those of Y = X·W; so what counts is not that
//! d has a mean row, but that its strongest single component is no more dominant than that of the values themselves.

use super::{Case, gram};
use crate::diagnose::{Array, Side};
use crate::math::{dot, sums};
use crate::name::Stage;
use crate::text::short;

/// Why a difference was taken for rounding noise.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseEvidence {
    pub error: f64,
    /// Cosine between difference and reference: a factor gives ±1.
    pub bias: f64,
    /// Largest relative error of a token over the median one.
    pub spread: f64,
    /// Share of the difference in its strongest component (one row times one factor per token).
    pub strongest: f64,
    /// Mean squared step between neighbours in order of the values, over the variance: 2 for noise, 0 for a function.
    pub steps: f64,
    pub text: String,
}

const LARGEST: f64 = 0.25;
/// What a weight of two bits leaves.
pub const COARSEST: f64 = 0.7;
/// Elements that must differ before their distribution says anything.
const FEWEST: f64 = 32.0;
/// Truncated operands make products a little too small; a factor has a cosine of 1.
const BIAS: f64 = 0.5;
const SPREAD: f64 = 5.0;
const LEAST: f64 = 0.1;
const STEPS: f64 = 1.2;
/// Elements that are sorted by their values.
const POINTS: usize = 1 << 13;

/// The evidence, when the difference of the pair looks like noise; `None` when it does not.
pub fn is_rounding_like<'a>(case: &'a Case<'_>) -> Option<&'a NoiseEvidence> {
    noise_up_to(case, LARGEST)
}

/// The same up to another relative error, at most [`COARSEST`].
pub fn noise_up_to<'a>(case: &'a Case<'_>, largest: f64) -> Option<&'a NoiseEvidence> {
    let evidence = case.looks_like_noise.get_or_init(|| evidence(case));
    evidence.as_ref().filter(|e| e.error < largest)
}

fn evidence(case: &Case<'_>) -> Option<NoiseEvidence> {
    let (r, c) = case.visible();
    let sums = sums(&r.data, &c.data);
    let error = (sums.diff / sums.a).sqrt();
    if !(error > 0.0 && error < COARSEST && sums.odd == 0) {
        return None;
    }
    let finite = |x: f64| if x.is_finite() { x } else { 0.0 };
    let d = c.zip(&r, |c, r| finite(c - r))?;
    let r = match sums.known == r.data.len() as u64 {
        true => r,
        false => r.map(finite),
    };
    let n = d.data.iter().filter(|x| **x != 0.0).count() as f64;
    if n < FEWEST {
        return None;
    }
    let bias = dot(&d.data, &r.data) / (d.norm() * r.norm());
    if bias.abs() > BIAS.max(5.0 / n.sqrt()) {
        return None;
    }
    let width = super::features(&r);
    let width = if r.data.len().is_multiple_of(width) && case.by_token().is_some() {
        width
    } else {
        r.width()
    };
    let (r, d) = (r.with_width(width)?, d.with_width(width)?);
    let spread = even(case, &r, &d)?;
    let strongest = not_one_component(case, &r, &d)?;
    not_few_channels(&r, &d)?;
    let steps = no_function(case, &r, &d)?;
    let text = format!(
        "relative error {}, cosine with the reference {}, tokens within {}x of the median, strongest component {}, steps {} (2 is noise)",
        short(error),
        short(bias),
        short(spread),
        short(strongest),
        short(steps)
    );
    Some(NoiseEvidence {
        error,
        bias,
        spread,
        strongest,
        steps,
        text,
    })
}

fn size(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// All rows have about the same error, relative or absolute; none is exact. A row of small values keeps the absolute error of
/// the others: rounded weights give an error in proportion to the input, not to the output.
fn even(case: &Case<'_>, r: &Array, d: &Array) -> Option<f64> {
    // the first token attends to itself alone, whatever the arithmetic
    let attends = case.is(&[Stage::ATTN_SCORES, Stage::ATTN_WEIGHTS, Stage::ATTN_CTX]);
    let rows: Vec<(f64, f64)> = r
        .rows()
        .zip(d.rows())
        .filter(|(r, d)| r.len() > 3 && size(r) > 0.0 && !(attends && size(d) == 0.0))
        .map(|(r, d)| (size(d) / size(r), size(d)))
        .collect();
    if rows.is_empty() {
        return Some(1.0);
    }
    let middle = |of: fn(&(f64, f64)) -> f64| {
        let mut sorted: Vec<f64> = rows.iter().map(of).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let (relative, absolute) = (middle(|e| e.0), middle(|e| e.1));
    let times = |e: &(f64, f64)| (e.0 / relative, e.1 / absolute);
    let mut highs: Vec<f64> = rows.iter().map(times).map(|(a, b)| a.min(b)).collect();
    let mut lows: Vec<f64> = rows.iter().map(times).map(|(a, b)| a.max(b)).collect();
    highs.sort_by(f64::total_cmp);
    lows.sort_by(f64::total_cmp);
    // one row in a hundred may be off, a row near zero; of those that attend all that see a few keys
    let skip = rows.len() / if attends { 8 } else { 100 };
    let (low, high) = (lows[skip], highs[rows.len() - 1 - skip]);
    (high < SPREAD && low > LEAST).then_some(high)
}

/// The strongest component of the difference is no more dominant than that of the values (or of what they were computed from).
fn not_one_component(case: &Case<'_>, r: &Array, d: &Array) -> Option<f64> {
    let few = d.rows().len().min(d.width());
    if few < 3 {
        return Some(0.0);
    }
    let share = strongest(d);
    let of_input = case.projection_inputs().map_or(0.0, |(x, _)| strongest(&x));
    let limit = (1.3 * strongest(r).max(of_input))
        .max(0.7)
        .max(3.0 / few as f64)
        .min(0.97);
    (share < limit).then_some(share)
}

/// Share of Σx² in the largest singular value, by iteration on the products of rows.
fn strongest(a: &Array) -> f64 {
    let a = gram::first_rows(a);
    let g = gram::own_products(&a);
    let n = g.len();
    let total: f64 = (0..n).map(|i| g[i][i]).sum();
    let mut v: Vec<f64> = (0..n).map(|i| 1.0 + (i % 7) as f64 * 0.1).collect();
    let mut largest = 0.0;
    for _ in 0..30 {
        let w: Vec<f64> = g.iter().map(|row| dot(row, &v)).collect();
        largest = size(&w);
        if largest == 0.0 {
            return 0.0;
        }
        v = w.iter().map(|x| x / largest).collect();
    }
    largest / total
}

/// A hundredth of the channels does not hold half of the error, unless it holds as much of the values.
fn not_few_channels(r: &Array, d: &Array) -> Option<()> {
    let width = d.width();
    let energy = |a: &Array| {
        let mut sum = vec![0.0; width];
        a.rows()
            .for_each(|row| sum.iter_mut().zip(row).for_each(|(s, x)| *s += x * x));
        sum
    };
    let (of_d, of_r) = (energy(d), energy(r));
    let mut order: Vec<usize> = (0..width).collect();
    let few = width.div_ceil(100);
    if few < width {
        order.select_nth_unstable_by(few, |&a, &b| of_d[b].total_cmp(&of_d[a]));
    }
    let top = &order[..few];
    let share = |e: &[f64]| top.iter().map(|&j| e[j]).sum::<f64>() / e.iter().sum::<f64>();
    (width < 8 || share(&of_d) < 0.5 || share(&of_r) > 0.25 * share(&of_d)).then_some(())
}

/// Sorted by the values the difference jumps from neighbour to neighbour (von Neumann's ratio). After an activation the value
/// to sort by is the gate, and a product is divided by its other factor.
fn no_function(case: &Case<'_>, r: &Array, d: &Array) -> Option<f64> {
    let site = case.site(Side::Reference);
    let input = match case.stage() {
        Some(Stage::ACT | Stage::MLP_MID) => {
            let gate = site.tap(Stage::GATE_PROJ);
            gate.or_else(|| site.tap(Stage::UP_PROJ))
                .filter(|x| x.data.len() == r.data.len())
        }
        _ => None,
    };
    let up = (case.stage() == Some(Stage::MLP_MID) && site.tap(Stage::GATE_PROJ).is_some())
        .then(|| site.tap(Stage::UP_PROJ))
        .flatten()
        .filter(|x| x.data.len() == r.data.len());
    let by = input.as_ref().map_or(&r.data, |x| &x.data);
    // an odd step does not fall into the period of the rows
    let step = by.len().div_ceil(POINTS) | 1;
    let mut points: Vec<(f64, f64)> = by
        .iter()
        .zip(&*d.data)
        .enumerate()
        .step_by(step)
        .filter(|(_, (x, d))| **d != 0.0 && x.is_finite())
        .map(|(i, (x, d))| (*x, up.as_ref().map_or(*d, |u| d / u.data[i])))
        .filter(|(_, d)| d.is_finite())
        .collect();
    if points.len() < 16 {
        return Some(2.0);
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    // ranks in place of sizes: a few large errors would hide the rest
    let mut ranks: Vec<usize> = (0..points.len()).collect();
    ranks.sort_by(|&a, &b| points[a].1.total_cmp(&points[b].1));
    let mut rank = vec![0.0; points.len()];
    ranks
        .iter()
        .enumerate()
        .for_each(|(place, &i)| rank[i] = place as f64);
    let mean = (points.len() - 1) as f64 / 2.0;
    let variance: f64 = rank.iter().map(|x| (x - mean) * (x - mean)).sum();
    let steps: f64 = rank
        .windows(2)
        .map(|w| (w[1] - w[0]) * (w[1] - w[0]))
        .sum::<f64>()
        / variance;
    (steps > STEPS).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Dumps, noisy, normal, project, stream};
    use super::*;

    fn judged(dumps: &Dumps, stage: Stage) -> bool {
        let mut noise = false;
        dumps.case(0, stage, |case| noise = is_rounding_like(case).is_some());
        noise
    }

    fn alone(c: impl Fn(&Array) -> Array) -> bool {
        let r = stream(10, 64, 1).map(|x| x + 0.5);
        judged(
            &Dumps::default().with(0, Stage::O_PROJ, r.clone(), c(&r)),
            Stage::O_PROJ,
        )
    }

    #[test]
    fn rounding_is_noise() {
        assert!(alone(|r| noisy(r, 1e-3, 5)));
        assert!(alone(|r| noisy(r, 5e-2, 5)));
        assert!(alone(|r| r.map(|x| half::bf16::from_f64(x).to_f64())));
        assert!(alone(|r| r.map(|x| half::f16::from_f64(x).to_f64())));
    }

    #[test]
    fn rounded_weights_are_noise_although_inputs_have_a_mean() {
        let x = stream(12, 64, 1).map(|v| v + 1.5);
        let w = normal(64 * 64, 2);
        let rounded: Vec<f64> = w.iter().map(|v| (v * 16.0).round() / 16.0).collect();
        let dumps = Dumps::default().same(0, Stage::ATTN_NORM, &x).with(
            0,
            Stage::V_PROJ,
            project(&x, &w, 64),
            project(&x, &rounded, 64),
        );
        assert!(judged(&dumps, Stage::V_PROJ));
    }

    #[test]
    fn systematic_differences_are_no_noise() {
        let row = normal(64, 9);
        let with = |f: &dyn Fn(usize, usize, f64) -> f64| {
            alone(|r| {
                let data = r
                    .data
                    .iter()
                    .enumerate()
                    .map(|(p, x)| f(p / 64, p % 64, *x))
                    .collect();
                noisy(&Array::new(r.shape.clone(), data), 1e-7, 3)
            })
        };
        assert!(!with(&|_, _, x| 1.01 * x), "a factor");
        assert!(!with(&|_, j, x| x + 0.01 * row[j]), "a constant row");
        assert!(
            !with(&|t, j, x| x + 0.01 * (1.0 + t as f64) * row[j]),
            "one row times a factor per token"
        );
        assert!(
            !with(&|t, _, x| if t == 4 { 1.1 * x } else { x }),
            "one token"
        );
        assert!(!with(&|_, j, x| if j == 7 { -x } else { x }), "one channel");
        assert!(!with(&|_, _, x| x + 1e-3 * (3.0 * x).sin()), "a function");
        assert!(!alone(|r| noisy(r, 1.0, 3)), "too large");
    }

    #[test]
    fn variants_of_gelu_are_no_noise() {
        let gate = stream(10, 64, 1);
        let up = stream(10, 64, 2);
        let tanh = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044715 * x * x * x)).tanh());
        let other = |x: f64| tanh(x) + 4e-4 * (x - 0.7).powi(2) * (-x * x).exp();
        let act = |f: &dyn Fn(f64) -> f64| gate.map(f).zip(&up, |a, b| a * b).unwrap();
        let dumps = Dumps::default()
            .same(0, Stage::GATE_PROJ, &gate)
            .same(0, Stage::UP_PROJ, &up)
            .with(0, Stage::MLP_MID, act(&tanh), act(&other));
        assert!(!judged(&dumps, Stage::MLP_MID));
    }
}
