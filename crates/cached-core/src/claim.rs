//! On what an entry of L1 may be served without asking.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use crate::{
    clock::Nanos,
    line::Line,
    marks::{Mark, Stands},
    planted,
};

/// What an entry stands on: nothing was said about its name or its tags, and the silence is proven to be one.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) mark: Arc<Mark>,
    /// Each with the generation that the value was loaded under.
    pub(crate) tags: Box<[(Arc<Mark>, u64)]>,
    /// Over which all of this would be said.
    pub(crate) line: Arc<Line>,
    /// The last moment at which the value was known to be current, whatever the line says.
    pub(crate) checked: Nanos,
}

impl Claim {
    /// Nothing was said.
    #[inline]
    pub(crate) fn is_intact(&self) -> bool {
        self.mark.is_alive() && self.tags.iter().all(|(tag, _)| tag.is_alive())
    }

    /// Whether the value may be served: it was current no longer than `bound` ago.
    #[inline]
    pub(crate) fn stands(&self, now: Nanos, bound: Nanos) -> bool {
        (self.is_younger(now, bound) || planted!("proof-ignored")) && self.is_intact()
    }

    /// The same when the tier cannot be reached, so that nobody could say anything.
    pub(crate) fn stands_alone(&self, now: Nanos, bound: Nanos, grace: Nanos) -> bool {
        let limit = if self.line.has_grace() { bound.saturating_add(grace) } else { bound };
        (self.is_younger(now, limit) || planted!("grace-unbounded")) && self.is_intact()
    }

    #[inline]
    fn is_younger(&self, now: Nanos, limit: Nanos) -> bool {
        now < self.line.proven().max(self.checked).saturating_add(limit)
    }

    /// The same for a value of which nobody might tell from now on, because it may not be in the tier.
    pub(crate) fn silenced(&self, now: Nanos) -> Self {
        // What the line has proven until now still counts.
        let proven = if self.is_intact() { self.line.proven().min(now) } else { 0 };
        Self { line: Line::silent(), checked: self.checked.max(proven), ..self.clone() }
    }

    /// Its tags, to ask for them again.
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

    fn marks(&self) -> impl Iterator<Item = &Arc<Mark>> {
        std::iter::once(&self.mark).chain(self.tags.iter().map(|(tag, _)| tag))
    }
}

/// What a load stands on: later words about any of these names are for the load as well.
pub(crate) struct Carried {
    claim: Claim,
    load: Weak<dyn Stands>,
}

impl Carried {
    pub(crate) fn new(claim: Claim, load: Weak<dyn Stands>) -> Self {
        claim.marks().for_each(|mark| mark.carry(&load));
        Self { claim, load }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.claim.marks().for_each(|mark| mark.put_down(&self.load));
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Carried").field(&self.claim).finish()
    }
}
