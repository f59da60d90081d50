//! When an L1 entry may be served without asking L2.
//!
//! An entry has to be intact: none of its epochs has ended. That alone proves nothing while a connection is
//! lost, since no invalidation arrives then. So it also has to be recent: the watermark of its change feed,
//! or its last check with L2, is younger than the staleness bound.
//!
//! `staleness` has the bounds, `epoch` and `tier::feed` the two parts of the proof.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::{
    base::{clock::Nanos, planted::planted},
    coherence::epoch::{DependentLoad, Epoch},
    tier::feed::ChangeFeed,
};

/// Proof that a value is current: its name and tags were not invalidated, and the change feed confirms it.
#[derive(Clone, Debug)]
pub(crate) struct Validity {
    pub(crate) epoch: Arc<Epoch>,
    /// Epoch of each tag, with the generation under which the value was loaded.
    pub(crate) tags: Box<[(Arc<Epoch>, u64)]>,
    /// Change feed that reports invalidations of the name and the tags.
    pub(crate) feed: Arc<ChangeFeed>,
    /// Last time at which the value was known to be current, regardless of the change feed.
    pub(crate) checked_at: Nanos,
}

impl Validity {
    /// Returns whether neither the name nor a tag was invalidated.
    #[inline]
    pub(crate) fn is_intact(&self) -> bool {
        self.epoch.is_alive() && self.tags.iter().all(|(tag, _)| tag.is_alive())
    }

    /// Returns whether the value may be served: it is intact, and was known to be current less than `bound`
    /// ago.
    #[inline]
    pub(crate) fn is_valid_at(&self, now: Nanos, bound: Nanos) -> bool {
        (self.is_younger(now, bound) || planted!("proof-ignored")) && self.is_intact()
    }

    /// Returns whether the value may be served while the tier is unreachable.
    ///
    /// No invalidation can arrive then. The limit is `bound` plus `grace`, if the change feed allows a grace.
    pub(crate) fn is_valid_in_outage(&self, now: Nanos, bound: Nanos, grace: Nanos) -> bool {
        let limit = if self.feed.has_grace() { bound.saturating_add(grace) } else { bound };
        (self.is_younger(now, limit) || planted!("grace-unbounded")) && self.is_intact()
    }

    #[inline]
    fn is_younger(&self, now: Nanos, limit: Nanos) -> bool {
        now < self.feed.watermark().max(self.checked_at).saturating_add(limit)
    }

    /// Returns a copy without the change feed, for a value that may not be in the tier.
    ///
    /// The tier may not report later changes of such a value.
    pub(crate) fn detached(&self, now: Nanos) -> Self {
        // The watermark reached so far still counts.
        let watermark = if self.is_intact() { self.feed.watermark().min(now) } else { 0 };
        Self { feed: ChangeFeed::none(), checked_at: self.checked_at.max(watermark), ..self.clone() }
    }

    /// Returns the keys of the tags, to ask L2 for them again.
    pub(crate) fn tag_keys(&self) -> Vec<String> {
        self.tags.iter().map(|(tag, _)| tag.name().to_string()).collect()
    }

    pub(crate) fn generations(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.tags.iter().map(|(_, generation)| *generation)
    }

    pub(crate) fn with_generations(self, generations: impl IntoIterator<Item = u64>) -> Self {
        let epochs = self.tags.into_vec().into_iter().map(|(tag, _)| tag);
        Self { tags: epochs.zip(generations).collect(), ..self }
    }

    /// Returns the epochs that notify a load of an invalidation.
    ///
    /// That of a function is not among them. A load of this process alone is checked when it ends.
    fn notifying_epochs(&self) -> impl Iterator<Item = &Arc<Epoch>> {
        let own = (!self.epoch.is_of_function()).then_some(&self.epoch);
        own.into_iter().chain(self.tags.iter().map(|(tag, _)| tag))
    }
}

/// Registration of a load with all epochs of its validity, until it is dropped.
///
/// A later invalidation of any of these names notifies the load.
pub(crate) struct LoadRegistration {
    validity: Validity,
    load: Weak<dyn DependentLoad>,
}

impl LoadRegistration {
    /// Registers a load; `None` if there is no epoch to register it with.
    pub(crate) fn new(validity: &Validity, load: impl FnOnce() -> Weak<dyn DependentLoad>) -> Option<Self> {
        validity.notifying_epochs().next()?;
        let (validity, load) = (validity.clone(), load());
        validity.notifying_epochs().for_each(|epoch| epoch.attach_load(&load));
        Some(Self { validity, load })
    }
}

