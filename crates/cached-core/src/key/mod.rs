//! From arguments to keys.
//!
//! A key has two faces. Its **identity** is the canonical encoding of the site's template and of every part, and
//! names the entry inside this process. Its **name** is the text under which the shared tier holds it:
//! `namespace:prefix:rest`.

mod bytes;
mod encode;
mod hasher;
mod text;
mod types;
mod weigh;

use std::{
    cell::Cell,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    sync::LazyLock,
};

use bytes::Bytes;
use equivalent::Equivalent;
use foldhash::quality::RandomState;
#[cfg(feature = "sha256")]
pub use hasher::Sha256;
#[cfg(feature = "xxh3")]
pub use hasher::Xxh3;
pub use hasher::{Blake3, KeyHasher, KeyedBlake3};
use serde::Serialize;
pub(crate) use weigh::weigh;

use crate::{Error, site::Site};

/// An owned identity with its hash.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Key {
    bytes: Bytes,
    hash: u64,
}

/// A borrowed [`Key`]: a hit needs no more.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    hash: u64,
    bytes: &'a [u8],
}

impl<'a> KeyRef<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        // Seeded anew in each process, so that nobody outside can aim at one bucket.
        static SEED: LazyLock<RandomState> = LazyLock::new(Default::default);
        let mut hasher = SEED.build_hasher();
        hasher.write(bytes);
        Self { hash: hasher.finish(), bytes }
    }

    /// Writes the identity into `bytes`, in place of what they are.
    #[inline]
    pub(crate) fn write(bytes: &'a mut Vec<u8>, site: &Site, write: impl WriteKey) -> Result<Self, Error> {
        bytes.clear();
        let template = site.template().as_bytes();
        bytes.extend_from_slice(&u32::try_from(template.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(template);
        write(&mut KeyWriter(Face::Identity(bytes)))?;
        Ok(Self::new(bytes))
    }

    #[inline]
    pub(crate) fn hash(self) -> u64 {
        self.hash
    }

    #[inline]
    pub(crate) fn is(self, key: &Key) -> bool {
        self.hash == key.hash && self.has_bytes_of(key)
    }

    /// The same for whoever knows that the hash is.
    #[inline]
    pub(crate) fn has_bytes_of(self, key: &Key) -> bool {
        *self.bytes == *key.bytes
    }

    pub(crate) fn owned(&self) -> Key {
        Key { hash: self.hash, bytes: self.bytes.into() }
    }

    pub(crate) fn digest(&self, hasher: &dyn KeyHasher) -> [u8; 32] {
        hasher.hash(self.bytes)
    }
}

impl Key {
    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, bytes: &self.bytes }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The digest that names the key in the shared tier and is checked there.
    pub(crate) fn digest(&self, hasher: &dyn KeyHasher) -> [u8; 32] {
        self.as_ref().digest(hasher)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.is(key)
    }
}

/// Hands on the hash that a [`Key`] already has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Prehashed(u64);

pub(crate) type BuildPrehashed = BuildHasherDefault<Prehashed>;

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Receives the parts of a key, one by one, from the function that knows the arguments.
///
/// The same function writes the identity and, when the shared tier is asked, the name.
pub struct KeyWriter<'a>(Face<'a>);

enum Face<'a> {
    Identity(&'a mut Vec<u8>),
    Name(&'a mut String, &'a dyn KeyHasher),
}

