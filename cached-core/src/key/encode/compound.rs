//! Values with parts: in the order in which they are serialised, or sorted.
//!
//! A `Serialize` implementation may ignore the error of a part and go on. Then the whole value has no bytes
//! either: those of the part would be missing or cut off, and another value could have the same bytes.

use std::mem;

use serde::{Serialize, ser};

use super::{Append, Refusal, Sink, put, tag};

/// Serializer of a value that keeps the order of its parts.
pub(super) struct Ordered<'a, S> {
    sink: &'a mut S,
    /// Set as long as no part was refused, and none panicked in its implementation.
    is_whole: bool,
}

impl<'a, S: Sink> Ordered<'a, S> {
    #[inline]
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { sink, is_whole: true }
    }

    #[inline]
    pub(super) fn element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let was_whole = mem::replace(&mut self.is_whole, false);
        put(v, self.sink)?;
        self.is_whole = was_whole;
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<(), Refusal> {
        self.sink.byte(tag::END);
        whole(self.is_whole)
    }
}

#[inline]
fn whole(is_whole: bool) -> Result<(), Refusal> {
    if is_whole { Ok(()) } else { Err(Refusal::Unserializable) }
}

macro_rules! positional {
    ($($trait:ident::$method:ident)*) => {$(
        impl<S: Sink> ser::$trait for Ordered<'_, S> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
                self.element(v)
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.finish()
            }
        }
    )*};
}

macro_rules! named {
    ($($trait:ident)*) => {$(
        impl<S: Sink> ser::$trait for Ordered<'_, S> {
            type Ok = ();
            type Error = Refusal;

            #[inline]
            fn serialize_field<T>(&mut self, name: &'static str, v: &T) -> Result<(), Refusal>
            where
                T: Serialize + ?Sized,
            {
                self.sink.framed(tag::STR, name.as_bytes())?;
                self.element(v)
            }

            #[inline]
            fn end(self) -> Result<(), Refusal> {
                self.finish()
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

/// Serializer of a map or a set, which sorts the entries or elements at the end.
pub(super) struct Unordered<'a, S> {
    sink: &'a mut S,
    start: usize,
    entries: Vec<EntryRange>,
    /// Set under the same condition as in [`Ordered`].
    is_whole: bool,
}

/// Position of an entry in the buffer. An element of a set is a key alone.
struct EntryRange {
    start: usize,
    key_end: usize,
    end: usize,
}

impl<'a, S: Sink> Unordered<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { start: sink.buffer().len(), sink, entries: Vec::new(), is_whole: true }
    }

    /// Appends a part to the buffer, and returns its start and its end there.
    fn put<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(usize, usize), Refusal> {
        let was_whole = mem::replace(&mut self.is_whole, false);
        let buffer = self.sink.buffer();
        let start = buffer.len();
        put(v, &mut Append(buffer))?;
        self.is_whole = was_whole;
        Ok((start, buffer.len()))
    }

    fn key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let (start, end) = self.put(v)?;
        self.entries.push(EntryRange { start, key_end: end, end });
        Ok(())
    }

    fn finish(self) -> Result<(), Refusal> {
        let Self { sink, start, mut entries, is_whole } = self;
        let out = sink.buffer();
        // The sort is stable, so that values under the same key keep their order.
        entries.sort_by(|a, b| out[a.start..a.key_end].cmp(&out[b.start..b.key_end]));
        let unsorted = out[start..].to_vec();
        out.truncate(start);
        for entry in entries {
            out.extend_from_slice(&unsorted[entry.start - start..entry.end - start]);
        }
        out.push(tag::END);
        sink.whole(start);
        whole(is_whole)
    }
}

impl<S: Sink> ser::SerializeMap for Unordered<'_, S> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        self.key(v)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let (_, end) = self.put(v)?;
        self.entries.last_mut().ok_or(Refusal::Unserializable)?.end = end;
        Ok(())
    }

    fn end(self) -> Result<(), Refusal> {
        self.finish()
    }
}

pub(super) enum Sequence<'a, S> {
    List(Ordered<'a, S>),
    Set(Unordered<'a, S>),
}

impl<S: Sink> ser::SerializeSeq for Sequence<'_, S> {
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
    }
}
