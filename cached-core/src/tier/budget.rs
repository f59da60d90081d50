//! How long a call may wait for the shared tier.

use std::time::Duration;

use crate::base::clock::Nanos;

/// How long an operation of a [`Tier`](crate::Tier) may take, as far as its caller knows: what a load costs decides how long it pays to
/// wait for a value that another process may have loaded already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// As long as the tier says.
    #[default]
    Own,
    /// As long as the tier says, or this if it is longer: about what a load of the function takes.
    AtLeast(Duration),
    /// This: the `tier_timeout` of the function.
    Exactly(Duration),
}

impl Budget {
    /// Of an operation that a caller waits for, where the tier itself would allow `own`.
    #[must_use]
    pub fn of_read(self, own: Duration) -> Duration {
        match self {
            Self::Own => own,
            Self::AtLeast(budget) => own.max(budget),
            Self::Exactly(budget) => budget,
        }
    }

    /// Of one that no caller waits for, such as a fill: never less than `own`.
    #[must_use]
    pub fn of_write(self, own: Duration) -> Duration {
        match self {
            Self::Own => own,
            Self::AtLeast(budget) | Self::Exactly(budget) => own.max(budget),
        }
    }

    /// Where loads take so long; zero if that is not known. No longer than a load, as waiting in vain must not cost more than
    /// it may save, and 2 s at most. In powers of two, so that callers of about the same patience can ask together.
    pub(crate) fn of_price(price: Nanos) -> Self {
        const LEAST_MS: u64 = 32;
        const MOST_MS: u64 = 2_000;

        let price_ms = price / 1_000_000;
        if price_ms < LEAST_MS {
            // No tier that is worth asking allows less.
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
    fn what_the_function_says_counts_for_its_callers_and_shortens_no_write() {
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
