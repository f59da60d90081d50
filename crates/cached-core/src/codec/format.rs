//! The choice of a codec.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::custom::{Codec, Target};
use super::json;
#[cfg(feature = "msgpack")]
use super::msgpack;
#[cfg(feature = "postcard")]
use super::postcard;
use crate::Error;

/// The lowest id of a codec that is not built in.
const FIRST_CUSTOM_ID: u8 = 128;

/// The codec of the values in the shared tier.
///
/// Processes that share a tier should agree: a value of another codec is a miss, and is loaded again.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Format {
    /// JSON: the default, readable in the shared tier with `redis-cli`.
    ///
    /// What JSON cannot hold is not cached there: map keys other than strings, numbers, characters and booleans
    /// are refused. What can be written but not read is loaded again each time: a NaN or an infinity, which JSON
    /// writes as `null`, and a value nested deeper than 127.
    #[default]
    Json,
    /// `MessagePack` with field names: smaller and faster than JSON, and as careful about renamed fields.
    #[cfg(feature = "msgpack")]
    MessagePack,
    /// postcard: the smallest and fastest, and **positional**.
    ///
    /// Nothing in the bytes names a field or a type, so a value of an older shape can be read as a wrong value of
    /// the new shape. Raise `version` whenever a cached type changes, be it only the order of its fields. Types
    /// that Serde can only read when the format describes itself (`untagged`, `flatten`, `skip_serializing_if`)
    /// do not work, and there is no limit of depth: not for recursive types if others can write to the tier.
    #[cfg(feature = "postcard")]
    Postcard,
    /// A codec of one's own.
    Custom(Arc<dyn Codec>),
}

impl Format {
    /// What names the codec in a stored value.
    pub fn id(&self) -> u8 {
        match self {
            Self::Json => 1,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => 2,
            #[cfg(feature = "postcard")]
            Self::Postcard => 3,
            Self::Custom(codec) => codec.id(),
        }
    }

    /// A codec of one's own must not take the id of a built-in one: its bytes would be read as the other's.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Custom(codec) if codec.id() < FIRST_CUSTOM_ID => {
                Err(Error::config("the id of a codec of one's own is at least 128"))
            }
            _ => Ok(()),
        }
    }

    /// Appends the bytes of `value` to `out`; after an error `out` may hold anything.
    pub(crate) fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Json => json::encode(value, out),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::encode(value, out),
            #[cfg(feature = "postcard")]
            Self::Postcard => postcard::encode(value, out),
            Self::Custom(codec) => codec.encode(&value, out),
        }
    }

    /// Reads one value from all of `bytes`.
    pub(crate) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        match self {
            Self::Json => json::decode(bytes),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::decode(bytes),
            #[cfg(feature = "postcard")]
            Self::Postcard => postcard::decode(bytes),
            Self::Custom(codec) => decode_custom(codec.as_ref(), bytes),
        }
    }
}

fn decode_custom<T: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Result<T, Error> {
    let mut value = None;
    let mut fill = |deserializer: &mut dyn erased_serde::Deserializer<'_>| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    };
    codec.decode(bytes, &mut Target::new(&mut fill))?;
    value.ok_or_else(|| Error::codec("the codec filled no target"))
}
