//! The parts of a key, written one after the other.
//!
//! The same parts are hashed, compared with the bytes of an entry, encoded and, for L2, written as text. The
//! destination is known at compile time and not looked up for each part, because a hit does little else.

#![allow(clippy::inline_always, reason = "a call would cost more than each body")]

use serde::Serialize;

use super::{
    NameWriter,
    encode::{self, Append, Compare, Hash, Refusal, Sink},
};

/// Receives the parts of a key.
///
/// A name also contains text of the template. A hash, a comparison and the identity have the parts alone.
pub trait Writer {
    /// Writes text of the template between two placeholders; only a name contains it.
    #[inline(always)]
    fn literal(&mut self, _: &'static str) {}

    /// Writes a placeholder, or an argument under a bare prefix.
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal>;

    /// Writes `{hash(arg)}`: the whole value in the identity, its digest in the name.
    #[inline(always)]
    fn digest<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.part(value)
    }

    /// Writes the name of a type, which distinguishes functions or the instances of one.
    #[inline(always)]
    fn scope(&mut self, type_name: &'static str) -> Result<(), Refusal> {
        self.part(type_name)
    }

    /// Writes a const parameter, for the same purpose as [`scope`](Self::scope).
    #[inline(always)]
    fn scope_value<T: Serialize>(&mut self, value: &T) -> Result<(), Refusal> {
        self.part(value)
    }
}

impl<S: Sink> Writer for S {
    #[inline(always)]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        encode::encode_into(value, self)
    }
}

/// One part of a key, or several.
pub trait Parts {
    /// Writes the parts in their order.
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal>;
}

impl Parts for () {
    #[inline(always)]
    fn write<W: Writer>(&self, _: &mut W) -> Result<(), Refusal> {
        Ok(())
    }
}

/// One part or more, then those after it.
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

/// The name of a type, which distinguishes functions or the instances of one.
pub struct Scope(pub &'static str);

impl Parts for Scope {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.scope(self.0)
    }
}

/// A const parameter, for the same purpose as [`Scope`].
pub struct ScopeValue<T>(pub T);

impl<T: Serialize> Parts for ScopeValue<T> {
    #[inline(always)]
    fn write<W: Writer>(&self, writer: &mut W) -> Result<(), Refusal> {
        writer.scope_value(&self.0)
    }
}

/// [`Parts`] with one method per destination, for code that is not generic over them.
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
