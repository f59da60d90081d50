//! The shared tier of a cache, with the names, envelopes, epochs and outbox around it.

use std::{
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    base::{
        background::Background,
        clock::{Clock, Nanos, millis},
        planted::planted,
    },
    coherence::{
        epoch::{Epoch, Epochs},
        outbox::Outbox,
        tag_log::TagLog,
        validity::Validity,
    },
    error::{Error, tier::TierError},
    key::{KeyHasher, entry_key::SharedKey},
    l2::{pending_releases::PendingReleases, sweeps::Sweeps},
    spec::FunctionSpec,
    telemetry::functions::FunctionMetrics,
    tier::{LeaseToken, Stored, Tier, catch_panic::CatchPanic, feed::ChangeFeed},
    value::{
        codec::{CodecId, Format},
        envelope::{self, Expect, Header, Limits, TagGeneration, Unreadable},
        erased::{ErasedValue, Freshness},
        policy::{Encoded, Encoder, Lifespan, ValuePolicy},
    },
};

/// Longest life for which the age of a value is computed from the tier's countdown.
///
/// The age of a value with a longer life is read from wall clocks: their difference is small compared with
/// the life.
const LONGEST_COUNTDOWN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The shared tier of one cache, and the state around it.
#[derive(Debug)]
pub(crate) struct Shared {
    /// False for a cache without a shared tier.
    pub(crate) has_tier: bool,
    pub(crate) tier: CatchPanic,
    pub(crate) hasher: Arc<dyn KeyHasher>,
    pub(crate) namespace: String,
    pub(crate) format: Format,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) outbox: Outbox,
    pub(crate) sweeps: Sweeps,
    pub(crate) tag_log: TagLog,
    pub(crate) background: Arc<Background>,
    /// Set when the cache is closed, so that leases are released. Each task that renews a lease subscribes to
    /// it.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) pending_releases: Arc<PendingReleases>,
    /// Length of a lease, unless it is renewed.
    pub(crate) lease: Duration,
    /// Change feed of values that only this process can invalidate.
    pub(crate) local_feed: Arc<ChangeFeed>,
}

/// A value to store in the shared tier.
pub(crate) struct Fill {
    pub(crate) encoder: Encoder,
    pub(crate) created_ms: u64,
    pub(crate) life: Life,
}

/// Life of a value: its start, and how long it is fresh, stale and held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) start: Nanos,
    pub(crate) ttl: Duration,
    /// Time after `ttl` during which the value may still be served.
    pub(crate) stale: Duration,
    /// Further time for which the tier holds the value, so that a lease over the value does not end it.
    pub(crate) spare: Duration,
}

impl Life {
    /// Returns how long the value may be served, fresh or stale.
    pub(crate) fn usable_for(self) -> Duration {
        self.ttl.saturating_add(self.stale)
    }
}

/// A record of the shared tier, decoded.
pub(crate) enum OpenedRecord {
    Value(OpenedValue),
    /// A stub of a value that the tier cannot hold. Each process keeps its own value as long as the stub is
    /// there.
    Stub(Freshness),
}

/// A value of the shared tier, with the generations that its tags had when it was loaded.
pub(crate) struct OpenedValue {
    pub(crate) erased: Arc<dyn ErasedValue>,
    pub(crate) tags: Vec<TagGeneration>,
}

impl Shared {
    /// Returns the key of a tag.
    pub(crate) fn tag_key(&self, tag: &str) -> String {
        format!("{}:%tag:{tag}", self.namespace)
    }

    /// Returns the name that changes with every invalidation of a tag.
    pub(crate) fn journal_key(&self) -> String {
        format!("{}:%tags", self.namespace)
    }

