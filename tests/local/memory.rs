//! The memory that values take: the bound of the tier holds for the bytes that are alive, and not only for an
//! estimate of them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use cached_aside::{Cache, Stats};
use serde::{Serialize, Serializer};

const MIB: u64 = 1 << 20;

/// The bound of a cache without settings.
const BOUND: u64 = 64 * MIB;

/// A MiB on the heap, which counts how many of its kind are alive.
struct Block {
    bytes: Box<[u8]>,
    alive: Arc<AtomicU64>,
}

impl Block {
    fn new(alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self { bytes: vec![7; 1 << 20].into(), alive: alive.clone() }
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self::new(&self.alive)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// A block with a `Serialize` implementation, through which it is weighed.
#[derive(Clone)]
struct SerializeBlock(Block);

impl Serialize for SerializeBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.bytes)
    }
}

#[cached_aside::cached("weighed", ttl = "1h", local, weight = Block::len, cache = cache, skip(cache, alive))]
fn weighed(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Block {
    let _ = n;
    Block::new(alive)
}

#[cached_aside::cached("behind", ttl = "1h", local, weight = |block| block.len(), cache = cache, skip(cache, alive))]
fn behind_an_arc(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Arc<Block> {
    let _ = n;
    Arc::new(Block::new(alive))
}

#[cached_aside::cached("walked", ttl = "1h", local, cache = cache, skip(cache, alive))]
fn walked(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> SerializeBlock {
    let _ = n;
    SerializeBlock(Block::new(alive))
}

#[cached_aside::cached("shared", ttl = "1h", local, cache = cache, skip(cache, alive))]
fn walked_behind_an_arc(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Arc<SerializeBlock> {
    let _ = n;
    Arc::new(SerializeBlock(Block::new(alive)))
}

#[cached_aside::cached("few", ttl = "1h", local, max_entries = 60, cache = cache, skip(cache, alive))]
fn few(cache: &Cache, alive: &Arc<AtomicU64>, n: u32) -> Arc<Block> {
    let _ = n;
    Arc::new(Block::new(alive))
}

/// Loads 600 values of 1 MiB. Returns the greatest number of values that were alive at a time.
fn fill<T>(function: fn(&Cache, &Arc<AtomicU64>, u32) -> T, check: impl Fn(u64, &Stats)) -> u64 {
    let (cache, alive) = (Cache::builder().build().unwrap(), Arc::default());
    let mut most = 0;
    for n in 0..600 {
        // The second call is a hit, which brings the entry into the cache of this thread.
        (0..2).for_each(|_| drop(function(&cache, &alive, n)));
        let alive = alive.load(SeqCst);
        check(alive, &cache.stats());
        most = most.max(alive);
    }
    most
}

/// Fills the cache with values whose weight is known.
fn fill_by_bytes<T>(function: fn(&Cache, &Arc<AtomicU64>, u32) -> T) {
    let most = fill(function, |alive, stats| {
        assert!(stats.l1_bytes <= BOUND, "{stats:?}");
        assert!(
            alive * MIB <= stats.l1_bytes + stats.l1_retired_bytes,
            "{alive} values are alive: {stats:?}"
        );
    });
    // Values that have left the tier are freed a little later.
    assert!((60..=2 * BOUND / MIB).contains(&most), "{most}");
}

#[test]
fn bytes_that_are_alive_are_those_that_are_counted() {
    fill_by_bytes(weighed);
    fill_by_bytes(behind_an_arc);
    fill_by_bytes(walked);
    fill_by_bytes(walked_behind_an_arc);
}

#[test]
fn max_entries_bounds_values_of_unknown_weight() {
    let most = fill(few, |_, stats| assert!(stats.l1_entries <= 60, "{stats:?}"));
    assert!((60..=60 + 3 * 64).contains(&most), "{most}");
}
