//! The hash slots of keys and of registries.

use std::sync::LazyLock;

use crc::{CRC_16_XMODEM, Crc};

/// Number of hash slots in a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// Number of registries: one in every 128th slot.
///
/// So each server with 128 consecutive slots holds at least one.
pub(crate) const POSTS: u16 = 128;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Returns the hash slot of a key.
///
/// The slot is the one of the text in the first braces, if there is any. See "Redis cluster specification".
pub(crate) fn slot(key: &[u8]) -> u16 {
    CRC.checksum(tag(key).unwrap_or(key)) % SLOTS
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let begin = key.iter().position(|&byte| byte == b'{')? + 1;
    let length = key[begin..].iter().position(|&byte| byte == b'}')?;
    (length > 0).then(|| &key[begin..begin + length])
}

/// Returns the hash slot of a registry.
pub(crate) fn slot_of_post(post: usize) -> u16 {
    u16::try_from(post).unwrap_or_default() % POSTS * (SLOTS / POSTS)
}

/// Suffix for each registry that puts its keys into its slot.
pub(crate) static ENDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut ends = vec![String::new(); usize::from(POSTS)];
    let mut missing = ends.len();
    for number in 0_u32.. {
        let end = format!("{{{number}}}");
        let slot = slot(end.as_bytes());
        let place = &mut ends[usize::from(slot / (SLOTS / POSTS))];
        if slot.is_multiple_of(SLOTS / POSTS) && place.is_empty() {
            *place = end;
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    ends
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_the_one_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), CRC.checksum(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }

    #[test]
    fn each_post_is_in_its_slot() {
        for (post, end) in ENDS.iter().enumerate() {
            assert_eq!(slot(format!("shop:%poke{end}").as_bytes()), slot_of_post(post));
        }
        assert_eq!(slot_of_post(127), 127 * 128);
    }
}
