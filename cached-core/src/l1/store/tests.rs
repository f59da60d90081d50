//! Tests: the list and the regions agree, L1 keeps its bounds, and a removal retires its entry.

mod clear;
mod expiry;
mod moves;
mod purges;

use std::{any::Any, cell::RefCell, time::Duration};

use super::{
    weight::{TAG_BYTES, TAG_EPOCH_BYTES},
    *,
};
use crate::{
    coherence::epoch::{Epoch, Epochs},
    key::{Blake3, Part},
    tier::feed::ChangeFeed,
    value::erased::{Freshness, Value},
};

const SPEC: FunctionSpec = FunctionSpec::prefix("x");
const CAPPED_SPEC: FunctionSpec = FunctionSpec::prefix("x").max_entries(10);

fn l1(max_bytes: u64) -> L1 {
    L1::new(max_bytes, &Arc::default(), &(Arc::new(Blake3) as _), &Arc::new(FunctionRegistry::new()))
}

fn key(number: usize) -> OwnedKey {
    KeyRef::encode(&mut Vec::new(), &SPEC, &Part(&number)).unwrap().owned()
}

/// Stores a value of this weight that expires after an hour.
fn fill(l1: &L1, spec: &FunctionSpec, number: usize, weight: usize) {
    store(l1, spec, number, Arc::new(Value { freshness: hour(weight), value: number }));
}

/// Returns the times of a value of this weight that expires after an hour.
fn hour(weight: usize) -> Freshness {
    Freshness::new(0, Duration::ZERO, Duration::from_secs(3_600), weight)
}

fn store(l1: &L1, spec: &FunctionSpec, number: usize, erased: Arc<dyn ErasedValue>) {
    let (tags, feed) = (Box::default(), ChangeFeed::local());
    let validity = Validity { epoch: Epochs::new().current("x"), tags, feed, checked_at: 0 };
    l1.insert(spec, &key(number), erased, validity, 0);
}

fn get(l1: &L1, spec: &FunctionSpec, number: usize) -> Option<Arc<Entry>> {
    get_at(l1, spec, number, 1)
}

fn get_at(l1: &L1, spec: &FunctionSpec, number: usize, now: Nanos) -> Option<Arc<Entry>> {
    l1.get(spec, key(number).as_ref(), now, || now).map(|(entry, _)| entry)
}

fn has(l1: &L1, number: usize) -> bool {
    l1.regions.has(key(number).as_ref())
}

/// Stores a value as `fill` does, in the main region.
fn fill_main(l1: &L1, number: usize) {
    fill(l1, &SPEC, number, 0);
    if let Some(entry) = get(l1, &SPEC, number) {
        l1.move_to_main(&entry);
    }
}

/// Returns the number in an entry of `fill`.
fn value(entry: &Entry) -> usize {
    let erased: &dyn Any = &*entry.erased;
    erased.downcast_ref::<Value<usize>>().unwrap().value
}

#[test]
fn every_removal_retires_the_entry_and_removes_it_from_its_region() {
    for is_in_main in [false, true] {
        let l1 = l1(1 << 20);
        let fill = |number| if is_in_main { fill_main(&l1, number) } else { fill(&l1, &SPEC, number, 0) };
        (0..5).for_each(fill);
        // In the region of the value before, and over after a second.
        let freshness = Freshness::new(0, Duration::ZERO, Duration::from_secs(1), 0);
        store(&l1, &SPEC, 2, Arc::new(Value { freshness, value: 2_usize }));
        assert_eq!(l1.regions.counts(), if is_in_main { (0, 5) } else { (5, 0) });
        let all: Vec<_> = (0..5).map(|number| get(&l1, &SPEC, number).unwrap()).collect();
        assert!(all.iter().all(|entry| !entry.is_retired() && entry.is_in_main() == is_in_main));

        fill(0);
        assert!(all[0].is_retired() && has(&l1, 0) && !get(&l1, &SPEC, 0).unwrap().is_retired());
        l1.remove(&key(1));
        assert!(all[1].is_retired() && !has(&l1, 1));
        assert!(l1.get(&SPEC, key(2).as_ref(), 2_000_000_000, || 2_000_000_000).is_none());
        assert!(all[2].is_retired() && !has(&l1, 2));
        assert!(!all[3].is_retired() && l1.usage().0 == 3);
        assert_eq!(l1.regions.counts(), if is_in_main { (0, 3) } else { (3, 0) });
        l1.clear();
        assert!(all.iter().all(|entry| entry.is_retired()) && !has(&l1, 3));
        assert_eq!((l1.usage(), l1.regions.counts()), ((0, 0), (0, 0)));
    }
}

