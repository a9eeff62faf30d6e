//! Tensors made of others, without a copy: a stretch of one, several side by side, the sum of several.

use super::rows::{Concat, Crop, Sum, WINDOW, fill, rows};
use crate::dump::{Partial, Payload, ReadError, Tensor, TensorInfo, unravel};
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// The stretch of a tensor within `bounds`, one for each axis. `None` where no element is known, or a stream does not run row by
/// row.
pub fn crop(t: &Tensor, bounds: &[Range<usize>]) -> Option<Tensor> {
    let shape: Vec<usize> = bounds.iter().map(Range::len).collect();
    let strides = t.info.strides();
    let dtype = t.info.dtype();
    let dense = || TensorInfo::new(dtype, shape.clone()).ok();
    let first: usize = bounds.iter().zip(strides).map(|(b, s)| b.start * s).sum();
    let view = || TensorInfo::strided(dtype, shape.clone(), strides.to_vec()).ok();
    let start = first * dtype.size();
    let (info, payload) = match &t.payload {
        Payload::File {
            file,
            offset,
            big_endian,
            crc,
        } => {
            let payload = Payload::File {
                file: file.clone(),
                offset: offset + start as u64,
                big_endian: *big_endian,
                // once is enough
                crc: crc.filter(|_| first == 0),
            };
            (view()?, payload)
        }
        Payload::Memory(bytes) => {
            let info = view()?;
            let end = start + info.byte_extent() as usize;
            (info, Payload::Memory(bytes.get(start..end)?.into()))
        }
        Payload::Stream(inner) if t.info.is_contiguous() => {
            let crop = Crop {
                inner: Arc::clone(inner),
                info: t.info.clone(),
                bounds: bounds.to_vec(),
            };
            (dense()?, Payload::Stream(Arc::new(crop)))
        }
        Payload::Partial(known) => {
            let info = dense()?;
            let all = known.positions.iter().zip(&known.values);
            let inside = all.filter_map(|(&at, &value)| {
                let index = unravel(at, t.info.shape());
                let place = index.iter().zip(bounds).try_fold(0, |place, (i, b)| {
                    b.contains(i)
                        .then(|| place * b.len() as u64 + (i - b.start) as u64)
                });
                place.map(|place| (place, value))
            });
            let (positions, values) = inside.unzip();
            (
                info,
                Payload::Partial(Arc::new(Partial { positions, values })),
            )
        }
        Payload::Stream(_) | Payload::Statistics => return None,
    };
    Some(made(t, info, payload))
}

/// Several tensors side by side along an axis, of which the other lengths are alike, as `shape`. `None` where types differ or
/// the elements are not all known.
pub fn concat(parts: &[Arc<Tensor>], axis: usize, shape: Vec<usize>) -> Option<Tensor> {
    let first = parts.first()?;
    let dtype = first.info.dtype();
    let info = TensorInfo::new(dtype, shape).ok()?;
    if !parts.iter().all(|p| p.info.dtype() == dtype && is_known(p)) {
        return None;
    }
    let inside = |t: &Tensor| t.info.shape()[axis..].iter().product::<usize>() * dtype.size();
    let outer = first.info.shape()[..axis].iter().product();
    let concat = Concat {
        chunks: parts.iter().map(|p| inside(p)).collect(),
        parts: parts.to_vec(),
        outer,
    };
    Some(made(first, info, Payload::Stream(Arc::new(concat))))
}

/// The sum of tensors of one shape, in their type. `None` where types differ or the elements are not all known.
pub fn sum(parts: &[Arc<Tensor>]) -> Option<Tensor> {
    let first = parts.first()?;
    let dtype = first.info.dtype();
    if !parts.iter().all(|p| p.info.dtype() == dtype && is_known(p)) || dtype.is_exact() {
        return None;
    }
    let info = TensorInfo::new(dtype, first.info.shape().to_vec()).ok()?;
    let sum = Sum {
        parts: parts.to_vec(),
    };
    Some(made(first, info, Payload::Stream(Arc::new(sum))))
}

fn made(like: &Tensor, info: TensorInfo, payload: Payload) -> Tensor {
    let mut printed = like.printed.clone();
    printed.stats = None;
    Tensor {
        info,
        payload,
        printed,
        guess: None,
        ..like.clone()
    }
}

/// Whether all elements can be read.
pub fn is_known(t: &Tensor) -> bool {
    !matches!(t.payload, Payload::Partial(_) | Payload::Statistics) && t.guess.is_none()
}

