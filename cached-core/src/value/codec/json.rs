//! The JSON codec.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::strict::{self, FormatLimits};
use crate::error::Error;

/// Values that JSON would change.
const LIMITS: FormatLimits = FormatLimits { is_text: true, depth: 127 };

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let result = strict::serialize(value, &mut serde_json::Serializer::new(out), LIMITS);
    result.map_err(|_| Error::codec("JSON cannot hold the value"))
}

/// Reads one value from all of `bytes`.
///
/// White space after the value is part of a JSON text; anything else there is rejected.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The error's own message quotes unknown fields, variants and wrong values.
        let reason = match error.classify() {
            Category::Data => "does not match the type",
            Category::Eof => "is truncated",
            Category::Syntax | Category::Io => "is malformed",
        };
        Error::codec(format!("JSON {reason} (line {}, column {})", error.line(), error.column()))
    })
}
