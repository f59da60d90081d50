//! In the place of `futures_timer`, in a world where the clock stands still.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Pauses between two tries are shorter than this, and how long somebody has patience is not.
const LONG: Duration = Duration::from_secs(1);

/// A short pause is over at once, and nobody lives to see the end of a long one.
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
