//! The shared tier with what surrounds it: names, envelopes, healing, and fills off the caller's path.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use crate::{
    Error,
    clock::{Clock, millis},
    codec::Format,
    envelope::{self, Expect, Header, Limits, Unreadable},
    key::KeyHasher,
    shape::{Dates, Encoder, Shape},
    slot::Slot,
    stats::{Count, Counters},
    tier::{Stored, Tier, TierError},
    turns::{Turn, Turns},
};

/// The shared tier of one cache.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Whether there is one at all; without, keys need no names.
    pub(crate) exists: bool,
    pub(crate) tier: Arc<dyn Tier>,
    pub(crate) hasher: Arc<dyn KeyHasher>,
    pub(crate) namespace: String,
    pub(crate) format: Format,
    pub(crate) limits: Limits,
    pub(crate) turns: Arc<Turns>,
}

/// A key as the shared tier knows it.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    /// Stored with the value and compared when it is read: the half of the digest that is not in the text.
    pub(crate) check: [u8; 16],
    pub(crate) schema: u64,
}

/// A value that is to be stored under a name, when its turn has come.
pub(crate) struct Put {
    pub(crate) name: Name,
    pub(crate) fill: Fill,
    pub(crate) turn: Turn,
}

/// A value on its way to the shared tier.
pub(crate) struct Fill {
    pub(crate) encoder: Encoder,
    pub(crate) created_ms: u64,
    pub(crate) ttl: Duration,
}

impl Shared {
    /// The value under `name`. Whatever goes wrong is counted and comes out as a miss.
    pub(crate) async fn get<R>(
        &self,
        name: &Name,
        shape: &dyn Shape<R>,
        clock: &Clock,
        counters: &Counters,
    ) -> Option<Arc<dyn Slot>> {
        if !self.tier.ready() {
            return None;
        }
        let stored = match self.tier.get(&name.text).await {
            Ok(stored) => stored?,
            Err(_) => {
                counters.add(Count::SharedReadError);
                return None;
            }
        };
        self.read(name, &stored, shape, clock, counters).await
    }

    /// Reads what the tier had under `name`. What cannot be read is removed, unless it has changed meanwhile.
    pub(crate) async fn read<R>(
        &self,
        name: &Name,
        stored: &Stored,
        shape: &dyn Shape<R>,
        clock: &Clock,
        counters: &Counters,
    ) -> Option<Arc<dyn Slot>> {
        match self.open(name, stored, shape, clock) {
            Ok(slot) => slot,
            Err(_) => {
                counters.add(Count::Unreadable);
                // The next fill overwrites it anyway.
                let _ = self.tier.delete_if(&name.text, &stored.bytes).await;
                None
            }
        }
    }

    fn open<R>(
        &self,
        name: &Name,
        stored: &Stored,
        shape: &dyn Shape<R>,
        clock: &Clock,
    ) -> Result<Option<Arc<dyn Slot>>, Unreadable> {
        let expect = Expect { schema: name.schema, check: name.check, codec: self.format.id() };
        let opened = envelope::open(&stored.bytes, &expect, &self.limits)?;
        let age = Duration::from_millis(clock.wall_ms().saturating_sub(opened.header.created_ms));
        // The wall clocks of two machines differ, so what the tier itself counts down decides; but a value that is
        // replaced between the two readings of one round trip must not borrow the other's time.
        let fresh_for = Duration::from_millis(opened.header.fresh_ms);
        let remaining = stored.remaining.unwrap_or(fresh_for).min(fresh_for);
        if remaining.is_zero() {
            return Ok(None);
        }
        let dates = Dates { now: clock.now(), age, remaining };
        shape
            .decode(&opened.payload, opened.header.empty, &self.format, dates)
            .map(Some)
            .map_err(|_| Unreadable::Undecodable)
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
            fresh_ms: millis(fill.ttl),
            tags: Vec::new(),
        };
        envelope::seal(&header, &payload, &self.limits)
    }

    /// Encodes and stores a value without keeping anybody waiting.
    pub(crate) fn put_later(self: &Arc<Self>, put: Put, counters: &Arc<Counters>) {
        let Ok(runtime) = Handle::try_current() else {
            counters.add(Count::SharedFillError);
            return;
        };
        let (shared, counters) = (self.clone(), counters.clone());
        runtime.spawn(async move {
            let result = shared.put(put).await;
            counters.add(if result.is_ok() { Count::SharedFill } else { Count::SharedFillError });
        });
    }

    /// Encodes and stores a value.
    pub(crate) async fn put(&self, put: Put) -> Result<(), Error> {
        let Put { name, fill, mut turn } = put;
        let ttl = fill.ttl;
        let bytes = self.seal(&name, fill)?;
        turn.come().await;
        Ok(self.tier.set(&name.text, bytes, ttl).await?)
    }

    /// Removes the value under `name`, after the writes that were begun before.
    pub(crate) async fn delete(&self, name: &str) -> Result<bool, TierError> {
        let mut turn = self.turns.take(name);
        turn.come().await;
        self.tier.delete(name).await
    }
}
