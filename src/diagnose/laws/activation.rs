//! The activation of the MLP: act = f(gate) (f(up) where there is no gate), mid = f(gate)·up.
//!
//! The functions have no parameters, so each predicts the output exactly; the one that fits each side is its activation.

mod function;

use super::trial::Trial;
use super::{Fit, Law, Site, Suspicion};
use crate::causes;
use crate::diagnose::Array;
use crate::diagnose::laws::Both;
use crate::math::distance;
use crate::name::Stage;
use crate::text::rough;
use function::{FUNCTIONS, Function};
use serde_json::json;

/// A function fitted to the reference has to explain it at least this well.
const FITS: f64 = 0.1;
/// Elements that are looked at.
const ELEMENTS: usize = 1 << 17;

pub struct ActivationLaw;

/// How the output is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wiring {
    /// f(gate)
    Gate,
    /// f(up), in a model without a gate
    Up,
    /// f(gate)·up
    Gated,
    /// f(up)·gate
    Crossed,
    /// act·up: the function is not seen.
    Product,
}

const WIRINGS: [Wiring; 5] = [
    Wiring::Gate,
    Wiring::Up,
    Wiring::Gated,
    Wiring::Crossed,
    Wiring::Product,
];

impl Wiring {
    fn text(self, f: &str) -> String {
        match self {
            Wiring::Gate => format!("{f} of the gate"),
            Wiring::Up => f.to_owned(),
            Wiring::Gated => format!("{f} of the gate, times up"),
            Wiring::Crossed => format!("{f} of up, times the gate"),
            Wiring::Product => "act times up".to_owned(),
        }
    }
}

/// The inputs of one side, cut to what is looked at.
struct Taps {
    gate: Option<Vec<f64>>,
    up: Option<Vec<f64>>,
    act: Option<Vec<f64>>,
    y: Vec<f64>,
}

impl Taps {
    /// What the side did not dump is taken from the other side.
    fn new(site: &Site<'_>, other: Option<&Site<'_>>, output: Stage) -> Option<Taps> {
        let y = site.dumped(output)?;
        let stride = y.data.len().div_ceil(ELEMENTS).max(1);
        let get = |stage| {
            let own = site.dumped(stage).or_else(|| other?.dumped(stage))?;
            (own.data.len() == y.data.len()).then(|| strided(&own, stride))
        };
        let act = if output == Stage::MLP_MID {
            get(Stage::ACT)
        } else {
            None
        };
        let (mut gate, mut up) = (get(Stage::GATE_PROJ), get(Stage::UP_PROJ));
        if gate.is_none() && up.is_none() {
            // [gate | up] in one projection
            let fused = site
                .dumped(Stage::GATE_PROJ)
                .or_else(|| site.dumped(Stage::UP_PROJ))?;
            (gate, up) = halves(&fused, &y, stride)?;
        }
        Some(Taps {
            gate,
            up,
            act,
            y: strided(&y, stride),
        })
    }

    fn predict(&self, wiring: Wiring, f: &Function) -> Option<Vec<f64>> {
        let one = |x: &Option<Vec<f64>>| {
            x.as_ref()
                .map(|x| x.iter().map(|x| (f.apply)(*x)).collect::<Vec<f64>>())
        };
        let product = |a: Option<Vec<f64>>, b: &Option<Vec<f64>>| {
            let (a, b) = (a?, b.as_ref()?);
            Some(a.iter().zip(b).map(|(a, b)| a * b).collect())
        };
        match wiring {
            Wiring::Gate => one(&self.gate),
            Wiring::Up => one(&self.up),
            Wiring::Gated => product(one(&self.gate), &self.up),
            Wiring::Crossed => product(one(&self.up), &self.gate),
            Wiring::Product => product(self.act.clone(), &self.up),
        }
    }

    fn left(&self, wiring: Wiring, f: &Function) -> Option<f64> {
        Some(distance(&self.predict(wiring, f)?, &self.y))
    }

