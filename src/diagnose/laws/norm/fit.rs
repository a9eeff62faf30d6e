//! The mathematics of RMSNorm and LayerNorm: weights by least squares, epsilon by a search.
//!
//! y = γ·x / √(mean(x²) + ε) (RMSNorm, <https://arxiv.org/abs/1910.07467>) or y = γ·(x − mean(x)) / √(var(x) + ε) + β
//! (LayerNorm, <https://arxiv.org/abs/1607.06450>). For a given ε, γ and β of each channel are linear in what is known; what
//! ε is left shows in the factor between rows of small and of large rms.

use crate::diagnose::Array;
use crate::text::rough;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How a row is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rms,
    Layer,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rms => "RMSNorm",
            Kind::Layer => "LayerNorm",
        }
    }

    /// What is subtracted from a row, and the mean square that is left.
    fn moments(self, row: &[f64]) -> (f64, f64) {
        let n = row.len().max(1) as f64;
        let mean = match self {
            Kind::Rms => 0.0,
            Kind::Layer => row.iter().sum::<f64>() / n,
        };
        (
            mean,
            row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n,
        )
    }
}

/// A kind of norm, with or without an added constant per channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub kind: Kind,
    pub bias: bool,
}

impl Form {
    /// The simplest first.
    pub const ALL: [Form; 3] = [
        Form {
            kind: Kind::Rms,
            bias: false,
        },
        Form {
            kind: Kind::Layer,
            bias: false,
        },
        Form {
            kind: Kind::Layer,
            bias: true,
        },
    ];

    fn unknowns(self) -> usize {
        1 + usize::from(self.bias)
    }
}

/// Rows of a norm's input and output.
#[derive(Clone, Debug)]
pub struct Rows {
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    pub width: usize,
}

/// Elements that a fit looks at; of more, rows are taken evenly, and those of smallest rms.
const ELEMENTS: usize = 1 << 16;

impl Rows {
    /// The distinct finite rows; `None` when there are none or the sizes do not match.
    pub fn new(x: &Array, y: &Array, width: usize) -> Option<Rows> {
        if width < 2 || x.data.len() != y.data.len() || !x.data.len().is_multiple_of(width) {
            return None;
        }
        let all: Vec<(&[f64], &[f64])> = x
            .data
            .chunks_exact(width)
            .zip(y.data.chunks_exact(width))
            .collect();
        let keep = (ELEMENTS / width).clamp(24, 512);
        let chosen = if all.len() <= keep {
            (0..all.len()).collect()
        } else {
            sample(&all, keep)
        };
        let mut seen = HashSet::new();
        let mut rows = Rows {
            x: Vec::new(),
            y: Vec::new(),
            width,
        };
        for (x, y) in chosen.into_iter().map(|i| all[i]) {
            let usable = x.iter().chain(y).all(|v| v.is_finite()) && x.iter().any(|v| *v != 0.0);
            if usable && seen.insert(fingerprint(x)) {
                rows.x.extend_from_slice(x);
                rows.y.extend_from_slice(y);
            }
        }
        (!rows.x.is_empty()).then_some(rows)
    }

    pub fn len(&self) -> usize {
        self.x.len() / self.width
    }

    fn square_of_output(&self) -> f64 {
        self.y.iter().map(|y| y * y).sum()
    }
}

/// Half the rows evenly, half those of smallest mean square, which tell epsilon.
fn sample(all: &[(&[f64], &[f64])], keep: usize) -> Vec<usize> {
    let mut by_size: Vec<usize> = (0..all.len()).collect();
    by_size.sort_by(|a, b| {
        Kind::Rms
            .moments(all[*a].0)
            .1
            .total_cmp(&Kind::Rms.moments(all[*b].0).1)
    });
    let mut chosen: Vec<usize> = by_size[..keep / 2].to_vec();
    chosen.extend((0..keep - keep / 2).map(|i| i * all.len() / (keep - keep / 2)));
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn fingerprint(row: &[f64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.iter().for_each(|x| x.to_bits().hash(&mut hasher));
    hasher.finish()
}

/// The constant under the root, and the conventional values that fit as well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epsilon {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Epsilon {
    /// `1e-6`, `1e-8 or less`, `about 3e-6`.
    pub fn text(self) -> String {
        match self {
            e if e.low == 0.0 && e.high > 0.0 => format!("{} or less", rough(e.high)),
            e if e.low == 0.0 => "0".into(),
            e if e.low < e.high => format!("about {}", rough(e.value)),
            e => rough(e.value),
        }
    }
}

/// A norm with all its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    pub form: Form,
    pub gamma: Vec<f64>,
    /// Zeros where there is no bias.
    pub beta: Vec<f64>,
    pub eps: Epsilon,
    /// Relative error of the fit, scaled by the degrees of freedom; `None` when there are none (too few rows to test).
    pub residual: Option<f64>,
}