#[test]
fn stale_removal_keeps_the_newer_entry() {
    let l1 = l1(1 << 20);
    let filled = |number| {
        fill(&l1, &SPEC, number, 0);
        get(&l1, &SPEC, number).unwrap()
    };
    let replaced = filled(0);
    let newer = filled(0);
    l1.remove_entry(&replaced);
    assert!(Arc::ptr_eq(&get(&l1, &SPEC, 0).unwrap(), &newer));

    let removed = filled(1);
    l1.remove(&key(1));
    let newer = filled(1);
    l1.remove_entry(&removed);
    assert!(Arc::ptr_eq(&get(&l1, &SPEC, 1).unwrap(), &newer));

    let taken = filled(2);
    l1.remove_entry(&taken);
    let newer = filled(2);
    l1.remove_entry(&taken);
    assert!(Arc::ptr_eq(&get(&l1, &SPEC, 2).unwrap(), &newer));
}

#[test]
fn l1_is_bounded_by_bytes_and_evicted_entries_leave_their_region() {
    let l1 = l1(100_000);
    (0..1000).for_each(|number| fill(&l1, &SPEC, number, 500));
    let (entries, bytes) = l1.usage();
    assert!((90_000..=100_000).contains(&bytes) && (60..80).contains(&entries), "{entries} {bytes}");
    assert_eq!((0..1000).filter(|number| has(&l1, *number)).count() as u64, entries);
    fill(&l1, &SPEC, 7, 200_000);
    assert!(get(&l1, &SPEC, 7).is_none() && !has(&l1, 7), "it has no room at all");
    assert!(l1.usage().0 >= entries - 1);
}

#[test]
fn epoch_of_a_tag_weighs_only_on_its_first_entries() {
    let (l1, epochs) = (l1(1 << 20), Epochs::new());
    let name = "x".repeat(100);
    let weigh = |number: usize, tags: Vec<Arc<Epoch>>| {
        let before = l1.usage().1;
        let freshness = hour(0);
        let tags = tags.into_iter().map(|tag| (tag, 1)).collect();
        let validity =
            Validity { epoch: epochs.current("x"), tags, feed: ChangeFeed::local(), checked_at: 0 };
        l1.insert(&SPEC, &key(number), Arc::new(Value { freshness, value: number }), validity, 0);
        l1.usage().1 - before
    };
    let without_tag = weigh(0, Vec::new());
    let with_tag = weigh(1, vec![epochs.current(&name)]);
    assert_eq!(with_tag - without_tag, (TAG_BYTES + TAG_EPOCH_BYTES + name.len()) as u64);
    let all: Vec<_> =
        (2..100).map(|number| weigh(number, vec![epochs.current(&name)]) - without_tag).collect();
    assert_eq!(all.last(), Some(&(TAG_BYTES as u64)));
    assert!(all.iter().sum::<u64>() < 98 * TAG_BYTES as u64 + 4 * with_tag);
}

#[test]
fn function_with_entry_cap_keeps_that_many_and_displaces_no_other_entries() {
    let l1 = l1(1 << 20);
    (0..50).for_each(|number| fill(&l1, &SPEC, number, 0));
    (100..200).for_each(|number| fill(&l1, &CAPPED_SPEC, number, 0));
    assert_eq!(l1.usage().0, 60);
    assert_eq!((100..200).filter(|number| get(&l1, &CAPPED_SPEC, *number).is_some()).count(), 10);
    l1.clear();
    (100..200).for_each(|number| fill(&l1, &CAPPED_SPEC, number, 0));
    assert_eq!(l1.usage().0, 10);
}

