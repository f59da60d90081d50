//! Who has left lately.

const WAYS: usize = 8;

/// How a ghost became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Small,
    Main,
    /// It was taken out of the main queue, not driven out.
    Removed,
}

const KINDS: [Left; 3] = [Left::Small, Left::Main, Left::Removed];

/// A ghost is the print of a key, and when it left. It fades when half as many as there are entries have left in the same way
/// since; so there are never more than these, whatever the table has room for.
pub(super) struct Ghosts {
    /// A ghost stands in the bucket that its print names. They are numbers, which come zeroed from the system: whoever is
    /// the first to leave a large cache does not write them all.
    buckets: Vec<[u64; WAYS]>,
    /// How many have left in each way.
    clocks: [u32; 3],
}

/// 0 is nobody; else a print, a clock (30 bits) and the kind + 1.
#[derive(Clone, Copy)]
struct Slot(u64);

/// What is kept of a key: enough that another one is taken for it in few of a thousand cases.
#[expect(clippy::cast_possible_truncation, reason = "it is a hash")]
pub(super) fn print(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

const CLOCK: u32 = (1 << 30) - 1;

impl Slot {
    fn new(print: u32, clock: u32, left: Left) -> Self {
        Self(u64::from(print) << 32 | u64::from(clock & CLOCK) << 2 | (left as u64 + 1))
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are its parts")]
    fn parts(self) -> Option<(u32, u32, Left)> {
        let kind = (self.0 & 3).checked_sub(1)?;
        Some(((self.0 >> 32) as u32, (self.0 >> 2) as u32 & CLOCK, KINDS[kind as usize]))
    }
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { buckets: Vec::new(), clocks: [0; 3] }
    }

    /// `len` is how many entries there are.
    pub(super) fn add(&mut self, print: u32, left: Left, len: usize) {
        self.grow(len);
        let clock = self.clocks[left as usize];
        self.clocks[left as usize] = clock.wrapping_add(1);
        let index = self.index(print);
        let bucket = &self.buckets[index];
        // A free one, or else whose ghost has been there the longest.
        let way = (0..WAYS).max_by_key(|&way| match Slot(bucket[way]).parts() {
            None => u32::MAX,
            Some((_, clock, left)) => self.age(clock, left),
        });
        self.buckets[index][way.unwrap_or(0)] = Slot::new(print, clock, left).0;
    }

    /// The ghost of a key that comes back; whether that had left only just now.
    pub(super) fn take(&mut self, print: u32, len: usize) -> Option<(Left, bool)> {
        if self.buckets.is_empty() {
            return None;
        }
        let index = self.index(print);
        for way in 0..WAYS {
            if let Some((other, clock, left)) = Slot(self.buckets[index][way]).parts()
                && other == print
            {
                self.buckets[index][way] = 0;
                let age = self.age(clock, left) as usize;
                return (age <= len / 2).then_some((left, age <= len / 10));
            }
        }
        None
    }

    fn age(&self, clock: u32, left: Left) -> u32 {
        self.clocks[left as usize].wrapping_sub(clock) & CLOCK
    }

    fn index(&self, print: u32) -> usize {
        print as usize & (self.buckets.len() - 1)
    }

    /// Half as many slots again as there are entries, at least: the prints are not spread evenly.
    fn grow(&mut self, len: usize) {
        let wanted = (len + len / 2).div_ceil(WAYS).next_power_of_two();
        if self.buckets.len() >= wanted {
            return;
        }
        let before = std::mem::replace(&mut self.buckets, vec![[0; WAYS]; wanted]);
        for slot in before.into_iter().flatten() {
            let Some((print, ..)) = Slot(slot).parts() else { continue };
            let index = self.index(print);
            // What came out of one bucket has room in those that took its place.
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
    fn a_ghost_is_met_once() {
        let mut ghosts = Ghosts::new();
        assert_eq!(ghosts.take(7, 100), None);
        ghosts.add(7, Left::Main, 100);
        assert_eq!(ghosts.take(8, 100), None);
        assert_eq!(ghosts.take(7, 100), Some((Left::Main, true)));
        assert_eq!(ghosts.take(7, 100), None);
    }

    #[test]
    fn a_ghost_fades_by_those_who_left_in_its_way() {
        for (others, seen) in [(9, Some((Left::Small, true))), (10, Some((Left::Small, false))), (50, None)] {
            let mut ghosts = Ghosts::new();
            ghosts.add(7, Left::Small, 100);
            for other in 0..others {
                ghosts.add(1_000 + other, Left::Small, 100);
            }
            for other in 0..30 {
                ghosts.add(2_000 + other, Left::Main, 100);
                ghosts.add(3_000 + other, Left::Removed, 100);
            }
            assert_eq!(ghosts.take(7, 100), seen, "after {others}");
        }
    }

    #[test]
    fn nobody_is_forgotten_because_there_are_more() {
        let mut ghosts = Ghosts::new();
        (0..50).for_each(|print| ghosts.add(print, Left::Small, 100));
        let before = ghosts.slots();
        ghosts.add(1_000, Left::Small, 10_000);
        assert!(ghosts.slots() > before);
        assert!((0..50).all(|print| ghosts.take(print, 10_000).is_some()));
    }

    #[test]
    fn a_full_bucket_forgets_who_has_been_there_the_longest() {
        let mut ghosts = Ghosts::new();
        // All in one bucket, whatever their number is.
        (0..9).for_each(|n| ghosts.add(n << 20, Left::Small, 100));
        assert_eq!(ghosts.take(0, 100), None);
        assert!((1..9).all(|n| ghosts.take(n << 20, 100).is_some()));
    }
}
