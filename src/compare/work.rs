//! Shares the work among threads: pieces are claimed in turn and their facts joined in order, so that the result does
//! not depend on who did what.

use super::checksum;
use super::facts::Facts;
use super::piece::{Piece, Plan, Worker};
use super::{Job, PairStats};
use crate::dump::ReadError;
use crate::simd::Isa;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Small pairs are claimed together, up to this many bytes and pairs.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_PAIRS: usize = 32;

/// Less than this is not worth a second thread.
const ALONE_BYTES: u64 = 1 << 20;

/// The facts of a pair.
pub type Done = Result<Box<PairStats>, ReadError>;
/// Those of a piece of a pair that has several.
type Part = Result<Box<Piece>, ReadError>;

/// Some pairs, or one piece of a pair.
struct Unit {
    jobs: Range<usize>,
    piece: usize,
}

/// Compares all jobs on up to `threads` threads.
pub fn run(
    jobs: &[Job<'_>],
    threads: usize,
    isa: Isa,
    progress: &(dyn Fn(u64) + Sync),
) -> Vec<Done> {
    let plans: Vec<Plan> = jobs.iter().map(Plan::new).collect();
    let units = units(jobs, &plans);
    let done: Vec<OnceLock<Done>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let mut first = Vec::with_capacity(jobs.len());
    let mut slots = 0;
    for plan in &plans {
        first.push(slots);
        slots += if plan.pieces() > 1 { plan.pieces() } else { 0 };
    }
    let parts: Vec<OnceLock<Part>> = (0..slots).map(|_| OnceLock::new()).collect();

    let next = AtomicUsize::new(0);
    let work = || {
        let mut worker = Worker::new(isa);
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            for job in unit.jobs.clone() {
                let (it, plan) = (&jobs[job], &plans[job]);
                let piece = worker.piece(job, it, plan, unit.piece, progress);
                // Every slot is claimed once, so this one is empty.
                let _ = match plan.pieces() {
                    1 => done[job]
                        .set(join(it, std::iter::once(piece)))
                        .err()
                        .map(drop),
                    _ => {
                        let part = &parts[first[job] + unit.piece];
                        part.set(piece.map(Box::new)).err().map(drop)
                    }
                };
            }
        }
    };
    let bytes: u64 = jobs.iter().map(bytes).sum();
    let threads = if bytes < ALONE_BYTES { 1 } else { threads };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(units.len()) {
            scope.spawn(work);
        }
        work();
    });

    let mut parts = parts.into_iter();
    let finish = |((job, plan), done): ((&Job<'_>, &Plan), OnceLock<Done>)| {
        done.into_inner().unwrap_or_else(|| {
            let pieces = parts.by_ref().take(plan.pieces());
            let pieces = pieces.filter_map(OnceLock::into_inner);
            join(job, pieces.map(|piece| piece.map(|p| *p)))
        })
    };
    jobs.iter().zip(&plans).zip(done).map(finish).collect()
}

/// Bytes of both sides.
fn bytes(job: &Job<'_>) -> u64 {
    job.reference.info.byte_extent() + job.candidate.info.byte_extent()
}

fn units(jobs: &[Job<'_>], plans: &[Plan]) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut room = 0;
    for (i, (job, plan)) in jobs.iter().zip(plans).enumerate() {
        let bytes = bytes(job);
        match units.last_mut() {
            Some(unit) if bytes <= room && plan.pieces() == 1 && unit.jobs.len() < BATCH_PAIRS => {
                unit.jobs.end = i + 1;
                room -= bytes;
            }
            _ => {
                let pieces = (0..plan.pieces()).map(|piece| Unit {
                    jobs: i..i + 1,
                    piece,
                });
                units.extend(pieces);
                room = if plan.pieces() == 1 {
                    BATCH_BYTES.saturating_sub(bytes)
                } else {
                    0
                };
            }
        }
    }
    units
}

/// Joins the pieces of one pair in order.
fn join(job: &Job<'_>, pieces: impl Iterator<Item = Result<Piece, ReadError>>) -> Done {
    let mut all: Option<Piece> = None;
    for piece in pieces {
        let piece = piece?;
        match &mut all {
            None => all = Some(piece),
            Some(all) => {
                all.facts.append(piece.facts);
                for (all, piece) in all.checksums.iter_mut().zip(&piece.checksums) {
                    if let (Some(all), Some(piece)) = (all, piece) {
                        all.combine(piece);
                    }
                }
            }
        }
    }
    let dtypes = [job.reference.info.dtype(), job.candidate.info.dtype()];
    let Some(all) = all else {
        return Ok(Box::new(Facts::default().finish(dtypes)));
    };
    for (tensor, computed) in [job.reference, job.candidate].iter().zip(all.checksums) {
        if let (Some(crc), Some(computed)) = (checksum::stated(tensor), computed) {
            checksum::verify(tensor, crc, computed)?;
        }
    }
    let mut stats = all.facts.finish(dtypes);
    stats.diff.masked = job.masked;
    Ok(Box::new(stats))
}
