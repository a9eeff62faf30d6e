//! A tensor seen through a view: its axes split into parts, in another order, cut, standing at one place, repeated. Strides
//! say all of it, so nothing is copied.

use crate::dump::{Partial, Payload, ReadError, ShapeOverflow, Tensor, TensorInfo, unravel};
use std::sync::Arc;

use super::blocks::Blocks;

/// A part of an axis of a tensor: `[32, 128]` has the parts 32, 4 and 32 when its second axis is seen as four heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub axis: usize,
    pub len: usize,
    /// Where the view starts along it, or stands when none of its axes runs along it.
    pub at: usize,
}

/// An axis of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The part of the tensor that it runs along; none where all its elements are the same ones.
    pub part: Option<usize>,
    pub len: usize,
}

/// How a tensor is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// In the order of the tensor's axes, from slow to fast; axes of length 1 have none.
    pub parts: Vec<Part>,
    pub walks: Vec<Walk>,
    /// Axes of the tensor.
    pub rank: usize,
}

/// Views of both sides of a pair, with the same axes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    pub reference: View,
    pub candidate: View,
}

impl View {
    /// All of a tensor.
    pub fn whole(shape: &[usize]) -> View {
        let axes = || shape.iter().enumerate().filter(|(_, n)| **n != 1);
        let part = |(axis, &len): (usize, &usize)| Part { axis, len, at: 0 };
        let walk = |(part, (_, &len)): (usize, (usize, &usize))| Walk {
            part: Some(part),
            len,
        };
        View {
            parts: axes().map(part).collect(),
            walks: axes().enumerate().map(walk).collect(),
            rank: shape.len(),
        }
    }

    /// Elements of storage per step along each part.
    fn strides(&self, info: &TensorInfo) -> Vec<usize> {
        let step = |(i, part): (usize, &Part)| {
            let inside = self.parts[i + 1..].iter().filter(|p| p.axis == part.axis);
            info.strides()[part.axis] * inside.map(|p| p.len).product::<usize>()
        };
        self.parts.iter().enumerate().map(step).collect()
    }

    /// Elements of storage before the first one of the view, and per step along each of its axes.
    pub fn steps(&self, info: &TensorInfo) -> (usize, Vec<usize>) {
        let strides = self.strides(info);
        let first = self.parts.iter().zip(&strides).map(|(p, s)| p.at * s).sum();
        let step = |walk: &Walk| walk.part.map_or(0, |p| strides[p]);
        (first, self.walks.iter().map(step).collect())
    }

    /// Elements of the view.
    pub fn count(&self) -> usize {
        self.walks.iter().map(|w| w.len).product()
    }

    pub fn lens(&self) -> Vec<usize> {
        self.walks.iter().map(|w| w.len).collect()
    }

    /// The index in the tensor of a row-major position in the view.
    pub fn index(&self, position: u64) -> Vec<usize> {
        let inside = unravel(position, &self.lens());
        let mut at: Vec<usize> = self.parts.iter().map(|p| p.at).collect();
        for (walk, i) in self.walks.iter().zip(inside) {
            if let Some(part) = walk.part {
                at[part] += i;
            }
        }
        let mut index = vec![0; self.rank];
        for (part, at) in self.parts.iter().zip(at) {
            index[part.axis] = index[part.axis] * part.len + at;
        }
        index
    }

    /// The walk along a part, where there is one.
    pub fn walk(&self, part: usize) -> Option<&Walk> {
        self.walks.iter().find(|w| w.part == Some(part))
    }

    /// Elements of the tensor that the view does not show.
    pub fn left_out(&self) -> usize {
        let all: usize = self.parts.iter().map(|p| p.len).product();
        let along = self.walks.iter().filter(|w| w.part.is_some());
        all - along.map(|w| w.len).product::<usize>().min(all)
    }

    /// Whether the axes run in another order than those of the tensor.
    pub fn is_permuted(&self) -> bool {
        let order: Vec<usize> = self.walks.iter().filter_map(|w| w.part).collect();
        order.windows(2).any(|w| w[0] > w[1])
    }

