//! The shared tier with what surrounds it: names, envelopes, healing, and writes off the caller's path.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    Error,
    clock::{Clock, Nanos, millis},
    codec::Format,
    envelope::{self, Expect, Header, Limits, Unreadable},
    guard::Guarded,
    key::KeyHasher,
    shape::{Dates, Encoder, Shape},
    slot::Slot,
    stats::{Count, Counters},
    tier::{Stored, Tier, TierError},
    turns::{Turn, Turns},
};

/// How long a read waits for a write of this process to the same name.
const READ_PATIENCE: Duration = Duration::from_millis(50);

/// How long a write waits for the writes before it.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// More fills than this under way are not kept for later, but dropped: the shared tier cannot keep up.
const MOST_FILLS: usize = 4096;

/// The shared tier of one cache.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Whether there is one at all; without, keys need no names.
    pub(crate) exists: bool,
    pub(crate) tier: Guarded,
    pub(crate) hasher: Arc<dyn KeyHasher>,
    pub(crate) namespace: String,
    pub(crate) format: Format,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) turns: Arc<Turns>,
    pub(crate) untold: Untold,
}

/// A key as the shared tier knows it.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    /// Stored with the value and compared when it is read: the half of the digest that is not in the text.
    pub(crate) check: [u8; 16],
    pub(crate) schema: u64,
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
}

/// A value that is to be stored under a name, when its turn has come.
pub(crate) struct Put {
    pub(crate) name: Name,
    pub(crate) fill: Fill,
    pub(crate) turn: Turn,
}

impl Shared {
    /// The value under `name`. Whatever goes wrong is counted and comes out as a miss.
    pub(crate) async fn get<R>(
        self: &Arc<Self>,
        name: &Name,
        shape: &dyn Shape<R>,
        counters: &Counters,
    ) -> Option<Arc<dyn Slot>> {
        if !self.tier.ready() {
            counters.add(Count::SharedSkipped);
            return None;
        }
        if !self.is_settled(&name.text).await {
            return None;
        }
        match self.tier.get(&name.text).await {
            Ok(stored) => self.read(name, stored?, shape, counters),
            Err(_) => {
                counters.add(Count::SharedReadError);
                None
            }
        }
    }

    /// Whether what the tier has under `name` is not older than what this process wrote there, or took away.
    pub(crate) async fn is_settled(self: &Arc<Self>, name: &str) -> bool {
        match self.untold.state(name) {
            None => self.turns.pass(name, READ_PATIENCE).await,
            Some(Telling::UnderWay) => false,
            // The value is one that was invalidated: tell the tier now, and take it for a miss.
            Some(Telling::Failed) => {
                self.delete_later(name);
                false
            }
        }
    }

    /// Reads what the tier had under `name`. What cannot be read is removed in the background, unless it has changed
    /// meanwhile, or is merely not ours.
    pub(crate) fn read<R>(
        self: &Arc<Self>,
        name: &Name,
        stored: Stored,
        shape: &dyn Shape<R>,
        counters: &Counters,
    ) -> Option<Arc<dyn Slot>> {
        let unreadable = match self.open(name, &stored, shape) {
            Ok(slot) => return slot,
            Err(unreadable) => unreadable,
        };
        counters.add(Count::Unreadable);
        // A fill overwrites it. Processes of two versions would delete each other's values for nothing.
        let is_anothers =
            matches!(unreadable, Unreadable::OtherSchema | Unreadable::OtherKey | Unreadable::OtherCodec);
        if let (false, Ok(runtime)) = (is_anothers, Handle::try_current()) {
            let (shared, name) = (self.clone(), name.text.clone());
            runtime.spawn(async move { shared.tier.delete_if(&name, &stored.bytes).await });
        }
        None
    }

