//! Tickets: handles of entries in the policy.

use std::sync::atomic::{AtomicU64, Ordering};

/// Handle of an entry. It finds nothing once the entry has left, even if another entry has its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(super) index: u32,
    pub(super) number: u32,
}

/// Place inside of an entry for its ticket, in eight bytes.
#[derive(Debug)]
pub(crate) struct TicketCell(AtomicU64);

/// Content of an empty cell. No ticket has this index.
const EMPTY: u64 = u64::MAX;

impl Default for TicketCell {
    fn default() -> Self {
        Self(EMPTY.into())
    }
}

impl TicketCell {
    pub(crate) fn set(&self, ticket: Ticket) {
        self.0.store(u64::from(ticket.index) << 32 | u64::from(ticket.number), Ordering::Release);
    }

    #[allow(clippy::cast_possible_truncation, reason = "a ticket is two halves of the number")]
    pub(crate) fn get(&self) -> Option<Ticket> {
        let bits = self.0.load(Ordering::Acquire);
        (bits != EMPTY).then_some(Ticket { index: (bits >> 32) as u32, number: bits as u32 })
    }
}
