//! The canonical bytes of arguments.
//!
//! Two values of one type have the same bytes exactly when they are equal.
//!
//! Every value is a tag, then its content. Nothing depends on a size hint: content without a fixed length or
//! a length prefix ends with `END`. No value begins with that byte, so values can be written one after the
//! other and never be confused.
//!
//! | tag | kind | content |
//! |---|---|---|
//! | `00` | end | |
//! | `01` | `()`, unit struct | |
//! | `02`, `03` | `false`, `true` | |
//! | `04`, `05` | `None`, `Some` | `Some`: a value |
//! | `10`…`14` | `i8`, `i16`, `i32`, `i64`, `i128` | little endian, fixed width; `isize` is an `i64` |
//! | `18`…`1C` | `u8`, `u16`, `u32`, `u64`, `u128` | little endian, fixed width; `usize` is a `u64` |
//! | `20`, `21` | `f32`, `f64` | IEEE bits, little endian; `-0.0` is `0.0`; NaN is refused |
//! | `22` | `char` | code point, 4 bytes, little endian |
//! | `30`, `31` | string, bytes | length, 4 bytes, little endian; then the bytes |
//! | `40` | sequence | values, `END` |
//! | `41` | set | values in the order of their bytes, `END` |
//! | `42` | tuple, tuple struct, array | values, `END` |
//! | `43` | map | key and value of each entry, in the order of the keys' bytes, `END` |
//! | `44` | struct | name (as a string) and value of each field, as declared, `END` |
//! | `50` | unit variant | name (as a string) |
//! | `51` | newtype variant | name, value |
//! | `52` | tuple variant | name, values, `END` |
//! | `53` | struct variant | name, then as a struct |
//!
//! Names of types are not written, and a newtype struct is written as its content. So both can be introduced
//! or renamed without losing cached entries. Entries of a map with equal keys keep their order.
//! `Serialize` implementations see a format that is not human-readable.
//!
//! `compound` encodes values with parts. `sink` has the destinations of the bytes.
//!
//! # Limits of `Serialize`
//!
//! The bytes hold only the parts that the type's `Serialize` implementation shows:
//!
//! * A field under `#[serde(skip)]` is not part of the key: two values that differ only in it share an entry.
//! * Two variants that are renamed to the same name have the same bytes.
//! * A value has no key if its implementation ignores the error of a part, and goes on without it.
//! * A `HashSet` (of `std` or `hashbrown`) or an `IndexSet` is recognised by its [type's name](super::types),
//!   at every depth. An unordered collection behind `#[serde(serialize_with)]`, or another one, must be
//!   serialised in a fixed order that it chooses itself, or else equal values have different keys.

use std::{any::type_name, fmt};

use serde::{Serialize, Serializer, ser};

use self::compound::{Ordered, Sequence, Unordered};
pub(crate) use self::sink::{Append, Compare, Hash, Sink};
use super::types;
use crate::error::Error;

mod compound;
mod sink;
#[cfg(test)]
mod tests;

mod tag {
    pub(super) const END: u8 = 0x00;
    pub(super) const UNIT: u8 = 0x01;
    pub(super) const FALSE: u8 = 0x02;
    pub(super) const TRUE: u8 = 0x03;
    pub(super) const NONE: u8 = 0x04;
    pub(super) const SOME: u8 = 0x05;
    pub(super) const I8: u8 = 0x10;
    pub(super) const I16: u8 = 0x11;
    pub(super) const I32: u8 = 0x12;
    pub(super) const I64: u8 = 0x13;
    pub(super) const I128: u8 = 0x14;
    pub(super) const U8: u8 = 0x18;
    pub(super) const U16: u8 = 0x19;
    pub(super) const U32: u8 = 0x1A;
    pub(super) const U64: u8 = 0x1B;
    pub(super) const U128: u8 = 0x1C;
    pub(super) const F32: u8 = 0x20;
    pub(super) const F64: u8 = 0x21;
    pub(super) const CHAR: u8 = 0x22;
    pub(super) const STR: u8 = 0x30;
    pub(super) const BYTES: u8 = 0x31;
    pub(super) const SEQ: u8 = 0x40;
    pub(super) const SET: u8 = 0x41;
    pub(super) const TUPLE: u8 = 0x42;
    pub(super) const MAP: u8 = 0x43;
    pub(super) const STRUCT: u8 = 0x44;
    pub(super) const UNIT_VARIANT: u8 = 0x50;
    pub(super) const NEWTYPE_VARIANT: u8 = 0x51;
    pub(super) const TUPLE_VARIANT: u8 = 0x52;
    pub(super) const STRUCT_VARIANT: u8 = 0x53;
}

/// Appends the canonical bytes of `value`. Allocates nothing but `out`, except to sort maps and sets.
///
/// # Errors
///
/// The value is or holds a NaN, or a string of 4 GiB or more, or the type's own `Serialize` implementation
/// returns an error. `out` is then as it was.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let start = out.len();
    let result = encode_into(value, &mut Append(out));
    result.inspect_err(|_| out.truncate(start))
}

/// Passes the canonical bytes of `value` to `sink`.
///
/// Every value, at every depth, passes through this function, where its type still has a name.
///
/// # Errors
///
/// Returns the errors of [`encode`]. The content of the sink is then of no use.
#[inline]
pub(crate) fn encode_into<T: Serialize + ?Sized>(value: &T, sink: &mut impl Sink) -> Result<(), Refusal> {
    value.serialize(KeyEncoder { sink, type_name: type_name::<T>() })
}

