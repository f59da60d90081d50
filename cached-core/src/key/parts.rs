//! What a key is made of, one part after the other.
//!
//! The same parts are written into a hash, beside the bytes of an entry, and when the shared tier is asked, as a text. Which of
//! these it is, is known where code is made and not looked up for each part: a hit does little else.

#![allow(clippy::inline_always, reason = "there is less in each than a call would take")]

use serde::Serialize;

use super::{
    NameWriter,
    encode::{self, Append, Compare, Hash, Refusal, Sink},
};

/// Receives the parts of a key. A name has more than these; a hash, a comparison and the identity have the parts alone.
pub trait Writer {
    /// Text of the template between two placeholders.
    #[inline(always)]
    fn literal(&mut self, _: &'static str) {}

    /// A placeholder, or an argument under a bare prefix.
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal>;

    /// `{hash(arg)}`: the whole value in the identity, its digest in the name.
    #[inline(always)]
    fn digest<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.part(value)
    }

    /// The name of a type, which tells apart functions or the instances of one.
    #[inline(always)]
    fn scope(&mut self, type_name: &'static str) -> Result<(), Refusal> {
        self.part(type_name)
    }

    /// As [`scope`](Self::scope), for a const parameter.
    #[inline(always)]
    fn scope_value<T: Serialize>(&mut self, value: &T) -> Result<(), Refusal> {
        self.part(value)
    }
}

impl<S: Sink> Writer for S {
    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        encode::put(value, self)
    }
}

/// One part of a key, or several.
pub trait Parts {
    /// Writes them.
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal>;
}

impl Parts for () {
    #[inline(always)]
    fn write<W: Writer>(&self, _: &mut W) -> Result<(), Refusal> {
        Ok(())
    }
}

/// One, and those after it.
impl<A: Parts, B: Parts> Parts for (A, B) {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        self.0.write(writer)?;
        self.1.write(writer)
    }
}

impl<P: Parts> Parts for Option<P> {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        self.as_ref().map_or(Ok(()), |parts| parts.write(writer))
    }
}

/// Text of the template between two placeholders.
pub struct Literal(pub &'static str);

impl Parts for Literal {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.literal(self.0);
        Ok(())
    }
}

/// A placeholder, or an argument under a bare prefix.
pub struct Part<'a, T: ?Sized>(pub &'a T);

impl<T: Serialize + ?Sized> Parts for Part<'_, T> {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.part(self.0)
    }
}

/// `{hash(arg)}`: the whole value in the identity, its digest in the name.
pub struct Digest<'a, T: ?Sized>(pub &'a T);

impl<T: Serialize + ?Sized> Parts for Digest<'_, T> {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.digest(self.0)
    }
}

/// The name of a type, which tells apart functions or the instances of one.
pub struct Scope(pub &'static str);

impl Parts for Scope {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.scope(self.0)
    }
}

/// As [`Scope`], for a const parameter.
pub struct ScopeValue<T>(pub T);

impl<T: Serialize> Parts for ScopeValue<T> {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.scope_value(&self.0)
    }
}

/// [`Parts`] by the ways in which they are written, for code that is not made for each of them.
pub(crate) trait WriteKey {
    fn hash(&self, sink: &mut Hash<'_>) -> Result<(), Refusal>;
    fn compare(&self, sink: &mut Compare<'_>) -> Result<(), Refusal>;
    fn append(&self, sink: &mut Append<'_>) -> Result<(), Refusal>;
    fn name(&self, writer: &mut NameWriter<'_>) -> Result<(), Refusal>;
}

impl<P: Parts> WriteKey for P {
    #[inline(always)]
    fn hash(&self, sink: &mut Hash<'_>) -> Result<(), Refusal> {
        self.write(sink)
    }

    #[inline(always)]
    fn compare(&self, sink: &mut Compare<'_>) -> Result<(), Refusal> {
        self.write(sink)
    }

    fn append(&self, sink: &mut Append<'_>) -> Result<(), Refusal> {
        self.write(sink)
    }

    fn name(&self, writer: &mut NameWriter<'_>) -> Result<(), Refusal> {
        self.write(writer)
    }
}
