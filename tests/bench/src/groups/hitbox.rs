//! A cache of `hitbox` with its stampede protection.

use std::sync::Arc;

use hitbox::{
    DisabledOffload,
    concurrency::BroadcastConcurrencyManager,
    policy::{ConcurrencyLimit, PolicyConfig},
};
use hitbox_backend::format::BincodeFormat;
use hitbox_fn::{Cache, cached};
use hitbox_moka::MokaBackend;

use crate::work::{TTL, load};

/// Cache for functions that return a number.
pub(crate) type ProtectedCache =
    Arc<Cache<MokaBackend<BincodeFormat>, BroadcastConcurrencyManager<u64>, DisabledOffload>>;

/// Creates a cache for `capacity` entries.
pub(crate) fn with_stampede_protection(capacity: u32) -> ProtectedCache {
    let backend = MokaBackend::builder().max_entries(capacity.into()).value_format(BincodeFormat).build();
    let one = ConcurrencyLimit::new(1).expect("one is allowed");
    let policy = PolicyConfig::builder().ttl(TTL).concurrency(one).build();
    let builder = Cache::builder().backend(backend).policy(policy);
    Arc::new(builder.concurrency_manager(BroadcastConcurrencyManager::new()).build())
}

#[cached(prefix = "shielded")]
async fn number(id: u64) -> u64 {
    load(id)
}

/// Calls the cached function.
pub(crate) async fn get(cache: &ProtectedCache, id: u64) -> u64 {
    number(id).cache(cache).await
}
