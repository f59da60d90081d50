//! Invalidations that the shared tier could not be told of yet.
//!
//! What they are about is not read from the tier by this process, and they are told again until it knows. There is a bound
//! to what is remembered one by one: beyond it, everything counts as invalidated.

use std::{collections::HashMap, sync::PoisonError, time::Duration};

use tokio::sync::Notify;

use crate::{
    pattern, planted,
    sync::{AtomicUsize, Instant, Mutex, MutexGuard, Ordering},
};

/// Whoever tells shows more often than this that he is there.
const GONE: Duration = Duration::from_secs(5);

/// More than this are not told apart.
const MOST: usize = 10_000;

/// The invalidations, by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    table: Mutex<Table>,
    len: AtomicUsize,
    turn: Mutex<Turn>,
    /// Whoever waits to tell again need not wait any longer.
    pub(crate) passed: Notify,
}

/// Who tells.
#[derive(Debug, Default)]
struct Turn {
    number: u64,
    /// When he showed that he is there; `None` if nobody tells.
    sign: Option<Instant>,
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

    /// The words like this one.
    fn like(&mut self, word: &Word) -> &mut HashMap<String, u64> {
        match word {
            Word::Key(_) => &mut self.keys,
            Word::Matching(_) => &mut self.patterns,
        }
    }
}

/// What the tier has to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    /// These keys, of entries and tags, are to be deleted.
    Key(String),
    /// So is whatever matches.
    Matching(String),
}

impl Word {
    fn into_text(self) -> String {
        let (Self::Key(text) | Self::Matching(text)) = self;
        text
    }

    /// The key, or the pattern.
    pub(crate) fn text(&self) -> &str {
        let (Self::Key(text) | Self::Matching(text)) = self;
        text
    }
}

impl Pending {
    /// Remembers a word, of which the newest counts. `everything` takes the place of too many.
    pub(crate) fn add(&self, word: Word, everything: &str) {
        let mut table = self.table();
        table.last += 1;
        let number = table.last;
        if table.len() >= MOST && !table.like(&word).contains_key(word.text()) {
            // That is about the entries of tags as well.
            table.keys.clear();
            table.patterns = HashMap::from([(everything.to_owned(), number)]);
        }
        if !planted!("no-replay") {
            table.like(&word).insert(word.into_text(), number);
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Whether what the tier has under one of these names may be outdated.
    pub(crate) fn is_about<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        if self.is_empty() || planted!("untold-name-read") {
            return false;
        }
        let table = self.table();
        let matches = |name| table.patterns.keys().any(|pattern| pattern::matches(pattern, name));
        names.any(|name| table.keys.contains_key(name) || matches(name))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Up to `most` words with their numbers.
    pub(crate) fn some(&self, most: usize) -> Vec<(Word, u64)> {
        let table = self.table();
        let keys = table.keys.iter().map(|(key, number)| (Word::Key(key.clone()), *number));
        let patterns =
            table.patterns.iter().map(|(pattern, number)| (Word::Matching(pattern.clone()), *number));
        keys.chain(patterns).take(most).collect()
    }

    /// The tier was told, unless the same was said again meanwhile.
    pub(crate) fn told(&self, word: &Word, number: u64) {
        let mut table = self.table();
        let words = table.like(word);
        if words.get(word.text()) == Some(&number) {
            words.remove(word.text());
        }
        self.len.store(table.len(), Ordering::SeqCst);
    }

    /// Only one tells at a time, and goes on until nothing is left; `None` if there is one. It returns his number.
    pub(crate) fn begin_telling(&self) -> Option<u64> {
        let mut turn = self.turn();
        // His runtime may stand still.
        if turn.sign.is_some_and(|sign| sign.elapsed() < GONE) {
            return None;
        }
        *turn = Turn { number: turn.number + 1, sign: Some(Instant::now()) };
        Some(turn.number)
    }

    /// He is there; whether it is still his turn.
    pub(crate) fn go_on_telling(&self, number: u64) -> bool {
        let mut turn = self.turn();
        let is_his = turn.number == number;
        if is_his {
            turn.sign = Some(Instant::now());
        }
        is_his
    }

    /// The next one who comes tells, and whoever does now ends.
    pub(crate) fn pass_turn(&self) {
        self.turn().sign = None;
        self.passed.notify_waiters();
    }

    pub(crate) fn end_telling(&self, number: u64) {
        let mut turn = self.turn();
        if turn.number == number {
            turn.sign = None;
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

    fn about(pending: &Pending, name: &str) -> bool {
        pending.is_about([name].into_iter())
    }

    #[test]
    fn the_newest_word_counts() {
        let pending = Pending::default();
        let word = Word::Key("ns:a".to_owned());
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
        let pending = Pending::default();
        for number in 0..2 * MOST {
            pending.add(Word::Key(format!("ns:{number}")), "ns:*");
        }
        assert!(pending.len() <= MOST + 1);
        assert!(about(&pending, "ns:0") && about(&pending, "ns:never said"));
        assert!(pending.some(usize::MAX).iter().any(|(word, _)| *word == Word::Matching("ns:*".to_owned())));
    }

    #[test]
    fn one_tells_at_a_time() {
        let pending = Pending::default();
        let telling = pending.begin_telling().unwrap();
        assert!(pending.begin_telling().is_none() && pending.go_on_telling(telling));
        pending.end_telling(telling);
        assert!(pending.begin_telling().is_some());
    }
}
