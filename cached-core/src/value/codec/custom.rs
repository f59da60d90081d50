//! Custom codecs.

use std::fmt;

use serde::Deserializer;

use crate::error::Error;

/// A custom codec, for [`Format::Custom`](super::Format::Custom).
///
/// An implementation must keep to these rules:
///
/// * `encode` then `decode` gives an equal value, in every process that shares the tier;
/// * `decode` MUST reject bytes that go on after the value, and MUST NOT panic on any bytes;
/// * an error's message MUST NOT quote the value or the bytes, because it appears in logs.
///
/// Bytes are checked against damage before `decode` gets them, and against nothing else: a client that can
/// write to the shared tier can choose them.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::{Codec, Error, Target, erased_serde};
///
/// /// JSON with line breaks, for people who read the shared tier.
/// #[derive(Debug)]
/// struct PrettyJson;
///
/// impl Codec for PrettyJson {
///     fn id(&self) -> u8 {
///         128
///     }
///
///     fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), Error> {
///         serde_json::to_writer_pretty(out, value).map_err(|_| Error::codec("not a JSON value"))
///     }
///
///     fn decode(&self, bytes: &[u8], target: &mut Target<'_>) -> Result<(), Error> {
///         let mut json = serde_json::Deserializer::from_slice(bytes);
///         target.fill(&mut json)?;
///         json.end().map_err(|_| Error::codec("bytes after the value"))
///     }
/// }
///
/// let mut bytes = Vec::new();
/// PrettyJson.encode(&["a", "b"], &mut bytes)?;
/// assert_eq!(bytes, b"[\n  \"a\",\n  \"b\"\n]");
/// # Ok::<(), Error>(())
/// ```
pub trait Codec: Send + Sync + fmt::Debug + 'static {
    /// Returns the id of this codec in a stored value: 128 to 255.
    ///
    /// Lower ids are those of built-in codecs. The id must be the same in every process and for ever. A codec
    /// that changes its bytes is another codec, and needs another id.
    fn id(&self) -> u8;

    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    /// The value has no form in this codec. The content of `out` is then discarded.
    fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), Error>;

    /// Reads one value from all of `bytes` into `target`, see [`Target::fill`].
    ///
    /// # Errors
    /// The bytes are not exactly one value of the wanted type. The call then counts as a miss.
    fn decode(&self, bytes: &[u8], target: &mut Target<'_>) -> Result<(), Error>;
}

/// Reads the wanted type from a deserializer. The closure knows the type, its signature does not.
type DecodeInto<'a> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> + 'a;

/// Destination of [`Codec::decode`]: it knows the wanted type, so that the codec need not.
pub struct Target<'a>(&'a mut DecodeInto<'a>);

impl<'a> Target<'a> {
    pub(super) fn new(fill: &'a mut DecodeInto<'a>) -> Self {
        Self(fill)
    }

    /// Reads the value from `deserializer`.
    ///
    /// # Errors
    /// The deserializer does not give a value of the wanted type. The message has no details, because Serde's
    /// would quote the bytes.
    pub fn fill<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), Error> {
        (self.0)(&mut <dyn erased_serde::Deserializer<'_>>::erase(deserializer))
            .map_err(|_| Error::codec("the bytes are not a value of this type"))
    }
}

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}
