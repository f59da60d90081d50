//! Invalidations that the shared tier does not know yet.
//!
//! This process does not read a name that an item matches from the tier, because the tier's value may be
//! outdated. A background task, the sender, resends the items until the tier has received them.
//!
//! Memory is bounded: too many items collapse into one invalidation of the whole namespace.
//!
//! States of the sender: none, sending, or waiting to retry. At most one task has the turn. A sender checks
//! in at least every [`SIGN`]; without a check-in for [`GONE`], another task takes over and the old one
//! stops. When the tier comes back, a waiting sender is replaced at once, and a sending one retries without a
//! pause.
//!
//! `l2::replay` has the task; `cache::invalidation` adds the items. `l2::sweeps` uses the same two intervals.

use std::{collections::HashMap, mem, sync::PoisonError, time::Duration};

use tokio::sync::Notify;

use crate::{
    base::{background::Job, glob, planted::planted},
    sync::{AtomicUsize, Instant, Mutex, MutexGuard, Ordering},
};

/// Time without a check-in after which a sender is presumed dead. See [`SIGN`].
pub(crate) const GONE: Duration = Duration::from_secs(5);

/// Interval at which a sender checks in, even while it waits.
pub(crate) const SIGN: Duration = Duration::from_secs(1);

/// Maximum number of items. Beyond it, they collapse into one about everything.
const MOST: usize = 10_000;

/// Maximum number of patterns. Each makes the tier scan all of its keys, and is compared with every name that
/// is read meanwhile.
const MOST_PATTERNS: usize = 16;

/// Undelivered invalidations, by key or pattern.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    table: Mutex<OutboxTable>,
    len: AtomicUsize,
    turn: Mutex<SenderState>,
    /// Notified when the tier comes back: a waiting sender need not wait any longer.
    pub(crate) urged: Notify,
}

/// State of the sender.
#[derive(Debug, Default)]
struct SenderState {
    number: u64,
    /// Time of the sender's last check-in; `None` without a sender.
    sign: Option<Instant>,
    /// The sender has failed, and waits before it tries again.
    is_waiting: bool,
    /// The tier came back while the sender was sending.
    is_urged: bool,
    /// Background job of the sender, for which a flush waits.
    job: Option<Job>,
}

#[derive(Debug, Default)]
struct OutboxTable {
    last: u64,
    /// Keys to delete, each with the number of its latest `add`.
    keys: HashMap<String, u64>,
    patterns: HashMap<String, u64>,
}

impl OutboxTable {
    fn len(&self) -> usize {
        self.keys.len() + self.patterns.len()
    }

    fn add(&mut self, word: OutboxItem, everything: &str) {
        self.last += 1;
        let number = self.last;
        let is_new = !self.like(&word).contains_key(word.text());
        if is_new && self.len() >= MOST {
            // The pattern for everything matches the entries of tags as well.
            self.keys.clear();
            self.patterns = HashMap::from([(everything.to_owned(), number)]);
        }
        match word {
            OutboxItem::Key(key) => {
                self.keys.insert(key, number);
            }
            // The pattern is covered by everything, which must then be removed again, or there are too many
            // patterns.
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

    /// Returns the items of the same kind as `word`.
    fn like(&mut self, word: &OutboxItem) -> &mut HashMap<String, u64> {
        match word {
            OutboxItem::Key(_) => &mut self.keys,
            OutboxItem::Matching(_) => &mut self.patterns,
        }
    }
}

/// An invalidation to send to the tier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OutboxItem {
    /// Delete this key of an entry, a tag or a counter.
    Key(String),
    /// Delete every key that matches this pattern.
    Matching(String),
}

impl OutboxItem {
    /// Returns the key or the pattern.
    pub(crate) fn text(&self) -> &str {
        let (Self::Key(text) | Self::Matching(text)) = self;
        text
    }
}

impl Outbox {
    /// Adds an item. `everything` is the pattern that replaces too many items.
    ///
    /// An item that is there already gets a new number, so that a send in progress does not remove it.
    pub(crate) fn add(&self, word: OutboxItem, everything: &str) {
        let mut table = self.table();
        if !planted!("no-replay") {
            table.add(word, everything);
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Returns whether the tier's record under one of these names may be outdated.
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

    /// Returns the items to send next, with their numbers.
    ///
    /// These are up to `most` keys, which cost little. Without keys, it is the pattern that has waited
    /// longest.
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

    /// Removes an item that the tier has received, unless it was added again meanwhile.
    pub(crate) fn told(&self, word: &OutboxItem, number: u64) {
        let mut table = self.table();
        let words = table.like(word);
        if words.get(word.text()) == Some(&number) {
            words.remove(word.text());
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Acquires the turn of the sender and returns its number; `None` if another task has it.
    ///
    /// The sender continues until the outbox is empty. A flush waits for `job` while it sends, until its
    /// first failure.
    pub(crate) fn begin_telling(&self, job: impl FnOnce() -> Option<Job>) -> Option<u64> {
        let mut turn = self.turn();
        // A sender that does not check in is replaced: its runtime may be blocked.
        if turn.sign.is_some_and(|sign| sign.elapsed() < GONE) {
            return None;
        }
        let (number, job) = (turn.number + 1, job());
        let before = mem::replace(
            &mut *turn,
            SenderState { number, sign: Some(Instant::now()), is_waiting: false, is_urged: false, job },
        );
        drop(turn);
        drop(before);
        Some(number)
    }

    /// Checks in for the sender of this turn. Returns whether it still has the turn.
    pub(crate) fn go_on_telling(&self, number: u64) -> bool {
        let mut turn = self.turn();
        let is_its = turn.number == number && turn.sign.is_some();
        if is_its {
            turn.sign = Some(Instant::now());
            turn.is_waiting = false;
        }
        is_its
    }

    /// Records a failure of the sender, and returns whether it may wait before it retries.
    ///
    /// It may not if the tier came back meanwhile, or if another task has the turn.
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

    /// Records that the tier came back.
    ///
    /// A waiting sender is replaced by the next task that begins. A sending one continues, and retries at
    /// once if it fails; a flush then waits for its `job`.
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

    fn turn(&self) -> MutexGuard<'_, SenderState> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, OutboxTable> {
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
    fn excess_and_covered_patterns_collapse_into_one_for_everything() {
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

        // An item is added while everything is being removed, so that removal must be repeated.
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
    fn outbox_sends_keys_first_and_patterns_in_insertion_order() {
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
    fn outbox_has_one_sender_even_when_the_tier_comes_back() {
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
    fn flush_waits_for_an_active_sender_but_not_for_a_waiting_one() {
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
