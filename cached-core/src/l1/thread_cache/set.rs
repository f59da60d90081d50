//! A set of the table: the entries of keys that have the same place.

use std::{iter, mem, sync::Arc};

use crate::l1::entry::Entry;

pub(super) const WAYS: usize = 7;

/// Set of entries. The set itself is one cache line.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Set {
    /// Fingerprint of the key in each way, which is a byte of its hash. The last byte has a bit for each way that
    /// was used since others came.
    pub(super) fingerprints: [u8; 8],
    pub(super) ways: [Option<Arc<Entry>>; WAYS],
}

pub(super) const USED_BITS: usize = WAYS;

impl Set {
    /// Returns the way of an entry of the same key.
    pub(super) fn find_same_key(&self, entry: &Entry) -> Option<usize> {
        let is_same = |way: &usize| self.ways[*way].as_ref().is_some_and(|held| held.has_same_key(entry));
        ways_with(self.fingerprints, fingerprint(entry.hash())).find(is_same)
    }

    /// Returns a free way for an entry from the table before its growth.
    ///
    /// Returns `None` if a newer entry of its key has come, or too many others.
    pub(super) fn free_way_for_old(&self, entry: &Entry) -> Option<usize> {
        if self.find_same_key(entry).is_none() { self.free_way() } else { None }
    }

    pub(super) fn free_way(&self) -> Option<usize> {
        self.ways.iter().position(Option::is_none)
    }

    /// Stores an entry in a way, as not used yet. Returns the entry that was there.
    pub(super) fn put(&mut self, way: usize, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.fingerprints[way] = fingerprint(entry.hash());
        self.fingerprints[USED_BITS] &= !(1 << way);
        self.ways[way].replace(entry)
    }

    /// Stores an entry from another set in a free way, with its used bit.
    pub(super) fn move_in(&mut self, way: usize, entry: Arc<Entry>, was_used: bool) {
        // The way is free, so no entry leaves.
        let _ = self.put(way, entry);
        self.fingerprints[USED_BITS] |= u8::from(was_used) << way;
    }

    /// Removes and returns the entries that were not used since the last call. Clears the used bits.
    pub(super) fn take_unused(&mut self) -> impl Iterator<Item = Arc<Entry>> {
        let used = mem::take(&mut self.fingerprints[USED_BITS]);
        self.ways
            .iter_mut()
            .enumerate()
            .filter(move |(way, _)| used & 1 << way == 0)
            .filter_map(|(_, way)| way.take())
    }

    /// Returns a way that was not used since others came.
    ///
    /// If all were used, clears the used bits and returns the way `fallback % WAYS`.
    pub(super) fn victim_way(&mut self, fallback: usize) -> usize {
        let way = self.fingerprints[USED_BITS].trailing_ones() as usize;
        if way < WAYS {
            return way;
        }
        self.fingerprints[USED_BITS] = 0;
        fallback % WAYS
    }
}

/// Returns the fingerprint of a hash: bits that do not determine the place.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "any bits of the hash may be compared")]
pub(super) fn fingerprint(hash: u64) -> u8 {
    hash as u8
}

/// Returns the ways with this fingerprint, and occasionally another way.
///
/// All bytes are compared at once, as by `hasvalue` in "Bit Twiddling Hacks".
#[inline]
pub(super) fn ways_with(fingerprints: [u8; 8], fingerprint: u8) -> impl Iterator<Item = usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Without the last byte, which is no fingerprint.
    const HIGHS: u64 = 0x0080_8080_8080_8080;
    // A byte of this is zero if the fingerprint of its way is the same.
    let differs = u64::from_le_bytes(fingerprints) ^ (ONES * u64::from(fingerprint));
    let mut same = differs.wrapping_sub(ONES) & !differs & HIGHS;
    iter::from_fn(move || {
        let way = (same != 0).then(|| same.trailing_zeros() as usize / 8)?;
        same &= same - 1;
        Some(way)
    })
}
