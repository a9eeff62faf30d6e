//! The one hot loop: a block of reference elements against a block of candidate elements.
//!
//! Everything a pair needs is summed in one pass over the block, in f64, by [`step`], which handles eight elements, one
//! per lane. It is plain Rust; the compiler turns the eight lanes into one AVX-512 register, two AVX2 or four SSE2/NEON
//! registers, because [`pass`] and [`centred`] are compiled once per instruction set by `per_isa!` and chosen at run time.
//! Element `i` always goes to lane `i % 8` and lanes are added in one fixed order, so every instruction set gives the same
//! bits. Three rules keep it so:
//!
//! - Nothing is contracted behind our back: Rust never fuses `a * b + c` by itself.
//! - A fused multiply-add is written only where it cannot change the result: squares of values with at most 24 bits of
//!   mantissa are exact in f64 ([`Element::EXACT_SQUARES`]), and the filter for `max_mixed` errs on the safe side only.
//! - Minimum and maximum are comparisons, whose result for NaN does not matter: a block whose sums are not finite is done
//!   again with `MASKED`, where non-finite elements count as absent.

#![expect(
    clippy::needless_range_loop,
    reason = "one index walks the lanes of several arrays"
)]

use super::facts::Odd;
use super::isa::Isa;

/// Elements per block: the unit of accumulation, on a fixed grid from element 0.
pub const BLOCK: usize = 2048;

/// Lanes of [`step`].
pub const LANES: usize = 8;

type Lane = [f64; LANES];

/// What the loop reads: eight of these at a time.
pub trait Element: Copy {
    /// The square of every value is exact in f64.
    const EXACT_SQUARES: bool;
    fn value(self) -> f64;
}

/// f32, little endian.
impl Element for [u8; 4] {
    const EXACT_SQUARES: bool = true;
    #[inline(always)]
    fn value(self) -> f64 {
        f64::from(f32::from_le_bytes(self))
    }
}

/// bf16, little endian: the upper half of an f32.
impl Element for [u8; 2] {
    const EXACT_SQUARES: bool = true;
    #[inline(always)]
    fn value(self) -> f64 {
        f64::from(f32::from_bits(u32::from(u16::from_le_bytes(self)) << 16))
    }
}

/// f64, little endian.
impl Element for [u8; 8] {
    const EXACT_SQUARES: bool = false;
    #[inline(always)]
    fn value(self) -> f64 {
        f64::from_le_bytes(self)
    }
}

/// Converted from f16.
impl Element for f32 {
    const EXACT_SQUARES: bool = true;
    #[inline(always)]
    fn value(self) -> f64 {
        f64::from(self)
    }
}

/// Decoded from any other type.
impl Element for f64 {
    const EXACT_SQUARES: bool = false;
    #[inline(always)]
    fn value(self) -> f64 {
        self
    }
}

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
    pub sum_abs: f64,
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
#[derive(Clone, Copy)]
struct Lanes {
    count: [u64; LANES],
    r: SideLanes,
    c: SideLanes,
    d_sum: Lane,
    d_sq: Lane,
    d_abs: Lane,
    d_max: Lane,
    rel_sum: Lane,
    rel_max: Lane,
    mixed: Lane,
    beyond: [u64; LANES],
}

#[derive(Clone, Copy)]
struct SideLanes {
    sum: Lane,
    sum_sq: Lane,
    sum_abs: Lane,
    min: Lane,
    max: Lane,
    zeros: [u64; LANES],
}

impl SideLanes {
    const EMPTY: SideLanes = SideLanes {
        sum: [0.0; LANES],
        sum_sq: [0.0; LANES],
        sum_abs: [0.0; LANES],
        min: [f64::INFINITY; LANES],
        max: [f64::NEG_INFINITY; LANES],
        zeros: [0; LANES],
    };

    fn total(&self) -> SideSums {
        SideSums {
            sum: total(&self.sum),
            sum_sq: total(&self.sum_sq),
            sum_abs: total(&self.sum_abs),
            min: self.min.into_iter().fold(f64::INFINITY, min),
            max: self.max.into_iter().fold(f64::NEG_INFINITY, max),
            zeros: self.zeros.iter().sum(),
        }
    }
}

