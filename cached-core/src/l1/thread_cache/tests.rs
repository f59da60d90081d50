//! Tests: a thread finds exactly the entries that it holds, keeps the used ones, and drops retired ones.

use std::{collections::BTreeMap, thread, time::Duration};

use super::{
    set::{Set, USED_BITS, WAYS, ways_with},
    table::{ADMISSION_INTERVAL, MAX_SETS, MIN_SETS, SETS_PER_CALL},
    *,
};
use crate::{
    coherence::{epoch::Epochs, validity::Validity},
    key::{KeyRef, Part},
    l1::{entry::EntryParts, function::L1Function, memory::MemoryBudget},
    telemetry::functions::FunctionRegistry,
    tier::feed::ChangeFeed,
    value::erased::{Freshness, Value},
};

const SPEC: FunctionSpec = FunctionSpec::prefix("x");

fn entry(memory: &Arc<MemoryBudget>, n: u32, weight: u32) -> Arc<Entry> {
    let freshness = Freshness::new(0, Duration::ZERO, Duration::MAX, 0);
    let (tags, feed) = (Box::default(), ChangeFeed::local());
    let validity = Validity { epoch: Epochs::new().current("x"), tags, feed, checked_at: 0 };
    let function = L1Function::new(FunctionRegistry::new().metrics_of(&SPEC), memory);
    let mut bytes = Vec::new();
    Arc::new(Entry::new(EntryParts {
        key: KeyRef::encode(&mut bytes, &SPEC, &Part(&n)).unwrap().owned(),
        erased: Arc::new(Value { freshness, value: n }),
        proof: function.proof(validity, 0, false, 0),
        function,
        extra: None,
        weight,
    }))
}

fn is_found(entry: &Arc<Entry>, n: u32) -> bool {
    let same = |found: &Arc<Entry>, _| Arc::ptr_eq(found, entry).then_some(());
    find(&SPEC, &Part(&n), same).is_some()
}

/// Returns whether an entry is found once all purges are complete. Other tests request them at any time.
fn has(entry: &Arc<Entry>, n: u32) -> bool {
    loop {
        maintain();
        let is_found = is_found(entry, n);
        if THREAD_CACHE.with_borrow(|cache| cache.table.completed_purge)
            == PURGE_REQUESTS.load(Ordering::Relaxed)
        {
            return is_found;
        }
    }
}

/// Reads the table of this test and checks its totals. Each test has its own thread, and so its own table.
fn state<T>(read: impl FnOnce(&Table) -> T) -> T {
    THREAD_CACHE.with_borrow(|cache| {
        let table = &cache.table;
        let held = || table.old.iter().chain(&table.sets).flat_map(|set| &set.ways).flatten();
        assert_eq!(held().count(), table.entries);
        assert_eq!(held().map(|entry| u64::from(entry.weight)).sum::<u64>(), table.bytes);
        read(table)
    })
}

#[test]
fn thread_cache_finds_exactly_the_entries_it_holds() {
    let memory = MemoryBudget::new(1 << 30);
    let (one, other) = (entry(&memory, 1, 100), entry(&MemoryBudget::new(1 << 30), 1, 100));
    assert!(!has(&one, 1));
    insert(&one);
    assert!(has(&one, 1) && !has(&one, 2));
    insert(&other);
    assert!(has(&one, 1) && has(&other, 1), "of two caches");
    let newer = entry(&memory, 1, 50);
    insert(&newer);
    assert!(has(&newer, 1) && !has(&one, 1) && has(&other, 1));
    state(|table| assert_eq!((table.entries, table.bytes), (2, 150)));
}

#[test]
fn ways_with_finds_every_match_and_never_the_used_bits() {
    const NEAR: [u8; 5] = [0, 1, 2, 0x80, 0xFF];
    for number in 0..NEAR.len().pow(8) {
        let mut rest = number;
        let fingerprints = [(); 8].map(|()| {
            let near = NEAR[rest % NEAR.len()];
            rest /= NEAR.len();
            near
        });
        let fingerprint = fingerprints[USED_BITS];
        let (mut ways, mut last) = (ways_with(fingerprints, fingerprint), None);
        for way in (0..WAYS).filter(|way| fingerprints[*way] == fingerprint) {
            last = ways.find(|found| *found >= way);
            assert_eq!(last, Some(way), "{fingerprints:?}");
        }
        assert!(ways.all(|way| way < WAYS && last.is_some_and(|last| last < way)), "{fingerprints:?}");
    }
}

