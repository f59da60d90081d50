//! The shared tier behind the in-process one.

pub(crate) mod budget;
pub(crate) mod cause;
pub(crate) mod feed;
pub(crate) mod guarded;
pub(crate) mod health;
pub(crate) mod none;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    error::tier::TierError,
    tier::{
        budget::Budget,
        cause::TierCause,
        feed::ChangeFeed,
        health::{TierHealth, TierState},
    },
};

/// A store that several processes share, such as Redis.
///
/// Under a key it holds a value, or a lease, or both. A **lease** says that somebody loads the value, and names that load
/// by its [`LeaseToken`]. Only the load whose lease is still there may [`fill`](Self::fill): whatever removes the key, here or
/// by another program, takes the lease with it, and so no load that began before can store what it found.
///
/// A tier MUST bound the time of every operation by itself (where it is given a [`Budget`], by that, if it can) and MUST NOT panic: the call path awaits it while a
/// caller waits. It SHOULD fail at once while it knows that it cannot be reached, and then answer `false` from
/// [`ready`](Tier::ready). An operation that failed may still take effect later, but none that changes a value may do so
/// when the key was deleted meanwhile. The tier stores opaque bytes; freshness, checksums and schemas are its caller's
/// business.
#[async_trait]
pub trait Tier: Send + Sync + fmt::Debug + 'static {
    /// Called once, when a cache is built on the tier.
    fn attach(&self, attachment: Attachment) {
        drop(attachment);
    }

    /// Whether it is worth asking now. `false` means that reads and fills pass it by.
    fn ready(&self) -> bool {
        true
    }

    /// How it is, for those who operate it. It asks nobody and returns at once.
    fn health(&self) -> TierHealth {
        TierHealth::new(if self.ready() { TierState::Up } else { TierState::Down })
    }

    /// Has the tier connect, if it does that at all, and waits for the outcome of its first attempt: no longer than the tier
    /// takes for one. What is known already is said at once. `Err` says why there is no connection.
    async fn connected(&self) -> Result<(), TierCause> {
        Ok(())
    }

    /// What is under each key, and the generation of each tag (`None` if it has none), in one round trip. What it finds,
    /// or does not find, is watched from then on, if the tier can.
    async fn look(&self, asks: &[Lookup<'_>], tags: &[String]) -> Result<Found, TierError>;

    /// What is under one key, as in [`look`](Self::look), and over which line it was asked. It is what most misses of a process
    /// begin with, so a tier may have a shorter way for it.
    async fn look_at(&self, key: &str) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let Found { mut records, line, .. } = self.look(&[Lookup::new(key)], &[]).await?;
        Ok((records.pop().ok_or(TierError::Unavailable)?, line))
    }

    /// As [`look`](Self::look), within a budget that follows what a load costs. A tier with a fixed budget leaves it as it is.
    async fn look_within(
        &self,
        asks: &[Lookup<'_>],
        tags: &[String],
        budget: Budget,
    ) -> Result<Found, TierError> {
        let _ = budget;
        self.look(asks, tags).await
    }

    /// As [`look_at`](Self::look_at), within a budget.
    async fn look_at_within(
        &self,
        key: &str,
        budget: Budget,
    ) -> Result<(Record, Arc<ChangeFeed>), TierError> {
        let _ = budget;
        self.look_at(key).await
    }

    /// As [`lease`](Self::lease), within a budget.
    async fn lease_within(
        &self,
        claims: &[LeaseRequest<'_>],
        tags: TagRequest<'_>,
        budget: Budget,
    ) -> Result<Leased, TierError> {
        let _ = budget;
        self.lease(claims, tags).await
    }

    /// As [`fill`](Self::fill), within a budget: a value that was dear is given more time.
    async fn fill_within(&self, fills: Vec<TierFill>, budget: Budget) -> Result<Filled, TierError> {
        let _ = budget;
        self.fill(fills).await
    }

    /// Takes a lease under each key, as each claim says, and gives each tag a new generation if it has none: in one round
    /// trip. All of this is watched, as in [`look`](Self::look).
    async fn lease(&self, claims: &[LeaseRequest<'_>], tags: TagRequest<'_>) -> Result<Leased, TierError>;

    /// The generations of tags that only a value told, which was loaded since a [moment](Leased::moment); none if one of
    /// them may have been invalidated since then. They are made, kept and watched as those of [`lease`](Self::lease), and
    /// that comes before the question whether they were invalidated.
    async fn adopt(
        &self,
        tags: &[String],
        keep: Duration,
        since: JournalPosition,
    ) -> Result<TagsClaimed, TierError>;

    /// Stores each value if the lease of its load is still there, in one round trip. What was stored is watched.
    async fn fill(&self, fills: Vec<TierFill>) -> Result<Filled, TierError>;

    /// Makes a lease last for `lease` from now on; whether it was still there.
    async fn renew(&self, key: &str, token: LeaseToken, lease: Duration) -> Result<bool, TierError>;

    /// Gives a lease back without a value; whether it was still there. With `is_failed`, those who wait are told for a
    /// moment that there will be none ([`Record::Failed`]).
    async fn release(&self, key: &str, token: LeaseToken, is_failed: bool) -> Result<bool, TierError>;

    /// As [`release`](Self::release), after a load that ended in an error: for some seconds the key holds the note
    /// ([`Record::Error`]), unless it holds a value. By default it is `release`, for tiers that cannot hold notes.
    async fn fail(&self, key: &str, token: LeaseToken, note: &Note) -> Result<bool, TierError> {
        let _ = note;
        self.release(key, token, true).await
    }

    /// Removes what is under these keys, values and leases alike, and the generations of these tags, in one round trip. That
    /// the tags are invalid is noted before that, for [`adopt`](Self::adopt).
    async fn delete(&self, keys: &[String], tags: &[String]) -> Result<(), TierError>;

    /// Removes everything whose key matches `pattern`, in which `*` stands for any characters and nothing else is
    /// special; whoever holds the keys may be asked in many steps. Says how many there were.
    async fn delete_matching(&self, pattern: &str) -> Result<u64, TierError>;

    /// Waits until every process that is attached has handled all changes up to now, or has lost the right to serve what
    /// it has in memory.
    async fn confirm(&self) -> Result<(), TierError> {
        Ok(())
    }

    /// Whether there is a value.
    async fn exists(&self, key: &str) -> Result<bool, TierError>;

    /// The cache is closed: takes leave of the others, ends the connection, and fails at once from then on.
    async fn close(&self) {}

    /// Adds `by` to the counter under `key`, which starts at 0, and returns the sum. `ttl` applies from the
    /// moment the counter comes into being and is not extended by later additions.
    async fn incr(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, TierError>;
}

/// What a tier is told of the cache that was built on it.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Whom to tell of changes.
    pub watcher: Arc<dyn ChangeListener>,
    /// What all keys of the cache begin with, before a `:`. Keys that begin with `namespace:%` are no values.
    pub namespace: String,
    /// What the watcher is told of when a tag is invalidated after a [moment](Leased::moment) was given out, if the tier can.
    pub journal: String,
    /// How old a [proof](ChangeFeed::prove) may be for a value to be served from memory.
    pub bound: Duration,
    /// How much longer it is served when the tier cannot be reached.
    pub grace: Duration,
    /// No value that the cache stores has more bytes. What has more was written by something else, and need not be read.
    pub max_bytes: usize,
}

/// Whom a tier tells of changes to what it watches. The calls return at once.
pub trait ChangeListener: Send + Sync + fmt::Debug + 'static {
    /// What is under `key` has changed, or may have.
    fn changed(&self, key: &[u8]);

    /// As [`changed`](Self::changed), for every key.
    fn all_changed(&self);

    /// The tier can be reached again.
    fn restored(&self);

    /// The state of the tier, or its cause, may be another one: its [`health`](Tier::health) says how it is. The tier holds no
    /// lock meanwhile that a call of its own needs.
    fn standing_changed(&self) {}

    /// How often values were served from memory until now; `None` while callers wait, or if it is not known. While this stays the
    /// same, [proofs](ChangeFeed::prove) are of no use, and a tier may do without: then the next call asks it first.
    fn served(&self) -> Option<u64> {
        None
    }
}

/// A value of more bytes than this is large: a tier may send it another way, so that nothing small waits behind it.
pub const LARGE_VALUE: usize = 256 * 1024;

/// A question about one key. `Debug` does not show it, as it holds the arguments of a call.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// The key.
    pub key: &'a str,
    /// Of a value that the asker has already: if it is still this one, its bytes are not sent again.
    pub known: Option<Revision>,
    /// About how many bytes the value has, if other values of its function were [large](LARGE_VALUE); otherwise 0.
    pub size: usize,
}

impl<'a> Lookup<'a> {
    /// A question about a key of which nothing is known.
    #[must_use]
    pub fn new(key: &'a str) -> Self {
        Self { key, known: None, size: 0 }
    }

    /// The same, if the value is another one than that with this stamp.
    #[must_use]
    pub fn known(key: &'a str, stamp: Revision) -> Self {
        Self { known: Some(stamp), ..Self::new(key) }
    }

    /// Whether the value is to be expected to be [large](LARGE_VALUE), and to be sent.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.known.is_none() && self.size > LARGE_VALUE
    }
}

