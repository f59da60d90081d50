//! Writer and reader of version 1 of the envelope.

use std::borrow::Cow;

use super::{Unreadable, compress};
use crate::error::Error;

const VERSION: u8 = 1;
const COMPRESSED: u8 = 1 << 0;
const EMPTY: u8 = 1 << 1;
/// `stale_ms` and `spare_ms` follow `fresh_ms`.
const STALE_FIELDS: u8 = 1 << 2;
/// The envelope is a stub: it stands for a value and holds none.
const STUB: u8 = 1 << 3;
/// The tag count has a second byte.
const MANY_TAGS: u8 = 1 << 4;
const KNOWN_FLAGS: u8 = COMPRESSED | EMPTY | STALE_FIELDS | STUB | MANY_TAGS;

/// Length of an envelope without optional fields, tags and payload.
const FIXED_LEN: usize = 56;
/// Offset of `created_ms`.
const CREATED_OFFSET: usize = 28;
const TAG_LEN: usize = 16;

/// Metadata that is stored beside a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Id of the payload's codec.
    pub codec: u8,
    /// Set if the value is the empty one (`None`).
    pub is_empty: bool,
    /// Set if the tier cannot hold the value, so that each process has its own.
    pub is_stub: bool,
    /// [`schema_fingerprint`](super::schema_fingerprint) of the value's type.
    pub schema: u64,
    /// Digest of the full key.
    pub check: [u8; 16],
    /// Time at which the value was made, in ms since the Unix epoch.
    pub created_ms: u64,
    /// Time for which the value is fresh, in ms from `created_ms`.
    pub fresh_ms: u64,
    /// Time for which the value may be served after that, in ms.
    pub stale_ms: u64,
    /// Time for which the tier holds the value after that, in ms, so that a lease over it does not end it.
    ///
    /// Neither `stale_ms` nor `spare_ms` is written if both are zero.
    pub spare_ms: u64,
    /// Tags of the value, at most 65,535.
    pub tags: Vec<TagGeneration>,
}

impl Header {
    fn has_stale_fields(&self) -> bool {
        self.stale_ms > 0 || self.spare_ms > 0
    }

    fn flags(&self, is_compressed: bool, has_many_tags: bool) -> u8 {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        flag(is_compressed, COMPRESSED)
            | flag(self.is_empty, EMPTY)
            | flag(self.has_stale_fields(), STALE_FIELDS)
            | flag(self.is_stub, STUB)
            | flag(has_many_tags, MANY_TAGS)
    }
}

/// A tag, and its generation before the value was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagGeneration {
    /// Hash of the tag.
    pub tag: u64,
    /// Generation, compared by equality only.
    pub generation: u64,
}

/// Size limit of a payload, and the size from which it is compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest size of a payload in bytes, as stored and once decompressed.
    pub max_bytes: usize,
    /// Payloads of at least this many bytes are compressed, if this build can and if that makes them smaller.
    pub compress_above: Option<usize>,
}

impl Limits {
    /// Returns a length that no envelope made by [`seal`] exceeds.
    pub(crate) fn max_envelope_len(&self) -> usize {
        const MAX_OVERHEAD: usize = FIXED_LEN + 17 + u16::MAX as usize * TAG_LEN;
        // The length of a payload is written in four bytes.
        self.max_bytes.min(u32::MAX as usize).saturating_add(MAX_OVERHEAD)
    }
}

/// Schema and key that the reading call requires of an envelope.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    /// Required [`Header::schema`].
    pub schema: u64,
    /// Required [`Header::check`].
    pub check: [u8; 16],
}

/// An envelope that was read. It has no `Debug`, because it holds a value.
pub(crate) struct Opened<'a> {
    /// Metadata that was stored beside the value.
    pub header: Header,
    /// The value's bytes, for the codec; borrowed if they were not compressed.
    pub payload: Cow<'a, [u8]>,
}

