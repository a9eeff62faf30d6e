//! Brings two tensors of one stage to a common logical shape: squeezed, regrouped, axes exchanged, or the part they share.
//!
//! Every way in which the candidate could be laid out is a `Reading`; where several are possible the data decide, on a
//! sample of elements. The result is a pair of views: nothing is copied, unless the elements can only be streamed.

use crate::dtype::DType;
use crate::dump::{Guess, Partial, Payload, ReadError, Remark, Tensor, TensorInfo, unravel};
use crate::name::Stage;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Two views of equal shape, and what was done to get there.
#[derive(Debug)]
pub struct Aligned<'a> {
    pub reference: Cow<'a, Tensor>,
    pub candidate: Cow<'a, Tensor>,
    /// Where the reference's view lies in the reference, unless they are one.
    pub view: Option<View>,
    pub notes: Vec<Remark>,
}

/// Where the elements of a view lie in its tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Axes of the view: their lengths, the axes of the tensor that they run along, and where they start there.
    shape: Vec<usize>,
    axes: Vec<usize>,
    start: Vec<usize>,
    /// Axes of the tensor.
    rank: usize,
}

impl View {
    fn of(reading: &Reading, info: &TensorInfo) -> View {
        let axes = squeezed_axes(info);
        View {
            shape: reading.shape.clone(),
            axes: reading.axes.iter().map(|&a| axes[a]).collect(),
            start: reading.start.clone(),
            rank: info.shape().len(),
        }
    }

    /// The index in the tensor of a row-major position in the view.
    pub fn index(&self, position: u64) -> Vec<usize> {
        let mut index = vec![0; self.rank];
        let inside = unravel(position, &self.shape);
        for ((axis, start), i) in self.axes.iter().zip(&self.start).zip(inside) {
            index[*axis] = start + i;
        }
        index
    }
}

/// Why two tensors cannot be brought together.
#[derive(Debug)]
pub enum Misfit {
    /// No layout reconciles the shapes; the text names both.
    Shapes(String),
    Unreadable(ReadError),
}

/// A way to read one tensor in the axes of another: axes permuted, then a box cut out.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    /// Axis of the source for every axis of the result.
    axes: Vec<usize>,
    start: Vec<usize>,
    shape: Vec<usize>,
}

/// Elements looked at to decide between readings.
const SAMPLE: usize = 2048;
/// Smaller magnitudes count as this one: f16 has none of them.
const FAINT: f64 = 1.0 / (1 << 24) as f64;
/// Another reading than the natural one is taken when it leaves less than this part of the error.
const CLEARLY: f64 = 0.75;

/// Aligns a pair; `stage` tells which axes may be padded.
pub fn align<'a>(
    reference: &'a Tensor,
    candidate: &'a Tensor,
    stage: Option<Stage>,
) -> Result<Aligned<'a>, Misfit> {
    let Aligned {
        reference,
        candidate,
        mut notes,
        ..
    } = reread(reference, candidate)?;
    let alike = reference.info.shape() == candidate.info.shape();
    if statistics_only(&reference) || statistics_only(&candidate) || alike {
        return Ok(Aligned {
            reference,
            candidate,
            view: None,
            notes,
        });
    }
    let (r_shape, c_shape) = (
        reference.info.shape().to_vec(),
        candidate.info.shape().to_vec(),
    );
    let (r_box, c_box) = (squeeze(&r_shape), squeeze(&c_shape));
    if r_box == c_box {
        // axes of length 1 only: the longer spelling is kept for both
        let shape = if r_shape.len() >= c_shape.len() {
            r_shape.clone()
        } else {
            c_shape.clone()
        };
        if r_shape.len() != c_shape.len() {
            notes.push(remark(
                "missing_batch_dim",
                format!("shape {r_shape:?} against {c_shape:?}: axes of length 1 ignored"),
            ));
        }
        return views(
            &reference,
            &candidate,
            &Reading::whole(&r_box),
            &Reading::whole(&c_box),
            &shape,
            notes,
        );
    }
    let choices = readings(&r_box, &c_box, stage);
    let Some(best) = choose(&reference, &candidate, &choices)? else {
        return Err(Misfit::Shapes(format!(
            "shape {r_shape:?} against {c_shape:?}: no layout makes them comparable"
        )));
    };
    notes.push(best.remark(&r_shape, &c_shape));
    let shape = if best.reference == Reading::whole(&r_box) {
        r_shape
    } else {
        best.reference.shape.clone()
    };
    views(
        &reference,
        &candidate,
        &best.reference,
        &best.candidate,
        &shape,
        notes,
    )
}