#[test]
fn full_set_replaces_a_way_that_was_not_used_since_others_came() {
    let memory = MemoryBudget::new(1 << 30);
    let mut set = Set::default();
    for way in 0..WAYS {
        assert_eq!(set.free_way(), Some(way));
        assert!(set.put(way, entry(&memory, 1, 100)).is_none());
    }
    assert_eq!((set.free_way(), set.victim_way(3)), (None, 0));
    set.fingerprints[USED_BITS] = 0b101_1011;
    assert_eq!((set.victim_way(3), set.fingerprints[USED_BITS]), (2, 0b101_1011));
    assert!(set.put(3, entry(&memory, 1, 100)).is_some());
    assert_eq!(set.fingerprints[USED_BITS], 0b101_0011, "it was not used yet");
    set.fingerprints[USED_BITS] = 0b111_1111;
    assert_eq!((set.victim_way(WAYS + 3), set.fingerprints[USED_BITS]), (3, 0));
}

#[test]
fn found_entry_is_marked_as_used() {
    let memory = MemoryBudget::new(1 << 30);
    let entry = entry(&memory, 1, 100);
    insert(&entry);
    let used =
        || state(|table| table.sets.iter().map(|set| set.fingerprints[USED_BITS].count_ones()).sum::<u32>());
    assert!(used() == 0 && has(&entry, 1) && used() == 1);
    insert(&entry);
    assert_eq!(used(), 0);
}

#[test]
fn table_grows_with_the_used_entries_up_to_its_maximum() {
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..300_000).map(|n| entry(&memory, n, 100)).collect();
    let share = |n: usize| {
        (0..8).for_each(|_| all[..n].iter().for_each(insert));
        let found = (0..).zip(&all[..n]).filter(|(n, entry)| has(entry, *n)).count();
        (100 * found / n, state(|table| table.sets.len()))
    };
    assert!(share(10) == (100, MIN_SETS));
    let (percent, sets) = share(1000);
    assert!(percent >= 95 && sets <= 512, "{percent} % in {sets} sets");
    let (percent, sets) = share(300_000);
    assert!((20..=38).contains(&percent) && sets == MAX_SETS, "{percent} % in {sets} sets");
}

#[test]
fn frequently_used_entries_stay_in_thread_cache_during_a_scan() {
    const HOT: usize = 200;
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..300_000).map(|n| entry(&memory, n, 100)).collect();
    let mut lost = 0;
    for (n, entry) in all.iter().enumerate() {
        insert(entry);
        if n % 300 == 0 && n > HOT {
            for (n, entry) in (0..).zip(&all[..HOT]) {
                if !has(entry, n) {
                    lost += 1;
                    insert(entry);
                }
            }
        }
    }
    assert!(lost < 40, "{lost} of {HOT}");
    let newest = &all[all.len() - 5_000..];
    let came = newest.iter().filter(|entry| Arc::strong_count(entry) > 1).count();
    assert!(
        (1_000..1_500).contains(&came),
        "one of {ADMISSION_INTERVAL} comes into a full set, but {came} of 5000 did"
    );
}

