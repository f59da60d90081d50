//! Caches for many entries, by name.

use crate::{
    functions::Functions,
    groups::hitbox,
    peers::{Cachet, Foyer, Lfu, MokaFuture, MokaSync, MultiTier, Peer, Quick, S3Fifo, Ufo},
    work::{load, runtime},
};

/// Function that calls a cache.
pub type Call = Box<dyn Fn(u64) -> u64>;

/// Function that creates a cache for a number of entries.
pub type Make = fn(u32) -> Call;

/// Constructors of the caches, by the names of the arms.
pub static ARMS: [(&str, Make); 13] = [
    ("ours, async", |_| Box::new(|key| <u64 as Functions<u64>>::ours(&key))),
    ("ours, sync local", |_| Box::new(|key| <u64 as Functions<u64>>::ours_local(&key))),
    ("cached, concurrent", |_| Box::new(|key| <u64 as Functions<u64>>::concurrent(&key))),
    ("cached, concurrent, bounded, ttl", |_| Box::new(bounded)),
    ("hitbox", hitbox_cache),
    ("moka future", peer::<MokaFuture<u64, u64>>),
    ("moka sync", peer::<MokaSync<u64, u64>>),
    ("quick_cache", peer::<Quick<u64, u64>>),
    ("foyer lfu", peer::<Foyer<u64, u64, Lfu>>),
    ("foyer s3fifo", peer::<Foyer<u64, u64, S3Fifo>>),
    ("tinyufo", peer::<Ufo<u64, u64>>),
    ("cachet", peer::<Cachet<u64, u64>>),
    ("multi-tier-cache", peer::<MultiTier>),
];

/// Function with room for a little more than a million entries, like the other arms.
#[cached::macros::concurrent_cached(max_size = 1_260_000, ttl_secs = 3600)]
fn bounded(id: u64) -> u64 {
    load(id)
}

fn hitbox_cache(entries: u32) -> Call {
    let cache = hitbox::with_stampede_protection(with_margin(entries));
    Box::new(move |key| runtime().block_on(hitbox::get(&cache, key)))
}

fn peer<P: Peer<u64, u64>>(entries: u32) -> Call {
    let peer = P::new(with_margin(entries));
    Box::new(move |key| peer.call(&key))
}

/// Adds a margin, which prevents evictions from shards that are a little fuller than others.
fn with_margin(entries: u32) -> u32 {
    entries + entries / 4 + 10_000
}