/// Which tensors hold the bits of the first one; all are read once, side by side. What cannot be read holds nothing alike.
pub fn alike(all: &[&Tensor]) -> Vec<bool> {
    let info = |t: &Tensor| (t.info.dtype(), t.info.shape().to_vec());
    let open = |t: &&Tensor| {
        let fits = is_known(t) && info(t) == info(all[0]);
        fits.then(|| rows(t).ok()).flatten()
    };
    let mut readers: Vec<_> = all.iter().map(open).collect();
    let (mut first, mut other) = (vec![0; WINDOW], vec![0; WINDOW]);
    while let Some(reader) = readers[0].as_mut() {
        let n = match fill(reader, &mut first) {
            Ok(0) => break,
            Ok(n) => n,
            Err(_) => {
                readers.fill_with(|| None);
                break;
            }
        };
        for slot in &mut readers[1..] {
            let mut same = |reader: &mut Box<dyn Read + Send>| {
                let read = fill(reader, &mut other);
                read.is_ok_and(|m| first[..n] == other[..m])
            };
            if slot.as_mut().is_some_and(|reader| !same(reader)) {
                *slot = None;
            }
        }
    }
    readers.iter().map(Option::is_some).collect()
}

/// ‖c − r‖ / ‖r‖ over the first elements of two tensors of one shape; what is not finite is left out.
pub fn distance(r: &Tensor, c: &Tensor) -> Result<f64, ReadError> {
    /// Elements that tell one way of joining from another.
    const ENOUGH: usize = 1 << 21;
    let (mut x, mut y) = (Numbers::new(r)?, Numbers::new(c)?);
    let (mut difference, mut size, mut seen) = (0.0, 0.0, 0);
    while seen < ENOUGH {
        let (a, b) = (x.next()?, y.next()?);
        if a.is_empty() || a.len() != b.len() {
            break;
        }
        seen += a.len();
        for (a, b) in a.iter().zip(b) {
            if a.is_finite() && b.is_finite() {
                difference += (b - a) * (b - a);
                size += a * a;
            }
        }
    }
    Ok((difference / size.max(f64::MIN_POSITIVE)).sqrt())
}

/// The elements of a tensor as numbers, a few thousand at a time.
struct Numbers<'a> {
    tensor: &'a Tensor,
    bytes: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    values: Vec<f64>,
}

impl<'a> Numbers<'a> {
    const AT_ONCE: usize = WINDOW / 8;

    fn new(tensor: &'a Tensor) -> Result<Self, ReadError> {
        Ok(Numbers {
            bytes: rows(tensor)?,
            buffer: vec![0; Self::AT_ONCE * tensor.info.dtype().size()],
            values: vec![0.0; Self::AT_ONCE],
            tensor,
        })
    }

    fn next(&mut self) -> Result<&[f64], ReadError> {
        let error = |e| self.tensor.stream_error(e);
        let n = fill(&mut self.bytes, &mut self.buffer).map_err(error)?;
        let dtype = self.tensor.info.dtype();
        let values = &mut self.values[..n / dtype.size()];
        dtype.decode(&self.buffer[..n], values);
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::dump::{Stream, formats};
    use std::io;
    use std::path::Path;

    fn numbers(n: usize) -> Vec<u8> {
        (0..n).flat_map(|x| (x as f32).to_le_bytes()).collect()
    }

    fn tensor(info: TensorInfo, payload: Payload) -> Tensor {
        formats::tensor(Path::new("x.npy"), "npy", "x".into(), info, payload)
    }

    struct Bytes(Vec<u8>);
    impl Stream for Bytes {
        fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
            Ok(Box::new(io::Cursor::new(self.0.clone())))
        }
    }