fn statistics_only(t: &Tensor) -> bool {
    matches!(t.payload, Payload::Statistics)
}

fn remark(id: &'static str, message: String) -> Remark {
    Remark {
        id,
        message,
        tensors: Vec::new(),
    }
}

/// A tensor without a header takes the dtype and shape of its partner when the bytes fit, else the type of its own width.
fn reread<'a>(reference: &'a Tensor, candidate: &'a Tensor) -> Result<Aligned<'a>, Misfit> {
    let mut notes = Vec::new();
    let (c, note) = like_partner(candidate, reference)?;
    notes.extend(note);
    let (r, note) = like_partner(reference, &c)?;
    notes.extend(note);
    Ok(Aligned {
        reference: r,
        candidate: c,
        view: None,
        notes,
    })
}

fn like_partner<'a>(
    one: &'a Tensor,
    other: &Tensor,
) -> Result<(Cow<'a, Tensor>, Option<Remark>), Misfit> {
    let as_it_is = || Ok((Cow::Borrowed(one), None));
    let guessed = matches!(one.guess, Some(Guess::Size | Guess::Shape | Guess::Bits));
    if !guessed || other.guess.is_some() {
        return as_it_is();
    }
    let (found, why) = match one.reread(other.info.dtype(), other.info.shape()) {
        Some(again) => (Some(again), "like its partner"),
        None => (
            by_width(one, other).map_err(Misfit::Unreadable)?,
            "the shape of its partner and the type of this width whose values lie closest",
        ),
    };
    let Some(again) = found else {
        return as_it_is();
    };
    let (id, what) = match one.guess {
        Some(Guess::Bits) => ("dtype_from_partner", "type"),
        Some(Guess::Shape) => ("shape_from_partner", "shape"),
        _ => ("headerless", "type"),
    };
    let message = format!(
        "`{}` does not state its {what}: read as {} {:?}, {why}",
        one.name,
        again.info.dtype(),
        again.info.shape()
    );
    Ok((Cow::Owned(again), Some(remark(id, message))))
}

/// Headerless data as the type whose width fits the partner's elements; of several the one with values closest to its.
fn by_width(one: &Tensor, other: &Tensor) -> Result<Option<Tensor>, ReadError> {
    use DType::*;
    if one.guess != Some(Guess::Size) || other.info.is_empty() {
        return Ok(None);
    }
    let width = one.info.byte_extent() / other.info.len() as u64;
    let types: &[DType] = match (width, other.info.dtype().is_exact()) {
        (2, false) => &[F16, BF16],
        (4, false) => &[F32],
        (8, false) => &[F64],
        (2, true) => &[I16],
        (4, true) => &[I32, F32],
        (8, true) => &[I64, F64],
        _ => &[],
    };
    let mut readings = types
        .iter()
        .filter_map(|d| one.reread(*d, other.info.shape()))
        .collect::<Vec<_>>();
    if readings.len() < 2 {
        return Ok(readings.pop());
    }
    if statistics_only(other) {
        return Ok(None);
    }
    let spread = magnitudes(&resident(other)?)?;
    let mut best: Option<(f64, Tensor)> = None;
    for reading in readings {
        let far = distance(&magnitudes(&reading)?, &spread);
        if best.as_ref().is_none_or(|(least, _)| far < *least) {
            best = Some((far, reading));
        }
    }
    Ok(best.map(|(_, reading)| reading))
}

