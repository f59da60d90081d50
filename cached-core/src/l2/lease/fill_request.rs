//! One request to the tier that replaces the lease with bytes.
//!
//! Invariants: the bytes get the life that is left to the value now, and the generations of its tags are kept
//! for at least as long.
//!
//! `fill` requests the store of a value, and `stub` of a stub.

use std::future::Future;

use crate::{
    base::{
        clock::{Nanos, nanos},
        planted::planted,
    },
    error::tier::TierError,
    l2::{lease::Lease, shared::Life},
    tier::{Filled, Tier, TierFill, budget::Budget},
};

impl Lease {
    /// Prepares a fill that replaces the lease with these bytes. Returns the time of the request and the
    /// future of its reply.
    ///
    /// Returns `None` if the value has expired by now.
    pub(super) fn prepare_fill(
        &self,
        bytes: Vec<u8>,
        life: Life,
        budget: Budget,
    ) -> Option<(Nanos, impl Future<Output = Result<Filled, TierError>>)> {
        let ttl = self.shared.remaining_life(life)?;
        let requested_at = self.shared.clock.now();
        // The value may outlive the generations: only the value determined its ttl, or the load took long.
        let expires_at = requested_at.saturating_add(nanos(ttl));
        let extends_tags = expires_at > self.tags_kept_until && !planted!("tag-kept-for-load");
        let tags = if extends_tags { self.validity.tag_keys() } else { Vec::new() };
        let fill = TierFill { key: self.name.text.clone(), token: self.token, bytes, ttl, tags };
        Some((requested_at, self.shared.tier.fill_within(vec![fill], budget)))
    }
}
