//! Whatever composition of views one side of a healthy dump went through, the values find it; a fault stays where it is.

use super::*;
use crate::compare::tests::{encode, tensor};
use crate::dtype::DType;
use crate::dump::{Partial, Stream, TensorInfo};
use ndarray::{ArrayD, Axis, IxDyn, concatenate};
use std::io::{self, Cursor, Read};

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.roll() as usize % n
    }

    fn array(&mut self, shape: &[usize]) -> ArrayD<f64> {
        ArrayD::from_shape_simple_fn(IxDyn(shape), || {
            self.roll() as f64 / (1u64 << 30) as f64 - 1.0
        })
    }
}

fn memory(a: &ArrayD<f64>) -> Arc<Tensor> {
    let info = TensorInfo::new(DType::F64, a.shape().to_vec()).unwrap();
    let values: Vec<f64> = a.iter().copied().collect();
    Arc::new(tensor(
        info,
        Payload::Memory(encode(DType::F64, &values).into()),
    ))
}

fn key(layer: Option<u32>, stage: Stage) -> Key {
    Key {
        layer,
        stage: Some(stage),
        ..Key::default()
    }
}

fn align_one(stage: Stage, r: &Arc<Tensor>, c: &Arc<Tensor>) -> Result<Aligned, Misfit> {
    let key = key(Some(0), stage);
    let item = Item {
        key: &key,
        reference: r,
        candidate: c,
    };
    // a second pair, as one alone is judged by its shapes
    let other = memory(&ArrayD::zeros(IxDyn(&[2])));
    let beside = Item {
        reference: &other,
        candidate: &other,
        ..item
    };
    align_all(&[item, beside], &[]).remove(0)
}

fn values(found: &Aligned) -> [Vec<f64>; 2] {
    assert_eq!(found.reference.info.shape(), found.candidate.info.shape());
    [&found.reference, &found.candidate].map(|t| t.values().unwrap())
}

/// One side of a healthy tensor after steps drawn at random, with what was done.
fn composed(dice: &mut Dice, healthy: &ArrayD<f64>) -> (ArrayD<f64>, Vec<&'static str>) {
    // [batch 1, tokens, heads, width]
    let mut a = healthy.clone();
    let mut done = Vec::new();
    let rows = 1 + dice.below(4);
    match dice.below(4) {
        0 => {
            let mut shape = a.shape().to_vec();
            shape[1] = rows;
            let padding = dice.array(&shape);
            let left = dice.below(2) == 0;
            let both = if left {
                [padding.view(), a.view()]
            } else {
                [a.view(), padding.view()]
            };
            a = concatenate(Axis(1), &both).unwrap();
            done.push("of");
        }
        1 => {
            let from = dice.below(rows + 1);
            let to = a.shape()[1] - (rows - from);
            a = a.slice_axis(Axis(1), (from..to).into()).to_owned();
            done.push("of");
        }
        2 => {
            let prompts: Vec<ArrayD<f64>> = (0..3).map(|_| dice.array(a.shape())).collect();
            let mut all: Vec<_> = prompts.iter().map(|p| p.view()).collect();
            let at = dice.below(4);
            all.insert(at, a.view());
            a = concatenate(Axis(0), &all).unwrap();
            done.push("of 4");
        }
        _ => {}
    }
    let [b, s, h, d] = a.shape() else {
        unreachable!()
    };
    let (b, s, h, d) = (*b, *s, *h, *d);
    match dice.below(3) {
        0 => {
            a = a
                .permuted_axes(IxDyn(&[0, 2, 1, 3]))
                .as_standard_layout()
                .to_owned();
            done.push("order");
        }
        1 => {
            a = a.into_shape_with_order(IxDyn(&[b, s, h * d])).unwrap();
            done.push("as");
        }
        _ => {}
    }
    if b == 1 && dice.below(2) == 0 {
        a = a.index_axis_move(Axis(0), 0);
    }
    (a, done)
}

