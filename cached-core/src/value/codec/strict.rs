//! A guard in front of a serializer of a format that has no form for some values.
//!
//! Such a format does not fail: it writes something else, and the value that comes back is another one. The guard passes a
//! value on, and ends in an error where the format would change it.

use std::cell::Cell;

use serde::{
    Serialize, Serializer,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use crate::base::planted::planted;

/// What a format has no form for, besides a `Some` of what is written as `null`, integers of more than 64 bits, and sequences of many
/// `u8` as such.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gaps {
    /// It is a text. Then it has no form for a NaN and the infinities, nor for bytes, and keys of maps that are no text are written
    /// as one, and read as that where the type leaves it open.
    pub(super) is_text: bool,
    /// More levels than this: they could be written and not be read.
    pub(super) depth: u16,
}

/// So many `u8` in a row are bytes. Fewer are left to formats that write a list of numbers, because that can be read by people.
const RUN: usize = 64;

/// Serializes `value` with `inner`, unless that would change it.
pub(super) fn serialize<T, S>(value: &T, inner: S, gaps: Gaps) -> Result<S::Ok, S::Error>
where
    T: Serialize + ?Sized,
    S: Serializer,
{
    let octet = Cell::new(false);
    let at = Place { gaps, depth: gaps.depth, in_some: false, is_key: false, octet: &octet };
    value.serialize(Strict { inner, at })
}

/// Where in a value it is.
#[derive(Clone, Copy)]
struct Place<'a> {
    gaps: Gaps,
    /// How many levels there may still be.
    depth: u16,
    /// Directly inside of a `Some`, where what is written as `null` is read as `None`.
    in_some: bool,
    is_key: bool,
    /// Set by what turns out to be a `u8`.
    octet: &'a Cell<bool>,
}

struct Strict<'a, S> {
    inner: S,
    at: Place<'a>,
}

/// A part of a value, at its place.
struct At<'a, T: ?Sized>(&'a T, Place<'a>);

impl<T: Serialize + ?Sized> Serialize for At<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Strict { inner, at: self.1 })
    }
}

impl<'a> Place<'a> {
    /// One level deeper, where nothing is known yet.
    fn within<E: serde::ser::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("the value is nested too deep"))?;
        Ok(Self { depth, in_some: false, is_key: false, ..self })
    }

    /// What is written as `null`, and is not a `None`.
    fn is_absence<E: serde::ser::Error>(self) -> Result<(), E> {
        let is_refused = self.in_some && !planted!("absence-written");
        if is_refused { Err(E::custom("a `Some` that would be read as `None`")) } else { Ok(()) }
    }

    /// What is no text.
    fn is_no_text<E: serde::ser::Error>(self) -> Result<(), E> {
        let is_refused = self.is_key && self.gaps.is_text;
        if is_refused { Err(E::custom("a key of a map that is no text")) } else { Ok(()) }
    }

    fn float<E: serde::ser::Error>(self, is_finite: bool) -> Result<(), E> {
        self.is_no_text()?;
        let is_refused = self.gaps.is_text && !is_finite;
        if is_refused { Err(E::custom("a float that is not finite")) } else { Ok(()) }
    }

    /// Where a format has a form for them, a type that buffers what it reads (`untagged`, `flatten`) has none.
    fn wide<E: serde::ser::Error>(self, is_wide: bool) -> Result<(), E> {
        self.is_no_text()?;
        if is_wide { Err(E::custom("an integer of more than 64 bits")) } else { Ok(()) }
    }

    fn many<S>(self, inner: S) -> Many<'a, S> {
        Many { inner, at: self, run: Some(0) }
    }
}

macro_rules! scalars {
    ($($method:ident($ty:ty);)*) => {$(
        #[inline]
        fn $method(self, v: $ty) -> Result<S::Ok, S::Error> {
            self.at.is_no_text()?;
            self.inner.$method(v)
        }
    )*};
}