#[inline]
fn length(bytes: usize) -> Result<[u8; 4], Refusal> {
    u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_| Refusal::TooLong)
}

/// Reason why a value has no bytes. It never holds a part of the value.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    NotANumber,
    TooLong,
    Unserializable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "an argument is or contains a NaN, which does not equal itself",
            Self::TooLong => "an argument is or contains a string of 4 GiB or more",
            Self::Unserializable => "the `Serialize` implementation of an argument returned an error",
        })
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    /// Drops the message, which may quote the value.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Unserializable
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::key(refusal.to_string())
    }
}

struct KeyEncoder<'a, S> {
    sink: &'a mut S,
    /// Name of the type that is being serialised; only a sequence looks at it.
    type_name: &'static str,
}

impl<'a, S: Sink> KeyEncoder<'a, S> {
    #[inline]
    fn variant(self, tag: u8, name: &str) -> Result<Ordered<'a, S>, Refusal> {
        self.sink.byte(tag);
        self.sink.length_prefixed(tag::STR, name.as_bytes())?;
        Ok(Ordered::new(self.sink))
    }

    #[inline]
    fn ordered(self, tag: u8) -> Ordered<'a, S> {
        self.sink.byte(tag);
        Ordered::new(self.sink)
    }

    fn unordered(self, tag: u8) -> Unordered<'a, S> {
        self.sink.byte(tag);
        Unordered::new(self.sink)
    }
}

macro_rules! integers {
    ($($method:ident($ty:ty) = $tag:ident;)*) => {$(
        #[inline]
        fn $method(self, v: $ty) -> Result<(), Refusal> {
            self.sink.fixed(tag::$tag, v.to_le_bytes());
            Ok(())
        }
    )*};
}

macro_rules! floats {
    ($($method:ident($ty:ty) = $tag:ident;)*) => {$(
        #[inline]
        fn $method(self, v: $ty) -> Result<(), Refusal> {
            if v.is_nan() {
                return Err(Refusal::NotANumber);
            }
            // The sum of -0.0 and 0.0 is 0.0; every other number stays as it is.
            self.sink.fixed(tag::$tag, (v + 0.0).to_le_bytes());
            Ok(())
        }
    )*};
}

impl<'a, S: Sink> Serializer for KeyEncoder<'a, S> {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Sequence<'a, S>;
    type SerializeTuple = Ordered<'a, S>;
    type SerializeTupleStruct = Ordered<'a, S>;
    type SerializeTupleVariant = Ordered<'a, S>;
    type SerializeMap = Unordered<'a, S>;
    type SerializeStruct = Ordered<'a, S>;
    type SerializeStructVariant = Ordered<'a, S>;

    integers! {
        serialize_i8(i8) = I8;
        serialize_i16(i16) = I16;
        serialize_i32(i32) = I32;
        serialize_i64(i64) = I64;
        serialize_i128(i128) = I128;
        serialize_u8(u8) = U8;
        serialize_u16(u16) = U16;
        serialize_u32(u32) = U32;
        serialize_u64(u64) = U64;
        serialize_u128(u128) = U128;
    }

    floats! {
        serialize_f32(f32) = F32;
        serialize_f64(f64) = F64;
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), Refusal> {
        self.sink.byte(if v { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_char(self, v: char) -> Result<(), Refusal> {
        self.sink.fixed(tag::CHAR, u32::from(v).to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Refusal> {
        self.sink.length_prefixed(tag::STR, v.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Refusal> {
        self.sink.length_prefixed(tag::BYTES, v)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, v: &T) -> Result<(), Refusal> {
        self.sink.length_prefixed_by(tag::STR, |out| {
            fmt::write(&mut Utf8(out), format_args!("{v}")).map_err(|_| Refusal::Unserializable)
        })
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Refusal> {
        self.sink.byte(tag::NONE);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<(), Refusal> {
        self.sink.byte(tag::SOME);
        encode_into(v, self.sink)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Refusal> {
        self.sink.byte(tag::UNIT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refusal> {
        self.sink.byte(tag::UNIT);
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), Refusal> {
        self.variant(tag::UNIT_VARIANT, name).map(|_| ())
    }

    #[inline]
    fn serialize_newtype_struct<T>(self, _: &'static str, v: &T) -> Result<(), Refusal>
    where
        T: Serialize + ?Sized,
    {
        encode_into(v, self.sink)
    }

    #[inline]
    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        v: &T,
    ) -> Result<(), Refusal>
    where
        T: Serialize + ?Sized,
    {
        self.variant(tag::NEWTYPE_VARIANT, name)?.element(v)
    }

    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Sequence<'a, S>, Refusal> {
        Ok(if types::is_set(self.type_name) {
            Sequence::Set(self.unordered(tag::SET))
        } else {
            Sequence::List(self.ordered(tag::SEQ))
        })
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Ordered<'a, S>, Refusal> {
        Ok(self.ordered(tag::TUPLE))
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Ordered<'a, S>, Refusal> {
        Ok(self.ordered(tag::TUPLE))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Ordered<'a, S>, Refusal> {
        self.variant(tag::TUPLE_VARIANT, name)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Unordered<'a, S>, Refusal> {
        Ok(self.unordered(tag::MAP))
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Ordered<'a, S>, Refusal> {
        Ok(self.ordered(tag::STRUCT))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Ordered<'a, S>, Refusal> {
        self.variant(tag::STRUCT_VARIANT, name)
    }
}

/// Adapter through which `Display` writes into a buffer.
struct Utf8<'a>(&'a mut Vec<u8>);

impl fmt::Write for Utf8<'_> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