/// Such an entry needs a backoff after a failed load, and that is its own.
#[test]
fn entries_share_a_proof_unless_they_are_served_while_they_are_renewed() {
    let (l1, epochs) = (l1(1 << 20), Epochs::new());
    let names = || "ns:x:*".to_owned();
    let holders = |number, freshness: Freshness| {
        let (epoch, tags) = (epochs.current_of_function("x", names), Box::default());
        let validity = Validity { epoch, tags, feed: ChangeFeed::local(), checked_at: 0 };
        l1.insert(&SPEC, &key(number), Arc::new(Value { freshness, value: number }), validity, 0);
        Arc::strong_count(&epochs.current_of_function("x", names))
    };
    let first = holders(0, hour(0));
    assert_eq!((holders(1, hour(0)), holders(2, hour(0))), (first, first));
    let stale = hour(0).with_stale(Duration::from_secs(1));
    assert_eq!((holders(3, stale), holders(4, hour(0).with_refresh_ahead(0.5))), (first + 1, first + 2));
    get(&l1, &SPEC, 3).unwrap().start_backoff(7);
    let backoffs = [0, 3].map(|number| get(&l1, &SPEC, number).unwrap().backoff(1));
    assert_eq!(backoffs, [None, Some(7)]);

    assert_eq!(l1.release_proofs(&["x"]), 0, "the epoch goes on");
    epochs.end_matching("ns:x:1");
    assert_eq!((l1.release_proofs(&["y"]), l1.release_proofs(&["x"])), (0, 3));
    assert!(!get(&l1, &SPEC, 0).unwrap().validity().is_intact());
    assert_eq!(holders(0, hour(0)), first, "another proof, on another epoch");
    assert!(get(&l1, &SPEC, 0).unwrap().validity().is_intact());
}

#[test]
fn removed_entry_counts_as_retired_while_it_is_held() {
    let l1 = l1(1 << 20);
    fill(&l1, &SPEC, 1, 1000);
    let held = get(&l1, &SPEC, 1).unwrap();
    assert_eq!(l1.memory.retired_bytes(), 0);
    l1.remove(&key(1));
    assert_eq!(l1.memory.retired_bytes(), u64::from(held.weight));
}

#[test]
fn list_and_regions_agree_after_concurrent_fills_and_removals() {
    let l1 = l1(40_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let l1 = &l1;
            scope.spawn(move || {
                for round in 0..5_000_usize {
                    let number = (round * (2 * thread + 1)) % 97;
                    match round % 7 {
                        0 => l1.remove(&key(number)),
                        1 if round % 500 == 1 => l1.clear(),
                        _ => fill(l1, if round % 3 == 0 { &CAPPED_SPEC } else { &SPEC }, number, 0),
                    }
                    get(l1, &SPEC, number);
                }
            });
        }
    });
    let (entries, bytes) = l1.usage();
    assert!(bytes <= 40_000, "{bytes}");
    assert_eq!((0..97).filter(|number| get(&l1, &SPEC, *number).is_some()).count() as u64, entries);
    assert_eq!((0..97).filter(|number| has(&l1, *number)).count() as u64, entries);
    let (window, main) = l1.regions.counts();
    assert_eq!((window + main) as u64, entries);
}

thread_local!(static OWN: RefCell<Option<Arc<L1>>> = const { RefCell::new(None) });

/// Value that fills the main region of its thread's tier when it is dropped, with more than Moka takes in before
/// its housekeeping.
struct Filler(Freshness);

impl ErasedValue for Filler {
    fn freshness(&self) -> &Freshness {
        &self.0
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let Some(l1) = OWN.with_borrow(Clone::clone) else { return };
        (0..1_000).for_each(|number| fill_main(&l1, 1_000 + number));
    }
}

/// Moka frees entries long after their removal, and some of them under the lock of its housekeeping. A
/// look-up of any entry may run that housekeeping. A fill from the `Drop` of a value would then wait for
/// the lock for ever.
#[test]
fn drop_of_a_value_may_fill_l1_when_a_lookup_of_another_key_frees_it() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let l1 = Arc::new(l1(1 << 20));
        OWN.set(Some(l1.clone()));
        for number in 0..100 {
            fill_main(&l1, number % 10);
            // It takes the region of the entry that it replaces.
            store(&l1, &SPEC, number % 10, Arc::new(Filler(hour(0))));
            (0..100).for_each(|_| _ = get(&l1, &SPEC, number % 10));
        }
        OWN.set(None);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("it hangs");
}
