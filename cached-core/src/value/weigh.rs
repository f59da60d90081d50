//! Estimate of the heap memory of a value, through its `Serialize` implementation.

use std::fmt;

use serde::{Serialize, Serializer, ser};

/// Estimates the bytes that `value` holds outside of its own `size_of`.
///
/// These are the lengths of its strings and bytes, and the sizes of the elements of its sequences and maps.
/// The estimate allocates nothing.
///
/// Sizes are those of the serialised forms, because serde passes references to elements: a number counts its
/// width, a string or collection its header. Spare capacity, padding, the nodes of maps and skipped fields
/// are not seen. A `Serialize` implementation that returns an error ends the count: the bytes counted until
/// then are the result.
pub(crate) fn weigh<T: Serialize + ?Sized>(value: &T) -> usize {
    weigh_apart(value).0
}

/// Estimates the bytes that a part of a container holds outside of its own `size_of`.
///
/// If the part's own bytes are more than its `size_of`, they lie in a further allocation, behind a `Box` or an
/// `Arc`.
pub(crate) fn weigh_part<T: Serialize>(part: &T) -> usize {
    let (total, own) = weigh_apart(part);
    total.saturating_add(own.saturating_sub(size_of::<T>()))
}

/// Returns the bytes outside of the value, and the value's own bytes.
fn weigh_apart<T: Serialize + ?Sized>(value: &T) -> (usize, usize) {
    let (mut total, mut own) = (0, 0);
    let _ = value.serialize(Weigher { total: &mut total, own: &mut own, on_heap: false });
    (total, own)
}

/// Size of a `String`, a `Vec` or a map itself, without its content.
const HEADER: usize = size_of::<Vec<()>>();

/// Least size of a value without content, such as a variant.
const WORD: usize = size_of::<usize>();

/// Error of the value's own `Serialize` implementation.
#[derive(Debug)]
struct Unserializable;

impl fmt::Display for Unserializable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value cannot be serialized")
    }
}

impl std::error::Error for Unserializable {}

impl ser::Error for Unserializable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Weigher<'a> {
    total: &'a mut usize,
    /// The value's own bytes, if they do not lie in an allocation that was seen.
    own: &'a mut usize,
    /// Set if the value is part of an element: then its own bytes lie in an allocation, and not only its
    /// content.
    on_heap: bool,
}

impl Weigher<'_> {
    /// Adds up to less than the address space in practice. An addition that saturates would keep the compiler
    /// from turning a walk of numbers into one multiplication.
    #[inline]
    fn add(&mut self, bytes: usize) {
        *self.total = self.total.wrapping_add(bytes);
    }

    /// Counts the value's own bytes: in the total if these lie in an allocation.
    #[inline]
    fn add_own_size(mut self, bytes: usize) -> Self {
        if self.on_heap {
            self.add(bytes);
        } else {
            *self.own = self.own.wrapping_add(bytes);
        }
        self
    }

    /// Counts a part that lies inside its parent.
    #[inline]
    fn inline<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Unserializable> {
        part.serialize(Weigher { total: self.total, own: self.own, on_heap: self.on_heap })
    }

    /// Counts a part that lies in its parent's allocation.
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Unserializable> {
        part.serialize(Weigher { total: self.total, own: self.own, on_heap: true })
    }
}

impl fmt::Write for Weigher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.len());
        Ok(())
    }
}

macro_rules! sized {
    ($($method:ident($($ty:ty)?) = $size:expr;)*) => {$(
        #[inline]
        fn $method(self $(, _: $ty)?) -> Result<(), Unserializable> {
            self.add_own_size($size);
            Ok(())
        }
    )*};
}

