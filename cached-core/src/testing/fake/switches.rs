//! Faults and delays of the tier in memory, which a test turns on and off.

use std::{mem, sync::atomic::Ordering};

use crate::testing::fake::{FakeTier, lock};

impl FakeTier {
    /// Makes every operation of every clone fail, or work again.
    ///
    /// An operation that fails returns [`TierError::Unavailable`](crate::TierError::Unavailable).
    pub fn set_down(&self, is_down: bool) {
        let was_down = self.server.is_down.swap(is_down, Ordering::SeqCst);
        for connection in self.server.connections() {
            if is_down && !was_down {
                connection.end_feed(self.server.clock.now());
            } else if was_down && !is_down {
                connection.restore_feed();
            }
        }
    }

    /// Stops the delivery of changes to this clone, or resumes it.
    ///
    /// While it is stopped, the clone has no proof that nothing changed. Operations work all the same.
    pub fn set_silent(&self, is_silent: bool) {
        self.connection.is_silent.store(is_silent, Ordering::SeqCst);
        if is_silent {
            lock(&self.connection.feed).advance_to(self.server.clock.now());
        } else {
            self.connection.end_feed(self.server.clock.now());
            self.connection.restore_feed();
        }
    }

    /// Delays the delivery of changes to this clone, or makes it immediate again.
    ///
    /// A delayed change is delivered right before the clone's next operation is answered, as over a slow
    /// network.
    pub fn set_late(&self, is_late: bool) {
        let delayed = mem::replace(&mut *lock(&self.connection.delayed), is_late.then(Vec::new));
        self.connection.deliver(delayed.unwrap_or_default());
    }

    /// Makes `fill` and `delete` wait before they take effect, or lets them proceed.
    pub fn hold_writes(&self, is_held: bool) {
        self.server.fills_held.send_replace(is_held);
        self.server.deletes_held.send_replace(is_held);
    }

    /// Makes `delete` wait before it takes effect, or lets it proceed.
    pub fn hold_deletes(&self, is_held: bool) {
        self.server.deletes_held.send_replace(is_held);
    }

    /// Loses the reply to each `lease`, or delivers it again.
    ///
    /// A `lease` without its reply takes effect, and fails with [`TierError::Timeout`](crate::TierError::Timeout).
    pub fn lose_leases(&self, are_lost: bool) {
        self.server.loses_lease_replies.store(are_lost, Ordering::SeqCst);
    }

    /// Makes `lookup` wait before it reads, or lets it proceed.
    pub fn hold_reads(&self, is_held: bool) {
        self.server.lookups_held.send_replace(is_held);
    }
}
