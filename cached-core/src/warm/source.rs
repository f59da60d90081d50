//! Input of a warm-up: an iterator, or a function that is polled.

use std::{
    fmt,
    marker::PhantomData,
    task::{Context, Poll},
};

/// Source of the arguments of a warm-up: [`WarmList`] or [`WarmStream`].
pub trait WarmSource: sealed::Sealed {
    /// Arguments of one call.
    type Item;

    #[doc(hidden)]
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Self::Item>>;

    #[doc(hidden)]
    fn total(&self) -> Option<u64>;
}

/// Arguments from an iterator.
#[derive(Debug)]
pub struct WarmList<I>(pub(crate) I);

/// Arguments from a function that is polled.
pub struct WarmStream<N, T>(pub(crate) N, pub(crate) PhantomData<fn() -> T>);

impl<N, T> fmt::Debug for WarmStream<N, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WarmStream").finish_non_exhaustive()
    }
}

impl<I: Iterator> WarmSource for WarmList<I> {
    type Item = I::Item;

    fn poll_item(&mut self, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn total(&self) -> Option<u64> {
        match self.0.size_hint() {
            (lower, Some(upper)) if lower == upper => u64::try_from(upper).ok(),
            _ => None,
        }
    }
}

impl<T, N: FnMut(&mut Context<'_>) -> Poll<Option<T>>> WarmSource for WarmStream<N, T> {
    type Item = T;

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        (self.0)(cx)
    }

    fn total(&self) -> Option<u64> {
        None
    }
}

mod sealed {
    pub trait Sealed {}
    impl<I> Sealed for super::WarmList<I> {}
    impl<N, T> Sealed for super::WarmStream<N, T> {}
}