impl Serializer for Weigher<'_> {
    type Ok = ();
    type Error = Unserializable;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    sized! {
        serialize_bool(bool) = size_of::<bool>();
        serialize_char(char) = size_of::<char>();
        serialize_i8(i8) = size_of::<i8>();
        serialize_i16(i16) = size_of::<i16>();
        serialize_i32(i32) = size_of::<i32>();
        serialize_i64(i64) = size_of::<i64>();
        serialize_i128(i128) = size_of::<i128>();
        serialize_u8(u8) = size_of::<u8>();
        serialize_u16(u16) = size_of::<u16>();
        serialize_u32(u32) = size_of::<u32>();
        serialize_u64(u64) = size_of::<u64>();
        serialize_u128(u128) = size_of::<u128>();
        serialize_f32(f32) = size_of::<f32>();
        serialize_f64(f64) = size_of::<f64>();
        serialize_none() = WORD;
        serialize_unit() = 0;
        serialize_unit_struct(&'static str) = 0;
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Unserializable> {
        self.add_own_size(HEADER).add(v.len());
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Unserializable> {
        self.add_own_size(HEADER).add(v.len());
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(mut self, v: &T) -> Result<(), Unserializable> {
        fmt::write(&mut self, format_args!("{v}")).map_err(|_| Unserializable)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, v: &T) -> Result<(), Unserializable> {
        self.inline(v)
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Unserializable> {
        self.add_own_size(WORD);
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T>(mut self, _: &'static str, v: &T) -> Result<(), Unserializable>
    where
        T: Serialize + ?Sized,
    {
        self.inline(v)
    }

    #[inline]
    fn serialize_newtype_variant<T>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        v: &T,
    ) -> Result<(), Unserializable>
    where
        T: Serialize + ?Sized,
    {
        self.add_own_size(WORD).inline(v)
    }

    #[inline]
    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Unserializable> {
        Ok(self.add_own_size(HEADER))
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, Unserializable> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Unserializable> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unserializable> {
        Ok(self.add_own_size(WORD))
    }

    #[inline]
    fn serialize_map(self, _: Option<usize>) -> Result<Self, Unserializable> {
        Ok(self.add_own_size(HEADER))
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unserializable> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Unserializable> {
        Ok(self.add_own_size(WORD))
    }
}

macro_rules! parts {
    ($($trait:ident { $($method:ident($($name:ty)?) = $part:ident;)+ })*) => {$(
        impl ser::$trait for Weigher<'_> {
            type Ok = ();
            type Error = Unserializable;

            $(
                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? v: &T) -> Result<(), Unserializable> {
                    self.$part(v)
                }
            )+

            #[inline]
            fn end(self) -> Result<(), Unserializable> {
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeSeq { serialize_element() = element; }
    SerializeTuple { serialize_element() = inline; }
    SerializeTupleStruct { serialize_field() = inline; }
    SerializeTupleVariant { serialize_field() = inline; }
    SerializeMap { serialize_key() = element; serialize_value() = element; }
    SerializeStruct { serialize_field(&'static str) = inline; }
    SerializeStructVariant { serialize_field(&'static str) = inline; }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Page {
        title: String,
        lines: Vec<String>,
        size: [u64; 2],
        next: Option<Box<str>>,
    }

    #[test]
    fn value_without_heap_data_weighs_nothing() {
        assert_eq!(weigh(&7_u128), 0);
        assert_eq!(weigh(&([1_u64; 9], 'a', false, None::<String>, ())), 0);
    }

    #[test]
    fn strings_and_elements_are_counted_at_every_depth() {
        let text = size_of::<String>();
        assert_eq!(weigh("abc"), 3);
        assert_eq!(weigh(&vec![1_u32; 5]), 20);
        assert_eq!(weigh(&Vec::from([String::from("ab"), String::from("c")])), 2 * text + 3);
        assert_eq!(weigh(&BTreeMap::from([(1_u8, String::from("xyz"))])), 1 + text + 3);
        let page = Page {
            title: "four".into(),
            lines: vec!["12".into(), "345".into()],
            size: [0; 2],
            next: Some("next".into()),
        };
        assert_eq!(weigh(&page), 4 + 2 * text + 5 + 4);
        assert_eq!(weigh(&vec![(1_u64, "ab"), (2, "c")]), 2 * (8 + text) + 3);
        assert_eq!(weigh(&vec![Vec::<u16>::new(), vec![1, 2, 3]]), 2 * HEADER + 6);
        assert_eq!(weigh(&vec![None, Some(1_u64)]), 16);
    }

    #[test]
    fn part_behind_a_box_counts_in_full() {
        let row = [7_u64; 10];
        assert_eq!((weigh_part(&row), weigh_part(&Box::new(row))), (0, 80 - size_of::<usize>()));
        assert_eq!(weigh_part(&Box::new(String::from("abc"))), size_of::<String>() - size_of::<usize>() + 3);
        assert_eq!(weigh_part(&String::from("abc")), 3);
    }

    #[derive(Serialize)]
    enum Kind {
        Unit,
        New(String),
    }

    #[derive(Serialize)]
    struct New(String);

    struct Octets(&'static [u8]);

    impl Serialize for Octets {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    #[test]
    fn each_kind_of_value_is_counted() {
        let text = size_of::<String>();
        assert_eq!(weigh(&vec![Kind::Unit, Kind::Unit]), 2 * WORD);
        assert_eq!(weigh(&vec![Kind::New("abc".into())]), WORD + text + 3);
        assert_eq!((weigh(&New("abc".into())), weigh(&vec![New("abc".into())])), (3, text + 3));
        assert_eq!((weigh(&Octets(b"abc")), weigh(&vec![Octets(b"abc")])), (3, HEADER + 3));
        // An address serialises as text only in human-readable formats, and as four numbers otherwise.
        assert_eq!(weigh(&vec![std::net::Ipv4Addr::LOCALHOST]), 4);
    }

    #[test]
    fn weigh_counts_until_the_first_error() {
        struct Broken;
        impl Serialize for Broken {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("broken"))
            }
        }
        assert_eq!(weigh(&("abc", Broken, "def")), 3);
    }

    #[test]
    fn displayed_text_is_counted() {
        struct Shown;
        impl Serialize for Shown {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{}-{}", 12, 345))
            }
        }
        assert_eq!(weigh(&Shown), 6);
    }
}
