//! The first of two futures.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_timer::Delay;

/// Which one was first.
pub(crate) enum Either<A, B> {
    Left(A),
    Right(B),
}

/// Waits for the first of two. The other one is dropped.
pub(crate) async fn either<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> Either<A, B> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|cx| match left.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Either::Left(value)),
        Poll::Pending => right.as_mut().poll(cx).map(Either::Right),
    })
    .await
}

/// `None` if it takes longer. Not the runtime's timer: there may be no runtime, or one that was built without.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match either(future, Delay::new(limit)).await {
        Either::Left(value) => Some(value),
        Either::Right(()) => None,
    }
}