/// Puts `payload` into an envelope.
///
/// # Errors
/// The payload is larger than the limit, or there are more than 65,535 tags.
pub(crate) fn seal(header: &Header, payload: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    let too_large = || Error::codec(format!("it has {} bytes, more than the limit", payload.len()));
    if payload.len() > limits.max_bytes {
        return Err(too_large());
    }
    let tag_count =
        u16::try_from(header.tags.len()).map_err(|_| Error::codec("it has more than 65,535 tags"))?;
    let compressed = limits
        .compress_above
        .filter(|&above| payload.len() >= above)
        .and_then(|_| compress::compress(payload));
    let stored = compressed.as_deref().unwrap_or(payload);
    let raw_len = u32::try_from(payload.len()).map_err(|_| too_large())?;
    let stored_len = u32::try_from(stored.len()).map_err(|_| too_large())?;
    let [tag_count, more_tags] = tag_count.to_le_bytes();
    let flags = header.flags(compressed.is_some(), more_tags > 0);

    let stale_len = if header.has_stale_fields() { 16 } else { 0 };
    let tags_len = usize::from(more_tags > 0) + header.tags.len() * TAG_LEN;
    let mut out = Vec::with_capacity(FIXED_LEN + stale_len + tags_len + stored.len());
    out.extend_from_slice(&[VERSION, header.codec, flags, tag_count]);
    out.extend_from_slice(&header.schema.to_le_bytes());
    out.extend_from_slice(&header.check);
    out.extend_from_slice(&header.created_ms.to_le_bytes());
    out.extend_from_slice(&header.fresh_ms.to_le_bytes());
    if header.has_stale_fields() {
        out.extend_from_slice(&header.stale_ms.to_le_bytes());
        out.extend_from_slice(&header.spare_ms.to_le_bytes());
    }
    if more_tags > 0 {
        out.push(more_tags);
    }
    for tag in &header.tags {
        out.extend_from_slice(&tag.tag.to_le_bytes());
        out.extend_from_slice(&tag.generation.to_le_bytes());
    }
    out.extend_from_slice(&stored_len.to_le_bytes());
    out.extend_from_slice(&raw_len.to_le_bytes());
    out.extend_from_slice(&checksum(&out, stored).to_le_bytes());
    out.extend_from_slice(stored);
    Ok(out)
}

/// Takes the payload out of an envelope that is intact and matches `expect`.
pub(crate) fn open<'a>(bytes: &'a [u8], expect: &Expect, limits: &Limits) -> Result<Opened<'a>, Unreadable> {
    let mut reader = ByteReader(bytes);
    if reader.u8()? != VERSION {
        return Err(Unreadable::Foreign);
    }
    let codec = reader.u8()?;
    let flags = reader.u8()?;
    let tag_count = reader.u8()?;
    let header = Header {
        codec,
        is_empty: flags & EMPTY != 0,
        is_stub: flags & STUB != 0,
        schema: reader.u64()?,
        check: reader.take()?,
        created_ms: reader.u64()?,
        fresh_ms: reader.u64()?,
        stale_ms: if flags & STALE_FIELDS != 0 { reader.u64()? } else { 0 },
        spare_ms: if flags & STALE_FIELDS != 0 { reader.u64()? } else { 0 },
        tags: {
            let more_tags = if flags & MANY_TAGS != 0 { reader.u8()? } else { 0 };
            let tag_count = u16::from_le_bytes([tag_count, more_tags]);
            (0..tag_count).map(|_| reader.tag()).collect::<Result<_, _>>()?
        },
    };
    let stored_len = reader.u32()? as usize;
    let raw_len = reader.u32()? as usize;
    let (before_checksum, _) = bytes.split_at(bytes.len() - reader.0.len());
    let stored_checksum = reader.u32()?;
    let stored = reader.0;

    // The lengths bound the bytes that are hashed and allocated, so they are checked before the checksum that
    // covers them.
    if stored_len.max(raw_len) > limits.max_bytes {
        return Err(Unreadable::TooLarge);
    }
    if stored.len() < stored_len {
        return Err(Unreadable::Truncated);
    }
    if stored.len() > stored_len || checksum(before_checksum, stored) != stored_checksum {
        return Err(Unreadable::Corrupt);
    }

    if flags & !KNOWN_FLAGS != 0 {
        return Err(Unreadable::Foreign);
    }
    if header.check != expect.check {
        return Err(Unreadable::OtherKey);
    }
    if header.schema != expect.schema {
        return Err(Unreadable::OtherSchema);
    }

    let payload = if flags & COMPRESSED != 0 {
        Cow::Owned(compress::decompress(stored, raw_len)?)
    } else if raw_len == stored_len {
        Cow::Borrowed(stored)
    } else {
        return Err(Unreadable::Corrupt);
    };
    Ok(Opened { header, payload })
}

/// Returns the `created_ms` that an envelope claims; only its version is checked.
pub(crate) fn created_ms(bytes: &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_at_checked(CREATED_OFFSET)?;
    (head.first() == Some(&VERSION)).then(|| ByteReader(rest).u64().ok()).flatten()
}

fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Bytes that are left to read.
struct ByteReader<'a>(&'a [u8]);

impl ByteReader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Unreadable::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Unreadable> {
        self.take().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Unreadable> {
        self.take().map(u64::from_le_bytes)
    }

    fn tag(&mut self) -> Result<TagGeneration, Unreadable> {
        Ok(TagGeneration { tag: self.u64()?, generation: self.u64()? })
    }
}
