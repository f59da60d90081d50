//! Ghosts: fingerprints of the keys that have left recently.

const WAYS: usize = 8;

/// Kind of a ghost: how its key left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GhostKind {
    Small,
    Main,
    /// The key was removed from the main queue, not evicted.
    Removed,
}

const KINDS: [GhostKind; 3] = [GhostKind::Small, GhostKind::Main, GhostKind::Removed];

/// Table of ghosts. A ghost is the fingerprint of a key, with the kind and the time of its leaving.
///
/// A ghost expires when half as many keys as there are entries have left in the same way since. So there are
/// never more live ghosts of a kind than that, regardless of the size of the table.
pub(super) struct Ghosts {
    /// Buckets of slots, indexed by the fingerprint. The slots are integers, which come zeroed from the system:
    /// the first eviction from a large cache does not write all of them.
    buckets: Vec<[u64; WAYS]>,
    /// Number of keys that have left, for each kind. It is the clock of that kind.
    clocks: [u32; 3],
}

/// A ghost in 64 bits: a fingerprint (32 bits), a clock (30 bits) and the kind + 1 (2 bits); 0 is a free
/// slot.
#[derive(Clone, Copy)]
struct Slot(u64);

/// Returns the part of a key's hash that a ghost keeps.
///
/// It is long enough that another key is mistaken for the ghost in few of a thousand cases.
#[expect(clippy::cast_possible_truncation, reason = "a hash may be folded")]
pub(super) fn fingerprint(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

const CLOCK_MASK: u32 = (1 << 30) - 1;

impl Slot {
    fn new(fingerprint: u32, clock: u32, kind: GhostKind) -> Self {
        Self(u64::from(fingerprint) << 32 | u64::from(clock & CLOCK_MASK) << 2 | (kind as u64 + 1))
    }

    #[expect(clippy::cast_possible_truncation, reason = "each part fits in its type")]
    fn parts(self) -> Option<(u32, u32, GhostKind)> {
        let kind = (self.0 & 3).checked_sub(1)?;
        Some(((self.0 >> 32) as u32, (self.0 >> 2) as u32 & CLOCK_MASK, KINDS[kind as usize]))
    }
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { buckets: Vec::new(), clocks: [0; 3] }
    }

    /// Adds the ghost of a key that leaves. `len` is the number of entries in the policy.
    pub(super) fn add(&mut self, fingerprint: u32, kind: GhostKind, len: usize) {
        self.grow(len);
        let clock = self.clocks[kind as usize];
        self.clocks[kind as usize] = clock.wrapping_add(1);
        let index = self.index(fingerprint);
        let bucket = &self.buckets[index];
        // A free slot, or else that of the oldest ghost.
        let way = (0..WAYS).max_by_key(|&way| match Slot(bucket[way]).parts() {
            None => u32::MAX,
            Some((_, clock, kind)) => self.age(clock, kind),
        });
        self.buckets[index][way.unwrap_or(0)] = Slot::new(fingerprint, clock, kind).0;
    }

    /// Removes the ghost of a key that returns. Returns its kind, and whether it is recent.
    ///
    /// It is recent until a tenth as many keys as there are entries have left in the same way since.
    pub(super) fn take(&mut self, fingerprint: u32, len: usize) -> Option<(GhostKind, bool)> {
        if self.buckets.is_empty() {
            return None;
        }
        let index = self.index(fingerprint);
        for way in 0..WAYS {
            if let Some((other, clock, kind)) = Slot(self.buckets[index][way]).parts()
                && other == fingerprint
            {
                self.buckets[index][way] = 0;
                let age = self.age(clock, kind) as usize;
                return (age <= len / 2).then_some((kind, age <= len / 10));
            }
        }
        None
    }

    fn age(&self, clock: u32, kind: GhostKind) -> u32 {
        self.clocks[kind as usize].wrapping_sub(clock) & CLOCK_MASK
    }

    fn index(&self, fingerprint: u32) -> usize {
        fingerprint as usize & (self.buckets.len() - 1)
    }

    /// Grows the table to at least 1.5 slots per entry: the fingerprints are not spread evenly.
    fn grow(&mut self, len: usize) {
        let wanted = (len + len / 2).div_ceil(WAYS).next_power_of_two();
        if self.buckets.len() >= wanted {
            return;
        }
        let before = std::mem::replace(&mut self.buckets, vec![[0; WAYS]; wanted]);
        for slot in before.into_iter().flatten() {
            let Some((fingerprint, ..)) = Slot(slot).parts() else { continue };
            let index = self.index(fingerprint);
            // The ghosts of one bucket fit into the buckets that replace it.
            if let Some(free) = self.buckets[index].iter_mut().find(|slot| **slot == 0) {
                *free = slot;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.buckets.len() * WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ghost_is_found_only_once() {
        let mut ghosts = Ghosts::new();
        assert_eq!(ghosts.take(7, 100), None);
        ghosts.add(7, GhostKind::Main, 100);
        assert_eq!(ghosts.take(8, 100), None);
        assert_eq!(ghosts.take(7, 100), Some((GhostKind::Main, true)));
        assert_eq!(ghosts.take(7, 100), None);
    }

    #[test]
    fn ghost_ages_only_by_departures_of_its_own_kind() {
        for (others, seen) in
            [(9, Some((GhostKind::Small, true))), (10, Some((GhostKind::Small, false))), (50, None)]
        {
            let mut ghosts = Ghosts::new();
            ghosts.add(7, GhostKind::Small, 100);
            for other in 0..others {
                ghosts.add(1_000 + other, GhostKind::Small, 100);
            }
            for other in 0..30 {
                ghosts.add(2_000 + other, GhostKind::Main, 100);
                ghosts.add(3_000 + other, GhostKind::Removed, 100);
            }
            assert_eq!(ghosts.take(7, 100), seen, "after {others}");
        }
    }

    #[test]
    fn growing_keeps_all_ghosts() {
        let mut ghosts = Ghosts::new();
        (0..50).for_each(|fingerprint| ghosts.add(fingerprint, GhostKind::Small, 100));
        let before = ghosts.slots();
        ghosts.add(1_000, GhostKind::Small, 10_000);
        assert!(ghosts.slots() > before);
        assert!((0..50).all(|fingerprint| ghosts.take(fingerprint, 10_000).is_some()));
    }

    #[test]
    fn full_bucket_replaces_the_oldest_ghost() {
        let mut ghosts = Ghosts::new();
        // All are in one bucket, regardless of the number of buckets.
        (0..9).for_each(|n| ghosts.add(n << 20, GhostKind::Small, 100));
        assert_eq!(ghosts.take(0, 100), None);
        assert!((1..9).all(|n| ghosts.take(n << 20, 100).is_some()));
    }
}
