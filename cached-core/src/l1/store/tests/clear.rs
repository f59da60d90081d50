//! Tests: the tier is open while it is being cleared, and no entry from before is served afterwards.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::*;

/// Takes other steps between the two of a `clear`: the entries are taken out of the list, and retired.
#[test]
fn tier_can_be_used_while_entries_are_retired() {
    let l1 = l1(1 << 20);
    for number in 0..10 {
        fill_main(&l1, number);
        fill(&l1, &CAPPED_SPEC, 10 + number, 0);
    }
    let before: Vec<_> = (0..20).map(|number| get(&l1, &SPEC, number).unwrap()).collect();

    let taken = l1.take_all();
    assert!(before.iter().all(|entry| !entry.is_retired()), "they are retired without the lock of the list");
    assert_eq!(l1.usage(), (0, 0));
    // A new value of a key in each region, a new key, a removal, a move, a return, and a hit of an old entry.
    fill(&l1, &SPEC, 0, 0);
    fill(&l1, &CAPPED_SPEC, 10, 0);
    fill(&l1, &SPEC, 20, 0);
    l1.remove(&key(1));
    l1.move_to_main(&before[11]);
    l1.remove(&key(2));
    fill(&l1, &SPEC, 2, 0);
    assert!(Arc::ptr_eq(&get(&l1, &SPEC, 3).unwrap(), &before[3]));
    let newer: Vec<_> = [0, 2, 10, 20].iter().map(|number| get(&l1, &SPEC, *number).unwrap()).collect();
    taken.remove();

    assert!(before.iter().all(|entry| entry.is_retired()));
    for (number, entry) in [0, 2, 10, 20].into_iter().zip(&newer) {
        assert!(Arc::ptr_eq(&get(&l1, &SPEC, number).unwrap(), entry), "{number} was stored after the clear");
    }
    let (window, main) = l1.regions.counts();
    assert_eq!((l1.usage().0, window + main, main), (4, 4, 1));
    assert_eq!(l1.function_list(CAPPED_SPEC.template(), 10).lock().len(), 1);
}

/// Each of two threads that clear at the same time may rely on it.
#[test]
fn no_entry_from_before_is_served_when_either_of_two_clears_returns() {
    const ROUNDS: usize = 100;
    let l1 = l1(1 << 24);
    let start = Barrier::new(2);
    let before = Mutex::new(Vec::new());
    // Counted, as the other thread would wait for one that panics.
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for is_first in [true, false] {
            let (l1, start, before, served) = (&l1, &start, &before, &served);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    if is_first {
                        (0..1_000).for_each(|number| fill(l1, &SPEC, number, 0));
                        *lock(before) = (0..1_000).map(|number| get(l1, &SPEC, number).unwrap()).collect();
                    }
                    start.wait();
                    let all = lock(before).clone();
                    start.wait();
                    l1.clear();
                    let alive = all.iter().filter(|entry| !entry.is_retired()).count();
                    served.fetch_add(alive, Ordering::Relaxed);
                    start.wait();
                }
            });
        }
    });
    assert_eq!(served.into_inner(), 0);
}

/// A thread stores values while another one clears. An entry is in the tier if no `clear` came after it.
#[test]
fn insertion_beside_a_clear_is_kept_or_lost_as_a_whole() {
    const ROUNDS: usize = 2_000;
    let l1 = l1(1 << 24);
    let start = Barrier::new(2);
    // Collected, as the other thread would wait for one that panics.
    let mut faults = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                start.wait();
                l1.clear();
                start.wait();
                start.wait();
            }
        });
        for _ in 0..ROUNDS {
            start.wait();
            for number in 0..20 {
                fill(&l1, if number % 2 == 0 { &SPEC } else { &CAPPED_SPEC }, number, 0);
            }
            start.wait();
            let found = (0..20).filter(|number| get(&l1, &SPEC, *number).is_some()).count();
            let (window, main) = l1.regions.counts();
            let of_function = (0..10).filter(|half| has(&l1, 2 * half + 1)).count();
            let listed = (l1.usage().0, l1.function_list(CAPPED_SPEC.template(), 10).lock().len());
            if (found as u64, of_function) != listed || window + main != found {
                faults.push((found, of_function, window + main, listed));
            }
            start.wait();
        }
    });
    assert_eq!(faults, []);
}
