//! The table of a thread: sets of entries, by the hash of their key.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use super::{
    CALLS,
    set::{Set, USED, WAYS, print, ways_with},
};
use crate::l1::entry::Entry;

pub(super) const FEWEST_SETS: usize = 16;
/// 8 MiB in a thread that uses some hundred thousand entries, which weigh sixteen times as much, and more when it is full: then
/// there are 917,504. Tests would take long to fill it.
pub(super) const MOST_SETS: usize = if cfg!(test) { 1 << 14 } else { 1 << 17 };
/// So many are looked through in one go for what has left, and so many are parted in one go when the table grows.
pub(super) const SWEPT: usize = 16;
/// Into a full set comes one of so many, or what is used once would push out what is used often.
pub(super) const LOTTERY: usize = 4;
/// What is heavier than this part of a thread's share is not worth its place.
const HEAVIEST: u64 = 16;

pub(super) struct Front {
    pub(super) sets: Vec<Set>,
    /// While the table grows: those of half as many that have not been parted yet, from the first on,
    pub(super) old: Vec<Set>,
    /// and how many they were.
    olds: usize,
    pub(super) entries: usize,
    /// Of all entries in it,
    pub(super) bytes: u64,
    /// and how many there may be in any case.
    share: u64,
    /// Entries that came to full sets.
    crowd: usize,
    /// The next set to be thinned out when too much is at hand.
    hand: usize,
    /// Of the [`CALLS`], how many were followed,
    pub(super) calls: usize,
    /// and how many were heard. They are followed a few sets at a time,
    heard: usize,
    /// of which so many are left,
    unswept: usize,
    /// and this is the next one.
    next: usize,
}

impl Front {
    pub(super) const fn new() -> Self {
        Self {
            sets: Vec::new(),
            old: Vec::new(),
            olds: 0,
            entries: 0,
            bytes: 0,
            share: 0,
            crowd: 0,
            hand: 0,
            calls: 0,
            heard: 0,
            unswept: 0,
            next: 0,
        }
    }

    #[allow(clippy::inline_always, reason = "it is called at one place in each function")]
    #[inline(always)]
    pub(super) fn find<T>(&mut self, hash: u64, mut take: impl FnMut(&Arc<Entry>) -> Option<T>) -> Option<T> {
        loop {
            let place = place(hash, self.sets.len());
            let set = self.sets.get_mut(place)?;
            for way in ways_with(set.prints, print(hash)) {
                if let Some(kept) = &set.ways[way]
                    && let Some(out) = take(kept)
                {
                    // As a rule it is known already, and nothing is written.
                    if set.prints[USED] & 1 << way == 0 {
                        set.prints[USED] |= 1 << way;
                    }
                    return Some(out);
                }
            }
            if !self.bring(hash) {
                return None;
            }
        }
    }

    /// Parts the set of this hash now, if the table grows and it has not come over yet. What is of no use stays behind, to
    /// be let go of where the user's code may run.
    #[cold]
    fn bring(&mut self, hash: u64) -> bool {
        let Some(old) = self.old.get_mut(place(hash, self.olds)) else { return false };
        let mut has_come = false;
        for (way, place_in_old) in old.ways.iter_mut().enumerate() {
            let Some(kept) = place_in_old.take_if(|kept| !kept.is_retired()) else { continue };
            let set = &mut self.sets[place(kept.key().hash(), 2 * self.olds)];
            match set.place_for_old(&kept) {
                Some(free) => {
                    set.carry(free, kept, old.prints[USED] & 1 << way != 0);
                    has_come = true;
                }
                None => *place_in_old = Some(kept),
            }
        }
        has_come
    }

    /// Whoever had to leave for it.
    pub(super) fn keep(&mut self, kept: &Arc<Entry>) -> Left {
        let (weight, mut left) = (u64::from(kept.weight), Left::default());
        self.share = self.share.max(kept.home().share());
        if weight > self.share / HEAVIEST {
            return left;
        }
        if self.sets.is_empty() {
            self.sets.resize_with(FEWEST_SETS, Set::default);
        }
        self.part(&mut left.others);
        if !self.make_room(kept, &mut left.others) {
            return left;
        }
        // With more, one in some hundreds would find its set full.
        if 3 * self.entries > WAYS * self.sets.len() && self.sets.len() < MOST_SETS && self.old.is_empty() {
            self.grow();
            self.part(&mut left.others);
        }
        let hash = kept.key().hash();
        let place = place(hash, self.sets.len());
        let set = &mut self.sets[place];
        let index = match set.same(kept).or_else(|| set.free()) {
            Some(index) => index,
            None => {
                self.crowd = self.crowd.wrapping_add(1);
                if !self.crowd.is_multiple_of(LOTTERY) {
                    return left;
                }
                set.least_used(self.crowd / LOTTERY)
            }
        };
        left.one = set.put(index, kept.clone());
        self.entries += 1;
        self.bytes += weight;
        kept.home().hold(weight);
        self.count_out(&left.one);
        left
    }

