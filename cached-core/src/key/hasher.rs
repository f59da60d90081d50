//! Hashers that turn the canonical bytes of arguments into the name of a key.

use std::fmt;

/// Hasher that names the keys of the shared tier.
///
/// An implementation MUST return the same digest for the same bytes in every process, on every machine and in
/// every version of the program: the digest names the key that they share. It MUST NOT use a seed that
/// differs between them, nor a hash with an unspecified result, such as `std`'s `DefaultHasher`.
///
/// The digest has two halves. The first 16 bytes name the key. The other 16 are stored with the value and
/// compared when it is read, so that two arguments under one name are a miss and not a wrong answer.
/// Therefore each half SHOULD be hard to collide by itself, and neither may be derived from the other. If
/// arguments come from untrusted people, both halves MUST be hard to collide.
///
/// A hasher does not separate two caches. The name of a template such as `"user:{id}"` has no digest in it.
/// So two caches with two hashers use one key and replace each other's values there, without ever being
/// served each other's value. The [namespace](crate::CacheBuilder::namespace) separates caches.
///
/// # Examples
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::{Blake3, KeyHasher};
///
/// /// BLAKE3 of the bytes and a word of the application: what another application with the same functions and arguments has
/// /// stored in the same namespace is a miss.
/// #[derive(Debug)]
/// struct Salted(&'static [u8]);
///
/// impl KeyHasher for Salted {
///     fn hash(&self, bytes: &[u8]) -> [u8; 32] {
///         Blake3.hash(&[self.0, bytes].concat())
///     }
/// }
///
/// assert_ne!(Salted(b"shop").hash(b"question"), Salted(b"blog").hash(b"question"));
/// ```
pub trait KeyHasher: Send + Sync + fmt::Debug + 'static {
    /// Returns the digest of `bytes`.
    fn hash(&self, bytes: &[u8]) -> [u8; 32];
}

/// BLAKE3, the default: fast, and hard to collide on purpose.
///
/// A client that can read the shared tier can hash a guessed argument and see whether it was requested.
/// [`KeyedBlake3`] prevents that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blake3;

impl KeyHasher for Blake3 {
    #[inline]
    fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        blake3::hash(bytes).into()
    }
}

/// BLAKE3 under a secret key: nothing stored confirms a guessed argument.
///
/// A client that can read the shared tier, but does not know the key, cannot confirm a guessed argument, such
/// as a prompt. All processes that share a tier need the same key; another key is an empty cache. `Debug`
/// does not show the key.
///
/// # Examples
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::KeyedBlake3;
///
/// let hasher = KeyedBlake3::from_secret("jX0m0vmTqzGXPFLY2rW6wDLHS3iYcgTb");
/// assert_eq!(format!("{hasher:?}"), "KeyedBlake3 { .. }");
/// ```
#[derive(Clone)]
pub struct KeyedBlake3 {
    key: [u8; 32],
}

impl KeyedBlake3 {
    /// Context that separates a key derived here from any other key of the same secret. Never change it.
    const CONTEXT: &'static str = "cached-aside 2026 KeyedBlake3 key from a secret";

    /// Creates a hasher with these 32 random bytes as the key.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// Creates a hasher with a key that is derived from a secret of any length.
    ///
    /// The secret can come from the environment, for example. The derivation is fast, as BLAKE3 is, so the
    /// secret must be random, of 128 bits or more. A password is not.
    pub fn from_secret(secret: impl AsRef<[u8]>) -> Self {
        Self::new(blake3::derive_key(Self::CONTEXT, secret.as_ref()))
    }
}

impl KeyHasher for KeyedBlake3 {
    #[inline]
    fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        blake3::keyed_hash(&self.key, bytes).into()
    }
}

impl fmt::Debug for KeyedBlake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBlake3").finish_non_exhaustive()
    }
}

/// SHA-256, for environments with a rule that requires it. Slower than [`Blake3`].
#[cfg(feature = "sha256")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Sha256;

#[cfg(feature = "sha256")]
impl KeyHasher for Sha256 {
    #[inline]
    fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        <sha2::Sha256 as sha2::Digest>::digest(bytes).into()
    }
}

/// XXH3, 128 bits under each of two seeds, for trusted arguments.
///
/// **Not against adversaries**: a client that chooses the arguments can make two of them collide, and then
/// one is answered with the value of the other. Use it only for arguments that the program itself makes.
#[cfg(feature = "xxh3")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Xxh3;

#[cfg(feature = "xxh3")]
impl KeyHasher for Xxh3 {
    fn hash(&self, bytes: &[u8]) -> [u8; 32] {
        // Any two seeds do, as long as they never change.
        const SEEDS: [u64; 2] = [0, 0x9E37_79B9_7F4A_7C15];
        let [name, check] = SEEDS.map(|seed| xxhash_rust::xxh3::xxh3_128_with_seed(bytes, seed));
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(&name.to_be_bytes());
        digest[16..].copy_from_slice(&check.to_be_bytes());
        digest
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn hex(hasher: &dyn KeyHasher, bytes: &[u8]) -> String {
        hasher.hash(bytes).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes everything");
            hex
        })
    }

    // If a digest changes, every cache with a shared tier loses every entry there.

    #[test]
    fn blake3_is_golden() {
        assert_eq!(hex(&Blake3, b""), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
        assert_eq!(
            hex(&Blake3, b"cached-aside"),
            "d539be5bd6e7d98a2f759fdd3cc86851e21e6359b2ee3ed365ef3bd59610fbe3"
        );
    }

    #[test]
    fn keyed_blake3_is_golden() {
        assert_eq!(
            hex(&KeyedBlake3::new([7; 32]), b"cached-aside"),
            "82d2c4fb8db1cfbe95faa49f3b26f793bbc4279dc4a25ec434d94386827ec75a"
        );
        assert_eq!(
            hex(&KeyedBlake3::from_secret("secret"), b"cached-aside"),
            "88d7639cca15b18d9545d3438180781f6f573b274c2fcf41f5e02bd06ba2f2d1"
        );
    }

    #[test]
    fn keyed_digest_depends_on_the_key_and_debug_hides_it() {
        let (one, other) = (KeyedBlake3::new([1; 32]), KeyedBlake3::new([2; 32]));
        assert_ne!(one.hash(b"x"), other.hash(b"x"));
        assert_ne!(one.hash(b"x"), Blake3.hash(b"x"));
        assert_eq!(format!("{one:?}"), "KeyedBlake3 { .. }");
        assert_eq!(format!("{:#?}", Some(one)).matches('1').count(), 0);
    }

    #[cfg(feature = "sha256")]
    #[test]
    fn sha256_is_golden() {
        assert_eq!(hex(&Sha256, b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[cfg(feature = "xxh3")]
    #[test]
    fn xxh3_is_golden_and_its_halves_differ() {
        assert_eq!(
            hex(&Xxh3, b"cached-aside"),
            "40df55523ce067cbd70c53bfc308c182ed29d5cc754082c8656693d0c82d6aaf"
        );
        assert!(hex(&Xxh3, b"").starts_with("99aa06d3014798d86001c324468d497f"));
        let digest = Xxh3.hash(b"cached-aside");
        assert_ne!(digest[..16], digest[16..]);
    }
}
