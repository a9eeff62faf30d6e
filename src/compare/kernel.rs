//! The one hot loop: a block of reference elements against a block of candidate elements.
//!
//! Everything a pair needs is summed in one pass over the block, in f64, by [`State::step`], which handles eight elements, one
//! per lane of a vector ([`crate::simd`]). Each function is compiled once per instruction set by `per_isa!` and chosen at run
//! time. Element `i` always goes to lane `i % 8` and lanes are added in one fixed order, so every instruction set gives the
//! same bits. Four rules keep it so:
//!
//! - Nothing is contracted behind our back: Rust never fuses `a * b + c` by itself.
//! - A fused multiply-add is written only where it cannot change the result: squares of values with at most 24 bits of
//!   mantissa are exact in f64 ([`Element::EXACT_SQUARES`]), and the filter for `max_mixed` errs on the safe side only.
//! - Minimum, maximum and zeros are looked for in the elements' own type ([`Element::Own`]): half as many registers.
//! - What NaN does to a minimum does not matter: a block whose sums are not finite is done again with `MASKED`, where
//!   non-finite elements count as absent.
//!
//! The tests hold it against the plain loop that says what it means.

mod again;
#[cfg(test)]
mod tests;

pub use again::{centred, first_apart, max_mixed, odd};

use crate::simd::{Arithmetic, LANES, Simd, Vector, per_isa};

/// Elements per block: the unit of accumulation, on a fixed grid from element 0.
pub const BLOCK: usize = 2048;

/// What the loop reads: eight of these at a time.
pub trait Element {
    /// One element as it is stored, little endian, or decoded.
    type Stored: Copy;
    /// A vector of the narrower of f32 and f64 that holds every value.
    type Own<S: Simd>: Vector;
    /// The square of every value is exact in f64.
    const EXACT_SQUARES: bool;
    const NAN: Self::Stored;
    fn load<S: Simd>(x: &[Self::Stored; LANES]) -> Self::Own<S>;
    fn widen<S: Simd>(x: Self::Own<S>) -> S::F64;
    /// One element alone.
    fn value(x: Self::Stored) -> f64;
}

macro_rules! element {
    ($(#[$doc:meta])* $name:ident, $stored:ty, $own:ident, exact squares: $exact:literal, $nan:expr, $load:expr, $widen:expr, $value:expr) => {
        $(#[$doc])*
        pub struct $name;
        impl Element for $name {
            type Stored = $stored;
            type Own<S: Simd> = S::$own;
            const EXACT_SQUARES: bool = $exact;
            const NAN: $stored = $nan;
            #[inline(always)]
            fn load<S: Simd>(x: &[$stored; LANES]) -> S::$own {
                $load(x)
            }
            #[inline(always)]
            fn widen<S: Simd>(x: S::$own) -> S::F64 {
                $widen(x)
            }
            #[inline(always)]
            fn value(x: $stored) -> f64 {
                $value(x)
            }
        }
    };
}

element!(
    F32, [u8; 4], F32, exact squares: true, f32::NAN.to_le_bytes(), S::f32, S::widen,
    |x| f64::from(f32::from_le_bytes(x))
);
element!(
    /// The upper half of an f32.
    Bf16, [u8; 2], F32, exact squares: true, [0xc0, 0x7f], S::bf16, S::widen,
    |x| half::bf16::from_le_bytes(x).to_f64()
);
element!(
    F16, [u8; 2], F32, exact squares: true, [0x00, 0x7e], S::f16, S::widen,
    |x| half::f16::from_le_bytes(x).to_f64()
);
element!(
    F64, [u8; 8], F64, exact squares: false, f64::NAN.to_le_bytes(), S::f64, std::convert::identity,
    f64::from_le_bytes
);
element!(
    /// Any other type, decoded.
    Decoded, f64, F64, exact squares: false, f64::NAN, S::of_f64, std::convert::identity,
    std::convert::identity
);

/// What the loop compares with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub atol: f64,
    pub rtol: f64,
    /// A lower bound of the pair's `max_mixed`: [`Sums::mixed`] tells whether this block may exceed it.
    pub mixed: f64,
}

/// Sums over one block and one side; elements that are not finite (on either side) are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SideSums {
    pub sum: f64,
    pub sum_sq: f64,
    pub min: f64,
    pub max: f64,
    pub zeros: u64,
}

