//! How values become the bytes of the shared tier, and values again.
//!
//! | id | codec | feature | when a field was renamed or moved without a new `version` |
//! |---|---|---|---|
//! | 1 | [`Format::Json`] | – | renamed: an error, so a miss; moved: fine |
//! | 2 | `Format::MessagePack` | `msgpack` | the same: field names are written |
//! | 3 | `Format::Postcard` | `postcard` | **not noticed**: fields are told apart by position only |
//! | 128–255 | [`Format::Custom`] | – | as the [`Codec`] does it |
//!
//! The in-process tier holds the values themselves and needs none of this.

mod custom;
mod format;
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(test)]
mod tests;

pub use custom::{Codec, Target};
pub use erased_serde;
pub use format::Format;
