//! Compression of payloads, in builds with the feature `compression`.

#[cfg(feature = "compression")]
pub(super) use lz4::{compress, decompress};
#[cfg(not(feature = "compression"))]
pub(super) use none::{compress, decompress};

#[cfg(feature = "compression")]
mod lz4 {
    use lz4_flex::block;

    use crate::value::envelope::Unreadable;

    /// Largest number of bytes that one byte of an LZ4 block can stand for.
    const MAX_EXPANSION: usize = 255;

    /// Returns the compressed bytes, if they are fewer.
    pub(crate) fn compress(payload: &[u8]) -> Option<Vec<u8>> {
        Some(block::compress(payload)).filter(|compressed| compressed.len() < payload.len())
    }

    /// Returns exactly `raw_len` bytes; the caller has checked `raw_len` against the limit.
    pub(crate) fn decompress(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, Unreadable> {
        // A few forged bytes must not allocate the memory of the largest value.
        if raw_len / MAX_EXPANSION > stored.len() {
            return Err(Unreadable::Corrupt);
        }
        let mut raw = vec![0; raw_len];
        match block::decompress_into(stored, &mut raw) {
            Ok(len) if len == raw_len => Ok(raw),
            _ => Err(Unreadable::Corrupt),
        }
    }
}

#[cfg(not(feature = "compression"))]
mod none {
    use crate::value::envelope::Unreadable;

    pub(crate) fn compress(_payload: &[u8]) -> Option<Vec<u8>> {
        None
    }

    pub(crate) fn decompress(_stored: &[u8], _raw_len: usize) -> Result<Vec<u8>, Unreadable> {
        Err(Unreadable::NotCompressedHere)
    }
}
