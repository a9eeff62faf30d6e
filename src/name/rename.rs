//! `--map FROM=TO`: names are replaced before pairing.

use super::Entry;
use super::tags::Tag;

/// `FROM=TO`: a name is replaced before pairing. FROM may hold `{layer}` and `*`, which TO repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// `None`: both sides.
    pub side: Option<Side>,
    pub from: String,
    pub to: String,
}

/// One of the two dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Reference,
    Candidate,
}

/// New names by the user's rules, `None` where no rule fits. Rules are written without the side's tag; `used` learns which
/// of them fitted a name.
pub(super) fn rename(
    entries: &[Entry<'_>],
    maps: &[Map],
    side: Side,
    tags: &[Tag],
    used: &mut [bool],
) -> Vec<Option<String>> {
    let rules = || {
        let numbered = maps.iter().enumerate();
        numbered.filter(|(_, m)| m.side.is_none_or(|s| s == side))
    };
    let mut renamed = |name: &str| {
        rules().fold(None, |new: Option<String>, (i, rule)| {
            let current = new.as_deref().unwrap_or(name);
            let untagged = tags.iter().find_map(|t| t.strip_text(current));
            let found = rule.apply(current).or_else(|| rule.apply(&untagged?));
            used[i] |= found.is_some();
            found.or(new)
        })
    };
    entries.iter().map(|e| renamed(e.name)).collect()
}

impl std::fmt::Display for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = match self.side {
            None => "",
            Some(Side::Reference) => "ref:",
            Some(Side::Candidate) => "cand:",
        };
        write!(f, "{side}{}={}", self.from, self.to)
    }
}

impl Map {
    /// Reads `FROM=TO`, `ref:FROM=TO` or `cand:FROM=TO`.
    pub fn parse(text: &str) -> Result<Map, String> {
        let (side, rule) = match (text.strip_prefix("ref:"), text.strip_prefix("cand:")) {
            (Some(rule), _) => (Some(Side::Reference), rule),
            (_, Some(rule)) => (Some(Side::Candidate), rule),
            _ => (None, text),
        };
        match rule.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Map {
                side,
                from: from.into(),
                to: to.into(),
            }),
            _ => Err(format!("{text:?}: expected FROM=TO")),
        }
    }

    /// The new name. FROM fits the whole name or its end behind a `/`; plain text without `{layer}` and `*` also fits the
    /// end of a name behind any separator, before a layer mark (`-0`, `_l0`) too.
    pub fn apply(&self, name: &str) -> Option<String> {
        let tails = std::iter::once(0).chain(name.match_indices('/').map(|(at, _)| at + 1));
        for at in tails {
            if let Some(found) = fit(&self.from, &name[at..]) {
                return Some(format!("{}{}", &name[..at], fill(&self.to, &found)));
            }
        }
        if self.from.contains(['*', '{']) {
            return None;
        }
        let body = without_layer_mark(name);
        let head = body.strip_suffix(self.from.as_str())?;
        let separated = head
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric());
        separated.then(|| format!("{head}{}{}", self.to, &name[body.len()..]))
    }
}

/// The name up to a closing `-0` or `_l0`.
fn without_layer_mark(name: &str) -> &str {
    let body = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if body.len() == name.len() {
        return name;
    }
    body.strip_suffix('-')
        .or_else(|| body.strip_suffix("_l"))
        .unwrap_or(name)
}

/// What `{layer}` (true) and each `*` (false) of the pattern stand for in `name`.
fn fit<'n>(pattern: &str, name: &'n str) -> Option<Vec<(bool, &'n str)>> {
    let Some(at) = pattern
        .find("{layer}")
        .into_iter()
        .chain(pattern.find('*'))
        .min()
    else {
        return (pattern == name).then(Vec::new);
    };
    let (head, tail) = pattern.split_at(at);
    let rest = name.strip_prefix(head)?;
    if let Some(after) = tail.strip_prefix("{layer}") {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut found = fit(after, &rest[digits..]).filter(|_| digits > 0)?;
        found.insert(0, (true, &rest[..digits]));
        return Some(found);
    }
    let after = &tail[1..];
    let ends = rest.char_indices().map(|(i, _)| i).chain([rest.len()]);
    ends.into_iter().find_map(|i| {
        let mut found = fit(after, &rest[i..])?;
        found.insert(0, (false, &rest[..i]));
        Some(found)
    })
}

/// Puts what was found in the places of the new name.
fn fill(to: &str, found: &[(bool, &str)]) -> String {
    let mut stars = found.iter().filter(|f| !f.0).map(|f| f.1);
    let layer = found.iter().find(|f| f.0).map_or("", |f| f.1);
    let parts: Vec<&str> = to.split('*').collect();
    let mut s = parts[0].replace("{layer}", layer);
    for part in &parts[1..] {
        s.push_str(stars.next().unwrap_or(""));
        s.push_str(&part.replace("{layer}", layer));
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(rule: &str, name: &str) -> Option<String> {
        Map::parse(rule).unwrap().apply(name)
    }

    #[test]
    fn layers_and_stars_are_carried_over() {
        let new = |rule, name| apply(rule, name).unwrap();
        assert_eq!(
            new("blk{layer}/x=layers.{layer}.q_proj", "blk12/x"),
            "layers.12.q_proj"
        );
        assert_eq!(
            new("enc.*.foo=layers.*.o_proj", "enc.3.foo"),
            "layers.3.o_proj"
        );
        assert_eq!(new("*_a_*=*.b.*", "x_a_y"), "x.b.y");
        assert_eq!(new("foo=bar", "step0/foo"), "step0/bar");
    }

    #[test]
    fn plain_text_fits_whole_words_at_the_end() {
        let new = |name| apply("dense_x=o_proj", name);
        assert_eq!(new("layers.0.dense_x").as_deref(), Some("layers.0.o_proj"));
        assert_eq!(new("dense_x-3").as_deref(), Some("o_proj-3"));
        assert_eq!(new("dense_x_l3").as_deref(), Some("o_proj_l3"));
        assert_eq!(new("dense_x_norm"), None);
        assert_eq!(new("mydense_x"), None);
        assert_eq!(new(""), None);
    }

    #[test]
    fn a_rule_names_its_side_or_both() {
        assert_eq!(Map::parse("ref:a=b").unwrap().side, Some(Side::Reference));
        assert_eq!(Map::parse("cand:a=b").unwrap().side, Some(Side::Candidate));
        assert_eq!(Map::parse("a=b").unwrap().side, None);
        assert!(Map::parse("a").is_err());
        assert!(Map::parse("=b").is_err());
    }
}
