//! The timer wheel: finds the entries that are over, without a look at the others.
//!
//! It is a hierarchical timing wheel: Varghese and Lauck, *Hashed and Hierarchical Timing Wheels*, SOSP 1987.
//! Time is counted in ticks. A bucket of level 0 is one tick, and a bucket of each further level lasts as long
//! as all 64 buckets of the level below. The level of an entry is the highest group of six bits in which its
//! tick differs from that of the wheel, and these bits number the bucket. So all buckets of a level are still
//! to come in the order of their numbers, and lie before those of the next level.
//!
//! When the time of a bucket begins, its entries are taken out one by one. Those that are not over yet go to a
//! lower level. This may be interrupted after any entry, and an insertion may come between. Then a bucket that
//! has begun is still there, and it is found again as such.
//!
//! A bucket is a doubly linked list of nodes, which the queues number. An entry needs eight bytes here.

use crate::base::clock::Nanos;

/// Logarithm of the nanoseconds of a tick, which lasts 0.27 s.
const TICK_BITS: u32 = 28;
/// Logarithm of the number of buckets in a level.
const LEVEL_BITS: u32 = 6;
const BUCKETS: usize = 1 << LEVEL_BITS;
/// Number of levels, for all ticks that the clock can have.
const LEVELS: usize = 6;
const LAST_TICK: u64 = Nanos::MAX >> TICK_BITS;
/// Number of buckets. The links of nodes come after those of the buckets.
const HEADS: usize = LEVELS * BUCKETS;

/// Time of the end of an entry that never ends.
pub(super) const NEVER: Nanos = Nanos::MAX;

/// Neighbours in the list of a bucket, which is a ring through the bucket itself. A place that is in no list is
/// its own neighbour.
#[derive(Clone, Copy)]
struct Neighbours {
    next: u32,
    previous: u32,
}

pub(super) struct Wheel {
    /// Links of the buckets, and then of the nodes. Empty until an entry has an end.
    links: Vec<Neighbours>,
    /// Buckets that have entries: a bit for each, in each level.
    occupied: [u64; LEVELS],
    /// Tick up to which no bucket has begun that is not at work.
    tick: u64,
}

impl Wheel {
    pub(super) const fn new() -> Self {
        Self { links: Vec::new(), occupied: [0; LEVELS], tick: 0 }
    }

    /// Schedules the end of a node, in the place of an earlier end.
    #[allow(clippy::cast_possible_truncation, reason = "the lowest bits select the bucket")]
    pub(super) fn schedule(&mut self, node: u32, end: Nanos) {
        self.cancel(node);
        if end == NEVER {
            return;
        }
        let place = HEADS + node as usize;
        self.reach(place);
        // Rounded up: an entry is over when its tick begins.
        let tick = end.div_ceil(1 << TICK_BITS).clamp(self.tick, LAST_TICK);
        let level = level(tick ^ self.tick);
        let slot = (tick >> shift(level)) as usize % BUCKETS;
        self.occupied[level] |= 1 << slot;
        self.link(level * BUCKETS + slot, place);
    }

    /// Takes a node out of its bucket, if it is in one.
    pub(super) fn cancel(&mut self, node: u32) {
        let place = HEADS + node as usize;
        if place < self.links.len() {
            self.unlink(place);
        }
    }

    /// Takes the next node out of a bucket whose time has begun; `None` if there is none.
    ///
    /// The node is not over yet if its bucket is not of level 0. The caller schedules it again in this case.
    pub(super) fn take_next(&mut self, now: Nanos) -> Option<u32> {
        let now = now >> TICK_BITS;
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let slot = self.occupied[level].trailing_zeros() as usize;
            let start = self.start(level, slot);
            if start <= now {
                // The buckets of lower levels are before this one. So they are empty, or this one began before.
                self.tick = self.tick.max(start);
                let place = self.links[level * BUCKETS + slot].next as usize;
                self.unlink(place);
                return u32::try_from(place - HEADS).ok();
            }
        }
        // All buckets are still to come, so a later tick of the wheel changes the level of no entry.
        self.tick = self.tick.max(now.min(LAST_TICK));
        None
    }

    pub(super) fn clear(&mut self) {
        *self = Self { tick: self.tick, ..Self::new() };
    }

    /// Returns the first tick of a bucket.
    fn start(&self, level: usize, slot: usize) -> u64 {
        let above = shift(level + 1);
        (self.tick >> above << above) | (slot as u64) << shift(level)
    }

    /// Grows the links up to a place.
    fn reach(&mut self, place: usize) {
        let own = |place: usize| {
            let place = u32::try_from(place).expect("there are fewer than 2^32 places");
            Neighbours { next: place, previous: place }
        };
        let len = self.links.len();
        self.links.extend((len..=place).map(own));
    }

    /// Adds a place that is in no list to that of a bucket, at its end.
    #[expect(clippy::cast_possible_truncation, reason = "`reach` has checked it")]
    fn link(&mut self, head: usize, place: usize) {
        let last = self.links[head].previous;
        self.links[place] = Neighbours { next: head as u32, previous: last };
        self.links[last as usize].next = place as u32;
        self.links[head].previous = place as u32;
    }

    /// Takes a place out of its list, if it is in one.
    #[expect(clippy::cast_possible_truncation, reason = "`reach` has checked it")]
    fn unlink(&mut self, place: usize) {
        let Neighbours { next, previous } = self.links[place];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.links[place] = Neighbours { next: place as u32, previous: place as u32 };
        let (next, previous) = (next as usize, previous as usize);
        if next == previous && next < HEADS {
            self.occupied[next / BUCKETS] &= !(1 << (next % BUCKETS));
        }
    }

    #[cfg(test)]
    pub(super) fn bytes_per_node() -> usize {
        size_of::<Neighbours>()
    }
}

