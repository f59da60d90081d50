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
    pub(crate) mark: Arc<Epoch>,
    /// Epoch of each tag, with the generation under which the value was loaded.
    pub(crate) tags: Box<[(Arc<Epoch>, u64)]>,
    /// Change feed that reports invalidations of the name and the tags.
    pub(crate) line: Arc<ChangeFeed>,
    /// Last time at which the value was known to be current, regardless of the change feed.
    pub(crate) checked: Nanos,
}

impl Validity {
    /// Returns whether neither the name nor a tag was invalidated.
    #[inline]
    pub(crate) fn is_intact(&self) -> bool {
        self.mark.is_alive() && self.tags.iter().all(|(tag, _)| tag.is_alive())
    }

    /// Returns whether the value may be served: it is intact, and was known to be current less than `bound`
    /// ago.
    #[inline]
    pub(crate) fn stands(&self, now: Nanos, bound: Nanos) -> bool {
        (self.is_younger(now, bound) || planted!("proof-ignored")) && self.is_intact()
    }

    /// Returns whether the value may be served while the tier is unreachable.
    ///
    /// No invalidation can arrive then. The limit is `bound` plus `grace`, if the change feed allows a grace.
    pub(crate) fn stands_alone(&self, now: Nanos, bound: Nanos, grace: Nanos) -> bool {
        let limit = if self.line.has_grace() { bound.saturating_add(grace) } else { bound };
        (self.is_younger(now, limit) || planted!("grace-unbounded")) && self.is_intact()
    }

    #[inline]
    fn is_younger(&self, now: Nanos, limit: Nanos) -> bool {
        now < self.line.proven().max(self.checked).saturating_add(limit)
    }

    /// Returns a copy without the change feed, for a value that may not be in the tier.
    ///
    /// The tier may not report later changes of such a value.
    pub(crate) fn silenced(&self, now: Nanos) -> Self {
        // The watermark reached so far still counts.
        let proven = if self.is_intact() { self.line.proven().min(now) } else { 0 };
        Self { line: ChangeFeed::silent(), checked: self.checked.max(proven), ..self.clone() }
    }

    /// Returns the keys of the tags, to ask L2 for them again.
    pub(crate) fn tag_keys(&self) -> Vec<String> {
        self.tags.iter().map(|(tag, _)| tag.name().to_string()).collect()
    }

    pub(crate) fn generations(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.tags.iter().map(|(_, generation)| *generation)
    }

    pub(crate) fn with_generations(self, generations: impl IntoIterator<Item = u64>) -> Self {
        let marks = self.tags.into_vec().into_iter().map(|(tag, _)| tag);
        Self { tags: marks.zip(generations).collect(), ..self }
    }

    fn marks(&self) -> impl Iterator<Item = &Arc<Epoch>> {
        std::iter::once(&self.mark).chain(self.tags.iter().map(|(tag, _)| tag))
    }
}

/// Registration of a load with all epochs of its validity, until it is dropped.
///
/// A later invalidation of any of these names notifies the load.
pub(crate) struct LoadRegistration {
    claim: Validity,
    load: Weak<dyn DependentLoad>,
}

impl LoadRegistration {
    pub(crate) fn new(claim: Validity, load: Weak<dyn DependentLoad>) -> Self {
        claim.marks().for_each(|mark| mark.carry(&load));
        Self { claim, load }
    }
}

impl Drop for LoadRegistration {
    fn drop(&mut self) {
        self.claim.marks().for_each(|mark| mark.put_down(&self.load));
    }
}

impl fmt::Debug for LoadRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadRegistration").field(&self.claim).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::epoch::{Epochs, tests::Load};

    /// A value read at 100, with two tags, over a change feed with the watermark 150.
    struct Read {
        marks: Arc<Epochs>,
        claim: Validity,
    }

    impl Read {
        fn new() -> Self {
            let (marks, line) = (Epochs::new(), ChangeFeed::watching());
            line.prove_until(150);
            let tags = [("tag 1", 7), ("tag 2", 8)].map(|(tag, generation)| (marks.of(tag), generation));
            let claim = Validity { mark: marks.of("name"), tags: tags.into(), line, checked: 100 };
            Self { marks, claim }
        }
    }

    #[test]
    fn a_word_about_the_name_or_about_any_tag_ends_it() {
        for name in ["name", "tag 1", "tag 2", "another"] {
            let Read { marks, claim } = Read::new();
            assert!(claim.is_intact() && claim.stands(160, 20) && claim.stands_alone(160, 20, 0));
            marks.end(name);
            let is_spared = name == "another";
            assert_eq!(claim.is_intact(), is_spared, "{name}");
            assert_eq!(claim.stands(160, 20), is_spared, "{name}");
            assert_eq!(claim.stands_alone(160, 20, 0), is_spared, "{name}");
        }
    }

    #[test]
    fn it_stands_for_less_than_the_bound_after_the_later_of_proof_and_look() {
        let Read { claim, .. } = Read::new();
        assert!(claim.stands(169, 20) && !claim.stands(170, 20));
        let looked_at = Validity { checked: 200, ..claim };
        assert!(looked_at.stands(219, 20) && !looked_at.stands(220, 20));
        assert!(looked_at.stands(Nanos::MAX - 1, Nanos::MAX));
    }

    #[test]
    fn alone_it_stands_for_the_grace_as_well_if_its_line_has_one() {
        let Read { claim, .. } = Read::new();
        assert!(claim.stands_alone(199, 20, 30) && !claim.stands_alone(200, 20, 30));
        assert!(claim.stands_alone(Nanos::MAX - 1, 20, Nanos::MAX));
        claim.line.allow_grace(false);
        assert!(claim.stands_alone(169, 20, 30) && !claim.stands_alone(170, 20, 30));
    }

    #[test]
    fn silenced_it_keeps_what_was_proven_until_then() {
        let Read { marks, claim } = Read::new();
        // A watermark beyond `now` counts only up to `now`: the rest did not hold when the value was read.
        for (now, checked) in [(160, 150), (120, 120), (90, 100)] {
            let silenced = claim.silenced(now);
            assert!(silenced.line.is_same(&ChangeFeed::silent()) && silenced.is_intact());
            assert_eq!(silenced.checked, checked, "at {now}");
        }
        marks.end("tag 2");
        assert_eq!(claim.silenced(160).checked, 100, "no proof is about what was changed");
    }

    #[test]
    fn its_tags_have_generations_of_which_each_can_be_replaced() {
        let Read { claim, .. } = Read::new();
        assert_eq!(claim.tag_keys(), ["tag 1", "tag 2"]);
        assert_eq!(claim.generations().collect::<Vec<_>>(), [7, 8]);
        let later = claim.with_generations([9, 10]);
        assert_eq!(
            (later.tag_keys(), later.generations().collect()),
            (vec!["tag 1".to_owned(), "tag 2".to_owned()], vec![9, 10])
        );
    }

    #[test]
    fn while_it_is_carried_the_load_falls_with_any_of_its_marks() {
        for name in ["name", "tag 1", "tag 2", "another"] {
            for is_carried in [true, false] {
                let (Read { marks, claim }, load) = (Read::new(), Arc::new(Load::default()));
                let carried = LoadRegistration::new(claim.clone(), load.weak());
                let _carried = is_carried.then_some(carried);
                marks.end(name);
                let falls = is_carried && name != "another";
                assert_eq!(load.falls(), usize::from(falls), "{name}, carried: {is_carried}");
            }
        }
    }
}
