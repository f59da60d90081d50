//! In the place of `tokio::sync::Notify`, as far as the core uses it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{Mutex, MutexGuard};

/// Wakes those who wait.
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

    /// From now on, a call is heard, even before the first poll.
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

/// Waits for a call.
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    count: u64,
}

impl Notified<'_> {
    /// It is on from the beginning.
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
