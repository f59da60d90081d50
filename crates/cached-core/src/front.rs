//! What a thread has at hand: the entries that it used last, in a table that no other thread touches.
//!
//! A hit in here takes no lock, changes no counter of references and writes to nothing that another thread reads, but for the
//! entry's [count of uses](crate::policy::Uses), until that has enough. It is no copy of the tier, only a shorter way to entries that are in it: an entry knows by itself whether it may be served, and
//! whether it has left the tier. What has left is not used, so that its place is the first to be taken, and it is let go of
//! when somebody [asks](let_go) all threads to.
//!
//! The table is set-associative, with seven ways to a set; of a full set goes what was not used since others came.
//! It grows with what its thread uses, up to [`MOST_SETS`].

use std::{
    cell::RefCell,
    iter, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    kept::Kept,
    key::{self, LARGEST_BUFFER, WriteKey},
    site::Site,
    sync::thread_local,
};

const WAYS: usize = 7;
const FEWEST_SETS: usize = 16;
/// 4 MiB in a thread that uses some hundred thousand entries. They are a sixteenth of their tier at most, and weigh fifty times
/// as much. Tests would take long to fill it.
const MOST_SETS: usize = if cfg!(test) { 1 << 14 } else { 1 << 16 };
/// So many are looked through in one go for what has left, and so many are parted in one go when the table grows.
const SWEPT: usize = 16;
/// Until all sets were looked through, one of so many looks goes the long way for it: the others need not wait for that.
const FOLLOWS: u64 = 4;
/// Into a full set comes one of so many, or what is used once would push out what is used often.
const LOTTERY: usize = 4;
/// What is heavier than this share of all that may be at hand is not worth its place.
const HEAVIEST: u64 = 16;

/// How often all threads were asked to let go of what has left its tier.
static CALLS: AtomicUsize = AtomicUsize::new(0);

thread_local!(static HAND: RefCell<Hand> = const { RefCell::new(Hand::new()) });

struct Hand {
    /// For parts of the key that is being looked for.
    buffer: Vec<u8>,
    /// How often something was looked for.
    looks: u64,
    front: Front,
}

struct Front {
    sets: Vec<Set>,
    /// While the table grows: those of half as many that have not been parted yet, from the first on,
    old: Vec<Set>,
    /// and how many they were.
    olds: usize,
    entries: usize,
    /// Of all entries in it,
    bytes: u64,
    /// and how many there may be.
    most: u64,
    /// Entries that came to full sets.
    crowd: usize,
    /// The next set to be emptied when too much is at hand.
    hand: usize,
    /// Of the [`CALLS`], how many were followed,
    calls: usize,
    /// and how many were heard. They are followed a few sets at a time,
    heard: usize,
    /// of which so many are left,
    unswept: usize,
    /// and this is the next one.
    next: usize,
}

/// One cache line.
#[derive(Default)]
#[repr(align(64))]
struct Set {
    /// A byte of the hash of each way's key, and in the last byte a bit for each way that was used since others came.
    prints: [u8; 8],
    ways: [Option<Arc<Kept>>; WAYS],
}

const USED: usize = WAYS;

/// What `take` makes of an entry under the key that `write` writes, if one is at hand. It is told which of its thread's
/// looks it is.
#[inline]
pub(crate) fn find<T>(
    site: &Site,
    write: impl WriteKey,
    take: impl Fn(&Arc<Kept>, u64) -> Option<T>,
) -> Option<T> {
    let found = HAND.try_with(|hand| {
        // It is lent if an argument that is written, or a value that is copied or dropped, calls a cached function.
        let hand = &mut *hand.try_borrow_mut().ok()?;
        hand.looks = hand.looks.wrapping_add(1);
        if hand.front.calls != CALLS.load(Ordering::Relaxed) && hand.looks.is_multiple_of(FOLLOWS) {
            return None;
        }
        if hand.buffer.capacity() > LARGEST_BUFFER {
            hand.buffer = Vec::new();
        }
        let hash = key::hash(&mut hand.buffer, site, &write).ok()?;
        hand.front.find(hash, |kept| {
            let is_it = kept.key().is_written(hash, &mut hand.buffer, site, &write);
            if is_it { take(kept, hand.looks) } else { None }
        })
    });
    found.ok().flatten()
}