impl Lanes {
    const EMPTY: Lanes = Lanes {
        count: [0; LANES],
        r: SideLanes::EMPTY,
        c: SideLanes::EMPTY,
        d_sum: [0.0; LANES],
        d_sq: [0.0; LANES],
        d_abs: [0.0; LANES],
        d_max: [0.0; LANES],
        rel_sum: [0.0; LANES],
        rel_max: [0.0; LANES],
        mixed: [f64::NEG_INFINITY; LANES],
        beyond: [0; LANES],
    };

    fn total(&self) -> Sums {
        Sums {
            count: self.count.iter().sum(),
            r: self.r.total(),
            c: self.c.total(),
            d_sum: total(&self.d_sum),
            d_sq: total(&self.d_sq),
            d_abs: total(&self.d_abs),
            d_max: self.d_max.into_iter().fold(0.0, max),
            rel_sum: total(&self.rel_sum),
            rel_max: self.rel_max.into_iter().fold(0.0, max),
            mixed: self.mixed.into_iter().fold(f64::NEG_INFINITY, max),
            beyond: self.beyond.iter().sum(),
        }
    }
}

/// Adds lanes in the one order that every instruction set follows.
#[inline(always)]
pub fn total(v: &Lane) -> f64 {
    ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
}

#[inline(always)]
fn min(a: f64, b: f64) -> f64 {
    if b < a { b } else { a }
}

#[inline(always)]
fn max(a: f64, b: f64) -> f64 {
    if b > a { b } else { a }
}

/// `a * b + c`; `FUSED` where the machine can and the result is the same (or a filter's).
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Eight elements of both sides. With `MASKED`, only lanes in `keep` count.
#[inline(always)]
fn step<const FMA: bool, const EXACT: bool, const MASKED: bool>(
    s: &mut Lanes,
    mut r: Lane,
    mut c: Lane,
    keep: [bool; LANES],
    limits: Limits,
) {
    let keep = |i: usize| !MASKED || keep[i];
    for i in 0..LANES {
        s.r.min[i] = min(s.r.min[i], if keep(i) { r[i] } else { f64::INFINITY });
        s.r.max[i] = max(s.r.max[i], if keep(i) { r[i] } else { f64::NEG_INFINITY });
    }
    for i in 0..LANES {
        s.c.min[i] = min(s.c.min[i], if keep(i) { c[i] } else { f64::INFINITY });
        s.c.max[i] = max(s.c.max[i], if keep(i) { c[i] } else { f64::NEG_INFINITY });
    }
    for i in 0..LANES {
        s.r.zeros[i] += u64::from(keep(i) && r[i] == 0.0);
        s.c.zeros[i] += u64::from(keep(i) && c[i] == 0.0);
    }
    if MASKED {
        for i in 0..LANES {
            s.count[i] += u64::from(keep(i));
            r[i] = if keep(i) { r[i] } else { 0.0 };
            c[i] = if keep(i) { c[i] } else { 0.0 };
        }
    }
    let (mut d, mut d_abs, mut r_abs, mut rel) =
        ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for i in 0..LANES {
        s.r.sum[i] += r[i];
        s.c.sum[i] += c[i];
    }
    for i in 0..LANES {
        s.r.sum_sq[i] = square_add::<FMA, EXACT>(r[i], s.r.sum_sq[i]);
        s.c.sum_sq[i] = square_add::<FMA, EXACT>(c[i], s.c.sum_sq[i]);
    }
    for i in 0..LANES {
        r_abs[i] = r[i].abs();
        s.r.sum_abs[i] += r_abs[i];
        s.c.sum_abs[i] += c[i].abs();
    }
    for i in 0..LANES {
        d[i] = c[i] - r[i];
        s.d_sum[i] += d[i];
        s.d_sq[i] += d[i] * d[i];
    }
    for i in 0..LANES {
        d_abs[i] = d[i].abs();
        s.d_abs[i] += d_abs[i];
        s.d_max[i] = max(s.d_max[i], d_abs[i]);
    }
    for i in 0..LANES {
        let above = multiply_add::<FMA>(-limits.mixed, r_abs[i], d_abs[i]);
        s.mixed[i] = max(s.mixed[i], above);
    }
    for i in 0..LANES {
        let within = d_abs[i] <= limits.atol + limits.rtol * r_abs[i];
        s.beyond[i] += u64::from(keep(i) && !within);
    }
    for i in 0..LANES {
        rel[i] = d_abs[i] / r_abs[i];
    }
    for i in 0..LANES {
        rel[i] = if r_abs[i] == 0.0 { 0.0 } else { rel[i] };
        s.rel_sum[i] += rel[i];
        s.rel_max[i] = max(s.rel_max[i], rel[i]);
    }
}

