//! The catalogue of causes: what each id means, how it shows in the data, why it happens, and what to change.
//!
//! Ids are stable: reports, `tdiff explain`, fixtures and tests use them.

/// The causes of one group: constants, and the list of them.
macro_rules! causes {
    ($($name:ident = $id:literal { $($field:ident: $text:expr,)* })*) => {
        use super::Cause;
        $(pub const $name: &Cause = &Cause { id: $id, $($field: $text,)* };)*
        pub(super) const ALL: &[&Cause] = &[$($name),*];
        #[cfg(test)]
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

mod attention;
mod dumps;
mod norms;
mod numerics;
mod projections;
mod rope;
mod stream;
mod tokens;

pub use self::{
    attention::*, dumps::*, norms::*, numerics::*, projections::*, rope::*, stream::*, tokens::*,
};

use std::sync::LazyLock;

/// One cause of a difference, or one red flag of a single dump.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    pub id: &'static str,
    /// A few words, in lower case.
    pub title: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// How it shows in the data.
    pub looks: &'static str,
    /// How it usually comes about.
    pub why: &'static str,
    /// What to look at, and what to change.
    pub change: &'static str,
}

/// Every cause, in the order of the pipeline: one file per group.
pub static CAUSES: LazyLock<Vec<&Cause>> = LazyLock::new(|| {
    [
        tokens::ALL,
        norms::ALL,
        projections::ALL,
        rope::ALL,
        attention::ALL,
        stream::ALL,
        numerics::ALL,
        dumps::ALL,
    ]
    .concat()
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_id_is_the_name_of_its_constant_and_stands_once() {
        let groups = [
            tokens::NAMES,
            norms::NAMES,
            projections::NAMES,
            rope::NAMES,
            attention::NAMES,
            stream::NAMES,
            numerics::NAMES,
            dumps::NAMES,
        ];
        let names = groups.concat().into_iter().map(str::to_lowercase);
        assert!(names.eq(CAUSES.iter().map(|c| c.id)));
        let ids: BTreeSet<&str> = CAUSES.iter().map(|c| c.id).collect();
        assert_eq!(ids.len(), CAUSES.len(), "an id stands twice");
    }

    #[test]
    fn every_cause_says_something_in_every_field() {
        for c in CAUSES.iter() {
            for text in [c.title, c.what, c.looks, c.why, c.change] {
                assert!(text.len() > 8 && !text.contains("  "), "{}: {text:?}", c.id);
            }
            assert!(c.title.len() <= 72, "{}: {}", c.id, c.title);
            assert!(
                c.title.starts_with(|x: char| !x.is_uppercase())
                    || c.title.starts_with("RoPE")
                    || ["LayerNorm", "RMSNorm", "Gemma"]
                        .iter()
                        .any(|w| c.title.starts_with(w)),
                "{}",
                c.title
            );
            assert!(c.change.ends_with('.'), "{}", c.id);
        }
    }
}
