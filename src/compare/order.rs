//! In which order elements are met, and where they stand in the logical shape.

use crate::dump::TensorInfo;

/// From the place in the order of comparison to the row-major position.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Both orders are the same.
    RowMajor,
    /// Storage is dense, with these axes from slow to fast.
    Permuted(Vec<Axis>),
    /// Only these elements, ascending.
    Listed(Vec<u64>),
}

/// Elements of storage per step along an axis, its length, and elements of the logical order per step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    pub stride: u64,
    pub len: u64,
    pub logical: u64,
}

impl Positions {
    /// When both tensors fill the same storage order without gaps, though not row-major: the map from that order.
    pub fn of_common_order(a: &TensorInfo, b: &TensorInfo) -> Option<Positions> {
        let axes = axes(a);
        if axes != self::axes(b) {
            return None;
        }
        let mut sorted = axes;
        sorted.sort_by_key(|axis| std::cmp::Reverse(axis.stride));
        let mut next = 1;
        for axis in sorted.iter().rev() {
            if axis.stride != next {
                return None;
            }
            next *= axis.len;
        }
        Some(Positions::Permuted(sorted))
    }

    /// Elements do not come in ascending order of their positions.
    pub fn is_permuted(&self) -> bool {
        matches!(self, Positions::Permuted(_))
    }

    /// The row-major position of the `at`-th element compared.
    pub fn logical(&self, at: u64) -> u64 {
        match self {
            Positions::RowMajor => at,
            Positions::Permuted(axes) => axes
                .iter()
                .map(|axis| at / axis.stride % axis.len * axis.logical)
                .sum(),
            Positions::Listed(positions) => positions[at as usize],
        }
    }
}

/// Axes longer than one, in logical order.
pub fn axes(info: &TensorInfo) -> Vec<Axis> {
    let mut logical = 1;
    let mut axes = Vec::new();
    for (&len, &stride) in info.shape().iter().zip(info.strides()).rev() {
        let (len, stride) = (len as u64, stride as u64);
        if len != 1 {
            axes.push(Axis {
                stride,
                len,
                logical,
            });
        }
        logical *= len;
    }
    axes.reverse();
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    #[test]
    fn fortran_order_maps_back_to_rows() {
        let info = TensorInfo::fortran(DType::F32, vec![2, 1, 3]).unwrap();
        let positions = Positions::of_common_order(&info, &info).unwrap();
        assert!(positions.is_permuted());
        let logical: Vec<u64> = (0..6).map(|at| positions.logical(at)).collect();
        assert_eq!(logical, [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn different_orders_and_gaps_have_no_common_order() {
        let f = TensorInfo::fortran(DType::F32, vec![4, 3]).unwrap();
        let c = TensorInfo::new(DType::F32, vec![4, 3]).unwrap();
        let gaps = TensorInfo::strided(DType::F32, vec![4, 3], vec![8, 1]).unwrap();
        let repeat = TensorInfo::strided(DType::F32, vec![4, 3], vec![0, 1]).unwrap();
        assert_eq!(Positions::of_common_order(&f, &c), None);
        assert_eq!(Positions::of_common_order(&gaps, &gaps), None);
        assert_eq!(Positions::of_common_order(&repeat, &repeat), None);
    }
}
