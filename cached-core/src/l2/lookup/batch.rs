//! The values of many keys, read in one round trip.
//!
//! `api::keyspace` reads a list of keys this way. No lease is requested, and no load is awaited: the caller
//! decides about keys without a fresh value.
//!
//! Invariant: as in `observe`, epochs are taken before the outbox is checked and the tier is asked.

use std::sync::Arc;

use crate::{
    coherence::validity::Validity,
    key::entry_key::EntryKey,
    l2::{
        lookup::{FoundValue, SharedLookup},
        read::timed_lookup,
        shared::{OpenedRecord, OpenedValue, Shared},
    },
    telemetry::{functions::FunctionMetrics, stats::Count},
    tier::{Found, Lookup, Record, Tier, budget::Budget},
    value::policy::ValuePolicy,
};

impl SharedLookup<'_> {
    /// Returns the values that the tier has, in one round trip. Only for functions without tags.
    pub(crate) async fn find_many(
        shared: &Arc<Shared>,
        entry_keys: &[&EntryKey],
        policy: &dyn ValuePolicy,
        function: &FunctionMetrics,
        budget: Budget,
    ) -> Vec<Option<FoundValue>> {
        let nothing = || entry_keys.iter().map(|_| None).collect();
        if !shared.tier.ready() {
            function.add(Count::SharedSkipped);
            return nothing();
        }
        let validity_of = |entry_key: &EntryKey| shared.detached_validity(&entry_key.shared_key.text, &[]);
        let validities: Vec<_> = entry_keys.iter().map(|entry_key| validity_of(entry_key)).collect();
        // The outbox is checked before the read. An item that is delivered during the read leaves the outbox,
        // but the value read may be from before it.
        let is_pending =
            |entry_key: &&EntryKey| shared.outbox.may_match([entry_key.shared_key.text.as_str()].into_iter());
        let pending: Vec<_> = entry_keys.iter().map(is_pending).collect();
        let lookups: Vec<_> = entry_keys
            .iter()
            .map(|entry_key| Lookup {
                size: function.expected_value_size(),
                ..Lookup::new(&entry_key.shared_key.text)
            })
            .collect();
        let reply: Result<Found, _> = timed_lookup(shared, function, &lookups, &[], budget).await;
        // With another number of records, values would be taken for those of other keys.
        let reply = reply.ok().filter(|found| found.records.len() == entry_keys.len());
        let Some(Found { records, feed, .. }) = reply else {
            function.add(Count::SharedReadError);
            return nothing();
        };
        let found =
            |(((entry_key, validity), is_pending), record): (((&&EntryKey, Validity), bool), Record)| {
                let Record::Value(stored) = record else { return None };
                function.record_value_size(stored.bytes.len());
                if is_pending {
                    return None;
                }
                let opened = shared
                    .open(&entry_key.shared_key, &stored, policy, shared.clock.now())
                    .inspect_err(|_| function.add(Count::Unreadable));
                let OpenedRecord::Value(OpenedValue { erased, tags }) = opened.ok()?? else { return None };
                if !tags.is_empty() {
                    // This call does not know the tags, and cannot check whether they are current.
                    return None;
                }
                let now = shared.clock.now();
                if !erased.freshness().is_fresh(now) {
                    return None;
                }
                let validity = Validity { feed: feed.clone(), ..validity };
                Some(FoundValue {
                    erased,
                    validity,
                    revision: stored.revision,
                    read_at: now,
                    was_awaited: false,
                })
            };
        entry_keys.iter().zip(validities).zip(pending).zip(records).map(found).collect()
    }
}
