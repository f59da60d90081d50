use std::{collections::BTreeMap, thread, time::Duration};

use super::{
    set::{Set, USED, WAYS, ways_with},
    table::{FEWEST_SETS, LOTTERY, MOST_SETS, SWEPT},
    *,
};
use crate::{
    coherence::{epoch::Epochs, validity::Validity},
    key::{KeyRef, Part},
    l1::entry::{EntryParts, MemoryBudget},
    telemetry::functions::FunctionRegistry,
    tier::feed::ChangeFeed,
    value::erased::{Freshness, Value},
};

const SITE: FunctionSpec = FunctionSpec::prefix("x");

fn entry(home: &Arc<MemoryBudget>, n: u32, weight: u32) -> Arc<Entry> {
    let meta = Freshness::new(0, Duration::ZERO, Duration::MAX, 0);
    let (tags, line) = (Box::default(), ChangeFeed::certain());
    let mut bytes = Vec::new();
    Arc::new(Entry::new(EntryParts {
        key: KeyRef::write(&mut bytes, &SITE, &Part(&n)).unwrap().owned(),
        home: home.clone(),
        slot: Arc::new(Value { meta, value: n }),
        claim: Validity { mark: Epochs::new().of("x"), tags, line, checked: 0 },
        stamp: 0,
        rests_until: 0,
        function: FunctionRegistry::new().of(&SITE).clone(),
        heat: None,
        weight,
    }))
}

fn is_found(kept: &Arc<Entry>, n: u32) -> bool {
    let same = |found: &Arc<Entry>, _| Arc::ptr_eq(found, kept).then_some(());
    find(&SITE, &Part(&n), same).is_some()
}

/// Returns whether an entry is found once all purges are complete. Other tests request them at any time.
fn has(kept: &Arc<Entry>, n: u32) -> bool {
    loop {
        come_by();
        let is_found = is_found(kept, n);
        if HAND.with_borrow(|hand| hand.front.calls) == CALLS.load(Ordering::Relaxed) {
            return is_found;
        }
    }
}

/// Reads the table of this test and checks its totals. Each test has its own thread, and so its own table.
fn state<T>(read: impl FnOnce(&Table) -> T) -> T {
    HAND.with_borrow(|hand| {
        let front = &hand.front;
        let there = || front.old.iter().chain(&front.sets).flat_map(|set| &set.ways).flatten();
        assert_eq!(there().count(), front.entries);
        assert_eq!(there().map(|kept| u64::from(kept.weight)).sum::<u64>(), front.bytes);
        read(front)
    })
}

