//! Writer of sequences and maps.
//!
//! Only the end of a sequence shows that all of its elements are bytes. So a sequence begins in the packed
//! form, and its first other element replaces that form.

use serde::{Serialize, ser};

use super::{ExactWriter, WriteFault, byte::U8Only, write_text};
use crate::value::codec::exact::{END, PACKED_LEN, SEQUENCE};

/// Serializer of a sequence. As long as all elements are `u8`, they are written as plain bytes.
pub(super) struct Elements<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) depth: u8,
    /// Position of the [`PACKED`](super::super::PACKED) tag in `out`, as long as the sequence is packed.
    pub(super) packed_at: Option<usize>,
    /// Number of [`END`] tags after the elements; one fewer if the sequence is packed.
    pub(super) end_tags: usize,
}

impl Elements<'_> {
    #[inline]
    fn element<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), WriteFault> {
        if let Some(at) = self.packed_at {
            if v.serialize(U8Only(self.out)).is_ok() {
                return Ok(());
            }
            self.unpack(at);
        }
        v.serialize(ExactWriter { out: self.out, depth: self.depth })
    }

    /// Replaces the packed bytes by single elements.
    #[cold]
    fn unpack(&mut self, at: usize) {
        self.packed_at = None;
        let packed = self.out.split_off(at);
        self.out.push(SEQUENCE);
        for byte in &packed[1 + PACKED_LEN..] {
            ExactWriter { out: self.out, depth: self.depth }.write_positive((*byte).into());
        }
    }

    fn finish(mut self) {
        let mut end_tags = self.end_tags;
        if let Some(at) = self.packed_at {
            let len = self.out.len() - at - 1 - PACKED_LEN;
            if len == 0 {
                self.unpack(at);
            } else {
                self.out[at + 1..=at + PACKED_LEN].copy_from_slice(&(len as u64).to_le_bytes());
                end_tags -= 1;
            }
        }
        self.out.resize(self.out.len() + end_tags, END);
    }
}

/// Serializer of a map.
pub(super) struct Entries<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) depth: u8,
    pub(super) end_tags: usize,
}

impl Entries<'_> {
    fn value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), WriteFault> {
        v.serialize(ExactWriter { out: self.out, depth: self.depth })
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Result<(), WriteFault> {
        write_text(self.out, name);
        self.value(v)
    }

    fn finish(self) {
        self.out.resize(self.out.len() + self.end_tags, END);
    }
}

macro_rules! elements {
    ($($trait:ident $method:ident;)*) => {$(
        impl ser::$trait for Elements<'_> {
            type Ok = ();
            type Error = WriteFault;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), WriteFault> {
                self.element(v)
            }

            fn end(self) -> Result<(), WriteFault> {
                self.finish();
                Ok(())
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
        impl ser::$trait for Entries<'_> {
            type Ok = ();
            type Error = WriteFault;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, v: &T) -> Result<(), WriteFault> {
                self.field(name, v)
            }

            fn end(self) -> Result<(), WriteFault> {
                self.finish();
                Ok(())
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = WriteFault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), WriteFault> {
        self.value(v)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, v: &T) -> Result<(), WriteFault> {
        self.value(v)
    }

    fn end(self) -> Result<(), WriteFault> {
        self.finish();
        Ok(())
    }
}
