//! The mode of a cache: which tiers take part, from now on and for every handle.
//!
//! Entries that were stored while the shared tier took no part were not watched. So a change to [`Mode::On`]
//! ends all epochs, and a [validity](Cache::local_validity) takes its epochs before the mode is read.

use std::sync::atomic::Ordering;

use crate::{
    cache::Cache, coherence::validity::Validity, key::entry_key::EntryKey, spec::FunctionSpec,
    tier::feed::ChangeFeed,
};

/// Selection of the tiers that take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Mode {
    /// All tiers take part.
    #[default]
    On = 0,
    /// Only the in-process tier takes part.
    LocalOnly = 1,
    /// No tier takes part: functions run as if they had no attribute.
    ///
    /// Invalidations still reach every tier, so that no outdated value is served when the cache is turned on
    /// again.
    Off = 2,
}

impl Cache {
    /// Turns tiers off and on again, from now on and for every handle.
    ///
    /// A cache that was [closed](Self::close) stays off.
    pub fn set_mode(&self, mode: Mode) {
        let before = self.0.mode.swap(mode as u8, Ordering::SeqCst);
        // The order is swap, then load. A concurrent close sets the flag first and the mode second. So either
        // the flag is seen here, or the close sets its mode after this swap.
        if self.0.is_closed.load(Ordering::SeqCst) {
            return self.turn_off();
        }
        // Entries that were stored while the shared tier took no part were not watched.
        if mode == Mode::On && before != mode as u8 {
            self.shared().epochs.end_all();
        }
    }

    /// Returns the tiers that take part.
    #[inline]
    pub fn mode(&self) -> Mode {
        match self.0.mode.load(Ordering::Relaxed) {
            0 => Mode::On,
            1 => Mode::LocalOnly,
            _ => Mode::Off,
        }
    }

    /// Turns all tiers off for ever.
    ///
    /// The flag is set before the mode: see [`set_mode`](Self::set_mode).
    pub(super) fn turn_off(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
        self.0.mode.store(Mode::Off as u8, Ordering::SeqCst);
    }

    /// Returns the validity of a load that stores its value in this process only.
    ///
    /// If the entry is shared and L2 takes part, no change feed covers the value, so the validity lasts for
    /// the staleness bound only. The epochs are taken before the mode is read: a later change of the mode
    /// ends them.
    pub(crate) fn local_validity(&self, spec: &FunctionSpec, entry_key: &EntryKey) -> Validity {
        let (shared, name) = (self.shared(), &entry_key.shared_key.text);
        let epoch = if name.is_empty() { shared.function_epoch(spec) } else { shared.epoch(name) };
        if !entry_key.is_shared {
            return shared.unshared_validity(epoch, &entry_key.tags);
        }
        let validity = shared.local_validity_on(epoch, &entry_key.tags);
        let is_local = self.mode() != Mode::On;
        if is_local { validity } else { Validity { feed: ChangeFeed::none(), ..validity } }
    }
}
