//! Log of the tags that this process has invalidated recently.
//!
//! Loads that get their tags from the value consult it afterwards: such a load could not take the epochs of
//! its tags before it began.

use std::{collections::HashMap, sync::PoisonError};

use crate::sync::{Mutex, MutexGuard};

/// Maximum number of tags. Beyond it, the half that was invalidated first is forgotten.
const MOST: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct TagLog(Mutex<TagTable>);

#[derive(Debug, Default)]
struct TagTable {
    /// Number of invalidations so far.
    count: u64,
    /// Position of each tag's last invalidation.
    tags: HashMap<Box<str>, u64>,
    /// Invalidations up to this position may be missing from `tags`.
    forgotten: u64,
}

/// A position in the log: the number of invalidations up to then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPosition(u64);

impl TagLog {
    /// Records that a tag was invalidated.
    pub(crate) fn say(&self, tag: &str) {
        let mut said = self.lock();
        said.count += 1;
        let count = said.count;
        said.tags.insert(tag.into(), count);
        if said.tags.len() > MOST {
            said.forget_half();
        }
    }

    pub(crate) fn now(&self) -> LogPosition {
        LogPosition(self.lock().count)
    }

    /// Returns whether one of these tags may have been invalidated since `since`.
    ///
    /// Forgotten invalidations count as invalidations of every tag.
    pub(crate) fn is_about(&self, tags: &[String], since: LogPosition) -> bool {
        let said = self.lock();
        let is_later = |tag: &String| said.tags.get(tag.as_str()).is_some_and(|count| *count > since.0);
        (since.0 < said.forgotten && !tags.is_empty()) || tags.iter().any(is_later)
    }

    fn lock(&self) -> MutexGuard<'_, TagTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TagTable {
    fn forget_half(&mut self) {
        let mut counts: Vec<_> = self.tags.values().copied().collect();
        counts.sort_unstable();
        self.forgotten = counts[counts.len() / 2];
        self.tags.retain(|_, count| *count > self.forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_log_reports_only_invalidations_after_the_position() {
        let (said, tag) = (TagLog::default(), ["a".to_owned()]);
        said.say("a");
        let since = said.now();
        said.say("b");
        assert!(!said.is_about(&tag, since) && !said.is_about(&[], since));
        said.say("a");
        assert!(said.is_about(&tag, since) && !said.is_about(&tag, said.now()));
    }

    #[test]
    fn forgotten_range_of_tag_log_matches_every_tag() {
        let (said, tag) = (TagLog::default(), ["a".to_owned()]);
        let since = said.now();
        for number in 0..2 * MOST {
            said.say(&(number % MOST).to_string());
        }
        assert!(!said.is_about(&tag, since), "the same tags again are no more tags");
        said.say("one more");
        assert!(said.is_about(&tag, since) && !said.is_about(&[], since));
        assert!(!said.is_about(&tag, said.now()));
        assert!(said.lock().tags.len() <= MOST / 2 + 1);
    }
}
