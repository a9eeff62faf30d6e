use super::*;
use crate::dump::{ReadErrorKind, Tensor};
use std::path::PathBuf;

#[test]
fn excerpts_in_their_lines_are_one_tensor_of_known_shape() {
    let sniff = |text: &str| Numbers.sniff(text.as_bytes(), Path::new("x.txt"));
    let one = "Shape: [1, 8]\nMean: 0.5\nFirst 2 values: 1.0 2.0\nLast 2 values: 3.0 4.0\n";
    assert!(sniff(one) && sniff("First 2: [1.0, 2.0]\n"));
    assert!(!sniff(&one.repeat(2)), "a log of two tensors");
    assert!(!sniff("# first 2: 1.0 2.0\n# nothing else\n"), "notes");
    let t = tensor(one);
    let Payload::Partial(known) = &t.payload else {
        panic!("{:?}", t.payload)
    };
    assert_eq!(known.positions, [0, 1, 6, 7]);
    assert_eq!(known.values, [1.0, 2.0, 3.0, 4.0]);
}

fn open(name: &str, text: impl AsRef<[u8]>) -> Result<Opened, ReadError> {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    Numbers.open(&path, &Hints::default())
}

fn tensor(text: impl AsRef<[u8]>) -> Tensor {
    open("x.txt", text).unwrap().tensors.remove(0)
}

fn values(t: &Tensor) -> Vec<f64> {
    match &t.payload {
        Payload::Memory(bytes) => {
            let mut out = vec![0.0; t.info.len()];
            t.info.dtype().decode(bytes, &mut out);
            out
        }
        Payload::Partial(p) => p.values.clone(),
        other => panic!("{other:?}"),
    }
}

fn sniffs(text: &str) -> bool {
    Numbers.sniff(text.as_bytes(), Path::new("x.txt"))
}

#[test]
fn rows_keep_their_shape() {
    let t = tensor("1.0 2.0\n3.0 4.5\n");
    assert_eq!((t.name.as_str(), t.info.shape()), ("x", &[2, 2][..]));
    assert_eq!(values(&t), [1.0, 2.0, 3.0, 4.5]);
    for text in [
        "1.5,2\r\n3,4\r\n",
        "1.5;2\n3;4",
        "1.5\t2\n\n3\t4\n\n",
        "# a b\n1.5, 2\n# c\n3, 4\n",
    ] {
        let t = tensor(text);
        assert_eq!(t.info.shape(), [2, 2], "{text:?}");
        assert_eq!(values(&t), [1.5, 2.0, 3.0, 4.0], "{text:?}");
    }
    assert_eq!(tensor("1.5 2.5 3.5\n").info.shape(), [3]);
    assert_eq!(tensor("1.5\n2.5\n").info.shape(), [2]);
}

#[test]
fn a_header_gives_shape_type_and_statistics() {
    let t = tensor(
        "# Tensor: q\n# Shape: (1, 2, 2)\n# Dtype: float32\n# Mean: 2.5\n# Data:\n1.000000e+00\n2.000000e+00\n3.000000e+00\n4.000000e+00\n",
    );
    assert_eq!(t.info.shape(), [1, 2, 2]);
    assert_eq!(t.info.dtype(), DType::F32);
    assert_eq!(t.guess, None);
    assert_eq!(t.printed.stats.unwrap().mean.unwrap().value, 2.5);
    assert!((t.printed.half_unit_rel - 5e-7).abs() < 1e-15);
}

#[test]
fn whole_numbers_stay_whole() {
    let t = tensor("1 9007199254740993\n-3 4\n");
    assert_eq!(t.info.dtype(), DType::I64);
    let Payload::Memory(bytes) = &t.payload else {
        panic!()
    };
    assert_eq!(bytes[8..16], 9007199254740993i64.to_le_bytes());
    assert_eq!(tensor("1\n2.5\n").info.dtype(), DType::F64);
}

