//! From arguments to keys.
//!
//! A key has two faces. Its **identity** is the site's template and the canonical encoding of every part, and names the
//! entry inside this process. Its **name** is the text under which the shared tier holds it: `namespace:prefix:rest`.

mod bytes;
mod encode;
mod hasher;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod weigh;

use std::{
    cell::Cell,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    ptr,
    sync::LazyLock,
};

use bytes::Bytes;
use encode::{Append, Compare};
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
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Key {
    hash: u64,
    template: &'static str,
    bytes: Bytes,
}

/// A borrowed [`Key`]: a hit needs no more.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    hash: u64,
    template: &'static str,
    bytes: &'a [u8],
}

/// The hash of the key that `write` writes. What is in the buffer then is of no use.
#[inline]
pub(crate) fn hash(buffer: &mut Vec<u8>, site: &Site, write: impl WriteKey) -> Result<u64, Error> {
    // Seeded anew in each process, so that nobody outside can aim at one bucket.
    static SEED: LazyLock<RandomState> = LazyLock::new(Default::default);
    let mut writer = KeyWriter(Face::Hash(encode::Hash::new(SEED.build_hasher(), buffer)));
    write(&mut writer)?;
    let parts = if let Face::Hash(sink) = writer.0 { sink.finish() } else { 0 };
    // No multiplication for what is always the same: a look-up waits for each of them.
    Ok(parts ^ site.print())
}

impl<'a> KeyRef<'a> {
    /// Writes the parts into `bytes`, in place of what they are.
    #[inline]
    pub(crate) fn write(bytes: &'a mut Vec<u8>, site: &Site, write: impl WriteKey) -> Result<Self, Error> {
        let hash = hash(bytes, site, &write)?;
        bytes.clear();
        write(&mut KeyWriter(Face::Identity(Append(bytes))))?;
        Ok(Self { hash, template: site.template(), bytes })
    }

    #[inline]
    pub(crate) fn hash(self) -> u64 {
        self.hash
    }

    #[inline]
    pub(crate) fn is(self, key: &Key) -> bool {
        self.hash == key.hash && *self.bytes == *key.bytes && is_same_text(self.template, key.template)
    }

    pub(crate) fn owned(&self) -> Key {
        Key { hash: self.hash, template: self.template, bytes: self.bytes.into() }
    }

    /// The digest that names the key in the shared tier and is checked there.
    pub(crate) fn digest(&self, hasher: &dyn KeyHasher) -> [u8; 32] {
        with_buffer(|all| {
            all.clear();
            all.extend_from_slice(&u32::try_from(self.template.len()).unwrap_or(u32::MAX).to_le_bytes());
            all.extend_from_slice(self.template.as_bytes());
            all.extend_from_slice(self.bytes);
            hasher.hash(all)
        })
    }
}

/// As a rule it is the text of one site, at one place.
#[inline]
fn is_same_text(one: &'static str, other: &'static str) -> bool {
    ptr::eq(one, other) || one == other
}

impl Key {
    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, template: self.template, bytes: &self.bytes }
    }

    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether it is what `write` writes, which has this hash. What is in the buffer then is of no use.
    #[inline]
    pub(crate) fn is_written(
        &self,
        hash: u64,
        buffer: &mut Vec<u8>,
        site: &Site,
        write: impl WriteKey,
    ) -> bool {
        if self.hash != hash || !is_same_text(self.template, site.template()) {
            return false;
        }
        let mut writer = KeyWriter(Face::Compared(Compare::new(&self.bytes, buffer)));
        write(&mut writer).is_ok() && matches!(&writer.0, Face::Compared(sink) if sink.is_same())
    }

    /// Of its parts.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn digest(&self, hasher: &dyn KeyHasher) -> [u8; 32] {
        self.as_ref().digest(hasher)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref().is(other)
    }
}

impl Eq for Key {}

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
    Identity(Append<'a>),
    /// The identity's hash.
    Hash(encode::Hash<'a>),
    /// Whether it is that of an entry.
    Compared(Compare<'a>),
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
            Face::Hash(sink) => encode::put(value, sink),
            Face::Compared(sink) => encode::put(value, sink),
            Face::Identity(sink) => encode::put(value, sink),
            Face::Name(name, hasher) => text::text(value, *hasher, name),
        }
    }

    /// `{hash(arg)}`: the whole value in the identity, its digest in the name.
    #[inline]
    pub fn digest<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match &mut self.0 {
            Face::Name(name, hasher) => {
                let mut bytes = Vec::new();
                encode::encode(value, &mut bytes)?;
                text::digest_text(&hasher.hash(&bytes), name);
                Ok(())
            }
            _ => self.part(value),
        }
    }

    /// The name of a type, which tells apart functions or the instances of one.
    pub fn scope(&mut self, type_name: &'static str) -> Result<(), Error> {
        match &mut self.0 {
            Face::Name(name, hasher) => {
                // `%G` cannot come out of an argument: there `%` is always followed by another letter.
                name.push_str(":%G");
                text::digest_text(&hasher.hash(type_name.as_bytes()), name);
                Ok(())
            }
            _ => self.part(type_name),
        }
    }

    /// As [`scope`](Self::scope), for a const parameter.
    pub fn scope_value<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        if let Face::Name(name, _) = &mut self.0 {
            name.push_str(":%G");
        }
        self.part(value)
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
    with_buffer(|bytes| KeyRef::write(bytes, site, write).map(then))
}

/// Lends a buffer of this thread, whatever is in it.
fn with_buffer<R>(then: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });

    // Taken, not borrowed: a `Serialize` that calls a cached function finds an empty buffer, not a panic.
    let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
    let result = then(&mut bytes);
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