/// Binary logarithms of a sample of elements, in order of size: what the wrong type changes and another order of the
/// elements does not. Infinite and undefined values count as out of all range, what is not known is left out.
fn magnitudes(t: &Tensor) -> Result<Vec<f64>, ReadError> {
    let len = t.info.len();
    let step = (len / SAMPLE).max(1) | 1;
    let values = match &t.payload {
        Payload::Partial(known) => known.values.clone(),
        _ => {
            let positions: Vec<usize> = (0..len).step_by(step).collect();
            sample(t, &Reading::whole(&squeeze(t.info.shape())), &positions)?
        }
    };
    let mut logs: Vec<f64> = values
        .into_iter()
        .map(|v| {
            if v.is_finite() {
                v.abs().max(FAINT).log2()
            } else {
                f64::from(f32::MAX).log2()
            }
        })
        .collect();
    logs.sort_by(f64::total_cmp);
    Ok(logs)
}

/// Mean distance between two ordered samples, compared at the same parts of both.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let at = |list: &[f64], i: usize| list[i * (list.len() - 1) / SAMPLE];
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    (0..=SAMPLE).map(|i| (at(a, i) - at(b, i)).abs()).sum()
}

fn squeeze(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&n| n != 1).collect()
}

impl Reading {
    fn whole(shape: &[usize]) -> Self {
        Reading {
            axes: (0..shape.len()).collect(),
            start: vec![0; shape.len()],
            shape: shape.to_vec(),
        }
    }

    fn is_permuted(&self) -> bool {
        self.axes.windows(2).any(|w| w[0] > w[1])
    }
}

/// A way to bring both sides together.
#[derive(Clone, Debug)]
struct Choice {
    reference: Reading,
    candidate: Reading,
    /// `Some(axis)`: the sides share only a part along this axis of the reference.
    cut: Option<Cut>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Leading,
    Trailing,
}

impl Choice {
    fn remark(&self, r: &[usize], c: &[usize]) -> Remark {
        match (
            self.cut,
            self.candidate.is_permuted() || self.reference.is_permuted(),
        ) {
            (Some(Cut::Trailing), _)
                if self.reference.shape.iter().product::<usize>() < r.iter().product() =>
            {
                remark(
                    "last_token_only",
                    format!("shape {r:?} against {c:?}: the last part along one axis is compared"),
                )
            }
            (Some(_), _) => remark(
                "sequence_padded",
                format!(
                    "shape {r:?} against {c:?}: the common part {:?} is compared",
                    self.reference.shape
                ),
            ),
            (None, true) => remark(
                "layout_permuted",
                format!("shape {r:?} against {c:?}: compared with the axes of one side reordered"),
            ),
            (None, false) => remark(
                "layout_regrouped",
                format!("shape {r:?} against {c:?}: same elements in the same order"),
            ),
        }
    }
}

/// All readings that make the squeezed shapes equal, the most natural first.
fn readings(r: &[usize], c: &[usize], stage: Option<Stage>) -> Vec<Choice> {
    let mut out = Vec::new();
    let (nr, nc): (usize, usize) = (r.iter().product(), c.iter().product());
    if nr == nc {
        let regrouped = Choice {
            reference: Reading::whole(r),
            candidate: Reading::whole(c),
            cut: None,
        };
        // axes that are only split or joined lie in memory as they did; else heads and tokens would mix
        let natural = refines(r, c) || refines(c, r);
        if natural {
            out.push(regrouped.clone());
        }
        if c.len() <= 5 {
            for axes in permutations(c.len()) {
                let shape: Vec<usize> = axes.iter().map(|&a| c[a]).collect();
                let reading = Reading {
                    start: vec![0; c.len()],
                    axes,
                    shape,
                };
                if reading.is_permuted() && refines(&reading.shape, r) {
                    out.push(Choice {
                        reference: Reading::whole(r),
                        candidate: reading,
                        cut: None,
                    });
                }
            }
        }
        // the reference's axes are the finer ones: permute them instead, and read the candidate as it is
        if r.len() <= 5 && r.len() > c.len() {
            for axes in permutations(r.len()) {
                let shape: Vec<usize> = axes.iter().map(|&a| r[a]).collect();
                let reading = Reading {
                    start: vec![0; r.len()],
                    axes,
                    shape,
                };
                if reading.is_permuted() && refines(&reading.shape, c) {
                    out.push(Choice {
                        reference: reading,
                        candidate: Reading::whole(c),
                        cut: None,
                    });
                }
            }
        }
        // the same axes in another order are more natural than the same order under other axes
        out.sort_by_key(|choice| choice.candidate.shape != r);
        if !natural {
            out.push(regrouped);
        }
        return out;
    }
    if r.len() == c.len() {
        cuts(r, c, stage, &mut out);
    } else if r.len() == c.len() + 1 || c.len() == r.len() + 1 {
        // one side kept a single position along an axis that the squeezed other side has
        let (long, short) = if r.len() > c.len() { (r, c) } else { (c, r) };
        for axis in 0..long.len().saturating_sub(1) {
            let mut widened = short.to_vec();
            widened.insert(axis, 1);
            // a side without elements shares no position
            if long[axis] == 0 {
                continue;
            }
            if widened
                .iter()
                .zip(long)
                .enumerate()
                .all(|(i, (a, b))| i == axis || a == b)
            {
                for cut in [Cut::Trailing, Cut::Leading] {
                    let boxed = cut_box(long, &widened, cut);
                    let plain = Reading::whole(short);
                    let (reference, candidate) = if r.len() > c.len() {
                        (boxed, plain)
                    } else {
                        (plain, boxed)
                    };
                    out.push(Choice {
                        reference,
                        candidate,
                        cut: Some(cut),
                    });
                }
            }
        }
    }
    out
}