#[test]
fn odd_values_and_encodings_are_read() {
    let t = tensor("nan\n-inf\n1.#INF\n-nan(ind)\n0x1.8p+1\n0.5f\n");
    let v = values(&t);
    assert!(v[0].is_nan() && v[3].is_nan());
    assert_eq!(
        (v[1], v[2], v[4], v[5]),
        (f64::NEG_INFINITY, f64::INFINITY, 3.0, 0.5)
    );
    let utf16: Vec<u8> = "\u{feff}shape: 1 2\r\n1.5\r\n-2\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let t = tensor(utf16);
    assert_eq!((t.info.shape(), values(&t)), (&[1, 2][..], vec![1.5, -2.0]));
    assert_eq!(values(&tensor("\u{feff}1.5\n2\n")), [1.5, 2.0]);
}

#[test]
fn indexed_values_are_read() {
    for text in [
        "[0] = 1.5\n[1] = 2\n",
        "x[0]=1.5\nx[1]=2\n",
        "0: 1.5\n1: 2\n",
        "0 1.5\n1 2\n",
        "1: 1.5\n2: 2\n",
    ] {
        let t = tensor(text);
        assert_eq!(
            (t.info.shape(), values(&t)),
            (&[2][..], vec![1.5, 2.0]),
            "{text:?}"
        );
    }
    let t = tensor("q[0][0] = 1.5\nq[0][1] = 2\nq[1][0] = 3\nq[1][1] = 4\n");
    assert_eq!(
        (t.info.shape(), values(&t)),
        (&[2, 2][..], vec![1.5, 2.0, 3.0, 4.0])
    );
}

#[test]
fn dimensions_may_stand_above_the_values() {
    let t = tensor("1 3 2\n0.1\n0.2\n0.3\n0.4\n0.5\n0.6\n");
    assert_eq!((t.info.shape(), values(&t).len()), (&[1, 3, 2][..], 6));
    let t = tensor("3\n0.1\n0.2\n0.3\n");
    assert_eq!((t.info.shape(), values(&t).len()), (&[3][..], 3));
}

#[test]
fn excerpts_are_partial_and_keep_the_printed_statistics() {
    let mut text = String::from(
        "# Tensor: q\n# Shape: 1x3x2048\n# Total elements: 6144\n# Mean: 1.0e-01\n# Data:\n# First 50 elements:\n",
    );
    (0..50).for_each(|i| text += &format!("{i}.000000e+00\n"));
    text += "# Last 50 elements:\n";
    (0..50).for_each(|i| text += &format!("-{i}.000000e+00\n"));
    let t = tensor(&text);
    let Payload::Partial(p) = &t.payload else {
        panic!()
    };
    assert_eq!(
        (p.positions[49], p.positions[50], p.positions[99]),
        (49, 6094, 6143)
    );
    assert_eq!(p.values[99], -49.0);
    let stats = t.printed.stats.unwrap();
    assert_eq!((stats.count, stats.mean.unwrap().value), (Some(6144), 0.1));
    let cut = &text[..text.len() - 30];
    assert!(matches!(
        open("x.txt", cut).unwrap_err().kind,
        ReadErrorKind::Truncated { needs: 50, .. }
    ));
}

#[test]
fn statistics_alone_are_kept() {
    let t = tensor("# Shape: 1x3x2048\n# Mean: 0.5\n# Std: 1.5\n");
    assert!(matches!(t.payload, Payload::Statistics));
    assert_eq!(t.info.shape(), [1, 3, 2048]);
}

