//! Functions under the attribute of `hitbox`.
//!
//! Their arguments are owned, their keys are texts, and their values are decoded for each caller.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use hitbox::{concurrency::NoopConcurrencyManager, policy::PolicyConfig};
use hitbox_backend::format::BincodeFormat;
use hitbox_fn::{Cache, CacheableResponse, cached};
use hitbox_moka::MokaBackend;
use serde::{Deserialize, Serialize};

use super::CAPACITY;
use crate::work::{Prompt, TTL, Text, load, now};

/// Value with a shared text. `hitbox` caches only types that implement its `CacheableResponse`.
#[derive(Clone, CacheableResponse, Deserialize, Serialize)]
struct Shared {
    text: Arc<String>,
}

fn shared(number: u64) -> Shared {
    Shared { text: load(number) }
}

/// Cache without stampede protection, so that a hit does not pay for it.
type Memory = Cache<MokaBackend<BincodeFormat>, NoopConcurrencyManager, hitbox::DisabledOffload>;

fn memory() -> Memory {
    let backend = MokaBackend::builder().max_entries(CAPACITY.into()).value_format(BincodeFormat).build();
    let policy = PolicyConfig::builder().ttl(Duration::from_secs(TTL.as_secs())).build();
    Cache::builder().backend(backend).policy(policy).build()
}

/// One cache for each function, as with the other attributes.
static MEMORIES: LazyLock<[Memory; 5]> = LazyLock::new(|| std::array::from_fn(|_| memory()));

#[cached(prefix = "number_to_u64")]
async fn number_u64(id: u64) -> u64 {
    load(id)
}

#[cached(prefix = "number_to_string")]
async fn number_string(id: u64) -> String {
    load(id)
}

#[cached(prefix = "text_to_u64")]
async fn text_u64(name: String, n: u32) -> u64 {
    let _ = name;
    load(n.into())
}

#[cached(prefix = "text_to_shared")]
async fn text_shared(name: String, n: u32) -> Shared {
    let _ = name;
    shared(n.into())
}

#[cached(prefix = "prompt_to_shared")]
async fn prompt_shared(prompt: String) -> Shared {
    shared(Prompt::number_of(&prompt))
}

pub(super) fn number_to_u64(id: u64) -> u64 {
    now(number_u64(id).cache(&MEMORIES[0]).into_future())
}

pub(super) fn number_to_string(id: u64) -> String {
    now(number_string(id).cache(&MEMORIES[1]).into_future())
}

pub(super) fn text_to_u64((name, n): &Text) -> u64 {
    now(text_u64(name.clone(), *n).cache(&MEMORIES[2]).into_future())
}

pub(super) fn text_to_shared((name, n): &Text) -> Arc<String> {
    now(text_shared(name.clone(), *n).cache(&MEMORIES[3]).into_future()).text
}

pub(super) fn prompt_to_shared(Prompt(prompt): &Prompt) -> Arc<String> {
    now(prompt_shared(prompt.clone()).cache(&MEMORIES[4]).into_future()).text
}