/// Has the entry at hand from now on.
pub(crate) fn keep(kept: &Arc<Kept>) {
    // The values of those who leave are the user's code: not under the borrow.
    let _gone = HAND.try_with(|hand| {
        let front = &mut hand.try_borrow_mut().ok()?.front;
        Some((front.follow_calls(), front.keep(kept)))
    });
}

/// This thread lets go of what has left its tier, if that was asked for. Returns which of its looks it is at.
pub(crate) fn come_by() -> u64 {
    let come = HAND.try_with(|hand| {
        let hand = &mut *hand.try_borrow_mut().ok()?;
        Some((hand.looks, hand.front.follow_calls()))
    });
    // What leaves is the user's code: it is dropped here, and not under the borrow.
    come.ok().flatten().map_or(0, |(looks, _gone)| looks)
}

/// All threads let go of what has left its tier, each when it comes by the next time.
pub(crate) fn let_go() {
    // Whoever follows sees what has left before.
    CALLS.fetch_add(1, Ordering::Release);
}

impl Drop for Hand {
    /// A value whose drop panics must not take the process with it when its thread ends.
    fn drop(&mut self) {
        for kept in
            self.front.old.drain(..).chain(self.front.sets.drain(..)).flat_map(|set| set.ways).flatten()
        {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(kept)));
        }
    }
}

impl Hand {
    const fn new() -> Self {
        Self { buffer: Vec::new(), looks: 0, front: Front::new() }
    }
}

impl Front {
    const fn new() -> Self {
        Self {
            sets: Vec::new(),
            old: Vec::new(),
            olds: 0,
            entries: 0,
            bytes: 0,
            most: 0,
            crowd: 0,
            hand: 0,
            calls: 0,
            heard: 0,
            unswept: 0,
            next: 0,
        }
    }

    #[inline]
    fn find<T>(&mut self, hash: u64, mut take: impl FnMut(&Arc<Kept>) -> Option<T>) -> Option<T> {
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
        for way in &mut old.ways {
            let Some(kept) = way.take_if(|kept| !kept.is_retired()) else { continue };
            let set = &mut self.sets[place(kept.key().hash(), 2 * self.olds)];
            match set.place_for_old(&kept) {
                Some(free) => has_come |= set.put(free, kept).is_none(),
                None => *way = Some(kept),
            }
        }
        has_come
    }

    /// Whoever had to leave for it.
    fn keep(&mut self, kept: &Arc<Kept>) -> Left {
        let (weight, mut left) = (u64::from(kept.weight), Left::default());
        self.most = self.most.max(kept.home().at_hand());
        if weight > self.most / HEAVIEST {
            return left;
        }
        if self.sets.is_empty() {
            self.sets.resize_with(FEWEST_SETS, Set::default);
        }
        self.part(&mut left.others);
        while self.bytes + weight > self.most {
            left.others.extend(self.empty_one());
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
        self.count_out(&left.one);
        left
    }

    fn count_out<'a>(&mut self, left: impl IntoIterator<Item = &'a Arc<Kept>>) {
        for kept in left {
            self.entries -= 1;
            self.bytes -= u64::from(kept.weight);
        }
    }

