//! The `MessagePack` codec, with field names.
//!
//! With positions instead of names, a deploy that reorders the fields of a struct would swap values.

use rmp_serde::decode::Error as DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::strict::{self, FormatLimits};
use crate::error::Error;

/// Values that `MessagePack` would change.
const LIMITS: FormatLimits = FormatLimits { is_text: false, depth: 1000 };

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    let result = strict::serialize(value, &mut serializer, LIMITS);
    result.map_err(|_| Error::codec("MessagePack cannot hold the value"))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    let value = T::deserialize(&mut deserializer).map_err(|error| codec_error(&error))?;
    if deserializer.get_ref().is_empty() {
        Ok(value)
    } else {
        Err(Error::codec("bytes follow the MessagePack value"))
    }
}

/// Replaces the message of an error, which may hold small numbers, unknown fields and variants.
fn codec_error(error: &DecodeError) -> Error {
    Error::codec(match error {
        DecodeError::InvalidMarkerRead(_) | DecodeError::InvalidDataRead(_) => "MessagePack is truncated",
        DecodeError::Utf8Error(_) => "MessagePack is malformed",
        DecodeError::DepthLimitExceeded => "MessagePack is nested too deep",
        _ => "MessagePack does not match the type",
    })
}