    fn open<R>(
        &self,
        name: &Name,
        stored: &Stored,
        shape: &dyn Shape<R>,
    ) -> Result<Option<Arc<dyn Slot>>, Unreadable> {
        let expect = Expect { schema: name.schema, check: name.check, codec: self.format.id() };
        let opened = envelope::open(&stored.bytes, &expect, &self.limits)?;
        let age = Duration::from_millis(self.clock.wall_ms().saturating_sub(opened.header.created_ms));
        // The wall clocks of two machines differ, so what the tier itself counts down decides, if it does; but a value
        // that is replaced between the two readings of one round trip must not borrow the other's time.
        let fresh_for = Duration::from_millis(opened.header.fresh_ms);
        let remaining = match stored.remaining {
            Some(remaining) => remaining.min(fresh_for),
            None => fresh_for.saturating_sub(age),
        };
        if remaining.is_zero() {
            return Ok(None);
        }
        let dates = Dates { now: self.clock.now(), age, remaining };
        // The decoder is the user's code.
        let decode = || shape.decode(&opened.payload, opened.header.empty, &self.format, dates);
        match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(slot)) => Ok(Some(slot)),
            _ => Err(Unreadable::Undecodable),
        }
    }

    /// The bytes that the tier will hold.
    pub(crate) fn seal(&self, name: &Name, fill: Fill) -> Result<Vec<u8>, Error> {
        let mut payload = Vec::new();
        let empty = (fill.encoder)(&self.format, &mut payload)?;
        let header = Header {
            codec: self.format.id(),
            empty,
            schema: name.schema,
            check: name.check,
            created_ms: fill.created_ms,
            fresh_ms: millis(fill.life.ttl),
            tags: Vec::new(),
        };
        envelope::seal(&header, &payload, &self.limits)
    }

    /// Encodes and stores a value without keeping anybody waiting.
    pub(crate) fn put_later(self: &Arc<Self>, put: Put, counters: &Arc<Counters>) {
        if !self.tier.ready() {
            counters.add(Count::SharedSkipped);
            return;
        }
        let (Ok(runtime), true) = (Handle::try_current(), self.turns.len() <= MOST_FILLS) else {
            counters.add(Count::SharedFillError);
            return;
        };
        let (shared, counters) = (self.clone(), counters.clone());
        runtime.spawn(async move {
            let Put { name, fill, turn } = put;
            let life = fill.life;
            let stored = match shared.seal(&name, fill) {
                Ok(bytes) => shared.write(&turn, &name.text, bytes, life).await.is_ok(),
                Err(_) => false,
            };
            counters.add(if stored { Count::SharedFill } else { Count::SharedFillError });
        });
    }

    /// Stores bytes when their turn has come. Should the writes before not end in time, it is not known which comes last,
    /// and nothing is written.
    async fn write(&self, turn: &Turn, name: &str, bytes: Vec<u8>, life: Life) -> Result<(), TierError> {
        if !turn.come(WRITE_PATIENCE).await {
            return Err(TierError::Timeout);
        }
        if let Some(left) = self.left(life) {
            self.tier.set(name, bytes, left).await?;
        }
        Ok(())
    }

    /// As [`write`](Self::write), for a value that replaces another: if it cannot be written, that one is not read either.
    pub(crate) async fn replace(
        &self,
        turn: Turn,
        name: &str,
        bytes: Vec<u8>,
        life: Life,
    ) -> Result<(), TierError> {
        let doubt = self.untold.begin(name);
        let result = self.write(&turn, name, bytes, life).await;
        self.untold.end(name, doubt, result.is_ok());
        result
    }

    /// As [`replace`](Self::replace) for several names in one round trip.
    pub(crate) async fn replace_many(
        &self,
        turns: Vec<Turn>,
        entries: Vec<(String, Vec<u8>, Life)>,
    ) -> Result<(), TierError> {
        let begin = |(name, ..): &(String, _, _)| (name.clone(), self.untold.begin(name));
        let doubts: Vec<_> = entries.iter().map(begin).collect();
        let result = self.write_many(&turns, entries).await;
        for (name, doubt) in doubts {
            self.untold.end(&name, doubt, result.is_ok());
        }
        result
    }

    async fn write_many(
        &self,
        turns: &[Turn],
        entries: Vec<(String, Vec<u8>, Life)>,
    ) -> Result<(), TierError> {
        for turn in turns {
            if !turn.come(WRITE_PATIENCE).await {
                return Err(TierError::Timeout);
            }
        }
        let timed = |(name, bytes, life)| Some((name, bytes, self.left(life)?));
        self.tier.set_many(entries.into_iter().filter_map(timed).collect()).await
    }

    /// Waiting for its turn does not make a value live longer.
    fn left(&self, life: Life) -> Option<Duration> {
        let waited = Duration::from_nanos(self.clock.now().saturating_sub(life.since));
        Some(life.ttl.saturating_sub(waited)).filter(|left| !left.is_zero())
    }

    /// From now on, what the tier has under `name` is not read, until it was [deleted](Self::delete) or replaced.
    pub(crate) fn distrust(&self, name: &str) -> Doubt {
        self.untold.doubt(name, Telling::Failed)
    }

    /// Removes the value under `name`, after the writes that are under way, and with it the `doubt` about it.
    pub(crate) async fn delete(&self, name: &str, doubt: Doubt) -> Result<bool, TierError> {
        let in_order = self.turns.pass(name, WRITE_PATIENCE).await;
        let deleted = self.tier.delete(name).await?;
        if !in_order {
            return Err(TierError::Timeout);
        }
        self.untold.end(name, doubt, true);
        Ok(deleted)
    }

    /// As [`delete`](Self::delete), in the background. From now on the value is not read.
    pub(crate) fn delete_later(self: &Arc<Self>, name: &str) {
        let Ok(runtime) = Handle::try_current() else { return };
        let doubt = self.untold.begin(name);
        let turn = self.turns.take(name);
        let (shared, name) = (self.clone(), name.to_owned());
        runtime.spawn(async move {
            let deleted = turn.come(WRITE_PATIENCE).await && shared.tier.delete(&name).await.is_ok();
            shared.untold.end(&name, doubt, deleted);
        });
    }
}

/// Names under which the shared tier may still have a value that was invalidated here.
#[derive(Debug, Default)]
pub(crate) struct Untold(Mutex<Doubts>);

#[derive(Debug, Default)]
struct Doubts {
    last: u64,
    by_name: HashMap<String, (Doubt, Telling)>,
}

/// Only who raised a doubt may end it: a write from before an invalidation says nothing about what comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt(u64);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Telling {
    UnderWay,
    Failed,
}

impl Untold {
    /// Raises a doubt, in the place of any that there was.
    fn doubt(&self, name: &str, telling: Telling) -> Doubt {
        let mut doubts = self.doubts();
        doubts.last += 1;
        let doubt = Doubt(doubts.last);
        doubts.by_name.insert(name.to_owned(), (doubt, telling));
        doubt
    }

    fn begin(&self, name: &str) -> Doubt {
        self.doubt(name, Telling::UnderWay)
    }

    /// Ends the doubt if the tier was told, or leaves it to the next reader to tell it.
    fn end(&self, name: &str, doubt: Doubt, is_told: bool) {
        let mut doubts = self.doubts();
        match doubts.by_name.get_mut(name) {
            Some((latest, telling)) if *latest == doubt && !is_told => *telling = Telling::Failed,
            Some((latest, _)) if *latest == doubt => {
                doubts.by_name.remove(name);
            }
            _ => {}
        }
    }

    fn state(&self, name: &str) -> Option<Telling> {
        self.doubts().by_name.get(name).map(|(_, telling)| *telling)
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
