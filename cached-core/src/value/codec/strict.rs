//! A guard in front of the serializer of a format that has no form for some values.
//!
//! Such a format does not fail: it writes something else, and another value is read back. The guard passes a
//! value on, and returns an error where the format would change it.

use std::cell::Cell;

use serde::{
    Serialize, Serializer,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use crate::base::planted::planted;

/// Values that a format has no form for, in addition to those that every guarded format lacks.
///
/// No guarded format has a form for a `Some` of a value that is written as `null`, for integers of more than
/// 64 bits, and for sequences (other than bytes) of many `u8`.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormatLimits {
    /// Set if the format is a text. Then it has no form for a NaN and the infinities, nor for bytes.
    ///
    /// Map keys that are not text are written as text, and read as text where the type leaves it open.
    pub(super) is_text: bool,
    /// Greatest number of levels: deeper values could be written and not be read.
    pub(super) depth: u16,
}

/// Number of `u8` in a row that count as bytes.
///
/// A shorter row is left to formats that write a list of numbers, because a list can be read by people.
const MIN_BYTE_RUN: usize = 64;

/// Serializes `value` with `inner`, or returns an error if that would change it.
pub(super) fn serialize<T, S>(value: &T, inner: S, limits: FormatLimits) -> Result<S::Ok, S::Error>
where
    T: Serialize + ?Sized,
    S: Serializer,
{
    let is_u8 = Cell::new(false);
    let position = Position { limits, depth: limits.depth, in_some: false, is_key: false, is_u8: &is_u8 };
    value.serialize(Strict { inner, position })
}

/// Position of a part in the value that is written.
#[derive(Clone, Copy)]
struct Position<'a> {
    limits: FormatLimits,
    /// Number of further levels that are allowed.
    depth: u16,
    /// Set directly inside of a `Some`, where a `null` is read as `None`.
    in_some: bool,
    is_key: bool,
    /// Set by a part that turns out to be a `u8`.
    is_u8: &'a Cell<bool>,
}

struct Strict<'a, S> {
    inner: S,
    position: Position<'a>,
}

/// A part of a value, with its position.
struct At<'a, T: ?Sized>(&'a T, Position<'a>);

impl<T: Serialize + ?Sized> Serialize for At<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Strict { inner, position: self.1 })
    }
}

impl<'a> Position<'a> {
    /// Returns a position one level deeper, outside of any `Some` and key.
    fn deeper<E: serde::ser::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("the value is nested too deep"))?;
        Ok(Self { depth, in_some: false, is_key: false, ..self })
    }

    /// Rejects a part that is written as `null` if it is directly inside of a `Some`.
    fn reject_null_in_some<E: serde::ser::Error>(self) -> Result<(), E> {
        let is_refused = self.in_some && !planted!("absence-written");
        if is_refused { Err(E::custom("a `Some` would be read as `None`")) } else { Ok(()) }
    }

    /// Rejects a part that is not text if it is a key of a map in a text format.
    fn reject_non_text_key<E: serde::ser::Error>(self) -> Result<(), E> {
        let is_refused = self.is_key && self.limits.is_text;
        if is_refused { Err(E::custom("a key of a map is not text")) } else { Ok(()) }
    }

    fn check_float<E: serde::ser::Error>(self, is_finite: bool) -> Result<(), E> {
        self.reject_non_text_key()?;
        let is_refused = self.limits.is_text && !is_finite;
        if is_refused { Err(E::custom("a float is not finite")) } else { Ok(()) }
    }

    /// Rejects an integer of more than 64 bits.
    ///
    /// Even where a format has a form for it, a type that buffers its input (`untagged`, `flatten`) has none.
    fn check_integer<E: serde::ser::Error>(self, is_wide: bool) -> Result<(), E> {
        self.reject_non_text_key()?;
        if is_wide { Err(E::custom("an integer has more than 64 bits")) } else { Ok(()) }
    }

    fn compound<S>(self, inner: S) -> Compound<'a, S> {
        Compound { inner, position: self, u8_run: Some(0) }
    }
}

macro_rules! scalars {
    ($($method:ident($ty:ty);)*) => {$(
        #[inline]
        fn $method(self, v: $ty) -> Result<S::Ok, S::Error> {
            self.position.reject_non_text_key()?;
            self.inner.$method(v)
        }
    )*};
}

