//! Fingerprint of the schema of a value.

/// Returns the fingerprint that distinguishes the schemas of values.
///
/// The fingerprint is the first 8 bytes, little endian, of a BLAKE3 digest. The digest covers each name (its
/// length in 8 bytes, then the name) and `version` (4 bytes). The names are the path of the function, if
/// values are bound to it, and that of the type; or else the one that the option `schema` gives.
///
/// Another version of the compiler may name a type differently. Values of that type are then loaded again,
/// unless there is a `schema`.
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
