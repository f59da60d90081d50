//! Writer of the exact form.
//!
//! * `compound`: sequences and maps.
//! * `byte`: an element that may be written as a plain byte.

mod byte;
mod compound;

use std::fmt;

use serde::{Serialize, Serializer, ser};

use self::compound::{Elements, Entries};
use super::{
    BYTES, CHAR, DEPTH, END, F32, F64, FALSE, I128, MAP, NEGATIVE, NONE, PACKED, PACKED_LEN, POSITIVE, SOME,
    TEXT, TRUE, U128, UNIT,
};
use crate::error::Error;

/// Appends `value` to `out`.
pub(in crate::value::codec) fn encode<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    value.serialize(ExactWriter { out, depth: DEPTH }).map_err(|WriteFault(reason)| Error::codec(reason))
}

/// Reason why a value cannot be written.
///
/// The message of its own `Serialize` may quote the value, so it is dropped.
#[derive(Debug)]
struct WriteFault(&'static str);

impl fmt::Display for WriteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for WriteFault {}

impl ser::Error for WriteFault {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self("the value's `Serialize` returned an error")
    }
}

struct ExactWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Number of further levels that are allowed.
    depth: u8,
}

/// Appends a length or a number: seven bits a byte, the lowest first.
fn write_leb128(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(TEXT);
    write_leb128(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

impl<'a> ExactWriter<'a> {
    fn write_positive(self, number: u64) {
        self.out.push(POSITIVE);
        write_leb128(self.out, number);
    }

    fn write_signed(self, number: i64) {
        if let Ok(number) = u64::try_from(number) {
            return self.write_positive(number);
        }
        self.out.push(NEGATIVE);
        write_leb128(self.out, (!number).unsigned_abs());
    }

    fn deeper(self) -> Result<Self, WriteFault> {
        let depth = self.depth.checked_sub(1).ok_or(WriteFault("the value is nested too deep"))?;
        Ok(Self { depth, ..self })
    }

    fn begin_sequence(self) -> Result<Elements<'a>, WriteFault> {
        let Self { out, depth } = self.deeper()?;
        let packed_at = out.len();
        out.push(PACKED);
        out.extend_from_slice(&[0; PACKED_LEN]);
        Ok(Elements { out, depth, packed_at: Some(packed_at), end_tags: 1 })
    }

    fn begin_map(self) -> Result<Entries<'a>, WriteFault> {
        let Self { out, depth } = self.deeper()?;
        out.push(MAP);
        Ok(Entries { out, depth, end_tags: 1 })
    }

    /// Begins the map of one entry that stands for a variant.
    fn begin_variant(self, name: &str) -> Result<Self, WriteFault> {
        let inner = self.deeper()?;
        inner.out.push(MAP);
        write_text(inner.out, name);
        Ok(inner)
    }
}

macro_rules! integers {
    ($($method:ident($ty:ty) = $write:ident;)*) => {$(
        #[inline]
        fn $method(self, number: $ty) -> Result<(), WriteFault> {
            self.$write(number.into());
            Ok(())
        }
    )*};
}

impl<'a> Serializer for ExactWriter<'a> {
    type Ok = ();
    type Error = WriteFault;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Entries<'a>;
    type SerializeStructVariant = Entries<'a>;

    integers! {
        serialize_u8(u8) = write_positive;
        serialize_u16(u16) = write_positive;
        serialize_u32(u32) = write_positive;
        serialize_u64(u64) = write_positive;
        serialize_i8(i8) = write_signed;
        serialize_i16(i16) = write_signed;
        serialize_i32(i32) = write_signed;
        serialize_i64(i64) = write_signed;
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, v: bool) -> Result<(), WriteFault> {
        self.out.push(if v { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_u128(self, v: u128) -> Result<(), WriteFault> {
        match u64::try_from(v) {
            Ok(number) => self.write_positive(number),
            Err(_) => {
                self.out.push(U128);
                self.out.extend_from_slice(&v.to_le_bytes());
            }
        }
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Result<(), WriteFault> {
        match (u64::try_from(v), i64::try_from(v)) {
            (Ok(number), _) => self.write_positive(number),
            (_, Ok(number)) => self.write_signed(number),
            _ => {
                self.out.push(I128);
                self.out.extend_from_slice(&v.to_le_bytes());
            }
        }
        Ok(())
    }

    fn serialize_f32(self, v: f32) -> Result<(), WriteFault> {
        self.out.push(F32);
        self.out.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }

    fn serialize_f64(self, v: f64) -> Result<(), WriteFault> {
        self.out.push(F64);
        self.out.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), WriteFault> {
        self.out.push(CHAR);
        write_leb128(self.out, u32::from(v).into());
        Ok(())
    }

    fn serialize_str(self, v: &str) -> Result<(), WriteFault> {
        write_text(self.out, v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), WriteFault> {
        self.out.push(BYTES);
        write_leb128(self.out, v.len() as u64);
        self.out.extend_from_slice(v);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), WriteFault> {
        self.out.push(NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<(), WriteFault> {
        let inner = self.deeper()?;
        inner.out.push(SOME);
        v.serialize(inner)
    }

    fn serialize_unit(self) -> Result<(), WriteFault> {
        self.out.push(UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), WriteFault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), WriteFault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T>(self, _: &'static str, v: &T) -> Result<(), WriteFault>
    where
        T: Serialize + ?Sized,
    {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        v: &T,
    ) -> Result<(), WriteFault>
    where
        T: Serialize + ?Sized,
    {
        let Self { out, depth } = self.begin_variant(variant)?;
        v.serialize(ExactWriter { out, depth })?;
        out.push(END);
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, WriteFault> {
        self.begin_sequence()
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, WriteFault> {
        self.begin_sequence()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, WriteFault> {
        self.begin_sequence()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, WriteFault> {
        Ok(Elements { end_tags: 2, ..self.begin_variant(variant)?.begin_sequence()? })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, WriteFault> {
        self.begin_map()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries<'a>, WriteFault> {
        self.begin_map()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries<'a>, WriteFault> {
        Ok(Entries { end_tags: 2, ..self.begin_variant(variant)?.begin_map()? })
    }
}
