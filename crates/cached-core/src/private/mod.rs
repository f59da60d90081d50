//! What generated code names. Nothing here is stable.

#![allow(missing_docs)]

mod argument;
mod load;
mod probe;

pub use std::{boxed::Box, future::Future, option::Option, result::Result, string::String, time::Duration};

pub use argument::{Arg, Hold, HoldOption, KeyArg, LendArg, LendOption, OptionArg, RefuseKey};
pub use load::{Inline, Place, detached};
pub use probe::{AnyHeap, NeverEmpty, NoError, NoOption, PlainKind, Probe, Unshared, UnsharedError, boxed};

pub use crate::{
    CacheControl, Error, Reply,
    cache::Cache,
    call::{Lander, Load, Plan, Spawn},
    control::Mode,
    function::{Call, Intent, Started, SyncCall},
    key::KeyWriter,
    shape::{Dates, Encoder, Settled, Settling, Shape, Sharing, Typed},
    site::Site,
    slot::{Failure, Meta, Slot, Value},
};

/// The process default where nobody says what it is: an in-process cache.
pub fn default_cache() -> &'static Cache {
    Cache::default_or(|| Cache::builder().build_or_warn())
}
