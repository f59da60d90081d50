//! The listener of the change feed, and the task that resends undelivered invalidations.
//!
//! The task sends the outbox until it is empty, with a growing pause after each failure. `coherence::outbox`
//! has the items, and the turn that keeps the task the only one. The task holds the shared tier weakly, and
//! ends when the cache is closed or dropped.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    base::race::within,
    coherence::outbox::{Outbox, OutboxItem, SIGN},
    error::tier::TierError,
    flight::Flights,
    l2::{shared::Shared, standing::HealthReporter},
    telemetry::{event::SharedObservers, functions::FunctionRegistry},
    tier::ChangeListener,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Maximum number of keys that are sent in one round trip.
const BATCH: usize = 256;

/// Receives the notifications of the tier.
#[derive(Debug)]
pub(crate) struct FeedListener {
    shared: Weak<Shared>,
    flights: Arc<Flights>,
    functions: Arc<FunctionRegistry>,
    standing: HealthReporter,
}

impl FeedListener {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        flights: Arc<Flights>,
        functions: Arc<FunctionRegistry>,
        observers: SharedObservers,
    ) -> Self {
        Self { shared: Arc::downgrade(shared), flights, functions, standing: HealthReporter::new(observers) }
    }
}

impl ChangeListener for FeedListener {
    fn changed(&self, key: &[u8]) {
        if let (Some(shared), Ok(name)) = (self.shared.upgrade(), std::str::from_utf8(key)) {
            shared.marks.end(name);
        }
    }

    fn all_changed(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.marks.end_all();
        }
    }

    fn restored(&self) {
        if let Some(shared) = self.shared.upgrade() {
            if shared.pending.is_empty() {
                return;
            }
            // Sent at once, and a flush waits for it.
            shared.pending.urge(|| Some(shared.background.begin()));
            tell_again(&shared);
        }
    }

    fn standing_changed(&self) {
        // A cache that is being closed loses its connection on purpose: there is nothing to report.
        if let Some(shared) = self.shared.upgrade()
            && !*shared.leaving.borrow()
        {
            self.standing.look(&shared);
        }
    }

    fn served(&self) -> Option<u64> {
        (self.flights.len() == 0).then(|| self.functions.served())
    }
}

/// Starts a task that sends the outbox, unless another task does so already.
pub(crate) fn tell_again(shared: &Arc<Shared>) {
    if shared.pending.is_empty() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    // The task continues until the outbox is empty. One task for each item would be too many in a long
    // outage.
    let Some(mut turn) = ResendTurn::begin(shared) else { return };
    let shared = Arc::downgrade(shared);
    runtime.spawn(async move {
        let mut pause = SHORTEST_PAUSE;
        // Upgraded in each round, so that the task ends when the cache is dropped.
        while let Some(shared) = shared.upgrade() {
            // A closed cache sends nothing.
            if *shared.leaving.borrow() {
                return;
            }
            if shared.pending.is_empty() {
                drop(turn);
                // Checked again after the end of the turn: an item that is added later finds the turn free.
                if shared.pending.is_empty() {
                    return;
                }
                match ResendTurn::begin(&shared) {
                    Some(next) => turn = next,
                    None => return,
                }
            }
            match turn.keep(&shared, tell_some(&shared)).await {
                None => return,
                Some(Ok(())) => pause = SHORTEST_PAUSE,
                Some(Err(_)) => {
                    let urged = shared.pending.urged.notified();
                    if shared.pending.may_wait(turn.number) {
                        within(pause, urged).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    });
}

/// The right to send the outbox. If its task is aborted, the next task acquires it.
struct ResendTurn {
    shared: Weak<Shared>,
    number: u64,
}

impl ResendTurn {
    /// Acquires the turn if it is free. A flush waits for the first attempt, but not until the tier comes
    /// back.
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let number = shared.pending.begin_telling(|| Some(shared.background.begin()))?;
        Some(Self { shared: Arc::downgrade(shared), number })
    }

    /// Runs `work`, and checks in until it is done, however long it takes.
    ///
    /// Returns `None` if another task has taken the turn while the runtime of this one was blocked. This task
    /// must then stop.
    async fn keep<T>(&self, shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            if !shared.pending.go_on_telling(self.number) {
                return None;
            }
            if let Some(done) = within(SIGN, work.as_mut()).await {
                return Some(done);
            }
        }
    }
}

impl Drop for ResendTurn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.pending.end_telling(self.number);
        }
    }
}

/// Sends a part of the outbox: keys, which cost little, or else one pattern.
///
/// Only one pattern is sent at a time, so that keys need not wait for several.
async fn tell_some(shared: &Shared) -> Result<(), TierError> {
    // Sent even if the tier is not ready for reads: a tier that cannot be reached fails at once.
    let words = shared.pending.some(BATCH);
    if let [(OutboxItem::Matching(pattern), _)] = &words[..] {
        shared.sweep(pattern).await?;
    } else {
        shared.delete(words.iter().map(|(word, _)| word.text().to_owned()).collect()).await?;
    }
    settle(shared, &words);
    Ok(())
}

/// Removes the sent items from the outbox, and ends the epochs of their names.
///
/// A value that was read before the tier knew must not stay, and the tier need not report this process's own
/// changes.
fn settle(shared: &Shared, told: &[(OutboxItem, u64)]) {
    for (word, number) in told {
        match word {
            OutboxItem::Key(key) => shared.marks.end(key),
            OutboxItem::Matching(pattern) => shared.marks.end_matching(pattern),
        }
        Outbox::told(&shared.pending, word, *number);
    }
}