#[test]
fn thread_cache_finds_exactly_the_entries_it_holds() {
    let home = MemoryBudget::new(1 << 30);
    let (one, other) = (entry(&home, 1, 100), entry(&MemoryBudget::new(1 << 30), 1, 100));
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
    let home = MemoryBudget::new(1 << 30);
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
fn found_entry_is_marked_as_used() {
    let home = MemoryBudget::new(1 << 30);
    let kept = entry(&home, 1, 100);
    keep(&kept);
    let used = || state(|front| front.sets.iter().map(|set| set.prints[USED].count_ones()).sum::<u32>());
    assert!(used() == 0 && has(&kept, 1) && used() == 1);
    keep(&kept);
    assert_eq!(used(), 0);
}

#[test]
fn it_grows_with_what_is_used_and_not_for_ever() {
    let home = MemoryBudget::new(1 << 30);
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
fn frequently_used_entries_stay_in_thread_cache_during_a_scan() {
    const HOT: usize = 200;
    let home = MemoryBudget::new(1 << 30);
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
    assert!(lost < 40, "{lost} of {HOT}");
    let newest = &all[all.len() - 5_000..];
    let came = newest.iter().filter(|kept| Arc::strong_count(kept) > 1).count();
    assert!((1_000..1_500).contains(&came), "one of {LOTTERY} comes into a full set, but {came} of 5000 did");
}

#[test]
fn a_thread_has_its_share_and_what_is_free_of_what_all_may_have() {
    const SHARE: u64 = 64 << 10;
    let home = MemoryBudget::new(16 * SHARE);
    assert_eq!(home.share(), SHARE);
    let heavy = entry(&home, 0, 5_000);
    keep(&heavy);
    assert!(!has(&heavy, 0));
    let all: Vec<_> = (0..2_000).map(|n| entry(&home, n, 1_000)).collect();
    let fill = || {
        for kept in &all {
            keep(kept);
            state(|front| assert!(front.bytes <= SHARE || home.may_hold(0)));
        }
        state(|front| front.bytes)
    };
    let alone = fill();
    assert!((7 * SHARE..=8 * SHARE).contains(&alone), "{alone} bytes");
    // A later thread gets its share, and takes nothing from earlier ones.
    let other = thread::scope(|scope| scope.spawn(fill).join().unwrap());
    assert!((SHARE * 3 / 4..=SHARE).contains(&other), "{other} bytes");
    assert_eq!(state(|front| front.bytes), alone);
    // That thread has ended, and its entries with it.
    assert!(!home.may_hold(8 * SHARE - alone + 1) && home.may_hold(8 * SHARE - alone));
    for kept in &all {
        kept.retire();
    }
    let_go();
    while state(|front| front.bytes) > 0 {
        come_by();
    }
    assert!(home.may_hold(8 * SHARE) && !home.may_hold(8 * SHARE + 1));
}

#[test]
fn used_entries_stay_when_thread_cache_evicts_for_its_byte_limit() {
    let home = MemoryBudget::new(1 << 18);
    let all: Vec<_> = (0..10_000).map(|n| entry(&home, n, 200)).collect();
    let (hot, others) = all.split_at(10);
    hot.iter().for_each(keep);
    let mut lost = 0;
    for kept in others {
        keep(kept);
        for (n, kept) in (0..).zip(hot) {
            if !has(kept, n) {
                lost += 1;
                keep(kept);
            }
        }
    }
    let held = all.iter().filter(|kept| Arc::strong_count(kept) > 1).count();
    assert!(lost < 20, "{lost} times one of 10 was not there");
    assert!((500..=655).contains(&held), "{held} of 655");
}

#[test]
fn purge_drops_retired_entries_from_the_thread_cache() {
    let home = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..60).map(|n| entry(&home, n, 100)).collect();
    all.iter().for_each(keep);
    let held = |kept: &&Arc<Entry>| Arc::strong_count(kept) > 1;
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
    let home = MemoryBudget::new(1 << 30);
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
    // Repeated requests do not keep the remaining sets waiting.
    for _ in 1..sets / SWEPT {
        let_go();
        come_by();
    }
    assert_eq!(held(), 0);
    state(|front| assert_ne!(front.calls, CALLS.load(Ordering::Relaxed)));
    // Other tests request purges as well, but not for ever.
    while state(|front| front.calls != CALLS.load(Ordering::Relaxed)) {
        come_by();
    }
}

#[test]
fn while_the_table_grows_all_is_there_once_and_the_newest_of_each_key() {
    let home = MemoryBudget::new(1 << 30);
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
fn use_marks_survive_growth_of_the_table() {
    let home = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..2_000).map(|n| entry(&home, n, 100)).collect();
    let (before, after) = all.split_at(500);
    before.iter().for_each(keep);
    let bits = || state(|front| front.sets.iter().map(|set| set.prints[USED].count_ones()).sum::<u32>());
    let sets = state(|front| front.sets.len());
    assert!(state(|front| front.old.is_empty()) && bits() == 0);
    let used = (0..).zip(&before[..100]).filter(|(n, kept)| is_found(kept, *n)).count();
    assert!(used > 50);
    let mut after = after.iter();
    while state(|front| front.sets.len() == sets || !front.old.is_empty()) {
        keep(after.next().unwrap());
    }
    // A set that was full by then may have lost an entry.
    assert!(bits() as usize * 10 >= used * 9, "{} of {used}", bits());
}

#[test]
fn purge_drops_retired_entries_when_the_table_grows_meanwhile() {
    let home = MemoryBudget::new(1 << 30);
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
fn retired_entry_is_counted_once_until_its_last_reference_drops() {
    let home = MemoryBudget::new(1 << 30);
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
    let home = MemoryBudget::new(1 << 30);
    let kept = entry(&home, 1, 100);
    keep(&kept);
    // A map, because its elements are sorted in the buffer. A text alone would never be in it.
    let long = BTreeMap::from([(1, "x".repeat(1 << 20))]);
    assert!(find(&SITE, &Part(&long), |_, _| Some(())).is_none());
    HAND.with_borrow(|hand| assert!(hand.buffer.capacity() > LARGEST_BUFFER));
    assert!(has(&kept, 1));
    HAND.with_borrow(|hand| assert!(hand.buffer.capacity() <= LARGEST_BUFFER));
    assert!(find(&SITE, &Part(&(&long, f64::NAN)), |_, _| Some(())).is_none());
    assert!(has(&kept, 1));
    HAND.with_borrow(|hand| assert!(hand.buffer.capacity() <= LARGEST_BUFFER));
}
