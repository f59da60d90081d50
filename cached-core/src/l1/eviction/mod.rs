//! Which entry leaves, when there is no room for all.
//!
//! Two queues, first in, first out. Whoever is new stands in the small one, and whoever leaves it unused is gone: so a
//! scan passes through without a trace. Nothing moves on a hit: an entry [counts its uses](Uses) in itself, and what it
//! was used for is settled when its turn comes. In the main queue, a turn costs a use, and who cannot pay leaves. For a
//! place there, an entry needs evidence that it is of use:
//!
//! * one piece buys a duel with the entry whose turn is next there: who of them has to leave, if that one can pay for its
//!   turn?
//! * two pieces buy the place.
//!
//! A use is evidence, and so is it to come back soon after one has left, which [`Ghosts`] tell. Because of the duel, a loop
//! that is longer than the queue cannot wash itself out of it. Who is much heavier than the others keeps several of them
//! out: it needs, and pays, [more](Policy::price).
//!
//! How large the small queue is, the ghosts tell as well: who comes back at once to the one or the other would still be
//! there if it had been a little larger.

mod ghosts;
mod queues;
#[cfg(test)]
mod tests;
mod uses;

use self::{
    ghosts::{Ghosts, Left},
    queues::{Queues, Which},
};
pub(crate) use self::{queues::Ticket, uses::Uses};

/// The share of the small queue: at first, and its bounds.
const SHARE: f64 = 0.1;
const LEAST: f64 = 0.01;
const MOST: f64 = 0.9;

/// By how many entries a return moves the border between the queues.
const STEP: f64 = 2.0;

/// So many turns may pass before somebody leaves, used or not: who inserts must not wait until all were asked.
const PATIENCE: u32 = 64;

/// What the policy has to know of an entry.
pub(crate) trait Resident {
    fn uses(&self) -> &Uses;
}

impl<T: Resident + ?Sized> Resident for std::sync::Arc<T> {
    fn uses(&self) -> &Uses {
        (**self).uses()
    }
}

/// Decides who leaves. It has no lock of its own.
pub(crate) struct Policy<T> {
    queues: Queues<T>,
    ghosts: Ghosts,
    capacity: u64,
    /// Of the capacity, for the small queue.
    share: f64,
    /// Somebody has had to leave. From then on, a place in the main queue takes evidence, even if there is room for a while:
    /// that is what is left after somebody heavy has gone.
    is_full: bool,
}

