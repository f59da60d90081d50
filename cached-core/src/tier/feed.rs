//! Change feeds: the channels over which a tier reports changes, each with a watermark.
//!
//! The watermark is a point in time. All changes up to that point have been delivered to this process, so a
//! value that was read over the feed and is not invalidated was current then. A tier advances the watermark
//! with `prove`. An entry may be served while the watermark is younger than the staleness bound; see
//! `coherence::validity`.
//!
//! A feed either watches (it reports the changes of everything that was read over it), or its watermark stays
//! at zero, and entries depend on the time of their last check alone. A feed ends with its connection, and
//! its watermark stays at the last value.

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

/// Change feed of one or several connections of a [`Tier`](crate::Tier), with a watermark.
///
/// A tier that watches the keys read over a connection calls [`prove`](Self::prove) whenever it knows that it
/// has delivered all changes up to some time to its [`ChangeListener`](crate::ChangeListener). When the
/// connection is lost, the watermark stays where it is. Once it is older than the staleness bound, entries
/// that were read over the connection are checked with the tier before they are served.
#[derive(Debug)]
pub struct ChangeFeed {
    /// Watermark: all changes up to this time have been delivered.
    proven: AtomicU64,
    watches: bool,
    /// True for the feed that all caches of the process share: the calls of a tier do not change it.
    is_fixed: bool,
    /// True if entries may be served for the outage grace after the feed is lost: other processes expect it.
    has_grace: AtomicBool,
    is_over: AtomicBool,
    over: Notify,
    /// Single connections of which a joined feed is made; empty for a single connection. Never nested.
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

    /// Creates the feed of a connection that watches the keys read over it, with the watermark at zero.
    pub fn watching() -> Arc<Self> {
        Self::new(0, true)
    }

    /// Creates the feed of a connection that reports no changes.
    ///
    /// It is like [`silent`](Self::silent), but belongs to one connection and can end.
    pub fn deaf() -> Arc<Self> {
        Self::new(0, false)
    }

    /// Returns the feed for reads that no connection watches.
    ///
    /// An entry that was read over it is served for the staleness bound of the cache, and in an outage for
    /// the grace as well, from its last check on.
    ///
    /// All caches of the process share this feed, and it never changes: [`prove`](Self::prove),
    /// [`allow_grace`](Self::allow_grace) and [`end`](Self::end) have no effect. A connection that reports no
    /// changes and can end is [`deaf`](Self::deaf).
    pub fn silent() -> Arc<Self> {
        lazy!(static SILENT: Arc<ChangeFeed> = Arc::new(ChangeFeed { is_fixed: true, ..ChangeFeed::plain(0, false) }));
        SILENT.clone()
    }

    /// Creates a feed for data that cannot change without the knowledge of this process.
    ///
    /// The watermark is at its maximum, until a call of [`prove`](Self::prove) sets it.
    pub fn certain() -> Arc<Self> {
        Self::new(Nanos::MAX, true)
    }

    /// Joins the feeds of several connections, for a result that was read in part over each of them.
    ///
    /// The watermark is the lowest of the parts, and the feed ends when one of them ends. Without parts, the
    /// result is [`silent`](Self::silent). It is `silent` as well if there are several parts and one has
    /// already ended: a change between the two reads may then be reported by neither.
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

    /// Returns whether both feeds consist of the same connections.
    pub fn is_same(&self, other: &Self) -> bool {
        self.covers(other) && other.covers(self)
    }

    /// Returns whether this feed includes all connections of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        if other.parts.is_empty() { self.has(other) } else { other.parts.iter().all(|part| self.has(part)) }
    }

    fn has(&self, line: &Self) -> bool {
        ptr::eq(self, line) || self.parts.iter().any(|part| ptr::eq(Arc::as_ptr(part), line))
    }

    /// Sets the watermark: all changes up to `moment` have been delivered to the listener.
    pub fn prove(&self, moment: Instant) {
        self.prove_until(Clock::system_nanos(moment));
    }

    pub(crate) fn prove_until(&self, moment: Nanos) {
        if !self.is_fixed {
            self.proven.store(moment, Ordering::Release);
        }
    }

    /// Sets whether entries may be served for the outage grace after this feed was lost.
    ///
    /// The default is `true`. A tier that could not register with the other processes sets it to `false`, so
    /// that the promise of [`confirm`](crate::Tier::confirm) holds.
    pub fn allow_grace(&self, is_allowed: bool) {
        if !self.is_fixed {
            self.has_grace.store(is_allowed, Ordering::Release);
        }
    }

    /// Ends the feed, because the connection is lost. Callers that wait for a change check again.
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

    /// Returns whether the feed reports changes and has not ended.
    pub(crate) fn is_live(&self) -> bool {
        self.watches && !self.is_over.load(Ordering::Acquire) && self.parts.iter().all(|part| part.is_live())
    }

    pub(crate) fn watches(&self) -> bool {
        self.watches
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.has_grace.load(Ordering::Acquire) && self.parts.iter().all(|part| part.has_grace())
    }

    /// Waits until the feed, or one of its parts, has ended.
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

    /// Waits until [`end`](Self::end) is called on this feed.
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

    /// All caches share this feed, and a tier may call any method of the feeds that it returns.
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
    fn joined_feed_reports_no_changes_when_one_part_has_ended() {
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