#[test]
fn thread_cache_exceeds_its_share_only_while_all_hold_at_most_half_of_the_tier() {
    const SHARE: u64 = 64 << 10;
    let memory = MemoryBudget::new(16 * SHARE);
    assert_eq!(memory.thread_share(), SHARE);
    let heavy = entry(&memory, 0, 5_000);
    insert(&heavy);
    assert!(!has(&heavy, 0));
    let all: Vec<_> = (0..2_000).map(|n| entry(&memory, n, 1_000)).collect();
    let fill = || {
        for entry in &all {
            insert(entry);
            state(|table| assert!(table.bytes <= SHARE || memory.can_reserve(0)));
        }
        state(|table| table.bytes)
    };
    let alone = fill();
    assert!((7 * SHARE..=8 * SHARE).contains(&alone), "{alone} bytes");
    // A later thread gets its share, and takes nothing from earlier ones.
    let other = thread::scope(|scope| scope.spawn(fill).join().unwrap());
    assert!((SHARE * 3 / 4..=SHARE).contains(&other), "{other} bytes");
    assert_eq!(state(|table| table.bytes), alone);
    // That thread has ended, and its entries with it.
    assert!(!memory.can_reserve(8 * SHARE - alone + 1) && memory.can_reserve(8 * SHARE - alone));
    for entry in &all {
        entry.retire();
    }
    request_purge();
    while state(|table| table.bytes) > 0 {
        maintain();
    }
    assert!(memory.can_reserve(8 * SHARE) && !memory.can_reserve(8 * SHARE + 1));
}

#[test]
fn used_entries_stay_when_thread_cache_evicts_for_its_byte_limit() {
    let memory = MemoryBudget::new(1 << 18);
    let all: Vec<_> = (0..10_000).map(|n| entry(&memory, n, 200)).collect();
    let (hot, others) = all.split_at(10);
    hot.iter().for_each(insert);
    let mut lost = 0;
    for entry in others {
        insert(entry);
        for (n, entry) in (0..).zip(hot) {
            if !has(entry, n) {
                lost += 1;
                insert(entry);
            }
        }
    }
    let held = all.iter().filter(|entry| Arc::strong_count(entry) > 1).count();
    assert!(lost < 20, "{lost} times one of 10 was not there");
    assert!((500..=655).contains(&held), "{held} of 655");
}

#[test]
fn purge_drops_retired_entries_from_the_thread_cache() {
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..60).map(|n| entry(&memory, n, 100)).collect();
    all.iter().for_each(insert);
    let held = |entry: &&Arc<Entry>| Arc::strong_count(entry) > 1;
    let before = all.iter().filter(held).count();
    assert!(before > 30);
    all[..30].iter().for_each(|entry| entry.retire());
    assert_eq!(all.iter().filter(held).count(), before);
    request_purge();
    let lookups = (0..PURGE_INTERVAL).filter(|_| is_found(&all[59], 59)).count() as u64;
    assert!((1..PURGE_INTERVAL).contains(&lookups), "one of them has to follow, the others need not");
    insert(&all[59]);
    assert!(has(&all[59], 59));
    assert_eq!(all[..30].iter().filter(held).count(), 0);
    assert!(all[30..].iter().filter(held).count() > 10);
    state(|_| ());
}

#[test]
fn purge_sweeps_a_few_sets_per_call_and_all_in_the_end() {
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..5_000).map(|n| entry(&memory, n, 100)).collect();
    all.iter().for_each(insert);
    for entry in &all {
        entry.retire();
    }
    let held = || all.iter().filter(|entry| Arc::strong_count(entry) > 1).count();
    let (before, sets) = (held(), state(|table| table.sets.len()));
    assert!(before > 4_000 && sets >= 1_000);
    request_purge();
    maintain();
    assert!(held() < before && held() > before / 2);
    // Repeated requests neither keep the remaining sets waiting, nor start the purge over.
    let first = state(|table| table.completed_purge);
    for _ in 1..sets / SETS_PER_CALL {
        request_purge();
        maintain();
    }
    assert_eq!(held(), 0);
    state(|table| {
        assert_ne!(table.completed_purge, first, "the purge is complete, and a later one is requested");
        assert_ne!(table.completed_purge, PURGE_REQUESTS.load(Ordering::Relaxed));
    });
    // Other tests request purges as well, but not for ever.
    while state(|table| table.completed_purge != PURGE_REQUESTS.load(Ordering::Relaxed)) {
        maintain();
    }
}

