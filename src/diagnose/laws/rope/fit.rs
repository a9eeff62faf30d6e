//! Fits a rotation: pairing, number of rotated channels, frequencies and positions, from a tensor before and after.

use super::rotation::{Pairing, Rotation, Series, Spins, turned_back};
use crate::diagnose::Array;
use std::f64::consts::PI;

/// A fit that leaves more than this relative error is no rotation.
const ACCEPT: f64 = 0.2;
/// Tokens that are looked at.
const TOKENS: usize = 512;
/// A simpler description is kept when it leaves at most this many times what a freer one does.
const SIMPLER: f64 = 1.25;
/// What single precision leaves of a rotation, angles and products rounded.
const SINGLE: f64 = 5e-7;

/// Residuals below single precision's rounding are equally good.
const ROUNDING: f64 = 1e-7;
/// What channels that stand still may add to the error when they are taken out of the rotation.
const STILL: f64 = 1.02;

/// A fitted rotation with the relative error it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    pub rotation: Rotation,
    pub residual: f64,
}

/// The rotation from `x` to `y`, both `[batch, token, head, channel]`; `None` when none fits. `hint` is one known from
/// elsewhere (another step, the other side), whose frequencies are tried too; `start` is the position of the first token.
pub fn fit(x: &Array, y: &Array, hint: Option<&Rotation>, start: usize) -> Option<Fitted> {
    if x.shape != y.shape || x.shape.len() != 4 {
        return None;
    }
    let (x, y) = (first_tokens(x), first_tokens(y));
    let &[batch, tokens, _, d] = x.shape.as_slice() else {
        return None;
    };
    let identity = Fitted {
        rotation: Rotation {
            positions: (0..batch * tokens)
                .map(|row| (start + row % tokens) as i64)
                .collect(),
            ..Rotation::identity(batch * tokens)
        },
        residual: x.distance(&y),
    };
    let mut best: Option<Fitted> = None;
    for pairing in Pairing::ALL {
        for rotated in rotated_choices(&x, &y, d, hint) {
            let Some(spins) = Spins::new(&x, &y, pairing, rotated) else {
                continue;
            };
            if spins.left_with_free_angles() > 2.0 * ACCEPT {
                continue;
            }
            let found = of_pairing(&spins, hint, start);
            // a smaller share of rotated channels must earn its place, unless it needs fewer parameters: one base in place
            // of a frequency for every pair, or no frequencies for pairs that stand still
            let better = |f: &Fitted| {
                best.as_ref().is_none_or(|b| {
                    let (one, other) = (f.rotation.series.is_some(), b.rotation.series.is_some());
                    let margin = match (f.rotation.rotated < b.rotation.rotated, one, other) {
                        (true, true, false) => SIMPLER,
                        (true, false, false) => STILL,
                        (true, ..) => 1.0 / SIMPLER,
                        (false, false, true) => 1.0 / SIMPLER,
                        (false, ..) => 1.0,
                    };
                    if margin > 1.0 {
                        f.residual < margin * b.residual.max(ROUNDING)
                    } else {
                        f.residual < margin * b.residual
                    }
                })
            };
            if let Some(f) = found.filter(better) {
                best = Some(f);
            }
        }
    }
    let best = match best {
        Some(b) if b.residual < 0.5 * identity.residual => b,
        Some(b) if tokens == 1 && hint.is_some() && b.residual <= SIMPLER * identity.residual => b,
        _ => identity,
    };
    (best.residual < ACCEPT).then_some(best)
}

/// At most the first 512 tokens of `[batch, token, head, channel]`.
pub fn first_tokens(a: &Array) -> Array {
    let &[b, s, h, d] = a.shape.as_slice() else {
        return a.clone();
    };
    if s <= TOKENS {
        return a.clone();
    }
    let rows = a.data.chunks_exact(s * h * d);
    let data = rows.flat_map(|row| row[..TOKENS * h * d].iter().copied());
    Array {
        shape: vec![b, TOKENS, h, d],
        data: data.collect(),
    }
}

/// Numbers of rotated channels worth testing: all, usual shares, and what is left when the channels at the end that never
/// move are taken away.
fn rotated_choices(x: &Array, y: &Array, d: usize, hint: Option<&Rotation>) -> Vec<usize> {
    let mut moving = 0;
    for (u, v) in x.data.chunks_exact(d).zip(y.data.chunks_exact(d)) {
        while let Some(last) = (moving..d).rev().find(|&c| u[c] != v[c]) {
            moving = last + 1;
        }
    }
    let mut choices = vec![d, d * 3 / 4, d / 2, d * 2 / 5, d / 4, d / 8, moving];
    choices.extend(hint.map(|h| h.rotated));
    choices.retain(|r| r % 2 == 0 && *r >= 2 && *r <= d);
    choices.sort_unstable_by(|a, b| b.cmp(a));
    choices.dedup();
    choices
}

