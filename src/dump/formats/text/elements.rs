//! Lines `name[i] = value` of a log, gathered into tensors.

use super::digits::Precision;
use super::layout::Entry;
use super::nest::Fault;
use crate::dump::Partial;

/// The elements seen so far, one group per run of a name.
#[derive(Debug, Default)]
pub struct Elements {
    pub groups: Vec<Group>,
}

/// The elements of one tensor.
#[derive(Debug)]
pub struct Group {
    pub name: String,
    /// Number of tensors in the log before it.
    pub sequence: u64,
    axes: usize,
    indices: Vec<u64>,
    values: Vec<f64>,
    pub precision: Precision,
    pub integers: bool,
    /// What the lines above say.
    pub shape: Option<Vec<usize>>,
}

impl Elements {
    /// Takes a line; `false` when it is no element with a name.
    pub fn line(&mut self, line: &str, sequence: u64, shape: &Option<Vec<usize>>) -> bool {
        let line = line.trim().as_bytes();
        let Some(entry) = Entry::of(line) else {
            return false;
        };
        let Some((word, value)) = entry.value(line) else {
            return false;
        };
        let Ok(name) = std::str::from_utf8(entry.name) else {
            return false;
        };
        let named = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/'));
        if !named {
            return false;
        }
        let index = entry.index();
        let group = self
            .groups
            .iter_mut()
            .rev()
            .take(64)
            .find(|g| g.name == name && g.axes == index.len());
        let group = match group {
            // An index that does not grow starts the tensor's next occurrence.
            Some(g) if index > &g.indices[g.indices.len() - g.axes..] => g,
            _ => {
                self.groups.push(Group {
                    name: name.to_owned(),
                    sequence,
                    axes: index.len(),
                    indices: Vec::new(),
                    values: Vec::new(),
                    precision: Precision::default(),
                    integers: true,
                    shape: shape.clone(),
                });
                let last = self.groups.len() - 1;
                &mut self.groups[last]
            }
        };
        group.indices.extend_from_slice(index);
        group.values.push(value);
        group.precision.see(word);
        group.integers &= word.iter().all(|b| b.is_ascii_digit() || *b == b'-');
        true
    }
}

impl Group {
    /// Shape and elements; without a shape the indices must leave no gap.
    pub fn place(&self) -> Result<(Vec<usize>, Partial), Fault> {
        let rows = || self.indices.chunks_exact(self.axes);
        let shape = match &self.shape {
            Some(shape) if shape.len() == self.axes || self.axes == 1 => shape.clone(),
            _ => (0..self.axes)
                .map(|a| rows().map(|i| i[a]).max().map_or(0, |n| n as usize + 1))
                .collect(),
        };
        let misfit = || Fault::Shape {
            shape: shape.clone(),
            found: vec![self.values.len()],
        };
        let count = shape
            .iter()
            .try_fold(1u64, |n, &d| n.checked_mul(d as u64))
            .ok_or_else(misfit)?;
        let mut positions = Vec::with_capacity(self.values.len());
        for index in rows() {
            let position = match index {
                [i] => *i,
                _ => index
                    .iter()
                    .zip(&shape)
                    .try_fold(0, |at, (&i, &n)| {
                        (i < n as u64).then_some(at * n as u64 + i)
                    })
                    .ok_or_else(misfit)?,
            };
            if position >= count {
                return Err(misfit());
            }
            positions.push(position);
        }
        if self.shape.is_none() && count != positions.len() as u64 {
            return Err(Fault::NoShape);
        }
        Ok((
            shape,
            Partial {
                positions,
                values: self.values.clone(),
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(lines: &[&str], shape: Option<Vec<usize>>) -> Vec<Group> {
        let mut e = Elements::default();
        for line in lines {
            e.line(line, 0, &shape);
        }
        e.groups
    }

    #[test]
    fn elements_of_several_names_are_told_apart() {
        let groups = gather(
            &[
                "q[0] = 1",
                "k[0] = 3.5",
                "noise",
                "q[1] = 2",
                "q[0] = 7",
                "loss 0.3",
            ],
            None,
        );
        let names: Vec<_> = groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["q", "k", "q"]);
        assert_eq!(groups[0].place().unwrap().1.values, [1.0, 2.0]);
        assert!(groups[0].integers && !groups[1].integers);
    }

    #[test]
    fn gaps_need_a_shape() {
        let lines = ["q[0] = 1.5", "q[7] = 2.5"];
        assert_eq!(gather(&lines, None)[0].place(), Err(Fault::NoShape));
        let (shape, p) = gather(&lines, Some(vec![2, 4]))[0].place().unwrap();
        assert_eq!((shape, p.positions), (vec![2, 4], vec![0, 7]));
        let (shape, p) = gather(&["x[0][0]=1", "x[0][1]=2", "x[1][0]=3", "x[1][1]=4"], None)[0]
            .place()
            .unwrap();
        assert_eq!((shape, p.positions), (vec![2, 2], vec![0, 1, 2, 3]));
    }
}
