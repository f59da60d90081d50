//! The coherence protocol: when an L1 entry may be served without asking L2.
//!
//! A hit must not cost a round trip. Nor may it return a value that was invalidated longer ago than the
//! staleness bound (plus the grace in an outage). So each entry carries a validity, which a hit checks with a
//! few atomic loads.
//!
//! * `epoch`: the epochs of names. An invalidation ends an epoch, and with it every entry and load that
//!   depends on it.
//! * `validity`: the proof that an entry is current: its epochs, its change feed, and the time of the last
//!   check.
//! * `staleness`: the greatest age of that proof, and the grace in an outage.
//! * `outbox`: invalidations that L2 does not know yet.
//! * `tag_log`: tags that this process has invalidated, for loads that get their tags from the value.
//! * `invalid_count`: an estimate of the invalid entries that still occupy memory.
//!
//! The change feed itself is `tier::feed`. Misses use this room through `l2`, invalidations through
//! `cache::invalidation`.

pub(crate) mod epoch;
pub(crate) mod invalid_count;
pub(crate) mod outbox;
pub(crate) mod staleness;
pub(crate) mod tag_log;
pub(crate) mod validity;
