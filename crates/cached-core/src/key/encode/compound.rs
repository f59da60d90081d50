//! What has parts: in the order in which they are serialised, or sorted.

use serde::{Serialize, ser};

use super::{Refusal, string, tag, value};

/// What keeps the order it is serialised in.
pub(super) struct Ordered<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Ordered<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    #[inline]
    pub(super) fn element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        value(v, self.out)
    }

    #[inline]
    fn finish(self) {
        self.out.push(tag::END);
    }
}

macro_rules! positional {
    ($($trait:ident::$method:ident)*) => {$(
        impl ser::$trait for Ordered<'_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
                self.element(v)
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.finish();
                Ok(())
            }
        }
    )*};
}

macro_rules! named {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Ordered<'_> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn serialize_field<T>(&mut self, name: &'static str, v: &T) -> Result<(), Refusal>
            where
                T: Serialize + ?Sized,
            {
                string(name, self.out)?;
                self.element(v)
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.finish();
                Ok(())
            }
        }
    )*};
}

positional! {
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

named! { SerializeStruct SerializeStructVariant }

/// Entries of a map or elements of a set, which are sorted at the end.
pub(super) struct Unordered<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    entries: Vec<Entry>,
}

/// Where an entry lies in the buffer. An element of a set is a key alone.
struct Entry {
    start: usize,
    key_end: usize,
    end: usize,
}

impl<'a> Unordered<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { start: out.len(), out, entries: Vec::new() }
    }

    fn key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let start = self.out.len();
        value(v, self.out)?;
        let end = self.out.len();
        self.entries.push(Entry { start, key_end: end, end });
        Ok(())
    }

    fn finish(self) {
        let Self { out, start, mut entries } = self;
        // Stable, so that values under the same key keep their order.
        entries.sort_by(|a, b| out[a.start..a.key_end].cmp(&out[b.start..b.key_end]));
        let unsorted = out[start..].to_vec();
        out.truncate(start);
        for entry in entries {
            out.extend_from_slice(&unsorted[entry.start - start..entry.end - start]);
        }
        out.push(tag::END);
    }
}

impl ser::SerializeMap for Unordered<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        self.key(v)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        value(v, self.out)?;
        let entry = self.entries.last_mut().ok_or(Refusal::Unserializable)?;
        entry.end = self.out.len();
        Ok(())
    }

    fn end(self) -> Result<(), Refusal> {
        self.finish();
        Ok(())
    }
}

pub(super) enum Sequence<'a> {
    List(Ordered<'a>),
    Set(Unordered<'a>),
}

impl ser::SerializeSeq for Sequence<'_> {
    type Ok = ();
    type Error = Refusal;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        match self {
            Self::List(list) => list.element(v),
            Self::Set(set) => set.key(v),
        }
    }

    #[inline]
    fn end(self) -> Result<(), Refusal> {
        match self {
            Self::List(list) => list.finish(),
            Self::Set(set) => set.finish(),
        }
        Ok(())
    }
}
