//! One read of the key and of the generations of its tags, with the classification of the reply.
//!
//! Every hit of the tier passes here. So this future is small, and steps that a plain hit does not need are
//! boxed.
//!
//! Invariant: the epochs of all names are taken before the outbox is checked and the tier is asked. So an
//! invalidation that overtakes the reply ends an epoch. `classify` has the decisions, `tag_check` the check
//! of the tags, and `l2::read` the request.

use std::sync::Arc;

use crate::{
    base::planted::planted,
    coherence::{epoch::Epoch, validity::Validity},
    l1::entry::Entry,
    l2::{
        lookup::{SharedLookup, classify::Observed},
        read::{timed_get, timed_lookup},
        shared::{OpenedRecord, OpenedValue},
    },
    telemetry::stats::Count,
    tier::{Found, LeaseMode, Lookup, Record, Revision, Tier, feed::ChangeFeed},
};

impl SharedLookup<'_> {
    /// Reads the key in one round trip. A second one follows if the value has tags that were not known
    /// before.
    pub(super) async fn observe(&self, epoch: Arc<Epoch>, known: Option<&Arc<Entry>>) -> Observed {
        let (shared, name) = (self.shared, &self.entry_key.shared_key.text);
        if !shared.tier.ready() {
            self.function.add(Count::SharedSkipped);
            return Observed::Unknown;
        }
        let known = known.filter(|entry| entry.revision() != 0);
        let tags: Vec<String> = match known {
            Some(entry) => entry.validity().tag_keys(),
            None => self.entry_key.tags.clone(),
        };
        // Epochs are taken first: any invalidation from here on ends them.
        let validity = shared.detached_validity_on(epoch, &tags);
        if self.is_pending(&tags) {
            return Observed::Unknown;
        }
        let lookup = Lookup {
            key: name,
            known_revision: known.map(|entry| entry.revision()),
            size: self.function.expected_value_size(),
        };
        let reply = if known.is_none() && tags.is_empty() && !lookup.is_large() {
            let (reply, now) = timed_get(shared, self.function, name, self.budget, validity.checked_at).await;
            reply.map(|(record, feed)| (Some(record), Vec::new(), feed, now))
        } else {
            // Boxed, like everything that a plain hit does not need: the future of a hit should be small.
            let reply = Box::pin(timed_lookup(shared, self.function, &[lookup], &tags, self.budget)).await;
            reply.map(|Found { mut records, generations, feed }| {
                (records.pop(), generations, feed, shared.clock.now())
            })
        };
        let Ok((record, generations, feed, now)) = reply else {
            self.function.add(Count::SharedReadError);
            return Observed::Unknown;
        };
        let validity =
            if planted!("register-after-read") { shared.detached_validity(name, &tags) } else { validity };
        // The tier does not report the removal of a tag that is not there.
        let feed = if generations.contains(&None) { ChangeFeed::none() } else { feed };
        let validity = Validity { feed, ..validity };
        match record {
            Some(Record::Absent) => Observed::Leasable(LeaseMode::IfAbsent),
            Some(Record::Failed) => Observed::Failed,
            Some(Record::Error(note)) => Observed::Error(self.read_note(&note)),
            Some(Record::Leased { left, is_retry }) => Observed::Busy { left, is_retry, validity },
            Some(Record::Unchanged) => match known {
                Some(entry) if entry.validity().generations().map(Some).eq(generations) => {
                    self.function.add(Count::Revalidate);
                    let validity = validity.with_generations(entry.validity().generations());
                    self.classify(entry.erased.clone(), validity, entry.revision(), now)
                }
                Some(entry) => Observed::Leasable(LeaseMode::IfRevision(entry.revision())),
                None => Observed::Unknown,
            },
            Some(Record::Changed) => Observed::Changed,
            Some(Record::Value(stored)) => {
                let revision = stored.revision;
                self.function.record_value_size(stored.bytes.len());
                let opened = match shared.open(&self.entry_key.shared_key, &stored, self.policy, now) {
                    Ok(Some(OpenedRecord::Value(opened))) => opened,
                    Ok(Some(OpenedRecord::Stub(freshness)))
                        if self.is_acceptable(&freshness, revision, now) =>
                    {
                        return Observed::Stub(validity, revision);
                    }
                    Ok(Some(OpenedRecord::Stub(_)) | None) => {
                        return Observed::Leasable(LeaseMode::IfRevision(revision));
                    }
                    Err(unreadable) => return self.classify_unreadable(unreadable, &stored, validity),
                };
                drop(stored);
                if opened.tags.is_empty() && tags.is_empty() && !self.policy.has_value_tags() {
                    return self.classify(opened.erased, validity, revision, now);
                }
                Box::pin(self.classify_tagged(opened, revision, validity, &generations)).await
            }
            None => Observed::Unknown,
        }
    }

    /// Classifies a value after a check of its tags.
    async fn classify_tagged(
        &self,
        opened: OpenedValue,
        revision: Revision,
        validity: Validity,
        generations: &[Option<u64>],
    ) -> Observed {
        let OpenedValue { erased, tags } = opened;
        match self.check_tags(&*erased, &tags, validity, generations).await {
            // The check may have taken another round trip, during which the value may have expired.
            Some(validity) => self.classify(erased, validity, revision, self.shared.clock.now()),
            None => Observed::Leasable(LeaseMode::IfRevision(revision)),
        }
    }
}