impl fmt::Debug for Lookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("known", &self.known.is_some())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// What a tier found.
#[derive(Clone, Debug)]
pub struct Found {
    /// For each key that was asked for.
    pub records: Vec<Record>,
    /// For each tag that was asked for.
    pub generations: Vec<Option<u64>>,
    /// Over which it was asked.
    pub line: Arc<ChangeFeed>,
}

/// What is under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Nothing.
    Absent,
    /// A value, whether or not somebody has a lease to replace it.
    Value(Stored),
    /// The value that the asker [has](Lookup::known).
    Unchanged,
    /// Another one, or none: ask again for it.
    Changed,
    /// No value, but somebody loads it.
    Leased {
        /// How long the lease lasts unless it is renewed.
        left: Duration,
        /// The load before this one had nothing to [share](Self::Failed).
        is_retry: bool,
    },
    /// Somebody loaded it, and has nothing to share.
    Failed,
    /// A load ended in an error.
    Error(Note),
}

/// What a load that ended in an error left in the key: opaque bytes. They are empty if the error has no text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Note(pub Vec<u8>);

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

/// A value under a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes that were [filled](Tier::fill) in.
    pub bytes: Vec<u8>,
    /// How long the tier will still hold them; `None` if it will not expire them.
    pub remaining: Option<Duration>,
    /// Names this fill among all of this key. Zero for bytes that no fill wrote.
    pub stamp: Revision,
}

