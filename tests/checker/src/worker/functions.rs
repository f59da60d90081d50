//! The cached functions of a worker, and all uses of the library under test.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use cached_aside::{Cache, CacheControl, CacheOutcome, Error, Keyspace, RedisTier, cached, default_cache};

use super::{
    job::Job,
    load::{FIRST, Loaded, SECOND, Value, load},
};
use crate::{
    history::Strength,
    universe::{Flavor, Form, Label, flavor, group, label},
};

/// Ttl of all entries, longer than a run: nothing expires.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) const NAMESPACE: &str = "checker";

#[cached("k:{group}:tagged:{key}", ttl = TTL, tags = ["t:{group}"])]
async fn tagged(group: Label, key: u32) -> Loaded {
    load(key).await
}

#[cached("k:{group}:plain:{key}", ttl = TTL)]
async fn plain(group: Label, key: u32) -> Loaded {
    load(key).await
}

#[cached("k:{group}:own:{key}", ttl = TTL, coalesce = local)]
async fn own(group: Label, key: u32) -> Loaded {
    load(key).await
}

#[cached("k:{group}:checked:{key}", ttl = TTL, tags = ["t:{group}"], bound = 0)]
async fn checked(group: Label, key: u32) -> Loaded {
    load(key).await
}

#[cached("k:{group}:valued:{key}", ttl = TTL, tags_from = |value| value.tags())]
async fn valued(group: Label, key: u32) -> Loaded {
    load(key).await
}

#[cached("k:{group}:twofold:{key}", ttl = TTL, version = 1)]
async fn twofold(group: Label, key: u32) -> Loaded {
    load(key).await
}

/// Next version of `twofold`, as in another version of the program. Its values differ.
#[cached("k:{group}:twofold:{key}", ttl = TTL, version = 2)]
async fn twofold_next(group: Label, key: u32) -> Loaded {
    load(key).await.map(|value| Value { edition: SECOND, ..value })
}

fn stored() -> Result<Keyspace<u32, Value>, Error> {
    default_cache().keyspace("stored", TTL)
}

/// Returns the full name in Redis of a key of the keyspace.
pub(crate) fn stored_name(key: u32) -> String {
    let cache = Cache::builder().namespace(NAMESPACE).build().expect("it is well configured");
    let stored = cache.keyspace::<u32, Value>("stored", TTL).expect("it is well configured");
    stored.key(&key).expect("a number can be a key")
}

/// Installs the cache of this process.
pub(super) fn install(job: &Job) -> Result<(), Error> {
    let settings = &job.settings;
    let millis = Duration::from_millis;
    let tier = RedisTier::builder(&job.url)
        .operation_timeout(millis(settings.operation_timeout))
        .write_timeout(millis(settings.write_timeout))
        .connect_timeout(millis(settings.connect_timeout))
        .retry(millis(settings.retry_min), millis(settings.retry_max))
        .build()?;
    Cache::builder()
        .namespace(NAMESPACE)
        .staleness_bound(millis(settings.bound))
        .outage_grace(millis(settings.grace))
        .lease(millis(settings.lease))
        .tier(tier)
        .build()?
        .install()
}

/// Result of a read.
pub(super) enum Found {
    /// Result of a cached function: the value, its source, and the edition that values of the function have.
    Called(Loaded, CacheOutcome, u32),
    /// Result of a keyspace lookup: the value, if there is one.
    LookedUp(Option<Value>),
}

pub(super) async fn read(key: u32) -> Found {
    let (group, control) = (Label(label(group(key))), CacheControl::new());
    let mut edition = FIRST;
    let reply = match flavor(key) {
        Flavor::Tagged => tagged::with(control, group, key).await,
        Flavor::Plain => plain::with(control, group, key).await,
        Flavor::Own => own::with(control, group, key).await,
        Flavor::Checked => checked::with(control, group, key).await,
        Flavor::Valued => valued::with(control, group, key).await,
        Flavor::Twofold if calls_next_version() => {
            edition = SECOND;
            twofold_next::with(control, group, key).await
        }
        Flavor::Twofold => twofold::with(control, group, key).await,
        Flavor::Stored => {
            return Found::LookedUp(match stored() {
                Ok(stored) => stored.get(&key).await,
                Err(_) => None,
            });
        }
    };
    Found::Called(reply.value, reply.outcome, edition)
}

/// Returns whether a call goes to the next version: every other call does.
fn calls_next_version() -> bool {
    static TURN: AtomicBool = AtomicBool::new(false);

    TURN.fetch_xor(true, Ordering::Relaxed)
}

/// Loads in any case; returns `None` for a key without a function.
pub(super) async fn refresh(key: u32) -> Option<Loaded> {
    let group = Label(label(group(key)));
    Some(match flavor(key) {
        Flavor::Tagged => tagged::refresh(group, key).await,
        Flavor::Plain => plain::refresh(group, key).await,
        Flavor::Own => own::refresh(group, key).await,
        Flavor::Checked => checked::refresh(group, key).await,
        Flavor::Valued => valued::refresh(group, key).await,
        Flavor::Twofold => twofold::refresh(group, key).await,
        Flavor::Stored => return None,
    })
}

pub(super) async fn invalidate(key: u32, form: Form, strength: Strength) -> Result<(), Error> {
    let text = label(group(key));
    let group = Label(text.clone());
    let invalidation = match (form, flavor(key)) {
        (Form::Tag, _) => default_cache().invalidate_tag("t:{}", &[&text]),
        (Form::Pattern, _) => default_cache().invalidate_pattern("k:{}:*", &[&text]),
        (Form::Clear, _) => default_cache().clear(),
        (_, Flavor::Tagged) => tagged::invalidate(group, key),
        (_, Flavor::Plain) => plain::invalidate(group, key),
        (_, Flavor::Own) => own::invalidate(group, key),
        (_, Flavor::Checked) => checked::invalidate(group, key),
        (_, Flavor::Valued) => valued::invalidate(group, key),
        (_, Flavor::Twofold) => twofold::invalidate(group, key),
        (_, Flavor::Stored) => stored()?.delete(&key),
    };
    match strength {
        Strength::Plain => invalidation.await,
        Strength::Confirmed => invalidation.confirmed().await,
    }
}

/// Returns whether there are invalidations that Redis has not received yet.
pub(super) fn has_undelivered() -> bool {
    default_cache().stats().pending_invalidations > 0
}

/// Closes the cache, which deregisters this process at Redis.
pub(super) async fn close() {
    default_cache().close().await;
}

pub(super) async fn set(key: u32, value: Value) -> Result<(), Error> {
    stored()?.set(&key, value).await
}