    /// Whether there is room for it now. If all that is looked at was used, nothing leaves until the next turn.
    fn make_room(&mut self, kept: &Entry, left: &mut Vec<Arc<Entry>>) -> bool {
        for _ in 0..SWEPT {
            if self.has_room(kept) {
                return true;
            }
            self.thin_one(left);
        }
        self.has_room(kept)
    }

    /// In this thread's share, or in what all may have together.
    fn has_room(&self, kept: &Entry) -> bool {
        let weight = u64::from(kept.weight);
        self.bytes + weight <= self.share || kept.home().may_hold(weight)
    }

    fn count_out<'a>(&mut self, left: impl IntoIterator<Item = &'a Arc<Entry>>) {
        for kept in left {
            let weight = u64::from(kept.weight);
            self.entries -= 1;
            self.bytes -= weight;
            kept.home().let_go(weight);
        }
    }

    /// All that there is.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Entry>> {
        let sets = mem::take(&mut self.old).into_iter().chain(mem::take(&mut self.sets));
        let all = sets.flat_map(|set| set.ways).flatten();
        all.inspect(|kept| self.count_out([kept]))
    }

    /// What was not used in the next set since this was last asked: the algorithm is known as CLOCK.
    fn thin_one(&mut self, left: &mut Vec<Arc<Entry>>) {
        let before = left.len();
        self.hand = (self.hand + 1) % self.sets.len();
        left.extend(self.sets[self.hand].take_unused());
        self.count_out(&left[before..]);
    }

    /// Twice as many sets. What was in them comes over [a few sets at a time](Self::part), or a call would wait for all.
    #[cold]
    fn grow(&mut self) {
        self.olds = self.sets.len();
        let mut more = Vec::new();
        more.resize_with(2 * self.olds, Set::default);
        self.old = mem::replace(&mut self.sets, more);
        self.unswept = self.sets.len();
    }

    /// Parts the next few sets of a table that has grown: each into two, so that there is room.
    fn part(&mut self, left: &mut Vec<Arc<Entry>>) {
        for _ in 0..SWEPT {
            let Some(Set { prints, ways }) = self.old.pop() else { break };
            for (way, kept) in ways.into_iter().enumerate().filter_map(|(way, kept)| Some((way, kept?))) {
                let set = &mut self.sets[place(kept.key().hash(), 2 * self.olds)];
                let free = if kept.is_retired() { None } else { set.place_for_old(&kept) };
                match free {
                    Some(free) => set.carry(free, kept, prints[USED] & 1 << way != 0),
                    None => {
                        self.count_out([&kept]);
                        left.push(kept);
                    }
                }
            }
        }
        if self.old.is_empty() {
            self.old = Vec::new();
        }
    }

    /// What has left its tier, if that was asked for: of the next few sets.
    pub(super) fn follow_calls(&mut self) -> Vec<Arc<Entry>> {
        let calls = CALLS.load(Ordering::Acquire);
        if self.calls == calls {
            return Vec::new();
        }
        if mem::replace(&mut self.heard, calls) != calls {
            self.unswept = self.sets.len();
        }
        let mut left = Vec::new();
        // What has not come over yet is looked through when it does.
        self.part(&mut left);
        if self.old.is_empty() {
            self.sweep(&mut left);
        }
        if self.unswept == 0 {
            self.calls = calls;
        }
        left
    }

    fn sweep(&mut self, left: &mut Vec<Arc<Entry>>) {
        let before = left.len();
        for _ in 0..SWEPT.min(self.unswept) {
            self.next = (self.next + 1) % self.sets.len();
            self.unswept -= 1;
            let ways = &mut self.sets[self.next].ways;
            left.extend(ways.iter_mut().filter_map(|way| way.take_if(|kept| kept.is_retired())));
        }
        self.count_out(&left[before..]);
    }
}

/// Entries that are not at hand any more.
#[derive(Default)]
pub(super) struct Left {
    /// As a rule there is no more than this.
    one: Option<Arc<Entry>>,
    others: Vec<Arc<Entry>>,
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
fn place(hash: u64, sets: usize) -> usize {
    (hash >> 20) as usize & sets.wrapping_sub(1)
}