#[test]
fn a_random_composition_is_found_and_a_fault_stays_where_it_is() {
    let mut dice = Dice(7);
    for round in 0..300 {
        let healthy = dice.array(&[1, 11, 3, 5]);
        let (other, done) = composed(&mut dice, &healthy);
        let (plain, turned) = (memory(&healthy), memory(&other));
        let on_reference = dice.below(2) == 0;
        let side = |turned: &Arc<Tensor>| match on_reference {
            true => align_one(Stage::Q_NORM, turned, &plain),
            false => align_one(Stage::Q_NORM, &plain, turned),
        };
        let found = side(&turned).unwrap();
        let [r, c] = values(&found);
        assert_eq!(
            r,
            c,
            "{round}: {:?} {:?} {:?}",
            other.shape(),
            done,
            found.layout
        );
        assert!(!r.is_empty());
        let layout = found.layout.unwrap_or_default();
        assert!(
            done.iter().all(|word| layout.contains(word)),
            "{layout} {done:?}"
        );

        // one element of what both have
        let views = found.views.unwrap_or_else(|| {
            let whole = View::whole(healthy.shape());
            Composition {
                reference: whole.clone(),
                candidate: whole,
            }
        });
        let view = if on_reference {
            &views.reference
        } else {
            &views.candidate
        };
        let at = dice.below(r.len());
        let mut faulty = other.clone();
        faulty[IxDyn(&view.index(at as u64))] += 9.0;
        let found = side(&memory(&faulty)).unwrap();
        let [r, c] = values(&found);
        let differ: Vec<usize> = (0..r.len()).filter(|&i| r[i] != c[i]).collect();
        assert_eq!(differ, [at], "{round}: {done:?} {:?}", found.layout);
    }
}

/// The layout is that of the siblings where a fault hides it.
#[test]
fn a_faulty_tensor_is_aligned_as_its_siblings_are() {
    let mut dice = Dice(3);
    let keys: Vec<Key> = (0..4).map(|l| key(Some(l), Stage::OUTPUT)).collect();
    let padded: Vec<ArrayD<f64>> = keys.iter().map(|_| dice.array(&[1, 16, 8])).collect();
    for wrong in 0..4 {
        let pairs: Vec<_> = (0..4)
            .map(|l| {
                let kept = padded[l].slice_axis(Axis(1), (5..14).into()).to_owned();
                let kept = if l == wrong {
                    dice.array(kept.shape())
                } else {
                    kept
                };
                (memory(&padded[l]), memory(&kept))
            })
            .collect();
        let items: Vec<Item<'_>> = keys
            .iter()
            .zip(&pairs)
            .map(|(key, (reference, candidate))| Item {
                key,
                reference,
                candidate,
            })
            .collect();
        for (l, found) in align_all(&items, &[]).into_iter().enumerate() {
            let found = found.unwrap();
            let [r, c] = values(&found);
            assert_eq!(r == c, l != wrong);
            assert_eq!(
                found.layout.unwrap(),
                "[1, 16, 8] → 5..14 of 16 ~ [1, 9, 8]"
            );
        }
    }
}

#[test]
fn rows_are_padding_only_where_something_proves_it() {
    let mut dice = Dice(5);
    let row = dice.array(&[1, 1, 6]);
    let all = dice.array(&[1, 9, 6]);
    let zeros = ArrayD::zeros(IxDyn(&[1, 3, 6]));
    let token = concatenate(Axis(1), &[row.view(), row.view(), row.view()]).unwrap();
    let junk = dice.array(&[1, 3, 6]);
    let why = |stage: Stage,
               padding: &ArrayD<f64>,
               left: bool,
               layer: Option<u32>,
               mask: Option<&Tensor>| {
        let both = if left {
            [padding.view(), all.view()]
        } else {
            [all.view(), padding.view()]
        };
        let long = memory(&concatenate(Axis(1), &both).unwrap());
        let (key, short) = (key(layer, stage), memory(&all));
        let item = Item {
            key: &key,
            reference: &long,
            candidate: &short,
        };
        let masks: Vec<_> = mask.map(|m| (false, m)).into_iter().collect();
        let found = align_all(&[item, item], &masks).remove(0).unwrap();
        assert_eq!(found.left_out[0].elements, 18);
        assert_eq!(found.left_out[1].elements, 0);
        found.left_out[0].why
    };
    assert_eq!(why(Stage::OUTPUT, &junk, false, Some(1), None), Why::Cut);
    assert_eq!(
        why(Stage::OUTPUT, &zeros, false, Some(1), None),
        Why::Padding
    );
    // rows of one token at the input, rows that nothing behind them has seen, and a mask
    assert_eq!(
        why(Stage::TOK_EMBED, &token, false, None, None),
        Why::Padding
    );
    assert_eq!(why(Stage::TOK_EMBED, &junk, true, None, None), Why::Cut);
    assert_eq!(why(Stage::OUTPUT, &junk, true, Some(1), None), Why::Padding);
    let mask = ArrayD::from_shape_fn(IxDyn(&[1, 12]), |i| f64::from(u8::from(i[1] < 9)));
    assert_eq!(
        why(Stage::OUTPUT, &junk, false, Some(1), Some(&memory(&mask))),
        Why::Padding
    );
}

