//! The choice of a codec.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::custom::{Codec, Target};
#[cfg(feature = "msgpack")]
use super::msgpack;
#[cfg(feature = "postcard")]
use super::postcard;
use super::{exact, json};
use crate::error::Error;

/// Lowest id of a codec that is not built in.
const FIRST_CUSTOM_ID: u8 = 128;

/// The codec of the values in the shared tier.
///
/// If the codec has no form for a value, [`Exact`](Self::Exact) writes that value instead. Processes read all
/// built-in codecs that they were built with, so they need not agree on one, and a codec can be changed while
/// they run. Only a value in a [`Custom`](Self::Custom) codec, or in one with a missing feature, is a miss
/// for a process without it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Format {
    /// JSON: the default, readable in the shared tier with `redis-cli`.
    ///
    /// JSON has no form for:
    ///
    /// * a NaN and the infinities;
    /// * a `Some` of a value that is written as `null` (`Some(None)`, `Some(())`);
    /// * maps with keys that are not text;
    /// * integers of more than 64 bits;
    /// * bytes, and sequences of 64 or more `u8`;
    /// * values that are nested deeper than 127 levels.
    #[default]
    Json,
    /// `MessagePack` with field names: smaller and faster than JSON, and as safe with renamed fields.
    ///
    /// `MessagePack` has no form for a `Some` of a value that is written as nil, for integers of more than 64
    /// bits, and for sequences (other than bytes) of 64 or more `u8`.
    #[cfg(feature = "msgpack")]
    MessagePack,
    /// `postcard`: the smallest and fastest, and **positional**.
    ///
    /// Nothing in the bytes names a field or a type, so a value of an older shape can be read as a wrong
    /// value of the new shape. Raise `version` whenever a cached type changes, even if only the order of its
    /// fields does.
    ///
    /// Types that Serde can only read from a self-describing format (`untagged`, `flatten`,
    /// `skip_serializing_if`) do not work. There is no limit of depth, so do not use it for recursive types
    /// if others can write to the tier.
    #[cfg(feature = "postcard")]
    Postcard,
    /// A binary form of Serde's data model, with field names, that has a form for every value.
    ///
    /// Bytes are written as bytes, also those of a `Vec<u8>`, so this is the choice for images, documents and
    /// embeddings. Everything else is about as large as in JSON.
    Exact,
    /// A custom codec.
    Custom(Arc<dyn Codec>),
}

/// Id of the codec that has written a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CodecId(pub(crate) u8);

/// Id of [`Format::Exact`] in a stored value.
const EXACT: u8 = 4;

impl Format {
    /// Returns the id of the codec in a stored value.
    pub fn id(&self) -> u8 {
        match self {
            Self::Json => 1,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => 2,
            #[cfg(feature = "postcard")]
            Self::Postcard => 3,
            Self::Exact => EXACT,
            Self::Custom(codec) => codec.id(),
        }
    }

    /// Rejects a custom codec with an id that is reserved for built-in ones: these would read its bytes.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Custom(codec) if codec.id() < FIRST_CUSTOM_ID => {
                Err(Error::config("the id of a custom codec must be at least 128"))
            }
            _ => Ok(()),
        }
    }

    /// Appends the bytes of `value` to `out`, in this format or else in [`Exact`](Self::Exact).
    ///
    /// `Exact` is used if this format has no form for the value. With `is_checked`, a form that cannot be
    /// read again does not count. After an error `out` may hold anything.
    pub(crate) fn write<T>(&self, value: &T, is_checked: bool, out: &mut Vec<u8>) -> Result<CodecId, Error>
    where
        T: Serialize + DeserializeOwned,
    {
        let start = out.len();
        let write_as = |format: &Self, out: &mut Vec<u8>| {
            format.encode(value, out)?;
            if is_checked {
                drop(format.decode::<T>(&out[start..])?);
            }
            Ok(CodecId(format.id()))
        };
        write_as(self, out).or_else(|error| {
            if matches!(self, Self::Exact) {
                return Err(error);
            }
            out.truncate(start);
            write_as(&Self::Exact, out)
        })
    }

    /// Returns the format with this id, if this process can read it.
    pub(crate) fn with_id(&self, CodecId(id): CodecId) -> Option<Self> {
        match id {
            id if id == self.id() => Some(self.clone()),
            1 => Some(Self::Json),
            #[cfg(feature = "msgpack")]
            2 => Some(Self::MessagePack),
            #[cfg(feature = "postcard")]
            3 => Some(Self::Postcard),
            EXACT => Some(Self::Exact),
            _ => None,
        }
    }

    /// Appends the bytes of `value` to `out`. After an error `out` may hold anything.
    pub(crate) fn encode<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Json => json::encode(value, out),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => msgpack::encode(value, out),
            #[cfg(feature = "postcard")]
            Self::Postcard => postcard::encode(value, out),
            Self::Exact => exact::encode(value, out),
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
            Self::Exact => exact::decode(bytes),
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
    value.ok_or_else(|| Error::codec("the codec did not fill its target"))
}