    /// Positions in the view of the known elements of a tensor, ascending, with their values.
    pub fn known(&self, partial: &Partial, shape: &[usize]) -> Vec<(u64, f64)> {
        let mut known = Vec::new();
        let lens = self.lens();
        for (&position, &value) in partial.positions.iter().zip(&partial.values) {
            let mut index = unravel(position, shape);
            let mut at = vec![0; self.parts.len()];
            for (i, part) in self.parts.iter().enumerate().rev() {
                at[i] = index[part.axis] % part.len;
                index[part.axis] /= part.len;
            }
            let mut places = vec![0u64];
            for (walk, &len) in self.walks.iter().zip(&lens) {
                let inside = match walk.part {
                    Some(p) => match at[p].checked_sub(self.parts[p].at) {
                        Some(x) if x < len => x..x + 1,
                        _ => 0..0,
                    },
                    None => 0..len,
                };
                let further = |p: &u64| {
                    let start = p * len as u64;
                    inside.clone().map(move |x| start + x as u64)
                };
                places = places.iter().flat_map(further).collect();
            }
            let stands = |(i, p): (usize, &Part)| self.walk(i).is_some() || at[i] == p.at;
            if self.parts.iter().enumerate().all(stands) {
                known.extend(places.into_iter().map(|p| (p, value)));
            }
        }
        known.sort_by_key(|k| k.0);
        known
    }

    /// The tensor as the view shows it, its axes joined in `groups` (see [`Composition::groups`]).
    pub fn of(&self, t: &Tensor, groups: &[Vec<usize>]) -> Result<Tensor, ReadError> {
        let overflow = |e: ShapeOverflow| ReadError::malformed(&t.origin.path, e.to_string());
        let (first, steps) = self.steps(&t.info);
        let len = |g: &Vec<usize>| g.iter().map(|&w| self.walks[w].len).product();
        let shape: Vec<usize> = groups.iter().map(len).collect();
        let strides = groups.iter().map(|g| g.last().map_or(0, |&w| steps[w]));
        let info = TensorInfo::strided(t.info.dtype(), shape.clone(), strides.collect())
            .map_err(overflow)?;
        let row_major = || TensorInfo::new(t.info.dtype(), shape.clone()).map_err(overflow);
        let bytes = first * t.info.dtype().size();
        let all = first == 0 && info.is_contiguous() && info.len() == t.info.len();
        let (info, payload) = match &t.payload {
            Payload::Partial(p) => {
                let (positions, values) = self.known(p, t.info.shape()).into_iter().unzip();
                let known = Partial { positions, values };
                (row_major()?, Payload::Partial(Arc::new(known)))
            }
            payload if all => (row_major()?, payload.clone()),
            Payload::File {
                file,
                offset,
                big_endian,
                crc,
            } => {
                let payload = Payload::File {
                    file: file.clone(),
                    offset: offset + bytes as u64,
                    big_endian: *big_endian,
                    crc: *crc,
                };
                (info, payload)
            }
            Payload::Memory(all) if bytes > 0 => (info, Payload::Memory(all[bytes..].into())),
            Payload::Stream(inner) => {
                let blocks = Blocks::new(Arc::clone(inner), bytes as u64, &info);
                (row_major()?, Payload::Stream(Arc::new(blocks)))
            }
            payload => (info, payload.clone()),
        };
        Ok(Tensor {
            info,
            payload,
            ..t.clone()
        })
    }
}

impl Composition {
    pub fn sides(&self) -> [&View; 2] {
        [&self.reference, &self.candidate]
    }

    pub fn sides_mut(&mut self) -> [&mut View; 2] {
        [&mut self.reference, &mut self.candidate]
    }

    /// Whether the axes of one side run in another order than those of its tensor.
    pub fn is_permuted(&self) -> bool {
        self.sides().into_iter().any(View::is_permuted)
    }

