//! The shared tier with what surrounds it: names, envelopes, marks, and words that it has still to be told.

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
    l2::{returning::Returning, sweeps::Sweeps},
    telemetry::functions::FunctionMetrics,
    tier::{LeaseToken, Stored, Tier, feed::ChangeFeed, guarded::CatchPanic},
    value::{
        codec::{Format, Written},
        envelope::{self, Expect, Header, Limits, TagGeneration, Unreadable},
        erased::{ErasedValue, Freshness},
        policy::{Dates, Encoded, Encoder, ValuePolicy},
    },
};

/// The age of a value that lives longer is read from wall clocks, which do not differ by much of that.
const LONGEST_COUNTED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The shared tier of one cache.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Whether there is one at all.
    pub(crate) exists: bool,
    pub(crate) tier: CatchPanic,
    pub(crate) hasher: Arc<dyn KeyHasher>,
    pub(crate) namespace: String,
    pub(crate) format: Format,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) marks: Arc<Epochs>,
    pub(crate) pending: Outbox,
    pub(crate) sweeps: Sweeps,
    pub(crate) said: TagLog,
    pub(crate) background: Arc<Background>,
    /// Whether leases are given back, because the cache is closed. Each one that is renewed listens to it.
    pub(crate) leaving: watch::Sender<bool>,
    pub(crate) returning: Arc<Returning>,
    /// How long a lease lasts unless it is renewed.
    pub(crate) lease: Duration,
    /// Over which this process tells itself.
    pub(crate) home: Arc<ChangeFeed>,
}

/// A value on its way to the shared tier.
pub(crate) struct Fill {
    pub(crate) encoder: Encoder,
    pub(crate) created_ms: u64,
    pub(crate) life: Life,
}

/// How long a value is fresh, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) since: Nanos,
    pub(crate) ttl: Duration,
    /// How long it may be served after that.
    pub(crate) stale: Duration,
    /// How long the tier holds it after that, so that a lease over it does not end it.
    pub(crate) spare: Duration,
}

impl Life {
    /// How long anybody may want it.
    pub(crate) fn whole(self) -> Duration {
        self.ttl.saturating_add(self.stale)
    }
}

/// What the shared tier had.
pub(crate) enum Opened {
    Value(OpenedValue),
    /// Word of a value that the tier cannot hold: each process keeps its own, as long as this is there.
    Stub(Freshness),
}

/// A value out of the shared tier, and the generations of its tags when it was loaded.
pub(crate) struct OpenedValue {
    pub(crate) slot: Arc<dyn ErasedValue>,
    pub(crate) tags: Vec<TagGeneration>,
}

impl Shared {
    /// The key of a tag.
    pub(crate) fn tag_key(&self, tag: &str) -> String {
        format!("{}:%tag:{tag}", self.namespace)
    }

    /// The name that stands for the invalidation of any tag.
    pub(crate) fn journal(&self) -> String {
        format!("{}:%tags", self.namespace)
    }

