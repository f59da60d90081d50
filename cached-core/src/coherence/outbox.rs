//! Invalidations that the shared tier does not know yet.
//!
//! This process does not read a name that an item matches from the tier, because the tier's value may be
//! outdated. A background task, the sender, resends the items until the tier has received them.
//!
//! Memory is bounded: too many items collapse into one invalidation of the whole namespace.
//!
//! States of the sender: none, sending, or waiting to retry. At most one task has the turn. A sender checks
//! in at least every [`CHECK_IN_INTERVAL`]; without a check-in for [`CHECK_IN_TIMEOUT`], another task takes over
//! and the old one stops. When the tier comes back, a waiting sender is replaced at once, and a sending one
//! retries without a pause.
//!
//! `l2::replay` has the task; `cache::invalidation` adds the items. `l2::sweeps` uses the same two intervals.

use std::{collections::HashMap, mem, sync::PoisonError, time::Duration};

use tokio::sync::Notify;

use crate::{
    base::{background::Job, glob, planted::planted},
    sync::{AtomicUsize, Instant, Mutex, MutexGuard, Ordering},
};

/// Time without a check-in after which a sender, or a sweep, is presumed dead. See [`CHECK_IN_INTERVAL`].
pub(crate) const CHECK_IN_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which a sender checks in, even while it waits.
pub(crate) const CHECK_IN_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of items. Beyond it, they collapse into one about everything.
const MAX_ITEMS: usize = 10_000;

/// Maximum number of patterns. Each makes the tier scan all of its keys, and is compared with every name that
/// is read meanwhile.
const MAX_PATTERNS: usize = 16;

/// Undelivered invalidations, by key or pattern.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    table: Mutex<OutboxTable>,
    len: AtomicUsize,
    sender: Mutex<SenderState>,
    /// Notified when the tier comes back: a waiting sender need not wait any longer.
    pub(crate) tier_restored: Notify,
}

/// State of the sender.
#[derive(Debug, Default)]
struct SenderState {
    /// Number of the current turn.
    turn: u64,
    /// Time of the sender's last check-in; `None` without a sender.
    last_check_in: Option<Instant>,
    /// The sender has failed, and waits before it tries again.
    is_waiting: bool,
    /// The tier came back while the sender was sending.
    was_tier_restored: bool,
    /// Background job of the sender, for which a flush waits.
    job: Option<Job>,
}

#[derive(Debug, Default)]
struct OutboxTable {
    last_number: u64,
    /// Keys to delete, each with the number of its latest `add`.
    keys: HashMap<String, u64>,
    patterns: HashMap<String, u64>,
}

impl OutboxTable {
    fn len(&self) -> usize {
        self.keys.len() + self.patterns.len()
    }

    fn add(&mut self, item: OutboxItem, everything: &str) {
        self.last_number += 1;
        let number = self.last_number;
        let is_new = !self.same_kind(&item).contains_key(item.text());
        if is_new && self.len() >= MAX_ITEMS {
            // The pattern for everything matches the entries of tags as well.
            self.keys.clear();
            self.patterns = HashMap::from([(everything.to_owned(), number)]);
        }
        match item {
            OutboxItem::Key(key) => {
                self.keys.insert(key, number);
            }
            // The pattern is covered by everything, which must then be removed again, or there are too many
            // patterns.
            OutboxItem::Matching(pattern)
                if pattern == everything
                    || self.patterns.contains_key(everything)
                    || (is_new && self.patterns.len() >= MAX_PATTERNS) =>
            {
                self.patterns = HashMap::from([(everything.to_owned(), number)]);
            }
            OutboxItem::Matching(pattern) => {
                self.patterns.insert(pattern, number);
            }
        }
    }