    /// The axes of both views, those joined that are one axis of the reference and lie together on both sides; an empty group
    /// stands for an axis of length 1.
    pub fn groups(&self, reference: &TensorInfo, candidate: &TensorInfo) -> Vec<Vec<usize>> {
        let (r, c) = (&self.reference, &self.candidate);
        let steps = [r.steps(reference).1, c.steps(candidate).1];
        let axis = |w: usize| r.walks[w].part.map(|p| r.parts[p].axis);
        let together = |w: usize| {
            let len = r.walks[w].len;
            w > 0
                && axis(w).is_some()
                && axis(w - 1) == axis(w)
                && steps.iter().all(|s| s[w - 1] == s[w] * len)
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        // the rows of a batch that the reference is repeated for take the place of its one row
        let batch = r.walks.first().is_some_and(|w| w.part.is_none());
        let one = r.parts.first().is_some_and(|p| p.axis > 0);
        let mut next = usize::from(batch && one);
        for w in 0..r.walks.len() {
            if together(w)
                && let Some(group) = groups.last_mut()
            {
                group.push(w);
                continue;
            }
            // axes of length 1, and those along which the view stands still
            if let Some(axis) = axis(w) {
                groups.extend((next..axis).map(|_| Vec::new()));
                next = axis + 1;
            }
            groups.push(vec![w]);
        }
        groups.extend((next..r.rank).map(|_| Vec::new()));
        if self.is_whole() {
            // the longer spelling is kept for both
            let long = groups.len().max(c.rank);
            groups.splice(0..0, (groups.len()..long).map(|_| Vec::new()));
        }
        groups
    }

    /// Whether all that the two sides differ in are axes of length 1.
    pub fn is_whole(&self) -> bool {
        let walks = |v: &View| {
            let own = |(i, w): (usize, &Walk)| w.part == Some(i) && w.len == v.parts[i].len;
            v.walks.len() == v.parts.len() && v.walks.iter().enumerate().all(own)
        };
        let axes = |v: &View| v.parts.windows(2).all(|p| p[0].axis != p[1].axis);
        self.sides().into_iter().all(|v| walks(v) && axes(v))
    }

    /// Whether axes are cut as they are and keep their order: what may be assumed where no value shows it.
    pub fn is_plain(&self) -> bool {
        let (r, c) = (&self.reference, &self.candidate);
        let split = |v: &View, i: usize| {
            let axis = v.parts[i].axis;
            v.parts.iter().filter(|p| p.axis == axis).count() > 1
        };
        let any = |v: &View| (0..v.parts.len()).any(|i| split(v, i));
        let stands = |v: &View| (0..v.parts.len()).any(|i| v.walk(i).is_none() && split(v, i));
        let both = any(r) && any(c);
        let moved = both || self.repeats() || self.is_permuted() || stands(r) || stands(c);
        let whole = |[a, b]: [usize; 2]| !split(r, a) && !split(c, b);
        !moved && self.cuts().all(whole)
    }

    /// Whether both do the same to tensors of other sizes: of another step, say.
    pub fn is_like(&self, other: &Composition) -> bool {
        let like = |a: &View, b: &View| {
            let end = |v: &View, i: usize| {
                let len = v.walk(i).map_or(1, |w| w.len);
                v.parts[i].at > 0 && v.parts[i].at + len == v.parts[i].len
            };
            let same = |i: usize| {
                let (p, q) = (&a.parts[i], &b.parts[i]);
                p.axis == q.axis && (p.at == q.at || end(a, i) && end(b, i))
            };
            let walks = |v: &View| v.walks.iter().map(|w| w.part).collect::<Vec<_>>();
            a.parts.len() == b.parts.len() && (0..a.parts.len()).all(same) && walks(a) == walks(b)
        };
        like(&self.reference, &other.reference) && like(&self.candidate, &other.candidate)
    }

    /// Whether one side shows the same elements several times.
    pub fn repeats(&self) -> bool {
        self.sides()
            .into_iter()
            .flat_map(|v| &v.walks)
            .any(|w| w.part.is_none())
    }

    /// The batch along whose rows one side is repeated, which is the first axis of the other: on the candidate?, rows.
    pub fn batch(&self) -> Option<(bool, usize)> {
        let (r, c) = (&self.reference, &self.candidate);
        let first = |v: &View| v.parts.iter().filter(|p| p.axis == v.parts[0].axis).count() == 1;
        let mut both = r.walks.iter().zip(&c.walks);
        both.find_map(|(a, b)| match (a.part, b.part) {
            (None, Some(0)) if first(c) => Some((true, c.parts[0].len)),
            (Some(0), None) if first(r) => Some((false, r.parts[0].len)),
            _ => None,
        })
    }

    /// Cuts: the parts of both sides along which one is longer, by walk.
    pub fn cuts(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        let (r, c) = (&self.reference, &self.candidate);
        let both = r.walks.iter().zip(&c.walks);
        both.filter_map(|(a, b)| Some([a.part?, b.part?]))
            .filter(|[a, b]| r.parts[*a].len != c.parts[*b].len)
    }
}
