//! Nested brackets with `...` where elements were left out.

use crate::dump::Partial;

/// Collects the values of nested lists, with their places.
///
/// A list shows as many elements behind `...` as before it, as every program prints them; so the place of an element
/// behind it is known from the end before the list is closed (a log may be cut off).
#[derive(Clone, Debug, Default)]
pub struct Nest {
    open: Vec<List>,
    /// What the closed lists of each depth were like.
    lists: Vec<Option<List>>,
    /// Depth of the values, known from the first one on.
    depth: Option<usize>,
    /// `depth` places per value; from the end where negative.
    paths: Vec<i32>,
    values: Vec<f64>,
}

/// Elements of one list so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct List {
    seen: i32,
    /// How many stand before `...`.
    lead: Option<i32>,
}

/// Why nested lists are no tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Lists of one depth differ in length, or values stand at several depths.
    Ragged,
    /// More elements behind `...` than before it.
    Lopsided,
    /// `...` without a shape to place what follows.
    NoShape,
    /// The printed lists and the shape do not fit: extent found where the shape has another.
    Shape {
        shape: Vec<usize>,
        found: Vec<usize>,
    },
    /// Brackets still open or closed too often.
    Brackets,
    /// Another line stands inside the print.
    Broken { line: u64 },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Ragged => write!(f, "the printed rows differ in length"),
            Fault::Lopsided => write!(f, "more elements are printed behind `...` than before it"),
            Fault::NoShape => write!(
                f,
                "elements are left out (`...`) and no shape is printed; print the shape too, or all elements"
            ),
            Fault::Shape { shape, found } => {
                write!(f, "the shape says {shape:?}, the print holds {found:?}")
            }
            Fault::Brackets => write!(f, "the brackets do not match"),
            Fault::Broken { line } => write!(f, "line {line} stands inside the printed tensor"),
        }
    }
}

impl Nest {
    /// `[`
    pub fn open(&mut self) -> Result<(), Fault> {
        if self.open.len() >= self.depth.unwrap_or(32) {
            return Err(Fault::Ragged);
        }
        if let Some(outer) = self.open.last_mut() {
            outer.seen += 1;
        } else if self.lists.first().is_some_and(Option::is_some) {
            return Err(Fault::Brackets);
        }
        self.open.push(List::default());
        if self.lists.len() < self.open.len() {
            self.lists.push(None);
        }
        Ok(())
    }

    /// `]`
    pub fn close(&mut self) -> Result<(), Fault> {
        let list = self.open.pop().ok_or(Fault::Brackets)?;
        if list.lead.is_some_and(|lead| list.seen != 2 * lead) {
            return Err(Fault::Lopsided);
        }
        match &mut self.lists[self.open.len()] {
            Some(before) if *before != list => Err(Fault::Ragged),
            slot => {
                *slot = Some(list);
                Ok(())
            }
        }
    }

    /// `...`
    pub fn gap(&mut self) -> Result<(), Fault> {
        let list = self.open.last_mut().ok_or(Fault::Brackets)?;
        if list.lead.is_some() {
            return Err(Fault::Lopsided);
        }
        list.lead = Some(list.seen);
        Ok(())
    }

    pub fn value(&mut self, value: f64) -> Result<(), Fault> {
        if *self.depth.get_or_insert(self.open.len()) != self.open.len() {
            return Err(Fault::Ragged);
        }
        let Some((inner, outer)) = self.open.split_last_mut() else {
            // A scalar.
            self.values.push(value);
            return Ok(());
        };
        inner.seen += 1;
        for list in outer.iter().chain([&*inner]) {
            let index = list.seen - 1;
            self.paths.push(match list.lead {
                None => index,
                Some(lead) if index < 2 * lead => index - 2 * lead,
                Some(_) => return Err(Fault::Lopsided),
            });
        }
        self.values.push(value);
        Ok(())
    }