    /// Returns the items of the same kind as `item`.
    fn same_kind(&mut self, item: &OutboxItem) -> &mut HashMap<String, u64> {
        match item {
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
    pub(crate) fn add(&self, item: OutboxItem, everything: &str) {
        let mut table = self.table();
        if !planted!("no-replay") {
            table.add(item, everything);
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Returns whether the tier's record under one of these names may be outdated.
    pub(crate) fn may_match<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
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
    /// These are up to `max_keys` keys, which cost little. Without keys, it is the pattern that has waited
    /// longest.
    pub(crate) fn next_batch(&self, max_keys: usize) -> Vec<(OutboxItem, u64)> {
        let table = self.table();
        let keys = table.keys.iter().map(|(key, number)| (OutboxItem::Key(key.clone()), *number));
        let keys: Vec<_> = keys.take(max_keys).collect();
        if !keys.is_empty() {
            return keys;
        }
        let oldest = table.patterns.iter().min_by_key(|(_, number)| **number);
        oldest.map(|(pattern, number)| (OutboxItem::Matching(pattern.clone()), *number)).into_iter().collect()
    }

    /// Removes an item that the tier has received, unless it was added again meanwhile.
    pub(crate) fn mark_sent(&self, item: &OutboxItem, number: u64) {
        let mut table = self.table();
        let items = table.same_kind(item);
        if items.get(item.text()) == Some(&number) {
            items.remove(item.text());
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Acquires the turn of the sender and returns its number; `None` if another task has it.
    ///
    /// The sender continues until the outbox is empty. A flush waits for `job` while it sends, until its
    /// first failure.
    pub(crate) fn begin_sending(&self, job: impl FnOnce() -> Option<Job>) -> Option<u64> {
        let mut sender = self.sender();
        // A sender that does not check in is replaced: its runtime may be blocked.
        if sender.last_check_in.is_some_and(|at| at.elapsed() < CHECK_IN_TIMEOUT) {
            return None;
        }
        let (turn, job) = (sender.turn + 1, job());
        let previous = mem::replace(
            &mut *sender,
            SenderState {
                turn,
                last_check_in: Some(Instant::now()),
                is_waiting: false,
                was_tier_restored: false,
                job,
            },
        );
        drop(sender);
        drop(previous);
        Some(turn)
    }

    /// Checks in for the sender of this turn. Returns whether it still has the turn.
    pub(crate) fn check_in(&self, turn: u64) -> bool {
        let mut sender = self.sender();
        let has_turn = sender.turn == turn && sender.last_check_in.is_some();
        if has_turn {
            sender.last_check_in = Some(Instant::now());
            sender.is_waiting = false;
        }
        has_turn
    }

    /// Records a failure of the sender, and returns whether it may wait before it retries.
    ///
    /// It may not if the tier came back meanwhile, or if another task has the turn.
    pub(crate) fn begin_waiting(&self, turn: u64) -> bool {
        let mut sender = self.sender();
        if sender.turn != turn || mem::take(&mut sender.was_tier_restored) {
            return false;
        }
        sender.is_waiting = true;
        let job = sender.job.take();
        drop(sender);
        drop(job);
        true
    }

    /// Records that the tier came back.
    ///
    /// A waiting sender is replaced by the next task that begins. A sending one continues, and retries at
    /// once if it fails; a flush then waits for its `job`.
    pub(crate) fn notify_tier_restored(&self, job: impl FnOnce() -> Option<Job>) {
        let mut sender = self.sender();
        if sender.is_waiting {
            sender.last_check_in = None;
        } else if sender.last_check_in.is_some() {
            sender.was_tier_restored = true;
            sender.job = sender.job.take().or_else(job);
        }
        drop(sender);
        self.tier_restored.notify_waiters();
    }

    pub(crate) fn end_sending(&self, turn: u64) {
        let mut sender = self.sender();
        if sender.turn == turn {
            sender.last_check_in = None;
            let job = sender.job.take();
            drop(sender);
            drop(job);
        }
    }

    fn sender(&self) -> MutexGuard<'_, SenderState> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, OutboxTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::background::Background;

    fn may_match(outbox: &Outbox, name: &str) -> bool {
        outbox.may_match([name].into_iter())
    }

    #[test]
    fn item_added_again_survives_the_earlier_send() {
        let outbox = Outbox::default();
        let item = OutboxItem::Key("ns:a".to_owned());
        outbox.add(item.clone(), "ns:*");
        let (_, first) = outbox.next_batch(1).remove(0);
        outbox.add(item.clone(), "ns:*");
        outbox.mark_sent(&item, first);
        assert!(may_match(&outbox, "ns:a") && !may_match(&outbox, "ns:b"));
        let (_, second) = outbox.next_batch(1).remove(0);
        outbox.mark_sent(&item, second);
        assert!(outbox.is_empty() && !may_match(&outbox, "ns:a"));
    }

    #[test]
    fn excess_items_collapse_into_one_for_everything() {
        let outbox = Outbox::default();
        for number in 0..2 * MAX_ITEMS {
            outbox.add(OutboxItem::Key(format!("ns:{number}")), "ns:*");
        }
        assert!(outbox.len() <= MAX_ITEMS + 1);
        assert!(may_match(&outbox, "ns:0") && may_match(&outbox, "ns:never added"));
        let keys = outbox.next_batch(usize::MAX);
        for (item, number) in &keys {
            outbox.mark_sent(item, *number);
        }
        assert!(
            matches!(&outbox.next_batch(usize::MAX)[..], [(OutboxItem::Matching(all), _)] if all == "ns:*")
        );
    }

    #[test]
    fn excess_and_covered_patterns_collapse_into_one_for_everything() {
        let outbox = Outbox::default();
        let pattern = |number: usize| OutboxItem::Matching(format!("ns:{number}:*"));
        let add = |item| outbox.add(item, "ns:*");
        (0..MAX_PATTERNS).for_each(|number| add(pattern(number)));
        (0..MAX_PATTERNS).for_each(|number| add(pattern(number)));
        assert_eq!(outbox.len(), MAX_PATTERNS);
        assert!(!may_match(&outbox, "ns:other"));
        add(OutboxItem::Key("ns:key".to_owned()));
        add(pattern(MAX_PATTERNS));
        assert_eq!(outbox.len(), 2);
        assert!(may_match(&outbox, "ns:other"));
        outbox.next_batch(1).iter().for_each(|(item, number)| outbox.mark_sent(item, *number));

        // An item is added while everything is being removed, so that removal must be repeated.
        let everything = outbox.next_batch(1);
        add(pattern(0));
        for (item, number) in &everything {
            outbox.mark_sent(item, *number);
        }
        assert!(outbox.len() == 1 && may_match(&outbox, "ns:0:x"));
        let everything = outbox.next_batch(1);
        add(OutboxItem::Matching("ns:*".to_owned()));
        for (item, number) in &everything {
            outbox.mark_sent(item, *number);
        }
        assert!(may_match(&outbox, "ns:0:x"));
    }

    #[test]
    fn outbox_sends_keys_first_and_patterns_in_insertion_order() {
        let outbox = Outbox::default();
        outbox.add(OutboxItem::Matching("ns:b:*".to_owned()), "ns:*");
        outbox.add(OutboxItem::Matching("ns:a:*".to_owned()), "ns:*");
        outbox.add(OutboxItem::Key("ns:key".to_owned()), "ns:*");
        let mut sent = Vec::new();
        while let [(item, number)] = &outbox.next_batch(9)[..] {
            outbox.mark_sent(item, *number);
            sent.push(item.text().to_owned());
        }
        assert_eq!(sent, ["ns:key", "ns:b:*", "ns:a:*"]);
    }

    #[test]
    fn outbox_has_one_sender_even_when_the_tier_comes_back() {
        let (outbox, none) = (Outbox::default(), || None);
        let sender = outbox.begin_sending(none).unwrap();
        assert!(outbox.begin_sending(none).is_none() && outbox.check_in(sender));
        outbox.notify_tier_restored(none);
        assert!(outbox.begin_sending(none).is_none() && outbox.check_in(sender));
        assert!(!outbox.begin_waiting(sender), "the tier came back while it sent");
        assert!(outbox.begin_waiting(sender) && outbox.begin_sending(none).is_none());
        outbox.notify_tier_restored(none);
        let next = outbox.begin_sending(none).unwrap();
        assert!(!outbox.check_in(sender) && !outbox.begin_waiting(sender), "it was replaced");
        outbox.end_sending(sender);
        assert!(outbox.check_in(next));
        outbox.end_sending(next);
        assert!(!outbox.check_in(next) && outbox.begin_sending(none).is_some());
    }

    #[test]
    fn flush_waits_for_an_active_sender_but_not_for_a_waiting_one() {
        let (outbox, background) = (Outbox::default(), Background::new());
        let job = || Some(background.begin());
        let sender = outbox.begin_sending(job).unwrap();
        assert_eq!(background.len(), 1);
        assert!(outbox.begin_waiting(sender));
        assert_eq!(background.len(), 0);
        assert!(outbox.check_in(sender));
        outbox.notify_tier_restored(job);
        outbox.notify_tier_restored(job);
        assert_eq!(background.len(), 1);
        outbox.end_sending(sender);
        assert_eq!(background.len(), 0);
    }
}
