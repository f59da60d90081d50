//! Change feeds: the channels over which a tier reports changes, each with a watermark.
//!
//! The watermark is a point in time. All changes up to that point have been delivered to this process, so a
//! value that was read over the feed and is not invalidated was current then. A tier advances the watermark
//! with `advance`. An entry may be served while the watermark is younger than the staleness bound; see
//! `coherence::validity`.
//!
//! A feed either is tracked (it reports the changes of everything that was read over it), or its watermark stays
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

/// Change feed of one or several connections of a [`Tier`](crate::tier::Tier), with a watermark.
///
/// A tier that watches the keys read over a connection calls [`advance`](Self::advance) whenever it knows that it
/// has delivered all changes up to some time to its [`ChangeListener`](crate::tier::ChangeListener). When the
/// connection is lost, the watermark stays where it is. Once it is older than the staleness bound, entries
/// that were read over the connection are checked with the tier before they are served.
#[derive(Debug)]
pub struct ChangeFeed {
    /// Watermark: all changes up to this time have been delivered.
    watermark: AtomicU64,
    is_tracked: bool,
    /// True for the feed that all caches of the process share: the calls of a tier do not change it.
    is_fixed: bool,
    /// True if entries may be served for the outage grace after the feed is lost: other processes expect it.
    has_grace: AtomicBool,
    is_ended: AtomicBool,
    end_notify: Notify,
    /// Single connections of which a merged feed is made; empty for a single connection. Never nested.
    parts: Box<[Arc<Self>]>,
}

impl ChangeFeed {
    fn new(watermark: Nanos, is_tracked: bool) -> Arc<Self> {
        Arc::new(Self::single(watermark, is_tracked))
    }

    fn single(watermark: Nanos, is_tracked: bool) -> Self {
        Self {
            watermark: AtomicU64::new(watermark),
            is_tracked,
            is_fixed: false,
            has_grace: AtomicBool::new(true),
            is_ended: AtomicBool::new(false),
            end_notify: Notify::new(),
            parts: Box::default(),
        }
    }

    /// Creates the feed of a connection that watches the keys read over it, with the watermark at zero.
    pub fn tracked() -> Arc<Self> {
        Self::new(0, true)
    }

    /// Creates the feed of a connection that reports no changes.
    ///
    /// It is like [`none`](Self::none), but belongs to one connection and can end.
    pub fn untracked() -> Arc<Self> {
        Self::new(0, false)
    }

    /// Returns the feed for reads that no connection watches.
    ///
    /// An entry that was read over it is served for the staleness bound of the cache, and in an outage for
    /// the grace as well, from its last check on.
    ///
    /// All caches of the process share this feed, and it never changes: [`advance`](Self::advance),
    /// [`allow_grace`](Self::allow_grace) and [`end`](Self::end) have no effect. A connection that reports no
    /// changes and can end is [`untracked`](Self::untracked).
    pub fn none() -> Arc<Self> {
        lazy!(static NONE: Arc<ChangeFeed> = Arc::new(ChangeFeed { is_fixed: true, ..ChangeFeed::single(0, false) }));
        NONE.clone()
    }

    /// Creates a feed for data that cannot change without the knowledge of this process.
    ///
    /// The watermark is at its maximum, until a call of [`advance`](Self::advance) sets it.
    pub fn local() -> Arc<Self> {
        Self::new(Nanos::MAX, true)
    }