impl<'a, S: Serializer> Serializer for Strict<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Many<'a, S::SerializeSeq>;
    type SerializeTuple = Many<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Many<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Many<'a, S::SerializeTupleVariant>;
    type SerializeMap = Many<'a, S::SerializeMap>;
    type SerializeStruct = Many<'a, S::SerializeStruct>;
    type SerializeStructVariant = Many<'a, S::SerializeStructVariant>;

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
        self.at.is_no_text()?;
        self.at.octet.set(true);
        self.inner.serialize_u8(v)
    }

    fn serialize_u128(self, v: u128) -> Result<S::Ok, S::Error> {
        self.at.wide(u64::try_from(v).is_err())?;
        self.inner.serialize_u128(v)
    }

    fn serialize_i128(self, v: i128) -> Result<S::Ok, S::Error> {
        self.at.wide(u64::try_from(v).is_err() && i64::try_from(v).is_err())?;
        self.inner.serialize_i128(v)
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        self.at.float(v.is_finite())?;
        self.inner.serialize_f32(v)
    }

    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        self.at.float(v.is_finite())?;
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
        self.at.is_no_text()?;
        if self.at.gaps.is_text {
            return Err(S::Error::custom("bytes"));
        }
        self.inner.serialize_bytes(v)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.at.is_absence()?;
        self.at.is_no_text()?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<S::Ok, S::Error> {
        self.at.is_no_text()?;
        let written = self.inner.serialize_some(&At(v, Place { in_some: true, ..self.at }));
        self.at.octet.set(false);
        written
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.at.is_absence()?;
        self.at.is_no_text()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.at.is_absence()?;
        self.at.is_no_text()?;
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

    // What is inside of a newtype is written in its place.
    fn serialize_newtype_struct<T>(self, name: &'static str, v: &T) -> Result<S::Ok, S::Error>
    where
        T: Serialize + ?Sized,
    {
        self.inner.serialize_newtype_struct(name, &At(v, self.at))
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
        let within = self.at.within()?;
        let written = self.inner.serialize_newtype_variant(name, index, variant, &At(v, within));
        self.at.octet.set(false);
        written
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(self.at.within::<S::Error>()?.many(self.inner.serialize_seq(len)?))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(self.at.within::<S::Error>()?.many(self.inner.serialize_tuple(len)?))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        Ok(self.at.within::<S::Error>()?.many(self.inner.serialize_tuple_struct(name, len)?))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Ok(self
            .at
            .within::<S::Error>()?
            .within::<S::Error>()?
            .many(self.inner.serialize_tuple_variant(name, index, variant, len)?))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(self.at.within::<S::Error>()?.many(self.inner.serialize_map(len)?))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(self.at.within::<S::Error>()?.many(self.inner.serialize_struct(name, len)?))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Ok(self
            .at
            .within::<S::Error>()?
            .within::<S::Error>()?
            .many(self.inner.serialize_struct_variant(name, index, variant, len)?))
    }
}

/// A value of several parts that is being written.
struct Many<'a, S> {
    inner: S,
    at: Place<'a>,
    /// How many elements there were, as long as all of them are `u8`.
    run: Option<usize>,
}

impl<S> Many<'_, S> {
    /// An element was written.
    #[inline]
    fn note<E: serde::ser::Error>(&mut self) -> Result<(), E> {
        let is_octet = self.at.octet.take();
        self.run = self.run.filter(|_| is_octet).map(|run| run + 1);
        if self.run.is_some_and(|run| run >= RUN) { Err(E::custom("bytes")) } else { Ok(()) }
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident;)*) => {$(
        impl<S: $trait> $trait for Many<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
                self.inner.$method(&At(v, self.at))?;
                self.note()
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                // A sequence is no octet, even if its last element is one.
                self.at.octet.set(false);
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
        impl<S: $trait> $trait for Many<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Result<(), S::Error> {
                self.inner.serialize_field(name, &At(v, self.at))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.at.octet.set(false);
                self.inner.end()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl<S: SerializeMap> SerializeMap for Many<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
        self.inner.serialize_key(&At(v, Place { is_key: true, ..self.at }))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&At(v, self.at))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.at.octet.set(false);
        self.inner.end()
    }
}
