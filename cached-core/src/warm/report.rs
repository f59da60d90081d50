//! Outcome of a warm-up, for one key and in total.

use std::{fmt, time::Duration};

/// Outcome of warming one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warmed {
    /// A tier had the value.
    Present,
    /// This call loaded the value.
    Loaded,
    /// Another call, in this process or in another one, was loading the value.
    Joined,
    /// The load returned an error.
    Failed,
    /// The load panicked.
    Panicked,
    /// Nothing was done: the cache is turned off, or the arguments cannot be a key.
    Skipped,
}

/// Progress or final result of a warm-up. More fields may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WarmReport {
    /// Number of keys in the list, if that was known at the start.
    pub total: Option<u64>,
    /// Keys that were started.
    pub started: u64,
    /// Keys that a tier had.
    pub present: u64,
    /// Keys that this warm-up loaded.
    pub loaded: u64,
    /// Keys that another call, in this process or in another one, was loading.
    pub joined: u64,
    /// Keys for which the load returned an error.
    pub failed: u64,
    /// Keys for which the load panicked.
    pub panicked: u64,
    /// Keys for which nothing was done: the cache is turned off, or the arguments cannot be a key.
    pub skipped: u64,
    /// Keys that were under way when the deadline passed.
    pub unfinished: u64,
    /// True if the deadline ended the warm-up.
    pub timed_out: bool,
    /// Time taken so far.
    pub took: Duration,
}

impl WarmReport {
    /// Returns the number of keys that are done, with any outcome.
    pub fn done(&self) -> u64 {
        self.present + self.loaded + self.joined + self.failed + self.panicked + self.skipped
    }

    /// Returns whether the whole list was processed, and no load failed or panicked.
    pub fn is_complete(&self) -> bool {
        !self.timed_out && self.failed == 0 && self.panicked == 0
    }

    pub(crate) fn add(&mut self, warmed: Warmed) {
        let count = match warmed {
            Warmed::Present => &mut self.present,
            Warmed::Loaded => &mut self.loaded,
            Warmed::Joined => &mut self.joined,
            Warmed::Failed => &mut self.failed,
            Warmed::Panicked => &mut self.panicked,
            Warmed::Skipped => &mut self.skipped,
        };
        *count += 1;
    }
}

/// One line: `120 of 500 done: 80 loaded, 30 present, 6 joined, 3 failed, 1 panicked, 0 skipped`.
impl fmt::Display for WarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loaded, present, joined, failed, panicked, skipped, .. } = self;
        write!(f, "{}", self.done())?;
        if let Some(total) = self.total {
            write!(f, " of {total}")?;
        }
        write!(
            f,
            " done: {loaded} loaded, {present} present, {joined} joined, {failed} failed, {panicked} panicked, \
             {skipped} skipped"
        )?;
        if self.timed_out {
            write!(f, "; timed out with {} in progress", self.unfinished)?;
        }
        Ok(())
    }
}

/// Return value of a call that warms: [`Warmed`], and nothing else.
#[diagnostic::on_unimplemented(
    message = "this call returns `{Self}`, not the outcome of warming its key",
    label = "expected a call that warms",
    note = "warm with `|id| user::warm(id)`, `|id| users.name_entry(id).warm()` for a method, or \
            `Keyspace::warm`; return their future without `.await`"
)]
pub trait WarmOutcome: sealed::Sealed {
    #[doc(hidden)]
    fn warmed(self) -> Warmed;
}

impl WarmOutcome for Warmed {
    fn warmed(self) -> Warmed {
        self
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Warmed {}
}