    /// Removes what is under these names, of tags and others.
    pub(crate) async fn delete(&self, names: Vec<String>) -> Result<(), TierError> {
        let begin = self.tag_key("");
        let (tags, keys): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(&begin));
        if tags.is_empty() && keys.is_empty() {
            return Ok(());
        }
        self.tier.delete(&keys, &tags).await
    }

    /// Removes whatever has a name that matches.
    pub(crate) async fn sweep(&self, pattern: &str) -> Result<(), TierError> {
        self.sweeps.sweep(&self.tier, pattern).await
    }

    /// A pattern of all names of this cache.
    pub(crate) fn everything(&self) -> String {
        format!("{}:*", self.namespace)
    }

    /// What a load of `name` stands on that asks nobody: words of this process only.
    pub(crate) fn home_claim(&self, name: &str, tags: &[String]) -> Validity {
        self.claim(self.marks.of(name), tags, self.home.clone())
    }

    /// What a load stands on that could not ask.
    pub(crate) fn silent_claim(&self, name: &str, tags: &[String]) -> Validity {
        self.claim(self.marks.of(name), tags, ChangeFeed::silent())
    }

    /// The same with the mark of its name.
    pub(crate) fn silent_claim_on(&self, mark: Arc<Epoch>, tags: &[String]) -> Validity {
        self.claim(mark, tags, ChangeFeed::silent())
    }

    /// Takes marks, so it comes before whatever is asked.
    fn claim(&self, mark: Arc<Epoch>, tags: &[String], line: Arc<ChangeFeed>) -> Validity {
        let tags = tags.iter().map(|tag| (self.marks.of(tag), 0)).collect();
        Validity { mark, tags, line, checked: self.clock.now() }
    }

    /// The mark of what this process has under `name` and shares with nobody: words from elsewhere do not end it.
    pub(crate) fn own_mark(&self, name: &str) -> Arc<Epoch> {
        self.marks.of(&own_mark_name(name))
    }

    pub(crate) fn mark(&self, name: &str) -> Arc<Epoch> {
        self.marks.of(name)
    }

    /// How an envelope knows the tag of a key.
    pub(crate) fn tag_digest(&self, tag_key: &str) -> u64 {
        let digest = self.hasher.hash(tag_key.as_bytes());
        digest.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    /// The value in what the tier had under `name` at this moment; `None` if its time is over.
    pub(crate) fn open<R>(
        &self,
        name: &SharedKey,
        stored: &Stored,
        shape: &dyn ValuePolicy<R>,
        now: Nanos,
    ) -> Result<Option<Opened>, Unreadable> {
        let expect = Expect { schema: name.schema, check: name.check };
        let opened = envelope::open(&stored.bytes, &expect, &self.limits)?;
        // The wall clocks of two machines differ, so what the tier itself counts down decides, if it does, for the age as well; but a
        // value that is replaced between the two readings of one round trip must not borrow the other's time.
        let stale_for = Duration::from_millis(opened.header.stale_ms);
        let spare = Duration::from_millis(opened.header.spare_ms);
        let life = Duration::from_millis(opened.header.fresh_ms).saturating_add(stale_for);
        let wall_age =
            || Duration::from_millis(self.clock.wall_ms().saturating_sub(opened.header.created_ms));
        let (left, age) = match stored.remaining {
            Some(remaining) => {
                let left = remaining.saturating_sub(spare).min(life);
                // A tier may hold for less what would live longer.
                (left, if life <= LONGEST_COUNTED { life.saturating_sub(left) } else { wall_age() })
            }
            None => (life.saturating_sub(wall_age()), wall_age()),
        };
        if left.is_zero() {
            return Ok(None);
        }
        let (remaining, stale) = (left.saturating_sub(stale_for), left.min(stale_for));
        let dates = Dates { now, age, remaining, stale };
        if opened.header.is_stub {
            return Ok(Some(Opened::Stub(shape.dates(dates))));
        }
        let format = self.format.of(Written(opened.header.codec)).ok_or(Unreadable::OtherCodec)?;
        // The decoder is the user's code.
        let decode = || shape.decode(&opened.payload, opened.header.empty, &format, dates);
        match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(slot)) => Ok(Some(Opened::Value(OpenedValue { slot, tags: opened.header.tags }))),
            _ => Err(Unreadable::Undecodable),
        }
    }

    /// The bytes that the tier will hold. With `is_checked`, they can be read again.
    pub(crate) fn seal(
        &self,
        name: &SharedKey,
        fill: Fill,
        claim: &Validity,
        is_checked: bool,
    ) -> Result<Vec<u8>, Error> {
        let mut payload = Vec::new();
        // The encoder is the user's code, and so is the decoder.
        let encode = || (fill.encoder)(&self.format, is_checked, &mut payload);
        let encoded = catch_unwind(AssertUnwindSafe(encode));
        let Encoded { by, is_empty } =
            encoded.map_err(|_| Error::codec("the value's `Serialize` or `Deserialize` panicked"))??;
        let tag = |(tag, generation): &(Arc<Epoch>, u64)| TagGeneration {
            tag: self.tag_digest(tag.name()),
            generation: *generation,
        };
        let tags = claim.tags.iter().map(tag).collect();
        let header = header(name, fill.created_ms, fill.life);
        let header = Header { codec: by.0, empty: is_empty, tags, ..header };
        envelope::seal(&header, &payload, &self.limits)
    }

    /// The bytes of a stub.
    pub(crate) fn seal_stub(&self, name: &SharedKey, created_ms: u64, life: Life) -> Result<Vec<u8>, Error> {
        let header = Header { is_stub: true, ..header(name, created_ms, life) };
        envelope::seal(&header, &[], &self.limits)
    }

    /// How long a lease lasts unless it is renewed. Nobody waits for that of a function which loads in each process, so it
    /// need not be renewed, which would be a word to everyone; but while it lasts, nothing of the key is shared if its process
    /// dies. So it is a multiple of what loads of the function take, as far as that is known.
    pub(crate) fn lease_length(&self, coalesces_here: bool, function: &FunctionMetrics) -> Duration {
        const UNRENEWED: u32 = 30;
        const LOADS: u32 = 10;

        if !coalesces_here {
            return self.lease;
        }
        let longest = self.lease.saturating_mul(UNRENEWED);
        let price = function.price();
        price.map_or(longest, |price| price.saturating_mul(LOADS).clamp(self.lease, longest))
    }

    /// Waiting to be stored does not make a value live longer.
    pub(crate) fn left(&self, life: Life) -> Option<Duration> {
        let waited = Duration::from_nanos(self.clock.now().saturating_sub(life.since));
        let left = life.whole().saturating_sub(waited);
        (!left.is_zero()).then(|| left.saturating_add(life.spare))
    }
}

/// Of no value yet.
fn header(name: &SharedKey, created_ms: u64, life: Life) -> Header {
    Header {
        codec: 0,
        empty: false,
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

/// No name holds a NUL.
pub(crate) fn own_mark_name(name: &str) -> String {
    format!("{name}\0")
}

impl LeaseToken {
    /// A new one: two words of a keyed hash whose key the system drew.
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
