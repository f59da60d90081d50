//! Tests: entries that are over leave without being asked for, a bounded number in each call.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use super::*;

const SECOND: Nanos = 1_000_000_000;

/// Stores a value at `now` that is over after some seconds.
fn fill_for(l1: &L1, spec: &FunctionSpec, number: usize, now: Nanos, seconds: u64) {
    let freshness = Freshness::new(now, Duration::ZERO, Duration::from_secs(seconds), 0);
    store(l1, spec, number, Arc::new(Value { freshness, value: number }));
}

/// Looks up a key that has no entry.
fn miss(l1: &L1, now: Nanos) {
    assert!(l1.get(&SPEC, key(1_000_000).as_ref(), now, || now).is_none());
}

#[test]
fn entries_that_are_over_leave_both_regions_a_few_in_each_call() {
    let l1 = l1(1 << 20);
    for number in 0..400 {
        fill_for(&l1, &SPEC, number, 0, 1);
        if number % 2 == 0 {
            l1.move_to_main(&get(&l1, &SPEC, number).unwrap());
        }
    }
    (400..500).for_each(|number| fill_for(&l1, &SPEC, number, 0, 100));
    miss(&l1, SECOND / 2);
    assert_eq!(l1.usage().0, 500);
    let mut entries = 500;
    while entries > 100 {
        miss(&l1, 2 * SECOND);
        let rest = l1.usage().0;
        assert!((1..=64).contains(&(entries - rest)), "{} in one call", entries - rest);
        entries = rest;
    }
    // The next check is a second later.
    miss(&l1, 2 * SECOND);
    assert!(l1.is_expiry_due(3 * SECOND) && !l1.is_expiry_due(3 * SECOND - 1));
    assert_eq!((l1.usage().0, l1.regions.counts()), (100, (100, 0)));
    l1.remove_expired(100 * SECOND);
    l1.remove_expired(101 * SECOND);
    assert_eq!((l1.usage(), l1.regions.counts()), ((0, 0), (0, 0)));
}

#[test]
fn hit_removes_fewer_entries_that_are_over_than_a_miss() {
    let l1 = l1(1 << 20);
    fill_for(&l1, &SPEC, 0, 0, 100);
    (1..=400).for_each(|number| fill_for(&l1, &SPEC, number, 0, 1));
    let mut hits = 0;
    while l1.usage().0 > 1 {
        let before = l1.usage().0;
        assert!(get_at(&l1, &SPEC, 0, 2 * SECOND).is_some());
        assert!(before - l1.usage().0 <= 8, "{} in one hit", before - l1.usage().0);
        hits += 1;
    }
    assert!((400 / 8..=400 / 8 + 2).contains(&hits), "{hits}");
}

/// A cache that is hardly used may take longer for a call.
#[test]
fn rare_hits_remove_what_is_over_within_seconds() {
    let l1 = l1(1 << 24);
    fill_for(&l1, &SPEC, 0, 0, 100);
    (1..=5_000).for_each(|number| fill_for(&l1, &SPEC, number, 0, 1));
    let mut tenths = 13;
    while l1.usage().0 > 1 {
        assert!(get_at(&l1, &SPEC, 0, tenths * SECOND / 10).is_some());
        tenths += 1;
    }
    assert!(tenths <= 13 + 13, "they are gone after {tenths} tenths of a second");
}

/// Hits with an upper bound of the time, which is ahead by more or less, depending on the coarse clock.
#[test]
fn one_hit_in_a_second_takes_the_longer_path_for_the_check() {
    const STEP: Nanos = SECOND / 1_000;
    for lead in [0, 30, 40, 44, 50, 200].map(|lead| lead * STEP) {
        let l1 = l1(1 << 20);
        fill_for(&l1, &SPEC, 0, 0, 100);
        let mut longer = 0;
        for now in (0..10_000).map(|step| step * STEP) {
            if l1.is_expiry_due(now + lead) {
                longer += 1;
                assert!(get_at(&l1, &SPEC, 0, now).is_some());
            }
        }
        // The checks are as much earlier as the bound is ahead.
        assert!((9..=13).contains(&longer), "{longer} of 10,000 in 10 s, with a lead of {lead} ns");
    }
}

#[test]
fn insertions_alone_remove_what_is_over() {
    let l1 = l1(1 << 20);
    for number in 0..1_000 {
        fill_for(&l1, &SPEC, number, number as u64 * SECOND / 10, 1);
    }
    // Ten each second live for one second, and wait up to 1.3 s.
    assert!(l1.usage().0 <= 26, "{:?}", l1.usage());
}

