//! Tests: threads are asked to purge only if their caches may hold entries that have left.

use std::sync::atomic::Ordering;

use super::*;
use crate::l1::thread_cache;

const SECOND: Nanos = 1_000_000_000;

fn requests(l1: &L1) -> usize {
    l1.purge.requests.load(Ordering::Relaxed)
}

/// Brings the entry of a key into the cache of this thread, as the first hit does.
fn use_here(l1: &L1, spec: &FunctionSpec, number: usize) {
    thread_cache::insert(&get(l1, spec, number).unwrap());
}

#[test]
fn misses_of_a_function_with_few_entries_request_no_purge() {
    let l1 = l1(1 << 20);
    (0..10_000).for_each(|number| fill(&l1, &CAPPED_SPEC, number, 0));
    assert_eq!((l1.usage().0, requests(&l1)), (10, 0));
    // The same for the bound of the tier, and for entries that are removed.
    (0..10_000).for_each(|number| fill(&l1, &SPEC, number, 500));
    (0..10_000).for_each(|number| l1.remove(&key(number)));
    assert_eq!((l1.usage().0, requests(&l1)), (0, 0));
}

#[test]
fn entries_that_a_thread_cache_holds_request_purges_when_they_leave() {
    let l1 = l1(1 << 20);
    for number in 0..1_000 {
        fill(&l1, &CAPPED_SPEC, number, 0);
        use_here(&l1, &CAPPED_SPEC, number);
    }
    // A full set of the table admits some entries only, but the table purges and so has room for most of them.
    assert!((2..=1_000 / 64).contains(&requests(&l1)), "{}", requests(&l1));
    let before = requests(&l1);
    for number in 0..1_000 {
        fill(&l1, &SPEC, number, 3_000);
        use_here(&l1, &SPEC, number);
    }
    assert!(requests(&l1) > before, "they have left for want of bytes");
}

#[test]
fn entries_that_are_over_request_a_purge_only_if_a_thread_cache_holds_one() {
    let l1 = l1(1 << 20);
    let fill_brief = |number, now| {
        let freshness = Freshness::new(now, Duration::ZERO, Duration::from_secs(1), 0);
        store(&l1, &SPEC, number, Arc::new(Value { freshness, value: number }));
        let entry = get_at(&l1, &SPEC, number, now).unwrap();
        // Moka may hold the entry for some time after its removal.
        l1.move_to_main(&entry);
        entry
    };
    (0..200).for_each(|number| drop(fill_brief(number, 0)));
    l1.remove_expired(3 * SECOND);
    assert_eq!((l1.usage().0, requests(&l1)), (0, 0));
    thread_cache::insert(&fill_brief(1, 3 * SECOND));
    l1.remove_expired(6 * SECOND);
    assert_eq!((l1.usage().0, requests(&l1)), (0, 1));
}

#[test]
fn clear_requests_a_purge_only_if_a_thread_cache_holds_an_entry() {
    let l1 = l1(1 << 20);
    (0..100).for_each(|number| fill(&l1, &SPEC, number, 0));
    l1.clear();
    assert_eq!(requests(&l1), 0);
    (0..100).for_each(|number| fill(&l1, &SPEC, number, 0));
    use_here(&l1, &SPEC, 50);
    l1.clear();
    assert_eq!(requests(&l1), 1);
}

#[test]
fn entry_that_has_left_before_is_purged_with_a_cleared_tier() {
    let l1 = l1(1 << 20);
    fill(&l1, &SPEC, 1, 0);
    use_here(&l1, &SPEC, 1);
    l1.remove(&key(1));
    assert_eq!(requests(&l1), 0, "its bytes are few");
    l1.clear();
    l1.clear();
    assert_eq!(requests(&l1), 1);
}
