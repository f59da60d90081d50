//! Keys: the way from arguments to the identity and the name of an entry.
//!
//! A key has two forms. Its **identity** is the function's template and the canonical encoding of every part.
//! It identifies the entry inside this process. Its **name** is the text under which L2 holds the entry:
//! `namespace:prefix:rest`.
//!
//! `parts` writes the parts of a key to each destination: `encode` makes their canonical bytes, and `text`
//! the text of a name. `hasher` makes the digests in names. `template` and `tag` make the names of tags and
//! patterns.

mod bytes;
mod encode;
pub(crate) mod entry_key;
mod hasher;
mod parts;
pub(crate) mod tag;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod types;

use std::{
    cell::Cell,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher},
    ptr,
    sync::LazyLock,
};

use bytes::Bytes;
pub(crate) use encode::Refusal;
use encode::{Append, Compare};
use equivalent::Equivalent;
use foldhash::quality::RandomState;
#[cfg(feature = "sha256")]
pub use hasher::Sha256;
#[cfg(feature = "xxh3")]
pub use hasher::Xxh3;
pub use hasher::{Blake3, KeyHasher, KeyedBlake3};
pub(crate) use parts::{Digest, Part, Parts, WriteKey, Writer};
pub use parts::{Literal, Scope, ScopeValue};
use serde::Serialize;
pub use template::flaw;

use crate::{base::planted::planted, error::Error, spec::FunctionSpec};

/// An owned identity with its hash.
///
/// Functions may have the same template and not share entries. For the same parts, their keys differ in the
/// hash alone, which includes the fingerprint of the function (`FunctionSpec::fingerprint`). This is enough:
/// without the fingerprint, equal parts have equal hashes.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct OwnedKey {
    hash: u64,
    template: &'static str,
    bytes: Bytes,
}

/// The part of an [`OwnedKey`] that an entry stores. Its function has the template.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct StoredKey {
    hash: u64,
    bytes: Bytes,
}

/// A borrowed [`OwnedKey`], which is all that a hit needs.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a> {
    hash: u64,
    template: &'static str,
    bytes: &'a [u8],
}

/// Returns the hash of the key of `parts`.
///
/// `buffer` is scratch space: its content afterwards has no meaning.
#[inline]
pub(crate) fn hash(
    buffer: &mut Vec<u8>,
    spec: &FunctionSpec,
    parts: &(impl WriteKey + ?Sized),
) -> Result<u64, Refusal> {
    // Each process has a seed of its own, so that an outsider cannot aim at one bucket.
    static SEED: LazyLock<RandomState> = LazyLock::new(Default::default);
    let mut sink = encode::Hash::new(SEED.build_hasher(), buffer);
    parts.hash(&mut sink)?;
    // The fingerprint of a function is constant, so XOR is enough: a lookup waits for each multiplication.
    let fingerprint =
        if planted!("version-not-in-key") { spec.template_fingerprint() } else { spec.fingerprint() };
    Ok(sink.finish() ^ fingerprint)
}

impl<'a> KeyRef<'a> {
    /// Writes the parts into `bytes`, in place of their content.
    pub(crate) fn encode(
        bytes: &'a mut Vec<u8>,
        spec: &FunctionSpec,
        parts: &dyn WriteKey,
    ) -> Result<Self, Error> {
        let hash = hash(bytes, spec, parts)?;
        bytes.clear();
        parts.append(&mut Append(bytes))?;
        Ok(Self { hash, template: spec.template(), bytes })
    }

    #[inline]
    pub(crate) fn hash(self) -> u64 {
        self.hash
    }

    #[inline]
    pub(crate) fn matches(self, key: &OwnedKey) -> bool {
        self.is_same(key.as_ref())
    }

    /// Returns whether both are the same key.
    #[inline]
    pub(crate) fn is_same(self, other: KeyRef<'_>) -> bool {
        self.hash == other.hash && *self.bytes == *other.bytes && is_same_text(self.template, other.template)
    }

    /// Returns whether this is the key of `parts`, which have the hash `hash`.
    ///
    /// `buffer` is scratch space: its content afterwards has no meaning.
    #[inline]
    pub(crate) fn is_key_of(
        self,
        hash: u64,
        buffer: &mut Vec<u8>,
        spec: &FunctionSpec,
        parts: &(impl WriteKey + ?Sized),
    ) -> bool {
        if self.hash != hash || !is_same_text(self.template, spec.template()) {
            return false;
        }
        let mut sink = Compare::new(self.bytes, buffer);
        parts.compare(&mut sink).is_ok() && sink.is_same()
    }

