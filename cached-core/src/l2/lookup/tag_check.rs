//! The check of a value's tags: a value is current if its tags still have the generations of its load.
//!
//! The envelope of a value has the generations that its tags had when it was loaded. `observe` has read the
//! current ones of the tags that were known before. Tags that only the value determines take a second round
//! trip.
//!
//! Invariant: a value is accepted only if its stored tags are those of the call and of the value itself, each
//! with its current generation. `observe` classifies the value afterwards.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    coherence::{epoch::Epoch, validity::Validity},
    l2::{lookup::SharedLookup, read::timed_lookup},
    tier::feed::ChangeFeed,
    value::{envelope::TagGeneration, erased::ErasedValue},
};

impl SharedLookup<'_> {
    /// Returns `validity` with the current generations of all tags, if the value was stored under the same ones.
    pub(super) async fn check_tags(
        &self,
        erased: &dyn ErasedValue,
        stored_tags: &[TagGeneration],
        validity: Validity,
        generations: &[Option<u64>],
    ) -> Option<Validity> {
        let value_tags = self.policy.value_tags(erased, &*self.shared.hasher)?;
        if stored_tags.is_empty() && validity.tags.is_empty() && value_tags.is_empty() {
            return Some(validity);
        }
        let known = validity.tags.iter().zip(generations);
        let mut current_tags: Vec<_> =
            known.map(|((tag, _), generation)| Some((tag.clone(), (*generation)?))).collect::<Option<_>>()?;
        let mut feed = validity.feed.clone();
        let unknown_tags: Vec<String> = {
            let known: HashSet<&str> = current_tags.iter().map(|(tag, _)| tag.name()).collect();
            let keys = value_tags.iter().map(|tag| self.shared.tag_key(tag));
            keys.filter(|tag| !known.contains(tag.as_str())).collect()
        };
        if !unknown_tags.is_empty() {
            let epochs: Vec<_> = unknown_tags.iter().map(|tag| self.shared.epoch(tag)).collect();
            if self.is_pending(&unknown_tags) {
                return None;
            }
            let found =
                timed_lookup(self.shared, self.function, &[], &unknown_tags, self.budget).await.ok()?;
            feed = ChangeFeed::merge([feed, found.feed]);
            for (tag, generation) in epochs.into_iter().zip(found.generations) {
                current_tags.push((tag, generation?));
            }
        }
        // Each tag is hashed once, however many there are.
        let digest =
            |(tag, generation): &(Arc<Epoch>, u64)| (self.shared.tag_digest(tag.name()), *generation);
        let current_generations: HashMap<u64, u64> = current_tags.iter().map(digest).collect();
        let stored_digests: HashSet<u64> = stored_tags.iter().map(|stored| stored.tag).collect();
        // This call cannot check a tag that it does not know, such as that of another function: the value is
        // rejected.
        let is_current =
            stored_tags.iter().all(|stored| current_generations.get(&stored.tag) == Some(&stored.generation));
        let is_tagged = current_generations.keys().all(|tag| stored_digests.contains(tag));
        (is_current && is_tagged).then(|| Validity { tags: current_tags.into(), feed, ..validity })
    }
}
