//! What few blocks are looked at again for: spread that is small beside the mean, a record, elements that are not finite.

use super::{Element, largest, padded, total};
use crate::compare::facts::Odd;
use crate::simd::{Arithmetic, LANES, Simd, Vector, per_isa};

/// Second moments about given centres, and products, over elements finite on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Centred {
    /// Σ (x − centre) and Σ (x − centre)² of r, c and d.
    pub sum: [f64; 3],
    pub sum_sq: [f64; 3],
    /// Σ (r − centre)(c − centre).
    pub product: f64,
    /// Σ r·c.
    pub dot: f64,
}

struct CentredLanes<V> {
    sum: [V; 3],
    sum_sq: [V; 3],
    product: V,
    dot: V,
}

impl<V: Arithmetic> CentredLanes<V> {
    #[inline(always)]
    fn add(&mut self, r: V, c: V, centre: &[V; 3]) {
        let (zero, infinity) = (V::splat(0.0), V::splat(f64::INFINITY));
        let keep = V::both(r.abs().less(infinity), c.abs().less(infinity));
        let (a, b) = (r.sub(centre[0]), c.sub(centre[1]));
        let d = c.sub(r).sub(centre[2]);
        let x = [
            a.select(keep, zero),
            b.select(keep, zero),
            d.select(keep, zero),
        ];
        for (k, x) in x.into_iter().enumerate() {
            self.sum[k] = self.sum[k].add(x);
            self.sum_sq[k] = self.sum_sq[k].add(x.mul(x));
        }
        self.product = self.product.add(x[0].mul(x[1]));
        self.dot = self.dot.add(r.mul(c).select(keep, zero));
    }
}

#[inline(always)]
fn centred_body<S: Simd, E: Element>(
    r: &[E::Stored],
    c: &[E::Stored],
    centre: [f64; 3],
) -> Centred {
    let zero = S::F64::splat(0.0);
    let mut lanes = CentredLanes {
        sum: [zero; 3],
        sum_sq: [zero; 3],
        product: zero,
        dot: zero,
    };
    let centre = [
        Vector::splat(centre[0]),
        Vector::splat(centre[1]),
        Vector::splat(centre[2]),
    ];
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    for (r, c) in rs.iter().zip(cs) {
        lanes.add(wide::<S, E>(r), wide::<S, E>(c), &centre);
    }
    let (r, c) = (padded(r_tail, E::NAN), padded(c_tail, E::NAN));
    lanes.add(wide::<S, E>(&r), wide::<S, E>(&c), &centre);
    let [sum, sum_sq] = [lanes.sum, lanes.sum_sq].map(|v| [total(v[0]), total(v[1]), total(v[2])]);
    Centred {
        sum,
        sum_sq,
        product: total(lanes.product),
        dot: total(lanes.dot),
    }
}

#[inline(always)]
fn wide<S: Simd, E: Element>(x: &[E::Stored; LANES]) -> S::F64 {
    E::widen::<S>(E::load::<S>(x))
}

#[inline(always)]
fn max_mixed_body<S: Simd, E: Element>(r: &[E::Stored], c: &[E::Stored]) -> f64 {
    let mut most = S::F64::splat(0.0);
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    for (r, c) in rs.iter().zip(cs) {
        most = mixed(wide::<S, E>(r), wide::<S, E>(c), most);
    }
    let (r, c) = (padded(r_tail, E::NAN), padded(c_tail, E::NAN));
    largest(mixed(wide::<S, E>(&r), wide::<S, E>(&c), most))
}

/// NaN is never above; an infinity on the candidate's side alone has to be told apart.
#[inline(always)]
fn mixed<V: Arithmetic>(r: V, c: V, most: V) -> V {
    let (zero, infinity) = (V::splat(0.0), V::splat(f64::INFINITY));
    let mixed = c.sub(r).abs().div(V::splat(1.0).add(r.abs()));
    mixed.select(c.abs().less(infinity), zero).max(most)
}

/// Lanes are looked at in eights: the element itself is among the eight from there on.
#[inline(always)]
fn first_apart_body<S: Simd, E: Element>(r: &[E::Stored], c: &[E::Stored], far: f64) -> usize {
    let far = S::F64::splat(far);
    let (rs, _) = r.as_chunks::<LANES>();
    let (cs, _) = c.as_chunks::<LANES>();
    let found = rs.iter().zip(cs).position(|(r, c)| {
        let apart = wide::<S, E>(c).sub(wide::<S, E>(r)).abs();
        S::F64::count(apart.equal(far)) > 0
    });
    found.unwrap_or(rs.len()) * LANES
}

#[inline(always)]
fn odd_body<S: Simd, E: Element>(r: &[E::Stored], c: &[E::Stored]) -> Odd {
    let mut odd = Odd::default();
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    for (r, c) in rs.iter().zip(cs) {
        count(&mut odd, E::load::<S>(r), E::load::<S>(c));
    }
    if !r_tail.is_empty() {
        count(
            &mut odd,
            E::load::<S>(&padded(r_tail, E::NAN)),
            E::load::<S>(&padded(c_tail, E::NAN)),
        );
        let absent = (LANES - r_tail.len()) as u64;
        odd.nan = odd.nan.map(|n| n - absent);
        odd.nan_both -= absent;
    }
    odd
}

#[inline(always)]
fn count<V: Vector>(odd: &mut Odd, r: V, c: V) {
    let lanes = LANES as u64;
    let [infinity, minus] = [f64::INFINITY, f64::NEG_INFINITY].map(V::splat);
    for (side, x) in [r, c].into_iter().enumerate() {
        // NaN alone differs from itself
        odd.nan[side] += lanes - V::count(x.equal(x));
        odd.pos_inf[side] += V::count(x.equal(infinity));
        odd.neg_inf[side] += V::count(x.equal(minus));
    }
    odd.nan_both += lanes - V::count(V::either(r.equal(r), c.equal(c)));
    let infinite = V::either(r.abs().equal(infinity), c.abs().equal(infinity));
    odd.inf_both += V::count(V::both(infinite, r.equal(c)));
    let differ = V::either(r.less(c), c.less(r));
    odd.inf_mismatch += V::count(V::both(infinite, differ));
}

per_isa! {
    /// Second moments about `centre` (of r, c and c − r), over elements finite on both sides: for blocks whose spread is
    /// small beside their mean, where raw sums would cancel.
    pub fn centred[E: Element][E](r: &[E::Stored], c: &[E::Stored], centre: [f64; 3]) -> Centred = centred_body;
}

per_isa! {
    /// The largest |c − r| / (1 + |r|) over elements finite on both sides.
    pub fn max_mixed[E: Element][E](r: &[E::Stored], c: &[E::Stored]) -> f64 = max_mixed_body;
}

per_isa! {
    /// No element before the returned place is `far` apart (|c − r| = `far`); one of the eight from there on is, if any.
    pub fn first_apart[E: Element][E](r: &[E::Stored], c: &[E::Stored], far: f64) -> usize = first_apart_body;
}

per_isa! {
    /// Counts the elements that are not finite.
    pub fn odd[E: Element][E](r: &[E::Stored], c: &[E::Stored]) -> Odd = odd_body;
}
