//! The eviction policy: which entry leaves when there is no room for all.
//!
//! There are two queues, first in, first out. A hit moves nothing: an entry [counts its uses](Uses) in
//! itself, and they are settled when its turn comes.
//!
//! * A new entry enters the small queue, and leaves if it is unused at its turn. So a scan passes through
//!   without a trace.
//! * In the main queue, a turn costs a use, and an entry that cannot pay leaves.
//!
//! An entry needs evidence of its use for a place in the main queue:
//!
//! * One piece of evidence buys a duel with the entry that has the next turn there. The challenger gets a
//!   place if that entry cannot pay for its turn. Otherwise the challenger leaves; if it has just returned,
//!   it begins in the small queue and keeps its evidence.
//! * Two pieces of evidence buy the place.
//!
//! A use is evidence, and so is a return soon after leaving, which [`Ghosts`] detect. Because of the duel,
//! the keys of a loop that is longer than the queue do not displace each other from it. An entry that is much
//! heavier than the others displaces several of them: it needs [more](Policy::turn_cost) evidence, and pays more
//! for a turn.
//!
//! Ghosts also determine the size of the small queue. If a key returns right after it left one of the queues,
//! it would still be there had that queue been a little larger, so the share of that queue grows. In a loop, no
//! key returns so soon. The small queue then has no hits, and [lends its room](Policy::try_lend_room) to the main
//! queue.
//!
//! The lists are in `queues`, the keys that have left in `ghosts`, and the use count of an entry in `uses`.
//! DESIGN.md compares the hit ratios with those of other policies.
//!
//! An entry that is over leaves as well, whether there is room or not. The ends of the entries are in `wheel`.

mod ghosts;
mod queues;
#[cfg(test)]
mod tests;
mod ticket;
mod uses;
mod wheel;

use self::{
    ghosts::{GhostKind, Ghosts},
    queues::{QueueKind, Queues},
    wheel::{NEVER, Wheel},
};
pub(crate) use self::{
    ticket::{Ticket, TicketCell},
    uses::Uses,
};
use crate::base::clock::Nanos;

/// Initial share of the small queue in the capacity.
const INITIAL_SMALL_SHARE: f64 = 0.1;
/// Lower bound of the share of the small queue.
const MIN_SMALL_SHARE: f64 = 0.01;
/// Upper bound of the share of the small queue.
const MAX_SMALL_SHARE: f64 = 0.9;

/// Number of entries by which a return moves the border between the queues.
const SHARE_STEP: f64 = 2.0;

/// Number of turns before an entry leaves, used or not. An insertion must not wait for a turn of all entries.
const MAX_TURNS: u32 = 64;

/// Interface of an entry to the policy.
pub(crate) trait Resident {
    fn uses(&self) -> &Uses;

    /// Returns the time from which the entry is over.
    fn end(&self) -> Nanos {
        NEVER
    }
}

impl<T: Resident + ?Sized> Resident for std::sync::Arc<T> {
    fn uses(&self) -> &Uses {
        (**self).uses()
    }

    fn end(&self) -> Nanos {
        (**self).end()
    }
}

/// The eviction policy. It has no lock of its own.
pub(crate) struct Policy<T> {
    queues: Queues<T>,
    wheel: Wheel,
    ghosts: Ghosts,
    capacity: u64,
    /// Share of the capacity for the small queue.
    small_share: f64,
    /// Set by the first eviction. From then on, a place in the main queue takes evidence, even if there is
    /// room for a while, as after a heavy entry has left.
    is_full: bool,
    /// Number of entries that have left the small queue unused since it last had a use, and since a key last
    /// returned soon.
    unused_in_a_row: usize,
}

