//! Spellings of tensors in logs.

use super::*;
use crate::dump::Payload;

fn read(text: &str) -> Found {
    let mut reader = Reader::new(Path::new("x.log"));
    for (line, number) in text.lines().zip(1..) {
        reader.line(number, line, true);
    }
    reader.finish()
}

/// Name, shape and number of known values of each tensor.
fn found(text: &str) -> Vec<(String, Vec<usize>, usize)> {
    let known = |e: &Entry| match &e.payload {
        Payload::Partial(p) => p.values.len(),
        _ => e.info.len(),
    };
    let found = read(text);
    assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
    let entries = found.entries.iter();
    entries
        .map(|e| (e.name.clone(), e.info.shape().to_vec(), known(e)))
        .collect()
}

#[test]
fn values_belong_to_the_name_before_or_above_them() {
    let q = |shape: &[usize]| {
        let n = shape.iter().product();
        vec![
            ("q".to_owned(), shape.to_vec(), n),
            ("k".to_owned(), shape.to_vec(), n),
        ]
    };
    for (text, shape) in [
        ("q: 0.5 0.25 1 2\nk: 1.5 0 1 2", &[4][..]),
        ("q [0.5, 0.25, 1, 2]\nk [1.5, 0, 1, 2]", &[4]),
        ("[DEBUG] q: [0.5, 1, 1, 2]\n[DEBUG] k: [1.5, 0, 1, 2]", &[4]),
        ("q:\n 0.5 1\n 1 2\nk:\n 1.5 0\n 1 2\ndone", &[2, 2]),
        ("{'q': tensor([0.5, 1.]), 'k': tensor([1.5, 0.])}", &[2]),
        (
            "(tensor 'q')\ntensor([0.5, 1.])\n(tensor 'k')\ntensor([1.5, 0.])",
            &[2],
        ),
        (
            "[rank0]: q = tensor([[0.5],\n[rank0]:     [1.]])\n[rank0]: k = tensor([[0.5],\n[rank0]:     [1.]])",
            &[2, 1],
        ),
        (
            "q = 0.1 *\n 5.5\n 1\n[ CPUFloatType{2} ]\nk = 0.5\n 1\n[ CPUFloatType{2} ]",
            &[2],
        ),
    ] {
        let mut want = q(shape);
        if text.contains("rank0") {
            want.iter_mut().for_each(|w| w.0.insert_str(0, "rank0/"));
        }
        assert_eq!(found(text), want, "{text}");
    }
}

#[test]
fn a_shape_is_that_of_the_tensor_named_with_it() {
    let text = "q: tensor([1., ..., 2.])\nk shape: torch.Size([4]) tensor([1., 2., 3., 4.])";
    let found = read(text);
    let names: Vec<_> = found.entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["k"]);
    assert!(found.unreadable[0].to_string().contains("no shape"));
}

#[test]
fn parts_have_their_places_where_the_shape_is_known() {
    let text = "q shape: (2, 4)\nfirst 3 values: [0.5, 1, 2]\nlast 2 values: [0.5, 1]";
    assert_eq!(found(text), [("q".to_owned(), vec![2, 4], 5)]);
    let text = "q first 3: 0.5 1 2\nq[0, 0, :2]: [0.5, 1]";
    let names = found(text);
    assert_eq!(names[0], ("q".to_owned(), vec![3], 3));
    assert_eq!(names[1], ("q".to_owned(), vec![2], 2));
    assert_eq!(read(text).notes[0].id, "part_without_place");
}

#[test]
fn what_is_not_read_is_said() {
    let broken = read("q = tensor([[0.5, 1],\nWARNING: slow\n [1, 2]])");
    assert!(broken.entries.is_empty());
    let error = broken.unreadable[0].to_string();
    assert!(error.contains("line 2 stands inside"), "{error}");
    let lost = read("q_proj 0.5 0.25 0.125 1\nstep 1 loss: 8.1");
    assert_eq!(lost.notes[0].id, "lines_not_read");
    assert!(lost.notes[0].message.contains("line 1: `q_proj 0.5"));
}
