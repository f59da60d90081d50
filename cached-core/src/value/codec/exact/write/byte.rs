//! Serializer of an element that may be written as a plain byte.
//!
//! An element reveals its type only when it is serialized. So the first attempt accepts nothing but a `u8`.

use std::fmt;

use serde::{Serialize, Serializer, ser::Impossible};

use super::WriteFault;

/// Serializer that accepts a `u8`, and rejects anything else before a byte of it is written.
pub(super) struct U8Only<'a>(pub(super) &'a mut Vec<u8>);

macro_rules! refused {
    ($($method:ident($($ty:ty),*) -> $ok:ty;)*) => {$(
        #[inline]
        fn $method(self $(, _: $ty)*) -> Result<$ok, WriteFault> {
            Err(NOT_U8)
        }
    )*};
}

const NOT_U8: WriteFault = WriteFault("an element is not a byte");

type NoCompound = Impossible<(), WriteFault>;

impl Serializer for U8Only<'_> {
    type Ok = ();
    type Error = WriteFault;
    type SerializeSeq = NoCompound;
    type SerializeTuple = NoCompound;
    type SerializeTupleStruct = NoCompound;
    type SerializeTupleVariant = NoCompound;
    type SerializeMap = NoCompound;
    type SerializeStruct = NoCompound;
    type SerializeStructVariant = NoCompound;

    #[inline]
    fn serialize_u8(self, v: u8) -> Result<(), WriteFault> {
        self.0.push(v);
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    refused! {
        serialize_bool(bool) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> NoCompound;
        serialize_tuple(usize) -> NoCompound;
        serialize_tuple_struct(&'static str, usize) -> NoCompound;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> NoCompound;
        serialize_map(Option<usize>) -> NoCompound;
        serialize_struct(&'static str, usize) -> NoCompound;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> NoCompound;
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), WriteFault> {
        Err(NOT_U8)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), WriteFault> {
        Err(NOT_U8)
    }

    // A newtype is read as its content.
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        v: &T,
    ) -> Result<(), WriteFault> {
        v.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), WriteFault> {
        Err(NOT_U8)
    }
}
