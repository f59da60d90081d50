//! Compression of payloads, if this build has it.

#[cfg(feature = "compression")]
pub(super) use lz4::{compress, decompress};
#[cfg(not(feature = "compression"))]
pub(super) use none::{compress, decompress};

#[cfg(feature = "compression")]
mod lz4 {
    use lz4_flex::block;

    use crate::value::envelope::Unreadable;

    /// No byte of an LZ4 block stands for more than this many bytes.
    const MAX_EXPANSION: usize = 255;

    /// The compressed bytes, if they are fewer.
    pub(crate) fn compress(payload: &[u8]) -> Option<Vec<u8>> {
        Some(block::compress(payload)).filter(|compressed| compressed.len() < payload.len())
    }

    /// Exactly `raw_len` bytes; the caller has held `raw_len` against the limit.
    pub(crate) fn decompress(stored: &[u8], raw_len: usize) -> Result<Vec<u8>, Unreadable> {
        // A few forged bytes must not claim the memory of the largest value.
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
