//! Invalidations that the shared tier could not be told of yet.
//!
//! What they are about is not read from the tier by this process, and they are told again until it knows. There is a bound
//! to what is remembered one by one: beyond it, everything counts as invalidated.

use std::{collections::HashMap, mem, sync::PoisonError, time::Duration};

use tokio::sync::Notify;

use crate::{
    base::{background::Job, glob, planted::planted},
    sync::{AtomicUsize, Instant, Mutex, MutexGuard, Ordering},
};

/// The task that tells shows more often than this that it goes on, whatever it waits for: see [`SIGN`].
pub(crate) const GONE: Duration = Duration::from_secs(5);

/// How often it does.
pub(crate) const SIGN: Duration = Duration::from_secs(1);

/// More than this are not told apart.
const MOST: usize = 10_000;

/// Nor are more patterns than this: each has the tier look at all of its keys, and each is compared with every name that is
/// read meanwhile.
const MOST_PATTERNS: usize = 16;

/// The invalidations, by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    table: Mutex<Table>,
    len: AtomicUsize,
    turn: Mutex<Turn>,
    /// The task that waits to tell again need not wait any longer.
    pub(crate) urged: Notify,
}

/// Which task tells.
#[derive(Debug, Default)]
struct Turn {
    number: u64,
    /// When it showed that it goes on; `None` if there is none.
    sign: Option<Instant>,
    /// It failed, and waits to try again.
    is_waiting: bool,
    /// The tier came back while it told.
    is_urged: bool,
    /// What a flush waits for.
    job: Option<Job>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    /// What is to be said, with the number of the last time that it was.
    keys: HashMap<String, u64>,
    patterns: HashMap<String, u64>,
}

impl Table {
    fn len(&self) -> usize {
        self.keys.len() + self.patterns.len()
    }

    fn add(&mut self, word: OutboxItem, everything: &str) {
        self.last += 1;
        let number = self.last;
        let is_new = !self.like(&word).contains_key(word.text());
        if is_new && self.len() >= MOST {
            // That is about the entries of tags as well.
            self.keys.clear();
            self.patterns = HashMap::from([(everything.to_owned(), number)]);
        }
        match word {
            OutboxItem::Key(key) => {
                self.keys.insert(key, number);
            }
            // It is a part of everything, which has to be removed anew, or there are too many.
            OutboxItem::Matching(pattern)
                if pattern == everything
                    || self.patterns.contains_key(everything)
                    || (is_new && self.patterns.len() >= MOST_PATTERNS) =>
            {
                self.patterns = HashMap::from([(everything.to_owned(), number)]);
            }
            OutboxItem::Matching(pattern) => {
                self.patterns.insert(pattern, number);
            }
        }
    }

    /// The words like this one.
    fn like(&mut self, word: &OutboxItem) -> &mut HashMap<String, u64> {
        match word {
            OutboxItem::Key(_) => &mut self.keys,
            OutboxItem::Matching(_) => &mut self.patterns,
        }
    }
}

/// What the tier has to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OutboxItem {
    /// These keys, of entries and tags, are to be deleted.
    Key(String),
    /// So is whatever matches.
    Matching(String),
}

impl OutboxItem {
    /// The key, or the pattern.
    pub(crate) fn text(&self) -> &str {
        let (Self::Key(text) | Self::Matching(text)) = self;
        text
    }
}

