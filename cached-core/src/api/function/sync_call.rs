//! A call of a function that is not async, and its operations, which block.
//!
//! The operations are those of [`Call`]. A load runs in the calling thread: see `call::aside`.

use std::future::Future;

use pollster::block_on;

use crate::{
    api::function::{Call, Missed, Stage, run},
    cache::invalidation::Invalidation,
    call::{
        aside::{self, Aside},
        control::{CacheControl, LoadRule, Terms},
        load::Load,
    },
    error::Error,
    warm::report::Warmed,
};

/// A [`Call`] of a function that is not async: its methods block.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct SyncCall<R, F>(pub(super) Stage<R, (Box<Missed<R>>, F)>);

impl<R, F: FnOnce() -> R> SyncCall<R, F> {
    /// Makes the call.
    #[inline]
    pub fn get(self) -> R {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => value,
            Stage::Miss((missed, body)) => get(missed, body),
        }
    }

    /// Makes the call under `control`, and returns the value with its origin.
    pub fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        self.drive(|call| call.with(control))
    }

    /// Runs the function and stores the new value, even if one is cached.
    pub fn refresh(self) -> R {
        self.drive(Call::refresh)
    }

    /// Returns the cached value, without running the function.
    ///
    /// `None` if no tier has the value.
    pub fn peek(self) -> Option<R> {
        block_on(self.without_load().peek())
    }

    /// Ensures that the value is cached, and discards it, for [`warm`](crate::warm()).
    pub fn warm(self) -> Warmed {
        self.drive(Call::warm)
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

    /// Makes an async call, and blocks where that would wait.
    fn drive<T, A: Future<Output = T>>(self, make: impl FnOnce(Call<R, Aside<R>>) -> A) -> T {
        match self.0 {
            Stage::Miss((missed, body)) => aside::drive(body, |load| {
                Box::pin(make(Call(Stage::Miss((missed, Box::new(Load::Inline(load)))))))
            }),
            Stage::Hit(value) | Stage::Hot(value, _) => block_on(make(Call(Stage::Hit(value)))),
        }
    }

    /// Returns a call that cannot load.
    fn without_load(self) -> Call<R, Aside<R>> {
        Call(match self.0 {
            Stage::Miss((missed, _)) => Stage::Miss((missed, Box::new(Load::Inline(Aside::never())))),
            Stage::Hit(value) | Stage::Hot(value, _) => Stage::Hit(value),
        })
    }
}

/// Makes a call that L1 did not answer.
///
/// Not inlined, so that a miss takes no space in the frame of the caller.
#[cold]
#[inline(never)]
fn get<R, F: FnOnce() -> R>(missed: Box<Missed<R>>, body: F) -> R {
    let ended = aside::drive(body, |load| run(missed, Box::new(Load::Inline(load)), Terms::default()));
    match ended {
        Ok(reply) => reply.value,
        Err(panicked) => panicked.resume(),
    }
}