#[test]
fn the_last_token_is_told_from_a_cut() {
    let mut dice = Dice(9);
    let all = dice.array(&[1, 9, 6]);
    let one = |at: usize| memory(&all.slice_axis(Axis(1), (at..at + 1).into()).to_owned());
    let long = memory(&all);
    let why = |key: &Key, at: usize| {
        let (first, short) = (key_of(0), one(at));
        let items = [
            Item {
                key: &first,
                reference: &long,
                candidate: &long,
            },
            Item {
                key,
                reference: &long,
                candidate: &short,
            },
        ];
        align_all(&items, &[]).remove(1).unwrap().left_out[0].why
    };
    fn key_of(layer: u32) -> Key {
        key(Some(layer), Stage::MLP_NORM)
    }
    assert_eq!(why(&key(None, Stage::LOGITS), 8), Why::LastToken);
    assert_eq!(why(&key_of(1), 8), Why::LastToken);
    assert_eq!(why(&key_of(1), 0), Why::Cut);
    assert_eq!(why(&key_of(0), 8), Why::Cut);
    // two files alone: the shapes are the verdict
    let (key, short) = (key_of(1), one(8));
    let alone = Item {
        key: &key,
        reference: &long,
        candidate: &short,
    };
    assert!(matches!(
        align_all(&[alone], &[]).remove(0),
        Err(Misfit::Shapes(_))
    ));
}

#[test]
fn every_row_of_a_batch_of_one_prompt_is_compared() {
    let mut dice = Dice(2);
    let one = dice.array(&[1, 5, 6]);
    let four = concatenate(Axis(0), &[one.view(), one.view(), one.view(), one.view()]).unwrap();
    let mut wrong = dice.array(&[4, 5, 6]);
    wrong
        .index_axis_mut(Axis(0), 0)
        .assign(&one.index_axis(Axis(0), 0));
    let keys = [key(None, Stage::TOK_EMBED), key(Some(0), Stage::OUTPUT)];
    let (reference, candidates) = (memory(&one), [memory(&four), memory(&wrong)]);
    let items: Vec<_> = keys
        .iter()
        .zip(&candidates)
        .map(|(key, candidate)| Item {
            key,
            reference: &reference,
            candidate,
        })
        .collect();
    let found = align_all(&items, &[]);
    let differ = |found: &Aligned| {
        let [r, c] = values(found);
        assert_eq!(r.len(), 4 * 5 * 6);
        r.iter().zip(&c).position(|(r, c)| r != c)
    };
    let found: Vec<Aligned> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(differ(&found[0]), None);
    assert_eq!(differ(&found[1]), Some(5 * 6));
}

#[test]
fn repeated_heads_are_compared_with_every_copy() {
    let mut dice = Dice(4);
    let short = dice.array(&[2, 3, 5, 4]);
    let of = |map: &dyn Fn(usize) -> usize| {
        ArrayD::from_shape_fn(IxDyn(&[2, 6, 5, 4]), |i| {
            short[[i[0], map(i[1]), i[2], i[3]].as_slice()]
        })
    };
    let scaled = memory(&(&short * 3.0));
    for long in [of(&|h| h / 2), of(&|h| h % 3)] {
        let long = memory(&long);
        for (r, c) in [(&long, &memory(&short)), (&memory(&short), &long)] {
            let found = align_one(Stage::K_ROPE, r, c).unwrap();
            let [r, c] = values(&found);
            assert_eq!((r.len(), &r), (240, &c));
            assert_eq!(found.notes[0].id, "kv_repeated");
        }
        // the copies of one side say it, whatever the other holds
        let found = align_one(Stage::K_ROPE, &long, &scaled).unwrap();
        let [r, c] = values(&found);
        assert!(r.iter().zip(&c).all(|(r, c)| 3.0 * r == *c));
    }
}

