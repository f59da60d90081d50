//! Which tags this process has invalidated lately, for loads whose tags are known only when they have ended.

use std::{collections::HashMap, sync::PoisonError};

use crate::sync::{Mutex, MutexGuard};

/// More tags than this are not told apart: those that were invalidated first are forgotten.
const MOST: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct TagLog(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// How many times something was said.
    count: u64,
    /// Each tag with the count of the last time.
    tags: HashMap<Box<str>, u64>,
    /// What was said until then may be forgotten.
    forgotten: u64,
}

/// How much had been said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogPosition(u64);

impl TagLog {
    /// A tag is invalid.
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

    /// Whether one of these tags may have been invalidated since.
    pub(crate) fn is_about(&self, tags: &[String], since: LogPosition) -> bool {
        let said = self.lock();
        let is_later = |tag: &String| said.tags.get(tag.as_str()).is_some_and(|count| *count > since.0);
        (since.0 < said.forgotten && !tags.is_empty()) || tags.iter().any(is_later)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
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
    fn only_what_was_said_since_counts() {
        let (said, tag) = (TagLog::default(), ["a".to_owned()]);
        said.say("a");
        let since = said.now();
        said.say("b");
        assert!(!said.is_about(&tag, since) && !said.is_about(&[], since));
        said.say("a");
        assert!(said.is_about(&tag, since) && !said.is_about(&tag, said.now()));
    }

    #[test]
    fn what_was_forgotten_may_have_been_about_anything() {
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
