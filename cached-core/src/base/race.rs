//! Races of two futures, and a timeout that needs no runtime.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_timer::Delay;

/// Output of the future that was first.
pub(crate) enum Either<A, B> {
    Left(A),
    Right(B),
}

/// Waits for the first of two futures, and drops the other one. `left` is polled first.
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

/// Awaits `future` for at most `limit`. Returns `None` if it takes longer.
///
/// The timer is not that of the runtime: there may be no runtime, or one that was built without a timer.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match either(future, Delay::new(limit)).await {
        Either::Left(value) => Some(value),
        Either::Right(()) => None,
    }
}