#[test]
fn a_list_of_values_takes_the_axes_that_fit() {
    let mut dice = Dice(6);
    let a = dice.array(&[4, 6]);
    let r = memory(&a);
    let list = |values: Vec<f64>| {
        let info = TensorInfo::new(DType::F64, vec![values.len()]).unwrap();
        let t = tensor(info, Payload::Memory(encode(DType::F64, &values).into()));
        Arc::new(Tensor {
            guess: Some(Guess::Shape),
            ..t
        })
    };
    let rows = list(a.iter().copied().collect());
    let columns = list(a.t().iter().copied().collect());
    for (c, id) in [(&rows, None), (&columns, Some("layout_permuted"))] {
        let found = align_one(Stage::OUTPUT, &r, c).unwrap();
        let [r, c] = values(&found);
        assert_eq!(r, c);
        assert_eq!(found.reference.info.shape(), [4, 6]);
        assert_eq!(found.notes[0].id, "shape_from_partner");
        assert_eq!(found.notes.get(1).map(|n| &*n.id), id);
    }
    // fewer values than the partner has: the first ones
    let short = list(a.iter().copied().take(12).collect());
    let [r, c] = values(&align_one(Stage::OUTPUT, &r, &short).unwrap());
    assert_eq!((r.len(), &r), (12, &c));
}

#[test]
fn empty_tensors_of_unlike_shapes_do_not_fit() {
    let empty = |shape: &[usize]| memory(&ArrayD::zeros(IxDyn(shape)));
    let fits = |r: &[usize], c: &[usize]| align_one(Stage::OUTPUT, &empty(r), &empty(c)).is_ok();
    assert!(!fits(&[0, 3], &[5, 0]));
    assert!(!fits(&[0, 7, 3], &[0, 5]));
    assert!(!fits(&[0, 3], &[2, 3]));
    assert!(fits(&[1, 0, 3], &[0, 3]));
}

struct Bytes(Vec<u8>);

impl Stream for Bytes {
    fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}

#[test]
fn streams_and_partial_tensors_are_seen_as_memory_is() {
    let mut dice = Dice(8);
    for _ in 0..100 {
        let healthy = dice.array(&[1, 11, 3, 5]);
        let (other, _) = composed(&mut dice, &healthy);
        let (plain, turned) = (memory(&healthy), memory(&other));
        let found = align_one(Stage::Q_NORM, &plain, &turned).unwrap();
        let [_, expected] = values(&found);
        let Payload::Memory(bytes) = &turned.payload else {
            unreachable!()
        };
        let stream = Payload::Stream(Arc::new(Bytes(bytes.to_vec())));
        let stream = Arc::new(Tensor {
            payload: stream,
            ..Tensor::clone(&turned)
        });
        let [_, c] = values(&align_one(Stage::Q_NORM, &plain, &stream).unwrap());
        assert_eq!(c, expected);

        let of = turned.values().unwrap();
        let positions: Vec<u64> = (0..of.len() as u64).filter(|p| p % 3 != 1).collect();
        let known = positions.iter().map(|&p| of[p as usize]).collect();
        let payload = Payload::Partial(Arc::new(Partial {
            positions,
            values: known,
        }));
        let partial = Arc::new(Tensor {
            payload,
            ..Tensor::clone(&turned)
        });
        let found = align_one(Stage::Q_NORM, &plain, &partial).unwrap();
        let Payload::Partial(known) = &found.candidate.payload else {
            unreachable!()
        };
        assert!(!known.positions.is_empty() && known.positions.is_sorted());
        for (at, value) in known.positions.iter().zip(&known.values) {
            assert_eq!(*value, expected[*at as usize], "{:?}", found.layout);
        }
    }
}

