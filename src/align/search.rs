//! Every way in which the axes of one shape can be those of another.

use super::view::{Composition, Part, View, Walk};
use crate::math::permutations;

/// What may be done beside splitting and reordering axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// Axes that are longer on one side.
    pub shorter: usize,
    /// Parts that only one side has: it stands at one place of them, or the other repeats along them.
    pub absent: usize,
    /// The fastest axis may be cut: it is one of tokens or words, not of features.
    pub fastest: bool,
}

/// More ways than these are not looked at.
const MOST: usize = 4096;
/// Axes of more than this rank keep their order.
const PERMUTED: usize = 5;

/// An axis or a part of one: the axis of the tensor, and its length.
type Piece = (usize, usize);

/// What one axis of the views runs along.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The pieces of both sides, and where the view starts along them.
    fine: Option<(Piece, usize)>,
    coarse: Option<(Piece, usize)>,
    /// `None` where the view stands still.
    len: Option<usize>,
}

/// The compositions that bring two shapes together with no more than these cuts, the most natural first. A cut starts at
/// either end, or where one of `starts` (of the reference, of the candidate) says.
pub fn compositions(
    r: &[usize],
    c: &[usize],
    cuts: Cuts,
    starts: &[[usize; 2]],
) -> Vec<Composition> {
    let pieces = |shape: &[usize]| -> Vec<Piece> {
        let axes = shape.iter().copied().enumerate();
        axes.filter(|(_, n)| *n != 1).collect()
    };
    let (pr, pc) = (pieces(r), pieces(c));
    // the side with more axes is put into another order
    let turned = pr.len() > pc.len();
    let (fine, coarse) = if turned { (&pr, &pc) } else { (&pc, &pr) };
    let orders = match fine.len() {
        0..=PERMUTED => permutations(fine.len()),
        n => vec![(0..n).collect()],
    };
    let mut found: Vec<(usize, Composition)> = Vec::new();
    for order in orders {
        let natural = order.is_sorted();
        let mut search = Search {
            starts,
            turned,
            found: Vec::new(),
        };
        let fine: Vec<Piece> = order.iter().map(|&i| fine[i]).collect();
        search.step(fine, coarse.clone(), Vec::new(), cuts);
        for links in search.found {
            let composition = composed(&links, turned, r.len(), c.len());
            let split = |v: &View| v.parts.windows(2).any(|p| p[0].axis == p[1].axis);
            let (sr, sc) = (split(&composition.reference), split(&composition.candidate));
            let parts = composition.candidate.parts.len();
            // the same elements under other axes are least natural: heads and tokens would mix
            let cost = 64 * usize::from(sr && sc) + 32 * usize::from(!natural) + parts;
            if found.len() < MOST && !found.iter().any(|(_, f)| *f == composition) {
                found.push((cost, composition));
            }
        }
    }
    found.sort_by_key(|(cost, _)| *cost);
    found
        .into_iter()
        .map(|(_, composition)| composition)
        .collect()
}

struct Search<'a> {
    starts: &'a [[usize; 2]],
    turned: bool,
    found: Vec<Vec<Link>>,
}

impl Search<'_> {
    /// Links the fastest pieces of both sides in every way, then the rest.
    fn step(&mut self, fine: Vec<Piece>, coarse: Vec<Piece>, links: Vec<Link>, left: Cuts) {
        if self.found.len() >= MOST {
            return;
        }
        let (a, b) = (fine.last().copied(), coarse.last().copied());
        if a.is_none() && b.is_none() {
            // a cut that is allowed and not made was looked at before
            if left.shorter + left.absent == 0 {
                self.found.push(links);
            }
            return;
        }
        let (known, turned) = (self.starts, self.turned);
        let mut go = |rest: [Vec<Piece>; 2], new: Link, left: Cuts| {
            let [fine, coarse] = rest;
            self.step(fine, coarse, [links.clone(), vec![new]].concat(), left);
        };
        let less = |pieces: &[Piece], inner: usize| {
            let mut rest = pieces.to_vec();
            if let Some((axis, len)) = rest.pop()
                && len != inner
            {
                rest.push((axis, len / inner));
            }
            rest
        };
        let splits = |n: usize, by: usize| by > 0 && n.is_multiple_of(by);
        let inside = left.fastest || !links.is_empty();
        if let (Some(a), Some(b)) = (a, b) {
            let both = a.1.min(b.1);
            if splits(a.1, both) && splits(b.1, both) || a.1 == b.1 {
                let rest = [less(&fine, both), less(&coarse, both)];
                let new = Link {
                    fine: Some(((a.0, both), 0)),
                    coarse: Some(((b.0, both), 0)),
                    len: Some(both),
                };
                go(rest, new, left);
            }
            // what is cut may be one of several axes that the other side has joined: what lies outside it stays
            let outside = |pieces: &[Piece]| {
                let outer = pieces.iter().rev().skip(1);
                let product = |k: &mut usize, (_, len): &Piece| {
                    *k *= len;
                    Some(*k)
                };
                outer.scan(1, product).collect::<Vec<_>>()
            };
            let mut lens = vec![(a.1, b.1)];
            let split = |n: usize, ks: Vec<usize>| {
                let fits = move |k: &usize| *k > 1 && splits(n, *k) && *k < n;
                ks.into_iter().filter(fits).map(move |k| n / k)
            };
            lens.extend(split(b.1, outside(&fine)).map(|m| (a.1, m)));
            lens.extend(split(a.1, outside(&coarse)).map(|n| (n, b.1)));
            lens.retain(|(n, m)| left.shorter > 0 && inside && n != m && n.min(m) > &0);
            for (n, m) in lens {
                let both = n.min(m);
                let mut starts = vec![[0, 0], [n - both, m - both]];
                for &[r, c] in known {
                    let start = if turned { [r, c] } else { [c, r] };
                    if start[0] < n && start[1] < m && !starts.contains(&start) {
                        starts.push(start);
                    }
                }
                for [x, y] in starts {
                    let rest = [less(&fine, n), less(&coarse, m)];
                    let new = Link {
                        fine: Some(((a.0, n), x)),
                        coarse: Some(((b.0, m), y)),
                        len: Some((n - x).min(m - y)),
                    };
                    let shorter = left.shorter - 1;
                    go(rest, new, Cuts { shorter, ..left });
                }
            }
        }
        if left.absent == 0 || !inside {
            return;
        }
        let absent = left.absent - 1;
        let left = Cuts { absent, ..left };
        for (on_fine, own, other) in [(true, a, b), (false, b, a)] {
            let Some((axis, n)) = own.filter(|(_, n)| *n > 1) else {
                continue;
            };
            // all of the axis, or what it holds beyond the other's
            let beyond = other
                .map(|(_, m)| m)
                .filter(|&m| m < n && m > 1 && splits(n, m));
            let beyond = beyond.map(|m| n / m);
            for (len, whole) in [(Some(n), true), (beyond, false)] {
                let Some(len) = len else { continue };
                let still = [n - 1, 0].map(|at| (at, None));
                let repeated = (0, Some(len));
                let ways = still.into_iter().filter(|_| whole).chain([repeated]);
                for (at, walk) in ways {
                    let piece = Some(((axis, len), at));
                    let new = Link {
                        fine: piece.filter(|_| on_fine),
                        coarse: piece.filter(|_| !on_fine),
                        len: walk,
                    };
                    let rest = match on_fine {
                        true => [less(&fine, len), coarse.clone()],
                        false => [fine.clone(), less(&coarse, len)],
                    };
                    go(rest, new, left);
                }
            }
        }
    }
}

