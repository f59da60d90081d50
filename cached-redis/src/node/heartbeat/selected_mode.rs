//! The tracking mode of a connection, and whether the heartbeat wants the other one.
//!
//! With `NOLOOP` own writes do not come back, but each heartbeat has to ask for the eviction count. So
//! `NOLOOP` is dropped while the process is calm, and forbidden for the rest of the connection once changes
//! may have been missed. `tracking::mode` explains why, and has the commands.

use crate::tracking::mode::Tracking;

/// Tracking mode that is selected on a connection, with the right to select `NOLOOP`.
#[derive(Debug)]
pub(super) struct SelectedMode {
    pub(super) tracking: Tracking,
    /// Set if `NOLOOP` may be used, so that own writes are not tracked.
    may_use_noloop: bool,
}

impl SelectedMode {
    /// Selects the mode in which a new connection tracks.
    pub(super) fn new(tracking: Tracking) -> Self {
        Self { may_use_noloop: tracking.is_noloop(), tracking }
    }

    pub(super) fn forbid_noloop(&mut self) {
        self.may_use_noloop = false;
    }

    /// Returns whether own writes are pushed although `NOLOOP` may be used.
    pub(super) fn is_noloop_suspended(&self) -> bool {
        self.may_use_noloop && self.tracking == Tracking::All
    }

    /// Returns whether the other mode is wanted.
    pub(super) fn wants_switch(&self, is_calm: bool) -> bool {
        if self.tracking.is_noloop() { is_calm } else { self.is_noloop_suspended() && !is_calm }
    }
}