#[test]
fn a_stream_shorter_than_its_shape_is_refused() {
    struct Short;
    impl Stream for Short {
        fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
            Ok(Box::new(io::repeat(1).take(12)))
        }
    }
    let huge = |shape: Vec<usize>| {
        let info = TensorInfo::new(DType::F32, shape).unwrap();
        Arc::new(tensor(info, Payload::Stream(Arc::new(Short))))
    };
    let weight = Key {
        rest: "q_proj.weight".into(),
        ..Key::default()
    };
    let (r, c) = (huge(vec![512, 1 << 40]), huge(vec![512, 1 << 40]));
    let item = Item {
        key: &weight,
        reference: &r,
        candidate: &c,
    };
    let found = align_all(&[item, item], &[]).remove(0);
    let Err(Misfit::Unreadable(error)) = found else {
        panic!("{found:?}")
    };
    let error = error.to_string();
    assert!(
        error.ends_with("needs 2251799813685248, found 12"),
        "{error}"
    );
}

#[test]
fn rows_of_weights_in_another_order_are_one_weight() {
    let mut dice = Dice(1);
    let weight = dice.array(&[24, 7]);
    let rows = |split: [usize; 4]| {
        let whole = weight
            .clone()
            .into_shape_with_order(IxDyn(&[split[0], split[1], split[2], split[3], 7]));
        let turned = whole.unwrap().permuted_axes(IxDyn(&[0, 2, 1, 3, 4]));
        turned
            .as_standard_layout()
            .to_owned()
            .into_shape_with_order(IxDyn(&[24, 7]))
            .unwrap()
    };
    for (name, split, id) in [
        ("q_proj.weight", [3, 2, 4, 1], "qk_weight_permuted"),
        ("gate_up_proj.weight", [1, 2, 12, 1], "layout_permuted"),
        ("qkv_proj.weight", [1, 3, 2, 4], "layout_permuted"),
    ] {
        let other = rows(split);
        let key = Key {
            rest: name.into(),
            ..Key::default()
        };
        let (r, c) = (memory(&weight), memory(&other));
        for (reference, candidate) in [(&r, &c), (&c, &r)] {
            let item = Item {
                key: &key,
                reference,
                candidate,
            };
            let found = align_all(&[item, item], &[]).remove(0).unwrap();
            let [r, c] = values(&found);
            assert_eq!(r, c, "{name}");
            assert_eq!(found.notes[0].id, id);
        }
    }
    let key = Key {
        rest: "o_proj.weight".into(),
        ..Key::default()
    };
    let (r, c) = (memory(&weight), memory(&rows([3, 2, 4, 1])));
    let item = Item {
        key: &key,
        reference: &r,
        candidate: &c,
    };
    let [r, c] = values(&align_all(&[item, item], &[]).remove(0).unwrap());
    assert_ne!(r, c);
}

#[test]
fn one_of_two_joined_axes_may_be_cut() {
    let mut dice = Dice(12);
    let a = dice.array(&[3, 20, 4, 6]);
    let kept = a.slice_axis(Axis(1), (0..15).into()).to_owned();
    // batch and tokens in one axis; heads before tokens in a file without a header
    let flat = kept.clone().into_shape_with_order(IxDyn(&[45, 24]));
    let found = align_one(Stage::Q_NORM, &memory(&a), &memory(&flat.unwrap())).unwrap();
    let [r, c] = values(&found);
    assert_eq!((r.len(), &r), (kept.len(), &c));
    assert_eq!(found.left_out[0].why, Why::Cut);
    let turned = kept.permuted_axes(IxDyn(&[0, 2, 1, 3]));
    let values_of: Vec<f64> = turned.iter().copied().collect();
    let info = TensorInfo::new(DType::F64, vec![values_of.len()]).unwrap();
    let payload = Payload::Memory(encode(DType::F64, &values_of).into());
    let list = Tensor {
        guess: Some(Guess::Size),
        ..tensor(info, payload)
    };
    let [r, c] = values(&align_one(Stage::Q_NORM, &memory(&a), &Arc::new(list)).unwrap());
    assert_eq!((r.len(), &r), (3 * 15 * 4 * 6, &c));
}
