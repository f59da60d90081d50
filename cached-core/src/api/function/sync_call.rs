//! A call of a function that is not async, and its operations, which block.
//!
//! The operations are those of [`Call`]. A load runs in the calling thread: see `call::drive`.

use std::future::Ready;

use pollster::block_on;

use crate::{
    api::function::{Call, Missed, Stage, call::hit_reply},
    cache::invalidation::Invalidation,
    call::{
        control::{CacheControl, LoadRule, Reply, Terms},
        drive::{call_now, warm_now},
        load::Load,
    },
    error::Error,
    warm::report::Warmed,
};

/// A [`Call`] of a function that is not async: its methods block.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct SyncCall<R, F>(pub(super) Stage<R, (Missed<R>, F)>);

impl<R, F: FnOnce() -> R> SyncCall<R, F> {
    /// Makes the call.
    #[inline]
    pub fn get(self) -> R {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => value,
            Stage::Miss((missed, body)) => run(missed, body, Terms::default()).value,
        }
    }

    /// Makes the call under `control`, and returns the value with its origin.
    pub fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        match M::absent::<R>() {
            None => M::present(self.run(control.terms)),
            Some(_) => block_on(self.without_load().with(control)),
        }
    }

    /// Runs the function and stores the new value, even if one is cached.
    pub fn refresh(self) -> R {
        self.run(CacheControl::no_cache().terms).value
    }

    /// Returns the cached value, without running the function.
    ///
    /// `None` if no tier has the value.
    pub fn peek(self) -> Option<R> {
        block_on(self.without_load().peek())
    }

    /// Ensures that the value is cached, and discards it, for [`warm`](crate::warm()).
    pub fn warm(self) -> Warmed {
        match self.0 {
            Stage::Hit(_) | Stage::Hot(..) => Warmed::Present,
            // The value could not be stored, so a load would be useless.
            Stage::Miss((missed, _)) if !missed.prepared.may_store() => Warmed::Skipped,
            Stage::Miss((missed, body)) => {
                let Missed { policy, prepared, .. } = missed;
                warm_now(prepared, Terms::default(), policy, body)
            }
        }
    }

    /// Removes the value. A load that has begun does not store its value afterwards.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key: then nothing was ever cached for it.
    pub fn invalidate(self) -> Result<(), Error> {
        block_on(self.invalidation())
    }

    pub(crate) fn invalidation(self) -> Invalidation {
        self.without_load().invalidate()
    }

    /// Returns the name of the entry, for logs.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key.
    pub fn key(self) -> Result<String, Error> {
        self.without_load().key()
    }

    fn run(self, terms: Terms) -> Reply<R> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => hit_reply(value),
            Stage::Miss((missed, body)) => run(missed, body, terms),
        }
    }

    /// Returns the same call in async form, for an operation that never loads.
    fn without_load(self) -> Call<R, Ready<R>> {
        Call(match self.0 {
            Stage::Miss((missed, _)) => Stage::Miss((missed, Load::Never)),
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
        })
    }
}

/// Makes a call that L1 did not answer.
///
/// Not inlined, so that a miss takes no space in the frame of the caller.
#[cold]
#[inline(never)]
fn run<R, F: FnOnce() -> R>(missed: Missed<R>, body: F, terms: Terms) -> Reply<R> {
    let Missed { policy, prepared, .. } = missed;
    call_now(prepared, terms, policy, body).unwrap_or_else(|panicked| panicked.resume())
}