#[test]
fn replaced_entry_has_the_end_of_the_new_value() {
    let l1 = l1(1 << 20);
    fill_for(&l1, &SPEC, 1, 0, 1);
    fill_for(&l1, &SPEC, 1, 0, 100);
    fill_for(&l1, &SPEC, 2, 0, 100);
    fill_for(&l1, &SPEC, 2, 0, 1);
    l1.remove_expired(2 * SECOND);
    assert_eq!([1, 2].map(|number| has(&l1, number)), [true, false]);
}

#[test]
fn entry_that_is_over_leaves_the_list_of_its_function() {
    let l1 = l1(1 << 20);
    (0..10).for_each(|number| fill_for(&l1, &CAPPED_SPEC, number, 0, 1));
    let list = l1.function_list(CAPPED_SPEC.template(), 10);
    assert_eq!(list.lock().len(), 10);
    l1.remove_expired(2 * SECOND);
    assert_eq!((list.lock().len(), l1.usage().0), (0, 0));
}

#[test]
fn entry_that_never_ends_stays() {
    let l1 = l1(1 << 20);
    let freshness = Freshness::new(0, Duration::ZERO, Duration::MAX, 0);
    store(&l1, &SPEC, 1, Arc::new(Value { freshness, value: 1_usize }));
    l1.remove_expired(Nanos::MAX - 1);
    assert!(has(&l1, 1));
}

thread_local!(static OWN_NOW: RefCell<Option<(Arc<L1>, Nanos)>> = const { RefCell::new(None) });

/// Value that uses the tier of its thread when it is dropped.
struct Caller(Freshness, Arc<AtomicU64>);

impl ErasedValue for Caller {
    fn freshness(&self) -> &Freshness {
        &self.0
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        if let Some((l1, now)) = OWN_NOW.with_borrow(Clone::clone) {
            miss(&l1, now);
            fill_for(&l1, &SPEC, 1_000, now, 1);
        }
    }
}

#[test]
fn drop_of_a_value_that_is_over_may_use_the_tier() {
    let (l1, drops) = (Arc::new(l1(1 << 20)), Arc::new(AtomicU64::new(0)));
    for number in 0..200 {
        let freshness = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), 0);
        store(&l1, &SPEC, number, Arc::new(Caller(freshness, drops.clone())));
    }
    OWN_NOW.set(Some((l1.clone(), 2 * SECOND)));
    (0..10).for_each(|_| miss(&l1, 2 * SECOND));
    OWN_NOW.set(None);
    assert_eq!((drops.load(Ordering::SeqCst), l1.usage().0), (200, 1));
}

/// Time goes on while threads store, look up and remove. An entry that is not over is found until it leaves.
#[test]
fn only_entries_that_are_over_leave_while_threads_use_the_tier() {
    let (l1, time) = (l1(1 << 20), AtomicU64::new(1));
    thread::scope(|scope| {
        for thread in 0..3 {
            let (l1, time) = (&l1, &time);
            scope.spawn(move || {
                for round in 0..6_000_usize {
                    // No other thread changes these keys.
                    let number = round * 7 % 50 * 3 + thread;
                    let (now, seconds) = (time.fetch_add(SECOND / 500, Ordering::SeqCst), round as u64 % 5);
                    fill_for(l1, &SPEC, number, now, seconds);
                    if round % 4 == 0
                        && let Some((entry, _)) = l1.get(&SPEC, key(number).as_ref(), now, || now)
                    {
                        l1.move_to_main(&entry);
                    }
                    if round % 9 == 0 {
                        l1.remove(&key(number));
                    } else if l1.get(&SPEC, key(number).as_ref(), now, || now).is_none() {
                        let latest = time.load(Ordering::SeqCst);
                        assert!(now + seconds * SECOND <= latest, "{number} had {seconds} s");
                    }
                }
            });
        }
    });
    let now = time.into_inner();
    let (window, main) = l1.regions.counts();
    assert_eq!((window + main) as u64, l1.usage().0);
    l1.remove_expired(now + 6 * SECOND);
    assert_eq!((l1.usage(), l1.regions.counts()), ((0, 0), (0, 0)));
}

#[test]
fn entry_that_left_the_main_region_is_freed_although_no_call_looks_there() {
    let l1 = l1(1 << 20);
    fill_main(&l1, 1);
    let entry = Arc::downgrade(&get(&l1, &SPEC, 1).unwrap());
    l1.remove(&key(1));
    let patience = Instant::now() + Duration::from_secs(30);
    let mut now = SECOND;
    while entry.upgrade().is_some() {
        assert!(Instant::now() < patience, "Moka holds the entry");
        // The threads of other tests may look at entries of their own, which delays the release.
        l1.regions.expect_releases();
        now += 2 * SECOND;
        miss(&l1, now);
        thread::yield_now();
    }
}
