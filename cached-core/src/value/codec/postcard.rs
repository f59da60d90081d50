//! The `postcard` codec. Errors of that crate have fixed texts, so they may be shown.

use std::mem;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    *out = postcard::to_extend(value, mem::take(out)).map_err(|error| codec_error(&error))?;
    Ok(())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Error::codec("bytes follow the postcard value")),
        Err(error) => Err(codec_error(&error)),
    }
}

fn codec_error(error: &postcard::Error) -> Error {
    Error::codec(format!("postcard: {error}"))
}
