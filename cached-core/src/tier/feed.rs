//! The way over which a tier tells of changes, and how fresh its silence is.

use std::{
    future::{Future, poll_fn},
    ptr,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use tokio::sync::Notify;

use crate::{
    base::{
        clock::{Clock, Nanos},
        planted::planted,
    },
    sync::{AtomicBool, AtomicU64, Ordering, lazy},
};

/// One connection of a [`Tier`](crate::Tier), or several, as far as it proves that what was read over it still holds.
///
/// A tier that watches what is read over a connection calls [`prove`](Self::prove) whenever it knows that it has handed
/// every change up to some moment to its [`ChangeListener`](crate::ChangeListener). When the connection is gone, the proof gets no
/// younger, and what was read over it is asked for again before it is served.
#[derive(Debug)]
pub struct ChangeFeed {
    /// Every change up to this moment is known.
    proven: AtomicU64,
    watches: bool,
    /// It belongs to no cache and no tier: whatever is said of it is about no connection.
    is_fixed: bool,
    /// Whether other processes know that this one may serve for a while without a proof.
    has_grace: AtomicBool,
    is_over: AtomicBool,
    over: Notify,
    /// Of which it is made, none of them made of others; none for a single connection.
    parts: Box<[Arc<Self>]>,
}

impl ChangeFeed {
    fn new(proven: Nanos, watches: bool) -> Arc<Self> {
        Arc::new(Self::plain(proven, watches))
    }

    fn plain(proven: Nanos, watches: bool) -> Self {
        Self {
            proven: AtomicU64::new(proven),
            watches,
            is_fixed: false,
            has_grace: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            over: Notify::new(),
            parts: Box::default(),
        }
    }

    /// A connection that watches what is read over it, and has proven nothing yet.
    pub fn watching() -> Arc<Self> {
        Self::new(0, true)
    }

    /// As [`silent`](Self::silent), of one connection: it can end.
    pub fn deaf() -> Arc<Self> {
        Self::new(0, false)
    }

    /// No connection, or one that tells nothing: what is read over it holds for the bound of the cache, and no longer.
    ///
    /// There is one for all caches of the process, which stays as it is: [`prove`](Self::prove), [`allow_grace`](Self::allow_grace)
    /// and [`end`](Self::end) do nothing to it. A connection that tells nothing and can end is [`deaf`](Self::deaf).
    pub fn silent() -> Arc<Self> {
        lazy!(static SILENT: Arc<ChangeFeed> = Arc::new(ChangeFeed { is_fixed: true, ..ChangeFeed::plain(0, false) }));
        SILENT.clone()
    }

    /// What cannot change without this process knowing, until a [proof](Self::prove) says otherwise.
    pub fn certain() -> Arc<Self> {
        Self::new(Nanos::MAX, true)
    }

    /// Several connections, for what was read partly over each of them: it is proven as far as all of them are, and over
    /// when one is. Of none it is [`silent`](Self::silent); of one that is over already, and another, as well: of what
    /// changed between the two, neither tells.
    pub fn joined(lines: impl IntoIterator<Item = Arc<Self>>) -> Arc<Self> {
        let mut parts: Vec<Arc<Self>> = Vec::new();
        for line in lines {
            let own = if line.parts.is_empty() { std::slice::from_ref(&line) } else { &line.parts[..] };
            for part in own {
                if !parts.iter().any(|known| Arc::ptr_eq(known, part)) {
                    parts.push(Arc::clone(part));
                }
            }
        }
        match parts.len() {
            0 => Self::silent(),
            1 => parts.remove(0),
            _ if parts.iter().any(|part| part.is_over.load(Ordering::Acquire)) => Self::silent(),
            _ => Arc::new(Self {
                proven: AtomicU64::new(Nanos::MAX),
                watches: parts.iter().all(|part| part.watches),
                is_fixed: false,
                has_grace: AtomicBool::new(true),
                is_over: AtomicBool::new(false),
                over: Notify::new(),
                parts: parts.into(),
            }),
        }
    }

    /// Whether both are the same connections.
    pub fn is_same(&self, other: &Self) -> bool {
        self.covers(other) && other.covers(self)
    }

    /// Whether it is, or is made of, all the connections of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        if other.parts.is_empty() { self.has(other) } else { other.parts.iter().all(|part| self.has(part)) }
    }

    fn has(&self, line: &Self) -> bool {
        ptr::eq(self, line) || self.parts.iter().any(|part| ptr::eq(Arc::as_ptr(part), line))
    }

    /// Every change up to `moment` was handed to the watcher.
    pub fn prove(&self, moment: Instant) {
        self.prove_until(Clock::system_nanos(moment));
    }

    pub(crate) fn prove_until(&self, moment: Nanos) {
        if !self.is_fixed {
            self.proven.store(moment, Ordering::Release);
        }
    }

    /// Whether entries may be served for the grace of an outage after this line was lost. Default: yes. A tier that
    /// could not register with the others says no, so that [`confirm`](crate::Tier::confirm) stays true.
    pub fn allow_grace(&self, is_allowed: bool) {
        if !self.is_fixed {
            self.has_grace.store(is_allowed, Ordering::Release);
        }
    }

    /// The connection is gone: whoever waits for a change has to look again.
    pub fn end(&self) {
        if self.is_fixed {
            return;
        }
        self.is_over.store(true, Ordering::Release);
        self.over.notify_waiters();
    }

    #[inline]
    pub(crate) fn proven(&self) -> Nanos {
        if planted!("skip-reconnect") && self.is_over.load(Ordering::Acquire) {
            return Nanos::MAX;
        }
        let own = self.proven.load(Ordering::Acquire);
        if self.parts.is_empty() { own } else { self.proven_by_all() }
    }

    #[cold]
    fn proven_by_all(&self) -> Nanos {
        self.parts.iter().map(|part| part.proven()).min().unwrap_or(0)
    }

    /// Whether it tells, and is not over.
    pub(crate) fn is_live(&self) -> bool {
        self.watches && !self.is_over.load(Ordering::Acquire) && self.parts.iter().all(|part| part.is_live())
    }

    pub(crate) fn watches(&self) -> bool {
        self.watches
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.has_grace.load(Ordering::Acquire) && self.parts.iter().all(|part| part.has_grace())
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) {
        if self.parts.is_empty() {
            self.has_ended().await;
        } else {
            Box::pin(self.one_has_ended()).await;
        }
    }

    async fn one_has_ended(&self) {
        let mut ends: Vec<_> = self.parts.iter().map(|part| Box::pin(part.has_ended())).collect();
        poll_fn(|cx| {
            let is_over = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits for [`end`](Self::end).
    async fn has_ended(&self) {
        let mut over = std::pin::pin!(self.over.notified());
        over.as_mut().enable();
        if !self.is_over.load(Ordering::Acquire) {
            over.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_prove_what_all_of_them_prove() {
        let (one, two) = (ChangeFeed::watching(), ChangeFeed::watching());
        let both = ChangeFeed::joined([one.clone(), two.clone()]);
        assert_eq!(both.proven(), 0);
        one.prove_until(7);
        assert_eq!(both.proven(), 0);
        two.prove_until(5);
        assert_eq!(both.proven(), 5);
        assert!(both.is_live() && both.watches() && both.has_grace());
        two.allow_grace(false);
        assert!(!both.has_grace());
        one.end();
        assert!(!both.is_live());
        assert!(!ChangeFeed::joined([ChangeFeed::deaf(), two]).watches());
    }

    #[test]
    fn it_is_known_which_they_are() {
        let (one, two, three) = (ChangeFeed::watching(), ChangeFeed::watching(), ChangeFeed::watching());
        let both = ChangeFeed::joined([one.clone(), two.clone()]);
        assert!(both.is_same(&ChangeFeed::joined([two.clone(), one.clone(), one.clone()])));
        assert!(both.is_same(&ChangeFeed::joined([both.clone(), one.clone()])));
        assert!(!both.is_same(&ChangeFeed::joined([one.clone(), three.clone()])));
        assert!(!both.is_same(&one) && !one.is_same(&both) && !one.is_same(&two));
        assert!(both.has(&one) && both.has(&two) && !both.has(&three) && one.has(&one));
        assert!(Arc::ptr_eq(&ChangeFeed::joined([one.clone(), one.clone()]), &one));
        assert!(Arc::ptr_eq(&ChangeFeed::joined([]), &ChangeFeed::silent()));
    }

    /// It is that of all caches, and a tier may do with its lines what it likes.
    #[test]
    fn the_silent_line_stays_as_it_is() {
        let line = ChangeFeed::silent();
        line.prove(Instant::now());
        line.prove_until(Nanos::MAX);
        line.allow_grace(false);
        line.end();
        assert_eq!((line.proven(), line.has_grace()), (0, true));
        assert!(!line.is_over.load(Ordering::Acquire) && !line.is_live());
    }

    #[test]
    fn after_one_that_is_over_nobody_tells() {
        let (old, new) = (ChangeFeed::watching(), ChangeFeed::watching());
        old.end();
        assert!(Arc::ptr_eq(&ChangeFeed::joined([old.clone(), new]), &ChangeFeed::silent()));
        assert!(Arc::ptr_eq(&ChangeFeed::joined([old.clone()]), &old));
    }

    #[tokio::test]
    async fn several_are_over_when_one_is() {
        let (one, two) = (ChangeFeed::watching(), ChangeFeed::watching());
        let both = ChangeFeed::joined([one, two.clone()]);
        let mut ended = std::pin::pin!(both.ended());
        assert!(poll_fn(|cx| Poll::Ready(ended.as_mut().poll(cx).is_pending())).await);
        two.end();
        ended.await;
    }
}