/// The best frequencies and positions for one pairing.
fn of_pairing(spins: &Spins, hint: Option<&Rotation>, start: usize) -> Option<Fitted> {
    let mut found: Vec<(Option<Series>, Vec<f64>)> = Vec::new();
    if spins.tokens >= 2 {
        let free = by_lags(spins);
        for with_factor in [false, true] {
            found.extend(series(spins, &free, with_factor));
        }
        found.push((None, free));
    } else if hint.is_none() {
        for theta in [1e4, 1e5, 5e5, 1e6] {
            let s = Series { theta, factor: 1.0 };
            found.push((Some(s), s.frequencies(spins.rotated)));
        }
    }
    if let Some(h) = hint.filter(|h| h.frequencies.len() == spins.pairs()) {
        found.push((h.series, h.frequencies.clone()));
        found.push((h.series, h.frequencies.iter().map(|w| -w).collect()));
    }
    let mut best: Option<Fitted> = None;
    for (series, frequencies) in found {
        let Some(f) = refined(spins, series, frequencies, start) else {
            continue;
        };
        // what single precision leaves is no reason for more parameters
        let worse = |b: &Fitted| b.residual > SINGLE && f.residual * SIMPLER < b.residual;
        if best.as_ref().is_none_or(worse) {
            best = Some(f);
        }
    }
    best
}

/// Frequencies from the turn between tokens: adjacent ones first, then ever farther ones for precision.
fn by_lags(spins: &Spins) -> Vec<f64> {
    let pairs = spins.pairs();
    let between = |i: usize, lag: usize| {
        let mut sum = (0.0, 0.0);
        for b in 0..spins.batch {
            for t in 0..spins.tokens - lag {
                let near = spins.turn[(b * spins.tokens + t) * pairs + i];
                let far = spins.turn[(b * spins.tokens + t + lag) * pairs + i];
                sum.0 += far.0 * near.0 + far.1 * near.1;
                sum.1 += far.1 * near.0 - far.0 * near.1;
            }
        }
        sum
    };
    (0..pairs)
        .map(|i| {
            let first = between(i, 1);
            let mut w = first.1.atan2(first.0);
            let mut lag = 2;
            while lag <= spins.tokens / 2 {
                let z = turned_back(between(i, lag), w * lag as f64);
                w += z.1.atan2(z.0) / lag as f64;
                lag *= 2;
            }
            w
        })
        .collect()
}

/// The geometric series through free frequencies, weighted by how well each is known.
fn series(spins: &Spins, free: &[f64], with_factor: bool) -> Option<(Option<Series>, Vec<f64>)> {
    let pairs = spins.pairs();
    let mut energy = vec![0.0; pairs];
    for row in spins.turn.chunks_exact(pairs) {
        for (e, z) in energy.iter_mut().zip(row) {
            *e += z.0.hypot(z.1);
        }
    }
    let sign = energy
        .iter()
        .zip(free)
        .map(|(e, w)| e * w)
        .sum::<f64>()
        .signum();
    // ln ω = −ln factor − (2i/r)·ln theta
    let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (i, (e, w)) in energy.iter().zip(free).enumerate() {
        if w * sign <= 0.0 {
            continue;
        }
        let (weight, x, y) = (
            e * w * w,
            2.0 * i as f64 / spins.rotated as f64,
            (w * sign).ln(),
        );
        n += weight;
        sx += weight * x;
        sy += weight * y;
        sxx += weight * x * x;
        sxy += weight * x * y;
    }
    let (log_theta, log_factor) = if with_factor {
        let det = n * sxx - sx * sx;
        let slope = (n * sxy - sx * sy) / det;
        (-slope, -(sy - slope * sx) / n)
    } else {
        (-sxy / sxx, 0.0)
    };
    if !(log_theta > 0.05 && log_theta < 40.0 && log_factor.abs() < 10.0) {
        return None;
    }
    let s = Series {
        theta: log_theta.exp(),
        factor: log_factor.exp(),
    };
    let frequencies = s.frequencies(spins.rotated);
    Some((Some(s), frequencies.iter().map(|w| w * sign).collect()))
}

/// Positions for the frequencies, then both improved in turn.
fn refined(
    spins: &Spins,
    mut series: Option<Series>,
    mut frequencies: Vec<f64>,
    start: usize,
) -> Option<Fitted> {
    let mut positions = positions(spins, &frequencies, start);
    let fixed = spins.tokens < 2;
    for _ in 0..4 {
        if fixed {
            break;
        }
        match &mut series {
            Some(s) => step_of_series(spins, s, &mut frequencies, &positions),
            None => step_of_free(spins, &mut frequencies, &positions),
        }
    }
    if !fixed {
        positions = self::positions(spins, &frequencies, start);
    }
    let (residual, amplitude) = spins.left(spins.aligned(&frequencies, &positions));
    residual.is_finite().then_some(Fitted {
        rotation: Rotation {
            pairing: spins.pairing,
            rotated: spins.rotated,
            frequencies,
            series,
            positions,
            amplitude,
        },
        residual,
    })
}