#[inline(always)]
fn square_add<const FMA: bool, const EXACT: bool>(x: f64, sum: f64) -> f64 {
    if FMA && EXACT {
        x.mul_add(x, sum)
    } else {
        x * x + sum
    }
}

/// Loads up to eight elements; absent ones are 0.
#[inline(always)]
fn load<E: Element>(x: &[E]) -> Lane {
    let mut v = [0.0; LANES];
    for (v, x) in v.iter_mut().zip(x) {
        *v = x.value();
    }
    v
}

#[inline(always)]
fn finite_lanes(r: &Lane, c: &Lane) -> [bool; LANES] {
    let mut keep = [false; LANES];
    for i in 0..LANES {
        keep[i] = (r[i].abs() < f64::INFINITY) & (c[i].abs() < f64::INFINITY);
    }
    keep
}

#[inline(always)]
fn pass_body<const FMA: bool, const MASKED: bool, E: Element>(
    r: &[E],
    c: &[E],
    limits: Limits,
) -> Sums {
    macro_rules! step {
        ($masked:expr, $lanes:expr, $r:expr, $c:expr, $keep:expr) => {
            if E::EXACT_SQUARES {
                step::<FMA, true, { $masked }>($lanes, $r, $c, $keep, limits)
            } else {
                step::<FMA, false, { $masked }>($lanes, $r, $c, $keep, limits)
            }
        };
    }
    let mut lanes = Lanes::EMPTY;
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    for (r, c) in rs.iter().zip(cs) {
        let (r, c) = (load(r), load(c));
        let keep = if MASKED {
            finite_lanes(&r, &c)
        } else {
            [true; LANES]
        };
        step!(MASKED, &mut lanes, r, c, keep);
    }
    if !MASKED {
        lanes.count[0] = (rs.len() * LANES) as u64;
    }
    if !r_tail.is_empty() {
        let (r, c) = (load(r_tail), load(c_tail));
        let mut keep = if MASKED {
            finite_lanes(&r, &c)
        } else {
            [true; LANES]
        };
        for k in &mut keep[r_tail.len()..] {
            *k = false;
        }
        step!(true, &mut lanes, r, c, keep);
    }
    lanes.total()
}

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

#[inline(always)]
fn centred_body<E: Element>(r: &[E], c: &[E], centre: [f64; 3]) -> Centred {
    let mut lanes = CentredLanes::default();
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    for (r, c) in rs.iter().zip(cs) {
        let (r, c) = (load(r), load(c));
        let keep = finite_lanes(&r, &c);
        centred_step(&mut lanes, &r, &c, &keep, centre);
    }
    let (r, c) = (load(r_tail), load(c_tail));
    let mut keep = finite_lanes(&r, &c);
    for k in &mut keep[r_tail.len()..] {
        *k = false;
    }
    centred_step(&mut lanes, &r, &c, &keep, centre);
    Centred {
        sum: lanes.sum.each_ref().map(total),
        sum_sq: lanes.sum_sq.each_ref().map(total),
        product: total(&lanes.product),
        dot: total(&lanes.dot),
    }
}

#[derive(Default)]
struct CentredLanes {
    sum: [Lane; 3],
    sum_sq: [Lane; 3],
    product: Lane,
    dot: Lane,
}

#[inline(always)]
fn centred_step(s: &mut CentredLanes, r: &Lane, c: &Lane, keep: &[bool; LANES], centre: [f64; 3]) {
    let mut x = [[0.0; LANES]; 3];
    for i in 0..LANES {
        x[0][i] = if keep[i] { r[i] - centre[0] } else { 0.0 };
        x[1][i] = if keep[i] { c[i] - centre[1] } else { 0.0 };
        x[2][i] = if keep[i] {
            (c[i] - r[i]) - centre[2]
        } else {
            0.0
        };
    }
    for k in 0..3 {
        for i in 0..LANES {
            s.sum[k][i] += x[k][i];
            s.sum_sq[k][i] += x[k][i] * x[k][i];
        }
    }
    for i in 0..LANES {
        s.product[i] += x[0][i] * x[1][i];
        s.dot[i] += if keep[i] { r[i] * c[i] } else { 0.0 };
    }
}