impl Drop for LoadRegistration {
    fn drop(&mut self) {
        self.validity.notifying_epochs().for_each(|epoch| epoch.detach_load(&self.load));
    }
}

impl fmt::Debug for LoadRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadRegistration").field(&self.validity).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::epoch::{Epochs, tests::Load};

    /// A value read at 100, with two tags, over a change feed with the watermark 150.
    struct Read {
        epochs: Arc<Epochs>,
        validity: Validity,
    }

    impl Read {
        fn new() -> Self {
            let (epochs, feed) = (Epochs::new(), ChangeFeed::tracked());
            feed.advance_to(150);
            let tags =
                [("tag 1", 7), ("tag 2", 8)].map(|(tag, generation)| (epochs.current(tag), generation));
            let validity =
                Validity { epoch: epochs.current("name"), tags: tags.into(), feed, checked_at: 100 };
            Self { epochs, validity }
        }
    }

    #[test]
    fn validity_ends_with_the_name_or_any_tag() {
        for name in ["name", "tag 1", "tag 2", "another"] {
            let Read { epochs, validity } = Read::new();
            assert!(
                validity.is_intact()
                    && validity.is_valid_at(160, 20)
                    && validity.is_valid_in_outage(160, 20, 0)
            );
            epochs.end(name);
            let is_unaffected = name == "another";
            assert_eq!(validity.is_intact(), is_unaffected, "{name}");
            assert_eq!(validity.is_valid_at(160, 20), is_unaffected, "{name}");
            assert_eq!(validity.is_valid_in_outage(160, 20, 0), is_unaffected, "{name}");
        }
    }

    #[test]
    fn validity_lasts_for_the_bound_after_the_later_of_watermark_and_check() {
        let Read { validity, .. } = Read::new();
        assert!(validity.is_valid_at(169, 20) && !validity.is_valid_at(170, 20));
        let rechecked = Validity { checked_at: 200, ..validity };
        assert!(rechecked.is_valid_at(219, 20) && !rechecked.is_valid_at(220, 20));
        assert!(rechecked.is_valid_at(Nanos::MAX - 1, Nanos::MAX));
    }

    #[test]
    fn validity_lasts_for_the_grace_in_an_outage_if_the_feed_allows_it() {
        let Read { validity, .. } = Read::new();
        assert!(validity.is_valid_in_outage(199, 20, 30) && !validity.is_valid_in_outage(200, 20, 30));
        assert!(validity.is_valid_in_outage(Nanos::MAX - 1, 20, Nanos::MAX));
        validity.feed.allow_grace(false);
        assert!(validity.is_valid_in_outage(169, 20, 30) && !validity.is_valid_in_outage(170, 20, 30));
    }

    #[test]
    fn detached_validity_keeps_the_watermark_up_to_now() {
        let Read { epochs, validity } = Read::new();
        // A watermark beyond `now` counts only up to `now`: the rest did not hold when the value was read.
        for (now, checked) in [(160, 150), (120, 120), (90, 100)] {
            let detached = validity.detached(now);
            assert!(detached.feed.is_same(&ChangeFeed::none()) && detached.is_intact());
            assert_eq!(detached.checked_at, checked, "at {now}");
        }
        epochs.end("tag 2");
        assert_eq!(validity.detached(160).checked_at, 100, "no proof is about what was changed");
    }

    #[test]
    fn generations_of_tags_can_be_replaced() {
        let Read { validity, .. } = Read::new();
        assert_eq!(validity.tag_keys(), ["tag 1", "tag 2"]);
        assert_eq!(validity.generations().collect::<Vec<_>>(), [7, 8]);
        let later = validity.with_generations([9, 10]);
        assert_eq!(
            (later.tag_keys(), later.generations().collect()),
            (vec!["tag 1".to_owned(), "tag 2".to_owned()], vec![9, 10])
        );
    }

    #[test]
    fn registered_load_is_invalidated_with_any_of_its_epochs() {
        for name in ["name", "tag 1", "tag 2", "another"] {
            for is_registered in [true, false] {
                let (Read { epochs, validity }, load) = (Read::new(), Arc::new(Load::default()));
                let registration = LoadRegistration::new(&validity, || load.weak());
                let _registration = registration.filter(|_| is_registered);
                epochs.end(name);
                let is_invalidated = is_registered && name != "another";
                assert_eq!(
                    load.invalidations(),
                    usize::from(is_invalidated),
                    "{name}, registered: {is_registered}"
                );
            }
        }
    }
}
