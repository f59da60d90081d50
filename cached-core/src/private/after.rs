//! What `#[invalidates]` does after the body that it stands on.
//!
//! Keys are made of the arguments before the body runs, because it may consume them. Afterwards there are three ends: it
//! wrote, and all is invalidated before anybody is told; it did not, and nothing is; or nobody knows, because it panicked
//! or its caller went away, and then all is invalidated without anybody waiting for it.

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

/// What is to be invalidated. When it is dropped, nobody knows whether the body wrote.
#[derive(Default)]
pub struct After(Option<Invalidation>);

/// By value, so that no trait of the user's has a method that comes before one of these.
impl After {
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry. If its key cannot be made, nothing was ever cached under it, and there is nothing to do.
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

    /// The body wrote.
    fn settle<V, R>(mut self, value: V, join: fn(V) -> R) -> Settle<V, R> {
        let work = self.0.take().map(IntoFuture::into_future);
        Settle { value: Some(value), join, work }
    }

    /// It did not.
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

/// What the body returned, with what is to be done about it. Only of a `Result` can it be seen whether it wrote.
pub struct Outcome<R>(pub R, pub After);

/// Anything but a `Result`.
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
    /// An error is not there any more while somebody waits, so it need not be `Send`.
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

/// Waits for the invalidation, and then returns what the body did. Trouble is the cache's business, which counts it and
/// tries again. An invalidation that has begun goes on when this is dropped.
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
        // Whoever asks again after the end waits for ever.
        value.take().map_or(Poll::Pending, |value| Poll::Ready(join(value)))
    }
}

/// What names an entry in `#[invalidates(..)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which entry is outdated",
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

/// The invalidation of an entry.
pub fn invalidation(outdated: impl Outdated) -> Invalidation {
    outdated.__cached_invalidation()
}