impl<T: Resident> Policy<T> {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { queues: Queues::new(), ghosts: Ghosts::new(), capacity, share: SHARE, is_full: false }
    }

    /// Takes in an entry whose key is not there. Call [`evict`](Self::evict) until it finds nobody.
    pub(crate) fn insert(&mut self, hash: u64, weight: u32, item: T) -> Ticket {
        let print = ghosts::print(hash);
        let left = self.ghosts.take(print, self.queues.len());
        let (which, uses) = match left {
            None => (Which::Small, 0),
            Some((Left::Removed, _)) => (Which::Main, 1),
            Some((left, is_recent)) => {
                if is_recent {
                    self.shift(left);
                }
                if self.price(weight) > 1 || !self.wins_duel() {
                    // It has its evidence still.
                    (Which::Small, 1)
                } else {
                    (Which::Main, u8::from(left == Left::Main))
                }
            }
        };
        item.uses().set(uses);
        let ticket = self.queues.add(print, weight.max(1), item);
        if u64::from(weight) > self.capacity {
            self.queues.push_oldest(Which::Small, ticket.index);
        } else {
            self.queues.push(which, ticket.index);
            self.settle();
        }
        ticket
    }

    /// Who has to leave next, if there is too much. An entry that is too large for the whole leaves before all others;
    /// else one that was just inserted leaves only if there is no other in its queue.
    pub(crate) fn evict(&mut self) -> Option<T> {
        if self.weight() <= self.capacity {
            return None;
        }
        self.is_full = true;
        if let Some(index) = self.queues.oldest(Which::Small)
            && u64::from(self.queues.weight_of(index)) > self.capacity
        {
            return Some(self.queues.take(index));
        }
        let mut turns = 0;
        loop {
            let is_small_due =
                self.queues.weight(Which::Small) > self.target() && self.queues.len_of(Which::Small) > 1;
            let which = if is_small_due { Which::Small } else { Which::Main };
            let index = self.queues.oldest(which)?;
            let stays = turns < PATIENCE
                && match which {
                    Which::Small => self.earns_place(index),
                    Which::Main => self.pays(index),
                };
            if !stays {
                let left = if which == Which::Small { Left::Small } else { Left::Main };
                self.ghosts.add(self.queues.print(index), left, self.queues.len());
                return Some(self.queues.take(index));
            }
            turns += 1;
        }
    }

    /// Takes an entry out. If its key comes back, it has the place that it had.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let index = self.queues.find(ticket)?;
        if self.queues.which(index) == Which::Main {
            self.ghosts.add(self.queues.print(index), Left::Removed, self.queues.len());
        }
        Some(self.queues.take(index))
    }

    /// Another value for the key: it has the place and the uses of the one before, which is given back, and a ticket of its
    /// own. If that is gone, it is the new one that is given back, as an error.
    pub(crate) fn replace(&mut self, ticket: Ticket, weight: u32, item: T) -> Result<(Ticket, T), T> {
        let Some(index) = self.queues.find(ticket) else { return Err(item) };
        item.uses().set(self.queues.item(index).uses().get());
        let replaced = self.queues.replace(index, weight.max(1), item);
        if u64::from(weight) > self.capacity {
            self.queues.unlink(index);
            self.queues.push_oldest(Which::Small, index);
        }
        Ok(replaced)
    }

    /// Everybody leaves.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        (self.ghosts, self.share, self.is_full) = (Ghosts::new(), SHARE, false);
        self.queues.clear()
    }

    /// Those in `many` places from `from` on, and where to go on; `None` at the end.
    pub(crate) fn some(&self, from: usize, many: usize) -> (Vec<T>, Option<usize>)
    where
        T: Clone,
    {
        self.queues.some(from, many)
    }

    #[cfg(test)]
    fn set_capacity(&mut self, capacity: u64) {
        self.is_full &= capacity <= self.capacity;
        self.capacity = capacity;
    }

    pub(crate) fn weight(&self) -> u64 {
        self.queues.weight(Which::Small) + self.queues.weight(Which::Main)
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    /// What the small queue may weigh.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share"
    )]
    fn target(&self) -> u64 {
        (self.capacity as f64 * self.share) as u64
    }

    /// What a turn costs, in uses: one, but two for who weighs more than twice what they weigh on average, and three for
    /// who weighs more than four times that.
    fn price(&self, weight: u32) -> u8 {
        let (all, as_many) = (self.weight(), u64::from(weight).saturating_mul(self.len() as u64));
        1 + u8::from(as_many > all.saturating_mul(2)) + u8::from(as_many > all.saturating_mul(4))
    }

    /// The next turn in the main queue: who can pay goes to its end.
    fn pays(&mut self, index: u32) -> bool {
        let price = self.price(self.queues.weight_of(index));
        let uses = self.queues.item(index).uses();
        let Some(rest) = uses.get().checked_sub(price) else { return false };
        uses.set(rest);
        self.queues.requeue(index);
        true
    }

    fn wins_duel(&mut self) -> bool {
        self.queues.oldest(Which::Main).is_none_or(|other| !self.pays(other))
    }

    /// Whoever's turn it is to leave the small queue goes over to the main queue, if it was used for that.
    fn earns_place(&mut self, index: u32) -> bool {
        let price = self.price(self.queues.weight_of(index));
        let uses = self.queues.item(index).uses().get();
        let earns = uses > price || uses == price && self.wins_duel();
        if earns {
            self.promote(index);
        }
        earns
    }

    fn promote(&mut self, index: u32) {
        self.queues.item(index).uses().set(0);
        self.queues.requeue(index);
    }

    /// Moves the border in favour of the queue that somebody left too early.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn shift(&mut self, left: Left) {
        let step = STEP / self.queues.len().max(1) as f64;
        let share = if left == Left::Small { self.share + step } else { self.share - step };
        self.share = share.clamp(LEAST, MOST);
    }

    /// While there is room for all, nobody can show that he is worth more than another: the main queue takes whom the small
    /// one has no place for. Otherwise a loop would find it empty for ever.
    fn settle(&mut self) {
        if self.is_full || self.weight() > self.capacity {
            return;
        }
        while self.queues.weight(Which::Small) > self.target() && self.queues.len_of(Which::Small) > 1 {
            let Some(index) = self.queues.oldest(Which::Small) else { return };
            self.promote(index);
        }
    }
}
