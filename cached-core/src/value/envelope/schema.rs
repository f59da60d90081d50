//! The name of a value's shape.

/// Tells the shapes of values apart: the first 8 bytes, little endian, of the BLAKE3 digest of each name (its length in 8
/// bytes, and the name) and `version` (4 bytes). The names are the path of the function and that of the type, or the one that
/// the option `schema` gives.
///
/// A compiler may name a type differently from the one before it; its values are then loaded again, unless there is a `schema`.
pub(crate) fn schema_fingerprint(names: &[&str], version: u32) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.update(&version.to_le_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}
