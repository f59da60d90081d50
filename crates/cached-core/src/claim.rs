//! On what an entry of L1 may be served without asking.

use std::sync::Arc;

use crate::{clock::Nanos, line::Line, marks::Mark, planted};

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

    /// Later words about any of these names are for the load as well.
    pub(crate) fn carry_load(&self) {
        self.mark.carry_load();
        for (tag, _) in &self.tags {
            tag.carry_load();
        }
    }
}
