//! How values become the bytes of the shared tier, and values again.
//!
//! | id | codec | feature | when a field was renamed or moved without a new `version` |
//! |---|---|---|---|
//! | 1 | [`Format::Json`] | – | renamed: an error, so a miss; moved: fine |
//! | 2 | `Format::MessagePack` | `msgpack` | the same: field names are written |
//! | 3 | `Format::Postcard` | `postcard` | **not noticed**: fields are told apart by position only |
//! | 4 | [`Format::Exact`] | – | the same as JSON |
//! | 128–255 | [`Format::Custom`] | – | as the [`Codec`] does it |
//!
//! A value that comes back is the value that was stored, or it is a miss. Where a codec has no form for a value, such as JSON for
//! a NaN or for bytes, it says so when it writes, and the value is written by [`Format::Exact`] instead. Every process reads
//! the built-in codecs that it was built with, whichever of them it writes with.
//!
//! The in-process tier holds the values themselves and needs none of this.

mod custom;
mod exact;
mod format;
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
mod strict;
#[cfg(test)]
mod tests;

pub use custom::{Codec, Target};
pub use erased_serde;
pub use format::Format;
pub(crate) use format::Written;