/// Sums over one block of both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// Elements that are finite on both sides.
    pub count: u64,
    pub r: SideSums,
    pub c: SideSums,
    pub d_sum: f64,
    pub d_sq: f64,
    pub d_abs: f64,
    pub d_max: f64,
    pub rel_sum: f64,
    pub rel_max: f64,
    /// Beyond [`Limits::mixed`] when some element's |d| / (1 + |r|) is (and maybe when it nearly is).
    pub mixed: f64,
    /// Elements with |d| > atol + rtol·|r|.
    pub beyond: u64,
}

/// One accumulator per lane.
struct State<S: Simd, E: Element> {
    r: Side<S, E>,
    c: Side<S, E>,
    /// Lanes that `MASKED` steps kept.
    kept: u64,
    d_sum: S::F64,
    d_sq: S::F64,
    d_abs: S::F64,
    d_max: S::F64,
    rel_sum: S::F64,
    rel_max: S::F64,
    mixed: S::F64,
    beyond: u64,
}

struct Side<S: Simd, E: Element> {
    sum: S::F64,
    sum_sq: S::F64,
    min: E::Own<S>,
    max: E::Own<S>,
    zeros: u64,
}

/// [`Limits`] in every lane.
struct Bounds<S: Simd> {
    atol: S::F64,
    rtol: S::F64,
    minus_mixed: S::F64,
}

impl<S: Simd, E: Element> Side<S, E> {
    #[inline(always)]
    fn new() -> Self {
        Side {
            sum: Vector::splat(0.0),
            sum_sq: Vector::splat(0.0),
            min: Vector::splat(f64::INFINITY),
            max: Vector::splat(f64::NEG_INFINITY),
            zeros: 0,
        }
    }

    #[inline(always)]
    fn extremes(&mut self, x: E::Own<S>) {
        self.min = x.min(self.min);
        self.max = x.max(self.max);
        self.zeros += E::Own::<S>::count(x.equal(Vector::splat(0.0)));
    }

    /// The same over some lanes; the others are 0 from there on.
    #[inline(always)]
    fn extremes_of(&mut self, x: E::Own<S>, keep: <E::Own<S> as Vector>::Mask) -> E::Own<S> {
        self.min = x.select(keep, Vector::splat(f64::INFINITY)).min(self.min);
        self.max = x
            .select(keep, Vector::splat(f64::NEG_INFINITY))
            .max(self.max);
        let zero = x.equal(Vector::splat(0.0));
        self.zeros += E::Own::<S>::count(E::Own::<S>::both(keep, zero));
        x.select(keep, Vector::splat(0.0))
    }

    #[inline(always)]
    fn add(&mut self, x: S::F64) {
        self.sum = self.sum.add(x);
        self.sum_sq = if E::EXACT_SQUARES {
            x.mul_add(x, self.sum_sq)
        } else {
            x.mul(x).add(self.sum_sq)
        };
    }

    #[inline(always)]
    fn total(self) -> SideSums {
        let values = |x: E::Own<S>| x.array().into_iter().map(E::Own::<S>::scalar);
        SideSums {
            sum: total(self.sum),
            sum_sq: total(self.sum_sq),
            min: values(self.min).fold(f64::INFINITY, |a, b| if b < a { b } else { a }),
            max: values(self.max).fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a }),
            zeros: self.zeros,
        }
    }
}

impl<S: Simd, E: Element> State<S, E> {
    #[inline(always)]
    fn new() -> Self {
        let zero = S::F64::splat(0.0);
        State {
            r: Side::new(),
            c: Side::new(),
            kept: 0,
            d_sum: zero,
            d_sq: zero,
            d_abs: zero,
            d_max: zero,
            rel_sum: zero,
            rel_max: zero,
            mixed: zero,
            beyond: 0,
        }
    }

