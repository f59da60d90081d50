//! Why stored bytes are not used.

/// Why stored bytes are not a value for this call. Each is a miss and a counter, never an error of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not an envelope, or of a version, or with flags, that this build does not know.
    Foreign,
    /// The bytes end early.
    Truncated,
    /// The checksum or a length is wrong.
    Corrupt,
    /// Of another type, or of another `version` of it.
    OtherSchema,
    /// Stored for another key.
    OtherKey,
    /// Written by another codec.
    OtherCodec,
    /// Larger than the limit, as stored or once decompressed.
    TooLarge,
    /// The codec could not read the payload.
    Undecodable,
    /// Compressed, and this build has no `compression`.
    #[cfg_attr(feature = "compression", allow(dead_code, reason = "only a build without it meets it"))]
    NotCompressedHere,
}