/// Same rank, different lengths: the part that both sides share.
fn cuts(r: &[usize], c: &[usize], stage: Option<Stage>, out: &mut Vec<Choice>) {
    let attention = matches!(
        stage,
        Some(Stage::AttnQk | Stage::AttnScores | Stage::AttnWeights | Stage::AttentionMask)
    );
    let differing: Vec<usize> = (0..r.len()).filter(|&i| r[i] != c[i]).collect();
    let last = r.len() - 1;
    let few = if attention {
        differing.len() <= 2
    } else {
        differing.len() == 1
    };
    let feature =
        differing.contains(&last) && r.len() > 1 && !attention && stage != Some(Stage::Logits);
    if !few || feature || r.len() < 2 {
        return;
    }
    let common: Vec<usize> = r.iter().zip(c).map(|(&a, &b)| a.min(b)).collect();
    // what one side has none of is not shared
    if common.contains(&0) {
        return;
    }
    for cut in [Cut::Leading, Cut::Trailing] {
        out.push(Choice {
            reference: cut_box(r, &common, cut),
            candidate: cut_box(c, &common, cut),
            cut: Some(cut),
        });
    }
}

fn cut_box(full: &[usize], part: &[usize], cut: Cut) -> Reading {
    let start = full
        .iter()
        .zip(part)
        .map(|(&n, &k)| if cut == Cut::Trailing { n - k } else { 0 })
        .collect();
    Reading {
        axes: (0..full.len()).collect(),
        start,
        shape: part.to_vec(),
    }
}

