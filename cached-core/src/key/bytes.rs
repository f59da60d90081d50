//! The bytes of a key, which are usually few.

use std::{fmt, ops::Deref, sync::Arc};

/// Largest number of bytes that lie inside the key itself, so that a comparison follows no pointer.
const INLINE: usize = 30;

/// Bytes that are cheap to clone.
#[derive(Clone)]
pub(super) enum Bytes {
    Inline(u8, [u8; INLINE]),
    Heap(Arc<[u8]>),
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE];
        match (inline.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(bytes);
                Self::Inline(len, inline)
            }
            _ => Self::Heap(bytes.into()),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline(len, inline) => &inline[..usize::from(*len).min(INLINE)],
            Self::Heap(heap) => heap,
        }
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    /// Shows the length only, because the bytes hold arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bytes").field(&self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_preserved_inline_and_on_the_heap() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 255, 256, 257, 1000] {
            let text: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let bytes = Bytes::from(&*text);
            assert_eq!(*bytes, *text);
            assert_eq!(matches!(bytes, Bytes::Inline(..)), len <= INLINE);
            assert_eq!(bytes, bytes.clone());
            assert_eq!(format!("{bytes:?}"), format!("Bytes({len})"), "and nothing of them");
        }
        assert_ne!(Bytes::from(&[0][..]), Bytes::from(&[0, 0][..]));
    }
}