impl<'a, S: Serializer> Serializer for Strict<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Compound<'a, S::SerializeSeq>;
    type SerializeTuple = Compound<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Compound<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Compound<'a, S::SerializeTupleVariant>;
    type SerializeMap = Compound<'a, S::SerializeMap>;
    type SerializeStruct = Compound<'a, S::SerializeStruct>;
    type SerializeStructVariant = Compound<'a, S::SerializeStructVariant>;

    scalars! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Result<S::Ok, S::Error> {
        self.position.reject_non_text_key()?;
        self.position.is_u8.set(true);
        self.inner.serialize_u8(v)
    }

    fn serialize_u128(self, v: u128) -> Result<S::Ok, S::Error> {
        self.position.check_integer(u64::try_from(v).is_err())?;
        self.inner.serialize_u128(v)
    }

    fn serialize_i128(self, v: i128) -> Result<S::Ok, S::Error> {
        self.position.check_integer(u64::try_from(v).is_err() && i64::try_from(v).is_err())?;
        self.inner.serialize_i128(v)
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        self.position.check_float(v.is_finite())?;
        self.inner.serialize_f32(v)
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        self.position.check_float(v.is_finite())?;
        self.inner.serialize_f64(v)
    }

    #[inline]
    fn serialize_char(self, v: char) -> Result<S::Ok, S::Error> {
        self.inner.serialize_char(v)
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_str(v)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, v: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<S::Ok, S::Error> {
        self.position.reject_non_text_key()?;
        if self.position.limits.is_text {
            return Err(S::Error::custom("bytes"));
        }
        self.inner.serialize_bytes(v)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.position.reject_null_in_some()?;
        self.position.reject_non_text_key()?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<S::Ok, S::Error> {
        self.position.reject_non_text_key()?;
        let result = self.inner.serialize_some(&At(v, Position { in_some: true, ..self.position }));
        self.position.is_u8.set(false);
        result
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.position.reject_null_in_some()?;
        self.position.reject_non_text_key()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.position.reject_null_in_some()?;
        self.position.reject_non_text_key()?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    // The content of a newtype is written in its place.
    fn serialize_newtype_struct<T>(self, name: &'static str, v: &T) -> Result<S::Ok, S::Error>
    where
        T: Serialize + ?Sized,
    {
        self.inner.serialize_newtype_struct(name, &At(v, self.position))
    }

    fn serialize_newtype_variant<T>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        v: &T,
    ) -> Result<S::Ok, S::Error>
    where
        T: Serialize + ?Sized,
    {
        let deeper = self.position.deeper()?;
        let written = self.inner.serialize_newtype_variant(name, index, variant, &At(v, deeper));
        self.position.is_u8.set(false);
        written
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(self.position.deeper::<S::Error>()?.compound(self.inner.serialize_seq(len)?))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(self.position.deeper::<S::Error>()?.compound(self.inner.serialize_tuple(len)?))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        Ok(self.position.deeper::<S::Error>()?.compound(self.inner.serialize_tuple_struct(name, len)?))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Ok(self
            .position
            .deeper::<S::Error>()?
            .deeper::<S::Error>()?
            .compound(self.inner.serialize_tuple_variant(name, index, variant, len)?))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(self.position.deeper::<S::Error>()?.compound(self.inner.serialize_map(len)?))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(self.position.deeper::<S::Error>()?.compound(self.inner.serialize_struct(name, len)?))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Ok(self
            .position
            .deeper::<S::Error>()?
            .deeper::<S::Error>()?
            .compound(self.inner.serialize_struct_variant(name, index, variant, len)?))
    }
}

/// Serializer of a value of several parts.
struct Compound<'a, S> {
    inner: S,
    position: Position<'a>,
    /// Number of elements so far, as long as all of them are `u8`.
    u8_run: Option<usize>,
}

impl<S> Compound<'_, S> {
    /// Notes that an element was written, and rejects a row of [`MIN_BYTE_RUN`] `u8`.
    #[inline]
    fn record_element<E: serde::ser::Error>(&mut self) -> Result<(), E> {
        let is_u8 = self.position.is_u8.take();
        self.u8_run = self.u8_run.filter(|_| is_u8).map(|run| run + 1);
        if self.u8_run.is_some_and(|run| run >= MIN_BYTE_RUN) { Err(E::custom("bytes")) } else { Ok(()) }
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident;)*) => {$(
        impl<S: $trait> $trait for Compound<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
                self.inner.$method(&At(v, self.position))?;
                self.record_element()
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                // A sequence is not a `u8`, even if its last element is one.
                self.position.is_u8.set(false);
                self.inner.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! fields {
    ($($trait:ident;)*) => {$(
        impl<S: $trait> $trait for Compound<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Result<(), S::Error> {
                self.inner.serialize_field(name, &At(v, self.position))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.position.is_u8.set(false);
                self.inner.end()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: SerializeMap> SerializeMap for Compound<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(&At(v, Position { is_key: true, ..self.position }))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&At(v, self.position))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.position.is_u8.set(false);
        self.inner.end()
    }
}
