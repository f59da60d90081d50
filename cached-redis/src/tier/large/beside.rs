//! A future that makes progress while its owner awaits others, without a task of its own.
//!
//! The read of large values begins with the reads over the main connection, and outlasts them. A task would
//! need owned copies of the arguments, and would have to be cancelled with the lookup.
//!
//! Invariant: after its output is there, the future is not polled again. `lookup` uses it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

/// A future that is polled while another one is awaited.
pub(super) struct Beside<F: Future> {
    future: Option<Pin<Box<F>>>,
    pub(super) output: Option<F::Output>,
}

impl<F: Future> Beside<F> {
    pub(super) fn new(future: Option<F>) -> Self {
        Self { future: future.map(Box::pin), output: None }
    }

    /// Waits for `other`, and polls this future meanwhile.
    pub(super) async fn poll_while<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        poll_fn(|cx| {
            let other = other.as_mut().poll(cx);
            if other.is_pending()
                && let Some(future) = &mut self.future
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                (self.output, self.future) = (Some(output), None);
            }
            other
        })
        .await
    }

    pub(super) async fn finish(self) -> Option<F::Output> {
        match self.future {
            Some(future) => Some(future.await),
            None => self.output,
        }
    }
}