    /// Eight elements of both sides. With `MASKED`, only those that are finite on both sides count.
    #[inline(always)]
    fn step<const MASKED: bool>(
        &mut self,
        r: &[E::Stored; LANES],
        c: &[E::Stored; LANES],
        bounds: &Bounds<S>,
    ) {
        let (mut r, mut c) = (E::load::<S>(r), E::load::<S>(c));
        if MASKED {
            let infinity = E::Own::<S>::splat(f64::INFINITY);
            let keep = E::Own::<S>::both(r.abs().less(infinity), c.abs().less(infinity));
            self.kept += E::Own::<S>::count(keep);
            r = self.r.extremes_of(r, keep);
            c = self.c.extremes_of(c, keep);
        } else {
            self.r.extremes(r);
            self.c.extremes(c);
        }
        let (r, c) = (E::widen::<S>(r), E::widen::<S>(c));
        self.r.add(r);
        self.c.add(c);
        let d = c.sub(r);
        let (r_size, d_size) = (r.abs(), d.abs());
        self.d_sum = self.d_sum.add(d);
        self.d_sq = self.d_sq.add(d.mul(d));
        self.d_abs = self.d_abs.add(d_size);
        self.d_max = d_size.max(self.d_max);
        self.mixed = r_size.mul_add(bounds.minus_mixed, d_size).max(self.mixed);
        let within = bounds.atol.add(bounds.rtol.mul(r_size));
        self.beyond += S::F64::count(within.less(d_size));
        let zero = S::F64::splat(0.0);
        let relative = d_size.div(r_size).select(zero.less(r_size), zero);
        self.rel_sum = self.rel_sum.add(relative);
        self.rel_max = relative.max(self.rel_max);
    }

    #[inline(always)]
    fn total(self, whole: usize) -> Sums {
        Sums {
            count: self.kept + whole as u64,
            r: self.r.total(),
            c: self.c.total(),
            d_sum: total(self.d_sum),
            d_sq: total(self.d_sq),
            d_abs: total(self.d_abs),
            d_max: largest(self.d_max),
            rel_sum: total(self.rel_sum),
            rel_max: largest(self.rel_max),
            mixed: largest(self.mixed),
            beyond: self.beyond,
        }
    }
}

/// Adds lanes in the one order that every instruction set follows.
#[inline(always)]
fn total<V: Vector<Scalar = f64>>(v: V) -> f64 {
    let v = v.array();
    ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
}

/// The largest lane, at least 0.
#[inline(always)]
fn largest<V: Vector<Scalar = f64>>(v: V) -> f64 {
    v.array()
        .into_iter()
        .fold(0.0, |a, b| if b > a { b } else { a })
}

/// Fewer than eight elements, and what stands for the others.
#[inline(always)]
fn padded<T: Copy>(tail: &[T], with: T) -> [T; LANES] {
    let mut out = [with; LANES];
    out[..tail.len()].copy_from_slice(tail);
    out
}

#[inline(always)]
fn pass_body<S: Simd, const MASKED: bool, E: Element>(
    r: &[E::Stored],
    c: &[E::Stored],
    limits: Limits,
) -> Sums {
    let bounds = Bounds::<S> {
        atol: Vector::splat(limits.atol),
        rtol: Vector::splat(limits.rtol),
        minus_mixed: Vector::splat(-limits.mixed),
    };
    let mut state = State::<S, E>::new();
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    for (r, c) in rs.iter().zip(cs) {
        state.step::<MASKED>(r, c, &bounds);
    }
    if !r_tail.is_empty() {
        // NaN counts as absent
        let (r, c) = (padded(r_tail, E::NAN), padded(c_tail, E::NAN));
        state.step::<true>(&r, &c, &bounds);
    }
    state.total(if MASKED { 0 } else { rs.len() * LANES })
}

per_isa! {
    /// Sums over one block of at most [`BLOCK`] elements. Without `MASKED` every element counts, and a NaN or infinity
    /// shows as a `sum_sq` that is not finite; with it, elements that are not finite on both sides are left out. Where all
    /// are finite, both give the same bits.
    pub fn pass[const MASKED: bool, E: Element][MASKED, E](r: &[E::Stored], c: &[E::Stored], limits: Limits) -> Sums = pass_body;
}
