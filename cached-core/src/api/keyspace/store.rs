//! The store of encoded values in the place of older ones.
//!
//! Each part of the values takes these steps:
//!
//! 1. In this process, it ends the epochs of the names, and supersedes their flights.
//! 2. It takes a lease of each key from the shared tier, even if a load holds one.
//! 3. It fills the keys under these leases. So a write that arrives too late finds its lease gone.
//! 4. It stores in L1 the values that the shared tier accepted, or may have. If the tier failed, the removal
//!    of the keys goes to the outbox.
//!
//! A value that does not go to the shared tier invalidates the value there, and is stored in L1.

use std::{sync::Arc, time::Duration};

use crate::{
    api::keyspace::trip::next_part,
    cache::{
        Cache, Mode,
        invalidation::{Invalidation, InvalidationTarget},
    },
    coherence::validity::Validity,
    error::{Error, tier::TierError},
    key::entry_key::EntryKey,
    l2::shared::Life,
    spec::FunctionSpec,
    telemetry::stats::Count,
    tier::{
        Filled, LARGE_VALUE, LeaseMode, LeaseRequest, LeaseToken, TagRequest, Tier, TierFill,
        feed::ChangeFeed,
    },
    value::erased::ErasedValue,
};

/// Shortest lease of a write of large values: longer than a tier takes to store them.
const LARGE_VALUE_LEASE: Duration = Duration::from_secs(10);

/// A value to be stored, with its bytes if the shared tier takes part.
pub(super) struct EncodedValue {
    pub(super) entry_key: EntryKey,
    pub(super) value: Option<(Arc<dyn ErasedValue>, Life)>,
    pub(super) bytes: Option<Vec<u8>>,
}

impl EncodedValue {
    /// Returns the number of its bytes.
    fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Stores values in the place of older ones.
pub(super) struct Store {
    pub(super) cache: Cache,
    pub(super) spec: FunctionSpec,
}

impl Store {
    /// Stores the values in every tier.
    ///
    /// The leases are taken first, and the values are written only once the leases are granted. So a write
    /// that arrives too late finds its lease gone.
    pub(super) async fn run(self, values: Vec<EncodedValue>) -> Result<(), Error> {
        // If the shared tier takes no part, its old value is invalidated, so that it is not served again
        // later.
        let (shareable, other): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|encoded| encoded.bytes.is_some());
        let mut result = Ok(());
        for encoded in other {
            let target = InvalidationTarget::Entry(self.spec, Box::new(encoded.entry_key.clone()));
            let invalidated = Invalidation::new(self.cache.clone(), Ok(target)).await;
            result = result.and(invalidated);
            if self.cache.mode() != Mode::Off {
                let validity = self.cache.local_validity(&self.spec, &encoded.entry_key);
                self.store_in_l1(encoded, validity, 0);
            }
        }
        // Each part has the time budget of one operation.
        let mut remaining = shareable.into_iter().peekable();
        while remaining.peek().is_some() {
            let part = next_part(&mut remaining, EncodedValue::len);
            result = result.and(self.store_shared(part).await);
        }
        result
    }

    /// Stores a part in the shared tier, and in L1 the values that the shared tier accepted, or may have.
    async fn store_shared(&self, shareable: Vec<EncodedValue>) -> Result<(), Error> {
        let shared = self.cache.shared();
        let mut result = Ok(());
        let mut tokens = Vec::new();
        let mut validities = Vec::new();
        for encoded in &shareable {
            shared.epochs.end(&encoded.entry_key.shared_key.text);
            self.cache
                .flights()
                .supersede(&encoded.entry_key.key, || self.cache.l1().remove(&encoded.entry_key.key));
            tokens.push(LeaseToken::random());
            validities.push(shared.detached_validity(&encoded.entry_key.shared_key.text, &[]));
        }
        let stored = self.write(&shareable, &tokens).await;
        let is_known = stored.is_ok();
        let (feed, accepted) = match stored {
            Ok(Filled { stored, feed }) => (feed, stored),
            Err(cause) => {
                self.cache.count_of(&self.spec, Count::NotPropagated);
                for encoded in &shareable {
                    self.cache.enqueue_removal(Some(encoded.entry_key.clone()));
                }
                result = result.and(Err(Error::not_propagated(cause)));
                (ChangeFeed::none(), vec![true; shareable.len()])
            }
        };
        for (((encoded, token), validity), is_accepted) in
            shareable.into_iter().zip(tokens).zip(validities).zip(accepted)
        {
            if is_accepted {
                let revision = if is_known { token.revision() } else { 0 };
                self.store_in_l1(encoded, Validity { feed: feed.clone(), ..validity }, revision);
            }
        }
        result
    }

    async fn write(&self, values: &[EncodedValue], tokens: &[LeaseToken]) -> Result<Filled, TierError> {
        let shared = self.cache.shared();
        let key_and_token = |(encoded, token): (&EncodedValue, &LeaseToken)| {
            (encoded.entry_key.shared_key.text.clone(), *token)
        };
        let keys_and_tokens: Vec<_> = values.iter().zip(tokens).map(key_and_token).collect();
        // The lease is not renewed.
        let has_large = values.iter().any(|encoded| encoded.len() > LARGE_VALUE);
        let lease = if has_large { shared.lease.max(LARGE_VALUE_LEASE) } else { shared.lease };
        let requests: Vec<_> = keys_and_tokens
            .iter()
            .map(|(key, token)| LeaseRequest { key, token: *token, lease, mode: LeaseMode::Always })
            .collect();
        shared
            .tier
            .lease(&requests, TagRequest { keys: &[], keep: Duration::ZERO, needs_position: false })
            .await?;
        let fill = |(encoded, (key, token)): (&EncodedValue, (String, LeaseToken))| {
            let (_, life) = encoded.value.as_ref()?;
            let bytes = encoded.bytes.clone()?;
            let ttl = shared.remaining_life(*life).unwrap_or(Duration::from_millis(1));
            Some(TierFill { key, token, bytes, ttl, tags: Vec::new() })
        };
        let filled = shared.tier.fill(values.iter().zip(keys_and_tokens).filter_map(fill).collect()).await;
        for encoded in values {
            shared.epochs.notify_listeners(&encoded.entry_key.shared_key.text);
        }
        filled
    }

    /// Stores a value in L1, and supersedes the flight of its key.
    fn store_in_l1(&self, encoded: EncodedValue, validity: Validity, revision: u64) {
        let EncodedValue { entry_key, value: Some((erased, _)), .. } = encoded else { return };
        let key = &entry_key.key;
        self.cache
            .flights()
            .supersede(key, || self.cache.l1().insert(&self.spec, key, erased, validity, revision));
        self.cache.l1().report_evictions();
    }
}