/// Returns the level of an entry by the bits in which its tick differs from that of the wheel.
fn level(difference: u64) -> usize {
    (difference | 1).ilog2() as usize / LEVEL_BITS as usize
}

/// Returns the logarithm of the ticks of a bucket.
#[expect(clippy::cast_possible_truncation, reason = "there are few levels")]
fn shift(level: usize) -> u32 {
    LEVEL_BITS * level as u32
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the numbers are small")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const TICK: Nanos = 1 << TICK_BITS;

    /// Nodes that are over, in up to `steps` steps. Nodes that are not are scheduled again, as the policy does.
    fn take(wheel: &mut Wheel, ends: &BTreeMap<u32, Nanos>, now: Nanos, steps: usize) -> Vec<u32> {
        let mut over = Vec::new();
        for _ in 0..steps {
            let Some(node) = wheel.take_next(now) else { break };
            if ends[&node] <= now {
                over.push(node);
            } else {
                wheel.schedule(node, ends[&node]);
            }
        }
        over
    }

    fn take_all(wheel: &mut Wheel, ends: &BTreeMap<u32, Nanos>, now: Nanos) -> Vec<u32> {
        take(wheel, ends, now, usize::MAX)
    }

    #[test]
    fn node_is_taken_at_most_a_tick_after_its_end_at_any_distance() {
        for end in (0..64).map(|bit| (1_u64 << bit) + 12_345).filter(|end| *end < NEVER - TICK) {
            let (mut wheel, ends) = (Wheel::new(), BTreeMap::from([(7, end)]));
            wheel.schedule(7, end);
            for early in [end / 3, end / 2, end - 1] {
                assert_eq!(take_all(&mut wheel, &ends, early), [0; 0], "{early} of {end}");
            }
            assert_eq!(take_all(&mut wheel, &ends, end + TICK), [7], "{end}");
            assert_eq!(take_all(&mut wheel, &ends, Nanos::MAX), [0; 0]);
        }
    }

    #[test]
    fn node_without_an_end_needs_no_links() {
        let mut wheel = Wheel::new();
        wheel.schedule(7, NEVER);
        wheel.cancel(7);
        assert_eq!((wheel.take_next(Nanos::MAX), wheel.links.capacity()), (None, 0));
        wheel.schedule(7, 1);
        wheel.schedule(7, NEVER);
        assert_eq!((wheel.take_next(Nanos::MAX), wheel.occupied), (None, [0; LEVELS]));
        assert_eq!(Wheel::bytes_per_node(), 8);
    }

    #[test]
    fn end_in_the_past_is_taken_at_once() {
        let (mut wheel, ends) = (Wheel::new(), BTreeMap::from([(0, TICK)]));
        assert_eq!(take_all(&mut wheel, &ends, 1_000 * TICK), [0; 0]);
        wheel.schedule(0, TICK);
        assert_eq!(take_all(&mut wheel, &ends, 1_000 * TICK), [0]);
    }

    /// The wheel agrees with a sorted map over random schedules, cancellations and interrupted passes.
    #[test]
    fn nodes_are_taken_by_their_ends_between_any_changes() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for distance in [3, 100, 10_000, 1_000_000] {
            let (mut wheel, mut ends, mut now) = (Wheel::new(), BTreeMap::new(), 0);
            for _ in 0..20_000 {
                match next(10) {
                    0..5 => {
                        let (node, end) = (next(500) as u32, now + next(distance) * TICK / 2);
                        wheel.schedule(node, end);
                        ends.insert(node, end);
                    }
                    5 => {
                        let node = next(500) as u32;
                        wheel.cancel(node);
                        ends.remove(&node);
                    }
                    6..9 => {
                        for node in take(&mut wheel, &ends, now, next(4) as usize) {
                            assert!(ends.remove(&node).is_some_and(|end| end <= now));
                        }
                    }
                    _ => now += next(distance) * TICK / 7,
                }
                if next(200) == 0 {
                    for node in take_all(&mut wheel, &ends, now) {
                        assert!(ends.remove(&node).is_some_and(|end| end <= now));
                    }
                    assert!(ends.values().all(|end| end + TICK > now), "none is over for a tick");
                }
            }
            assert!(!ends.is_empty());
            assert_eq!(take_all(&mut wheel, &ends, Nanos::MAX).len(), ends.len());
            assert_eq!(wheel.occupied, [0; LEVELS]);
        }
    }
}
