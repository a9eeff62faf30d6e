//! Decode steps against one pass, or against steps of other lengths: every step meets the rows of the tokens that it computed.
//!
//! Where the tokens run, a tensor has another length in a step of another number of tokens. What has the length m along such an
//! axis in a step that ends before token e holds the tokens e − m to e: all tokens of a step, its last one alone, and a cache
//! that grows are one rule.

use super::parts::crop;
use super::{Group, Member, apart, replace};
use crate::name::Key;
use crate::note::Note;
use crate::pairs::Made;
use crate::sides::{Sides, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// So many tensors are asked where a shorter run starts in a longer one.
const ASKED: usize = 3;

/// Cuts what one side computed in fewer steps at the steps of the other.
pub(super) fn cut(sides: &Sides, slots: Vec<Slot>) -> (Vec<Slot>, Vec<Note>) {
    let unchanged = |slots| (slots, Vec::new());
    if !slots.iter().any(|s| s.key.step.is_some()) {
        return unchanged(slots);
    }
    let mut groups = Group::all(sides, &slots, |key| {
        let once = Key {
            step: None,
            ..key.clone()
        };
        (once, key.step)
    });
    groups.iter_mut().for_each(level);
    let Some(runs) = Runs::of(&groups) else {
        return unchanged(slots);
    };
    let (mut taken, mut more, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for group in &groups {
        if let Some(new) = runs.slots(group) {
            taken.extend(&group.slots);
            more.extend(new);
            keys.push(group.key.to_string());
        }
    }
    let note = runs.note(&keys);
    (replace(slots, &taken, more), vec![note])
}

/// The tokens that each step of a side computed, by its number.
type Run = BTreeMap<Option<u32>, Range<usize>>;

/// The run with the steps whose numbers are left out, as long as the one behind each.
fn filled(run: &Run) -> Run {
    let mut out = Run::new();
    let (mut end, mut next) = (0, None);
    for (step, range) in run {
        for left_out in next.unwrap_or(*step).zip(*step).map_or(0..0, |(a, b)| a..b) {
            out.insert(Some(left_out), end..end + range.len());
            end += range.len();
        }
        out.insert(*step, end..end + range.len());
        end += range.len();
        next = Some(step.map(|s| s + 1));
    }
    out
}

/// Both sides' steps, and which side has more of them.
struct Runs {
    runs: [Run; 2],
    fine: usize,
}

impl Runs {
    /// `None` where the steps are the same ones, or lengths do not tell tokens.
    fn of(groups: &[Group]) -> Option<Runs> {
        let mut lengths = [0, 1].map(|_| BTreeMap::<Option<u32>, BTreeMap<usize, usize>>::new());
        for group in groups
            .iter()
            .filter(|g| g.members.iter().all(|m| !m.is_empty()))
        {
            let axes = axes(group);
            for side in 0..2 {
                for member in &group.members[side] {
                    let sizes = axes[side].iter().map(|&a| shape(member)[a]);
                    let votes = lengths[side].entry(member.at).or_default();
                    if let Some(n) = sizes.min() {
                        *votes.entry(n).or_default() += 1;
                    }
                }
            }
        }
        let most = |votes: &BTreeMap<usize, usize>| {
            let best = votes.iter().max_by_key(|(n, count)| (**count, **n));
            best.map(|(n, _)| *n)
        };
        let mut runs = [Run::new(), Run::new()];
        for (run, lengths) in runs.iter_mut().zip(&lengths) {
            let mut end = 0;
            for (step, votes) in lengths {
                let start = end;
                end += most(votes)?;
                run.insert(*step, start..end);
            }
        }
        let fine = usize::from(runs[1].len() > runs[0].len());
        let end = |run: &Run| run.values().map(|r| r.end).max();
        let filled = filled(&runs[fine]);
        if end(&runs[fine]) != end(&runs[1 - fine]) && end(&filled) == end(&runs[1 - fine]) {
            runs[fine] = filled;
        }
        let ranges = |side: usize| runs[side].values().collect::<Vec<_>>();
        let (steps, passes) = (ranges(fine), ranges(1 - fine));
        let others = match passes.len() {
            // a pass no longer than the prefill met it already
            1 => passes[0].len() > steps.first()?.len(),
            _ => end(&runs[0]) == end(&runs[1]),
        };
        if steps.len() < 2 || steps == passes || !others {
            return None;
        }
        let mut runs = Runs { runs, fine };
        runs.place(groups);
        Some(runs)
    }

    /// Where the shorter run starts in the longer one: at its first token, unless the values say that both end together.
    fn place(&mut self, groups: &[Group]) {
        let end = |run: &Run| run.values().map(|r| r.end).max().unwrap_or(0);
        let ends = [end(&self.runs[0]), end(&self.runs[1])];
        let shift = ends[0].abs_diff(ends[1]);
        if shift == 0 {
            return;
        }
        let shorter = usize::from(ends[1] < ends[0]);
        let error = |runs: &Runs| -> f64 {
            let slots = groups.iter().filter_map(|g| runs.slots(g)).take(ASKED);
            let errors = slots.flat_map(|slots| {
                let pair = |s: Slot| {
                    let [Some(r), Some(c)] = s.made else {
                        return None;
                    };
                    apart(&s.key, &r.tensor, &c.tensor)
                };
                slots.into_iter().find_map(pair)
            });
            errors.sum()
        };
        let mut moved = Runs {
            runs: self.runs.clone(),
            fine: self.fine,
        };
        for range in moved.runs[shorter].values_mut() {
            *range = range.start + shift..range.end + shift;
        }
        if error(&moved) < 0.5 * error(self) {
            *self = moved;
        }
    }

    /// The slots of a group cut at the steps; `None` where it does not run along the tokens.
    fn slots(&self, group: &Group) -> Option<Vec<Slot>> {
        let (fine, coarse) = (self.fine, 1 - self.fine);
        if group.members[coarse].is_empty() {
            return None;
        }
        let axes = self.placed(group, axes(group))?;
        let bounds = |side: usize, m: &Member| self.bounds(side, m, &axes[side]);
        let mut out = Vec::new();
        let mut met = BTreeSet::new();
        for c in &group.members[coarse] {
            let whole = bounds(coarse, c)?;
            for f in &group.members[fine] {
                let part = bounds(fine, f)?;
                let (steps, passes) = (&self.runs[fine][&f.at], &self.runs[coarse][&c.at]);
                let common: Vec<Range<usize>> = whole
                    .iter()
                    .zip(&part)
                    .map(|(a, b)| overlap(a, b))
                    .collect();
                // the last token of a step, where no axis runs along the tokens
                let apart = common.is_empty() && steps.end != passes.end;
                if apart || overlap(steps, passes).is_empty() || common.iter().any(Range::is_empty)
                {
                    continue;
                }
                let mut pair = [Some(c), Some(c)];
                pair[fine] = Some(f);
                let mut made = [None, None];
                made[coarse] = Some(stretch(c, &axes[coarse], &whole, &common)?);
                made[fine] = Some(stretch(f, &axes[fine], &part, &common)?);
                let step = self.number(f.at, overlap(steps, passes).end);
                out.push(group.slot(self.key(group, step), pair, made));
                met.extend([(fine, f.entry), (coarse, c.entry)]);
            }
            let Some(main) = whole.first() else { continue };
            // tokens of steps that hold no such tensor, and those behind the last step
            let held = |step: &Option<u32>| group.members[fine].iter().any(|f| f.at == *step);
            let steps = self.runs[fine].iter().filter(|(step, _)| !held(step));
            let last = self.runs[fine].last_key_value()?;
            let behind = last.0.map(|step| (Some(step + 1), last.1.end..usize::MAX));
            let one = self.runs[coarse].len() == 1;
            let steps = steps
                .filter(|_| one)
                .map(|(step, range)| (*step, range.clone()));
            for (step, range) in steps.chain(behind) {
                let range = overlap(&range, main);
                if range.is_empty() {
                    continue;
                }
                let mut common = whole.clone();
                common[0] = range;
                let mut pair = [None, None];
                pair[coarse] = Some(c);
                let mut made = [None, None];
                made[coarse] = Some(stretch(c, &axes[coarse], &whole, &common)?);
                out.push(group.slot(self.key(group, step), pair, made));
                met.insert((coarse, c.entry));
            }
        }
        if met.is_empty() {
            return None;
        }
        for side in 0..2 {
            for m in group.members[side]
                .iter()
                .filter(|m| !met.contains(&(side, m.entry)))
            {
                let mut pair = [None, None];
                pair[side] = Some(m);
                let mut made = [None, None];
                made[side] = Some(m.tensor.clone());
                out.push(group.slot(self.key(group, m.at), pair, made));
            }
        }
        Some(out)
    }

    /// A side in one pass may lay its axes out otherwise than the steps ([head, token] against [token, head]): the tokens run
    /// where it is as long as they are many.
    fn placed(&self, group: &Group, mut axes: [Vec<usize>; 2]) -> Option<[Vec<usize>; 2]> {
        let coarse = 1 - self.fine;
        let (1, Some(run)) = (self.runs[coarse].len(), self.runs[coarse].values().next()) else {
            return Some(axes);
        };
        let whole = shape(group.members[coarse].first()?);
        let is_long = |a: usize| whole[a] == run.len() || whole[a] == 1;
        for i in 0..axes[coarse].len() {
            if !is_long(axes[coarse][i]) {
                let mut others = (0..whole.len()).filter(|a| whole[*a] == run.len());
                axes[coarse][i] = others.find(|a| !axes[coarse].contains(a))?;
            }
        }
        Some(axes)
    }

    /// The number of the step that ends before a token: that of the finer side, where the other side is one pass; else it is
    /// counted anew, because steps of both sides are cut.
    fn number(&self, step: Option<u32>, end: usize) -> Option<u32> {
        if self.runs[1 - self.fine].len() == 1 {
            return step;
        }
        let ends = self.runs.iter().flat_map(|run| run.values().map(|r| r.end));
        let ends: BTreeSet<usize> = ends.collect();
        Some(ends.range(..end).count() as u32)
    }

    fn key(&self, group: &Group, step: Option<u32>) -> Key {
        Key {
            step,
            ..group.key.clone()
        }
    }

    /// The tokens that a tensor holds along each of its axes of tokens; the last of its step where it has none.
    fn bounds(&self, side: usize, member: &Member, axes: &[usize]) -> Option<Vec<Range<usize>>> {
        let run = self.runs[side].get(&member.at)?;
        let sizes = axes.iter().map(|&a| shape(member)[a]);
        // a run that starts later has nothing before
        let first = self.runs[side].values().next()?.start;
        let range = |n: usize| Some(run.end.checked_sub(n).filter(|s| *s >= first)?..run.end);
        sizes.map(range).collect()
    }

    fn note(&self, keys: &[String]) -> Note {
        let lengths = |side: usize| {
            let lengths: Vec<String> = self.runs[side]
                .values()
                .map(|r| r.len().to_string())
                .collect();
            match lengths.len() {
                1 => format!("one pass of {} tokens", lengths[0]),
                n if n > 6 => format!("{n} steps ({}, … tokens)", lengths[..6].join(", ")),
                n => format!("{n} steps ({} tokens)", lengths.join(", ")),
            }
        };
        let message = format!(
            "{} in the reference, {} in the candidate: compared token by token, each under its step",
            lengths(0),
            lengths(1)
        );
        Note::new("steps_cut", message).about(keys.to_vec())
    }
}

/// Axes of length 1 before all others may be left out, as llama.cpp does where a step has one token: all are seen with as many.
fn level(group: &mut Group) {
    let axes = |m: &Member| m.tensor.tensor.info.shape().len();
    let most = group.members.iter().flatten().map(axes).max().unwrap_or(0);
    for member in group.members.iter_mut().flatten() {
        member.lead = most - axes(member);
    }
}

fn shape(member: &Member) -> Vec<usize> {
    let mut shape = vec![1; member.lead];
    shape.extend(member.tensor.tensor.info.shape());
    shape
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// The axes of each side along which the tokens run, in which the fewest run first: those whose length changes from step to step;
/// of a side with one step those that the other side's are.
fn axes(group: &Group) -> [Vec<usize>; 2] {
    let shapes = [0, 1].map(|side| group.members[side].iter().map(shape).collect::<Vec<_>>());
    let varying = |side: usize| {
        let first = shapes[side].first().map_or(&[][..], |s| s);
        let varies = |a: &usize| shapes[side].iter().any(|s| s[*a] != first[*a]);
        (0..first.len()).filter(varies).collect::<Vec<usize>>()
    };
    let mut own = [varying(0), varying(1)];
    let (Some(r), Some(c)) = (shapes[0].first(), shapes[1].first()) else {
        return own;
    };
    let differ: Vec<usize> = (0..r.len()).filter(|&a| r[a] != c[a]).collect();
    match (own[0].is_empty(), own[1].is_empty()) {
        (true, false) => own[0] = own[1].clone(),
        (false, true) => own[1] = own[0].clone(),
        // every step has as many tokens
        (true, true) if differ.iter().all(|&a| r[a] == r[differ[0]]) => {
            own = [differ.clone(), differ.clone()]
        }
        _ => {}
    }
    if own[0].len() != own[1].len() {
        return [Vec::new(), Vec::new()];
    }
    // as many queries in every step, over more keys each time
    if let (Some(&x), Some(&y)) = (own[0].first(), own[1].first()) {
        let more = |&&a: &&usize| (r[a] == r[x] && r[a] > c[a]) || (c[a] == c[y] && c[a] > r[a]);
        let open = |a: &&usize| !own[0].contains(a) && !own[1].contains(a);
        let more: Vec<usize> = differ.iter().filter(open).filter(more).copied().collect();
        own.iter_mut().for_each(|axes| axes.extend(&more));
    }
    // queries before keys: a step computes fewer tokens than it reads
    let side = usize::from(shapes[1].len() > shapes[0].len());
    let last = shapes[side].last().unwrap_or(r);
    let mut order: Vec<usize> = (0..own[0].len()).collect();
    order.sort_by_key(|&i| last[own[side][i]]);
    own.map(|axes| order.iter().map(|&i| axes[i]).collect())
}

/// The tokens `common` of a tensor that holds the tokens `own`.
fn stretch(
    member: &Member,
    axes: &[usize],
    own: &[Range<usize>],
    common: &[Range<usize>],
) -> Option<Made> {
    if own == common {
        return Some(member.tensor.clone());
    }
    let tensor = &member.tensor.tensor;
    let mut bounds: Vec<Range<usize>> = shape(member).into_iter().map(|n| 0..n).collect();
    for ((&axis, own), common) in axes.iter().zip(own).zip(common) {
        bounds[axis] = common.start - own.start..common.end - own.start;
    }
    bounds.drain(..member.lead);
    let (first, last) = (common[0].start, common[0].end - 1);
    let how = match first == last {
        true => format!("token {first}"),
        false => format!("tokens {first}–{last}"),
    };
    Some(Made::new(crop(tensor, &bounds)?, how))
}
