//! A call of a function that is not async, and its operations, which block.
//!
//! The operations are those of [`Call`]. A load runs in the calling thread: see `call::drive`.

use std::future::Ready;

use pollster::block_on;

use crate::{
    api::function::{Call, Stage, call::hit_reply},
    cache::invalidation::Invalidation,
    call::{
        NewPolicy, PreparedCall,
        control::{CacheControl, LoadRule, Reply, Terms},
        drive::{CallRun, call_now, get_now, warm_now},
        load::Load,
    },
    error::Error,
    warm::report::Warmed,
};

/// A [`Call`] of a function that is not async: its methods block.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct SyncCall<R, F>(pub(super) Stage<R, Miss<R, F>>);

/// A prepared call, with its body and the constructor of its policies.
type Miss<R, F> = (PreparedCall, NewPolicy<R>, F);

impl<R, F: FnOnce() -> R> SyncCall<R, F> {
    /// Makes the call.
    #[inline]
    pub fn get(self) -> R {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => value,
            Stage::Miss((prepared, new_policy, body)) => get(prepared, new_policy, body),
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
            Stage::Miss((prepared, new_policy, body)) => {
                warm_now(prepared, Terms::default(), new_policy, body)
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
            Stage::Miss((prepared, new_policy, body)) => call_now(prepared, terms, new_policy, body),
        }
    }

    /// Returns the same call in async form, for an operation that never loads.
    fn without_load(self) -> Call<R, Ready<R>> {
        Call(match self.0 {
            Stage::Miss((prepared, new_policy, _)) => {
                Stage::Miss(CallRun::of_function(prepared, new_policy, Load::Never))
            }
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
        })
    }
}

/// Makes a call that L1 did not answer.
///
/// Not inlined, so that a miss takes no space in the frame of the caller.
#[cold]
#[inline(never)]
fn get<R, F: FnOnce() -> R>(prepared: PreparedCall, new_policy: NewPolicy<R>, body: F) -> R {
    get_now(prepared, new_policy, body)
}
