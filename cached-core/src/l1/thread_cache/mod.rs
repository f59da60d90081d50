//! What a thread has at hand: the entries that it used last, in a table that no other thread touches.
//!
//! A hit in here takes no lock, changes no counter of references and writes to nothing that another thread reads, but for the
//! entry's [count of uses](crate::l1::eviction::Uses), until that has enough. It is no copy of the tier, only a shorter way to
//! entries that are in it: an entry knows by itself whether it may be served, and whether it has left the tier. What has left
//! is not used, so that its place is the first to be taken, and it is let go of when somebody [asks](let_go) all threads to.
//!
//! The table is set-associative, with seven ways to a set; of a full set goes what was not used since others came.
//! It grows with what its thread uses, up to [`table::MOST_SETS`], and to its [share](crate::l1::entry::MemoryBudget::share) of the tier or
//! what is free of what all threads may have.

mod set;
mod table;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use self::table::Front;
use crate::{
    key::{self, LARGEST_BUFFER, WriteKey},
    l1::entry::Entry,
    spec::FunctionSpec,
    sync::thread_local,
};

/// Until all sets were looked through, one of so many looks goes the long way for it: the others need not wait for that.
const FOLLOWS: u64 = 4;

/// How often all threads were asked to let go of what has left its tier.
static CALLS: AtomicUsize = AtomicUsize::new(0);

thread_local!(static HAND: RefCell<Hand> = const { RefCell::new(Hand::new()) });

struct Hand {
    /// For parts of the key that is being looked for.
    buffer: Vec<u8>,
    /// How often something was looked for.
    looks: u64,
    front: Front,
}

/// What `take` makes of an entry under the key of these parts, if one is at hand. It is told which of its thread's
/// looks it is.
#[allow(clippy::inline_always, reason = "what is known of the site then needs no look at it")]
#[inline(always)]
pub(crate) fn find<T>(
    site: &FunctionSpec,
    parts: &(impl WriteKey + ?Sized),
    take: impl Fn(&Arc<Entry>, u64) -> Option<T>,
) -> Option<T> {
    let found = HAND.try_with(|hand| {
        // It is lent if an argument that is written, or a value that is copied or dropped, calls a cached function.
        let hand = &mut *hand.try_borrow_mut().ok()?;
        hand.looks = hand.looks.wrapping_add(1);
        if hand.front.calls != CALLS.load(Ordering::Relaxed) && hand.looks.is_multiple_of(FOLLOWS) {
            return None;
        }
        if hand.buffer.capacity() > LARGEST_BUFFER {
            hand.buffer = Vec::new();
        }
        let hash = key::hash(&mut hand.buffer, site, parts).ok()?;
        hand.front.find(hash, |kept| {
            let is_it = kept.key().is_of(hash, &mut hand.buffer, site, parts);
            if is_it { take(kept, hand.looks) } else { None }
        })
    });
    found.ok().flatten()
}

/// Has the entry at hand from now on.
pub(crate) fn keep(kept: &Arc<Entry>) {
    // The values of those who leave are the user's code: not under the borrow.
    let _gone = HAND.try_with(|hand| Some(hand.try_borrow_mut().ok()?.front.keep(kept)));
}

/// This thread lets go of what has left its tier, if that was asked for. Returns which of its looks it is at.
pub(crate) fn come_by() -> u64 {
    let come = HAND.try_with(|hand| {
        let hand = &mut *hand.try_borrow_mut().ok()?;
        Some((hand.looks, hand.front.follow_calls()))
    });
    // What leaves is the user's code: it is dropped here, and not under the borrow.
    come.ok().flatten().map_or(0, |(looks, _gone)| looks)
}

/// All threads let go of what has left its tier, each when it comes by the next time.
pub(crate) fn let_go() {
    // Whoever follows sees what has left before.
    CALLS.fetch_add(1, Ordering::Release);
}

impl Drop for Hand {
    /// A value whose drop panics must not take the process with it when its thread ends.
    fn drop(&mut self) {
        for kept in self.front.drain() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(kept)));
        }
    }
}

impl Hand {
    const fn new() -> Self {
        Self { buffer: Vec::new(), looks: 0, front: Front::new() }
    }
}
