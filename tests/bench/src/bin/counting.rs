//! Counts allocations and bytes.
//!
//! This is a program of its own, apart from the timings: a counting allocator adds about fifty instructions
//! to each allocation, at the expense of the arms that allocate.
//!
//! `counting hits PART…` prints the kind, the arm and the allocations per hit, for arms with one of the parts
//! in their names. `counting memory ARM ENTRIES` prints the bytes on the heap and the resident bytes.
//! `counting full ARM ENTRIES` prints the bytes on the heap of a bounded cache, each with the number of its
//! entries: after each key was requested once, and after each was requested again.

use std::env;

use allocation_counter::measure;
use cached_aside_bench::{
    kinds::KINDS,
    large::ARMS,
    regions::{BOUNDED, bounded},
    work::{Order, install, loads, resident},
};

const KEYS: u32 = 1_000;

fn main() {
    install();
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["hits", parts @ ..] => hits(parts),
        ["memory", arm, entries] => memory(arm, entries.parse().expect("a number of entries")),
        ["full", arm, entries] => full(arm, entries.parse().expect("a number of entries")),
        _ => panic!("`hits`, `memory` or `full`"),
    }
}

fn hits(parts: &[&str]) {
    let order = &Order::Uniform.of(KEYS)[..1 << 15];
    for kind in &KINDS {
        for arm in (kind.arms)(KEYS, &|name| parts.is_empty() || parts.iter().any(|part| name.contains(part)))
        {
            // The first run makes the allocations that only the first hit of a thread needs.
            arm.run(order);
            let before = loads();
            let count = measure(|| arm.run(order)).count_total;
            assert_eq!(loads(), before, "every counted call is a hit");
            println!("{}\t{}\t{:.3}", kind.title, arm.name, count as f64 / order.len() as f64);
        }
    }
}

fn memory(arm: &str, entries: u32) {
    let (_, make) = ARMS.iter().find(|(name, _)| *name == arm).expect("an arm of this name");
    let before = resident();
    let mut call = None;
    let heap = measure(|| {
        let cache = make(entries);
        for key in 0..u64::from(entries) {
            assert_eq!(cache(key), key, "the value of its key");
        }
        call = Some(cache);
    });
    let after = resident();
    let cache = call.expect("it was made");
    let filled = loads();
    (0..u64::from(entries)).for_each(|key| assert_eq!(cache(key), key, "the value of its key"));
    assert_eq!(loads(), filled, "nothing was evicted");
    println!("{}\t{}", heap.bytes_current, after.saturating_sub(before));
}

fn full(arm: &str, entries: u64) {
    let (_, call) = BOUNDED.iter().find(|(name, _)| *name == arm).expect("an arm of this name");
    let cache = bounded(*call, entries);
    let mut heap = 0;
    for _ in 0..2 {
        let request_all =
            || (0..entries).for_each(|key| assert_eq!(call(&cache, key), key, "the value of its key"));
        heap += measure(request_all).bytes_current;
        let kept = cache.stats().l1_entries;
        // Evictions that are pending may leave a cache slightly above or below its capacity.
        assert!(kept.abs_diff(entries) * 100 <= entries, "{kept} entries of {entries}");
        println!("{heap}\t{kept}");
    }
}