impl Norm {
    /// Fits one form. With too few rows for a test the weights still go exactly through them.
    pub fn fit(rows: &Rows, form: Form) -> Norm {
        let eps = search(
            |eps| solve(rows, form, eps).sse,
            rows.x.len().saturating_sub(form.unknowns() * rows.width),
            rows.square_of_output(),
        );
        let Solution { gamma, beta, sse } = solve(rows, form, eps.value);
        Norm {
            form,
            gamma,
            beta,
            eps,
            residual: scaled(rows, form, sse),
        }
    }

    /// The form that fits best; of forms that fit alike, the simplest. `None` when the rows are too few to tell.
    pub fn best(rows: &Rows) -> Option<Norm> {
        let coarse = |form: Form| -> Option<f64> {
            let tried = [0.0, 1e-6, 1e-5, 1e-3].map(|eps| solve(rows, form, eps).sse);
            scaled(rows, form, tried.into_iter().fold(f64::INFINITY, f64::min))
        };
        let roughly: Vec<(Form, f64)> = Form::ALL
            .iter()
            .filter_map(|&f| Some((f, coarse(f)?)))
            .collect();
        let least = roughly
            .iter()
            .map(|(_, r)| *r)
            .fold(f64::INFINITY, f64::min);
        let fits: Vec<Norm> = roughly
            .iter()
            .filter(|(_, r)| *r <= 30.0 * least)
            .map(|(f, _)| Norm::fit(rows, *f))
            .collect();
        let least = fits
            .iter()
            .filter_map(|f| f.residual)
            .fold(f64::INFINITY, f64::min);
        fits.into_iter()
            .find(|f| f.residual.is_some_and(|r| r <= 1.3 * least))
    }

    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        self.apply_with(x, self.eps.value)
    }

    /// The norm with another epsilon.
    pub fn apply_with(&self, x: &[f64], eps: f64) -> Vec<f64> {
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(self.gamma.len().max(1)) {
            let (mean, square) = self.form.kind.moments(row);
            let scale = factor(square, eps);
            out.extend(
                row.iter()
                    .zip(&self.gamma)
                    .zip(&self.beta)
                    .map(|((x, g), b)| g * (x - mean) * scale + b),
            );
        }
        out
    }

    /// The epsilon with which this norm fits the rows best, weights as they are.
    pub fn refit_eps(&self, rows: &Rows) -> Epsilon {
        let sse = |eps: f64| {
            self.apply_with(&rows.x, eps)
                .iter()
                .zip(&rows.y)
                .map(|(a, b)| (a - b) * (a - b))
                .sum()
        };
        search(sse, rows.x.len(), rows.square_of_output())
    }

    /// `RMSNorm, eps 1e-6`
    pub fn text(&self) -> String {
        let bias = if self.form.bias { " with bias" } else { "" };
        format!("{}{bias}, eps {}", self.form.kind.name(), self.eps.text())
    }
}

fn factor(square: f64, eps: f64) -> f64 {
    let under_root = square + eps;
    if under_root > 0.0 {
        1.0 / under_root.sqrt()
    } else {
        0.0
    }
}

struct Solution {
    gamma: Vec<f64>,
    beta: Vec<f64>,
    sse: f64,
}

/// Weights of every channel by least squares, and the squared error left.
fn solve(rows: &Rows, form: Form, eps: f64) -> Solution {
    solve_with(rows, form, |row| {
        let (mean, square) = form.kind.moments(row);
        (mean, factor(square, eps))
    })
}