    /// Brackets are still open.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub fn open_lists(&self) -> usize {
        self.open.len()
    }

    /// Lists that the outermost open one holds so far.
    pub fn outer_count(&self) -> usize {
        self.open.first().map_or(0, |l| l.seen.max(0) as usize)
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Some elements were left out.
    pub fn has_gaps(&self) -> bool {
        self.open.iter().any(|l| l.lead.is_some())
            || self.lists.iter().flatten().any(|l| l.lead.is_some())
    }

    /// The shape that the lists themselves show; `None` with gaps.
    pub fn shape(&self) -> Option<Vec<usize>> {
        self.lists
            .iter()
            .map(|l| match l {
                Some(List { seen, lead: None }) => Some(*seen as usize),
                _ => None,
            })
            .collect()
    }

    /// The values at their places in a tensor of `shape`, or of the shape that the lists show. Lists that are still
    /// open (the text was cut off) are taken as far as they go when a shape is given.
    pub fn place(&self, shape: Option<&[usize]>) -> Result<(Vec<usize>, Partial), Fault> {
        let shape = match shape {
            Some(shape) => shape.to_vec(),
            None if self.is_open() => return Err(Fault::Brackets),
            None => self.shape().ok_or(Fault::NoShape)?,
        };
        let found: Vec<usize> = self
            .lists
            .iter()
            .zip(self.lists.iter().enumerate().map(|(i, _)| self.open.get(i)))
            .map(|(closed, open)| closed.as_ref().or(open).map_or(0, |l| l.seen as usize))
            .collect();
        let misfit = || Fault::Shape {
            shape: shape.clone(),
            found: found.clone(),
        };
        let depth = self.depth.unwrap_or(self.lists.len());
        if depth != shape.len() && !(self.values.is_empty() && shape.contains(&0)) {
            return Err(misfit());
        }
        for (list, &n) in self.lists.iter().zip(&shape) {
            // A gap always leaves something out, a list without one is complete.
            let fits = match list {
                Some(List { seen, lead: None }) => *seen as usize == n,
                Some(List {
                    seen,
                    lead: Some(_),
                }) => (*seen as usize) < n,
                None => true,
            };
            if !fits {
                return Err(misfit());
            }
        }
        let mut positions = Vec::with_capacity(self.values.len());
        for i in 0..self.values.len() {
            let path = &self.paths[i * depth..(i + 1) * depth];
            let mut at = 0u64;
            for (&index, &n) in path.iter().zip(&shape) {
                let index = if index < 0 {
                    n as i64 + i64::from(index)
                } else {
                    i64::from(index)
                };
                if index < 0 || index >= n as i64 {
                    return Err(misfit());
                }
                at = at
                    .checked_mul(n as u64)
                    .and_then(|at| at.checked_add(index as u64))
                    .ok_or_else(misfit)?;
            }
            positions.push(at);
        }
        if positions.windows(2).any(|w| w[0] >= w[1]) {
            return Err(misfit());
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

    fn nest(text: &str) -> Result<Nest, Fault> {
        let mut n = Nest::default();
        for word in text.split_whitespace() {
            match word {
                "[" => n.open()?,
                "]" => n.close()?,
                "..." => n.gap()?,
                v => n.value(v.parse().unwrap())?,
            }
        }
        Ok(n)
    }

    #[test]
    fn full_lists_show_their_shape() {
        let n = nest("[ [ 1 2 3 ] [ 4 5 6 ] ]").unwrap();
        let (shape, p) = n.place(None).unwrap();
        assert_eq!((shape, p.positions), (vec![2, 3], vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(
            nest("7").unwrap().place(None).unwrap().0,
            Vec::<usize>::new()
        );
        assert_eq!(nest("[ ]").unwrap().place(None).unwrap().0, [0]);
    }

    #[test]
    fn elements_behind_a_gap_count_from_the_end() {
        let n = nest("[ [ 1 ... 2 ] ... [ 3 ... 4 ] ]").unwrap();
        assert_eq!(n.place(None), Err(Fault::NoShape));
        let (_, p) = n.place(Some(&[10, 100])).unwrap();
        assert_eq!(p.positions, [0, 99, 900, 999]);
        assert_eq!(p.values, [1., 2., 3., 4.]);
    }

    #[test]
    fn a_print_that_is_cut_off_keeps_its_places() {
        let n = nest("[ [ 1 2 ... 3").unwrap();
        assert_eq!(n.place(None), Err(Fault::Brackets));
        assert_eq!(n.place(Some(&[5, 9])).unwrap().1.positions, [0, 1, 7]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(nest("[ [ 1 2 ] [ 3 ] ]").unwrap_err(), Fault::Ragged);
        assert_eq!(nest("[ 1 [ 2 ] ]").unwrap_err(), Fault::Ragged);
        assert_eq!(nest("[ 1 ... 2 3 ]").unwrap_err(), Fault::Lopsided);
        assert_eq!(nest("[ 1 ] ]").unwrap_err(), Fault::Brackets);
        assert_eq!(nest("[ 1 ] [ 2 ]").unwrap_err(), Fault::Brackets);
        assert!(matches!(
            nest("[ 1 2 3 ]").unwrap().place(Some(&[4])),
            Err(Fault::Shape { .. })
        ));
        assert!(matches!(
            nest("[ 1 ... 3 ]").unwrap().place(Some(&[2])),
            Err(Fault::Shape { .. })
        ));
    }
}