    pub(crate) fn owned(&self) -> OwnedKey {
        OwnedKey { hash: self.hash, template: self.template, bytes: self.bytes.into() }
    }

    /// Returns the digest that names the key in L2 and is checked there.
    pub(crate) fn digest(&self, hasher: &dyn KeyHasher) -> [u8; 32] {
        with_buffer(|identity| {
            identity.clear();
            identity.extend_from_slice(&u32::try_from(self.template.len()).unwrap_or(u32::MAX).to_le_bytes());
            identity.extend_from_slice(self.template.as_bytes());
            identity.extend_from_slice(self.bytes);
            hasher.hash(identity)
        })
    }
}

/// Compares two templates. Usually both are the text of one function, at one address.
#[inline]
fn is_same_text(one: &'static str, other: &'static str) -> bool {
    ptr::eq(one, other) || one == other
}

impl OwnedKey {
    /// Returns a key without parts.
    pub(crate) fn empty(template: &'static str) -> Self {
        Self { hash: 0, template, bytes: Bytes::from(&[][..]) }
    }

    pub(crate) fn as_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, template: self.template, bytes: &self.bytes }
    }

    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn template(&self) -> &'static str {
        self.template
    }

    /// Returns the number of bytes of the encoded parts.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn digest(&self, hasher: &dyn KeyHasher) -> [u8; 32] {
        self.as_ref().digest(hasher)
    }
}

impl From<OwnedKey> for StoredKey {
    fn from(OwnedKey { hash, bytes, .. }: OwnedKey) -> Self {
        Self { hash, bytes }
    }
}

impl StoredKey {
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    pub(crate) fn with_template(&self, template: &'static str) -> KeyRef<'_> {
        KeyRef { hash: self.hash, template, bytes: &self.bytes }
    }
}

impl PartialEq for OwnedKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref().matches(other)
    }
}

impl Eq for OwnedKey {}

impl Hash for OwnedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<OwnedKey> for KeyRef<'_> {
    fn equivalent(&self, key: &OwnedKey) -> bool {
        self.matches(key)
    }
}

/// Hasher that passes on the hash that a [`OwnedKey`] already has.
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

/// Writes the text of a name: the key of an entry in the shared tier, a tag, or a pattern.
pub struct NameWriter<'a> {
    text: &'a mut String,
    digests: Digests<'a>,
}

/// Treatment of bytes that a digest represents in the text.
enum Digests<'a> {
    /// The digest is written at once.
    Immediate(&'a dyn KeyHasher),
    /// The hasher is not known yet: the bytes are kept, each with its position in the text.
    Deferred(&'a mut Vec<(usize, Vec<u8>)>),
}

impl NameWriter<'_> {
    fn push_digest(&mut self, bytes: Vec<u8>) {
        match &mut self.digests {
            Digests::Immediate(hasher) => text::digest_text(&hasher.hash(&bytes), self.text),
            Digests::Deferred(digests) => digests.push((self.text.len(), bytes)),
        }
    }
}

/// Mark of a scope. The text of an argument cannot contain it: no `G` follows a `%` there.
const SCOPE_MARK: &str = ":%G";

impl Writer for NameWriter<'_> {
    fn literal(&mut self, text: &'static str) {
        self.text.push_str(text);
    }

    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        if let Some(bytes) = text::write_text(value, self.text)? {
            self.push_digest(bytes);
        }
        Ok(())
    }

    fn digest<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        encode::encode(value, &mut bytes)?;
        self.push_digest(bytes);
        Ok(())
    }

    fn scope(&mut self, type_name: &'static str) -> Result<(), Refusal> {
        self.text.push_str(SCOPE_MARK);
        self.push_digest(type_name.as_bytes().to_vec());
        Ok(())
    }

    fn scope_value<T: Serialize>(&mut self, value: &T) -> Result<(), Refusal> {
        self.text.push_str(SCOPE_MARK);
        self.part(value)
    }
}