impl<T: Resident> Policy<T> {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            queues: Queues::new(),
            wheel: Wheel::new(),
            ghosts: Ghosts::new(),
            capacity,
            small_share: INITIAL_SMALL_SHARE,
            is_full: false,
            unused_in_a_row: 0,
        }
    }

    /// Adds an entry of a key that has none. Call [`evict`](Self::evict) afterwards, until it returns `None`.
    pub(crate) fn insert(&mut self, hash: u64, weight: u32, item: T) -> Ticket {
        let fingerprint = ghosts::fingerprint(hash);
        let kind = self.ghosts.take(fingerprint, self.queues.len());
        let (queue, uses) = match kind {
            None => (QueueKind::Small, 0),
            Some((GhostKind::Removed, _)) => (QueueKind::Main, 1),
            Some((kind, is_recent)) => {
                if is_recent {
                    self.unused_in_a_row = 0;
                    self.adjust_share(kind);
                }
                if self.turn_cost(weight) > 1 || !self.wins_duel(&mut |_| ()) {
                    // The entry keeps its evidence.
                    (QueueKind::Small, 1)
                } else {
                    (QueueKind::Main, u8::from(kind == GhostKind::Main))
                }
            }
        };
        item.uses().set(uses);
        let end = item.end();
        let ticket = self.queues.add(fingerprint, weight.max(1), uses > 0, item);
        self.wheel.schedule(ticket.index, end);
        if u64::from(weight) > self.capacity {
            self.queues.push_oldest(QueueKind::Small, ticket.index);
        } else {
            self.queues.push(queue, ticket.index);
            self.overflow_to_main();
        }
        ticket
    }

    /// Removes and returns the next entry to leave; `None` if the weight is within the capacity.
    ///
    /// An entry that is heavier than the capacity leaves before all others. Any other entry that was just
    /// inserted leaves only if it is alone in its queue.
    ///
    /// `on_proof` gets the entries that prove their use meanwhile: those that pay for a turn in the main queue. So
    /// they were used again since they got there, or since the turn before. The one that leaves may be among them.
    pub(crate) fn evict(&mut self, on_proof: &mut dyn FnMut(&T)) -> Option<T> {
        if !self.is_over_capacity() {
            return None;
        }
        self.is_full = true;
        if let Some(index) = self.queues.oldest(QueueKind::Small)
            && u64::from(self.queues.weight_of(index)) > self.capacity
        {
            return Some(self.take(index));
        }
        let mut turns = 0;
        loop {
            let is_small_due = self.queues.weight(QueueKind::Small) > self.small_target()
                && self.queues.len_of(QueueKind::Small) > 1;
            let queue = if is_small_due { QueueKind::Small } else { QueueKind::Main };
            let index = self.queues.oldest(queue)?;
            let stays = turns < MAX_TURNS
                && match queue {
                    QueueKind::Small => self.try_promote(index, on_proof),
                    QueueKind::Main => self.charge_turn(index, on_proof),
                };
            if !stays {
                let kind = if queue == QueueKind::Small { GhostKind::Small } else { GhostKind::Main };
                self.ghosts.add(self.queues.fingerprint(index), kind, self.queues.len());
                return Some(self.take(index));
            }
            turns += 1;
        }
    }

    /// Removes an entry. If it was in the main queue and its key returns soon, it gets its place back.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let index = self.queues.find(ticket)?;
        Some(self.remove_at(index))
    }

    /// Removes and returns entries that are over at `now`, in up to `steps` steps.
    ///
    /// Returns also whether there may be more. A step removes an entry, or finds that it is not over yet, which
    /// is at most five times in its life. An entry is found at most 0.27 s after its end.
    pub(crate) fn take_expired(&mut self, now: Nanos, steps: usize) -> (Vec<T>, bool) {
        let mut expired = Vec::new();
        for _ in 0..steps {
            let Some(index) = self.wheel.take_next(now) else { return (expired, false) };
            let item = self.queues.item(index);
            if now < item.end() {
                self.wheel.schedule(index, item.end());
            } else if item.uses().get() > 0 {
                expired.push(self.remove_at(index));
            } else {
                // Its key is not expected back. Ghosts of many such keys would displace others.
                expired.push(self.take(index));
            }
        }
        (expired, true)
    }

    fn remove_at(&mut self, index: u32) -> T {
        if self.queues.queue_of(index) == QueueKind::Main {
            self.ghosts.add(self.queues.fingerprint(index), GhostKind::Removed, self.queues.len());
        }
        self.take(index)
    }

    fn take(&mut self, index: u32) -> T {
        self.wheel.cancel(index);
        self.queues.take(index)
    }

    /// Replaces an entry by another one of its key, which takes over the place and the uses.
    ///
    /// Returns the ticket of the new entry, and the old entry. If the old entry has left, returns the new one
    /// as an error.
    pub(crate) fn replace(&mut self, ticket: Ticket, weight: u32, item: T) -> Result<(Ticket, T), T> {
        let Some(index) = self.queues.find(ticket) else { return Err(item) };
        item.uses().set(self.queues.item(index).uses().get());
        self.wheel.schedule(index, item.end());
        let replaced = self.queues.replace(index, weight.max(1), item);
        if u64::from(weight) > self.capacity {
            self.queues.unlink(index);
            self.queues.push_oldest(QueueKind::Small, index);
        }
        Ok(replaced)
    }

    /// Removes and returns all entries, and resets the policy.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        (self.ghosts, self.small_share, self.is_full) = (Ghosts::new(), INITIAL_SMALL_SHARE, false);
        self.unused_in_a_row = 0;
        self.wheel.clear();
        self.queues.clear()
    }

    /// Returns the entries in `count` places from `from` on, and the place to continue at (`None` at the end).
    pub(crate) fn scan(&self, from: usize, count: usize) -> (Vec<T>, Option<usize>)
    where
        T: Clone,
    {
        self.queues.scan(from, count)
    }

    #[cfg(test)]
    fn set_capacity(&mut self, capacity: u64) {
        self.is_full &= capacity <= self.capacity;
        self.capacity = capacity;
    }

    pub(crate) fn weight(&self) -> u64 {
        self.queues.weight(QueueKind::Small) + self.queues.weight(QueueKind::Main)
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Returns whether entries must leave.
    pub(crate) fn is_over_capacity(&self) -> bool {
        self.weight() > self.capacity
    }

    /// Returns the weight that the small queue may have.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share needs no precision"
    )]
    fn small_target(&self) -> u64 {
        (self.capacity as f64 * self.small_share) as u64
    }

    /// Returns the cost of a turn in uses.
    ///
    /// It is one, but two above twice the average weight, and three above four times the average weight.
    fn turn_cost(&self, weight: u32) -> u8 {
        let (all, as_many) = (self.weight(), u64::from(weight).saturating_mul(self.len() as u64));
        1 + u8::from(as_many > all.saturating_mul(2)) + u8::from(as_many > all.saturating_mul(4))
    }

    /// Charges an entry for its turn in the main queue, and moves it to the end if it can pay.
    ///
    /// Returns whether it could pay.
    fn charge_turn(&mut self, index: u32, on_proof: &mut dyn FnMut(&T)) -> bool {
        let cost = self.turn_cost(self.queues.weight_of(index));
        let item = self.queues.item(index);
        let Some(rest) = item.uses().get().checked_sub(cost) else { return false };
        item.uses().set(rest);
        on_proof(item);
        self.queues.requeue(index);
        true
    }

    /// Charges the next entry of the main queue for its turn. The challenger wins if that entry cannot pay.
    fn wins_duel(&mut self, on_proof: &mut dyn FnMut(&T)) -> bool {
        self.queues.oldest(QueueKind::Main).is_none_or(|other| !self.charge_turn(other, on_proof))
    }

    /// Moves an entry from the small queue to the main queue, if its uses buy a place there.
    ///
    /// Returns whether they do.
    fn try_promote(&mut self, index: u32, on_proof: &mut dyn FnMut(&T)) -> bool {
        let cost = self.turn_cost(self.queues.weight_of(index));
        let uses = self.queues.item(index).uses().get();
        let is_used = uses > u8::from(self.queues.has_returned(index));
        self.unused_in_a_row = if is_used { 0 } else { self.unused_in_a_row.saturating_add(1) };
        let is_promoted =
            uses > cost || uses == cost && self.wins_duel(on_proof) || self.try_lend_room(index);
        if is_promoted {
            self.promote(index);
        }
        is_promoted
    }

    /// Moves the border by the weight of an entry, which then has a place in the main queue. Returns whether it
    /// does.
    ///
    /// It does so after as many entries as there are have left the small queue, none of them was used there, and
    /// no key has returned soon: the small queue would need to be several times as large for a hit, but each
    /// entry of the main queue has one in each round of a loop. A share that has grown beyond the initial one
    /// stays, because keys have returned. Requests that come in bursts have quiet times as well, and the share
    /// would take long to grow again.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
    fn try_lend_room(&mut self, index: u32) -> bool {
        if self.unused_in_a_row <= self.queues.len() || self.small_share > INITIAL_SMALL_SHARE {
            return false;
        }
        let share = self.small_share - f64::from(self.queues.weight_of(index)) / self.capacity as f64;
        // Another entry of the small queue is left to make room for the new one.
        let lends = share >= MIN_SMALL_SHARE && self.queues.len_of(QueueKind::Small) > 2;
        if lends {
            self.small_share = share;
        }
        lends
    }

    fn promote(&mut self, index: u32) {
        self.queues.item(index).uses().set(0);
        self.queues.requeue(index);
    }

    /// Moves the border in favour of the queue that an entry left too early.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
    fn adjust_share(&mut self, kind: GhostKind) {
        let step = SHARE_STEP / self.queues.len().max(1) as f64;
        let share = if kind == GhostKind::Small { self.small_share + step } else { self.small_share - step };
        self.small_share = share.clamp(MIN_SMALL_SHARE, MAX_SMALL_SHARE);
    }

    /// Moves entries that the small queue has no room for to the main queue, until the policy has been full.
    ///
    /// While there is room for all, no entry can prove to be worth more than another. Without this, the main
    /// queue would stay empty for ever in a loop.
    fn overflow_to_main(&mut self) {
        if self.is_full || self.is_over_capacity() {
            return;
        }
        while self.queues.weight(QueueKind::Small) > self.small_target()
            && self.queues.len_of(QueueKind::Small) > 1
        {
            let Some(index) = self.queues.oldest(QueueKind::Small) else { return };
            self.promote(index);
        }
    }
}
