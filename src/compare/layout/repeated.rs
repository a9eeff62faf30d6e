//! Keys and values that one side repeats for every query head of a group (`repeat_kv`), and the other does not.

use super::{Aligned, Misfit, remark, resident};
use crate::dump::{Payload, ReadError, Tensor, TensorInfo};
use crate::name::Stage;
use std::borrow::Cow;

/// The note on heads that one side repeats.
pub const KV_REPEATED: &str = "kv_repeated";
/// Elements whose copies are looked at.
const SAMPLE: usize = 256;

/// How the copies of a head lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Copies {
    /// 0 0 1 1
    Together,
    /// 0 1 0 1
    InTurn,
}

/// One copy of each head of the side that repeats them; `None` where the shapes or the values say otherwise.
pub fn repeated<'a>(
    reference: &'a Tensor,
    candidate: &'a Tensor,
    stage: Option<Stage>,
) -> Result<Option<Aligned<'a>>, Misfit> {
    use Stage::{KNorm, KProj, KRope, VProj};
    if !matches!(stage, Some(KProj | VProj | KNorm | KRope)) {
        return Ok(None);
    }
    let (r, c) = (reference.info.shape(), candidate.info.shape());
    let (long, short) = if reference.info.len() > candidate.info.len() {
        (reference, c)
    } else {
        (candidate, r)
    };
    let Some((axis, times)) = multiple(long.info.shape(), short) else {
        return Ok(None);
    };
    if matches!(long.payload, Payload::Partial(_) | Payload::Statistics) {
        return Ok(None);
    }
    let whole = resident(long).map_err(Misfit::Unreadable)?;
    let Some(one) = one_copy(&whole, axis, times).map_err(Misfit::Unreadable)? else {
        return Ok(None);
    };
    let side = if std::ptr::eq(long, reference) {
        "reference"
    } else {
        "candidate"
    };
    let note = remark(
        KV_REPEATED,
        format!(
            "shape {r:?} against {c:?}: the {side} holds every head {times} times, one copy is compared"
        ),
    );
    let (mut reference, mut candidate) = (Cow::Borrowed(reference), Cow::Borrowed(candidate));
    match side {
        "reference" => reference = Cow::Owned(one),
        _ => candidate = Cow::Owned(one),
    }
    Ok(Some(Aligned {
        reference,
        candidate,
        view: None,
        notes: vec![note],
    }))
}

/// The one axis before the last along which `long` is a multiple of `short`, and of how many times.
fn multiple(long: &[usize], short: &[usize]) -> Option<(usize, usize)> {
    let differing: Vec<usize> = (0..long.len())
        .filter(|&i| long.get(i) != short.get(i))
        .collect();
    let &[axis] = differing.as_slice() else {
        return None;
    };
    let same_rank = long.len() == short.len() && long.len() >= 3;
    let inner = axis + 1 < long.len() && short[axis] > 0;
    let whole = same_rank && inner && long[axis].is_multiple_of(short[axis]);
    whole
        .then(|| (axis, long[axis] / short[axis]))
        .filter(|(_, times)| *times > 1)
}

/// A view of one copy of each head, where all copies of the heads are equal.
fn one_copy(t: &Tensor, axis: usize, times: usize) -> Result<Option<Tensor>, ReadError> {
    let (shape, strides) = (t.info.shape(), t.info.strides());
    let heads = shape[axis] / times;
    for copies in [Copies::Together, Copies::InTurn] {
        // how far apart the heads lie, and their copies
        let (head, copy) = match copies {
            Copies::Together => (strides[axis] * times, strides[axis]),
            Copies::InTurn => (strides[axis], strides[axis] * heads),
        };
        let (mut one, mut steps) = (shape.to_vec(), strides.to_vec());
        (one[axis], steps[axis]) = (heads, head);
        let Ok(info) = TensorInfo::strided(t.info.dtype(), one, steps) else {
            continue;
        };
        let places = sample(&info);
        let values = |k: usize| t.gather(&places.iter().map(|p| p + k * copy).collect::<Vec<_>>());
        let first = values(0)?;
        let mut equal = first.iter().any(|x| *x != first[0]);
        for k in 1..times {
            equal = equal && values(k)? == first;
        }
        if equal {
            return Ok(Some(Tensor { info, ..t.clone() }));
        }
    }
    Ok(None)
}

/// Places in storage of elements spread evenly over a view.
fn sample(info: &TensorInfo) -> Vec<usize> {
    let step = (info.len() / SAMPLE).max(1) | 1;
    let place = |position: usize| {
        let mut rest = position;
        let axes = info.shape().iter().zip(info.strides()).rev();
        axes.map(|(n, stride)| {
            let index = rest % n;
            rest /= n;
            index * stride
        })
        .sum()
    };
    (0..info.len()).step_by(step).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::{encode, tensor};
    use crate::dtype::DType;

    fn heads(shape: [usize; 4], of: impl Fn(usize) -> usize) -> Tensor {
        let [batch, heads, tokens, width] = shape;
        let value =
            |b: usize, h: usize, rest: usize| ((b * 31 + of(h) * 17 + rest * 7) % 23) as f64;
        let mut values = Vec::new();
        for b in 0..batch {
            for h in 0..heads {
                values.extend((0..tokens * width).map(|rest| value(b, h, rest)));
            }
        }
        let info = TensorInfo::new(DType::F32, shape.to_vec()).unwrap();
        tensor(info, Payload::Memory(encode(DType::F32, &values).into()))
    }

    #[test]
    fn copies_of_heads_are_left_out_and_other_heads_are_not() {
        let short = heads([2, 3, 5, 4], |h| h);
        let together = heads([2, 6, 5, 4], |h| h / 2);
        let in_turn = heads([2, 6, 5, 4], |h| h % 3);
        let more = heads([2, 6, 5, 4], |h| h);
        let stage = Some(Stage::KRope);
        for long in [&together, &in_turn] {
            for (r, c) in [(long, &short), (&short, long)] {
                let found = repeated(r, c, stage).unwrap().unwrap();
                let values = short.values().unwrap();
                assert_eq!(found.reference.values().unwrap(), values);
                assert_eq!(found.candidate.values().unwrap(), values);
                assert_eq!(found.notes[0].id, "kv_repeated");
            }
        }
        assert!(repeated(&more, &short, stage).unwrap().is_none());
        assert!(
            repeated(&together, &short, Some(Stage::QRope))
                .unwrap()
                .is_none()
        );
    }
}
