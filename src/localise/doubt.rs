//! What differs and decides nothing: a guessed pair, or tensors that no layout reconciles, while all around agrees.

use super::{Graph, Localisation};
use crate::name::How;
use crate::pairs::{Outcome, Pair};

/// Pairs that differ although nothing computed from them does: they were not compared with their like. Where other tensors differ
/// behind them, or nothing else was compared, they stay what they are.
pub fn doubtful(pairs: &[Pair], found: &Localisation, graph: &Graph) -> Vec<usize> {
    let open = |i: usize| {
        let guessed = matches!(pairs[i].how, Some(How::Words | How::Guess));
        found.diverged[i] && (guessed || matches!(pairs[i].outcome, Outcome::Incomparable(_)))
    };
    let compared = |i: usize| pairs[i].stats().is_some() && !open(i);
    let agrees = (0..pairs.len()).any(|i| compared(i) && !found.diverged[i]);
    let guesses = (0..pairs.len()).all(|i| !compared(i) || found.diverged[i]) && !agrees;
    let children = graph.children();
    // what differs behind a tensor accuses it
    let mut accused = vec![false; pairs.len()];
    let mut later = false;
    for i in (0..pairs.len()).rev() {
        let differs = |&c: &usize| found.diverged[c] && (!open(c) || accused[c]);
        let known = children[i].iter().any(|&c| compared(c) || open(c));
        accused[i] = match known {
            true => children[i].iter().any(differs),
            false => later,
        };
        later |= found.diverged[i] && !open(i);
    }
    let guessed = |i: &usize| matches!(pairs[*i].how, Some(How::Words | How::Guess));
    (0..pairs.len())
        .filter(|&i| open(i) && !accused[i])
        .filter(|i| agrees || guesses && guessed(i))
        .collect()
}

/// Why a pair was not compared after all.
pub fn reason(pair: &Pair) -> String {
    match (&pair.outcome, &pair.reference, &pair.candidate) {
        (Outcome::Incomparable(why), ..) => why.clone(),
        (_, Some(r), Some(c)) => format!(
            "{} and {} were paired by a guess and differ, while all around agrees: not compared; --map decides",
            r.name, c.name
        ),
        _ => String::new(),
    }
}
