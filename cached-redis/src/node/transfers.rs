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

use cached_core::Budget;

/// Assumed minimum throughput of a connection, in bytes per second.
const RATE: usize = 16 << 20;

/// Maximum extension of a budget: about as long as a call waits for an expensive value.
pub(crate) const LONGEST_TRANSFER: Duration = Duration::from_secs(2);

/// Maximum time for which an abandoned transfer counts.
const LONGEST_LEFT: Duration = Duration::from_secs(10);

/// Account of all transfers over one connection, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    bytes: AtomicUsize,
    /// Abandoned transfers that still occupy the connection: until when, and their bytes.
    left: Mutex<Vec<(Instant, usize)>>,
    turn: Mutex<()>,
}

/// One transfer. If it is dropped while under way, it counts for as long as it takes.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    all: &'a Transfers,
    bytes: usize,
    /// Set from the request until the value has arrived.
    pub(crate) is_on_its_way: bool,
}

impl Transfers {
    pub(crate) fn begin(&self, bytes: usize) -> Transfer<'_> {
        // Caps an unknown size so that sums do not overflow. Several strings of the maximum length fit in.
        let bytes = bytes.min(usize::MAX >> 16);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Transfer { all: self, bytes, is_on_its_way: false }
    }

    /// Locks the order of transfers. The caller holds the lock while it counts and sends one.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// Returns the estimated time until all transfers have arrived.
    pub(crate) fn time(&self) -> Duration {
        let now = Instant::now();
        let mut left = lock(&self.left);
        left.retain(|(until, _)| *until > now);
        let left = left.iter().fold(0_usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
        time(self.bytes.load(Ordering::Relaxed).saturating_add(left))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transfer<'_> {
    /// Returns the estimated time until this transfer and those before it have arrived.
    pub(crate) fn time(&self) -> Duration {
        self.all.time()
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if self.is_on_its_way {
            let until = Instant::now() + self.all.time().min(LONGEST_LEFT);
            lock(&self.all.left).push((until, self.bytes));
        }
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn time(bytes: usize) -> Duration {
    let millis = bytes.saturating_mul(1000) / RATE;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Time budget for all round trips of one operation together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OperationBudget {
    began: Instant,
    /// Budget of one round trip for small values.
    own: Duration,
    /// Budget of all round trips.
    all: Duration,
    /// Set if large values may take longer.
    grows: bool,
}

impl OperationBudget {
    /// Creates the budget of a lookup: that of two round trips, or of one with a `tier_timeout`.
    ///
    /// The first reply determines how the value is read, which may take the second round trip.
    pub(crate) fn of_read(budget: Budget, read_timeout: Duration) -> Self {
        let began = Instant::now();
        let own = budget.of_read(read_timeout);
        match budget {
            Budget::Exactly(_) => Self { began, own, all: own, grows: false },
            _ => Self { began, own, all: own.saturating_mul(2), grows: true },
        }
    }

    pub(crate) fn of_write(budget: Budget, write_timeout: Duration) -> Self {
        let own = budget.of_write(write_timeout);
        Self { began: Instant::now(), own, all: own, grows: true }
    }

    /// Returns the time left for a round trip without large values.
    pub(crate) fn left(&self) -> Duration {
        self.all.saturating_sub(self.began.elapsed()).min(self.own)
    }

    /// Returns the budget of another attempt, if the values read so far are not those asked for.
    ///
    /// Where large values may take longer, the budget starts anew. Otherwise enough time must be left.
    pub(crate) fn anew(self) -> Option<Self> {
        if self.grows {
            Some(Self { began: Instant::now(), ..self })
        } else {
            Some(self).filter(Self::allows_more)
        }
    }

    /// Returns whether enough time is left for the server to answer another command.
    pub(crate) fn allows_more(&self) -> bool {
        self.is_enough(self.left())
    }

    /// Returns the time left for large values, which need `transfer` at the minimum rate.
    ///
    /// Returns `None` if too little is left for a command. A reply at the minimum rate does not count as
    /// slow: the extension is 5/4 of `transfer`, and the breaker's limit is 4/5 of the budget.
    pub(crate) fn left_of(&self, transfer: Duration) -> Option<Duration> {
        Some(self.whole_of(transfer).saturating_sub(self.began.elapsed()))
            .filter(|left| self.is_enough(*left))
    }

    fn is_enough(&self, left: Duration) -> bool {
        left >= self.own / 2
    }

    fn whole_of(&self, transfer: Duration) -> Duration {
        let more = if self.grows { transfer.min(LONGEST_TRANSFER) / 4 * 5 } else { Duration::ZERO };
        let more = more.min(LONGEST_TRANSFER);
        self.all.saturating_add(more)
    }

    /// Returns the most time that can be left.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "a server that is alone has no map to wait for")
    )]
    pub(crate) fn longest(&self) -> Duration {
        self.whole_of(Duration::MAX).saturating_sub(self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::availability::awaited::slow;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_value_takes_its_time_and_that_of_those_before_it() {
        let transfers = Transfers::default();
        let first = transfers.begin(RATE / 4);
        assert_eq!(first.time(), 250 * MS);
        let second = transfers.begin(RATE / 2);
        assert_eq!(second.time(), 750 * MS);
        drop(first);
        assert_eq!((second.time(), transfers.time()), (500 * MS, 500 * MS));
        drop(second);
        assert_eq!(transfers.time(), Duration::ZERO);
        let all = [transfers.begin(usize::MAX), transfers.begin(usize::MAX)];
        assert!(all[1].time() > LONGEST_TRANSFER);
    }

    #[test]
    fn abandoned_transfer_counts_until_its_time_has_passed() {
        let transfers = Transfers::default();
        drop(transfers.begin(5 * RATE));
        assert_eq!(transfers.time(), Duration::ZERO, "it was never asked for");
        let mut sent = transfers.begin(5 * RATE);
        sent.is_on_its_way = true;
        drop(sent);
        assert_eq!(transfers.time(), 5_000 * MS);
        transfers.left.lock().unwrap()[0].0 = Instant::now();
        assert_eq!((transfers.time(), transfers.left.lock().unwrap().len()), (Duration::ZERO, 0));
    }

    #[test]
    fn a_budget_follows_the_bytes_up_to_a_limit() {
        let patience = OperationBudget::of_read(Budget::Own, 50 * MS);
        assert_eq!(patience.whole_of(Duration::ZERO), 100 * MS);
        assert_eq!(patience.whole_of(1_000 * MS), 1_350 * MS);
        assert_eq!(patience.whole_of(Duration::MAX), 100 * MS + LONGEST_TRANSFER);
        assert!(patience.left() <= 50 * MS);
        let exact = OperationBudget::of_read(Budget::Exactly(70 * MS), 50 * MS);
        assert_eq!(exact.whole_of(1_000 * MS), 70 * MS);
        let write = OperationBudget::of_write(Budget::Exactly(70 * MS), 500 * MS);
        assert_eq!(write.whole_of(1_000 * MS), 1_750 * MS);
    }

    #[test]
    fn exact_budget_covers_all_round_trips_of_an_operation() {
        let began = Instant::now().checked_sub(40_000 * MS).expect("this machine runs for longer");
        let exact =
            |own| OperationBudget { began, ..OperationBudget::of_read(Budget::Exactly(own), 50 * MS) };
        assert_eq!(exact(40_000 * MS).left_of(1_000 * MS), None);
        assert_eq!(exact(60_000 * MS).left_of(1_000 * MS), None, "a third of it is left");
        assert!(exact(100_000 * MS).left_of(1_000 * MS).is_some_and(|left| left <= 60_000 * MS));
        assert!(exact(100_000 * MS).allows_more() && !exact(60_000 * MS).allows_more());
    }

    #[test]
    fn transfer_at_the_minimum_rate_does_not_count_as_slow() {
        let transfer = 400 * MS;
        assert!(slow(OperationBudget::of_write(Budget::Own, 50 * MS).whole_of(transfer)) > transfer);
    }
}
