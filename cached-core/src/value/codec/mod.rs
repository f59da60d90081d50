//! Codecs: the conversion of values to the bytes of L2, and back.
//!
//! | id | codec | feature | when a field was renamed or moved without a new `version` |
//! |---|---|---|---|
//! | 1 | [`Format::Json`] | – | renamed: an error, so a miss; moved: read correctly |
//! | 2 | `Format::MessagePack` | `msgpack` | the same: field names are written |
//! | 3 | `Format::Postcard` | `postcard` | **not noticed**: fields are identified by position only |
//! | 4 | [`Format::Exact`] | – | the same as JSON |
//! | 128–255 | [`Format::Custom`] | – | depends on the [`Codec`] |
//!
//! A read returns the value that was stored, or it is a miss. A codec may have no form for a value, such as
//! JSON for a NaN or for bytes. It then returns an error when it writes, and [`Format::Exact`] writes the
//! value instead. Every process reads all built-in codecs that it was built with, independently of the one
//! that it writes with.
//!
//! L1 holds the values themselves and needs no codec.
//!
//! `format` chooses the codec. `strict` makes JSON and `MessagePack` return an error instead of changing a
//! value.

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
pub(crate) use format::CodecId;
pub use format::Format;
