//! The handle of a function under `#[cached]`: one call with its arguments, and its operations.
//!
//! Generated code makes a `Started` of the arguments, which looks into L1, and a `Call` or `SyncCall` of
//! that. The code of a hit is inlined into one function for each cached function, and is in no future: the
//! compiler copies the code of a future into each place that polls it. All state of a miss is boxed, and its code
//! is out of line, so that it takes no space in the frames and futures of callers. `call` has the path
//! beyond the hit.
//!
//! * `started`: writes the key, looks into L1, and takes the parts that a miss needs.
//! * `call`: the operations of an async function.
//! * `sync_call`: the same operations of a function that is not async, which block.

mod call;
mod started;
mod sync_call;

use std::sync::Arc;

pub use self::{call::Call, started::Started, sync_call::SyncCall};
use crate::{call::PreparedCall, l1::entry::Entry};

/// Purpose of a call that is being started.
#[derive(Clone, Copy, Debug)]
pub enum Intent {
    /// The function is called: L1 is asked at once.
    Plain,
    /// A companion of the function is called.
    Companion,
}

/// Progress of a call.
enum Stage<R, M> {
    Hit(R),
    /// A hit that may make its key one of the most used.
    Hot(R, Box<(PreparedCall, Arc<Entry>)>),
    /// No hit. The state is in a box, so that a caller holds little.
    Miss(M),
}
