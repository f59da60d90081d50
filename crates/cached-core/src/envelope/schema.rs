//! The name of a value's shape.

/// Tells the shapes of values apart: the first 8 bytes, little endian, of the BLAKE3 digest of the length of
/// `type_name` (8 bytes), the name, and `version` (4 bytes).
///
/// A compiler may name a type differently from the one before it; its values are then loaded again.
pub(crate) fn schema_fingerprint(type_name: &str, version: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(type_name.len() as u64).to_le_bytes());
    hasher.update(type_name.as_bytes());
    hasher.update(&version.to_le_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}
