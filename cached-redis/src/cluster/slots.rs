//! The hash slots of keys and of registries.

use std::sync::LazyLock;

use crc::{CRC_16_XMODEM, Crc};

/// Number of hash slots in a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// Number of registries: one in every 128th slot.
///
/// So each server with 128 consecutive slots holds at least one.
pub(crate) const REGISTRIES: u16 = 128;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Returns the hash slot of a key.
///
/// The slot is the one of the text in the first braces, if there is any. See "Redis cluster specification".
pub(crate) fn slot(key: &[u8]) -> u16 {
    CRC.checksum(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let begin = key.iter().position(|&byte| byte == b'{')? + 1;
    let length = key[begin..].iter().position(|&byte| byte == b'}')?;
    (length > 0).then(|| &key[begin..begin + length])
}

/// Returns the hash slot of a registry.
pub(crate) fn slot_of_registry(registry: usize) -> u16 {
    u16::try_from(registry).unwrap_or_default() % REGISTRIES * (SLOTS / REGISTRIES)
}

/// Suffix for each registry that puts its keys into its slot.
pub(crate) static REGISTRY_SUFFIXES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut suffixes = vec![String::new(); usize::from(REGISTRIES)];
    let mut missing = suffixes.len();
    for number in 0_u32.. {
        let suffix = format!("{{{number}}}");
        let slot = slot(suffix.as_bytes());
        let registry_suffix = &mut suffixes[usize::from(slot / (SLOTS / REGISTRIES))];
        if slot.is_multiple_of(SLOTS / REGISTRIES) && registry_suffix.is_empty() {
            *registry_suffix = suffix;
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    suffixes
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_matches_the_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), CRC.checksum(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
    }

    #[test]
    fn registry_suffix_hashes_to_the_slot_of_its_registry() {
        for (registry, suffix) in REGISTRY_SUFFIXES.iter().enumerate() {
            assert_eq!(slot(format!("shop:%poke{suffix}").as_bytes()), slot_of_registry(registry));
        }
        assert_eq!(slot_of_registry(127), 127 * 128);
    }
}