impl KeyWriter<'_> {
    /// Text of the template between two placeholders.
    #[inline]
    pub fn literal(&mut self, text: &'static str) {
        if let Face::Name(name, _) = &mut self.0 {
            name.push_str(text);
        }
    }

    /// A placeholder, or an argument under a bare prefix.
    #[inline]
    pub fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match &mut self.0 {
            Face::Identity(bytes) => encode::encode(value, bytes),
            Face::Name(name, hasher) => text::text(value, *hasher, name),
        }
    }

    /// `{hash(arg)}`: the whole value in the identity, its digest in the name.
    #[inline]
    pub fn digest<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match &mut self.0 {
            Face::Identity(bytes) => encode::encode(value, bytes),
            Face::Name(name, hasher) => {
                let mut bytes = Vec::new();
                encode::encode(value, &mut bytes)?;
                text::digest_text(&hasher.hash(&bytes), name);
                Ok(())
            }
        }
    }

    /// The name of a type, which tells apart functions or the instances of one.
    pub fn scope(&mut self, type_name: &'static str) -> Result<(), Error> {
        match &mut self.0 {
            Face::Identity(bytes) => encode::encode(type_name, bytes),
            Face::Name(name, hasher) => {
                // `%G` cannot come out of an argument: there `%` is always followed by another letter.
                name.push_str(":%G");
                text::digest_text(&hasher.hash(type_name.as_bytes()), name);
                Ok(())
            }
        }
    }

    /// As [`scope`](Self::scope), for a const parameter.
    pub fn scope_value<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        match &mut self.0 {
            Face::Identity(bytes) => encode::encode(value, bytes),
            Face::Name(name, _) => {
                name.push_str(":%G");
                self.part(value)
            }
        }
    }
}

/// A value that can stand in the place of a placeholder: whatever is `Serialize`.
pub trait KeyPart {
    #[doc(hidden)]
    fn write(&self, writer: &mut KeyWriter<'_>) -> Result<(), Error>;
}

impl<T: Serialize + ?Sized> KeyPart for T {
    fn write(&self, writer: &mut KeyWriter<'_>) -> Result<(), Error> {
        writer.part(self)
    }
}

/// Texts that are no keys of entries: tags and patterns.
impl KeyWriter<'_> {
    /// What `write` writes as a name.
    pub(crate) fn text(
        hasher: &dyn KeyHasher,
        write: impl FnOnce(&mut KeyWriter<'_>) -> Result<(), Error>,
    ) -> Result<String, Error> {
        let mut text = String::new();
        write(&mut KeyWriter(Face::Name(&mut text, hasher)))?;
        Ok(text)
    }

    /// `template` with the parts in the places of its `{}`.
    pub(crate) fn fill_in(&mut self, template: &str, parts: &[&(dyn KeyPart + Sync)]) -> Result<(), Error> {
        let texts = template.split("{}");
        if texts.clone().count() != parts.len() + 1 {
            return Err(Error::key("a template has one `{}` for each part"));
        }
        let mut parts = parts.iter();
        for text in texts {
            if let Face::Name(name, _) = &mut self.0 {
                name.push_str(text);
            }
            if let Some(part) = parts.next() {
                part.write(self)?;
            }
        }
        Ok(())
    }
}

/// One huge argument must not pin its size to a thread for ever.
pub(crate) const LARGEST_BUFFER: usize = 64 * 1024;

/// What a generated function does to write its key.
pub(crate) trait WriteKey: Fn(&mut KeyWriter<'_>) -> Result<(), Error> {}
impl<F: Fn(&mut KeyWriter<'_>) -> Result<(), Error>> WriteKey for F {}

/// Encodes the identity, and lends it to `then`.
pub(crate) fn with_identity<R>(
    site: &Site,
    write: impl WriteKey,
    then: impl FnOnce(KeyRef<'_>) -> R,
) -> Result<R, Error> {
    thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });

    // Taken, not borrowed: a `Serialize` that calls a cached function finds an empty buffer, not a panic.
    let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
    let result = KeyRef::write(&mut bytes, site, write).map(then);
    if bytes.capacity() <= LARGEST_BUFFER {
        let _ = BUFFER.try_with(|buffer| buffer.set(bytes));
    }
    result
}

/// The name of a key in the shared tier.
pub(crate) fn name(
    site: &Site,
    namespace: &str,
    digest: &[u8; 32],
    hasher: &dyn KeyHasher,
    write: impl WriteKey,
) -> Result<String, Error> {
    let mut name = String::with_capacity(namespace.len() + 1 + site.template().len() + 48);
    name.push_str(namespace);
    name.push(':');
    if site.is_template() {
        write(&mut KeyWriter(Face::Name(&mut name, hasher)))?;
    } else {
        name.push_str(site.template());
        name.push(':');
        text::digest_text(digest, &mut name);
    }
    Ok(name)
}
