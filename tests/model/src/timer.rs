//! A replacement for `futures_timer`, for a clock that stands still.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Limit between pauses and timeouts: a pause between two attempts is shorter, and a timeout is not.
const LONG: Duration = Duration::from_secs(1);

/// Delay that is over at once if it is short, and never ends otherwise.
#[derive(Debug)]
pub struct Delay(Duration);

impl Delay {
    pub fn new(time: Duration) -> Self {
        Self(time)
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 < LONG { Poll::Ready(()) } else { Poll::Pending }
    }
}
