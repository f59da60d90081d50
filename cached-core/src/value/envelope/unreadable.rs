//! Reasons why stored bytes are not used.

/// Reason why stored bytes are not a value for this call.
///
/// Each is a miss and is counted; none is an error for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not an envelope, or one with a version or flags that this build does not know.
    Foreign,
    /// The bytes end early.
    Truncated,
    /// The checksum or a length is wrong.
    Corrupt,
    /// Stored with another type, or another `version` of it.
    OtherSchema,
    /// Stored for another key.
    OtherKey,
    /// Written by another codec.
    OtherCodec,
    /// Larger than the limit, as stored or once decompressed.
    TooLarge,
    /// The codec could not read the payload.
    Undecodable,
    /// Compressed, and this build lacks the feature `compression`.
    #[cfg_attr(
        feature = "compression",
        allow(dead_code, reason = "only a build without the feature uses it")
    )]
    NotCompressedHere,
}
