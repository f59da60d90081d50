//! Accounting of large values under way over one connection.
//!
//! Commands sent after a large value wait until it has been transferred. So the budget of a transfer includes
//! the transfers before it ([`Transfers`]), and [`OperationBudget`] is the budget of a whole operation. Transfers
//! are counted and sent under one lock, so that the order of the counts is the order on the wire.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cached_core::tier::Budget;

/// Assumed minimum throughput of a connection, in bytes per second.
const MIN_RATE: usize = 16 << 20;

/// Maximum extension of a budget: about as long as a call waits for an expensive value.
pub(crate) const MAX_EXTENSION: Duration = Duration::from_secs(2);

/// Maximum time for which an abandoned transfer counts.
const MAX_ABANDONED: Duration = Duration::from_secs(10);

/// Account of all transfers over one connection, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    bytes: AtomicUsize,
    /// Abandoned transfers that still occupy the connection: until when, and their bytes.
    abandoned: Mutex<Vec<(Instant, usize)>>,
    order: Mutex<()>,
}

/// One transfer. If it is dropped while under way, it counts for as long as it takes.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    transfers: &'a Transfers,
    bytes: usize,
    /// Set from the request until the value has arrived.
    pub(crate) is_in_flight: bool,
}

impl Transfers {
    pub(crate) fn begin(&self, bytes: usize) -> Transfer<'_> {
        // Caps an unknown size so that sums do not overflow. Several strings of the maximum length fit in.
        let bytes = bytes.min(usize::MAX >> 16);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Transfer { transfers: self, bytes, is_in_flight: false }
    }

    /// Locks the order of transfers. The caller holds the lock while it counts and sends one.
    pub(crate) fn lock_order(&self) -> MutexGuard<'_, ()> {
        lock(&self.order)
    }

    /// Returns the estimated time until all transfers have arrived.
    pub(crate) fn estimated_time(&self) -> Duration {
        let now = Instant::now();
        let mut abandoned = lock(&self.abandoned);
        abandoned.retain(|(until, _)| *until > now);
        let abandoned_bytes = abandoned.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
        transfer_time(self.bytes.load(Ordering::Relaxed).saturating_add(abandoned_bytes))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transfer<'_> {
    /// Returns the estimated time until this transfer and those before it have arrived.
    pub(crate) fn estimated_time(&self) -> Duration {
        self.transfers.estimated_time()
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if self.is_in_flight {
            let until = Instant::now() + self.transfers.estimated_time().min(MAX_ABANDONED);
            lock(&self.transfers.abandoned).push((until, self.bytes));
        }
        self.transfers.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn transfer_time(bytes: usize) -> Duration {
    let millis = bytes.saturating_mul(1000) / MIN_RATE;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Time budget for all round trips of one operation together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperationBudget {
    began: Instant,
    /// Budget of one round trip for small values.
    round_trip: Duration,
    /// Budget of all round trips.
    total: Duration,
    /// Set if large values may take longer.
    is_extensible: bool,
}

impl OperationBudget {
    /// Creates the budget of a lookup: that of two round trips, or of one with a `tier_timeout`.
    ///
    /// The first reply determines how the value is read, which may take the second round trip.
    pub(crate) fn of_read(budget: Budget, read_timeout: Duration) -> Self {
        let began = Instant::now();
        let round_trip = budget.read_limit(read_timeout);
        match budget {
            Budget::Exactly(_) => Self { began, round_trip, total: round_trip, is_extensible: false },
            _ => Self { began, round_trip, total: round_trip.saturating_mul(2), is_extensible: true },
        }
    }

    pub(crate) fn of_write(budget: Budget, write_timeout: Duration) -> Self {
        let round_trip = budget.write_limit(write_timeout);
        Self { began: Instant::now(), round_trip, total: round_trip, is_extensible: true }
    }

    /// Returns the time left for a round trip without large values.
    pub(crate) fn remaining(&self) -> Duration {
        self.total.saturating_sub(self.began.elapsed()).min(self.round_trip)
    }

    /// Returns the budget of another attempt, if the values read so far are not those asked for.
    ///
    /// Where large values may take longer, the budget starts anew. Otherwise enough time must be left.
    pub(crate) fn restarted(self) -> Option<Self> {
        if self.is_extensible {
            Some(Self { began: Instant::now(), ..self })
        } else {
            Some(self).filter(Self::allows_more)
        }
    }

    /// Returns whether enough time is left for the server to answer another command.
    pub(crate) fn allows_more(&self) -> bool {
        self.is_enough(self.remaining())
    }

    /// Returns the time left for large values, which need `transfer` at the minimum rate.
    ///
    /// Returns `None` if too little is left for a command. A reply at the minimum rate does not count as
    /// slow: the extension is 5/4 of `transfer`, and the breaker's limit is 4/5 of the budget.
    pub(crate) fn remaining_with(&self, transfer: Duration) -> Option<Duration> {
        Some(self.total_with(transfer).saturating_sub(self.began.elapsed()))
            .filter(|left| self.is_enough(*left))
    }

    fn is_enough(&self, left: Duration) -> bool {
        left >= self.round_trip / 2
    }

    fn total_with(&self, transfer: Duration) -> Duration {
        let extension = if self.is_extensible { transfer.min(MAX_EXTENSION) / 4 * 5 } else { Duration::ZERO };
        let extension = extension.min(MAX_EXTENSION);
        self.total.saturating_add(extension)
    }

    /// Returns the most time that can be left.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "a standalone server has no slot map to wait for")
    )]
    pub(crate) fn max_remaining(&self) -> Duration {
        self.total_with(Duration::MAX).saturating_sub(self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::availability::wait::slow_threshold;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn transfer_time_includes_earlier_transfers() {
        let transfers = Transfers::default();
        let first = transfers.begin(MIN_RATE / 4);
        assert_eq!(first.estimated_time(), 250 * MS);
        let second = transfers.begin(MIN_RATE / 2);
        assert_eq!(second.estimated_time(), 750 * MS);
        drop(first);
        assert_eq!((second.estimated_time(), transfers.estimated_time()), (500 * MS, 500 * MS));
        drop(second);
        assert_eq!(transfers.estimated_time(), Duration::ZERO);
        let all = [transfers.begin(usize::MAX), transfers.begin(usize::MAX)];
        assert!(all[1].estimated_time() > MAX_EXTENSION);
    }

    #[test]
    fn abandoned_transfer_counts_until_its_time_has_passed() {
        let transfers = Transfers::default();
        drop(transfers.begin(5 * MIN_RATE));
        assert_eq!(transfers.estimated_time(), Duration::ZERO, "it was never requested");
        let mut sent = transfers.begin(5 * MIN_RATE);
        sent.is_in_flight = true;
        drop(sent);
        assert_eq!(transfers.estimated_time(), 5_000 * MS);
        transfers.abandoned.lock().unwrap()[0].0 = Instant::now();
        assert_eq!(
            (transfers.estimated_time(), transfers.abandoned.lock().unwrap().len()),
            (Duration::ZERO, 0)
        );
    }

    #[test]
    fn budget_grows_with_transfer_up_to_limit() {
        let budget = OperationBudget::of_read(Budget::Own, 50 * MS);
        assert_eq!(budget.total_with(Duration::ZERO), 100 * MS);
        assert_eq!(budget.total_with(1_000 * MS), 1_350 * MS);
        assert_eq!(budget.total_with(Duration::MAX), 100 * MS + MAX_EXTENSION);
        assert!(budget.remaining() <= 50 * MS);
        let exact = OperationBudget::of_read(Budget::Exactly(70 * MS), 50 * MS);
        assert_eq!(exact.total_with(1_000 * MS), 70 * MS);
        let write = OperationBudget::of_write(Budget::Exactly(70 * MS), 500 * MS);
        assert_eq!(write.total_with(1_000 * MS), 1_750 * MS);
    }

    #[test]
    fn exact_budget_covers_all_round_trips() {
        let began = Instant::now().checked_sub(40_000 * MS).expect("this machine runs for longer");
        let exact =
            |own| OperationBudget { began, ..OperationBudget::of_read(Budget::Exactly(own), 50 * MS) };
        assert_eq!(exact(40_000 * MS).remaining_with(1_000 * MS), None);
        assert_eq!(exact(60_000 * MS).remaining_with(1_000 * MS), None, "a third of it is left");
        assert!(exact(100_000 * MS).remaining_with(1_000 * MS).is_some_and(|left| left <= 60_000 * MS));
        assert!(exact(100_000 * MS).allows_more() && !exact(60_000 * MS).allows_more());
    }

    #[test]
    fn transfer_at_the_minimum_rate_does_not_count_as_slow() {
        let transfer = 400 * MS;
        assert!(
            slow_threshold(OperationBudget::of_write(Budget::Own, 50 * MS).total_with(transfer)) > transfer
        );
    }
}
