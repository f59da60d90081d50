//! A replacement for `tokio::sync::Notify`, as far as the core uses it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{Mutex, MutexGuard};

/// Wakes waiting futures.
#[derive(Debug, Default)]
pub struct Notify(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    count: u64,
    wakers: Vec<Waker>,
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a future that receives every notification from now on, even before its first poll.
    pub fn notified(&self) -> Notified<'_> {
        let count = self.calls().count;
        Notified { notify: self, count }
    }

    pub fn notify_waiters(&self) {
        let wakers = {
            let mut calls = self.calls();
            calls.count += 1;
            std::mem::take(&mut calls.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().expect("loom's locks are not poisoned")
    }
}

/// Future that waits for a notification.
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    count: u64,
}

impl Notified<'_> {
    /// Does nothing: the future is enabled from the beginning.
    pub fn enable(self: Pin<&mut Self>) {}
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut calls = self.notify.calls();
        if calls.count != self.count {
            return Poll::Ready(());
        }
        calls.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}
