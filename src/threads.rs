//! The threads of the program: as many as cores, or as `--jobs` says.

use rayon::prelude::*;
use std::num::NonZero;
use std::sync::{Once, OnceLock};

static LIMIT: OnceLock<usize> = OnceLock::new();

/// At most so many threads; what was said first stays.
pub fn limit(threads: usize) {
    let _ = LIMIT.set(threads);
}

pub fn count() -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
    *LIMIT.get_or_init(cores)
}

/// `f` of every item, in their order. Less than `few` items are not worth a second thread.
pub fn map<T: Sync, R: Send>(items: &[T], few: usize, f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    match is_worth_it(items.len(), few) {
        true => items.par_iter().map(&f).collect(),
        false => items.iter().map(f).collect(),
    }
}

/// As [`map`], of items that change.
pub fn map_mut<T: Send, R: Send>(
    items: &mut [T],
    few: usize,
    f: impl Fn(&mut T) -> R + Sync,
) -> Vec<R> {
    match is_worth_it(items.len(), few) {
        true => items.par_iter_mut().map(&f).collect(),
        false => items.iter_mut().map(f).collect(),
    }
}

/// Both at once when they are about `items` things and that is worth it.
pub fn both<A: Send, B: Send>(
    items: usize,
    few: usize,
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    match is_worth_it(items, few) {
        true => rayon::join(a, b),
        false => (a(), b()),
    }
}

/// Does what nobody waits for, beside what follows when it is about `few` items or more.
pub fn aside(items: usize, few: usize, f: impl FnOnce() + Send + 'static) {
    match is_worth_it(items, few) {
        true => rayon::spawn(f),
        false => f(),
    }
}

/// The pool is started when it is first needed: that takes as long as comparing a small pair.
fn is_worth_it(items: usize, few: usize) -> bool {
    static POOL: Once = Once::new();
    if items < few.max(2) || count() == 1 {
        return false;
    }
    POOL.call_once(|| {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(count());
        // a program around this library may have started its own, which then serves
        let _ = builder.build_global();
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays_with_and_without_threads() {
        let mut items: Vec<usize> = (0..1000).collect();
        for few in [0, 10_000] {
            assert_eq!(map(&items, few, |x| x + 1), (1..1001).collect::<Vec<_>>());
            let old = map_mut(&mut items, few, std::mem::take);
            assert_eq!(old, (0..1000).collect::<Vec<_>>());
            items = old;
            assert_eq!(both(9, few, || 1, || 2), (1, 2));
        }
    }
}
