//! Admission of operations, and the outcomes that open and close the breaker.
//!
//! Each change of the breaker is published in the condition, which the application observes.

use std::time::Instant;

use cached_core::TierError;

use crate::{
    availability::{breaker::Waited, gate::Permit},
    node::link::Link,
};

impl Link {
    /// Admits a read, which holds the permit until it has ended, or rejects it at once.
    pub(crate) fn admit(&self) -> Result<Permit<'_>, TierError> {
        self.gate.admit_read().map_err(|rejected| {
            if rejected.has_opened {
                self.publish_breaker_state();
            }
            TierError::Unavailable
        })
    }

    /// Records the end of a read, answered or not, and returns whether this opened the breaker.
    pub(crate) fn record_wait(&self, waited: &Waited) -> bool {
        let has_opened = self.gate.record_wait(waited);
        if has_opened {
            self.publish_breaker_state();
        }
        has_opened
    }

    /// Records the reply to a heartbeat, and returns whether this closed the breaker.
    ///
    /// `was_late` is set if this process itself was late.
    pub(crate) fn record_beat(&self, sent: Instant, was_late: bool) -> bool {
        self.condition.record_reply();
        self.condition.record_round_trip(sent.elapsed());
        let has_closed = self.gate.record_probe(sent, was_late);
        if has_closed {
            self.publish_breaker_state();
        }
        has_closed
    }

    fn publish_breaker_state(&self) {
        // Read under the lock, since the breaker may have changed again.
        self.condition.update(|facts| facts.breaker_open = self.gate.is_open());
    }
}