/// The same for any shift and factor of the rows.
fn solve_with(rows: &Rows, form: Form, normalise: impl Fn(&[f64]) -> (f64, f64)) -> Solution {
    let w = rows.width;
    let t = rows.len() as f64;
    let normed: Vec<(f64, f64)> = rows.x.chunks_exact(w).map(normalise).collect();
    let pairs = || {
        rows.x
            .chunks_exact(w)
            .zip(rows.y.chunks_exact(w))
            .zip(&normed)
    };
    let (mut centre_x, mut centre_y) = (vec![0.0; w], vec![0.0; w]);
    if form.bias {
        for ((x, y), &(mean, scale)) in pairs() {
            for j in 0..w {
                centre_x[j] += (x[j] - mean) * scale / t;
                centre_y[j] += y[j] / t;
            }
        }
    }
    let (mut xx, mut xy) = (vec![0.0; w], vec![0.0; w]);
    for ((x, y), &(mean, scale)) in pairs() {
        for j in 0..w {
            let z = (x[j] - mean) * scale - centre_x[j];
            xx[j] += z * z;
            xy[j] += z * (y[j] - centre_y[j]);
        }
    }
    let gamma: Vec<f64> = xx
        .iter()
        .zip(&xy)
        .map(|(xx, xy)| if *xx > 0.0 { xy / xx } else { 0.0 })
        .collect();
    let beta: Vec<f64> = (0..w)
        .map(|j| centre_y[j] - gamma[j] * centre_x[j])
        .collect();
    let mut sse = 0.0;
    for ((x, y), &(mean, scale)) in pairs() {
        for j in 0..w {
            let left = y[j] - gamma[j] * (x[j] - mean) * scale - beta[j];
            sse += left * left;
        }
    }
    Solution { gamma, beta, sse }
}

/// Relative error per degree of freedom: with as many unknowns as numbers every form fits.
fn scaled(rows: &Rows, form: Form, sse: f64) -> Option<f64> {
    let n = rows.x.len();
    let free = n
        .checked_sub(form.unknowns() * rows.width)
        .filter(|free| *free > 0)?;
    let square = rows.square_of_output();
    (square > 0.0).then(|| (sse / square * n as f64 / free as f64).sqrt())
}

/// What y = γ·x + β without any normalising leaves, per degree of freedom.
pub fn linear(rows: &Rows) -> Option<f64> {
    let form = Form {
        kind: Kind::Rms,
        bias: true,
    };
    scaled(
        rows,
        form,
        solve_with(rows, form, |row| (0.0, 1.0 / (row.len() as f64).sqrt())).sse,
    )
}

/// Values that models use; all that fit are kept as the range.
const CONVENTIONAL: [f64; 14] = [
    0.0,
    1e-12,
    1e-10,
    1e-9,
    1e-8,
    1e-7,
    f32::EPSILON as f64,
    1e-6,
    5e-6,
    1e-5,
    1e-4,
    1e-3,
    1e-2,
    1e-1,
];

/// Minimises the squared error over epsilon, and takes a conventional value where one fits as well.
fn search(sse: impl Fn(f64) -> f64, degrees: usize, square: f64) -> Epsilon {
    let at = |exponent: f64| 10f64.powf(exponent);
    let grid: Vec<f64> = (0..=24).map(|i| -13.0 + 0.5 * f64::from(i)).collect();
    let values: Vec<f64> = grid.iter().map(|e| sse(at(*e))).collect();
    let best = (0..grid.len())
        .min_by(|a, b| values[*a].total_cmp(&values[*b]))
        .unwrap_or(0);
    let (mut low, mut high) = (grid[best] - 0.5, grid[best] + 0.5);
    for _ in 0..14 {
        let third = (high - low) / 3.0;
        if sse(at(low + third)) <= sse(at(high - third)) {
            high -= third;
        } else {
            low += third;
        }
    }
    let (mut value, mut least) = (at((low + high) / 2.0), sse(at((low + high) / 2.0)));
    if sse(0.0) <= least {
        (value, least) = (0.0, sse(0.0));
    }
    // five standard deviations of the parameter, a little for errors that are not independent, and the rounding of f64
    let limit = least * (1.1 + 25.0 / degrees.max(1) as f64) + 1e-28 * square;
    let fitting: Vec<f64> = CONVENTIONAL
        .into_iter()
        .filter(|e| sse(*e) <= limit)
        .collect();
    let log = |e: f64| e.max(1e-13).log10();
    match fitting.iter().copied().min_by(|a, b| {
        (log(*a) - log(value))
            .abs()
            .total_cmp(&(log(*b) - log(value)).abs())
    }) {
        Some(conventional) => {
            let low = fitting.iter().copied().fold(f64::INFINITY, f64::min);
            Epsilon {
                value: conventional,
                low,
                high: fitting.iter().copied().fold(0.0, f64::max),
            }
        }
        None => Epsilon {
            value,
            low: value,
            high: value,
        },
    }
}
