//! Where canonical bytes go: into memory; and for a hit, which needs none of them there, into a hash, and beside those of
//! an entry.

use std::hash::Hasher;

use foldhash::quality::FoldHasher;

use super::{Refusal, length};

/// Takes canonical bytes, piece by piece.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);

    /// A tag and what is always as long.
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]);

    /// A tag, how many bytes there are, and the bytes.
    fn framed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal>;

    /// The same of what `write` appends to a buffer.
    fn framed_by(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let start = self.buffer().len();
        write(self.buffer())?;
        let length = length(self.buffer().len() - start)?;
        self.head(tag, length);
        self.whole(start);
        Ok(())
    }

    /// A tag and how many bytes there are.
    fn head(&mut self, tag: u8, length: [u8; 4]);

    /// For bytes that only come in their order when all are there,
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// and that are there now, from `start` on.
    fn whole(&mut self, start: usize);
}

/// Appends them.
pub(crate) struct Append<'a>(pub(crate) &'a mut Vec<u8>);

impl Sink for Append<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        // At once, as each time it is seen to that there is room.
        let mut tagged = [tag; 17];
        tagged[1..=N].copy_from_slice(&bytes);
        self.0.extend_from_slice(&tagged[..=N]);
    }

    #[inline]
    fn framed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal> {
        self.head(tag, length(bytes.len())?);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn head(&mut self, tag: u8, [a, b, c, d]: [u8; 4]) {
        self.0.extend_from_slice(&[tag, a, b, c, d]);
    }

    /// Straight into the buffer; the length is filled in when it is known.
    fn framed_by(
        &mut self,
        tag: u8,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.framed(tag, &[])?;
        let start = self.0.len();
        write(self.0)?;
        let length = length(self.0.len() - start)?;
        self.0[start - length.len()..start].copy_from_slice(&length);
        Ok(())
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.0
    }

    fn whole(&mut self, _: usize) {}
}

/// Hashes them. The same bytes have the same hash, whichever way they came.
///
/// From where they are: what was just put into memory byte by byte is slow to come out again as words.
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
    fn framed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal> {
        self.head(tag, length(bytes.len())?);
        self.hasher.write(bytes);
        Ok(())
    }

    /// Of zeros, the hasher itself does not tell well enough how many they are.
    #[inline]
    fn head(&mut self, _: u8, length: [u8; 4]) {
        self.hasher.write_u128(u32::from_le_bytes(length).into());
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    fn whole(&mut self, start: usize) {
        self.hasher.write(&self.buffer[start..]);
        self.buffer.truncate(start);
    }
}

/// Compares them with others.
pub(crate) struct Compare<'a> {
    /// Those that are to come; `None` after one that was not.
    rest: Option<&'a [u8]>,
    buffer: &'a mut Vec<u8>,
}

impl<'a> Compare<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        Self { rest: Some(bytes), buffer }
    }

    /// Whether just these bytes came.
    #[inline]
    pub(crate) fn is_same(&self) -> bool {
        self.rest.is_some_and(<[u8]>::is_empty)
    }

    #[inline]
    fn step(&mut self, bytes: &[u8]) {
        self.rest = self.rest.and_then(|rest| rest.strip_prefix(bytes));
    }
}

impl Sink for Compare<'_> {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.step(&[byte]);
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        let rest = self.rest.and_then(|rest| {
            let (first, rest) = rest.split_first()?;
            let (start, rest) = rest.split_first_chunk()?;
            (*first == tag && *start == bytes).then_some(rest)
        });
        self.rest = rest;
    }

    #[inline]
    fn framed(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Refusal> {
        self.head(tag, length(bytes.len())?);
        self.step(bytes);
        Ok(())
    }

    #[inline]
    fn head(&mut self, tag: u8, length: [u8; 4]) {
        self.fixed(tag, length);
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    fn whole(&mut self, start: usize) {
        self.rest = self.rest.and_then(|rest| rest.strip_prefix(&self.buffer[start..]));
        self.buffer.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::quality::FixedState;

    use super::*;

    fn hash(feed: impl FnOnce(&mut Hash<'_>)) -> u64 {
        let (state, mut buffer) = (FixedState::default(), Vec::new());
        let mut sink = Hash::new(state.build_hasher(), &mut buffer);
        feed(&mut sink);
        sink.finish()
    }

    #[test]
    fn the_same_bytes_have_the_same_hash_whichever_way_they_come() {
        let at_once = hash(|sink| sink.framed(3, b"abc").unwrap());
        let by_another = hash(|sink| {
            // What contains it is not whole yet.
            sink.buffer().push(9);
            sink.framed_by(3, |out| {
                out.extend_from_slice(b"abc");
                Ok(())
            })
            .unwrap();
        });
        assert_eq!(at_once, by_another);
    }

    #[test]
    fn a_tag_counts_beside_the_widest_number() {
        let of = |tag| hash(|sink| sink.fixed(tag, [0xff; 16]));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn a_length_counts() {
        let of = |length: u32| hash(|sink| sink.head(1, length.to_le_bytes()));
        assert!(of(0) != of(1) && of(1) != of(2) && of(1) != hash(|_| {}));
    }
}
