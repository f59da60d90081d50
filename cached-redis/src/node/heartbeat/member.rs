//! This process as a member of the registries, over all its connections to one server.
//!
//! The others wait for the acknowledgements of a member while its registration has not expired. So a process
//! that ends deregisters, and never registers again after that. The heartbeat registers (`replies`), and
//! `Node::close` deregisters.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crate::{protocol::random, tracking::attachment::Registry};

/// This process among the processes that share a namespace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    registration: Mutex<Option<Registration>>,
    /// Set when the process deregisters: it registers no more.
    is_deregistered: AtomicBool,
}

/// The registration of a process.
#[derive(Clone, Debug)]
struct Registration {
    registry_number: usize,
    /// Key of the registry.
    registry_key: String,
    /// Expiry, by the clock of this process.
    expires: Instant,
}

impl Member {
    pub(crate) fn new(id: String) -> Self {
        Self { id, registration: Mutex::new(None), is_deregistered: AtomicBool::new(false) }
    }

    /// Returns the number of the registry that must contain this process, unless that registry was lost.
    pub(crate) fn registry_number(&self) -> Option<usize> {
        self.registration().as_ref().filter(|own| Instant::now() < own.expires).map(|own| own.registry_number)
    }

    /// Records that the server has registered this process.
    pub(super) fn record_registration(&self, registry: &Registry, expires: Instant) {
        let (registry_number, registry_key) = (registry.number, registry.members.clone());
        *self.registration() = Some(Registration { registry_number, registry_key, expires });
    }

    /// Prevents further registrations, and returns the command that removes the current one, if any.
    pub(crate) fn deregister(&self) -> Option<redis::Cmd> {
        self.is_deregistered.store(true, Ordering::Release);
        let registration = self.registration().take().filter(|own| Instant::now() < own.expires)?;
        Some(redis::cmd("HDEL").arg(registration.registry_key).arg(&self.id).clone())
    }

    /// Returns whether the process has deregistered.
    pub(super) fn is_deregistered(&self) -> bool {
        self.is_deregistered.load(Ordering::Acquire)
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a unique name for a process.
pub(crate) fn new_member_id() -> String {
    format!("{:016x}{:016x}", random::number(), random::number())
}