    /// 0, 1, 2, … in this shape, in memory, in a file of either byte order, as a stream, and column-major.
    fn everywhere(shape: &[usize]) -> (tempfile::TempDir, Vec<Tensor>) {
        let n = shape.iter().product();
        let dir = tempfile::tempdir().unwrap();
        let info = || TensorInfo::new(DType::F32, shape.to_vec()).unwrap();
        let bytes = numbers(n);
        let file = |name: &str, bytes: &[u8], turned| {
            let path = dir.path().join(name);
            std::fs::write(&path, [&[0; 5], bytes].concat()).unwrap();
            tensor(info(), Payload::in_file(path, 5, turned))
        };
        let turned: Vec<u8> = bytes
            .chunks(4)
            .flat_map(|x| x.iter().rev().copied())
            .collect();
        let fortran = TensorInfo::fortran(DType::F32, shape.to_vec()).unwrap();
        let mut columns = vec![0; bytes.len()];
        for at in 0..n {
            let index = unravel(at as u64, shape);
            let place = index.iter().zip(fortran.strides());
            let place: usize = place.map(|(i, s)| i * s).sum();
            columns[place * 4..place * 4 + 4].copy_from_slice(&bytes[at * 4..at * 4 + 4]);
        }
        let all = vec![
            tensor(info(), Payload::Memory(bytes.clone().into())),
            file("little", &bytes, false),
            file("big", &turned, true),
            tensor(info(), Payload::Stream(Arc::new(Bytes(bytes)))),
            tensor(fortran, Payload::Memory(columns.into())),
        ];
        (dir, all)
    }

    #[test]
    fn a_stretch_is_the_same_wherever_the_elements_lie() {
        let (_dir, all) = everywhere(&[3, 4, 5]);
        for t in &all {
            let part = crop(t, &[1..3, 0..4, 2..4]).unwrap();
            let expected: Vec<f64> = (1..3)
                .flat_map(|i| {
                    (0..4).flat_map(move |j| [2, 3].map(|k| f64::from(i * 20 + j * 5 + k)))
                })
                .collect();
            assert_eq!(part.info.shape(), [2, 4, 2]);
            assert_eq!(part.values().unwrap(), expected, "{:?}", t.payload);
            let mut bytes = Vec::new();
            rows(&part).unwrap().read_to_end(&mut bytes).unwrap();
            let read = bytes
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            assert!(read.map(f64::from).eq(expected), "{:?}", t.payload);
        }
    }

    #[test]
    fn of_known_elements_those_inside_are_known() {
        let info = TensorInfo::new(DType::F32, vec![2, 4]).unwrap();
        let partial = Partial {
            positions: vec![0, 2, 5, 7],
            values: vec![0.0, 2.0, 5.0, 7.0],
        };
        let t = tensor(info, Payload::Partial(Arc::new(partial)));
        let part = crop(&t, &[0..2, 1..3]).unwrap();
        let Payload::Partial(known) = part.payload else {
            panic!("{:?}", part.payload)
        };
        assert_eq!(
            (&known.positions[..], &known.values[..]),
            (&[1, 2][..], &[2.0, 5.0][..])
        );
    }

    #[test]
    fn parts_side_by_side_are_the_whole_along_any_axis() {
        let (_dir, all) = everywhere(&[4, 6, 3]);
        for t in &all {
            for (axis, n) in [(0, 4), (1, 6), (2, 3)] {
                let stretch = |from: usize, to: usize| {
                    let mut bounds = vec![0..4, 0..6, 0..3];
                    bounds[axis] = from..to;
                    Arc::new(crop(t, &bounds).unwrap())
                };
                let parts = [stretch(0, 1), stretch(1, n)];
                let whole = concat(&parts, axis, vec![4, 6, 3]).unwrap();
                assert!(
                    whole
                        .values()
                        .unwrap()
                        .into_iter()
                        .eq((0..72).map(f64::from))
                );
            }
        }
    }

    #[test]
    fn a_sum_has_as_many_elements_as_its_terms() {
        let n = WINDOW / 8 + 3;
        let (_dir, all) = everywhere(&[n]);
        let terms: Vec<Arc<Tensor>> = all.into_iter().map(Arc::new).collect();
        let values = sum(&terms).unwrap().values().unwrap();
        assert!(values.into_iter().eq((0..n).map(|x| 5.0 * x as f64)));
    }

    #[test]
    fn bits_are_held_against_the_first() {
        let (_dir, mut all) = everywhere(&[2, 3]);
        let mut bytes = numbers(6);
        bytes[8] ^= 1;
        let info = TensorInfo::new(DType::F32, vec![2, 3]).unwrap();
        all.push(tensor(info, Payload::Memory(bytes.into())));
        let all: Vec<&Tensor> = all.iter().collect();
        assert_eq!(alike(&all), [true, true, true, true, true, false]);
        assert!(distance(all[0], all[5]).unwrap() > 0.0);
        assert_eq!(distance(all[0], all[3]).unwrap(), 0.0);
    }
}
