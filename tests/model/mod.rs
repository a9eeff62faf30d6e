//! A small transformer with known truth: it runs on synthetic weights with trained-like statistics in a chosen
//! arithmetic, with or without an injected fault, and dumps every stage.

mod attention;
pub mod cases;
mod checks;
pub mod config;
pub mod corpus;
mod dump;
pub mod families;
pub mod faults;
mod forward;
pub mod healthy;
mod inject;
mod math;
mod matrix;
mod operation;
mod recipe;
pub mod style;
mod tap;
pub mod truth;
mod weights;
pub mod write;

pub use config::Config;
pub use faults::{Fault, Layers};
pub use math::Arithmetic;
pub use style::{Profile, Style};
pub use tap::{Data, Run};
pub use write::{Stored, npy, write};

use forward::Pass;
use recipe::Recipe;
use tap::Inputs;

/// Runs `config` in `arithmetic`, with `fault` if any, and dumps every stage.
pub fn run(config: &Config, seed: u64, arithmetic: Arithmetic, fault: Option<&Fault>) -> Run {
    run_with(config, seed, arithmetic, fault.as_slice())
}

/// As [`run`], with any number of faults at once.
pub fn run_with(config: &Config, seed: u64, arithmetic: Arithmetic, faults: &[&Fault]) -> Run {
    let mut weights = weights::generate(config, seed);
    let mut recipe = Recipe::of(config);
    for fault in faults {
        inject::inject(fault, config, &mut weights, &mut recipe);
    }
    weights::fuse(config, &mut weights);
    weights::store(&mut weights, arithmetic);
    let inputs = Inputs::new(config, seed);
    let mut pass = Pass {
        config,
        recipe: &recipe,
        weights: &weights,
        arithmetic,
        inputs: &inputs,
        prefix: String::new(),
        start: 0,
        len: config.seq,
        run: Run {
            tensors: Vec::new(),
        },
        cache: vec![
            [
                vec![Vec::new(); config.batch],
                vec![Vec::new(); config.batch]
            ];
            config.layers
        ],
    };
    for step in 0..=config.decode {
        if config.decode > 0 {
            pass.prefix = format!("step{step}/");
        }
        if step > 0 {
            (pass.start, pass.len) = (config.seq + step - 1, 1);
        }
        pass.step();
    }
    let mut run = pass.run;
    for fault in faults {
        dump::damage(fault, config, &mut run);
    }
    run
}
