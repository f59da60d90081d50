//! Log of the tags that this process has invalidated recently.
//!
//! Loads that get their tags from the value consult it afterwards: such a load could not take the epochs of
//! its tags before it began.

use std::{collections::HashMap, sync::PoisonError};

use crate::sync::{Mutex, MutexGuard};

/// Maximum number of tags. Beyond it, the half that was invalidated first is forgotten.
const MAX_TAGS: usize = 65_536;

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
    pub(crate) fn record(&self, tag: &str) {
        let mut table = self.lock();
        table.count += 1;
        let count = table.count;
        table.tags.insert(tag.into(), count);
        if table.tags.len() > MAX_TAGS {
            table.forget_half();
        }
    }

    pub(crate) fn position(&self) -> LogPosition {
        LogPosition(self.lock().count)
    }

    /// Returns whether one of these tags may have been invalidated since `since`.
    ///
    /// Forgotten invalidations count as invalidations of every tag.
    pub(crate) fn has_any_since(&self, tags: &[String], since: LogPosition) -> bool {
        let table = self.lock();
        let is_later = |tag: &String| table.tags.get(tag.as_str()).is_some_and(|count| *count > since.0);
        (since.0 < table.forgotten && !tags.is_empty()) || tags.iter().any(is_later)
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
        let (log, tag) = (TagLog::default(), ["a".to_owned()]);
        log.record("a");
        let since = log.position();
        log.record("b");
        assert!(!log.has_any_since(&tag, since) && !log.has_any_since(&[], since));
        log.record("a");
        assert!(log.has_any_since(&tag, since) && !log.has_any_since(&tag, log.position()));
    }

    #[test]
    fn forgotten_range_of_tag_log_matches_every_tag() {
        let (log, tag) = (TagLog::default(), ["a".to_owned()]);
        let since = log.position();
        for number in 0..2 * MAX_TAGS {
            log.record(&(number % MAX_TAGS).to_string());
        }
        assert!(!log.has_any_since(&tag, since), "the same tags again are no more tags");
        log.record("one more");
        assert!(log.has_any_since(&tag, since) && !log.has_any_since(&[], since));
        assert!(!log.has_any_since(&tag, log.position()));
        assert!(log.lock().tags.len() <= MAX_TAGS / 2 + 1);
    }
}