#[test]
fn growing_table_has_every_entry_once_and_the_newest_of_each_key() {
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..2_000).map(|n| entry(&memory, n, 100)).collect();
    let mut next = all.iter();
    while state(|table| table.old.len() <= 2 * SETS_PER_CALL) {
        insert(next.next().unwrap());
    }
    let before = &all[..all.len() - next.len()];
    let held: Vec<_> = (0..).zip(before).filter(|(_, entry)| Arc::strong_count(entry) > 1).collect();
    assert!(held.len() > before.len() * 95 / 100);
    assert!(held.iter().all(|(n, entry)| has(entry, *n)));
    let newer = entry(&memory, held[0].0, 100);
    insert(&newer);
    held[0].1.retire();
    assert!(has(&newer, held[0].0));
    while state(|table| !table.old.is_empty()) {
        insert(&newer);
    }
    assert!(has(&newer, held[0].0) && held[1..].iter().all(|(n, entry)| has(entry, *n)));
    assert_eq!(Arc::strong_count(held[0].1), 1);
    state(|table| assert_eq!(table.entries, held.len()));
}

#[test]
fn used_bits_survive_growth_of_the_table() {
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..2_000).map(|n| entry(&memory, n, 100)).collect();
    let (before, after) = all.split_at(500);
    before.iter().for_each(insert);
    let bits =
        || state(|table| table.sets.iter().map(|set| set.fingerprints[USED_BITS].count_ones()).sum::<u32>());
    let sets = state(|table| table.sets.len());
    assert!(state(|table| table.old.is_empty()) && bits() == 0);
    let used = (0..).zip(&before[..100]).filter(|(n, entry)| is_found(entry, *n)).count();
    assert!(used > 50);
    let mut after = after.iter();
    while state(|table| table.sets.len() == sets || !table.old.is_empty()) {
        insert(after.next().unwrap());
    }
    // A set that was full by then may have lost an entry.
    assert!(bits() as usize * 10 >= used * 9, "{} of {used}", bits());
}

#[test]
fn purge_drops_retired_entries_when_the_table_grows_meanwhile() {
    let memory = MemoryBudget::new(1 << 30);
    let all: Vec<_> = (0..2_000).map(|n| entry(&memory, n, 100)).collect();
    let (before, after) = all.split_at(890);
    before.iter().for_each(insert);
    let sets = state(|table| table.sets.len());
    assert!(sets > 2 * SETS_PER_CALL);
    before.iter().step_by(10).for_each(|entry| entry.retire());
    request_purge();
    maintain();
    let mut after = after.iter();
    while state(|table| table.sets.len()) == sets {
        let _ = THREAD_CACHE.with_borrow_mut(|cache| cache.table.insert(after.next().unwrap()));
    }
    while state(|table| table.completed_purge != PURGE_REQUESTS.load(Ordering::Relaxed)) {
        maintain();
    }
    assert!(before.iter().step_by(10).all(|entry| Arc::strong_count(entry) == 1));
}

#[test]
fn retired_entry_is_counted_once_until_its_last_reference_drops() {
    let memory = MemoryBudget::new(1 << 30);
    let (one, other) = (entry(&memory, 1, 100), entry(&memory, 2, 7));
    insert(&one);
    one.retire();
    one.retire();
    other.retire();
    assert_eq!(memory.retired_bytes(), 107);
    drop((one, other));
    assert_eq!(memory.retired_bytes(), 100, "the thread cache holds it");
    request_purge();
    maintain();
    assert_eq!(memory.retired_bytes(), 0);
}

#[test]
fn key_buffer_is_released_after_a_large_key() {
    let memory = MemoryBudget::new(1 << 30);
    let entry = entry(&memory, 1, 100);
    insert(&entry);
    // A map, because its elements are sorted in the buffer. A text alone would never be in it.
    let long = BTreeMap::from([(1, "x".repeat(1 << 20))]);
    assert!(find(&SPEC, &Part(&long), |_, _| Some(())).is_none());
    THREAD_CACHE.with_borrow(|cache| assert!(cache.buffer.capacity() > LARGEST_BUFFER));
    assert!(has(&entry, 1));
    THREAD_CACHE.with_borrow(|cache| assert!(cache.buffer.capacity() <= LARGEST_BUFFER));
    assert!(find(&SPEC, &Part(&(&long, f64::NAN)), |_, _| Some(())).is_none());
    assert!(has(&entry, 1));
    THREAD_CACHE.with_borrow(|cache| assert!(cache.buffer.capacity() <= LARGEST_BUFFER));
}