/// The views of links, which come from fast to slow in the order of the coarse side.
fn composed(links: &[Link], turned: bool, rank_r: usize, rank_c: usize) -> Composition {
    let reference = |l: &Link| if turned { l.fine } else { l.coarse };
    let candidate = |l: &Link| if turned { l.coarse } else { l.fine };
    let side =
        |of: &dyn Fn(&Link) -> Option<(Piece, usize)>, rank: usize| -> (View, Vec<Option<usize>>) {
            // parts in the order of the axes; those of one axis come from fast to slow
            let mut own: Vec<usize> = (0..links.len())
                .rev()
                .filter(|&i| of(&links[i]).is_some())
                .collect();
            own.sort_by_key(|&i| of(&links[i]).map(|((axis, _), _)| axis));
            let parts = own.iter().filter_map(|&i| of(&links[i]));
            let parts = parts
                .map(|((axis, len), at)| Part { axis, len, at })
                .collect();
            let place = (0..links.len())
                .map(|i| own.iter().position(|&o| o == i))
                .collect();
            let view = View {
                parts,
                walks: Vec::new(),
                rank,
            };
            (view, place)
        };
    let (mut r, place_r) = side(&reference, rank_r);
    let (mut c, place_c) = side(&candidate, rank_c);
    // in the order of the reference; what it repeats stays behind what stands before it
    let mut order: Vec<(usize, usize)> = Vec::new();
    let mut before = 0;
    for i in (0..links.len()).rev() {
        before = place_r[i].unwrap_or(before);
        order.push((before, i));
    }
    order.sort_by_key(|&(place, _)| place);
    for (_, i) in order {
        if let Some(len) = links[i].len {
            r.walks.push(Walk {
                part: place_r[i],
                len,
            });
            c.walks.push(Walk {
                part: place_c[i],
                len,
            });
        }
    }
    Composition {
        reference: r,
        candidate: c,
    }
}

/// The same composition with its cuts and stands at every place, as long as these are not too many.
pub fn elsewhere(of: &Composition) -> Vec<Composition> {
    let mut all = vec![of.clone()];
    let mut grow = |room: usize, moved: &dyn Fn(&mut Composition, usize)| {
        if all.len() * (room + 1) > MOST {
            return;
        }
        let places = |way: &Composition| {
            let at = |x| {
                let mut way = way.clone();
                moved(&mut way, x);
                way
            };
            (0..=room).map(at).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(places).collect();
    };
    for side in [0, 1] {
        let view = of.sides()[side];
        for (i, part) in view.parts.iter().enumerate() {
            if view.walk(i).is_none() {
                grow(part.len - 1, &|way, x| {
                    way.sides_mut()[side].parts[i].at = x
                });
            }
        }
    }
    let size = |&[a, b]: &[usize; 2]| (of.reference.parts[a].len, of.candidate.parts[b].len);
    let mut cuts: Vec<[usize; 2]> = of.cuts().collect();
    while let Some(first) = cuts.first().map(size) {
        // both axes of square scores move together
        let alike: Vec<[usize; 2]> = cuts.iter().copied().filter(|c| size(c) == first).collect();
        cuts.retain(|c| size(c) != first);
        let (n, m) = first;
        grow(n.abs_diff(m), &|way, x| {
            for parts in &alike {
                let at = if n > m { [x, 0] } else { [0, x] };
                for ((view, &part), at) in way.sides_mut().into_iter().zip(parts).zip(at) {
                    view.parts[part].at = at;
                    let walk = view.walks.iter_mut().find(|w| w.part == Some(part));
                    walk.into_iter().for_each(|w| w.len = n.min(m));
                }
            }
        });
    }
    all
}
