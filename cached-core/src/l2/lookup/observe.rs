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
    base::{clock::Nanos, planted::planted},
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

/// Reply of the tier to one read, with the validity of a value in it.
struct KeyReply {
    record: Option<Record>,
    /// Current generations of the tags of the validity.
    generations: Vec<Option<u64>>,
    validity: Validity,
    /// Time at which the reply arrived.
    now: Nanos,
}

/// A value whose tags are to be checked.
struct TaggedValue {
    opened: OpenedValue,
    revision: Revision,
    validity: Validity,
    generations: Vec<Option<u64>>,
}

impl SharedLookup<'_> {
    /// Reads the key in one round trip. A second one follows if the value has tags that were not known
    /// before.
    pub(super) async fn observe(&self, epoch: Arc<Epoch>, known: Option<&Arc<Entry>>) -> Observed {
        let shared = self.shared;
        if !shared.tier.ready() {
            self.function.add(Count::SharedSkipped);
            return Observed::Unknown;
        }
        let known = known.filter(|entry| entry.revision() != 0);
        let is_plain = known.is_none() && self.entry_key.tags.is_empty() && !self.lookup(None).is_large();
        let reply = if is_plain {
            // The epoch is taken first: any invalidation from here on ends it.
            let checked_at = shared.clock.now();
            if self.is_pending(&[]) {
                return Observed::Unknown;
            }
            let name = &self.entry_key.shared_key.text;
            let (reply, now) = timed_get(shared, self.function, name, self.budget, checked_at).await;
            reply.ok().map(|(record, feed)| {
                let epoch = if planted!("register-after-read") { shared.epoch(name) } else { epoch };
                let validity = Validity { epoch, tags: Box::default(), feed, checked_at };
                KeyReply { record: Some(record), generations: Vec::new(), validity, now }
            })
        } else {
            // Boxed, like everything that a plain hit does not need: the future of a hit should be small.
            match Box::pin(self.read_with_tags(epoch, known)).await {
                Some(reply) => reply,
                None => return Observed::Unknown,
            }
        };
        let Some(reply) = reply else {
            self.function.add(Count::SharedReadError);
            return Observed::Unknown;
        };
        match self.classify_reply(reply, known) {
            Ok(observed) => observed,
            Err(tagged) => Box::pin(self.classify_tagged(tagged)).await,
        }
    }

    /// Reads the key and the generations of its tags.
    ///
    /// Returns `None` if the tier is not asked, because an invalidation is in the outbox. A read that failed is
    /// `Some(None)`.
    async fn read_with_tags(
        &self,
        epoch: Arc<Epoch>,
        known: Option<&Arc<Entry>>,
    ) -> Option<Option<KeyReply>> {
        let shared = self.shared;
        let tags: Vec<String> = match known {
            Some(entry) => entry.validity().tag_keys(),
            None => self.entry_key.tags.clone(),
        };
        // Epochs are taken first: any invalidation from here on ends them.
        let (mut validity_epochs, checked_at) = ((epoch, shared.tag_epochs(&tags)), shared.clock.now());
        if self.is_pending(&tags) {
            return None;
        }
        let lookup = self.lookup(known);
        let reply = timed_lookup(shared, self.function, &[lookup], &tags, self.budget).await;
        let Ok(Found { mut records, generations, feed }) = reply else { return Some(None) };
        if planted!("register-after-read") {
            validity_epochs = (shared.epoch(lookup.key), shared.tag_epochs(&tags));
        }
        // The tier does not report the removal of a tag that is not there.
        let feed = if generations.contains(&None) { ChangeFeed::none() } else { feed };
        let (epoch, tags) = validity_epochs;
        let validity = Validity { epoch, tags, feed, checked_at };
        Some(Some(KeyReply { record: records.pop(), generations, validity, now: shared.clock.now() }))
    }

    fn lookup(&self, known: Option<&Arc<Entry>>) -> Lookup<'_> {
        Lookup {
            key: &self.entry_key.shared_key.text,
            known_revision: known.map(|entry| entry.revision()),
            size: self.function.expected_value_size(),
        }
    }

    /// Classifies a reply, unless the tags of its value are to be checked first.
    fn classify_reply(&self, reply: KeyReply, known: Option<&Arc<Entry>>) -> Result<Observed, TaggedValue> {
        let KeyReply { record, generations, validity, now } = reply;
        Ok(match record {
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
                let opened = match self.shared.open(&self.entry_key.shared_key, &stored, self.policy, now) {
                    Ok(Some(OpenedRecord::Value(opened))) => opened,
                    Ok(Some(OpenedRecord::Stub(freshness)))
                        if self.is_acceptable(&freshness, revision, now) =>
                    {
                        return Ok(Observed::Stub(validity, revision));
                    }
                    Ok(Some(OpenedRecord::Stub(_)) | None) => {
                        return Ok(Observed::Leasable(LeaseMode::IfRevision(revision)));
                    }
                    Err(unreadable) => return Ok(self.classify_unreadable(unreadable, &stored, validity)),
                };
                if !opened.tags.is_empty() || !validity.tags.is_empty() || self.policy.has_value_tags() {
                    return Err(TaggedValue { opened, revision, validity, generations });
                }
                self.classify(opened.erased, validity, revision, now)
            }
            None => Observed::Unknown,
        })
    }

    /// Classifies a value after a check of its tags.
    async fn classify_tagged(&self, tagged: TaggedValue) -> Observed {
        let TaggedValue { opened: OpenedValue { erased, tags }, revision, validity, generations } = tagged;
        match self.check_tags(&*erased, &tags, validity, &generations).await {
            // The check may have taken another round trip, during which the value may have expired.
            Some(validity) => self.classify(erased, validity, revision, self.shared.clock.now()),
            None => Observed::Leasable(LeaseMode::IfRevision(revision)),
        }
    }
}
