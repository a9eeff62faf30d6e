//! One piece of a pair: how it is read, and its facts.

use super::Job;
use super::block::Guess;
use super::checksum;
use super::convert::Converter;
use super::facts::Facts;
use super::kernel::BLOCK;
use super::order::Positions;
use super::partial::known;
use super::setting::Setting;
use super::source::{Buffer, CHUNK_BYTES, Source, file_of};
use super::storage::located;
use crate::dump::{Payload, ReadError, Tensor};
use crate::simd::Isa;
use crc32fast::Hasher;
use std::fs::File;
use std::sync::Arc;

/// Elements whose facts are summed as one: 8 MiB of f32.
pub const RANGE: u64 = 1 << 21;

/// How a pair is read.
pub struct Plan {
    pub positions: Positions,
    pub access: Access,
    pub ranges: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Access {
    /// Any range by itself.
    Random,
    /// From the start to the end.
    Sequential,
    /// Single elements.
    Partial,
    /// Nothing to read.
    Nothing,
}

impl Plan {
    pub fn new(job: &Job<'_>) -> Plan {
        let (r, c) = (job.reference, job.candidate);
        let any = |is: fn(&Payload) -> bool| is(&r.payload) || is(&c.payload);
        let access = if any(|p| matches!(p, Payload::Statistics)) || r.info.is_empty() {
            Access::Nothing
        } else if any(|p| matches!(p, Payload::Partial(_))) {
            Access::Partial
        } else if any(|p| matches!(p, Payload::Stream(_))) {
            Access::Sequential
        } else {
            Access::Random
        };
        let row_major = r.info.is_contiguous() && c.info.is_contiguous();
        let common = (!row_major)
            .then(|| Positions::of_common_order(&r.info, &c.info))
            .flatten();
        Plan {
            positions: common.unwrap_or(Positions::RowMajor),
            access,
            ranges: (r.info.len() as u64).div_ceil(RANGE),
        }
    }

    /// Pieces that can be claimed by themselves.
    pub fn pieces(&self) -> usize {
        match self.access {
            Access::Random => self.ranges.max(1) as usize,
            _ => 1,
        }
    }
}

/// What one piece found.
pub struct Piece {
    pub facts: Facts,
    pub checksums: [Option<Hasher>; 2],
}

/// A thread's own buffers, and the files of the pair it was last busy with.
pub struct Worker {
    isa: Isa,
    converter: Converter,
    buffers: [Buffer; 2],
    open: Option<(usize, [Option<Arc<File>>; 2])>,
}

impl Worker {
    pub fn new(isa: Isa) -> Self {
        Worker {
            isa,
            converter: Converter::default(),
            buffers: Default::default(),
            open: None,
        }
    }

    pub fn piece(
        &mut self,
        number: usize,
        job: &Job<'_>,
        plan: &Plan,
        piece: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Piece, ReadError> {
        let setting = Setting {
            isa: self.isa,
            tolerance: job.tolerance,
            masked: job.masked,
            positions: &plan.positions,
        };
        let tensors = [job.reference, job.candidate];
        let dtypes = tensors.map(|t| t.info.dtype());
        if tensors[0].info.len() != tensors[1].info.len() {
            let [r, c] = tensors.map(|t| t.info.shape());
            let fact = format!("shape {c:?} cannot be compared with {r:?} element by element");
            let error = ReadError::malformed(&job.candidate.origin.path, fact);
            return Err(located(job.candidate, error));
        }
        let mut out = Piece {
            facts: Facts::default(),
            checksums: [None, None],
        };
        match plan.access {
            Access::Nothing => {}
            Access::Partial => {
                let known = known(job.reference, job.candidate)?;
                let setting = Setting {
                    positions: &known.positions,
                    ..setting
                };
                let [r, c] = &known.values;
                self.converter
                    .add_values(&mut out.facts, &setting, dtypes, r, c);
            }
            Access::Random => {
                let piece = piece as u64;
                let mut sources = self.open(number, tensors, plan)?;
                let last = piece + 1 == plan.ranges;
                for (tensor, source) in tensors.iter().zip(&mut sources) {
                    checksum::begin(tensor, source, piece == 0)?;
                }
                out.facts = self.range(&setting, tensors, &mut sources, piece, progress)?;
                for side in 0..2 {
                    out.checksums[side] = checksum::end(tensors[side], &mut sources[side], last)?;
                }
            }
            Access::Sequential => {
                let mut sources = self.open(number, tensors, plan)?;
                for (tensor, source) in tensors.iter().zip(&mut sources) {
                    checksum::begin(tensor, source, true)?;
                }
                for range in 0..plan.ranges {
                    let facts = self.range(&setting, tensors, &mut sources, range, progress)?;
                    if range == 0 {
                        out.facts = facts;
                    } else {
                        out.facts.append(facts);
                    }
                }
                for side in 0..2 {
                    sources[side].finish(tensors[side])?;
                    out.checksums[side] = checksum::end(tensors[side], &mut sources[side], true)?;
                }
            }
        }
        Ok(out)
    }

    /// The facts of one range.
    fn range(
        &mut self,
        setting: &Setting<'_>,
        tensors: [&Tensor; 2],
        sources: &mut [Source<'_>; 2],
        range: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Facts, ReadError> {
        let dtypes = tensors.map(|t| t.info.dtype());
        let sizes = dtypes.map(|d| d.size());
        let chunk = CHUNK_BYTES / sizes[0].max(sizes[1]) / BLOCK * BLOCK;
        let end = ((range + 1) * RANGE).min(tensors[0].info.len() as u64);
        let mut at = range * RANGE;
        let mut facts = Facts::default();
        let mut guess = Guess::default();
        let [r_source, c_source] = sources;
        let [r_buffer, c_buffer] = &mut self.buffers;
        while at < end {
            let count = chunk.min((end - at) as usize);
            let r = r_source.read(tensors[0], r_buffer, at, count)?;
            let c = c_source.read(tensors[1], c_buffer, at, count)?;
            self.converter
                .add(&mut facts, setting, &mut guess, at, dtypes, [r, c]);
            at += count as u64;
            progress((count * (sizes[0] + sizes[1])) as u64);
        }
        Ok(facts)
    }

    fn open<'a>(
        &mut self,
        number: usize,
        tensors: [&'a Tensor; 2],
        plan: &Plan,
    ) -> Result<[Source<'a>; 2], ReadError> {
        let files = match &self.open {
            Some((open, files)) if *open == number => files.clone(),
            _ => {
                let [r, c] = tensors;
                let files = [file_of(r)?, file_of(c)?];
                self.open = Some((number, files.clone()));
                files
            }
        };
        let straight = plan.positions.is_permuted();
        let [r, c] = files;
        Ok([
            Source::open(tensors[0], r, straight || tensors[0].info.is_contiguous())?,
            Source::open(tensors[1], c, straight || tensors[1].info.is_contiguous())?,
        ])
    }
}
