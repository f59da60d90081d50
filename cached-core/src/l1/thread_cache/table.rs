//! The table of a thread: sets of entries, by the hash of their key.
//!
//! No call waits for work on the whole table. Growth doubles the number of sets and keeps the old ones; each
//! old set is then split into two sets of the new table, a few in each call, or when a lookup needs one. A
//! purge sweeps a few sets in each call, after all old sets are split. If there are too many bytes, a hand
//! moves over the sets and removes unused entries, as in CLOCK.
//!
//! Entries that leave are returned to the caller, which drops them where user code may run.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use super::{
    CALLS,
    set::{Set, USED, WAYS, print, ways_with},
};
use crate::l1::entry::Entry;

/// Initial number of sets.
pub(super) const FEWEST_SETS: usize = 16;
/// Maximum number of sets, which take 8 MiB.
///
/// A thread reaches it with some hundred thousand entries, which weigh sixteen times as much. A full table
/// has 917,504 entries, which weigh more. Tests have a smaller table, as it would take long to fill this one.
pub(super) const MOST_SETS: usize = if cfg!(test) { 1 << 14 } else { 1 << 17 };
/// Number of sets that one call sweeps for retired entries, splits after growth, or thins out for room.
pub(super) const SWEPT: usize = 16;
/// Number of entries of which one is admitted into a full set. If all were, entries that are used once would
/// displace those that are used often.
pub(super) const LOTTERY: usize = 4;
/// Divisor of a thread's share: an entry that is heavier than the quotient is not worth its place.
const HEAVIEST: u64 = 16;

/// The table of one thread.
pub(super) struct Table {
    pub(super) sets: Vec<Set>,
    /// While the table grows: the sets of the table before that are not split yet, from the first one on.
    pub(super) old: Vec<Set>,
    /// Number of sets before the last growth, which is half of the present number.
    olds: usize,
    pub(super) entries: usize,
    /// Bytes of all entries in the table.
    pub(super) bytes: u64,
    /// Bytes that the table may have in any case.
    share: u64,
    /// Number of entries that met a full set.
    crowd: usize,
    /// Set that was last thinned out because the thread caches held too much.
    hand: usize,
    /// Last of the [`CALLS`] for which the purge is complete.
    pub(super) calls: usize,
    /// Last of the [`CALLS`] for which the purge has begun.
    heard: usize,
    /// Number of sets that are still to be swept.
    unswept: usize,
    /// Set that was last swept.
    next: usize,
}

impl Table {
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
                    // Usually the bit is set already, and nothing is written.
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

    /// Splits the old set of this hash at once, if it is not split yet. Returns whether entries were moved.
    ///
    /// Retired entries and those without a place stay behind, to be dropped where user code may run.
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

    /// Stores an entry, if there is room for it. Returns the entries that left for it.
    pub(super) fn keep(&mut self, kept: &Arc<Entry>) -> Displaced {
        let (weight, mut left) = (u64::from(kept.weight), Displaced::default());
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
        // With more entries per set, one in some hundreds would find its set full.
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

    /// Thins out up to [`SWEPT`] sets to make room for an entry. Returns whether there is room.
    ///
    /// If all entries of these sets were used, none leaves until the next turn of the hand.
    fn make_room(&mut self, kept: &Entry, left: &mut Vec<Arc<Entry>>) -> bool {
        for _ in 0..SWEPT {
            if self.has_room(kept) {
                return true;
            }
            self.thin_one(left);
        }
        self.has_room(kept)
    }

    /// Returns whether an entry fits into this thread's share, or into the common bytes of all thread caches.
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

    /// Removes and returns all entries.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Entry>> {
        let sets = mem::take(&mut self.old).into_iter().chain(mem::take(&mut self.sets));
        let all = sets.flat_map(|set| set.ways).flatten();
        all.inspect(|kept| self.count_out([kept]))
    }

    /// Removes the entries of the next set that were not used since its last turn (the CLOCK algorithm).
    fn thin_one(&mut self, left: &mut Vec<Arc<Entry>>) {
        let before = left.len();
        self.hand = (self.hand + 1) % self.sets.len();
        left.extend(self.sets[self.hand].take_unused());
        self.count_out(&left[before..]);
    }

    /// Doubles the number of sets.
    ///
    /// The entries move [a few sets at a time](Self::part), or a call would wait for all of them.
    #[cold]
    fn grow(&mut self) {
        self.olds = self.sets.len();
        let mut more = Vec::new();
        more.resize_with(2 * self.olds, Set::default);
        self.old = mem::replace(&mut self.sets, more);
        self.unswept = self.sets.len();
    }

    /// Splits the next few sets of a table that has grown, each into two, so that there is room.
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

    /// Removes and returns the retired entries of the next few sets, if a purge was requested.
    pub(super) fn follow_calls(&mut self) -> Vec<Arc<Entry>> {
        let calls = CALLS.load(Ordering::Acquire);
        if self.calls == calls {
            return Vec::new();
        }
        if mem::replace(&mut self.heard, calls) != calls {
            self.unswept = self.sets.len();
        }
        let mut left = Vec::new();
        // Entries of sets that are not split yet are checked when these are split.
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

/// Entries that have left the table.
#[derive(Default)]
pub(super) struct Displaced {
    /// Replaced entry. Usually it is the only one that leaves.
    one: Option<Arc<Entry>>,
    others: Vec<Arc<Entry>>,
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
fn place(hash: u64, sets: usize) -> usize {
    (hash >> 20) as usize & sets.wrapping_sub(1)
}
