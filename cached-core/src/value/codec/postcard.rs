//! The `postcard` codec. Errors of that crate have fixed texts, so they may be shown.

use std::mem;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    *out = postcard::to_extend(value, mem::take(out)).map_err(|error| unusable(&error))?;
    Ok(())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Error::codec("postcard: bytes after the value")),
        Err(error) => Err(unusable(&error)),
    }
}

fn unusable(error: &postcard::Error) -> Error {
    Error::codec(format!("postcard: {error}"))
}
