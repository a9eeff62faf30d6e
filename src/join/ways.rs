//! The ways in which the tensors of several ranks can be one.

use super::Member;
use super::parts::{concat, crop, sum};
use crate::dump::Tensor;
use crate::name::Key;
use crate::pairs::Part;
use std::sync::Arc;

/// How the parts of a side are one tensor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Every rank holds all of it.
    Same,
    /// Side by side along an axis.
    Along(usize),
    /// One behind the other along a new first axis.
    Stacked,
    /// Each rank holds a stretch of every one of the packed projections, which have these widths in a rank, along the last axis.
    Packed(Vec<usize>),
    /// Each holds a term of the sum.
    Sum,
}

/// What the parts could be together, the natural way first.
pub(super) fn ways(members: &[Member], key: &Key) -> Vec<Way> {
    let shapes: Vec<&[usize]> = members
        .iter()
        .map(|m| m.tensor.tensor.info.shape())
        .collect();
    let first = shapes[0];
    if shapes.len() == 1 || shapes.iter().any(|s| s.len() != first.len()) {
        return vec![Way::Same];
    }
    let mut ways = Vec::new();
    let all_alike = shapes.iter().all(|s| *s == first);
    if all_alike {
        ways.push(Way::Same);
    }
    // the channels before the tokens before the batch
    for axis in (0..first.len()).rev() {
        let apart = |s: &&[usize]| (0..first.len()).all(|a| a == axis || s[a] == first[a]);
        if shapes.iter().all(apart) {
            ways.push(Way::Along(axis));
        }
    }
    if all_alike {
        ways.push(Way::Stacked);
        ways.extend(packed(first, key).into_iter().map(Way::Packed));
        ways.push(Way::Sum);
    }
    ways
}

/// The widths that packed projections can have in a rank: gate and up alike, queries of some heads for each key and value.
fn packed(shape: &[usize], key: &Key) -> Vec<Vec<usize>> {
    /// Queries for each key.
    const QUERIES: [usize; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 16];
    let width = shape.last().copied().unwrap_or(0);
    let equal = |n: usize| (width % n == 0).then(|| vec![width / n; n]);
    let is = |word: &str| key.to_string().contains(word);
    if is("gate_up") {
        return equal(2).into_iter().collect();
    }
    if !is("qkv") {
        return Vec::new();
    }
    let fits = QUERIES.iter().filter(|&&q| width.is_multiple_of(q + 2));
    let widths = |q: &usize| {
        let one = width / (q + 2);
        vec![q * one, one, one]
    };
    fits.map(widths).collect()
}

/// The shape without axes of length 1.
pub(super) fn squeezed(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

/// The shape of what the parts are together.
pub(super) fn shape_of(members: &[Member], way: &Way) -> Vec<usize> {
    let shape = |m: &Member| m.tensor.tensor.info.shape().to_vec();
    let mut out = shape(&members[0]);
    match way {
        Way::Same | Way::Sum => {}
        Way::Along(axis) => out[*axis] = members.iter().map(|m| shape(m)[*axis]).sum(),
        Way::Packed(_) => {
            let last = out.len() - 1;
            out[last] *= members.len();
        }
        Way::Stacked => out.insert(0, members.len()),
    }
    out
}

/// The tensor that the parts are together.
pub(super) fn made(members: &[Member], way: &Way) -> Option<Tensor> {
    let parts: Vec<Arc<Tensor>> = members
        .iter()
        .map(|m| Arc::clone(&m.tensor.tensor))
        .collect();
    let shape = shape_of(members, way);
    match way {
        Way::Same => Some(Tensor::clone(&parts[0])),
        Way::Along(axis) => concat(&parts, *axis, shape),
        Way::Stacked => concat(&parts, 0, shape),
        Way::Sum => sum(&parts),
        Way::Packed(widths) => {
            let axis = shape.len() - 1;
            let mut stretches = Vec::new();
            let mut start = 0;
            for width in widths {
                for part in &parts {
                    let mut bounds: Vec<_> = part.info.shape().iter().map(|&n| 0..n).collect();
                    bounds[axis] = start..start + width;
                    stretches.push(Arc::new(crop(part, &bounds)?));
                }
                start += width;
            }
            concat(&stretches, axis, shape)
        }
    }
}

pub(super) fn packed_text(ranks: usize, projections: usize) -> String {
    format!("{ranks} ranks, each of {projections} projections along the last axis")
}

/// Where each rank's part lies in what they are together.
pub(super) fn parts(members: &[Member], way: &Way) -> Vec<Part> {
    let Way::Along(axis) = *way else {
        return Vec::new();
    };
    let mut start = 0;
    let part = |m: &Member| {
        let tensor = Arc::clone(&m.tensor.tensor);
        let mut bounds: Vec<_> = tensor.info.shape().iter().map(|&n| 0..n).collect();
        bounds[axis] = start..start + bounds[axis].end;
        start = bounds[axis].end;
        Part {
            rank: m.at,
            tensor,
            bounds,
        }
    };
    members.iter().map(part).collect()
}
