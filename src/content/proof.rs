//! How far each tensor in question is from each of the other side that it could be.

use super::Item;
use super::signature::{distance, offset_of, unrelated};
use crate::align;
use crate::threads;
use std::collections::BTreeMap;

/// More combinations than this are looked at layer by layer (by the numbers in the names), and where that leaves as many, not at all.
const MANY: usize = 1 << 18;
/// Layouts are tried with so many tensors of nearest values, and of those only where the values are about the same.
const TRIED: usize = 6;
const SIMILAR: f64 = 0.3;
/// Values this near stand at the same places already.
const PLACED: f64 = 0.1;
/// A margin counts from −2 to 3: no distance is evidence without end.
const LEAST: f64 = -2.0;
const MOST: f64 = 3.0;
/// Evidence of the values alone: so near, and so many times nearer than anything else.
const PROVEN: f64 = 0.02;
const TIMES: f64 = 3.0;

/// The distances of tensors of one size.
pub struct Distances {
    /// Per tensor of a side: those of the other with their distances, the nearest first.
    near: [Vec<Vec<(usize, f64)>>; 2],
    spread: Vec<Vec<(usize, f64)>>,
    /// Which tensors of a side hold the same values: the group of each, and the groups.
    same: [(Vec<usize>, Vec<Vec<usize>>); 2],
}

impl Distances {
    pub fn of(items: &[Vec<Item<'_>>; 2]) -> Distances {
        let groups = groups(items);
        let rows: Vec<(usize, &Vec<usize>)> = groups
            .iter()
            .flat_map(|[rs, cs]| rs.iter().map(move |&r| (r, cs)))
            .collect();
        let found = threads::map(&rows, super::FEW, |(r, cs)| {
            row(&items[0][*r], cs, &items[1])
        });
        let mut near = [0, 1].map(|side| vec![Vec::new(); items[side].len()]);
        let mut spread = vec![Vec::new(); items[0].len()];
        for ((r, _), row) in rows.into_iter().zip(found) {
            for (c, of_values, apart) in row {
                near[0][r].push((c, apart));
                near[1][c].push((r, apart));
                spread[r].push((c, of_values));
            }
        }
        for row in near.iter_mut().flatten() {
            row.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        }
        Distances {
            near,
            spread,
            same: [0, 1].map(|side| same(&items[side])),
        }
    }

    /// How far two tensors are apart; `None` where nothing was compared.
    pub fn between(&self, r: usize, c: usize) -> Option<f64> {
        let row = self.near[0][r].iter();
        row.clone().find(|(at, _)| *at == c).map(|f| f.1)
    }

    /// The tensors of a side that hold the same values as this one, and itself.
    pub fn all_same(&self, side: usize, at: usize) -> &[usize] {
        let (group, groups) = &self.same[side];
        &groups[group[at]]
    }

    /// The nearest other partner of either, among those that `is_open`.
    fn rival(&self, r: usize, c: usize, is_open: &dyn Fn(usize, usize) -> bool) -> f64 {
        let of = |side: usize, own: usize, partner: usize| {
            let others = self.near[side][own].iter();
            let mut others = others.filter(|(at, _)| {
                let group = &self.same[1 - side].0;
                group[*at] != group[partner] && is_open(1 - side, *at)
            });
            others.next().map_or(f64::INFINITY, |f| f.1)
        };
        of(0, r, c).min(of(1, c, r))
    }

    /// ln of how many times nearer two tensors are than the next best of either.
    pub fn margin(
        &self,
        r: usize,
        c: usize,
        is_open: &dyn Fn(usize, usize) -> bool,
    ) -> Option<f64> {
        let apart = self.between(r, c)?;
        let of_values = self.spread[r].iter().find(|(at, _)| *at == c)?.1;
        let other = self.rival(r, c, is_open).min(unrelated(of_values));
        Some((other / apart.max(1e-12)).ln().clamp(LEAST, MOST))
    }

    /// The tensors that are far nearer to each other than to anything else.
    pub fn proven(&self) -> Vec<(usize, usize)> {
        let all = |_: usize, _: usize| true;
        let nearest = |(r, row): (usize, &Vec<(usize, f64)>)| {
            let near = row.iter().take_while(|(_, apart)| *apart < PROVEN);
            let sure = near.filter(move |(c, apart)| self.rival(r, *c, &all) > TIMES * apart);
            sure.map(|(c, _)| (r, *c)).collect::<Vec<_>>()
        };
        self.near[0].iter().enumerate().flat_map(nearest).collect()
    }
}

/// Tensors of both sides that could be the same: of one size and kind, and with the same numbers in their names where they are many.
fn groups(items: &[Vec<Item<'_>>; 2]) -> Vec<[Vec<usize>; 2]> {
    let by = |layers: bool| {
        let mut groups: BTreeMap<_, [Vec<usize>; 2]> = BTreeMap::new();
        for (side, items) in items.iter().enumerate() {
            for (at, item) in items
                .iter()
                .enumerate()
                .filter(|(_, i)| i.signature.is_some())
            {
                let numbers = layers.then_some(&item.numbers);
                groups.entry((item.class(), numbers)).or_default()[side].push(at);
            }
        }
        groups
    };
    let size = |[r, c]: &[Vec<usize>; 2]| r.len().saturating_mul(c.len());
    let mut found = by(false);
    let many: Vec<_> = found
        .iter()
        .filter(|g| size(g.1) > MANY)
        .map(|g| g.0.0)
        .collect();
    if !many.is_empty() {
        found.retain(|_, g| size(g) <= MANY);
        let layers = by(true).into_iter();
        found.extend(layers.filter(|((class, _), g)| many.contains(class) && size(g) <= MANY));
    }
    found.into_values().collect()
}

/// The distances of one tensor of the reference: of the values whatever their order, and altogether.
fn row(r: &Item<'_>, cs: &[usize], candidates: &[Item<'_>]) -> Vec<(usize, f64, f64)> {
    let Some(own) = &r.signature else {
        return Vec::new();
    };
    let mut row: Vec<(usize, f64, f64)> = cs
        .iter()
        .filter_map(|&c| {
            let other = candidates[c]
                .signature
                .as_ref()
                .filter(|s| s.known == own.known)?;
            Some((c, own.spread(other), own.glance.offset(&other.glance)))
        })
        .collect();
    row.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    for (c, spread, offset) in row.iter_mut().take(TRIED) {
        if *spread < SIMILAR && *offset > PLACED {
            *offset = offset.min(in_other_layouts(r, &candidates[*c]).unwrap_or(*offset));
        }
    }
    let apart = |(c, spread, offset)| (c, spread, distance(spread, offset));
    row.into_iter().map(apart).collect()
}

/// How far two tensors are apart in the layout that fits best.
fn in_other_layouts(r: &Item<'_>, c: &Item<'_>) -> Option<f64> {
    let squeezed = |item: &Item<'_>| -> Vec<usize> {
        let shape = item.tensor.info.shape().iter().copied();
        shape.filter(|&n| n != 1).collect()
    };
    if squeezed(r) == squeezed(c) {
        return None;
    }
    let [r, c] = align::together(r.key, r.tensor, c.tensor)?;
    offset_of(&r, &c)
}

/// Groups of tensors with the same values: the group of each tensor, and the tensors of each group.
fn same(items: &[Item<'_>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut known = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut of = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let new = groups.len();
        let group = match &item.signature {
            Some(s) => *known.entry((item.class(), s.digest)).or_insert(new),
            None => new,
        };
        if group == new {
            groups.push(Vec::new());
        }
        groups[group].push(at);
        of.push(group);
    }
    (of, groups)
}
