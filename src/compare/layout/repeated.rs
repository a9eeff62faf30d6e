//! Keys and values that one side repeats for every query head of a group (`repeat_kv`), and the other does not.

use super::{Misfit, resident};
use crate::dump::{Payload, ReadError, Tensor, TensorInfo, unravel};
use crate::name::Stage;
use crate::note::Note;

/// The note on heads that one side repeats.
pub const KV_REPEATED: &str = "kv_repeated";
/// Elements whose copies are looked at.
const SAMPLE: usize = 256;

/// A view of one copy of each head, for the side that repeats them.
#[derive(Debug)]
pub struct Once {
    pub reference: Option<Tensor>,
    pub candidate: Option<Tensor>,
    pub note: Note,
}

/// `None` where the shapes or the values say that no side repeats heads.
pub fn repeated(
    reference: &Tensor,
    candidate: &Tensor,
    stage: Option<Stage>,
) -> Result<Option<Once>, Misfit> {
    use crate::graph::known::{K_NORM, K_PROJ, K_ROPE, V_PROJ};
    if !matches!(stage, Some(K_PROJ | V_PROJ | K_NORM | K_ROPE)) {
        return Ok(None);
    }
    let (r, c) = (reference.info.shape(), candidate.info.shape());
    let in_reference = reference.info.len() > candidate.info.len();
    let (long, short, side) = match in_reference {
        true => (reference, c, "reference"),
        false => (candidate, r, "candidate"),
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
    let note = Note::new(
        KV_REPEATED,
        format!(
            "shape {r:?} against {c:?}: the {side} holds every head {times} times, one copy is compared"
        ),
    );
    let (reference, candidate) = match in_reference {
        true => (Some(one), None),
        false => (None, Some(one)),
    };
    Ok(Some(Once {
        reference,
        candidate,
        note,
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
    let stride = strides[axis];
    // how far apart the heads lie, and their copies: 0 0 1 1 and 0 1 0 1
    for (head, copy) in [(stride * times, stride), (stride, stride * heads)] {
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
        let index = unravel(position as u64, info.shape());
        index.iter().zip(info.strides()).map(|(i, s)| i * s).sum()
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
        let stage = Some(Stage::K_ROPE);
        for long in [&together, &in_turn] {
            for (r, c) in [(long, &short), (&short, long)] {
                let found = repeated(r, c, stage).unwrap().unwrap();
                let values = |one: Option<Tensor>, own: &Tensor| {
                    one.as_ref().unwrap_or(own).values().unwrap()
                };
                assert_eq!(values(found.reference, r), short.values().unwrap());
                assert_eq!(values(found.candidate, c), short.values().unwrap());
                assert_eq!(found.note.id, "kv_repeated");
            }
        }
        assert!(repeated(&more, &short, stage).unwrap().is_none());
        assert!(
            repeated(&together, &short, Some(Stage::Q_ROPE))
                .unwrap()
                .is_none()
        );
    }
}