/// Whether neighbouring axes of `fine` multiply to the axes of `coarse`.
fn refines(fine: &[usize], coarse: &[usize]) -> bool {
    let bounds = |shape: &[usize]| -> BTreeSet<usize> {
        shape
            .iter()
            .rev()
            .scan(1usize, |p, &n| {
                *p *= n;
                Some(*p)
            })
            .collect()
    };
    bounds(coarse).is_subset(&bounds(fine))
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    let mut out = vec![vec![]];
    for _ in 0..n {
        out = out
            .into_iter()
            .flat_map(|p: Vec<usize>| {
                (0..n)
                    .filter(|a| !p.contains(a))
                    .map(|a| [p.clone(), vec![a]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    out
}

/// The reading that fits the data best; the most natural one where the sample does not tell.
fn choose(r: &Tensor, c: &Tensor, choices: &[Choice]) -> Result<Option<Choice>, Misfit> {
    if choices.len() < 2 {
        return Ok(choices.first().cloned());
    }
    let (r, c) = (
        resident(r).map_err(Misfit::Unreadable)?,
        resident(c).map_err(Misfit::Unreadable)?,
    );
    let mut tried = Vec::with_capacity(choices.len());
    for choice in choices {
        tried.push((
            sampled_error(&r, &c, choice).map_err(Misfit::Unreadable)?,
            choice,
        ));
    }
    let natural = tried[0];
    let best = tried
        .iter()
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .copied()
        .unwrap_or(natural);
    let clear = best.0 < CLEARLY * natural.0;
    Ok(Some(if clear { best.1 } else { natural.1 }.clone()))
}

/// Relative error over a sample of elements spread over the common shape.
fn sampled_error(r: &Tensor, c: &Tensor, choice: &Choice) -> Result<f64, ReadError> {
    let len: usize = choice.reference.shape.iter().product();
    let step = (len / SAMPLE).max(1) | 1;
    let positions: Vec<usize> = (0..len).step_by(step).collect();
    let (mut diff, mut norm) = (0.0, 0.0);
    let both = sample(r, &choice.reference, &positions)?
        .into_iter()
        .zip(sample(c, &choice.candidate, &positions)?);
    for (a, b) in both.filter(|(a, b)| a.is_finite() && b.is_finite()) {
        diff += (a - b) * (a - b);
        norm += a * a;
    }
    Ok(if norm > 0.0 {
        (diff / norm).sqrt()
    } else {
        diff.sqrt()
    })
}

/// Elements by row-major position in the reading's shape; NaN where a partial tensor does not know one.
fn sample(t: &Tensor, reading: &Reading, positions: &[usize]) -> Result<Vec<f64>, ReadError> {
    let squeezed = squeezed_axes(&t.info);
    let coordinates = |position: usize| {
        let mut rest = position;
        let mut out = vec![0usize; t.info.shape().len()];
        for (i, &n) in reading.shape.iter().enumerate().rev() {
            out[squeezed[reading.axes[i]]] = reading.start[i] + rest % n;
            rest /= n;
        }
        out
    };
    let at = |strides: &[usize], p: usize| {
        coordinates(p)
            .iter()
            .zip(strides)
            .map(|(x, s)| x * s)
            .sum::<usize>()
    };
    match &t.payload {
        Payload::Partial(known) => {
            let row_major = TensorInfo::new(t.info.dtype(), t.info.shape().to_vec());
            let strides = row_major.map(|i| i.strides().to_vec()).unwrap_or_default();
            let find = |p: &usize| {
                known
                    .positions
                    .binary_search(&(at(&strides, *p) as u64))
                    .map_or(f64::NAN, |i| known.values[i])
            };
            Ok(positions.iter().map(find).collect())
        }
        _ => t.gather(
            &positions
                .iter()
                .map(|&p| at(t.info.strides(), p))
                .collect::<Vec<_>>(),
        ),
    }
}

fn squeezed_axes(info: &TensorInfo) -> Vec<usize> {
    (0..info.shape().len())
        .filter(|&i| info.shape()[i] != 1)
        .collect()
}

/// A tensor whose elements can be reached in any order: streams are read into memory.
fn resident(t: &Tensor) -> Result<Tensor, ReadError> {
    let what = || format!("data of {} {:?} (bytes)", t.info.dtype(), t.info.shape());
    t.resident(t.info.byte_extent(), what)
}

fn views(
    r: &Tensor,
    c: &Tensor,
    reading_r: &Reading,
    reading_c: &Reading,
    shape: &[usize],
    notes: Vec<Remark>,
) -> Result<Aligned<'static>, Misfit> {
    let reference = view(r, reading_r, shape)?;
    let candidate = view(c, reading_c, shape)?;
    Ok(Aligned {
        reference: Cow::Owned(reference),
        candidate: Cow::Owned(candidate),
        view: Some(View::of(reading_r, &r.info)),
        notes,
    })
}

/// The tensor as `reading` sees it, regrouped to `shape` (same number of elements).
fn view(t: &Tensor, reading: &Reading, shape: &[usize]) -> Result<Tensor, Misfit> {
    let axes = squeezed_axes(&t.info);
    let whole = !reading.is_permuted() && reading.shape.iter().product::<usize>() == t.info.len();
    if let Payload::Partial(p) = &t.payload {
        let partial = if whole {
            p.clone()
        } else {
            Arc::new(remap(p, &t.info, &axes, reading))
        };
        return retyped(t, shape, None, Payload::Partial(partial));
    }
    if whole && t.info.is_contiguous() {
        return retyped(t, shape, None, t.payload.clone());
    }
    let t = resident(t).map_err(Misfit::Unreadable)?;
    let strides: Vec<usize> = reading
        .axes
        .iter()
        .map(|&a| t.info.strides()[axes[a]])
        .collect();
    let first: usize = reading.start.iter().zip(&strides).map(|(x, s)| x * s).sum();
    let size = t.info.dtype().size();
    let payload = match &t.payload {
        Payload::File {
            file,
            offset,
            big_endian,
            crc,
        } => Payload::File {
            file: file.clone(),
            offset: offset + (first * size) as u64,
            big_endian: *big_endian,
            crc: *crc,
        },
        Payload::Memory(bytes) => Payload::Memory(bytes[first * size..].into()),
        other => other.clone(),
    };
    match regroup(&reading.shape, &strides, shape) {
        Some(strides) => retyped(&t, shape, Some(strides), payload),
        None => {
            // no strides describe it: gather the elements
            let at = Tensor {
                payload,
                info: strided(&t, reading.shape.clone(), strides)?,
                ..t.clone()
            };
            let values = at.values().map_err(Misfit::Unreadable)?;
            let mut bytes = Vec::with_capacity(values.len() * size);
            values
                .iter()
                .for_each(|v| t.info.dtype().encode(*v, &mut bytes));
            retyped(&t, shape, None, Payload::Memory(bytes.into()))
        }
    }
}

fn strided(t: &Tensor, shape: Vec<usize>, strides: Vec<usize>) -> Result<TensorInfo, Misfit> {
    TensorInfo::strided(t.info.dtype(), shape, strides).map_err(|e| Misfit::Shapes(e.to_string()))
}

fn retyped(
    t: &Tensor,
    shape: &[usize],
    strides: Option<Vec<usize>>,
    payload: Payload,
) -> Result<Tensor, Misfit> {
    let info = match strides {
        Some(strides) => strided(t, shape.to_vec(), strides)?,
        None => TensorInfo::new(t.info.dtype(), shape.to_vec())
            .map_err(|e| Misfit::Shapes(e.to_string()))?,
    };
    Ok(Tensor {
        info,
        payload,
        ..t.clone()
    })
}

/// Strides of `to` over the elements of (`from`, `strides`), where strides can describe it.
fn regroup(from: &[usize], strides: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut out = vec![0; to.len()];
    let (mut i, mut j) = (from.len(), to.len());
    while j > 0 {
        if to[j - 1] == 1 {
            j -= 1;
            continue;
        }
        if i == 0 {
            return None;
        }
        // one axis of `from`, or several that lie together, against one or several of `to`
        let (mut f, mut t) = (from[i - 1], to[j - 1]);
        let (mut fi, mut tj) = (i - 1, j - 1);
        while f != t {
            if f < t {
                if fi == 0 || strides[fi - 1] != strides[fi] * from[fi] {
                    return None;
                }
                fi -= 1;
                f *= from[fi];
            } else {
                if tj == 0 {
                    return None;
                }
                tj -= 1;
                t *= to[tj];
            }
        }
        let mut next = strides[i - 1];
        for k in (tj..j).rev() {
            out[k] = next;
            next *= to[k];
        }
        (i, j) = (fi, tj);
    }
    Some(out)
}

/// Known positions of a partial tensor in the coordinates of a reading.
fn remap(p: &Partial, info: &TensorInfo, axes: &[usize], reading: &Reading) -> Partial {
    let mut known: Vec<(u64, f64)> = Vec::with_capacity(p.positions.len());
    for (&position, &value) in p.positions.iter().zip(&p.values) {
        let index = crate::dump::unravel(position, info.shape());
        let inside = reading
            .axes
            .iter()
            .enumerate()
            .try_fold(0u64, |acc, (i, &a)| {
                let x = index[axes[a]]
                    .checked_sub(reading.start[i])
                    .filter(|x| *x < reading.shape[i])?;
                Some(acc * reading.shape[i] as u64 + x as u64)
            });
        known.extend(inside.map(|at| (at, value)));
    }
    known.sort_by_key(|k| k.0);
    Partial {
        positions: known.iter().map(|k| k.0).collect(),
        values: known.iter().map(|k| k.1).collect(),
    }
}
