//! Which tags this process has invalidated lately, for loads whose tags are known only when they have ended.

use std::{collections::VecDeque, sync::PoisonError};

use crate::sync::{Mutex, MutexGuard};

/// What was said before these is not known any more.
const MOST: usize = 1024;

/// The last words about tags, in order.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<Words>);

#[derive(Debug, Default)]
struct Words {
    /// How many were forgotten.
    forgotten: u64,
    words: VecDeque<Box<str>>,
}

/// How much had been said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

impl Said {
    /// A tag is invalid.
    pub(crate) fn say(&self, tag: &str) {
        let mut said = self.lock();
        if said.words.len() == MOST {
            said.words.pop_front();
            said.forgotten += 1;
        }
        said.words.push_back(tag.into());
    }

    pub(crate) fn now(&self) -> Moment {
        let said = self.lock();
        Moment(said.forgotten + said.words.len() as u64)
    }

    /// Whether one of these tags may have been invalidated since.
    pub(crate) fn is_about(&self, tags: &[String], since: Moment) -> bool {
        let said = self.lock();
        let Some(known) = since.0.checked_sub(said.forgotten) else { return !tags.is_empty() };
        let later = said.words.iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
        later.into_iter().any(|word| tags.iter().any(|tag| **tag == **word))
    }

    fn lock(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_since_counts() {
        let (said, tag) = (Said::default(), ["a".to_owned()]);
        said.say("a");
        let since = said.now();
        said.say("b");
        assert!(!said.is_about(&tag, since) && !said.is_about(&[], since));
        said.say("a");
        assert!(said.is_about(&tag, since) && !said.is_about(&tag, said.now()));
    }

    #[test]
    fn what_was_forgotten_may_have_been_about_anything() {
        let (said, tag) = (Said::default(), ["a".to_owned()]);
        let since = said.now();
        for _ in 0..MOST {
            said.say("b");
        }
        assert!(!said.is_about(&tag, since));
        said.say("b");
        assert!(said.is_about(&tag, since) && !said.is_about(&[], since));
        assert!(!said.is_about(&tag, said.now()));
    }
}
