use std::{
    borrow::{Borrow, Cow},
    hash::Hash,
};

use equivalent::Equivalent;

/// The arguments of a call, as the peers that are no macros see them. The caller has a `&str`, not a `String`.
pub trait Key: Clone + Send + Sync + 'static {
    /// What a cache keeps.
    type Owned: Borrow<Self::Lent> + Hash + Eq + Clone + Send + Sync + 'static;
    /// What a lookup may use if the cache knows `Borrow` only.
    type Lent: Hash + Eq + ToOwned<Owned = Self::Owned> + Send + Sync + ?Sized;
    /// What a lookup may use if the cache knows `Equivalent`.
    type Borrowed<'a>: Hash + Equivalent<Self::Owned> + ToOwned;

    /// The key of a number.
    fn new(number: u64) -> Self;
    /// The number that it was made of.
    fn number(&self) -> u64;
    /// Copies a text.
    fn owned(&self) -> Self::Owned;
    /// Copies a text only where it is part of a tuple.
    fn lent(&self) -> Cow<'_, Self::Lent>;
    /// Copies nothing.
    fn borrowed(&self) -> Self::Borrowed<'_>;
    /// For caches whose keys are texts.
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

/// A `(&str, u32)`, as it is stored: a name of about twenty bytes.
pub type Text = (String, u32);

/// Hashes as the tuple does.
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

/// 2 KB.
#[derive(Clone, Debug)]
pub struct Prompt(pub String);

/// Hashes as the text does.
#[derive(Clone, Hash)]
pub struct PromptRef<'a>(&'a str);

impl Equivalent<String> for PromptRef<'_> {
    fn equivalent(&self, key: &String) -> bool {
        self.0 == key
    }
}

impl Prompt {
    /// The number that a prompt's text was made of.
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
        // The difference is at the end, as in a conversation that goes on.
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
