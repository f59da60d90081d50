//! A replacement for `tokio::task`.

use std::{
    any::Any,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Outcome of a task.
#[derive(Debug)]
pub struct JoinHandle<T>(pub(crate) Option<Result<T, JoinError>>);

/// Error of a task that never ends.
#[derive(Debug)]
pub struct JoinError;

#[derive(Debug)]
pub struct AbortHandle;

impl<T> JoinHandle<T> {
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle
    }
}

impl AbortHandle {
    pub fn abort(&self) {}
}

impl JoinError {
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        Err(self)
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }
}