/// Names a fill.
pub type Revision = u64;

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("len", &self.bytes.len())
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

/// Names a load. It is drawn anew for each one, and cannot be guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub [u8; 16]);

impl LeaseToken {
    /// The [`Revision`] of what this load fills in: never zero.
    pub fn stamp(&self) -> Revision {
        self.0.first_chunk().copied().map_or(1, u64::from_le_bytes).max(1)
    }
}

/// It names nothing but itself.
impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A lease that a load asks for. `Debug` does not show the key, as it holds the arguments of a call.
#[derive(Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// The key.
    pub key: &'a str,
    /// The load.
    pub token: LeaseToken,
    /// How long the lease lasts unless it is renewed.
    pub lease: Duration,
    /// In whose place.
    pub take: LeaseMode,
}

impl fmt::Debug for LeaseRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseClaim")
            .field("token", &self.token)
            .field("lease", &self.lease)
            .field("take", &self.take)
            .finish_non_exhaustive()
    }
}

/// What a lease may be taken over. A value stays where it is, and is served, until the fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseMode {
    /// There must be neither a value nor another lease.
    IfAbsent,
    /// There must be no other lease, and no value but the one with this stamp.
    IfRevision(Revision),
    /// Whatever there is: another load's fill is refused from now on.
    Always,
}