    /// Removes these names from the tier. Names of tags may be among them.
    pub(crate) async fn delete(&self, names: Vec<String>) -> Result<(), TierError> {
        let tag_prefix = self.tag_key("");
        let (tags, keys): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.starts_with(&tag_prefix));
        if tags.is_empty() && keys.is_empty() {
            return Ok(());
        }
        self.tier.delete(&keys, &tags).await
    }

    /// Removes every name that matches `pattern` from the tier.
    pub(crate) async fn sweep(&self, pattern: &str) -> Result<(), TierError> {
        self.sweeps.sweep(&self.tier, pattern).await
    }

    /// Returns the pattern of all names of this cache.
    pub(crate) fn all_names_pattern(&self) -> String {
        format!("{}:*", self.namespace)
    }

    /// Returns the validity of a load that does not ask the tier: only this process can invalidate it.
    pub(crate) fn local_validity(&self, name: &str, tags: &[String]) -> Validity {
        self.local_validity_on(self.epochs.current(name), tags)
    }

    /// Returns the validity of such a load, on an epoch that the caller has taken.
    pub(crate) fn local_validity_on(&self, epoch: Arc<Epoch>, tags: &[String]) -> Validity {
        self.validity(epoch, tags, self.local_feed.clone())
    }

    /// Returns the validity of an entry that no tier shares.
    ///
    /// Its feed confirms it at any time, so the time is not read.
    pub(crate) fn unshared_validity(&self, epoch: Arc<Epoch>, tags: &[String]) -> Validity {
        self.validity_at(0, epoch, tags, self.local_feed.clone())
    }

    /// Returns the epoch of all entries of a function that have no names.
    pub(crate) fn function_epoch(&self, spec: &FunctionSpec) -> Arc<Epoch> {
        let names = || format!("{}:{}:*", self.namespace, spec.template());
        self.epochs.current_of_function(spec.template(), names)
    }

    /// Returns a validity without a change feed, as of now.
    ///
    /// It serves loads that could not ask the tier. Other callers replace the feed when the tier has
    /// answered.
    pub(crate) fn detached_validity(&self, name: &str, tags: &[String]) -> Validity {
        self.validity(self.epochs.current(name), tags, ChangeFeed::none())
    }

    /// Returns a validity without a change feed, on an epoch that the caller has taken.
    pub(crate) fn detached_validity_on(&self, epoch: Arc<Epoch>, tags: &[String]) -> Validity {
        self.validity(epoch, tags, ChangeFeed::none())
    }

    /// Takes epochs, so the call has to precede the request to the tier.
    fn validity(&self, epoch: Arc<Epoch>, tags: &[String], feed: Arc<ChangeFeed>) -> Validity {
        self.validity_at(self.clock.now(), epoch, tags, feed)
    }

    fn validity_at(
        &self,
        checked_at: Nanos,
        epoch: Arc<Epoch>,
        tags: &[String],
        feed: Arc<ChangeFeed>,
    ) -> Validity {
        Validity { epoch, tags: self.tag_epochs(tags), feed, checked_at }
    }

    /// Returns the epochs of tags, whose generations are not known yet.
    pub(crate) fn tag_epochs(&self, tags: &[String]) -> Box<[(Arc<Epoch>, u64)]> {
        tags.iter().map(|tag| (self.epochs.current(tag), 0)).collect()
    }

    /// Returns the own epoch of `name`, for values that this process does not share.
    ///
    /// A change that the tier reports for `name` does not end it.
    pub(crate) fn own_epoch(&self, name: &str) -> Arc<Epoch> {
        self.epochs.current(&own_epoch_name(name))
    }

    pub(crate) fn epoch(&self, name: &str) -> Arc<Epoch> {
        self.epochs.current(name)
    }

    /// Returns the digest that identifies a tag in an envelope.
    pub(crate) fn tag_digest(&self, tag_key: &str) -> u64 {
        let digest = self.hasher.hash(tag_key.as_bytes());
        digest.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    /// Decodes a record that the tier had under `name` at `now`; `None` if its life has ended.
    pub(crate) fn open(
        &self,
        name: &SharedKey,
        stored: &Stored,
        policy: &dyn ValuePolicy,
        now: Nanos,
    ) -> Result<Option<OpenedRecord>, Unreadable> {
        let expect = Expect { schema: name.schema, check: name.check };
        let opened = envelope::open(&stored.bytes, &expect, &self.limits)?;
        // The wall clocks of two machines differ. So the tier's own countdown decides, if there is one, also
        // about the age. But if a value is replaced between the two readings of one round trip, it must not
        // get the other value's time: hence the cap at `life`.
        let stale_for = Duration::from_millis(opened.header.stale_ms);
        let spare = Duration::from_millis(opened.header.spare_ms);
        let life = Duration::from_millis(opened.header.fresh_ms).saturating_add(stale_for);
        let wall_age =
            || Duration::from_millis(self.clock.wall_ms().saturating_sub(opened.header.created_ms));
        let (left, age) = match stored.remaining {
            Some(remaining) => {
                let left = remaining.saturating_sub(spare).min(life);
                // A tier may hold a long-lived value for less than its life.
                (left, if life <= LONGEST_COUNTDOWN { life.saturating_sub(left) } else { wall_age() })
            }
            None => (life.saturating_sub(wall_age()), wall_age()),
        };
        if left.is_zero() {
            return Ok(None);
        }
        let (remaining, stale) = (left.saturating_sub(stale_for), left.min(stale_for));
        let lifespan = Lifespan { now, age, remaining, stale };
        if opened.header.is_stub {
            return Ok(Some(OpenedRecord::Stub(policy.stub_freshness(lifespan))));
        }
        let format = self.format.with_id(CodecId(opened.header.codec)).ok_or(Unreadable::OtherCodec)?;
        // The decoder is the user's code.
        let decode = || policy.decode(&opened.payload, opened.header.is_empty, &format, lifespan);
        match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(erased)) => Ok(Some(OpenedRecord::Value(OpenedValue { erased, tags: opened.header.tags }))),
            _ => Err(Unreadable::Undecodable),
        }
    }

    /// Encodes a value for the tier. With `is_checked`, it also verifies that the bytes can be decoded.
    pub(crate) fn seal(
        &self,
        name: &SharedKey,
        fill: Fill,
        validity: &Validity,
        is_checked: bool,
    ) -> Result<Vec<u8>, Error> {
        let mut payload = Vec::new();
        // The encoder is the user's code, and so is the decoder.
        let encode = || (fill.encoder)(&self.format, is_checked, &mut payload);
        let encoded = catch_unwind(AssertUnwindSafe(encode));
        let Encoded { codec, is_empty } =
            encoded.map_err(|_| Error::codec("the value's `Serialize` or `Deserialize` panicked"))??;
        let tag = |(tag, generation): &(Arc<Epoch>, u64)| TagGeneration {
            tag: self.tag_digest(tag.name()),
            generation: *generation,
        };
        let tags = validity.tags.iter().map(tag).collect();
        let header = header(name, fill.created_ms, fill.life);
        let header = Header { codec: codec.0, is_empty, tags, ..header };
        envelope::seal(&header, &payload, &self.limits)
    }

    /// Encodes a stub.
    pub(crate) fn seal_stub(&self, name: &SharedKey, created_ms: u64, life: Life) -> Result<Vec<u8>, Error> {
        let header = Header { is_stub: true, ..header(name, created_ms, life) };
        envelope::seal(&header, &[], &self.limits)
    }

    /// Returns the length of a lease, unless it is renewed.
    ///
    /// If a function loads in each process, no process waits for its lease. Such a lease is not renewed,
    /// because each renewal would notify all processes. But if the process dies, nothing is shared under the
    /// key until the lease ends. So the length is a multiple of the usual duration of the function's loads,
    /// if that is known.
    pub(crate) fn lease_length(&self, coalesces_locally: bool, function: &FunctionMetrics) -> Duration {
        const MAX_FACTOR: u32 = 30;
        const LOAD_FACTOR: u32 = 10;

        if !coalesces_locally {
            return self.lease;
        }
        let longest = self.lease.saturating_mul(MAX_FACTOR);
        let load_time = function.average_load_time();
        load_time.map_or(longest, |time| time.saturating_mul(LOAD_FACTOR).clamp(self.lease, longest))
    }

    /// Returns how long the tier is to hold the value; `None` if its life has ended.
    ///
    /// Time spent waiting for the store counts, so waiting does not prolong the life.
    pub(crate) fn remaining_life(&self, life: Life) -> Option<Duration> {
        let waited = Duration::from_nanos(self.clock.now().saturating_sub(life.start));
        let left = life.usable_for().saturating_sub(waited);
        (!left.is_zero()).then(|| left.saturating_add(life.spare))
    }
}

/// Returns a header without a codec, flags and tags.
fn header(name: &SharedKey, created_ms: u64, life: Life) -> Header {
    Header {
        codec: 0,
        is_empty: false,
        is_stub: false,
        schema: name.schema,
        check: name.check,
        created_ms,
        fresh_ms: millis(life.ttl),
        stale_ms: millis(life.stale),
        spare_ms: millis(life.spare),
        tags: Vec::new(),
    }
}

/// Returns the name of the own epoch of `name`. It is unique, because no name contains a NUL.
pub(crate) fn own_epoch_name(name: &str) -> String {
    format!("{name}\0")
}

impl LeaseToken {
    /// Draws a new token: two 64-bit outputs of a keyed hash with a key from the system.
    pub(crate) fn random() -> Self {
        if planted!("token-per-client") {
            return Self([7; 16]);
        }
        let mut token = [0; 16];
        for half in token.chunks_exact_mut(8) {
            half.copy_from_slice(&RandomState::new().hash_one(0_u8).to_le_bytes());
        }
        Self(token)
    }
}