/// One Gauss–Newton step on the phases, for ln theta and (unless it is exactly 1) ln factor.
fn step_of_series(spins: &Spins, s: &mut Series, frequencies: &mut [f64], positions: &[i64]) {
    let pairs = spins.pairs();
    let sign = if frequencies.iter().sum::<f64>() < 0.0 {
        -1.0
    } else {
        1.0
    };
    let with_factor = s.factor != 1.0;
    let (mut aa, mut ab, mut bb, mut ra, mut rb) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (row, &p) in spins.turn.chunks_exact(pairs).zip(positions) {
        for (i, (&z, w)) in row.iter().zip(&*frequencies).enumerate() {
            let phi = p as f64 * w;
            let back = turned_back(z, phi);
            let (off, weight) = (back.1.atan2(back.0), z.0.hypot(z.1));
            let (a, b) = (-phi * 2.0 * i as f64 / spins.rotated as f64, -phi);
            aa += weight * a * a;
            ab += weight * a * b;
            bb += weight * b * b;
            ra += weight * a * off;
            rb += weight * b * off;
        }
    }
    let (da, db) = if with_factor {
        let det = aa * bb - ab * ab;
        ((ra * bb - rb * ab) / det, (rb * aa - ra * ab) / det)
    } else {
        (ra / aa, 0.0)
    };
    if !(da.abs() < 1.0 && db.abs() < 1.0) {
        return;
    }
    s.theta *= da.exp();
    if with_factor {
        s.factor *= db.exp();
    }
    for (w, new) in frequencies.iter_mut().zip(s.frequencies(spins.rotated)) {
        *w = sign * new;
    }
}

/// One Gauss–Newton step for each frequency by itself.
fn step_of_free(spins: &Spins, frequencies: &mut [f64], positions: &[i64]) {
    let pairs = spins.pairs();
    for (i, w) in frequencies.iter_mut().enumerate() {
        let (mut up, mut down) = (0.0, 0.0);
        for (row, &p) in spins.turn.chunks_exact(pairs).zip(positions) {
            let p = p as f64;
            let back = turned_back(row[i], p * *w);
            let weight = row[i].0.hypot(row[i].1);
            up += weight * p * back.1.atan2(back.0);
            down += weight * p * p;
        }
        if down > 0.0 {
            *w += up / down;
        }
    }
}

/// Position of every row: token index plus an offset for each batch element, or token by token where that fits far better.
fn positions(spins: &Spins, frequencies: &[f64], start: usize) -> Vec<i64> {
    let pairs = spins.pairs();
    let reach = (start + spins.tokens + 64) as i64;
    let table: Vec<Vec<(f64, f64)>> = (-64..=reach)
        .map(|p| {
            frequencies
                .iter()
                .map(|w| (p as f64 * w).sin_cos())
                .collect()
        })
        .collect();
    // the position among −64..=reach whose turn fits best, usual ones first
    let nearest = |row: &[(f64, f64)], usual: i64| {
        let fit = |p: i64| -> f64 {
            let turn = &table[(p + 64) as usize];
            row.iter()
                .zip(turn)
                .map(|(z, (sin, cos))| z.0 * cos + z.1 * sin)
                .sum()
        };
        let most: f64 = row.iter().map(|z| z.0.hypot(z.1)).sum();
        let mut best = (usual, fit(usual));
        for p in -64..=reach {
            let f = fit(p);
            if f > best.1 + 1e-9 * most {
                best = (p, f);
            }
        }
        best
    };
    let mut positions = Vec::with_capacity(spins.batch * spins.tokens);
    for rows in spins.turn.chunks_exact(spins.tokens * pairs) {
        // the whole row turned back by the token index leaves the offset
        let mut sum = vec![(0.0, 0.0); pairs];
        let mut most = 0.0;
        for (t, row) in rows.chunks_exact(pairs).enumerate() {
            for ((z, w), s) in row.iter().zip(frequencies).zip(&mut sum) {
                let back = turned_back(*z, t as f64 * w);
                s.0 += back.0;
                s.1 += back.1;
                most += z.0.hypot(z.1);
            }
        }
        let (offset, aligned) = nearest(&sum, start as i64);
        let usual = (0..spins.tokens as i64).map(|t| t + offset);
        if aligned > 0.999 * most || spins.tokens < 2 {
            positions.extend(usual);
            continue;
        }
        let single: Vec<(i64, f64)> = rows
            .chunks_exact(pairs)
            .zip(usual.clone())
            .map(|(row, usual)| nearest(row, usual.clamp(-64, reach)))
            .collect();
        if most - single.iter().map(|s| s.1).sum::<f64>() < 0.3 * (most - aligned) {
            positions.extend(single.iter().map(|s| s.0));
        } else {
            positions.extend(usual);
        }
    }
    positions
}

/// An angle brought to −π..π.
pub fn wrapped(phi: f64) -> f64 {
    phi - 2.0 * PI * (phi / (2.0 * PI)).round()
}