    /// What is in the next set.
    fn empty_one(&mut self) -> impl Iterator<Item = Arc<Kept>> + use<> {
        let set = self.old.pop().unwrap_or_else(|| {
            self.hand = (self.hand + 1) % self.sets.len();
            mem::take(&mut self.sets[self.hand])
        });
        self.count_out(set.ways.iter().flatten());
        set.ways.into_iter().flatten()
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
    fn part(&mut self, left: &mut Vec<Arc<Kept>>) {
        for _ in 0..SWEPT {
            let Some(set) = self.old.pop() else { break };
            for kept in set.ways.into_iter().flatten() {
                let set = &mut self.sets[place(kept.key().hash(), 2 * self.olds)];
                let free = if kept.is_retired() { None } else { set.place_for_old(&kept) };
                match free {
                    Some(free) => drop(set.put(free, kept)),
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
    fn follow_calls(&mut self) -> Vec<Arc<Kept>> {
        let calls = CALLS.load(Ordering::Acquire);
        if self.calls == calls {
            return Vec::new();
        }
        if mem::replace(&mut self.heard, calls) != calls {
            self.unswept = self.sets.len();
        }
        let mut left = Vec::new();
        self.part(&mut left);
        if !self.old.is_empty() {
            return left;
        }
        let mut left_now = Vec::new();
        for _ in 0..SWEPT.min(self.unswept) {
            self.next = (self.next + 1) % self.sets.len();
            self.unswept -= 1;
            let ways = &mut self.sets[self.next].ways;
            left_now.extend(ways.iter_mut().filter_map(|way| way.take_if(|kept| kept.is_retired())));
        }
        if self.unswept == 0 {
            self.calls = calls;
        }
        self.count_out(&left_now);
        left.append(&mut left_now);
        left
    }
}

/// Entries that are not at hand any more.
#[derive(Default)]
struct Left {
    /// As a rule there is no more than this.
    one: Option<Arc<Kept>>,
    others: Vec<Arc<Kept>>,
}

impl Set {
    /// The way of an entry of the same key.
    fn same(&self, kept: &Kept) -> Option<usize> {
        let is_same = |way: &usize| self.ways[*way].as_ref().is_some_and(|there| there.is_same(kept));
        ways_with(self.prints, print(kept.key().hash())).find(is_same)
    }

    /// None if a newer one of its key has come, or too many others.
    fn place_for_old(&self, kept: &Kept) -> Option<usize> {
        if self.same(kept).is_none() { self.free() } else { None }
    }

    fn free(&self) -> Option<usize> {
        self.ways.iter().position(Option::is_none)
    }

    /// Returns who was there.
    fn put(&mut self, way: usize, kept: Arc<Kept>) -> Option<Arc<Kept>> {
        self.prints[way] = print(kept.key().hash());
        self.prints[USED] &= !(1 << way);
        self.ways[way].replace(kept)
    }

    /// One that was not used since others came, or any, if all were.
    fn least_used(&mut self, any: usize) -> usize {
        let way = self.prints[USED].trailing_ones() as usize;
        if way < WAYS {
            return way;
        }
        self.prints[USED] = 0;
        any % WAYS
    }
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
fn place(hash: u64, sets: usize) -> usize {
    (hash >> 20) as usize & sets.wrapping_sub(1)
}

/// The bits that do not tell the place.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "any of its bits will do")]
fn print(hash: u64) -> u8 {
    hash as u8
}

/// The ways with this print, and now and then another one: all bytes are compared at once, as in "Bit Twiddling Hacks",
/// "Determine if a word has a byte equal to n".
#[inline]
fn ways_with(prints: [u8; 8], print: u8) -> impl Iterator<Item = usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x0080_8080_8080_8080;
    // A byte of this is zero where the print is the same.
    let differs = u64::from_le_bytes(prints) ^ (ONES * u64::from(print));
    let mut same = differs.wrapping_sub(ONES) & !differs & HIGHS;
    iter::from_fn(move || {
        let way = (same != 0).then(|| same.trailing_zeros() as usize / 8)?;
        same &= same - 1;
        Some(way)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        claim::Claim,
        functions::Functions,
        kept::{Home, Parts},
        key::KeyRef,
        line::Line,
        marks::Marks,
        slot::{Meta, Value},
    };

    const SITE: Site = Site::prefix("x");

    fn entry(home: &Arc<Home>, n: u32, weight: u32) -> Arc<Kept> {
        let meta = Meta::new(0, Duration::ZERO, Duration::MAX, 0);
        let (tags, line) = (Box::default(), Line::certain());
        let mut bytes = Vec::new();
        Arc::new(Kept::new(Parts {
            key: KeyRef::write(&mut bytes, &SITE, |writer| writer.part(&n)).unwrap().owned(),
            home: home.clone(),
            slot: Arc::new(Value { meta, value: n }),
            claim: Claim { mark: Marks::new().of("x"), tags, line, checked: 0 },
            stamp: 0,
            rests_until: 0,
            function: Functions::new().of("x").clone(),
            heat: None,
            version: 0,
            weight,
        }))
    }

    fn is_found(kept: &Arc<Kept>, n: u32) -> bool {
        let same = |found: &Arc<Kept>, _| Arc::ptr_eq(found, kept).then_some(());
        find(&SITE, |writer| writer.part(&n), same).is_some()
    }

    /// Whether it is found when all calls are followed: other tests call as well, at any moment.
    fn has(kept: &Arc<Kept>, n: u32) -> bool {
        loop {
            come_by();
            let is_found = is_found(kept, n);
            if HAND.with_borrow(|hand| hand.front.calls) == CALLS.load(Ordering::Relaxed) {
                return is_found;
            }
        }
    }

    /// Each test has a thread, and so a front, of its own.
    fn state<T>(read: impl FnOnce(&Front) -> T) -> T {
        HAND.with_borrow(|hand| {
            let front = &hand.front;
            let there = || front.old.iter().chain(&front.sets).flat_map(|set| &set.ways).flatten();
            assert_eq!(there().count(), front.entries);
            assert_eq!(there().map(|kept| u64::from(kept.weight)).sum::<u64>(), front.bytes);
            read(front)
        })
    }

    #[test]
    fn what_is_kept_is_found_and_nothing_else() {
        let home = Home::new(1 << 30);
        let (one, other) = (entry(&home, 1, 100), entry(&Home::new(1 << 30), 1, 100));
        assert!(!has(&one, 1));
        keep(&one);
        assert!(has(&one, 1) && !has(&one, 2));
        keep(&other);
        assert!(has(&one, 1) && has(&other, 1), "of two caches");
        let newer = entry(&home, 1, 50);
        keep(&newer);
        assert!(has(&newer, 1) && !has(&one, 1) && has(&other, 1));
        state(|front| assert_eq!((front.entries, front.bytes), (2, 150)));
    }

    #[test]
    fn all_ways_with_a_print_are_found_and_no_other_byte_is_one() {
        const NEAR: [u8; 5] = [0, 1, 2, 0x80, 0xFF];
        for number in 0..NEAR.len().pow(8) {
            let mut rest = number;
            let prints = [(); 8].map(|()| {
                let near = NEAR[rest % NEAR.len()];
                rest /= NEAR.len();
                near
            });
            let print = prints[USED];
            let (mut ways, mut last) = (ways_with(prints, print), None);
            for way in (0..WAYS).filter(|way| prints[*way] == print) {
                last = ways.find(|found| *found >= way);
                assert_eq!(last, Some(way), "{prints:?}");
            }
            assert!(ways.all(|way| way < WAYS && last.is_some_and(|last| last < way)), "{prints:?}");
        }
    }

    #[test]
    fn of_a_full_set_goes_what_was_not_used_since_others_came() {
        let home = Home::new(1 << 30);
        let mut set = Set::default();
        for way in 0..WAYS {
            assert_eq!(set.free(), Some(way));
            assert!(set.put(way, entry(&home, 1, 100)).is_none());
        }
        assert_eq!((set.free(), set.least_used(3)), (None, 0));
        set.prints[USED] = 0b101_1011;
        assert_eq!((set.least_used(3), set.prints[USED]), (2, 0b101_1011));
        assert!(set.put(3, entry(&home, 1, 100)).is_some());
        assert_eq!(set.prints[USED], 0b101_0011, "it was not used yet");
        set.prints[USED] = 0b111_1111;
        assert_eq!((set.least_used(WAYS + 3), set.prints[USED]), (3, 0));
    }

    #[test]
    fn what_is_found_was_used() {
        let home = Home::new(1 << 30);
        let kept = entry(&home, 1, 100);
        keep(&kept);
        let used = || state(|front| front.sets.iter().map(|set| set.prints[USED].count_ones()).sum::<u32>());
        assert!(used() == 0 && has(&kept, 1) && used() == 1);
        keep(&kept);
        assert_eq!(used(), 0);
    }

    #[test]
    fn it_grows_with_what_is_used_and_not_for_ever() {
        let home = Home::new(1 << 30);
        let all: Vec<_> = (0..300_000).map(|n| entry(&home, n, 100)).collect();
        let share = |n: usize| {
            (0..8).for_each(|_| all[..n].iter().for_each(keep));
            let found = (0..).zip(&all[..n]).filter(|(n, kept)| has(kept, *n)).count();
            (100 * found / n, state(|front| front.sets.len()))
        };
        assert!(share(10) == (100, FEWEST_SETS));
        let (percent, sets) = share(1000);
        assert!(percent >= 95 && sets <= 512, "{percent} % in {sets} sets");
        let (percent, sets) = share(300_000);
        assert!((20..=38).contains(&percent) && sets == MOST_SETS, "{percent} % in {sets} sets");
    }

    #[test]
    fn what_is_used_often_stays_when_others_are_used_once() {
        const HOT: usize = 200;
        let home = Home::new(1 << 30);
        let all: Vec<_> = (0..300_000).map(|n| entry(&home, n, 100)).collect();
        let mut lost = 0;
        for (n, kept) in all.iter().enumerate() {
            keep(kept);
            if n % 300 == 0 && n > HOT {
                for (n, kept) in (0..).zip(&all[..HOT]) {
                    if !has(kept, n) {
                        lost += 1;
                        keep(kept);
                    }
                }
            }
        }
        assert!(lost < 10, "{lost} of {HOT}");
        let newest = &all[all.len() - 5_000..];
        let came = newest.iter().filter(|kept| Arc::strong_count(kept) > 1).count();
        assert!(
            (1_000..1_500).contains(&came),
            "one of {LOTTERY} comes into a full set, but {came} of 5000 did"
        );
    }

    #[test]
    fn its_bytes_are_bounded_and_what_is_heavy_stays_away() {
        let home = Home::new(1 << 20);
        assert_eq!(home.at_hand(), 64 << 10);
        let heavy = entry(&home, 1, 5_000);
        keep(&heavy);
        assert!(!has(&heavy, 1));
        let all: Vec<_> = (0..1000).map(|n| entry(&home, n, 1_000)).collect();
        for kept in &all {
            keep(kept);
            state(|front| assert!(front.bytes <= 64 << 10));
        }
        state(|front| assert!(front.bytes > 32 << 10));
        assert!(all.iter().filter(|kept| Arc::strong_count(kept) > 1).count() < 66);
    }

    #[test]
    fn what_has_left_goes_when_that_is_asked() {
        let home = Home::new(1 << 30);
        let all: Vec<_> = (0..60).map(|n| entry(&home, n, 100)).collect();
        all.iter().for_each(keep);
        let held = |kept: &&Arc<Kept>| Arc::strong_count(kept) > 1;
        let before = all.iter().filter(held).count();
        assert!(before > 30);
        all[..30].iter().for_each(|kept| kept.retire());
        assert_eq!(all.iter().filter(held).count(), before);
        let_go();
        let looks = (0..FOLLOWS).filter(|_| is_found(&all[59], 59)).count() as u64;
        assert!((1..FOLLOWS).contains(&looks), "one of them has to follow, the others need not");
        keep(&all[59]);
        assert!(has(&all[59], 59));
        assert_eq!(all[..30].iter().filter(held).count(), 0);
        assert!(all[30..].iter().filter(held).count() > 10);
        state(|_| ());
    }

    #[test]
    fn of_many_a_few_sets_are_looked_through_at_a_time_and_all_in_the_end() {
        let home = Home::new(1 << 30);
        let all: Vec<_> = (0..5_000).map(|n| entry(&home, n, 100)).collect();
        all.iter().for_each(keep);
        for kept in &all {
            kept.retire();
        }
        let held = || all.iter().filter(|kept| Arc::strong_count(kept) > 1).count();
        let (before, sets) = (held(), state(|front| front.sets.len()));
        assert!(before > 4_000 && sets >= 1_000);
        let_go();
        come_by();
        assert!(held() < before && held() > before / 2);
        // What is asked for again and again does not keep the rest waiting.
        for _ in 1..sets / SWEPT {
            let_go();
            come_by();
        }
        assert_eq!(held(), 0);
        state(|front| assert_ne!(front.calls, CALLS.load(Ordering::Relaxed)));
        // Other tests ask for it as well, but not for ever.
        while state(|front| front.calls != CALLS.load(Ordering::Relaxed)) {
            come_by();
        }
    }

    #[test]
    fn while_the_table_grows_all_is_there_once_and_the_newest_of_each_key() {
        let home = Home::new(1 << 30);
        let all: Vec<_> = (0..2_000).map(|n| entry(&home, n, 100)).collect();
        let mut next = all.iter();
        while state(|front| front.old.len() <= 2 * SWEPT) {
            keep(next.next().unwrap());
        }
        let before = &all[..all.len() - next.len()];
        let held: Vec<_> = (0..).zip(before).filter(|(_, kept)| Arc::strong_count(kept) > 1).collect();
        assert!(held.len() > before.len() * 95 / 100);
        assert!(held.iter().all(|(n, kept)| has(kept, *n)));
        let newer = entry(&home, held[0].0, 100);
        keep(&newer);
        held[0].1.retire();
        assert!(has(&newer, held[0].0));
        while state(|front| !front.old.is_empty()) {
            keep(&newer);
        }
        assert!(has(&newer, held[0].0) && held[1..].iter().all(|(n, kept)| has(kept, *n)));
        assert_eq!(Arc::strong_count(held[0].1), 1);
        state(|front| assert_eq!(front.entries, held.len()));
    }

    #[test]
    fn what_has_left_is_found_when_the_table_grows_meanwhile() {
        let home = Home::new(1 << 30);
        let all: Vec<_> = (0..2_000).map(|n| entry(&home, n, 100)).collect();
        let (before, after) = all.split_at(890);
        before.iter().for_each(keep);
        let sets = state(|front| front.sets.len());
        assert!(sets > 2 * SWEPT);
        before.iter().step_by(10).for_each(|kept| kept.retire());
        let_go();
        come_by();
        let mut after = after.iter();
        while state(|front| front.sets.len()) == sets {
            let _ = HAND.with_borrow_mut(|hand| hand.front.keep(after.next().unwrap()));
        }
        while state(|front| front.calls != CALLS.load(Ordering::Relaxed)) {
            come_by();
        }
        assert!(before.iter().step_by(10).all(|kept| Arc::strong_count(kept) == 1));
    }

    #[test]
    fn what_has_left_is_counted_once_and_until_nobody_holds_it() {
        let home = Home::new(1 << 30);
        let (one, other) = (entry(&home, 1, 100), entry(&home, 2, 7));
        keep(&one);
        one.retire();
        one.retire();
        other.retire();
        assert_eq!(home.retired(), 107);
        drop((one, other));
        assert_eq!(home.retired(), 100, "it is at hand");
        let_go();
        come_by();
        assert_eq!(home.retired(), 0);
    }

    #[test]
    fn no_large_key_stays_in_the_buffer() {
        let home = Home::new(1 << 30);
        let kept = entry(&home, 1, 100);
        keep(&kept);
        // Sorted in the buffer, as a text alone would never be in it.
        let long = BTreeMap::from([(1, "x".repeat(1 << 20))]);
        assert!(find(&SITE, |writer| writer.part(&long), |_, _| Some(())).is_none());
        HAND.with_borrow(|hand| assert!(hand.buffer.capacity() > LARGEST_BUFFER));
        assert!(has(&kept, 1));
        HAND.with_borrow(|hand| assert!(hand.buffer.capacity() <= LARGEST_BUFFER));
        assert!(find(&SITE, |writer| writer.part(&(&long, f64::NAN)), |_, _| Some(())).is_none());
        assert!(has(&kept, 1));
        HAND.with_borrow(|hand| assert!(hand.buffer.capacity() <= LARGEST_BUFFER));
    }
}