impl Outbox {
    /// Remembers a word, of which the newest counts. `everything` takes the place of too many.
    pub(crate) fn add(&self, word: OutboxItem, everything: &str) {
        let mut table = self.table();
        if !planted!("no-replay") {
            table.add(word, everything);
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Whether what the tier has under one of these names may be outdated.
    pub(crate) fn is_about<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        if self.is_empty() || planted!("untold-name-read") {
            return false;
        }
        let table = self.table();
        let matches = |name| table.patterns.keys().any(|pattern| glob::matches(pattern, name));
        names.any(|name| table.keys.contains_key(name) || matches(name))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// What is to be told next, with its numbers: up to `most` keys, which cost little, and if there are none, the pattern
    /// that has waited for the longest time.
    pub(crate) fn some(&self, most: usize) -> Vec<(OutboxItem, u64)> {
        let table = self.table();
        let keys = table.keys.iter().map(|(key, number)| (OutboxItem::Key(key.clone()), *number));
        let keys: Vec<_> = keys.take(most).collect();
        if !keys.is_empty() {
            return keys;
        }
        let oldest = table.patterns.iter().min_by_key(|(_, number)| **number);
        oldest.map(|(pattern, number)| (OutboxItem::Matching(pattern.clone()), *number)).into_iter().collect()
    }

    /// The tier was told, unless the same was said again meanwhile.
    pub(crate) fn told(&self, word: &OutboxItem, number: u64) {
        let mut table = self.table();
        let words = table.like(word);
        if words.get(word.text()) == Some(&number) {
            words.remove(word.text());
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// One task tells at a time, and goes on until nothing is left; `None` if there is one. It returns the number of its turn.
    /// While it tells, and until it has failed, a flush waits for the `job`.
    pub(crate) fn begin_telling(&self, job: impl FnOnce() -> Option<Job>) -> Option<u64> {
        let mut turn = self.turn();
        // The runtime of that task may stand still.
        if turn.sign.is_some_and(|sign| sign.elapsed() < GONE) {
            return None;
        }
        let (number, job) = (turn.number + 1, job());
        let before = mem::replace(
            &mut *turn,
            Turn { number, sign: Some(Instant::now()), is_waiting: false, is_urged: false, job },
        );
        drop(turn);
        drop(before);
        Some(number)
    }

    /// The task of this turn goes on; whether it is still its turn.
    pub(crate) fn go_on_telling(&self, number: u64) -> bool {
        let mut turn = self.turn();
        let is_its = turn.number == number && turn.sign.is_some();
        if is_its {
            turn.sign = Some(Instant::now());
            turn.is_waiting = false;
        }
        is_its
    }

    /// The task of this turn has failed, and may wait before it tries again, unless the tier came back meanwhile.
    pub(crate) fn may_wait(&self, number: u64) -> bool {
        let mut turn = self.turn();
        if turn.number != number || mem::take(&mut turn.is_urged) {
            return false;
        }
        turn.is_waiting = true;
        let job = turn.job.take();
        drop(turn);
        drop(job);
        true
    }

    /// The tier came back. A task that waits is relieved by the next one that begins; one that tells goes on, and tries again
    /// at once if it fails. A flush waits for the `job` of that one.
    pub(crate) fn urge(&self, job: impl FnOnce() -> Option<Job>) {
        let mut turn = self.turn();
        if turn.is_waiting {
            turn.sign = None;
        } else if turn.sign.is_some() {
            turn.is_urged = true;
            turn.job = turn.job.take().or_else(job);
        }
        drop(turn);
        self.urged.notify_waiters();
    }

    pub(crate) fn end_telling(&self, number: u64) {
        let mut turn = self.turn();
        if turn.number == number {
            turn.sign = None;
            let job = turn.job.take();
            drop(turn);
            drop(job);
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::background::Background;

    fn about(pending: &Outbox, name: &str) -> bool {
        pending.is_about([name].into_iter())
    }

    #[test]
    fn the_newest_word_counts() {
        let pending = Outbox::default();
        let word = OutboxItem::Key("ns:a".to_owned());
        pending.add(word.clone(), "ns:*");
        let (_, first) = pending.some(1).remove(0);
        pending.add(word.clone(), "ns:*");
        pending.told(&word, first);
        assert!(about(&pending, "ns:a") && !about(&pending, "ns:b"));
        let (_, second) = pending.some(1).remove(0);
        pending.told(&word, second);
        assert!(pending.is_empty() && !about(&pending, "ns:a"));
    }

    #[test]
    fn too_many_words_become_one_about_everything() {
        let pending = Outbox::default();
        for number in 0..2 * MOST {
            pending.add(OutboxItem::Key(format!("ns:{number}")), "ns:*");
        }
        assert!(pending.len() <= MOST + 1);
        assert!(about(&pending, "ns:0") && about(&pending, "ns:never said"));
        let keys = pending.some(usize::MAX);
        for (word, number) in &keys {
            pending.told(word, *number);
        }
        assert!(matches!(&pending.some(usize::MAX)[..], [(OutboxItem::Matching(all), _)] if all == "ns:*"));
    }

    #[test]
    fn so_do_more_patterns_than_a_few_and_those_that_are_a_part_of_it() {
        let pending = Outbox::default();
        let pattern = |number: usize| OutboxItem::Matching(format!("ns:{number}:*"));
        let add = |word| pending.add(word, "ns:*");
        (0..MOST_PATTERNS).for_each(|number| add(pattern(number)));
        (0..MOST_PATTERNS).for_each(|number| add(pattern(number)));
        assert_eq!(pending.len(), MOST_PATTERNS);
        assert!(!about(&pending, "ns:other"));
        add(OutboxItem::Key("ns:key".to_owned()));
        add(pattern(MOST_PATTERNS));
        assert_eq!(pending.len(), 2);
        assert!(about(&pending, "ns:other"));
        pending.some(1).iter().for_each(|(word, number)| pending.told(word, *number));

        // Said again while everything is removed, so that has to be done anew.
        let everything = pending.some(1);
        add(pattern(0));
        for (word, number) in &everything {
            pending.told(word, *number);
        }
        assert!(pending.len() == 1 && about(&pending, "ns:0:x"));
        let everything = pending.some(1);
        add(OutboxItem::Matching("ns:*".to_owned()));
        for (word, number) in &everything {
            pending.told(word, *number);
        }
        assert!(about(&pending, "ns:0:x"));
    }

    #[test]
    fn keys_are_told_before_patterns_and_those_in_their_order() {
        let pending = Outbox::default();
        pending.add(OutboxItem::Matching("ns:b:*".to_owned()), "ns:*");
        pending.add(OutboxItem::Matching("ns:a:*".to_owned()), "ns:*");
        pending.add(OutboxItem::Key("ns:key".to_owned()), "ns:*");
        let mut told = Vec::new();
        while let [(word, number)] = &pending.some(9)[..] {
            pending.told(word, *number);
            told.push(word.text().to_owned());
        }
        assert_eq!(told, ["ns:key", "ns:b:*", "ns:a:*"]);
    }

    #[test]
    fn one_tells_at_a_time_also_when_the_tier_comes_back() {
        let (pending, none) = (Outbox::default(), || None);
        let telling = pending.begin_telling(none).unwrap();
        assert!(pending.begin_telling(none).is_none() && pending.go_on_telling(telling));
        pending.urge(none);
        assert!(pending.begin_telling(none).is_none() && pending.go_on_telling(telling));
        assert!(!pending.may_wait(telling), "the tier came back while it told");
        assert!(pending.may_wait(telling) && pending.begin_telling(none).is_none());
        pending.urge(none);
        let next = pending.begin_telling(none).unwrap();
        assert!(!pending.go_on_telling(telling) && !pending.may_wait(telling), "it was relieved");
        pending.end_telling(telling);
        assert!(pending.go_on_telling(next));
        pending.end_telling(next);
        assert!(!pending.go_on_telling(next) && pending.begin_telling(none).is_some());
    }

    #[test]
    fn a_flush_waits_for_one_that_tells_and_not_for_one_that_waits() {
        let (pending, background) = (Outbox::default(), Background::new());
        let job = || Some(background.begin());
        let telling = pending.begin_telling(job).unwrap();
        assert_eq!(background.len(), 1);
        assert!(pending.may_wait(telling));
        assert_eq!(background.len(), 0);
        assert!(pending.go_on_telling(telling));
        pending.urge(job);
        pending.urge(job);
        assert_eq!(background.len(), 1);
        pending.end_telling(telling);
        assert_eq!(background.len(), 0);
    }
}