#[test]
fn a_number_of_values_that_does_not_fit_is_an_error() {
    for (text, message) in [
        (
            "shape: 2 2\n1.0\n2.0\n3.0\n",
            "x.txt: shape [2, 2]: number of values needs 4, found 3",
        ),
        (
            "shape: 2 2\n1.0\n2.0\n3.0\n4.0\n5.0\n",
            "x.txt at line 6: shape [2, 2] takes 4 values, found 5",
        ),
        (
            "1.0 2.0\n3.0\n4.0 5.0\n",
            "x.txt at line 2: the row holds 1 values, the rows before it 2",
        ),
        (
            "1.0\n2.0\nthree\n4.0\n",
            "x.txt at line 3: \"three\" is no number",
        ),
        (
            "[0] = 1.5\n[1] = 2.5\n[3] = 3.5\n",
            "x.txt at line 3: index [3] where number 2 was due; with a shape in the header gaps can be placed",
        ),
    ] {
        let error = open("x.txt", text).unwrap_err().to_string();
        assert!(error.ends_with(message), "{error}");
    }
}

#[test]
fn a_shorter_last_row_is_noted() {
    let opened = open("x.txt", "1.5 2 3\n4 5 6\n7 8\n").unwrap();
    assert_eq!(opened.tensors[0].info.shape(), [8]);
    assert_eq!(opened.notes[0].id, "wrapped_rows");
}

#[test]
fn prose_and_code_are_left_alone() {
    for text in [
        "dumped by hook script, prompt: hello\n",
        "loaded model in 0.3 s\n",
        "# Title\n\nSome text\n",
        "{\"a\": [1, 2]}",
        "import numpy as np\n",
        "2024-01-01 12:00:00 start\n",
        "epoch,loss\n1,2.5\n",
        "\0\0\u{1}",
        "",
        "\n\n",
    ] {
        assert!(!sniffs(text), "{text:?}");
    }
    assert!(!Numbers.sniff(b"1.0\n", Path::new("x.py")));
    assert!(sniffs("shape: 1 2\n1.0\n2.0\n"));
    assert!(sniffs("# Mean: 1\n# Shape: 1x2\n"));
}

#[test]
fn long_files_stay_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.txt");
    let n = 200_000;
    let body: String = (0..n)
        .map(|i| format!("{:.8e}\n", f64::from(i) * 0.37 - 9000.0))
        .collect();
    let written = || {
        let opened = Numbers.open(&path, &Hints::default());
        opened.unwrap().tensors.remove(0)
    };
    for (head, shape) in [
        ("", vec![n as usize]),
        ("shape: 2 100000\n", vec![2, 100_000]),
    ] {
        std::fs::write(&path, format!("{head}{body}")).unwrap();
        let t = written();
        assert_eq!(t.info.shape(), shape);
        let Payload::Stream(s) = &t.payload else {
            panic!()
        };
        let mut bytes = Vec::new();
        s.open().unwrap().read_to_end(&mut bytes).unwrap();
        let found = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b));
        assert!(found.eq(body.lines().map(|l| l.parse::<f64>().unwrap())));
    }
    std::fs::write(&path, format!("shape: 2 100001\n{body}")).unwrap();
    let t = written();
    let Payload::Stream(s) = &t.payload else {
        panic!()
    };
    let error = s.open().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    let inner: ReadError = error.downcast().unwrap();
    assert!(
        inner.to_string().ends_with("needs 200002, found 200000"),
        "{inner}"
    );
}

#[test]
fn tables_lose_their_counting_lines_and_columns() {
    let t = tensor("index,value\n0,0.5\n1,0.25\n2,0.125\n");
    assert_eq!(
        (t.info.shape(), values(&t)),
        (&[3][..], vec![0.5, 0.25, 0.125])
    );
    let t = tensor("0,1\n0.5,0.25\n1.5,1.25\n");
    assert_eq!(t.info.shape(), [2, 2]);
    assert_eq!(values(&t), [0.5, 0.25, 1.5, 1.25]);
}

#[test]
fn decimal_commas_are_refused() {
    for text in ["0,5;0,25\n1,5;-1,25\n", "0,5 0,25\n"] {
        let error = open("x.csv", text).unwrap_err().to_string();
        assert!(error.ends_with("`0,5` has a decimal comma: write the numbers with points"));
    }
    assert_eq!(values(&tensor("1,2\n3,4\n")), [1.0, 2.0, 3.0, 4.0]);
}
