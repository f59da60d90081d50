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
    coherence::outbox::{CHECK_IN_INTERVAL, OutboxItem},
    error::tier::TierError,
    flight::Flights,
    l2::{health::HealthReporter, shared::Shared},
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
    health_reporter: HealthReporter,
}

impl FeedListener {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        flights: Arc<Flights>,
        functions: Arc<FunctionRegistry>,
        observers: SharedObservers,
    ) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            flights,
            functions,
            health_reporter: HealthReporter::new(observers),
        }
    }
}

impl ChangeListener for FeedListener {
    fn changed(&self, key: &[u8]) {
        if let (Some(shared), Ok(name)) = (self.shared.upgrade(), std::str::from_utf8(key)) {
            shared.epochs.end(name);
        }
    }

    fn all_changed(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.epochs.end_all();
        }
    }

    fn restored(&self) {
        if let Some(shared) = self.shared.upgrade() {
            if shared.outbox.is_empty() {
                return;
            }
            // Sent at once, and a flush waits for it.
            shared.outbox.notify_tier_restored(|| Some(shared.background.begin()));
            resend(&shared);
        }
    }

    fn status_changed(&self) {
        // A cache that is being closed loses its connection on purpose: there is nothing to report.
        if let Some(shared) = self.shared.upgrade()
            && !*shared.closing.borrow()
        {
            self.health_reporter.report_change(&shared);
        }
    }

    fn served(&self) -> Option<u64> {
        (self.flights.len() == 0).then(|| self.functions.served_from_memory())
    }
}

/// Starts a task that sends the outbox, unless another task does so already.
pub(crate) fn resend(shared: &Arc<Shared>) {
    if shared.outbox.is_empty() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    // The task continues until the outbox is empty. One task for each item would be too many in a long
    // outage.
    let Some(mut turn) = ResendTurn::acquire(shared) else { return };
    let shared = Arc::downgrade(shared);
    runtime.spawn(async move {
        let mut pause = SHORTEST_PAUSE;
        // Upgraded in each round, so that the task ends when the cache is dropped.
        while let Some(shared) = shared.upgrade() {
            // A closed cache sends nothing.
            if *shared.closing.borrow() {
                return;
            }
            if shared.outbox.is_empty() {
                drop(turn);
                // Checked again after the end of the turn: an item that is added later finds the turn free.
                if shared.outbox.is_empty() {
                    return;
                }
                match ResendTurn::acquire(&shared) {
                    Some(next) => turn = next,
                    None => return,
                }
            }
            match turn.run(&shared, send_batch(&shared)).await {
                None => return,
                Some(Ok(())) => pause = SHORTEST_PAUSE,
                Some(Err(_)) => {
                    let tier_restored = shared.outbox.tier_restored.notified();
                    if shared.outbox.begin_waiting(turn.number) {
                        within(pause, tier_restored).await;
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
    fn acquire(shared: &Arc<Shared>) -> Option<Self> {
        let number = shared.outbox.begin_sending(|| Some(shared.background.begin()))?;
        Some(Self { shared: Arc::downgrade(shared), number })
    }

    /// Runs `work`, and checks in until it is done, however long it takes.
    ///
    /// Returns `None` if another task has taken the turn while the runtime of this one was blocked. This task
    /// must then stop.
    async fn run<T>(&self, shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            if !shared.outbox.check_in(self.number) {
                return None;
            }
            if let Some(done) = within(CHECK_IN_INTERVAL, work.as_mut()).await {
                return Some(done);
            }
        }
    }
}

impl Drop for ResendTurn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.outbox.end_sending(self.number);
        }
    }
}

/// Sends a part of the outbox: keys, which cost little, or else one pattern.
///
/// Only one pattern is sent at a time, so that keys need not wait for several.
async fn send_batch(shared: &Shared) -> Result<(), TierError> {
    // Sent even if the tier is not ready for reads: a tier that cannot be reached fails at once.
    let items = shared.outbox.next_batch(BATCH);
    if let [(OutboxItem::Matching(pattern), _)] = &items[..] {
        shared.sweep(pattern).await?;
    } else {
        shared.delete(items.iter().map(|(item, _)| item.text().to_owned()).collect()).await?;
    }
    settle(shared, &items);
    Ok(())
}

/// Removes the sent items from the outbox, and ends the epochs of their names.
///
/// A value that was read before the tier knew must not stay, and the tier need not report this process's own
/// changes.
fn settle(shared: &Shared, sent: &[(OutboxItem, u64)]) {
    for (item, number) in sent {
        match item {
            OutboxItem::Key(key) => shared.epochs.end(key),
            // Loads of this process alone are no matter of the tier.
            OutboxItem::Matching(pattern) => drop(shared.epochs.end_matching(pattern)),
        }
        shared.outbox.mark_sent(item, *number);
    }
}
