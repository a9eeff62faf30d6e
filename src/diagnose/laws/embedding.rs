//! The embedding: rows of a table by token id, times a constant, plus rows by position and segment.
//!
//! A lookup has no parameters to fit, but it leaves traces: equal tokens have equal rows, a shift moves whole rows, a factor is
//! one number for all elements, and a tied output head names the id of every row.

mod head;
mod position;
mod sum;
mod table;
mod tokens;

use super::{Fit, Law, Site, Suspicion};
use crate::causes;
use crate::diagnose::laws::Both;
use crate::name::Stage;
pub(super) use head::Head;
use serde_json::json;
use table::Rows;
use tokens::Lookup;

pub struct EmbeddingLaw;

impl Law for EmbeddingLaw {
    fn id(&self) -> &'static str {
        "embedding"
    }

    fn outputs(&self) -> &'static [Stage] {
        &[
            Stage::INPUT_IDS,
            Stage::TOK_EMBED,
            Stage::POS_EMBED,
            Stage::EMBED_SUM,
            Stage::EMBED,
            Stage::INPUT,
        ]
    }

    fn fit(&self, site: &Site<'_>, output: Stage) -> Option<Fit> {
        if output != Stage::EMBED {
            return None;
        }
        let (m, residual) =
            sum::multiple(&site.dumped(Stage::TOK_EMBED)?, &site.dumped(Stage::EMBED)?)?;
        (residual < 0.01).then(|| Fit {
            text: format!("tok_embed · {}", crate::text::rough(m)),
            parameters: vec![("multiplier", json!(m))],
            residual,
        })
    }

    fn diagnose(&self, both: &Both<'_>) -> Vec<Suspicion> {
        let (reference, candidate, output, noise) = both.parts();
        match output {
            Stage::INPUT_IDS => return tokens::ids(reference, candidate),
            Stage::INPUT
                if reference.layer != Some(0) || reference.dumped(Stage::EMBED).is_some() =>
            {
                return Vec::new();
            }
            _ => {}
        }
        let rows = |site: &Site<'_>| Rows::new(&site.dumped(output)?, false);
        let (Some(r), Some(c)) = (rows(reference), rows(candidate)) else {
            return Vec::new();
        };
        if !r.same_size(&c) {
            return Vec::new();
        }
        let lookup = Lookup {
            reference: &r,
            candidate: &c,
            noise,
            key: candidate.key(output),
        };
        if output == Stage::POS_EMBED {
            let found = position::in_a_decode_step(reference, &r, &c, candidate.key(output), noise);
            return found
                .or_else(|| lookup.shift(causes::POSITION_OFFSET))
                .into_iter()
                .collect();
        }
        let mut out: Vec<Suspicion> = sum::missing(both);
        out.extend(sum::scale(both));
        out.extend(positions(both));
        if out.is_empty() {
            out.extend(lookup.shift(causes::SEQUENCE_SHIFT));
        }
        if out.is_empty() && lookup.key.reads_tokens() {
            let ids = reference
                .dumped(Stage::INPUT_IDS)
                .and_then(|ids| Rows::new(&ids, true))
                .filter(|ids| ids.count() == r.count());
            out.extend(lookup.wrong_rows(ids.as_ref()));
            out.extend(lookup.offset(ids.as_ref(), Head::new(reference).as_ref()));
        }
        if out.is_empty() && output != Stage::TOK_EMBED {
            out.extend(sum::by_place(&r, &c, &candidate.key(output), noise));
        }
        out
    }
}

/// Position rows read with an offset, seen in the sum: embed − tok_embed moves as a whole.
fn positions(both: &Both<'_>) -> Option<Suspicion> {
    let (reference, candidate, output, noise) = both.parts();
    if !matches!(output, Stage::EMBED_SUM | Stage::EMBED)
        || candidate.dumped(Stage::POS_EMBED).is_some()
    {
        return None;
    }
    let rest = |site: &Site<'_>| {
        Rows::new(
            &site
                .dumped(output)?
                .minus(&site.dumped(Stage::TOK_EMBED)?)?,
            false,
        )
    };
    let (r, c) = (rest(reference)?, rest(candidate)?);
    let lookup = Lookup {
        reference: &r,
        candidate: &c,
        noise,
        key: candidate.key(output),
    };
    r.same_size(&c)
        .then(|| lookup.shift(causes::POSITION_OFFSET))
        .flatten()
}
