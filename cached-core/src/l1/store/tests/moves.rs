//! Tests: an entry moves to the main region when it has proved its use, and no look-up misses it meanwhile.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::*;

/// Returns whether the key is in the main region; `None` if it has no entry. Counts no use.
fn is_in_main(l1: &L1, number: usize) -> Option<bool> {
    l1.regions.get(key(number).as_ref()).map(|entry| entry.is_in_main())
}

#[test]
fn entries_stay_in_the_window_while_there_is_room_for_all() {
    let l1 = l1(1 << 20);
    for number in 0..500 {
        fill(&l1, &SPEC, number, 0);
        (0..3).for_each(|_| _ = get(&l1, &SPEC, number / 2));
    }
    assert_eq!(l1.regions.counts(), (500, 0));
}

#[test]
fn only_entries_that_prove_their_use_reach_the_main_region() {
    let l1 = l1(100_000);
    let fill_others = |first| (first..first + 1_000).for_each(|number| fill(&l1, &SPEC, number, 0));
    fill_others(1_000);
    let use_often = |number| (0..3).for_each(|_| _ = get(&l1, &SPEC, number));
    for number in 0..20 {
        fill(&l1, &SPEC, number, 0);
        use_often(number);
    }
    fill_others(2_000);
    assert!((0..20).all(|number| is_in_main(&l1, number) == Some(false)), "they have bought a place only");
    (0..20).for_each(use_often);
    // These buy places as well, so that the entries of the main queue have a turn.
    for number in 3_000..3_150 {
        fill(&l1, &SPEC, number, 0);
        use_often(number);
    }
    fill_others(4_000);
    assert!((0..20).all(|number| is_in_main(&l1, number) == Some(true)));
    let (window, main) = l1.regions.counts();
    assert_eq!((main, (window + main) as u64), (20, l1.usage().0));
    // A new value takes the region of the one before.
    fill(&l1, &SPEC, 7, 0);
    assert_eq!((is_in_main(&l1, 7), l1.regions.counts()), (Some(true), (window, main)));
    // A key that returns starts in the window.
    l1.remove(&key(7));
    fill(&l1, &SPEC, 7, 0);
    assert_eq!((is_in_main(&l1, 7), l1.regions.counts()), (Some(false), (window + 1, main - 1)));
}

#[test]
fn entry_that_has_left_does_not_move() {
    let l1 = l1(1 << 20);
    fill(&l1, &SPEC, 1, 0);
    let removed = get(&l1, &SPEC, 1).unwrap();
    l1.remove(&key(1));
    l1.move_to_main(&removed);
    assert_eq!((is_in_main(&l1, 1), l1.regions.counts()), (None, (0, 0)));
    // The entry is retired, and not removed from its region yet.
    fill(&l1, &SPEC, 1, 0);
    let retired = get(&l1, &SPEC, 1).unwrap();
    retired.retire();
    l1.move_to_main(&retired);
    assert_eq!(l1.regions.counts(), (1, 0));
    l1.remove_entry(&retired);
    assert_eq!((l1.usage().0, l1.regions.counts()), (0, (0, 0)));
}

const KEYS: usize = 48;
const WRITERS: usize = 2;
const READERS: usize = 2;
const ROUNDS: usize = 20_000;

/// State of a key, which one writer changes.
#[derive(Default)]
struct Watched {
    /// The entry that the writer stored last.
    entry: Mutex<Option<Arc<Entry>>>,
    /// No value below this one may be served any more.
    oldest: AtomicUsize,
}

/// Looks up a key, and checks the two promises of a look-up.
fn check(l1: &L1, number: usize, watched: &Watched) {
    let oldest = watched.oldest.load(Ordering::SeqCst);
    let stored = lock(&watched.entry).clone();
    let found = get(l1, &SPEC, number);
    if let Some(found) = &found {
        assert!(value(found) >= oldest, "{number}: {} was removed before {oldest} came", value(found));
    }
    if let Some(stored) = stored
        && found.is_none_or(|found| !Arc::ptr_eq(&found, &stored))
    {
        // An entry is retired before it leaves, so this is not too late to ask.
        assert!(stored.is_retired(), "{number}: the entry has not left, and is not found");
    }
}

/// The tier has room for a third of the keys, so entries are evicted, and move, all the time.
#[test]
fn no_lookup_misses_an_entry_or_finds_a_removed_one_while_entries_move() {
    let (l1, is_over) = (l1(16_000), AtomicBool::new(false));
    let all: Vec<Watched> = (0..KEYS).map(|_| Watched::default()).collect();
    let moved = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (l1, all, is_over, moved) = (&l1, &all, &is_over, &moved);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        let number = round * 7 % (KEYS / WRITERS) * WRITERS + writer;
                        write(l1, number, &all[number], round);
                        check(l1, (round * 5) % KEYS, &all[(round * 5) % KEYS]);
                        if round % 64 == 0 {
                            moved.fetch_max(l1.regions.counts().1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for reader in 0..READERS {
            scope.spawn(move || {
                let mut number = reader;
                while !is_over.load(Ordering::SeqCst) {
                    // Few keys are read often, so that these prove their use.
                    number = (number * 5 + 3) % if number % 3 == 0 { KEYS } else { KEYS / 4 };
                    check(l1, number, &all[number]);
                }
            });
        }
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        for thread in ended {
            thread.unwrap();
        }
    });
    assert!(moved.into_inner() > 0, "entries have moved");
    let (entries, bytes) = l1.usage();
    assert!(bytes <= 16_000, "{bytes}");
    let (window, main) = l1.regions.counts();
    assert_eq!((window + main) as u64, entries);
    assert_eq!((0..KEYS).filter(|number| has(&l1, *number)).count() as u64, entries);
}

/// There is room for all keys, and none is removed: each takes its way from the window to the main region once, and
/// its value is replaced before, meanwhile and afterwards.
#[test]
fn key_that_keeps_an_entry_is_found_at_any_moment() {
    const ALL: usize = 4_000;
    let (l1, stored) = (l1(1 << 30), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (l1, stored) = (&l1, &stored);
        for _ in 0..READERS {
            scope.spawn(move || {
                while let last @ ..ALL = stored.load(Ordering::SeqCst) {
                    // Key 0 is stored before the count is above zero.
                    if last > 0 {
                        assert!(get(l1, &SPEC, last - 1).is_some(), "{} is not found", last - 1);
                    }
                }
            });
        }
        for number in 0..ALL {
            fill(l1, &SPEC, number, 0);
            stored.store(number + 1, Ordering::SeqCst);
            fill(l1, &SPEC, number, 0);
            fill_main(l1, number);
            (0..3).for_each(|_| fill(l1, &SPEC, number, 0));
        }
    });
    assert_eq!(l1.regions.counts(), (0, ALL));
}

/// Changes a key: stores a value, replaces one, removes one, or moves the entry.
fn write(l1: &L1, number: usize, watched: &Watched, round: usize) {
    match round % 11 {
        0 => {
            *lock(&watched.entry) = None;
            l1.remove(&key(number));
            watched.oldest.store(round, Ordering::SeqCst);
        }
        1 => {
            if let Some(entry) = get(l1, &SPEC, number) {
                l1.move_to_main(&entry);
            }
        }
        _ => {
            store(l1, &SPEC, number, Arc::new(Value { freshness: hour(0), value: round }));
            watched.oldest.store(round, Ordering::SeqCst);
            // No other thread stores under this key, so this is the entry, or it is evicted already.
            *lock(&watched.entry) = l1.regions.get(key(number).as_ref());
        }
    }
}