/// The largest |c − r| / (1 + |r|) over elements finite on both sides.
#[inline(always)]
fn max_mixed_body<E: Element>(r: &[E], c: &[E]) -> f64 {
    let mut most = [0.0; LANES];
    let (rs, r_tail) = r.as_chunks::<LANES>();
    let (cs, c_tail) = c.as_chunks::<LANES>();
    let mut step = |r: Lane, c: Lane| {
        for i in 0..LANES {
            let mixed = (c[i] - r[i]).abs() / (1.0 + r[i].abs());
            // NaN is never above; an infinity only on the candidate's side has to be told apart.
            let finite = c[i].abs() < f64::INFINITY;
            most[i] = if finite { max(most[i], mixed) } else { most[i] };
        }
    };
    for (r, c) in rs.iter().zip(cs) {
        step(load(r), load(c));
    }
    step(load(r_tail), load(c_tail));
    most.into_iter().fold(0.0, max)
}

/// Counts what is not finite.
#[inline(always)]
fn odd_body<E: Element>(r: &[E], c: &[E]) -> Odd {
    let mut odd = Odd::default();
    for (r, c) in r.iter().zip(c) {
        for (side, x) in [r.value(), c.value()].into_iter().enumerate() {
            odd.nan[side] += u64::from(x.is_nan());
            odd.pos_inf[side] += u64::from(x == f64::INFINITY);
            odd.neg_inf[side] += u64::from(x == f64::NEG_INFINITY);
        }
        let (r, c) = (r.value(), c.value());
        let nan = r.is_nan() | c.is_nan();
        let infinite = (r.abs() == f64::INFINITY) | (c.abs() == f64::INFINITY);
        odd.nan_both += u64::from(r.is_nan() & c.is_nan());
        odd.inf_both += u64::from(infinite & (r == c));
        odd.inf_mismatch += u64::from(infinite & !nan & (r != c));
    }
    odd
}

/// Compiles a function once per instruction set and picks one at run time; `$fast` may use fused multiply-add.
macro_rules! per_isa {
    (
        $(#[$doc:meta])*
        pub fn $name:ident[$($generic:tt)*][$($forward:tt)*]($($arg:ident: $ty:ty),*) -> $out:ty;
        fast: $fast:expr;
        plain: $plain:expr;
    ) => {
        $(#[$doc])*
        pub fn $name<$($generic)*>(isa: Isa, $($arg: $ty),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512<$($generic)*>($($arg: $ty),*) -> $out {
                    $fast($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2<$($generic)*>($($arg: $ty),*) -> $out {
                    $fast($($arg),*)
                }
                match isa.available() {
                    // SAFETY: `available` never names a set that the machine lacks.
                    Isa::Avx512 => return unsafe { avx512::<$($forward)*>($($arg),*) },
                    // SAFETY: as above.
                    Isa::Avx2 => return unsafe { avx2::<$($forward)*>($($arg),*) },
                    Isa::Baseline => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = isa;
            $plain($($arg),*)
        }
    };
}

per_isa! {
    /// Sums over one block of at most [`BLOCK`] elements. Without `MASKED` every element counts, and a NaN or infinity
    /// shows as a `sum_sq` that is not finite; with it, elements that are not finite on both sides are left out. Where all
    /// are finite, both give the same bits.
    pub fn pass[const MASKED: bool, E: Element][MASKED, E](r: &[E], c: &[E], limits: Limits) -> Sums;
    fast: pass_body::<true, MASKED, E>;
    plain: pass_body::<false, MASKED, E>;
}

per_isa! {
    /// Second moments about `centre` (of r, c and c − r), over elements finite on both sides: for blocks whose spread is
    /// small beside their mean, where raw sums would cancel.
    pub fn centred[E: Element][E](r: &[E], c: &[E], centre: [f64; 3]) -> Centred;
    fast: centred_body::<E>;
    plain: centred_body::<E>;
}

per_isa! {
    /// The largest |c − r| / (1 + |r|) over elements finite on both sides.
    pub fn max_mixed[E: Element][E](r: &[E], c: &[E]) -> f64;
    fast: max_mixed_body::<E>;
    plain: max_mixed_body::<E>;
}

per_isa! {
    /// Counts the elements that are not finite.
    pub fn odd[E: Element][E](r: &[E], c: &[E]) -> Odd;
    fast: odd_body::<E>;
    plain: odd_body::<E>;
}
