//! A value of L2 as policies see it: its times, and the encoder that writes it.

use std::time::Duration;

use crate::{
    base::clock::Nanos,
    error::Error,
    value::codec::{CodecId, Format},
};

/// Age and remaining life of a value, usually of one that comes from L2.
#[derive(Clone, Copy, Debug)]
pub struct Lifespan {
    /// Current time.
    pub now: Nanos,
    /// Time since the value was loaded.
    pub age: Duration,
    /// Time for which the value is still fresh.
    pub remaining: Duration,
    /// Time for which the value may be served after that.
    pub stale: Duration,
}

/// Appends one value in a format, or in another one that has a form for it.
///
/// The encoder owns its input, so that it can run after the caller has its result. With `true`, the bytes
/// that it writes are known to be readable again.
pub type Encoder = Box<dyn FnOnce(&Format, bool, &mut Vec<u8>) -> Result<Encoded, Error> + Send>;

/// Outcome of an [`Encoder`].
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    pub(crate) codec: CodecId,
    /// `true` if the value is the empty one (`None`).
    pub(crate) is_empty: bool,
}
