//! Memory of `cached-aside` in front of Redis: `shared_memory URL ENTRIES`.
//!
//! Prints the bytes on the heap and the resident bytes. This is a program of its own, because several threads take
//! part: the counter of `counting` is that of one thread.

use std::{alloc::System, env};

use cached_aside_bench::{
    regions::SharedTier,
    work::{install, loads, resident},
};
use cap::Cap;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

fn main() {
    install();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [url, entries] = arguments.as_slice() else { panic!("URL ENTRIES") };
    let entries = entries.parse::<u64>().expect("a number of entries");
    let cache = SharedTier::new(url);
    // The first calls allocate the memory that does not belong to entries, such as buffers of the connection.
    cache.call(entries..entries + 1_000);
    let (heap_before, resident_before, loaded) = (HEAP.allocated(), resident(), loads());
    cache.call(0..entries);
    let (heap, resident) = (HEAP.allocated() - heap_before, resident().saturating_sub(resident_before));
    assert_eq!((loads() - loaded) as u64, entries, "as many loads as keys");
    cache.call(0..entries);
    assert_eq!((loads() - loaded) as u64, entries, "nothing was evicted");
    println!("{heap}\t{resident}");
}
