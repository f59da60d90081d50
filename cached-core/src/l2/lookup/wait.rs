//! The waits of a lookup: for the load of another process, and for the turn of its own load.
//!
//! A change of the key ends each wait, and the lookup repeats its steps afterwards. The patience of the call
//! bounds all waits for other processes together. A short wait counts as a round, because it may repeat
//! without progress. `holder` decides whether the other process is presumed lost.

use std::time::Duration;

use crate::{
    base::{
        clock::{Nanos, nanos},
        race::{either, within},
    },
    coherence::epoch::Listener,
    flight::permits::LoadTurn,
    l2::lookup::SharedLookup,
    sync::Instant,
    tier::feed::ChangeFeed,
};

/// Longest wait of a call for the load of another process, however often its lease is renewed.
///
/// A `load_timeout` of the function may end the wait earlier.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Delay after the end of a lease before the next read.
const MARGIN: Duration = Duration::from_millis(5);

/// Interval between reads if changes of the key are not reported.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Start of a call's wait for other processes, and its latest end by the clock of the cache.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    started: Instant,
    until: Option<Nanos>,
}

impl SharedLookup<'_> {
    /// Returns whether there is time left to wait for the load of another process.
    pub(super) fn may_wait(&self, patience: &mut Option<Patience>) -> bool {
        let clock = &self.shared.clock;
        let limit = |limit| clock.now().saturating_add(nanos(limit));
        let start = || Patience { started: Instant::now(), until: self.policy.load_timeout().map(limit) };
        let patience = patience.get_or_insert_with(start);
        patience.started.elapsed() < MAX_WAIT && patience.until.is_none_or(|until| clock.now() < until)
    }

    /// Waits until the key changes, its lease ends, or the change feed ends.
    ///
    /// The wait is bounded by the length of a lease, by [`POLL_INTERVAL`] if changes are not reported, and by the
    /// patience. Returns the number of rounds to count: 1 for a short wait, 0 for a longer one, since the
    /// patience bounds those.
    pub(super) async fn wait(
        &self,
        listener: Listener,
        feed: &ChangeFeed,
        left: Duration,
        patience: Option<Patience>,
    ) -> usize {
        let started = Instant::now();
        let max_wait = if feed.is_tracked() {
            left.min(self.shared.lease).saturating_add(MARGIN)
        } else {
            left.min(POLL_INTERVAL)
        };
        let patience_left =
            patience.map_or(MAX_WAIT, |patience| MAX_WAIT.saturating_sub(patience.started.elapsed()));
        let changed = within(max_wait.min(patience_left), either(listener.changed(), feed.ended()));
        match patience.and_then(|patience| patience.until) {
            Some(until) => _ = self.shared.clock.timeout_at(until, changed).await,
            None => _ = changed.await,
        }
        usize::from(started.elapsed() < 2 * MARGIN)
    }
}

/// Waits until the turn has come, or the key changes. Returns the rounds to count, as for a lease.
pub(super) async fn wait_for_turn(turn: &mut LoadTurn, listener: Listener) -> usize {
    let started = Instant::now();
    either(turn.acquire(), listener.changed()).await;
    usize::from(started.elapsed() < 2 * MARGIN)
}
