//! Destinations of canonical bytes: memory, a hash, or a comparison.
//!
//! A hit in the thread cache needs no bytes in memory: it hashes them, then compares them with the bytes of
//! an entry.

use std::hash::Hasher;

use foldhash::quality::FoldHasher;

use super::{Refusal, length};

/// Takes canonical bytes, piece by piece.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);

    /// Takes a tag and content of a fixed length.
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]);

    /// Takes a tag, the number of bytes, and the bytes.
    fn length_prefixed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal>;

    /// Does the same as `length_prefixed` for the bytes that `write` appends to a buffer.
    fn length_prefixed_by(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let start = self.buffer().len();
        write(self.buffer())?;
        let length = length(self.buffer().len() - start)?;
        self.tag_and_length(tag, length);
        self.take_buffered(start);
        Ok(())
    }

    /// Takes a tag and the number of bytes that follow.
    fn tag_and_length(&mut self, tag: u8, length: [u8; 4]);

    /// Returns the buffer for bytes with an order that is known only when all of them are there.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// Takes the bytes of the buffer from `start` on, which are complete.
    fn take_buffered(&mut self, start: usize);
}

/// Sink that appends the bytes to a buffer.
pub(crate) struct Append<'a>(pub(crate) &'a mut Vec<u8>);

impl Sink for Append<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        // One call for the tag and the content, because each call checks the capacity.
        let mut tagged = [tag; 17];
        tagged[1..=N].copy_from_slice(&bytes);
        self.0.extend_from_slice(&tagged[..=N]);
    }

    #[inline]
    fn length_prefixed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal> {
        self.tag_and_length(tag, length(bytes.len())?);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn tag_and_length(&mut self, tag: u8, [a, b, c, d]: [u8; 4]) {
        self.0.extend_from_slice(&[tag, a, b, c, d]);
    }

    /// Writes straight into the buffer; the length is filled in when it is known.
    fn length_prefixed_by(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.length_prefixed(tag, &[])?;
        let start = self.0.len();
        write(self.0)?;
        let length = length(self.0.len() - start)?;
        self.0[start - length.len()..start].copy_from_slice(&length);
        Ok(())
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.0
    }

    fn take_buffered(&mut self, _: usize) {}
}

/// Sink that hashes the bytes. The same bytes have the same hash, at once or through the buffer.
///
/// Bytes are hashed from where they are, without a copy: bytes that were just stored one by one are slow to
/// load again as wider numbers.
pub(crate) struct Hash<'a> {
    hasher: FoldHasher<'a>,
    buffer: &'a mut Vec<u8>,
}

impl<'a> Hash<'a> {
    #[inline]
    pub(crate) fn new(hasher: FoldHasher<'a>, buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        Self { hasher, buffer }
    }

    #[inline]
    pub(crate) fn finish(&self) -> u64 {
        self.hasher.finish()
    }
}

impl Sink for Hash<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.hasher.write_u128(byte.into());
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        let mut wide = [0; 16];
        wide[..N].copy_from_slice(&bytes);
        let number = u128::from_le_bytes(wide);
        self.hasher.write_u128(number ^ u128::from(tag) << 120);
    }

    #[inline]
    fn length_prefixed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal> {
        self.tag_and_length(tag, length(bytes.len())?);
        self.hasher.write(bytes);
        Ok(())
    }

    /// Hashes the length, because the hasher itself distinguishes runs of zeros of different lengths poorly.
    #[inline]
    fn tag_and_length(&mut self, _: u8, length: [u8; 4]) {
        self.hasher.write_u128(u32::from_le_bytes(length).into());
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    fn take_buffered(&mut self, start: usize) {
        self.hasher.write(&self.buffer[start..]);
        self.buffer.truncate(start);
    }
}

/// Sink that compares the bytes with those of an entry.
pub(crate) struct Compare<'a> {
    /// Bytes that are still expected; `None` after the first difference.
    expected: Option<&'a [u8]>,
    buffer: &'a mut Vec<u8>,
}

impl<'a> Compare<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        Self { expected: Some(bytes), buffer }
    }

    /// Returns whether exactly the expected bytes came.
    #[inline]
    pub(crate) fn is_same(&self) -> bool {
        self.expected.is_some_and(<[u8]>::is_empty)
    }

    #[inline]
    fn expect(&mut self, bytes: &[u8]) {
        self.expected = self.expected.and_then(|rest| rest.strip_prefix(bytes));
    }
}

impl Sink for Compare<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.expect(&[byte]);
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        let rest = self.expected.and_then(|rest| {
            let (first, rest) = rest.split_first()?;
            let (start, rest) = rest.split_first_chunk()?;
            (*first == tag && *start == bytes).then_some(rest)
        });
        self.expected = rest;
    }

    #[inline]
    fn length_prefixed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal> {
        self.tag_and_length(tag, length(bytes.len())?);
        self.expect(bytes);
        Ok(())
    }

    #[inline]
    fn tag_and_length(&mut self, tag: u8, length: [u8; 4]) {
        self.fixed(tag, length);
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    fn take_buffered(&mut self, start: usize) {
        self.expected = self.expected.and_then(|rest| rest.strip_prefix(&self.buffer[start..]));
        self.buffer.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::quality::FixedState;

    use super::*;

    fn hash(write: impl FnOnce(&mut Hash<'_>)) -> u64 {
        let (state, mut buffer) = (FixedState::default(), Vec::new());
        let mut sink = Hash::new(state.build_hasher(), &mut buffer);
        write(&mut sink);
        sink.finish()
    }

    #[test]
    fn direct_and_buffered_bytes_have_the_same_hash() {
        let direct = hash(|sink| sink.length_prefixed(3, b"abc").unwrap());
        let buffered = hash(|sink| {
            // The value that contains this one is not complete yet.
            sink.buffer().push(9);
            sink.length_prefixed_by(3, |out| {
                out.extend_from_slice(b"abc");
                Ok(())
            })
            .unwrap();
        });
        assert_eq!(direct, buffered);
    }

    #[test]
    fn hash_depends_on_the_tag_of_the_widest_number() {
        let hash_of = |tag| hash(|sink| sink.fixed(tag, [0xff; 16]));
        assert_ne!(hash_of(1), hash_of(2));
    }

    #[test]
    fn hash_depends_on_the_length() {
        let hash_of = |length: u32| hash(|sink| sink.tag_and_length(1, length.to_le_bytes()));
        assert!(hash_of(0) != hash_of(1) && hash_of(1) != hash_of(2) && hash_of(1) != hash(|_| {}));
    }
}
