//! What has parts: in the order in which they are serialised, or sorted.

use serde::{Serialize, ser};

use super::{Append, Refusal, Sink, tag, value};

/// What keeps the order it is serialised in.
pub(super) struct Ordered<'a, S> {
    sink: &'a mut S,
}

impl<'a, S: Sink> Ordered<'a, S> {
    #[inline]
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { sink }
    }

    #[inline]
    pub(super) fn element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        value(v, self.sink)
    }

    #[inline]
    fn finish(self) {
        self.sink.byte(tag::END);
    }
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
                self.finish();
                Ok(())
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
pub(super) struct Unordered<'a, S> {
    sink: &'a mut S,
    start: usize,
    entries: Vec<Entry>,
}

/// Where an entry lies in the buffer. An element of a set is a key alone.
struct Entry {
    start: usize,
    key_end: usize,
    end: usize,
}

impl<'a, S: Sink> Unordered<'a, S> {
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { start: sink.buffer().len(), sink, entries: Vec::new() }
    }

    /// Returns from where to where it lies in the buffer.
    fn put<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(usize, usize), Refusal> {
        let buffer = self.sink.buffer();
        let start = buffer.len();
        value(v, &mut Append(buffer))?;
        Ok((start, buffer.len()))
    }

    fn key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), Refusal> {
        let (start, end) = self.put(v)?;
        self.entries.push(Entry { start, key_end: end, end });
        Ok(())
    }

    fn finish(self) {
        let Self { sink, start, mut entries } = self;
        let out = sink.buffer();
        // Stable, so that values under the same key keep their order.
        entries.sort_by(|a, b| out[a.start..a.key_end].cmp(&out[b.start..b.key_end]));
        let unsorted = out[start..].to_vec();
        out.truncate(start);
        for entry in entries {
            out.extend_from_slice(&unsorted[entry.start - start..entry.end - start]);
        }
        out.push(tag::END);
        sink.whole(start);
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
        self.finish();
        Ok(())
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
        Ok(())
    }
}