    /// Merges the feeds of several connections, for a result that was read in part over each of them.
    ///
    /// The watermark is the lowest of the parts, and the feed ends when one of them ends. Without parts, the
    /// result is [`none`](Self::none). It is `none` as well if there are several parts and one has
    /// already ended: a change between the two reads may then be reported by neither.
    pub fn merge(feeds: impl IntoIterator<Item = Arc<Self>>) -> Arc<Self> {
        let mut parts: Vec<Arc<Self>> = Vec::new();
        for feed in feeds {
            let own = if feed.parts.is_empty() { std::slice::from_ref(&feed) } else { &feed.parts[..] };
            for part in own {
                if !parts.iter().any(|other| Arc::ptr_eq(other, part)) {
                    parts.push(Arc::clone(part));
                }
            }
        }
        match parts.len() {
            0 => Self::none(),
            1 => parts.remove(0),
            _ if parts.iter().any(|part| part.is_ended.load(Ordering::Acquire)) => Self::none(),
            _ => Arc::new(Self {
                watermark: AtomicU64::new(Nanos::MAX),
                is_tracked: parts.iter().all(|part| part.is_tracked),
                is_fixed: false,
                has_grace: AtomicBool::new(true),
                is_ended: AtomicBool::new(false),
                end_notify: Notify::new(),
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
        if other.parts.is_empty() {
            self.contains(other)
        } else {
            other.parts.iter().all(|part| self.contains(part))
        }
    }

    fn contains(&self, feed: &Self) -> bool {
        ptr::eq(self, feed) || self.parts.iter().any(|part| ptr::eq(Arc::as_ptr(part), feed))
    }

    /// Sets the watermark: all changes up to `moment` have been delivered to the listener.
    pub fn advance(&self, moment: Instant) {
        self.advance_to(Clock::system_nanos(moment));
    }

    pub(crate) fn advance_to(&self, moment: Nanos) {
        if !self.is_fixed {
            self.watermark.store(moment, Ordering::Release);
        }
    }

    /// Sets whether entries may be served for the outage grace after this feed was lost.
    ///
    /// The default is `true`. A tier that could not register with the other processes sets it to `false`, so
    /// that the promise of [`confirm`](crate::tier::Tier::confirm) holds.
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
        self.is_ended.store(true, Ordering::Release);
        self.end_notify.notify_waiters();
    }

    #[inline]
    pub(crate) fn watermark(&self) -> Nanos {
        if planted!("skip-reconnect") && self.is_ended.load(Ordering::Acquire) {
            return Nanos::MAX;
        }
        let own = self.watermark.load(Ordering::Acquire);
        if self.parts.is_empty() { own } else { self.lowest_watermark() }
    }

    #[cold]
    fn lowest_watermark(&self) -> Nanos {
        self.parts.iter().map(|part| part.watermark()).min().unwrap_or(0)
    }

    /// Returns whether the feed reports changes and has not ended.
    pub(crate) fn is_live(&self) -> bool {
        self.is_tracked
            && !self.is_ended.load(Ordering::Acquire)
            && self.parts.iter().all(|part| part.is_live())
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.is_tracked
    }

    pub(crate) fn has_grace(&self) -> bool {
        self.has_grace.load(Ordering::Acquire) && self.parts.iter().all(|part| part.has_grace())
    }

    /// Waits until the feed, or one of its parts, has ended.
    pub(crate) async fn ended(&self) {
        if self.parts.is_empty() {
            self.self_ended().await;
        } else {
            Box::pin(self.any_part_ended()).await;
        }
    }

    async fn any_part_ended(&self) {
        let mut ends: Vec<_> = self.parts.iter().map(|part| Box::pin(part.self_ended())).collect();
        poll_fn(|cx| {
            let has_ended = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
            if has_ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits until [`end`](Self::end) is called on this feed.
    async fn self_ended(&self) {
        let mut notified = std::pin::pin!(self.end_notify.notified());
        notified.as_mut().enable();
        if !self.is_ended.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_feed_has_the_lowest_watermark_of_its_parts() {
        let (one, two) = (ChangeFeed::tracked(), ChangeFeed::tracked());
        let both = ChangeFeed::merge([one.clone(), two.clone()]);
        assert_eq!(both.watermark(), 0);
        one.advance_to(7);
        assert_eq!(both.watermark(), 0);
        two.advance_to(5);
        assert_eq!(both.watermark(), 5);
        assert!(both.is_live() && both.is_tracked() && both.has_grace());
        two.allow_grace(false);
        assert!(!both.has_grace());
        one.end();
        assert!(!both.is_live());
        assert!(!ChangeFeed::merge([ChangeFeed::untracked(), two]).is_tracked());
    }

    #[test]
    fn feeds_are_the_same_if_their_connections_are() {
        let (one, two, three) = (ChangeFeed::tracked(), ChangeFeed::tracked(), ChangeFeed::tracked());
        let both = ChangeFeed::merge([one.clone(), two.clone()]);
        assert!(both.is_same(&ChangeFeed::merge([two.clone(), one.clone(), one.clone()])));
        assert!(both.is_same(&ChangeFeed::merge([both.clone(), one.clone()])));
        assert!(!both.is_same(&ChangeFeed::merge([one.clone(), three.clone()])));
        assert!(!both.is_same(&one) && !one.is_same(&both) && !one.is_same(&two));
        assert!(both.contains(&one) && both.contains(&two) && !both.contains(&three) && one.contains(&one));
        assert!(Arc::ptr_eq(&ChangeFeed::merge([one.clone(), one.clone()]), &one));
        assert!(Arc::ptr_eq(&ChangeFeed::merge([]), &ChangeFeed::none()));
    }

    /// All caches share this feed, and a tier may call any method of the feeds that it returns.
    #[test]
    fn shared_feed_never_advances_or_ends() {
        let feed = ChangeFeed::none();
        feed.advance(Instant::now());
        feed.advance_to(Nanos::MAX);
        feed.allow_grace(false);
        feed.end();
        assert_eq!((feed.watermark(), feed.has_grace()), (0, true));
        assert!(!feed.is_ended.load(Ordering::Acquire) && !feed.is_live());
    }

    #[test]
    fn merged_feed_reports_no_changes_when_a_part_has_ended() {
        let (old, new) = (ChangeFeed::tracked(), ChangeFeed::tracked());
        old.end();
        assert!(Arc::ptr_eq(&ChangeFeed::merge([old.clone(), new]), &ChangeFeed::none()));
        assert!(Arc::ptr_eq(&ChangeFeed::merge([old.clone()]), &old));
    }

    #[tokio::test]
    async fn merged_feed_ends_when_a_part_ends() {
        let (one, two) = (ChangeFeed::tracked(), ChangeFeed::tracked());
        let both = ChangeFeed::merge([one, two.clone()]);
        let mut ended = std::pin::pin!(both.ended());
        assert!(poll_fn(|cx| Poll::Ready(ended.as_mut().poll(cx).is_pending())).await);
        two.end();
        ended.await;
    }
}
