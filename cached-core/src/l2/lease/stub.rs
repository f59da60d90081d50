//! The stub of a value that the tier cannot hold: it cannot be encoded, or is too large.
//!
//! The stub informs the other processes that no value will come. Each process keeps its own value for as long
//! as the stub is there.
//!
//! Invariants: a stub lives as long as the value would, and does not replace a value that other processes may
//! read. `fill` decides when a stub is needed, and `l2::lookup` reads stubs.

use crate::{
    base::clock::Nanos,
    error::tier::TierError,
    l2::{lease::Lease, shared::Life},
    tier::{Filled, Record, Tier, budget::Budget},
    value::envelope::{self, Expect},
};

impl Lease {
    /// Encodes the stub of a value with this life.
    pub(super) fn seal_stub(&self, life: Life, created_ms: u64) -> Result<Vec<u8>, TierError> {
        let stub = self.shared.seal_stub(&self.name, created_ms, life);
        stub.map_err(|_| TierError::Unavailable)
    }

    /// Stores a stub, after a fill of a large value has ended in `fill_error`.
    ///
    /// Returns the time of the request and its reply, if the stub was stored. Returns `None` if the value has
    /// expired, or may have been stored itself. If the key has another value, it returns `fill_error`.
    pub(super) async fn fill_stub(
        &self,
        life: Life,
        created_ms: u64,
        fill_error: &TierError,
    ) -> Result<Option<(Nanos, Filled)>, TierError> {
        if self.has_stored_value().await {
            // Another process may read that value, so it is not replaced by a stub.
            return Err(fill_error.clone());
        }
        // A small value may still get through. The stub lives as long as the value would: each process keeps
        // its own value for that time, and the tier does not report the removal of a key that is not there
        // any more.
        let stub = self.seal_stub(life, created_ms)?;
        let Some((requested_at, filling)) = self.prepare_fill(stub, life, Budget::Own) else {
            return Ok(None);
        };
        let stubbed = filling.await?;
        if stubbed.stored.first() != Some(&true) {
            // The value itself may have been stored.
            return Ok(None);
        }
        Ok(Some((requested_at, stubbed)))
    }

    /// Returns whether the key has a value that is not a stub. If that cannot be found out, it returns true.
    async fn has_stored_value(&self) -> bool {
        let expect = Expect { schema: self.name.schema, check: self.name.check };
        match self.shared.tier.get(&self.name.text).await {
            Ok((Record::Value(stored), _)) => {
                let opened = envelope::open(&stored.bytes, &expect, &self.shared.limits);
                !opened.is_ok_and(|opened| opened.header.is_stub)
            }
            reply => reply.is_err(),
        }
    }
}
