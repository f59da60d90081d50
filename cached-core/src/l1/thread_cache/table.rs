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
    PURGE_REQUESTS,
    set::{Set, USED_BITS, WAYS, fingerprint, ways_with},
};
use crate::l1::entry::Entry;

/// Initial number of sets.
pub(super) const MIN_SETS: usize = 16;
/// Maximum number of sets, which take 8 MiB.
///
/// A thread reaches it with some hundred thousand entries, which weigh sixteen times as much. A full table
/// has 917,504 entries, which weigh more. Tests have a smaller table, as it would take long to fill this one.
pub(super) const MAX_SETS: usize = if cfg!(test) { 1 << 14 } else { 1 << 17 };
/// Number of sets that one call sweeps for retired entries, splits after growth, or thins out for room.
pub(super) const SETS_PER_CALL: usize = 16;
/// Number of entries of which one is admitted into a full set. If all were, entries that are used once would
/// displace those that are used often.
pub(super) const ADMISSION_INTERVAL: usize = 4;
/// Divisor of a thread's share: an entry that is heavier than the quotient is not worth its place.
const MAX_WEIGHT_DIVISOR: u64 = 16;

/// The table of one thread.
pub(super) struct Table {
    pub(super) sets: Vec<Set>,
    /// While the table grows: the sets of the table before that are not split yet, from the first one on.
    pub(super) old: Vec<Set>,
    /// Number of sets before the last growth, which is half of the present number.
    old_set_count: usize,
    pub(super) entries: usize,
    /// Bytes of all entries in the table.
    pub(super) bytes: u64,
    /// Bytes that the table may have in any case.
    share: u64,
    /// Number of entries that met a full set.
    full_set_inserts: usize,
    /// Set that was last thinned out because the thread caches held too much.
    clock_hand: usize,
    /// Last of the [`PURGE_REQUESTS`] for which the purge is complete.
    pub(super) completed_purge: usize,
    /// Last of the [`PURGE_REQUESTS`] for which the purge has begun.
    started_purge: usize,
    /// Number of sets that are still to be swept.
    unswept: usize,
    /// Set that was last swept.
    last_swept: usize,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            sets: Vec::new(),
            old: Vec::new(),
            old_set_count: 0,
            entries: 0,
            bytes: 0,
            share: 0,
            full_set_inserts: 0,
            clock_hand: 0,
            completed_purge: 0,
            started_purge: 0,
            unswept: 0,
            last_swept: 0,
        }
    }

    #[allow(clippy::inline_always, reason = "each function has only one call of it")]
    #[inline(always)]
    pub(super) fn find<T>(&mut self, hash: u64, mut take: impl FnMut(&Arc<Entry>) -> Option<T>) -> Option<T> {
        loop {
            let index = set_index(hash, self.sets.len());
            let set = self.sets.get_mut(index)?;
            for way in ways_with(set.fingerprints, fingerprint(hash)) {
                if let Some(entry) = &set.ways[way]
                    && let Some(out) = take(entry)
                {
                    // Usually the bit is set already, and nothing is written.
                    if set.fingerprints[USED_BITS] & 1 << way == 0 {
                        set.fingerprints[USED_BITS] |= 1 << way;
                    }
                    return Some(out);
                }
            }
            if !self.split_set_of(hash) {
                return None;
            }
        }
    }

    /// Splits the old set of this hash at once, if it is not split yet. Returns whether entries were moved.
    ///
    /// Retired entries and those without a place stay behind, to be dropped where user code may run.
    #[cold]
    fn split_set_of(&mut self, hash: u64) -> bool {
        let Some(old) = self.old.get_mut(set_index(hash, self.old_set_count)) else { return false };
        let mut has_moved = false;
        for (way, old_way) in old.ways.iter_mut().enumerate() {
            let Some(entry) = old_way.take_if(|entry| !entry.is_retired()) else { continue };
            let set = &mut self.sets[set_index(entry.hash(), 2 * self.old_set_count)];
            match set.free_way_for_old(&entry) {
                Some(free_way) => {
                    set.move_in(free_way, entry, old.fingerprints[USED_BITS] & 1 << way != 0);
                    has_moved = true;
                }
                None => *old_way = Some(entry),
            }
        }
        has_moved
    }

    /// Stores an entry, if there is room for it. Returns the entries that left for it.
    pub(super) fn insert(&mut self, entry: &Arc<Entry>) -> Displaced {
        let (weight, mut removed) = (u64::from(entry.weight), Displaced::default());
        self.share = self.share.max(entry.memory().thread_share());
        if weight > self.share / MAX_WEIGHT_DIVISOR {
            return removed;
        }
        if self.sets.is_empty() {
            self.sets.resize_with(MIN_SETS, Set::default);
        }
        self.split_some(&mut removed.others);
        if !self.make_room(entry, &mut removed.others) {
            return removed;
        }
        // With more entries per set, one in some hundreds would find its set full.
        if 3 * self.entries > WAYS * self.sets.len() && self.sets.len() < MAX_SETS && self.old.is_empty() {
            self.grow();
            self.split_some(&mut removed.others);
        }
        let hash = entry.hash();
        let index = set_index(hash, self.sets.len());
        let set = &mut self.sets[index];
        let index = match set.find_same_key(entry).or_else(|| set.free_way()) {
            Some(index) => index,
            None => {
                self.full_set_inserts = self.full_set_inserts.wrapping_add(1);
                if !self.full_set_inserts.is_multiple_of(ADMISSION_INTERVAL) {
                    return removed;
                }
                set.victim_way(self.full_set_inserts / ADMISSION_INTERVAL)
            }
        };
        if !entry.enter_thread_cache() {
            return removed;
        }
        removed.replaced = set.put(index, entry.clone());
        self.entries += 1;
        self.bytes += weight;
        entry.memory().reserve(weight);
        self.count_removed(&removed.replaced);
        removed
    }

    /// Thins out up to [`SETS_PER_CALL`] sets to make room for an entry. Returns whether there is room.
    ///
    /// If all entries of these sets were used, none leaves until the next turn of the hand.
    fn make_room(&mut self, entry: &Entry, removed: &mut Vec<Arc<Entry>>) -> bool {
        for _ in 0..SETS_PER_CALL {
            if self.has_room(entry) {
                return true;
            }
            self.evict_unused(removed);
        }
        self.has_room(entry)
    }

    /// Returns whether an entry fits into this thread's share, or into the common bytes of all thread caches.
    fn has_room(&self, entry: &Entry) -> bool {
        let weight = u64::from(entry.weight);
        self.bytes + weight <= self.share || entry.memory().can_reserve(weight)
    }

    fn count_removed<'a>(&mut self, removed: impl IntoIterator<Item = &'a Arc<Entry>>) {
        for entry in removed {
            let weight = u64::from(entry.weight);
            self.entries -= 1;
            self.bytes -= weight;
            entry.memory().release(weight);
        }
    }

    /// Removes and returns all entries.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<Entry>> {
        let sets = mem::take(&mut self.old).into_iter().chain(mem::take(&mut self.sets));
        let all = sets.flat_map(|set| set.ways).flatten();
        all.inspect(|entry| self.count_removed([entry]))
    }

    /// Removes the entries of the next set that were not used since its last turn (the CLOCK algorithm).
    fn evict_unused(&mut self, removed: &mut Vec<Arc<Entry>>) {
        let before = removed.len();
        self.clock_hand = (self.clock_hand + 1) % self.sets.len();
        removed.extend(self.sets[self.clock_hand].take_unused());
        self.count_removed(&removed[before..]);
    }

    /// Doubles the number of sets.
    ///
    /// The entries move [a few sets at a time](Self::split_some), or a call would wait for all of them.
    #[cold]
    fn grow(&mut self) {
        self.old_set_count = self.sets.len();
        let mut more = Vec::new();
        more.resize_with(2 * self.old_set_count, Set::default);
        self.old = mem::replace(&mut self.sets, more);
        self.unswept = self.sets.len();
    }

    /// Splits the next few sets of a table that has grown, each into two, so that there is room.
    fn split_some(&mut self, removed: &mut Vec<Arc<Entry>>) {
        for _ in 0..SETS_PER_CALL {
            let Some(Set { fingerprints, ways }) = self.old.pop() else { break };
            for (way, entry) in ways.into_iter().enumerate().filter_map(|(way, entry)| Some((way, entry?))) {
                let set = &mut self.sets[set_index(entry.hash(), 2 * self.old_set_count)];
                let free_way = if entry.is_retired() { None } else { set.free_way_for_old(&entry) };
                match free_way {
                    Some(free_way) => set.move_in(free_way, entry, fingerprints[USED_BITS] & 1 << way != 0),
                    None => {
                        self.count_removed([&entry]);
                        removed.push(entry);
                    }
                }
            }
        }
        if self.old.is_empty() {
            self.old = Vec::new();
        }
    }

    /// Returns the number of calls of [`purge_some`](Self::purge_some) that look at all sets.
    ///
    /// A purge under way may end in one of them, and the next one begins.
    pub(super) fn steps_of_a_purge(&self) -> usize {
        self.old.len().div_ceil(SETS_PER_CALL) + self.sets.len().div_ceil(SETS_PER_CALL) + 2
    }

    /// Removes and returns the retired entries of the next few sets, if a purge was requested.
    pub(super) fn purge_some(&mut self) -> Vec<Arc<Entry>> {
        let requests = PURGE_REQUESTS.load(Ordering::Acquire);
        if self.completed_purge == requests {
            return Vec::new();
        }
        // A later request waits for the end of this purge, and does not start it over.
        if self.completed_purge == self.started_purge {
            self.started_purge = requests;
            self.unswept = self.sets.len();
        }
        let mut removed = Vec::new();
        // Entries of sets that are not split yet are checked when these are split.
        self.split_some(&mut removed);
        if self.old.is_empty() {
            self.sweep(&mut removed);
        }
        if self.unswept == 0 {
            self.completed_purge = self.started_purge;
        }
        removed
    }

    fn sweep(&mut self, removed: &mut Vec<Arc<Entry>>) {
        let before = removed.len();
        for _ in 0..SETS_PER_CALL.min(self.unswept) {
            self.last_swept = (self.last_swept + 1) % self.sets.len();
            self.unswept -= 1;
            let ways = &mut self.sets[self.last_swept].ways;
            removed.extend(ways.iter_mut().filter_map(|way| way.take_if(|entry| entry.is_retired())));
        }
        self.count_removed(&removed[before..]);
    }
}

/// Entries that have left the table.
#[derive(Default)]
pub(super) struct Displaced {
    /// Replaced entry. Usually it is the only one that leaves.
    replaced: Option<Arc<Entry>>,
    others: Vec<Arc<Entry>>,
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "any bits of the hash select a set")]
fn set_index(hash: u64, set_count: usize) -> usize {
    (hash >> 20) as usize & set_count.wrapping_sub(1)
}