/// Tags of a load that begins. `Debug` shows how many, as their keys hold arguments of a call.
#[derive(Clone, Copy)]
pub struct TagRequest<'a> {
    /// Their keys.
    pub keys: &'a [String],
    /// For how long their generations are kept at least.
    pub keep: Duration,
    /// Whether the value will tell further ones, so that the [moment](Leased::moment) is wanted.
    pub more: bool,
}

impl fmt::Debug for TagRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagAsk")
            .field("keys", &self.keys.len())
            .field("keep", &self.keep)
            .field("more", &self.more)
            .finish()
    }
}

/// Leases, and generations of tags.
#[derive(Clone, Debug)]
pub struct Leased {
    /// For each claim.
    pub grants: Vec<LeaseReply>,
    /// For each tag.
    pub generations: Vec<u64>,
    /// When this was, by the order in which tags are invalidated; if it was wanted.
    pub moment: Option<JournalPosition>,
    /// Over which this went.
    pub line: Arc<ChangeFeed>,
}

/// How many tags had been invalidated, by some count. Moments of two counts have nothing to do with each other: a tier that
/// loses its count begins another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPosition {
    /// Names the count: a number that never was one before.
    pub count: u64,
    /// How far it was.
    pub number: u64,
}

/// Tags that were not known before.
#[derive(Clone, Debug)]
pub struct TagsClaimed {
    /// For each tag; none if one of them may have been invalidated.
    pub generations: Option<Vec<u64>>,
    /// Over which this went.
    pub line: Arc<ChangeFeed>,
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseReply {
    /// The lease is the asker's.
    Granted,
    /// It is another one's, who has so much time left unless he renews it.
    HeldElsewhere(Duration),
    /// There is a value that the asker has not seen.
    ValueChanged,
}

/// A value on its way into a tier.
#[derive(Clone, PartialEq, Eq)]
pub struct TierFill {
    /// The key.
    pub key: String,
    /// The load that found it.
    pub token: LeaseToken,
    /// The value.
    pub bytes: Vec<u8>,
    /// How long to keep it; not zero.
    pub ttl: Duration,
    /// Tags of the value whose generations may end before it: those that are still there are kept for as long as the value,
    /// and none is made.
    pub tags: Vec<String>,
}

impl fmt::Debug for TierFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierFill")
            .field("len", &self.bytes.len())
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// What became of fills.
#[derive(Clone, Debug)]
pub struct Filled {
    /// For each fill, whether it was stored.
    pub stored: Vec<bool>,
    /// Over which they went.
    pub line: Arc<ChangeFeed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tier of one's own may trace what it is asked for.
    #[test]
    fn no_question_shows_what_it_is_about() {
        let (key, keys) = ("ns:user:ada@example.org", ["ns:%tag:ada@example.org".to_owned()]);
        let (token, lease) = (LeaseToken([7; 16]), Duration::from_secs(10));
        let shown = [
            format!("{:?}", Lookup::known(key, 7)),
            format!("{:?}", LeaseRequest { key, token, lease, take: LeaseMode::IfAbsent }),
            format!("{:?}", TagRequest { keys: &keys, keep: lease, more: false }),
            format!("{:?}", Stored { bytes: key.into(), remaining: None, stamp: 7 }),
            format!(
                "{:?}",
                TierFill { key: key.to_owned(), token, bytes: key.into(), ttl: lease, tags: keys.to_vec() }
            ),
        ];
        assert!(shown.iter().all(|text| !text.contains("ada")), "{shown:?}");
        assert!(shown[1].contains("10s") && shown[2].contains("keys: 1"), "{shown:?}");
    }
}
