//! Time budget of an operation on the shared tier.

use std::time::Duration;

use crate::base::clock::Nanos;

/// Time that an operation of a [`Tier`](crate::tier::Tier) may take, as far as the caller decides.
///
/// The cost of a load decides how long it pays to wait for a value that another process may already have
/// loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// The tier's own limit.
    #[default]
    Own,
    /// The tier's own limit, or this time if it is longer: roughly the duration of a load of the function.
    AtLeast(Duration),
    /// Exactly this time: the `tier_timeout` of the function.
    Exactly(Duration),
}

impl Budget {
    /// Returns the limit of an operation that a caller waits for. `own` is the tier's own limit.
    #[must_use]
    pub fn read_limit(self, own: Duration) -> Duration {
        match self {
            Self::Own => own,
            Self::AtLeast(budget) => own.max(budget),
            Self::Exactly(budget) => budget,
        }
    }

    /// Returns the limit of an operation that no caller waits for, such as a fill: never less than `own`.
    #[must_use]
    pub fn write_limit(self, own: Duration) -> Duration {
        match self {
            Self::Own => own,
            Self::AtLeast(budget) | Self::Exactly(budget) => own.max(budget),
        }
    }

    /// Derives a budget from `load_time`, the duration of a load, which is zero if unknown.
    ///
    /// The budget is no longer than a load, because a wait in vain must not cost more than it may save, and
    /// at most two seconds. It is rounded down to a power of two in milliseconds, so that callers with
    /// similar budgets can share a request.
    pub(crate) fn from_load_time(load_time: Nanos) -> Self {
        const MIN_MS: u64 = 32;
        const MAX_MS: u64 = 2_000;

        let load_ms = load_time / 1_000_000;
        if load_ms < MIN_MS {
            // Any useful tier has a limit of its own that is at least as long.
            return Self::Own;
        }
        Self::AtLeast(Duration::from_millis((1_u64 << load_ms.ilog2()).min(MAX_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_follows_the_load_time_up_to_a_limit() {
        let ms = Duration::from_millis;
        let of = |load_time: Nanos| Budget::from_load_time(load_time * 1_000_000).read_limit(ms(50));
        let load_times = [0, 1, 31, 32, 63, 64, 200, 1_000, 2_047, 2_048, 30_000, 120_000];
        let budgets: [u64; 12] = [50, 50, 50, 50, 50, 64, 128, 512, 1_024, 2_000, 2_000, 2_000];
        assert_eq!(load_times.map(of), budgets.map(ms));
        assert_eq!(Budget::from_load_time(Nanos::MAX).read_limit(ms(50)), ms(2_000));
    }

    #[test]
    fn budget_sets_the_read_limit_and_never_shortens_a_write() {
        let ms = Duration::from_millis;
        for (budget, read, write) in [
            (Budget::Own, 50, 1_000),
            (Budget::AtLeast(ms(20)), 50, 1_000),
            (Budget::AtLeast(ms(2_000)), 2_000, 2_000),
            (Budget::Exactly(ms(20)), 20, 1_000),
            (Budget::Exactly(ms(3_000)), 3_000, 3_000),
        ] {
            assert_eq!((budget.read_limit(ms(50)), budget.write_limit(ms(1_000))), (ms(read), ms(write)));
        }
    }
}