/// A value that can take the place of a placeholder: any `Serialize` value.
pub trait KeyPart {
    #[doc(hidden)]
    fn write(&self, writer: &mut NameWriter<'_>) -> Result<(), Refusal>;
}

impl<T: Serialize + ?Sized> KeyPart for T {
    fn write(&self, writer: &mut NameWriter<'_>) -> Result<(), Refusal> {
        writer.part(self)
    }
}

/// Names other than those of entries: tags and patterns.
impl NameWriter<'_> {
    /// Returns the text that `write` writes.
    pub(crate) fn text<E>(
        hasher: &dyn KeyHasher,
        write: impl FnOnce(&mut NameWriter<'_>) -> Result<(), E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        write(&mut NameWriter { text: &mut text, digests: Digests::Immediate(hasher) })?;
        Ok(text)
    }

    /// Writes `template` with the parts in the places of its `{}`, if it has no [flaw].
    pub(crate) fn write_template<'p>(
        &mut self,
        template: &str,
        parts: impl IntoIterator<Item = &'p dyn KeyPart>,
    ) -> Result<(), Refusal> {
        let (mut parts, mut rest) = (parts.into_iter(), template);
        while let Some(at) = rest.find(['{', '}']) {
            self.text.push_str(&rest[..at]);
            let (brace_pair, after_pair) = rest[at..].split_at_checked(2).unwrap_or((&rest[at..], ""));
            let part = if brace_pair == "{}" { parts.next() } else { None };
            match part {
                Some(part) => part.write(self)?,
                // A doubled brace stands for one brace.
                None => self.text.push_str(&brace_pair[..1]),
            }
            rest = after_pair;
        }
        self.text.push_str(rest);
        Ok(())
    }
}

/// The text of a name before the hasher of its digests is known.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    text: String,
    digests: Vec<(usize, Vec<u8>)>,
}

impl Draft {
    /// Returns the draft of the text that `write` writes.
    pub(crate) fn new<E>(write: impl FnOnce(&mut NameWriter<'_>) -> Result<(), E>) -> Result<Self, E> {
        let mut draft = Self::default();
        write(&mut NameWriter { text: &mut draft.text, digests: Digests::Deferred(&mut draft.digests) })?;
        Ok(draft)
    }

    /// Returns the name, with digests made by `hasher`.
    pub(crate) fn name(&self, hasher: &dyn KeyHasher) -> String {
        let (mut name, mut copied) = (String::with_capacity(self.text.len()), 0);
        for (at, bytes) in &self.digests {
            name.push_str(&self.text[copied..*at]);
            text::digest_text(&hasher.hash(bytes), &mut name);
            copied = *at;
        }
        name.push_str(&self.text[copied..]);
        name
    }
}

/// Greatest capacity, in bytes, of a buffer that a thread keeps.
///
/// One huge argument must not pin its size to a thread for ever.
pub(crate) const LARGEST_BUFFER: usize = 64 * 1024;

/// Encodes the identity, and passes it to `then`.
pub(crate) fn with_identity<R>(
    spec: &FunctionSpec,
    parts: &dyn WriteKey,
    then: impl FnOnce(KeyRef<'_>) -> R,
) -> Result<R, Error> {
    with_buffer(|bytes| KeyRef::encode(bytes, spec, parts).map(then))
}

/// Passes a buffer of this thread to `then`, without clearing it.
fn with_buffer<R>(then: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });

    // The buffer is taken and not borrowed: a `Serialize` that calls a cached function gets an empty buffer
    // instead of a panic.
    let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
    let result = then(&mut bytes);
    if bytes.capacity() <= LARGEST_BUFFER {
        let _ = BUFFER.try_with(|buffer| buffer.set(bytes));
    }
    result
}

/// Returns the name of a key in L2.
pub(crate) fn name(
    spec: &FunctionSpec,
    namespace: &str,
    digest: &[u8; 32],
    hasher: &dyn KeyHasher,
    parts: &dyn WriteKey,
) -> Result<String, Error> {
    let mut name = String::with_capacity(namespace.len() + 1 + spec.template().len() + 48);
    name.push_str(namespace);
    name.push(':');
    if spec.is_template() {
        parts.name(&mut NameWriter { text: &mut name, digests: Digests::Immediate(hasher) })?;
    } else {
        name.push_str(spec.template());
        name.push(':');
        text::digest_text(digest, &mut name);
    }
    Ok(name)
}
