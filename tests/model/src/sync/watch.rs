//! In the place of `tokio::sync::watch`. The models neither flush nor hold a tier, so nobody waits for a change.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value.
#[derive(Debug)]
pub struct Sender<T>(Mutex<T>);

/// Of whom nobody asks anything.
#[derive(Debug)]
pub struct Receiver;

impl<T: Copy> Sender<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn send_replace(&self, value: T) -> T {
        std::mem::replace(&mut *self.borrow(), value)
    }

    pub fn borrow(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn subscribe(&self) -> Receiver {
        Receiver
    }

    /// The models close no cache.
    pub async fn closed(&self) {
        std::future::pending().await
    }
}

impl Receiver {
    pub async fn changed(&mut self) -> Result<(), ()> {
        Err(())
    }

    /// The models close no cache, so what is waited for does not come.
    pub async fn wait_for(&mut self, _: impl FnMut(&bool) -> bool) -> Result<(), ()> {
        std::future::pending().await
    }
}
