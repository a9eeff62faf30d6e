//! The activation functions of transformers.

use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

/// One function, by the name that configurations use.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    /// For the reader.
    pub title: &'static str,
    pub apply: fn(f64) -> f64,
}

/// Every function that is tested; of two that agree, the first one is named.
pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "silu",
        title: "SiLU",
        apply: |x| x * sigmoid(x),
    },
    Function {
        name: "gelu",
        title: "GELU (erf)",
        apply: |x| 0.5 * x * (1.0 + erf(x / SQRT_2)),
    },
    Function {
        name: "gelu_tanh",
        title: "GELU (tanh approximation)",
        apply: gelu_tanh,
    },
    Function {
        name: "quick_gelu",
        title: "quick GELU (sigmoid approximation)",
        apply: |x| x * sigmoid(1.702 * x),
    },
    Function {
        name: "relu",
        title: "ReLU",
        apply: |x| x.max(0.0),
    },
    Function {
        name: "relu2",
        title: "squared ReLU",
        apply: |x| x.max(0.0) * x.max(0.0),
    },
    Function {
        name: "identity",
        title: "no activation",
        apply: |x| x,
    },
    Function {
        name: "sigmoid",
        title: "sigmoid",
        apply: sigmoid,
    },
    Function {
        name: "tanh",
        title: "tanh",
        apply: f64::tanh,
    },
    Function {
        name: "leaky_relu",
        title: "leaky ReLU (0.01)",
        apply: |x| if x > 0.0 { x } else { 0.01 * x },
    },
    Function {
        name: "elu",
        title: "ELU",
        apply: |x| if x > 0.0 { x } else { x.exp_m1() },
    },
    Function {
        name: "softplus",
        title: "softplus",
        apply: softplus,
    },
    Function {
        name: "mish",
        title: "Mish",
        apply: |x| x * softplus(x).tanh(),
    },
];

impl Function {
    /// GELU itself or its tanh approximation; the sigmoid one is another function with another name in configurations.
    pub fn is_gelu(&self) -> bool {
        matches!(self.name, "gelu" | "gelu_tanh")
    }

    pub fn is_identity(&self) -> bool {
        self.name == "identity"
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// <https://arxiv.org/abs/1606.08415>, section 2.
fn gelu_tanh(x: f64) -> f64 {
    let inner = FRAC_2_SQRT_PI / SQRT_2 * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// erf x = 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n + 1)!!, whose terms are all of one sign (DLMF 7.6.2).
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_has_the_tabulated_values() {
        // Abramowitz & Stegun, table 7.1
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.5204998778130465),
            (1.0, 0.8427007929497149),
            (2.0, 0.9953222650189527),
            (-3.0, -0.9999779095030014),
        ] {
            assert!((erf(x) - y).abs() < 1e-14, "{x}");
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn the_forms_of_gelu_are_close_and_not_equal() {
        let value =
            |name: &str, x: f64| (FUNCTIONS.iter().find(|f| f.name == name).unwrap().apply)(x);
        let gap = (value("gelu", 1.5) - value("gelu_tanh", 1.5)).abs();
        assert!((1e-5..1e-3).contains(&gap), "{gap}");
        assert!((value("gelu", 1.0) - 0.8413447460685429).abs() < 1e-14);
    }
}
