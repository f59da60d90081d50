//! A call of an async function, and its operations.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    api::function::Stage,
    cache::invalidation::Invalidation,
    call::{
        PreparedCall,
        control::{CacheControl, CacheOutcome, Layer, LoadRule, Reply, Terms},
        drive::CallRun,
    },
    error::Error,
    warm::{report::Warmed, run::catch_panics},
};

/// One call of a cached function, with its arguments, that is not made yet.
///
/// The handle of a method returns one (`handle = …`), and the companions of a free function are shorthands
/// for it. `f::invalidate(args)` does for a function `f` the same as `x.handle(args).invalidate()` for a
/// method `x.f`.
#[must_use = "a call does nothing until one of its methods is used"]
pub struct Call<R, F>(pub(super) Stage<R, Box<CallRun<R, F>>>);

impl<R, F: Future<Output = R>> Call<R, F> {
    /// Makes the call.
    pub async fn get(self) -> R {
        match self.make() {
            Ok(value) => value,
            Err(future) => future.await,
        }
    }

    /// Makes the call for generated code.
    ///
    /// Returns the value if L1 had it, or else the future to await.
    #[doc(hidden)]
    #[inline]
    pub fn make(self) -> Result<R, impl Future<Output = R>> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => Ok(value),
            Stage::Miss(run) => Err(Making(run.begin(Terms::default()))),
        }
    }

    /// Makes the call under `control`, and returns the value with its origin.
    pub async fn with<M: LoadRule>(self, control: CacheControl<M>) -> M::Reply<R> {
        match M::absent() {
            None => M::present(self.run(control.terms).await),
            Some(absent) => self.find(control.terms).await.map_or(absent, M::present),
        }
    }

    /// Runs the function and stores the new value, even if one is cached.
    pub async fn refresh(self) -> R {
        self.run(CacheControl::no_cache().terms).await.value
    }

    /// Returns the cached value, without running the function.
    ///
    /// `None` if no tier has the value.
    pub async fn peek(self) -> Option<R> {
        self.find(Terms::default()).await.map(|reply| reply.value)
    }

    /// Ensures that the value is cached, and discards it, for [`warm`](crate::warm()).
    pub async fn warm(self) -> Warmed {
        match self.0 {
            Stage::Hit(_) | Stage::Hot(..) => Warmed::Present,
            Stage::Miss(run) => catch_panics(run.warm(Terms::default())).await,
        }
    }

    /// Removes the value from every tier, once the result is awaited.
    ///
    /// A load that has begun does not store its value afterwards.
    pub fn invalidate(self) -> Invalidation {
        match self.0 {
            Stage::Miss(run) => {
                run.into_prepared().map_or_else(Invalidation::nothing, PreparedCall::invalidate)
            }
            Stage::Hit(_) | Stage::Hot(..) => Invalidation::nothing(),
        }
    }

    /// Returns the name of the entry in the shared tier, for logs and `redis-cli`.
    ///
    /// # Errors
    /// [`is_key`](Error::is_key) if an argument cannot be part of a key.
    pub fn key(self) -> Result<String, Error> {
        let prepared = match self.0 {
            Stage::Miss(run) => run.into_prepared(),
            Stage::Hit(_) | Stage::Hot(..) => None,
        };
        let prepared = prepared
            .ok_or_else(|| Error::key("the key of this call is unknown: a hit does not compute it"))?;
        prepared.into_key().map(|entry| entry.shared_key.text)
    }

    async fn run(self, terms: Terms) -> Reply<R> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => hit_reply(value),
            Stage::Miss(run) => run.begin(terms).await.unwrap_or_else(|panicked| panicked.resume()),
        }
    }

    async fn find(self, terms: Terms) -> Option<Reply<R>> {
        match self.0 {
            Stage::Hit(value) | Stage::Hot(value, _) => Some(hit_reply(value)),
            Stage::Miss(run) => run.find(terms).await,
        }
    }
}

/// Returns the reply of a plain call that L1 had answered when the call was started.
pub(super) fn hit_reply<R>(value: R) -> Reply<R> {
    Reply::new(value, CacheOutcome::Hit { tier: Layer::L1, age: Duration::ZERO })
}

/// Future of a plain call that L1 did not answer.
struct Making<R, F>(Box<CallRun<R, F>>);

impl<R, F: Future<Output = R>> Future for Making<R, F> {
    type Output = R;

    /// Not inlined into the future of the caller, which the compiler copies into each place that polls it.
    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let reply = Pin::new(&mut *self.0).poll(cx);
        reply.map(|reply| reply.unwrap_or_else(|panicked| panicked.resume()).value)
    }
}
