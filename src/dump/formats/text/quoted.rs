//! A print of one tensor inside a file of another format.

use super::digits::rounded;
use super::found::{info, payload, printed};
use super::print::{Print, Taken, start};
use crate::dtype::DType;
use crate::dump::{Payload, Printed, PrintedStats, Rounded, TensorInfo};

/// Reads the lines of a print; `shape` is what the file says beside it. `Err` says what is wrong.
pub fn tensor<'a>(
    mut lines: impl Iterator<Item = &'a str>,
    shape: Vec<usize>,
    dtype: Option<DType>,
    stats: PrintedStats,
) -> Result<(TensorInfo, Payload, Printed), String> {
    let first = lines.next().unwrap_or_default();
    let (style, _, at) = start(first).ok_or("no printed tensor where one should be")?;
    let mut print = Print::new(style);
    print.shape = Some(shape);
    let mut taken = print.line(&first[at..], true);
    for line in lines {
        if taken != Taken::More {
            break;
        }
        taken = print.line(line, true);
    }
    match taken {
        Taken::Done => {}
        Taken::Fault(fault) => return Err(fault.to_string()),
        Taken::More => return Err("the print ends before its last bracket".into()),
        Taken::Never => return Err("the print holds what is no number".into()),
    }
    let (shape, partial) = print
        .nest()
        .place(print.shape.as_deref())
        .map_err(|f| f.to_string())?;
    let info = info(dtype.unwrap_or_else(|| print.dtype()), shape).map_err(|f| f.to_string())?;
    let payload = payload(&info, partial);
    let printed = printed(&print.precision, stats);
    Ok((info, payload, printed))
}

/// One number as torch prints it: `tensor(-1.9474e-02, dtype=torch.bfloat16)`. A narrow type rounds before the print does.
pub fn figure(text: &str) -> Option<Rounded> {
    let body = text.trim().strip_prefix("tensor(")?;
    let end = body.find([',', ')'])?;
    let figure = rounded(body[..end].trim().as_bytes())?;
    let bits = match body {
        b if b.contains("bfloat16") => 9,
        b if b.contains("float16") => 12,
        _ => return Some(figure),
    };
    Some(Rounded {
        half_unit: figure.half_unit + figure.value.abs() / f64::from(1 << bits),
        ..figure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_over_several_lines_is_read() {
        let lines = [
            "tensor([[1.0000e+00, 2.0000e+00],",
            "        [3.0000e+00, 4.5000e+00]], dtype=torch.bfloat16)",
        ];
        let (info, payload, printed) =
            tensor(lines.into_iter(), vec![2, 2], None, PrintedStats::default()).unwrap();
        assert_eq!((info.dtype(), info.shape()), (DType::BF16, &[2, 2][..]));
        assert!(matches!(payload, Payload::Memory(_)));
        assert!(printed.half_unit_rel > 0.0);
        let cut = tensor(
            lines.into_iter().take(1),
            vec![2, 2],
            None,
            PrintedStats::default(),
        );
        assert!(cut.unwrap_err().contains("last bracket"));
        let wrong = tensor(lines.into_iter(), vec![2, 3], None, PrintedStats::default());
        assert!(wrong.unwrap_err().contains("[2, 3]"));
    }

    #[test]
    fn a_figure_of_a_narrow_type_is_less_precise() {
        let wide = figure("tensor(-1.9474e-02)").unwrap();
        assert!((wide.half_unit - 5e-7).abs() < 1e-12);
        let narrow = figure("tensor(-1.9474e-02, dtype=torch.bfloat16)").unwrap();
        assert!(narrow.half_unit > 3e-5);
        assert!(figure("tensor(nan)").unwrap().value.is_nan());
        assert_eq!(figure("<generator>"), None);
    }
}
