//! Time budget of an operation on the shared tier.

use std::time::Duration;

use crate::base::clock::Nanos;

/// Time that an operation of a [`Tier`](crate::Tier) may take, as far as the caller decides.
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
    pub fn of_read(self, own: Duration) -> Duration {
        match self {
            Self::Own => own,
            Self::AtLeast(budget) => own.max(budget),
            Self::Exactly(budget) => budget,
        }
    }

    /// Returns the limit of an operation that no caller waits for, such as a fill: never less than `own`.
    #[must_use]
    pub fn of_write(self, own: Duration) -> Duration {
        match self {
            Self::Own => own,
            Self::AtLeast(budget) | Self::Exactly(budget) => own.max(budget),
        }
    }

    /// Derives a budget from `price`, the duration of a load, which is zero if unknown.
    ///
    /// The budget is no longer than a load, because a wait in vain must not cost more than it may save, and
    /// at most two seconds. It is rounded down to a power of two in milliseconds, so that callers with
    /// similar budgets can share a request.
    pub(crate) fn of_price(price: Nanos) -> Self {
        const LEAST_MS: u64 = 32;
        const MOST_MS: u64 = 2_000;

        let price_ms = price / 1_000_000;
        if price_ms < LEAST_MS {
            // Any useful tier has a limit of its own that is at least as long.
            return Self::Own;
        }
        Self::AtLeast(Duration::from_millis((1_u64 << price_ms.ilog2()).min(MOST_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_price_and_has_a_limit() {
        let ms = Duration::from_millis;
        let of = |price: Nanos| Budget::of_price(price * 1_000_000).of_read(ms(50));
        let prices = [0, 1, 31, 32, 63, 64, 200, 1_000, 2_047, 2_048, 30_000, 120_000];
        let budgets: [u64; 12] = [50, 50, 50, 50, 50, 64, 128, 512, 1_024, 2_000, 2_000, 2_000];
        assert_eq!(prices.map(of), budgets.map(ms));
        assert_eq!(Budget::of_price(Nanos::MAX).of_read(ms(50)), ms(2_000));
    }

    #[test]
    fn function_budget_sets_read_limit_and_shortens_no_write() {
        let ms = Duration::from_millis;
        for (budget, read, write) in [
            (Budget::Own, 50, 1_000),
            (Budget::AtLeast(ms(20)), 50, 1_000),
            (Budget::AtLeast(ms(2_000)), 2_000, 2_000),
            (Budget::Exactly(ms(20)), 20, 1_000),
            (Budget::Exactly(ms(3_000)), 3_000, 3_000),
        ] {
            assert_eq!((budget.of_read(ms(50)), budget.of_write(ms(1_000))), (ms(read), ms(write)));
        }
    }
}
