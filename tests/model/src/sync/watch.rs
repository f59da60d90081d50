//! A replacement for `tokio::sync::watch`. The models neither flush nor hold a tier, so no call waits for a
//! change.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Holder of a value.
#[derive(Debug)]
pub struct Sender<T>(Mutex<T>);

/// Receiver that the models do not use.
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

    /// Never ends: the models close no cache.
    pub async fn closed(&self) {
        std::future::pending().await
    }
}

impl Receiver {
    pub async fn changed(&mut self) -> Result<(), ()> {
        Err(())
    }

    /// Never ends: the models close no cache, so no such change comes.
    pub async fn wait_for(&mut self, _: impl FnMut(&bool) -> bool) -> Result<(), ()> {
        std::future::pending().await
    }
}
