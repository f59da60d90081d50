//! Invalidations of `#[invalidates]`, which follow the body of the function.
//!
//! Keys are made from the arguments before the body runs, because the body may consume them. The call then
//! ends in one of three ways:
//!
//! * The body wrote: everything is invalidated before the function returns.
//! * The body did not write: nothing is invalidated.
//! * The body panicked, or the call was dropped. The body may have written, so everything is invalidated in
//!   the background.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    api::function::{Call, SyncCall},
    cache::{Cache, invalidation::Invalidation},
    key::Parts,
};

/// Invalidations of one call, collected before its body runs.
///
/// A drop means that the body may have written: the invalidations then run in the background.
#[derive(Default)]
pub struct After(Option<Invalidation>);

/// Methods that take `self` by value, so that no method of a user's trait takes precedence.
impl After {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. If its key cannot be made, nothing was ever cached under it, and nothing is to be done.
    pub fn entry(mut self, invalidation: Invalidation) -> Self {
        self.0 = Some(match self.0.take() {
            Some(others) => others.and(invalidation),
            None => invalidation,
        });
        self
    }

    pub fn tag(self, cache: &Cache, parts: &impl Parts) -> Self {
        self.entry(cache.invalidate_tag_of(parts))
    }

    pub fn pattern(self, cache: &Cache, parts: &impl Parts) -> Self {
        self.entry(cache.invalidate_pattern_of(parts))
    }

    pub fn clear(self, cache: &Cache) -> Self {
        self.entry(cache.clear())
    }

    /// Ends a call after a body that wrote.
    fn settle<V, R>(mut self, value: V, join: fn(V) -> R) -> Settle<V, R> {
        let work = self.0.take().map(IntoFuture::into_future);
        Settle { value: Some(value), join, work }
    }

    /// Ends a call after a body that did not write.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for After {
    fn drop(&mut self) {
        if let Some(invalidation) = self.0.take() {
            invalidation.spawn();
        }
    }
}

/// Return value of the body, with its invalidations. Only a `Result` shows whether the body wrote.
pub struct Outcome<R>(pub R, pub After);

/// Settles any return type but `Result`: the body counts as one that wrote.
pub trait Always<R> {
    fn __cached_settle(self) -> Result<Settle<R, R>, R>;
}

impl<R> Always<R> for Outcome<R> {
    fn __cached_settle(self) -> Result<Settle<R, R>, R> {
        let Self(out, after) = self;
        Ok(after.settle(out, |out| out))
    }
}

impl<T, E> Outcome<Result<T, E>> {
    /// Settles a `Result`. An error is returned before the first wait, so it need not be `Send`.
    pub fn __cached_settle(self) -> Result<Settle<T, Result<T, E>>, Result<T, E>> {
        let Self(out, after) = self;
        match out {
            Ok(value) => Ok(after.settle(value, Ok)),
            Err(error) => {
                after.forget();
                Err(Err(error))
            }
        }
    }
}

/// Future that waits for the invalidations, and then returns the result of the body.
///
/// Failures are left to the cache, which counts them and tries again. An invalidation that has begun
/// continues when this future is dropped.
pub struct Settle<V, R> {
    value: Option<V>,
    join: fn(V) -> R,
    work: Option<<Invalidation as IntoFuture>::IntoFuture>,
}

// The value is never pinned.
impl<V, R> Unpin for Settle<V, R> {}

impl<V, R> Future for Settle<V, R> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let Self { value, join, work } = self.get_mut();
        if let Some(invalidating) = work {
            let _ = ready!(Pin::new(invalidating).poll(cx));
            *work = None;
        }
        // A poll after the end stays pending for ever.
        value.take().map_or(Poll::Pending, |value| Poll::Ready(join(value)))
    }
}

/// Expression that names an entry in `#[invalidates(..)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name an entry to invalidate",
    label = "this is neither a cached function nor the handle of a cached method",
    note = "write the call of a cached function, such as `syllabus(exam)`; a method needs a handle: add `handle = \
            name_entry` to its `#[cached(..)]`, and write `self.name_entry(id)` here"
)]
pub trait Outdated {
    fn __cached_invalidation(self) -> Invalidation;
}

#[diagnostic::do_not_recommend]
impl Outdated for Invalidation {
    fn __cached_invalidation(self) -> Invalidation {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<R, F: Future<Output = R>> Outdated for Call<R, F> {
    fn __cached_invalidation(self) -> Invalidation {
        self.invalidate()
    }
}

#[diagnostic::do_not_recommend]
impl<R, F: FnOnce() -> R> Outdated for SyncCall<R, F> {
    fn __cached_invalidation(self) -> Invalidation {
        self.invalidation()
    }
}

/// Returns the invalidation of an entry.
pub fn invalidation(outdated: impl Outdated) -> Invalidation {
    outdated.__cached_invalidation()
}
