//! Reader of the exact form.
//!
//! No bytes make it panic, recurse without end, or allocate more than their own length.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::{
    BYTES, CHAR, DEPTH, END, F32, F64, FALSE, I128, MAP, NEGATIVE, NONE, PACKED, PACKED_LEN, POSITIVE,
    SEQUENCE, SOME, TEXT, TRUE, U128, UNIT,
};
use crate::error::Error;

/// Reads one value from all of `bytes`.
pub(in crate::value::codec) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut reader = ExactReader { rest: bytes, depth: DEPTH };
    let value = T::deserialize(&mut reader).map_err(|ReadFault(reason)| Error::codec(reason))?;
    if reader.rest.is_empty() { Ok(value) } else { Err(Error::codec("bytes follow the value")) }
}

/// Reason why bytes cannot be read.
///
/// The message of a type's own `Deserialize` may quote the bytes, so it is dropped.
#[derive(Debug)]
struct ReadFault(&'static str);

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ReadFault {}

impl de::Error for ReadFault {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self("the bytes do not match the type")
    }
}

const MALFORMED: ReadFault = ReadFault("the bytes are malformed");
const TRUNCATED: ReadFault = ReadFault("the bytes are truncated");

struct ExactReader<'de> {
    rest: &'de [u8],
    /// Number of further levels that are allowed.
    depth: u8,
}

impl<'de> ExactReader<'de> {
    fn peek(&self) -> Result<u8, ReadFault> {
        self.rest.first().copied().ok_or(TRUNCATED)
    }

    fn byte(&mut self) -> Result<u8, ReadFault> {
        let (first, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadFault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn slice(&mut self, len: u64) -> Result<&'de [u8], ReadFault> {
        let len = usize::try_from(len).map_err(|_| TRUNCATED)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    fn leb128(&mut self) -> Result<u64, ReadFault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return Err(MALFORMED);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(MALFORMED)
    }

    fn text(&mut self) -> Result<&'de str, ReadFault> {
        let len = self.leb128()?;
        std::str::from_utf8(self.slice(len)?).map_err(|_| MALFORMED)
    }

    fn packed(&mut self) -> Result<&'de [u8], ReadFault> {
        let len: [u8; PACKED_LEN] = self.array()?;
        self.slice(u64::from_le_bytes(len))
    }

    /// Reads content that is one level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ReadFault>) -> Result<T, ReadFault> {
        self.depth = self.depth.checked_sub(1).ok_or(ReadFault("the value is nested too deep"))?;
        let read = read(self);
        self.depth += 1;
        read
    }

    fn end(&mut self) -> Result<(), ReadFault> {
        if self.byte()? == END { Ok(()) } else { Err(ReadFault("the bytes do not match the type")) }
    }

    /// Skips the `Some` around a value, for a type that requests the value itself.
    fn skip_some(&mut self) -> Result<(), ReadFault> {
        // Skipping a `Some` does not recurse, so it is no level and needs no limit.
        while self.peek()? == SOME {
            self.byte()?;
        }
        Ok(())
    }

    fn sequence<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadFault> {
        self.nested(|reader| {
            let value = visitor.visit_seq(Items(&mut *reader))?;
            reader.end()?;
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ReadFault> {
        self.nested(|reader| {
            let value = visitor.visit_map(Items(&mut *reader))?;
            reader.end()?;
            Ok(value)
        })
    }
}

fn visit_u8s<'de, V: Visitor<'de>>(bytes: &'de [u8], visitor: V) -> Result<V::Value, ReadFault> {
    let mut elements = de::value::SeqDeserializer::new(bytes.iter().copied());
    let value = visitor.visit_seq(&mut elements)?;
    elements.end()?;
    Ok(value)
}

/// Methods for types that request one kind of value: a `Some` around it is skipped.
macro_rules! typed {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
            self.skip_some()?;
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut ExactReader<'de> {
    type Error = ReadFault;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        match self.byte()? {
            UNIT => visitor.visit_unit(),
            NONE => visitor.visit_none(),
            SOME => self.nested(|reader| visitor.visit_some(reader)),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            POSITIVE => visitor.visit_u64(self.leb128()?),
            NEGATIVE => {
                let complement = i64::try_from(self.leb128()?).map_err(|_| MALFORMED)?;
                visitor.visit_i64(!complement)
            }
            U128 => visitor.visit_u128(u128::from_le_bytes(self.array()?)),
            I128 => visitor.visit_i128(i128::from_le_bytes(self.array()?)),
            F32 => visitor.visit_f32(f32::from_le_bytes(self.array()?)),
            F64 => visitor.visit_f64(f64::from_le_bytes(self.array()?)),
            CHAR => {
                let number = u32::try_from(self.leb128()?).map_err(|_| MALFORMED)?;
                visitor.visit_char(char::from_u32(number).ok_or(MALFORMED)?)
            }
            TEXT => visitor.visit_borrowed_str(self.text()?),
            BYTES => {
                let len = self.leb128()?;
                visitor.visit_borrowed_bytes(self.slice(len)?)
            }
            PACKED => visit_u8s(self.packed()?, visitor),
            SEQUENCE => self.sequence(visitor),
            MAP => self.map(visitor),
            _ => Err(MALFORMED),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        match self.peek()? {
            UNIT | NONE | SOME => self.deserialize_any(visitor),
            // The value was no `Option` when it was written. This is a level nevertheless, because no byte is
            // consumed: a type that is an `Option` of itself would recurse without end.
            _ => self.nested(|reader| visitor.visit_some(reader)),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.skip_some()?;
        if self.peek()? == PACKED {
            self.byte()?;
            return visitor.visit_borrowed_bytes(self.packed()?);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.skip_some()?;
        if self.peek()? == BYTES {
            self.byte()?;
            let len = self.leb128()?;
            return visit_u8s(self.slice(len)?, visitor);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadFault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value, ReadFault>
    where
        V: Visitor<'de>,
    {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        self.skip_some()?;
        match self.byte()? {
            TEXT => visitor.visit_enum(self.text()?.into_deserializer()),
            MAP => self.nested(|reader| {
                let value = visitor.visit_enum(Variant(&mut *reader))?;
                reader.end()?;
                Ok(value)
            }),
            _ => Err(ReadFault("the bytes do not match the type")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        self.deserialize_map(visitor)
    }

    typed! {
        deserialize_bool deserialize_char deserialize_f32 deserialize_f64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_identifier deserialize_map deserialize_str deserialize_string deserialize_unit
    }
}

/// Content of a sequence or a map, up to its end.
struct Items<'a, 'de>(&'a mut ExactReader<'de>);

impl<'de> Items<'_, 'de> {
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadFault> {
        if self.0.peek()? == END { Ok(None) } else { seed.deserialize(&mut *self.0).map(Some) }
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = ReadFault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadFault> {
        self.next(seed)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = ReadFault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadFault> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadFault> {
        seed.deserialize(&mut *self.0)
    }
}

/// A variant with content: its name, then the content.
struct Variant<'a, 'de>(&'a mut ExactReader<'de>);

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = ReadFault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ReadFault> {
        let name = seed.deserialize(&mut *self.0)?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = ReadFault;

    fn unit_variant(self) -> Result<(), ReadFault> {
        de::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadFault> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadFault> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