    /// The wiring and function that fit best; of those that fit alike, the first.
    fn best(&self, wirings: &[Wiring]) -> Option<(Wiring, &'static Function, f64)> {
        let mut best: Option<(Wiring, &'static Function, f64)> = None;
        for &wiring in wirings {
            for f in FUNCTIONS {
                let Some(left) = self.left(wiring, f) else {
                    continue;
                };
                if best.is_none_or(|(_, _, least)| left < 0.7 * least) {
                    best = Some((wiring, f, left));
                }
                if wiring == Wiring::Product {
                    break;
                }
            }
        }
        best
    }
}

fn strided(x: &Array, stride: usize) -> Vec<f64> {
    x.data.iter().step_by(stride).copied().collect()
}

type Half = Option<Vec<f64>>;

fn halves(fused: &Array, y: &Array, stride: usize) -> Option<(Half, Half)> {
    let w = y.width();
    if w == 0 || fused.width() != 2 * w || fused.data.len() != 2 * y.data.len() {
        return None;
    }
    let half = |start: usize| {
        let all: Vec<f64> = fused
            .rows()
            .flat_map(|row| row[start..start + w].iter().copied())
            .collect();
        strided(&Array::new(y.shape.clone(), all), stride)
    };
    Some((Some(half(0)), Some(half(w))))
}

/// What can be tested at a stage.
fn wirings(output: Stage) -> &'static [Wiring] {
    match output {
        Stage::ACT => &WIRINGS[..2],
        _ => &WIRINGS[1..],
    }
}

impl Law for ActivationLaw {
    fn id(&self) -> &'static str {
        "activation"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[Stage::GATE_PROJ, Stage::UP_PROJ, Stage::ACT, Stage::MLP_MID]
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        if !matches!(output, Stage::ACT | Stage::MLP_MID) {
            return None;
        }
        let (wiring, f, residual) = Taps::new(site, None, output)?.best(wirings(output))?;
        let parameters = match wiring {
            Wiring::Product => vec![],
            _ => vec![("activation", json!(f.name))],
        };
        (residual < FITS).then(|| Fit {
            text: wiring.text(f.title),
            parameters,
            residual,
        })
    }

    fn suspect(&self, both: &Both<'_>) -> Option<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        if matches!(output, Stage::GATE_PROJ | Stage::UP_PROJ) {
            return swapped(both);
        }
        let of = |site, other| Taps::new(site, Some(other), output);
        let (r, c) = (of(reference, candidate)?, of(candidate, reference)?);
        // the product of two dumped tensors says nothing about the function
        let functional: Vec<Wiring> = wirings(output)
            .iter()
            .copied()
            .filter(|w| *w != Wiring::Product)
            .collect();
        let (wiring, f, residual) = r.best(&functional).filter(|(_, _, left)| *left < FITS)?;
        let before = c.left(wiring, f)?;
        let (c_wiring, c_f, after) = c.best(&functional)?;
        let trial = Trial { before, after };
        if !trial.convinces(noise) || (wiring, f.name) == (c_wiring, c_f.name) {
            return None;
        }
        let evidence = vec![
            format!(
                "{} from the candidate's own tensors: {}",
                c_wiring.text(c_f.title),
                trial.text()
            ),
            format!(
                "reference fits {} with relative error {}",
                wiring.text(f.title),
                rough(residual)
            ),
        ];
        let title = format!(
            "reference: {}; candidate: {}",
            wiring.text(f.title),
            c_wiring.text(c_f.title)
        );
        let cause = match () {
            () if wiring != c_wiring => causes::ACTIVATION_ON_WRONG_BRANCH,
            () if c_f.is_identity() => causes::ACTIVATION_MISSING,
            () if f.is_gelu() && c_f.is_gelu() => causes::GELU_VARIANT,
            () => causes::WRONG_ACTIVATION,
        };
        Some(Suspicion {
            cause,
            key: candidate.key(output),
            title,
            before,
            after,
            evidence,
        })
    }
}

/// The two projections exchanged: gate_c = up_r and up_c = gate_r.
fn swapped(both: &Both<'_>) -> Option<Suspicion> {
    let (reference, candidate, output, noise) = both.parts();
    let (gate_r, up_r) = (
        reference.dumped(Stage::GATE_PROJ)?,
        reference.dumped(Stage::UP_PROJ)?,
    );
    let (gate_c, up_c) = (
        candidate.dumped(Stage::GATE_PROJ)?,
        candidate.dumped(Stage::UP_PROJ)?,
    );
    let before = gate_c.distance(&gate_r).min(up_c.distance(&up_r));
    let after = gate_c.distance(&up_r).max(up_c.distance(&gate_r));
    let trial = Trial { before, after };
    trial.convinces(noise).then(|| Suspicion {
        cause: causes::GATE_UP_SWAPPED,
        key: candidate.key(output),
        title: "the candidate's gate projection is the reference's up projection, and the reverse"
            .into(),
        before,
        after,
        evidence: vec![format!(
            "gate against up and up against gate: {}",
            trial.text()
        )],
    })
}
