use std::{
    borrow::{Borrow, Cow},
    hash::Hash,
};

use equivalent::Equivalent;

/// Arguments of a call, as seen by the peers without an attribute.
///
/// The caller has a `&str`, not a `String`.
pub trait Key: Clone + Send + Sync + 'static {
    /// Key in the cache.
    type Owned: Borrow<Self::Lent> + Hash + Eq + Clone + Send + Sync + 'static;
    /// Key of a lookup in caches that support only `Borrow`.
    type Lent: Hash + Eq + ToOwned<Owned = Self::Owned> + Send + Sync + ?Sized;
    /// Key of a lookup in caches that support `Equivalent`.
    type Borrowed<'a>: Hash + Equivalent<Self::Owned> + ToOwned;

    /// Creates the key of a number.
    fn new(number: u64) -> Self;
    /// Returns the number of the key.
    fn number(&self) -> u64;
    /// Returns an owned key. A text is copied.
    fn owned(&self) -> Self::Owned;
    /// Returns a key for `Borrow`. A text is copied only if it is part of a tuple.
    fn lent(&self) -> Cow<'_, Self::Lent>;
    /// Returns a key for `Equivalent`. Nothing is copied.
    fn borrowed(&self) -> Self::Borrowed<'_>;
    /// Returns a text, for caches with texts as keys.
    fn formatted(&self) -> String;
}

impl Key for u64 {
    type Owned = Self;
    type Lent = Self;
    type Borrowed<'a> = Self;

    fn new(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }

    fn owned(&self) -> Self {
        *self
    }

    fn lent(&self) -> Cow<'_, Self> {
        Cow::Borrowed(self)
    }

    fn borrowed(&self) -> Self {
        *self
    }

    fn formatted(&self) -> String {
        format!("user:{self}")
    }
}

/// Owned form of a `(&str, u32)` key. The text has about twenty bytes.
pub type Text = (String, u32);

/// Borrowed form of a `Text`, with the same hash.
#[derive(Clone, Hash)]
pub struct TextRef<'a>(&'a str, u32);

impl Equivalent<Text> for TextRef<'_> {
    fn equivalent(&self, key: &Text) -> bool {
        self.0 == key.0 && self.1 == key.1
    }
}

impl Key for Text {
    type Owned = Self;
    type Lent = Self;
    type Borrowed<'a> = TextRef<'a>;

    fn new(number: u64) -> Self {
        (format!("user-{number}@example.org"), u32::try_from(number).expect("numbers are small"))
    }

    fn number(&self) -> u64 {
        self.1.into()
    }

    fn owned(&self) -> Self {
        self.clone()
    }

    fn lent(&self) -> Cow<'_, Self> {
        Cow::Owned(self.clone())
    }

    fn borrowed(&self) -> TextRef<'_> {
        TextRef(&self.0, self.1)
    }

    fn formatted(&self) -> String {
        format!("user:{}:{}", self.0, self.1)
    }
}

/// Prompt for a language model, of 2 KB.
#[derive(Clone, Debug)]
pub struct Prompt(pub String);

/// Borrowed form of a `Prompt`, with the same hash as its text.
#[derive(Clone, Hash)]
pub struct PromptRef<'a>(&'a str);

impl Equivalent<String> for PromptRef<'_> {
    fn equivalent(&self, key: &String) -> bool {
        self.0 == key
    }
}

impl Prompt {
    /// Returns the number of a prompt, given its text.
    pub fn number_of(text: &str) -> u64 {
        let digits = text.rsplit(' ').next().unwrap_or_default();
        digits.parse().expect("a prompt ends with its number")
    }
}

impl Key for Prompt {
    type Owned = String;
    type Lent = str;
    type Borrowed<'a> = PromptRef<'a>;

    fn new(number: u64) -> Self {
        // Prompts differ only at the end, as in a conversation that goes on.
        Self(format!("{} {number:010}", "You are a helpful assistant. ".repeat(71)))
    }

    fn number(&self) -> u64 {
        Self::number_of(&self.0)
    }

    fn owned(&self) -> String {
        self.0.clone()
    }

    fn lent(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn borrowed(&self) -> PromptRef<'_> {
        PromptRef(&self.0)
    }

    fn formatted(&self) -> String {
        format!("prompt:{}", self.0)
    }
}
