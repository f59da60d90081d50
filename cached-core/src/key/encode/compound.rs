//! Values with parts: in the order in which they are serialised, or sorted.
//!
//! A `Serialize` implementation may ignore the error of a part and go on. Then the whole value has no bytes
//! either: those of the part would be missing or cut off, and another value could have the same bytes.

use std::mem;

use serde::{Serialize, ser};

use super::{Append, Refusal, Sink, encode_into, tag};

/// Serializer of a value that keeps the order of its parts.
pub(super) struct Ordered<'a, S> {
    sink: &'a mut S,
    /// Set as long as no part was refused, and none panicked in its implementation.
    is_complete: bool,
}

impl<'a, S: Sink> Ordered<'a, S> {
    #[inline]
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { sink, is_complete: true }
    }

    #[inline]
    pub(super) fn element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let was_complete = mem::replace(&mut self.is_complete, false);
        encode_into(v, self.sink)?;
        self.is_complete = was_complete;
        Ok(())
    }

    #[inline]
    fn finish(self) -> Result<(), Refusal> {
        self.sink.byte(tag::END);
        check_complete(self.is_complete)
    }
}

#[inline]
fn check_complete(is_complete: bool) -> Result<(), Refusal> {
    if is_complete { Ok(()) } else { Err(Refusal::Unserializable) }
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
                self.sink.length_prefixed(tag::STR, name.as_bytes())?;
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
    is_complete: bool,
}

/// Position of an entry in the buffer. An element of a set is a key alone.
struct EntryRange {
    start: usize,
    key_end: usize,
    end: usize,
}

impl<'a, S: Sink> Unordered<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { start: sink.buffer().len(), sink, entries: Vec::new(), is_complete: true }
    }

    /// Appends a part to the buffer, and returns its start and its end there.
    fn append_part<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(usize, usize), Refusal> {
        let was_complete = mem::replace(&mut self.is_complete, false);
        let buffer = self.sink.buffer();
        let start = buffer.len();
        encode_into(v, &mut Append(buffer))?;
        self.is_complete = was_complete;
        Ok((start, buffer.len()))
    }

    fn append_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let (start, end) = self.append_part(v)?;
        self.entries.push(EntryRange { start, key_end: end, end });
        Ok(())
    }

    fn finish(self) -> Result<(), Refusal> {
        let Self { sink, start, mut entries, is_complete } = self;
        let out = sink.buffer();
        // The sort is stable, so that values under the same key keep their order.
        entries.sort_by(|a, b| out[a.start..a.key_end].cmp(&out[b.start..b.key_end]));
        let unsorted = out[start..].to_vec();
        out.truncate(start);
        for entry in entries {
            out.extend_from_slice(&unsorted[entry.start - start..entry.end - start]);
        }
        out.push(tag::END);
        sink.take_buffered(start);
        check_complete(is_complete)
    }
}

impl<S: Sink> ser::SerializeMap for Unordered<'_, S> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        self.append_key(v)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let (_, end) = self.append_part(v)?;
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
            Self::Set(set) => set.append_key(v),
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
